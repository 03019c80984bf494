#include "net/tls.h"

#include <assert.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/*
 * What OpenSSL holds for a session, besides the bytes that wait to be read or sent: measured, rounded up
 * (test/unit/net/test_tls.c measures again). Of a client that says nothing; while it shakes hands, half a hello in
 * it; for a record of which a part has come.
 */
#define SESSION_BYTES   (16u << 10)
#define HANDSHAKE_BYTES (72u << 10)
#define RECORD_BYTES    (20u << 10)
/* Of an empty BIO: what was once in it must not be held until the connection ends. */
#define KEEP_BYTES 2048u

struct tls_context {
    pthread_mutex_t lock;       /* guards ssl */
    SSL_CTX *ssl;               /* owns a reference; each session holds its own */
    struct tls_options options; /* owns the names */
};

struct tls_session {
    SSL *ssl;      /* owns, and with it both BIOs */
    BIO *from_net; /* borrows */
    BIO *to_net;   /* borrows */
    bool whole_subject;
    bool begun; /* the peer has said something */
};

/* ---- context ---- */

/* Of a file in which there is not what was asked for: what is there, by the first thing in it that is PEM. */
static const char *content_of(const char *file, bool key_expected) {
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long size = 0;
    BIO *in = BIO_new_file(file, "r");
    bool found = in != NULL && PEM_read_bio(in, &name, &header, &data, &size) == 1;
    bool key = found && strstr(name, "PRIVATE KEY") != NULL;
    bool certificate = found && strcmp(name, PEM_STRING_X509) == 0;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)size);
    BIO_free(in);
    if (key)
        return key_expected ? "the private key in it is damaged"
                            : "holds a private key, and no certificate";
    if (certificate)
        return key_expected ? "holds a certificate, and no private key"
                            : "the certificate in it is damaged";
    return key_expected ? "there is no private key in this file (expected: PEM)"
                        : "there is no certificate in this file (expected: PEM)";
}

/* OpenSSL's own words for the usual mistakes tell nothing to who made them. */
static const char *reason_of(unsigned long code, const char *file, bool key) {
    int library = ERR_GET_LIB(code), number = ERR_GET_REASON(code);
    const char *words = ERR_reason_error_string(code);
    if (ERR_SYSTEM_ERROR(code))
        return strerror(number);
    if ((library == ERR_LIB_X509 && number == X509_R_KEY_VALUES_MISMATCH) ||
        (library == ERR_LIB_SSL && number == SSL_R_NO_CERTIFICATE_ASSIGNED))
        return "it does not belong to the certificate";
    if (number == ERR_R_INTERRUPTED_OR_CANCELLED ||
        (library == ERR_LIB_PEM && number == PEM_R_BAD_PASSWORD_READ))
        return "it has a passphrase, which nobody can be asked for: store it without";
    if (library == ERR_LIB_PEM || library == ERR_LIB_ASN1 || library == ERR_LIB_OSSL_DECODER)
        return content_of(file, key);
    return words != NULL ? words : "unknown reason";
}

static int explain(struct tls_findings *f, enum tls_file which, const char *file) {
    /* The first error: the others say where it came through. */
    const char *reason = reason_of(ERR_peek_error(), file, which == TLS_KEY);
    snprintf(f->unusable[which], sizeof f->unusable[which], "%.150s: %s", file, reason);
    ERR_clear_error();
    return E_INVALID;
}

