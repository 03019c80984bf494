/*
 * http/server.h - HTTP/1.1 server on the I/O loops.
 *
 * Promise: strict parsing (two lengths, bad chunk, bare LF, obs-fold: 400 and close), limits on
 *          everything that a client can make grow, slow clients timed out, keep-alive and pipelining
 *          with answers in order, `Expect: 100-continue`, chunked request bodies, TLS when configured.
 * Shape:   a handler gets a whole request (head and body) as a `struct http_exchange` on the loop's
 *          thread and answers it once with http_reply, at once or later, always on that thread.
 *          The exchange outlives its connection: if the client went away the reply is dropped.
 *          Everything that the exchange shows (spans) is valid until it is answered.
 * Threads: all of it on the loop's thread (or before net_loop_run), but http_server_stats, which any
 *          thread may call.
 * Errors:  the server itself answers 400, 405 (unknown method), 408, 413, 414, 417, 431, 501, 505 with
 *          a problem body made by `problem`; all else is the handler's.
 */
#ifndef SLUICE_HTTP_SERVER_H
#define SLUICE_HTTP_SERVER_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"
#include "net/loop.h"

struct http_server;
struct http_exchange;

enum http_method {
    HTTP_GET_,
    HTTP_HEAD_,
    HTTP_POST_,
    HTTP_PUT_,
    HTTP_PATCH_,
    HTTP_DELETE_,
    HTTP_OPTIONS_,
};

struct http_header {
    struct span name; /* as sent; compare with http_header_find, which ignores case */
    struct span value;
};

struct http_limits {
    uint32_t request_line_bytes; /* 8192; with header_bytes at most 64 KiB */
    uint32_t header_bytes;       /* 16384, all header fields together; also of a trailer */
    uint32_t header_count;       /* 100 */
    uint64_t body_bytes;         /* 1 MiB, after chunks are put together */
    uint32_t pipeline_depth;     /* 64 requests of a connection not answered; then reading stops */
    uint32_t connections;        /* 10000 per server, then accept-and-close with 503 */
    uint32_t connections_per_address; /* 0: half of `connections`, but this machine's not counted */
    /* 256 MiB in all connections of a server; then reading stops, and who holds too much is cut off. */
    uint64_t memory_bytes;
    uint32_t head_timeout_ms;  /* 10000 from first byte to end of head; also TLS handshake */
    uint32_t body_timeout_ms;  /* 30000; a body that keeps up 1 KiB/s gets as much again */
    uint32_t idle_timeout_ms;  /* 60000 keep-alive */
    uint32_t write_timeout_ms; /* 30000: peer reads nothing of what is to be sent */
};
void http_limits_default(struct http_limits *l);

struct tls_context;

struct http_server_options {
    const char *host;
    uint16_t port; /* 0: any, see http_server_port */
    bool joins;    /* the server of another loop listens there already */
    struct http_limits limits;
    struct tls_context *tls; /* borrows; NULL: plain */
    void *context;           /* borrows: for the handler */
    /* One whole request. Must lead to exactly one http_reply or http_stream_start. */
    void (*handle)(void *context, struct http_exchange *x);
    /*
     * Body for an answer that the server makes itself (status, short reason): writes a problem+json
     * text into out[0..size), returns its length. NULL: empty bodies.
     */
    size_t (*problem)(void *context, int status, const char *detail, char *out, size_t size);
};

/* One server per I/O loop; see net/listener.h. E_INVALID (address), E_IO (error_text says why). */
MUST_CHECK int http_server_start(struct net_loop *loop, const struct http_server_options *options,
                                 char error_text[256], struct http_server **ret_server);
uint16_t http_server_port(const struct http_server *s);
/*
 * Stops accepting; lets requests under way finish; idle connections close; streams are told `closed`;
 * `done` when all are gone, and no exchange is unanswered.
 */
void http_server_stop(struct http_server *s, void (*done)(void *arg), void *arg);
/*
 * After `done` (or in it), or to cut everything off: then memory goes when the loop has closed the
 * sockets and the last exchange was answered, and streams are told `closed`.
 */
void http_server_free(struct http_server *s);

struct http_server_stats {
    uint64_t accepted, requests, responses_5xx, protocol_errors, timeouts;
    uint64_t bytes_in, bytes_out;
    uint32_t open_connections;
};
void http_server_stats(const struct http_server *s, struct http_server_stats *ret);

/* ---- what was asked ---- */
enum http_method http_method(const struct http_exchange *x);
struct span http_path(const struct http_exchange *x);  /* percent-encoding as sent, no query */
struct span http_query(const struct http_exchange *x); /* after '?', empty without */
struct span http_body(const struct http_exchange *x);
/* Value of the first field of that name, case ignored; empty span with data == NULL when absent. */
struct span http_header_find(const struct http_exchange *x, const char *name);
const struct http_header *http_headers(const struct http_exchange *x, size_t *ret_count);
struct span http_peer(const struct http_exchange *x); /* "127.0.0.1:51234" */
bool http_peer_is_loopback(const struct http_exchange *x);
struct net_loop *http_loop(const struct http_exchange *x);
/* For the handler's own data; 0-initialised room of this many bytes lives as long as the exchange. */
#define HTTP_USER_BYTES 256u
void *http_user(struct http_exchange *x);

/*
 * No more of its client is read before x is answered: who asks for what has to wait for room has one such request
 * waiting, not a line of them.
 */
void http_hold_line(struct http_exchange *x);

/* ---- the answer ---- */
/*
 * headers: zero or more complete lines "Name: value\r\n", may be NULL. Content-Length and Date and
 * Connection are added here. The body is copied or written before return. 204/304 and HEAD send none.
 */
void http_reply(struct http_exchange *x, int status, const char *content_type, struct span headers,
                struct span body);
/* Answers and closes the connection afterwards. */
void http_reply_close(struct http_exchange *x, int status, const char *content_type,
                      struct span headers, struct span body);

/* ---- an answer without end (server-sent events) ---- */
struct http_stream;
#define HTTP_STREAM_UNSENT_MAX (1024u * 1024)
/*
 * Headers go out now. The stream is the caller's until http_stream_end, which has to be called once in
 * any case. `closed` is called at most once, when the client goes away or the server stops, never after
 * http_stream_end nor from inside http_stream_start or http_stream_write; writes then say E_CLOSED.
 */
struct http_stream *http_stream_start(struct http_exchange *x, int status, const char *content_type,
                                      struct span headers, void (*closed)(void *arg), void *arg);
/*
 * All of it or nothing. E_LIMIT: the client does not keep up (HTTP_STREAM_UNSENT_MAX would be unsent);
 * E_CLOSED; E_NOMEM.
 */
MUST_CHECK int http_stream_write(struct http_stream *s, struct span data);
void http_stream_end(struct http_stream *s);

/* Text of a status, "Not Found". */
const char *http_status_text(int status);

#endif
