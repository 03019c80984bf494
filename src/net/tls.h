/*
 * net/tls.h - TLS as a filter between a socket and its reader: bytes in, bytes out, no I/O.
 *
 * Promise: TLS 1.2 at least, ALPN http/1.1, no compression, no renegotiation. Client certificates are
 *          required and checked when a client CA is given.
 * Shape:   a context for a listener, shared by all loops; a session for a connection, on one thread; both opaque.
 *
 *      from the socket ─► tls_feed ─► tls_read  ─► plain bytes
 *      plain bytes ─► tls_write ─► tls_unsent, tls_sent ─► to the socket
 *
 * Errors:  E_BUSY: needs more from the peer; E_END: the peer closed properly; E_INVALID: broken peer,
 *          after which only tls_unsent (the alert) makes sense; E_NOMEM.
 */
#ifndef SLUICE_NET_TLS_H
#define SLUICE_NET_TLS_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"

struct tls_context;
struct tls_session;

struct tls_options {
    const char *certificate_file; /* PEM, the leaf first */
    const char *key_file;         /* PEM */
    const char *client_ca_file;   /* PEM; NULL: clients need no certificate */
    bool whole_subject;           /* tls_peer_name is the distinguished name, not the common one */
};

enum tls_file { TLS_CERTIFICATE, TLS_KEY, TLS_CLIENT_CA, TLS_FILES };

/* What there is to say of each file: "key.pem: there is none in this file ..."; empty: nothing. */
struct tls_findings {
    char unusable[TLS_FILES][256]; /* why it cannot be used */
    char outdated[256]; /* the certificate can, but is not valid now, and clients will refuse it */
};

/* The names are copied. E_INVALID: a file cannot be used or does not fit; all of them were looked at. E_NOMEM. */
MUST_CHECK int tls_context_create(const struct tls_options *options,
                                  struct tls_findings *ret_findings,
                                  struct tls_context **ret_context);
void tls_context_free(struct tls_context *c);
/*
 * Reads the files again, for sessions to come, while other threads make sessions. E_INVALID: a file cannot be
 * used; the context stays as it was. One thread at a time.
 */
MUST_CHECK int tls_context_renew(struct tls_context *c, struct tls_findings *ret_findings);
/* The first file that cannot be used, and why; empty: there is none. */
const char *tls_findings_first(const struct tls_findings *f);

/* The server's side of one connection. */
MUST_CHECK int tls_session_create(struct tls_context *c, struct tls_session **ret_session);
void tls_session_free(struct tls_session *s);

/* Bytes from the socket; copied. */
MUST_CHECK int tls_feed(struct tls_session *s, struct span bytes);
/*
 * Goes on with the handshake if need be and reads plain bytes into out. Positive: how many. Each call
 * may leave bytes to send (tls_unsent).
 */
MUST_CHECK int tls_read(struct tls_session *s, uint8_t *out, size_t size);
/*
 * The name in the certificate that the peer showed: its common name, or with whole_subject "CN=ann,O=Example" as RFC 4514
 * writes it, the most specific first. Its length; 0: none, longer than `size`, or it has a NUL in it.
 */
size_t tls_peer_name(const struct tls_session *s, char *text, size_t size);
bool tls_established(const struct tls_session *s);
/* What it holds, rather too much than too little: OpenSSL's part is an estimate. 16 KiB when idle, 72 KiB in a handshake. */
size_t tls_memory_bytes(const struct tls_session *s);
/* Encrypts all of it. Only when established. */
MUST_CHECK int tls_write(struct tls_session *s, struct span plain);
/* Says goodbye (close_notify), when established. */
void tls_shutdown(struct tls_session *s);

/* What has to go to the socket; borrowed until the next call. */
struct span tls_unsent(struct tls_session *s);
void tls_sent(struct tls_session *s, size_t count);

#endif