static int choose_protocol(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_size,
                           const unsigned char *offered, unsigned int offered_size, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl, (void)arg;
    unsigned char *chosen;
    int rc = SSL_select_next_proto(&chosen, ret_size, ours, sizeof ours - 1, offered, offered_size);
    *ret_name = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* OpenSSL's own would ask at the terminal, and a running server would stand still. */
static int no_passphrase(char *text, int size, int writing, void *arg) {
    (void)text, (void)size, (void)writing, (void)arg;
    return -1;
}

/* It is served all the same: who has nothing better must not stand still for it. */
static void look_at_dates(const X509 *certificate, const char *file, struct tls_findings *f) {
    const ASN1_TIME *begins = X509_get0_notBefore(certificate);
    const ASN1_TIME *ends = X509_get0_notAfter(certificate);
    bool early = X509_cmp_time(begins, NULL) > 0;
    struct tm at;
    char day[32];
    if ((!early && X509_cmp_time(ends, NULL) > 0) ||
        ASN1_TIME_to_tm(early ? begins : ends, &at) != 1)
        return;
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%SZ", &at);
    snprintf(f->outdated, sizeof f->outdated, "%.150s: the certificate %s %s", file,
             early ? "is not valid before" : "expired on", day);
}

static int load_client_ca(SSL_CTX *ssl, const char *file, struct tls_findings *f) {
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (names == NULL || SSL_CTX_load_verify_locations(ssl, file, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return explain(f, TLS_CLIENT_CA, file);
    }
    SSL_CTX_set_client_CA_list(ssl, names);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

/* Each is looked at, whatever the others are. */
static int load_files(SSL_CTX *ssl, const struct tls_options *o, struct tls_findings *f) {
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    int certificate = 0, key = 0, client_ca = 0;
    if (SSL_CTX_use_certificate_chain_file(ssl, o->certificate_file) != 1)
        certificate = explain(f, TLS_CERTIFICATE, o->certificate_file);
    else
        look_at_dates(SSL_CTX_get0_certificate(ssl), o->certificate_file, f);
    /* One of another kind, say of an elliptic curve, is noticed only by the check. */
    if (SSL_CTX_use_PrivateKey_file(ssl, o->key_file, SSL_FILETYPE_PEM) != 1 ||
        (certificate == 0 && SSL_CTX_check_private_key(ssl) != 1))
        key = explain(f, TLS_KEY, o->key_file);
    if (o->client_ca_file != NULL)
        client_ca = load_client_ca(ssl, o->client_ca_file, f);
    return certificate != 0 ? certificate : key != 0 ? key : client_ca;
}

static int set_up(SSL_CTX *ssl, const struct tls_options *o, struct tls_findings *f) {
    static const unsigned char session_scope[] = "sluice";
    /* Of TLS 1.2 only what keeps past talks closed when the key is lost, and what needs no padding. */
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        return E_NOMEM;
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* An idle connection then holds no record buffers (34 KiB). */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    SSL_CTX_set_session_id_context(ssl, session_scope, sizeof session_scope - 1);
    return load_files(ssl, o, f);
}

int tls_context_renew(struct tls_context *c, struct tls_findings *ret_findings) {
    memset(ret_findings, 0, sizeof *ret_findings);
    SSL_CTX *fresh = SSL_CTX_new(TLS_server_method());
    int rc = fresh == NULL ? E_NOMEM : set_up(fresh, &c->options, ret_findings);
    if (rc != 0) {
        SSL_CTX_free(fresh);
        return rc;
    }
    pthread_mutex_lock(&c->lock);
    SSL_CTX *before = c->ssl;
    c->ssl = fresh;
    pthread_mutex_unlock(&c->lock);
    SSL_CTX_free(before);
    return 0;
}

const char *tls_findings_first(const struct tls_findings *f) {
    size_t i = 0;
    while (i + 1 < TLS_FILES && f->unusable[i][0] == '\0')
        i++;
    return f->unusable[i];
}

static bool copy_name(const char *name, const char **ret_copy) {
    *ret_copy = name != NULL ? strdup(name) : NULL;
    return name == NULL || *ret_copy != NULL;
}

int tls_context_create(const struct tls_options *options, struct tls_findings *ret_findings,
                       struct tls_context **ret_context) {
    memset(ret_findings, 0, sizeof *ret_findings);
    struct tls_context *c = calloc(1, sizeof *c);
    if (c == NULL)
        return E_NOMEM;
    pthread_mutex_init(&c->lock, NULL);
    c->options.whole_subject = options->whole_subject;
    bool copied = copy_name(options->certificate_file, &c->options.certificate_file) &&
                  copy_name(options->key_file, &c->options.key_file) &&
                  copy_name(options->client_ca_file, &c->options.client_ca_file);
    int rc = copied ? tls_context_renew(c, ret_findings) : E_NOMEM;
    if (rc == 0)
        *ret_context = c;
    else
        tls_context_free(c);
    return rc;
}

void tls_context_free(struct tls_context *c) {
    if (c == NULL)
        return;
    SSL_CTX_free(c->ssl);
    pthread_mutex_destroy(&c->lock);
    free((char *)c->options.certificate_file);
    free((char *)c->options.key_file);
    free((char *)c->options.client_ca_file);
    free(c);
}

/* ---- session ---- */

int tls_session_create(struct tls_context *c, struct tls_session **ret_session) {
    struct tls_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    pthread_mutex_lock(&c->lock);
    s->ssl = SSL_new(c->ssl); /* with a reference of its own to the files as they are now */
    pthread_mutex_unlock(&c->lock);
    s->from_net = BIO_new(BIO_s_mem());
    s->to_net = BIO_new(BIO_s_mem());
    if (s->ssl == NULL || s->from_net == NULL || s->to_net == NULL) {
        SSL_free(s->ssl);
        BIO_free(s->from_net);
        BIO_free(s->to_net);
        free(s);
        return E_NOMEM;
    }
    s->whole_subject = c->options.whole_subject;
    SSL_set_bio(s->ssl, s->from_net, s->to_net);
    SSL_set_accept_state(s->ssl);
    *ret_session = s;
    return 0;
}

void tls_session_free(struct tls_session *s) {
    if (s == NULL)
        return;
    SSL_free(s->ssl);
    free(s);
}

/* A memory BIO keeps the room of the most that was ever in it. */
static void shrink(BIO *bio) {
    BUF_MEM *held, *fresh;
    BIO_get_mem_ptr(bio, &held);
    if (held->length > 0 || held->max <= KEEP_BYTES || (fresh = BUF_MEM_new()) == NULL)
        return;
    BIO_set_mem_buf(bio, fresh, BIO_CLOSE);
}

static size_t room_of(BIO *bio) {
    BUF_MEM *held;
    BIO_get_mem_ptr(bio, &held);
    return held->max;
}

size_t tls_memory_bytes(const struct tls_session *s) {
    size_t bytes = SESSION_BYTES + room_of(s->from_net) + room_of(s->to_net);
    if (s->begun && !tls_established(s))
        bytes += HANDSHAKE_BYTES - SESSION_BYTES;
    else if (SSL_has_pending(s->ssl))
        bytes += RECORD_BYTES;
    return bytes;
}

int tls_feed(struct tls_session *s, struct span bytes) {
    assert(bytes.size <= INT_MAX);
    if (bytes.size == 0)
        return 0;
    s->begun = true;
    return BIO_write(s->from_net, bytes.data, (int)bytes.size) == (int)bytes.size ? 0 : E_NOMEM;
}

/* The error queue is the thread's: what one session leaves there would be taken for another's. */
int tls_read(struct tls_session *s, uint8_t *out, size_t size) {
    ERR_clear_error();
    int count = SSL_read(s->ssl, out, size > INT_MAX ? INT_MAX : (int)size);
    if (count > 0)
        return count;
    int error = SSL_get_error(s->ssl, count);
    ERR_clear_error();
    shrink(s->from_net);
    switch (error) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: /* cannot be: the memory BIO takes everything */
        return E_BUSY;
    case SSL_ERROR_ZERO_RETURN:
        return E_END;
    default:
        return E_INVALID;
    }
}

bool tls_established(const struct tls_session *s) {
    return SSL_is_init_finished(s->ssl) == 1;
}

int tls_write(struct tls_session *s, struct span plain) {
    while (plain.size > 0) {
        int part = plain.size > INT_MAX ? INT_MAX : (int)plain.size;
        ERR_clear_error();
        int count = SSL_write(s->ssl, plain.data, part);
        if (count <= 0) {
            ERR_clear_error();
            return E_INVALID;
        }
        plain = span_of(plain.data + count, plain.size - (size_t)count);
    }
    return 0;
}

/* As RabbitMQ writes it, whose users have such names: what is no ASCII as \\C3\\BC. */
static size_t subject(X509_NAME *name, char *text, size_t size) {
    char *data;
    BIO *out = BIO_new(BIO_s_mem());
    if (out == NULL)
        return 0;
    int rc = X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253);
    long length = rc >= 0 ? BIO_get_mem_data(out, &data) : 0;
    bool whole = length > 0 && (size_t)length < size && memchr(data, '\0', (size_t)length) == NULL;
    if (whole) {
        memcpy(text, data, (size_t)length);
        text[length] = '\0';
    }
    BIO_free(out);
    return whole ? (size_t)length : 0;
}

size_t tls_peer_name(const struct tls_session *s, char *text, size_t size) {
    X509 *certificate = SSL_get0_peer_certificate(s->ssl);
    int length = -1;
    if (certificate != NULL && s->whole_subject)
        return subject(X509_get_subject_name(certificate), text, size);
    if (certificate != NULL)
        length = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text,
                                           (int)size);
    bool whole = length > 0 && (size_t)length + 1 < size && strlen(text) == (size_t)length;
    return whole ? (size_t)length : 0;
}

void tls_shutdown(struct tls_session *s) {
    if (!tls_established(s))
        return;
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    ERR_clear_error();
}

struct span tls_unsent(struct tls_session *s) {
    char *data = NULL;
    long size = BIO_get_mem_data(s->to_net, &data);
    return span_of(data, size > 0 ? (size_t)size : 0);
}

/* A memory BIO forgets what is read from it; NULL is no place to read to, so small steps. */
void tls_sent(struct tls_session *s, size_t count) {
    if (count == tls_unsent(s).size) {
        (void)BIO_reset(s->to_net);
        shrink(s->to_net);
        return;
    }
    char gone[4096];
    while (count > 0) {
        int part = BIO_read(s->to_net, gone, count > sizeof gone ? (int)sizeof gone : (int)count);
        assert(part > 0);
        count -= (size_t)part;
    }
}
