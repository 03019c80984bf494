/*
 * http/request.h - one request while it arrives and after: bytes in, head and body out. No sockets.
 *
 * Promise: the same request or the same fault comes out however the bytes were cut. Memory is bounded
 *          by the limits and grows with what has arrived, not with what was announced.
 * Shape:   caller-owned; http_request_clear makes it ready for the next one and keeps modest memory.
 *
 *      BEFORE ─► HEAD ─► LENGTH ───────────────► DONE
 *                   ├──► CHUNKS ─► TRAILER ──────►│
 *                   └─────────────────────────────┘         any ─► BAD
 */
#ifndef SLUICE_HTTP_REQUEST_H
#define SLUICE_HTTP_REQUEST_H

#include "base/buffer.h"
#include "http/chunk.h"
#include "http/gate.h"
#include "http/server.h"

enum http_request_phase {
    REQUEST_BEFORE, /* nothing but empty lines seen */
    REQUEST_HEAD,
    REQUEST_LENGTH, /* body of known length */
    REQUEST_CHUNKS,
    REQUEST_TRAILER,
    REQUEST_DONE,
    REQUEST_BAD,
};

struct http_request {
    enum http_request_phase phase;
    int status;         /* BAD: what to answer */
    const char *detail; /* BAD: static text for a person */
    struct gate gate;
    struct chunk chunk;
    uint32_t empty_bytes; /* of empty lines before the head */
    uint64_t body_left;   /* LENGTH: still to come */

    struct buffer head; /* owns: what all spans below borrow */
    struct buffer body; /* owns */
    enum http_method method;
    bool version_1_0;
    bool keep_alive;
    bool wants_continue; /* Expect: 100-continue */
    struct span path;
    struct span query;
    struct http_header *headers; /* owns */
    size_t header_count;
    size_t header_room;
};

void http_request_init(struct http_request *r);
void http_request_release(struct http_request *r);
void http_request_clear(struct http_request *r);

/*
 * Takes bytes until the request changes phase to a body, DONE or BAD, or they are used up. Returns how
 * many were taken. Not to be called after DONE or BAD.
 */
size_t http_request_take(struct http_request *r, const struct http_limits *limits,
                         struct span bytes);

size_t http_request_memory_bytes(const struct http_request *r);
/* Value of the first field of that name, case ignored; data == NULL when absent. */
struct span http_request_header(const struct http_request *r, const char *name);

static inline bool http_request_in_body(const struct http_request *r) {
    return r->phase >= REQUEST_LENGTH && r->phase <= REQUEST_TRAILER;
}

#endif
