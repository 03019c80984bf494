/*
 * http/request.h - one request while it arrives and after: bytes in, head and body out. No sockets.
 *
 * Promise: the same request or the same fault comes out however the bytes were cut. Memory is bounded
 *          by the limits and grows with what has arrived, not with what was announced.
 * Shape:   caller-owned; request_clear makes it ready for the next one and keeps modest memory.
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

enum request_phase {
    REQUEST_BEFORE, /* nothing but empty lines seen */
    REQUEST_HEAD,
    REQUEST_LENGTH, /* body of known length */
    REQUEST_CHUNKS,
    REQUEST_TRAILER,
    REQUEST_DONE,
    REQUEST_BAD,
};

struct request {
    enum request_phase phase;
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

void http_request_init(struct request *r);
void http_request_release(struct request *r);
void request_clear(struct request *r);

/*
 * Takes bytes until the request changes phase to a body, DONE or BAD, or they are used up. Returns how
 * many were taken. Not to be called after DONE or BAD.
 */
size_t request_take(struct request *r, const struct http_limits *limits, struct span bytes);

size_t request_memory_bytes(const struct request *r);
/* Value of the first field of that name, case ignored; data == NULL when absent. */
struct span request_header(const struct request *r, const char *name);

static inline bool request_in_body(const struct request *r) {
    return r->phase >= REQUEST_LENGTH && r->phase <= REQUEST_TRAILER;
}

#endif
