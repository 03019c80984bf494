/* What a TLS session says that it holds, beside what OpenSSL really has allocated for it. The rest of tls.c: test/proto/http. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/tls.h"

#define ROOM_BYTES (256u << 10)

static char certificate_file[] = "/tmp/sluice-tls-cert-XXXXXX",
            key_file[] = "/tmp/sluice-tls-key-XXXXXX";
static uint8_t room[ROOM_BYTES];
static bool counting; /* the server's side is at work */
static size_t held_bytes;
static bool judging; /* OpenSSL has made what it makes once in a process */

/* ---- what OpenSSL allocates ---- */

static void *count_up(void *p) {
    held_bytes += counting && p != NULL ? malloc_usable_size(p) : 0;
    return p;
}

static void count_down(void *p) {
    held_bytes -= counting && p != NULL ? malloc_usable_size(p) : 0;
}

static void *take(size_t size, const char *file, int line) {
    (void)file, (void)line;
    return count_up(malloc(size));
}

static void *change(void *p, size_t size, const char *file, int line) {
    (void)file, (void)line;
    count_down(p);
    return count_up(realloc(p, size));
}

static void give(void *p, const char *file, int line) {
    (void)file, (void)line;
    count_down(p);
    free(p);
}

/* ---- the two ends ---- */

struct ends {
    struct tls_context *context;
    struct tls_session *server;
    SSL_CTX *client_context;
    SSL *client;
    BIO *to_client, *from_client;
};

static void write_files(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    FILE *out = fdopen(mkstemp(certificate_file), "w");
    assert_int_equal(PEM_write_X509(out, certificate), 1);
    fclose(out);
    out = fdopen(mkstemp(key_file), "w");
    assert_int_equal(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* It never says less than there is, and never so much more that few clients would seem to be many. */
static void check_claim(const struct ends *e) {
    size_t claim = tls_memory_bytes(e->server);
    assert_true(!judging || (claim >= held_bytes && claim <= 2 * held_bytes + 8192));
}

static void begin(struct ends *e, int version) {
    struct tls_findings found;
    const struct tls_options options = {.certificate_file = certificate_file, .key_file = key_file};
    assert_int_equal(tls_context_create(&options, &found, &e->context), 0);
    assert_string_equal(found.outdated, "");
    e->client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(e->client_context, version);
    e->client = SSL_new(e->client_context);
    e->to_client = BIO_new(BIO_s_mem());
    e->from_client = BIO_new(BIO_s_mem());
    SSL_set_bio(e->client, e->to_client, e->from_client);
    SSL_set_connect_state(e->client);
    held_bytes = 0;
    counting = true;
    assert_int_equal(tls_session_create(e->context, &e->server), 0);
    counting = false;
    check_claim(e);
}

static void end(struct ends *e) {
    counting = true;
    tls_session_free(e->server);
    counting = false;
    assert_true(!judging || held_bytes == 0);
    SSL_free(e->client);
    SSL_CTX_free(e->client_context);
    tls_context_free(e->context);
}

/* What the server makes of them; `plain` counts what comes out. */
static size_t feed(struct ends *e, const uint8_t *bytes, size_t size) {
    size_t plain = 0;
    counting = true;
    assert_int_equal(tls_feed(e->server, span_of(bytes, size)), 0);
    for (int got; (got = tls_read(e->server, room, sizeof room)) > 0;)
        plain += (size_t)got;
    counting = false;
    check_claim(e);
    return plain;
}

static void to_client(struct ends *e) {
    struct span unsent = tls_unsent(e->server);
    if (unsent.size > 0)
        assert_int_equal(BIO_write(e->to_client, unsent.data, (int)unsent.size), unsent.size);
    counting = true;
    tls_sent(e->server, unsent.size);
    counting = false;
    check_claim(e);
}

static size_t from_client(struct ends *e, uint8_t *out) {
    int got = BIO_read(e->from_client, out, ROOM_BYTES);
    return got > 0 ? (size_t)got : 0;
}

/* Each flight comes in two parts. */
static void shake_hands(struct ends *e) {
    static uint8_t flight[ROOM_BYTES];
    for (unsigned turn = 0; turn < 4; turn++) {
        SSL_do_handshake(e->client);
        size_t size = from_client(e, flight);
        feed(e, flight, size / 2);
        feed(e, flight + size / 2, size - size / 2);
        to_client(e);
    }
    assert_true(tls_established(e->server));
}

static void claims_hold(int version) {
    static uint8_t sealed[ROOM_BYTES], plain[ROOM_BYTES];
    static const size_t sizes[] = {5, 1000, 16000, 64000, 200000};
    struct ends e;
    begin(&e, version);
    shake_hands(&e);
    size_t idle = tls_memory_bytes(e.server);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(SSL_write(e.client, plain, (int)sizes[i]), sizes[i]);
        size_t size = from_client(&e, sealed), got = feed(&e, sealed, size / 2);
        got += feed(&e, sealed + size / 2, size - size / 2);
        assert_int_equal(got, sizes[i]);
        counting = true;
        assert_int_equal(tls_write(e.server, span_of(plain, sizes[i])), 0);
        counting = false;
        check_claim(&e);
        to_client(&e);
        assert_true(tls_memory_bytes(e.server) <= idle + 4096);
    }
    end(&e);
}

/* As many as connections are allowed, idle, are below three quarters of the default of limits.memoryBytes. */
static void idle_sessions_are_small(void **state) {
    (void)state;
    struct ends e;
    begin(&e, TLS1_3_VERSION);
    shake_hands(&e);
    assert_true(tls_memory_bytes(e.server) * 10000 < 192u << 20);
    end(&e);
}

static void claims_hold_of_tls_1_3(void **state) {
    (void)state;
    claims_hold(TLS1_3_VERSION);
}

static void claims_hold_of_tls_1_2(void **state) {
    (void)state;
    claims_hold(TLS1_2_VERSION);
}

static int prepare(void **state) {
    (void)state;
    struct ends e;
    write_files();
    begin(&e, TLS1_3_VERSION);
    shake_hands(&e);
    end(&e);
    judging = true;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_hold_of_tls_1_3),
        cmocka_unit_test(claims_hold_of_tls_1_2),
        cmocka_unit_test(idle_sessions_are_small),
    };
    if (CRYPTO_set_mem_functions(take, change, give) != 1)
        return 1; /* OpenSSL has allocated something already */
    int failed = cmocka_run_group_tests(tests, prepare, NULL);
    unlink(certificate_file);
    unlink(key_file);
    return failed;
}
