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

/* OpenSSL's own words for the two usual mistakes tell nothing to who made them. */
static void reason_of(unsigned long code, char reason[88]) {
    int library = ERR_GET_LIB(code), number = ERR_GET_REASON(code);
    const char *words = ERR_reason_error_string(code);
    if (ERR_SYSTEM_ERROR(code))
        words = strerror(number);
    else if (library == ERR_LIB_PEM && number == PEM_R_NO_START_LINE)
        words = "there is none in this file (expected: PEM)";
    else if ((library == ERR_LIB_X509 && number == X509_R_KEY_VALUES_MISMATCH) ||
             (library == ERR_LIB_SSL && number == SSL_R_NO_CERTIFICATE_ASSIGNED))
        words = "it does not belong to the certificate";
    else if (number == ERR_R_INTERRUPTED_OR_CANCELLED ||
             (library == ERR_LIB_PEM && number == PEM_R_BAD_PASSWORD_READ))
        words = "it has a passphrase, which nobody can be asked for: store it without";
    snprintf(reason, 88, "%s", words != NULL ? words : "unknown reason");
}

static int explain(char error_text[256], const char *what, const char *file) {
    char reason[88];
    reason_of(ERR_peek_error(), reason); /* the first: the others say where it came through */
    ERR_clear_error();
    snprintf(error_text, 256, "tls: %s%s%.110s: %s", what, file == NULL ? "" : " ",
             file == NULL ? "" : file, reason);
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

static int load_files(SSL_CTX *ssl, const struct tls_options *o, char error_text[256]) {
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ssl, o->certificate_file) != 1)
        return explain(error_text, "certificate", o->certificate_file);
    if (SSL_CTX_use_PrivateKey_file(ssl, o->key_file, SSL_FILETYPE_PEM) != 1)
        return explain(error_text, "key", o->key_file);
    /* One of another kind, say of an elliptic curve, is noticed only here. */
    if (SSL_CTX_check_private_key(ssl) != 1)
        return explain(error_text, "key", o->key_file);
    if (o->client_ca_file == NULL)
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->client_ca_file);
    if (names == NULL || SSL_CTX_load_verify_locations(ssl, o->client_ca_file, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return explain(error_text, "client CA", o->client_ca_file);
    }
    SSL_CTX_set_client_CA_list(ssl, names);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int set_up(SSL_CTX *ssl, const struct tls_options *o, char error_text[256]) {
    static const unsigned char session_scope[] = "sluice";
    int floor = o->min_version == 0 ? TLS1_2_VERSION : o->min_version;
    if (floor < TLS1_2_VERSION || SSL_CTX_set_min_proto_version(ssl, floor) != 1)
        return explain(error_text, "minimum version below TLS 1.2 or unknown", NULL);
    /* Of TLS 1.2 only what keeps past talks closed when the key is lost, and what needs no padding. */
    if (SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        return explain(error_text, "ciphers", NULL);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* An idle connection then holds no record buffers (34 KiB). */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    SSL_CTX_set_session_id_context(ssl, session_scope, sizeof session_scope - 1);
    return load_files(ssl, o, error_text);
}

static int out_of_memory(char error_text[256]) {
    snprintf(error_text, 256, "tls: out of memory");
    return E_NOMEM;
}

int tls_context_renew(struct tls_context *c, char error_text[256]) {
    SSL_CTX *fresh = SSL_CTX_new(TLS_server_method());
    int rc = fresh == NULL ? out_of_memory(error_text) : set_up(fresh, &c->options, error_text);
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

static bool copy_name(const char *name, const char **ret_copy) {
    *ret_copy = name != NULL ? strdup(name) : NULL;
    return name == NULL || *ret_copy != NULL;
}

int tls_context_create(const struct tls_options *options, char error_text[256],
                       struct tls_context **ret_context) {
    struct tls_context *c = calloc(1, sizeof *c);
    if (c == NULL)
        return out_of_memory(error_text);
    pthread_mutex_init(&c->lock, NULL);
    c->options.min_version = options->min_version;
    c->options.whole_subject = options->whole_subject;
    bool copied = copy_name(options->certificate_file, &c->options.certificate_file) &&
                  copy_name(options->key_file, &c->options.key_file) &&
                  copy_name(options->client_ca_file, &c->options.client_ca_file);
    int rc = copied ? tls_context_renew(c, error_text) : out_of_memory(error_text);
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
