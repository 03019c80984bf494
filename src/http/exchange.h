/*
 * http/exchange.h - internal: a request with its answer, and where it stands.
 *
 *              handler called          http_reply, not its turn         its turn
 *   READING ─────────────────► ASKED ───────────────────────► ANSWERED ──────────► (recycled)
 *                                │                                                    ▲
 *                                ├── http_reply, first in line ───────────────────────┤
 *                                └── http_stream_start ──► STREAMING ── http_stream_end
 *
 * Exchanges are recycled per server, so that a request costs no allocation. While ASKED or STREAMING
 * the handler holds the exchange: it then outlives its stream, and keeps the connection's memory.
 */
#ifndef SLUICE_HTTP_EXCHANGE_H
#define SLUICE_HTTP_EXCHANGE_H

#include "base/buffer.h"
#include "http/request.h"
#include "http/server.h"

struct http_connection;

enum http_exchange_state {
    EXCHANGE_READING,
    EXCHANGE_ASKED,
    EXCHANGE_ANSWERED,
    EXCHANGE_STREAMING
};

struct http_exchange {
    struct http_request request;
    struct http_connection *connection; /* borrows: counted there in `exchanges` */
    struct http_exchange *next;         /* link: the connection's line, or the pool */
    enum http_exchange_state state;
    bool close_after;    /* the connection ends with this answer */
    bool holds_line;     /* ASKED: nothing behind it is read */
    struct buffer reply; /* owns: what is answered before its turn */
    size_t accounted;    /* bytes of it in the budget */
    bool chunked;        /* STREAMING: in chunks, as the client speaks 1.1 */
    bool silent;         /* STREAMING: a HEAD request gets no body */
    bool ended;          /* STREAMING: http_stream_end was called before its turn */
    bool gone;           /* STREAMING: `closed` was called, writes are refused */
    void (*closed)(void *arg);
    void *closed_arg; /* borrows */
    _Alignas(16) uint8_t user[HTTP_USER_BYTES];
};

/* NULL without memory. For a connection of `s`; state READING. */
struct http_exchange *http_exchange_take(struct http_server *s, struct http_connection *c);
void http_exchange_recycle(struct http_exchange *x);
void http_exchange_free(struct http_exchange *x);
/* Brings the budget up to date with the memory of x. */
void http_exchange_account(struct http_exchange *x);

#endif
