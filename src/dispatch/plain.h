/*
 * dispatch/plain.h - plain connections that stay: one request at a time, HTTP/1.1, no proxy, no TLS.
 *
 *      a socket that curl connected --open--> idle --ask--> asked --whole answer, lives--> idle
 *                                              |              |
 *                                              +-- any byte --+-- anything else --> closed
 *                                                 or an end
 *
 * Promise: what is asked ends in exactly one `done`, never inside plain_ask, unless it is abandoned before. A request
 *          leaves once: a connection that breaks is an end, BROKEN if any of the request had left, else
 *          CONNECT. A connection is used again only if its whole request left, the answer ended where it said,
 *          and not a byte followed; an idle one on which something comes, or which the far side closes, is closed before
 *          another request leaves on it, if that lay there PLAIN_LOOKED_NS before.
 *          An answer that comes before the whole request has left ends it at once from 400 on; a better one waits
 *          until the rest has left, for the far side may still be reading.
 * Limits:  idle for PLAIN_IDLE_NS, open for PLAIN_LIFE_NS (so names are asked again), answers as in answer.h.
 * Shape:   on the loop's thread. Between requests a connection is watched as it was: an exchange costs one sendmsg and one
 *          recv, and one that only looks where the loop has not looked just before. Time-outs are kept by a timer that is moved only when it would ring too late.
 */
#ifndef SLUICE_DISPATCH_PLAIN_H
#define SLUICE_DISPATCH_PLAIN_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/list.h"
#include "dispatch/answer.h"
#include "dispatch/transport.h"
#include "model/request.h"

#define PLAIN_IDLE_NS        (118 * NS_PER_SECOND) /* both as curl has them */
#define PLAIN_LIFE_NS        (300 * NS_PER_SECOND)
#define PLAIN_LOOKED_NS      NS_PER_MS
#define PLAIN_HEAD_MAX_BYTES (256u << 10)

struct plain;

/* All there are. */
struct plains {
    struct transport *transport; /* borrows */
    struct list idle;            /* struct plain; the longest first */
    uint32_t asked;              /* under way */
    uint32_t silent;             /* of them: the whole request left and nothing came yet */
    uint64_t looked_ns;          /* monotonic: what lay on idle ones then was acted upon */
    uint8_t *bytes;              /* owns: what is read, for a moment */
};

struct plain_end {
    enum attempt_error error;
    uint16_t status; /* 0: none came. With an error: that of a head that came nevertheless */
    uint64_t retry_after_s;
    bool enough;         /* `take` wanted no more of the answer */
    bool not_understood; /* what came was no HTTP/1.1 that we read */
};

struct plain_request {
    struct span body;              /* borrowed until the end */
    bool to_head;                  /* a HEAD request */
    uint64_t deadline_ns;          /* monotonic */
    uint64_t first_byte_within_ns; /* within so much the answer must begin; 0: by the deadline */
    answer_body *take;
    void (*done)(void *context, const struct plain_end *end);
    void *context;
};

MUST_CHECK int plains_init(struct plains *all, struct transport *transport);
/* Every connection was closed. */
void plains_release(struct plains *all);
/* Whether nobody who was asked has begun to answer, as transport_is_silent. */
bool plains_are_silent(const struct plains *all);
/* False: none is idle. */
bool plains_close_idlest(struct plains *all);

/* The socket that transport_done hands over. `kept`: where it is while idle. NULL: no memory; it is closed. */
struct plain *plain_open(struct plains *all, struct list *kept);
/*
 * The loop is about to look at its sockets, all of them, and to act on what lies there before plain_take is asked. For
 * PLAIN_LOOKED_NS nobody looks again then.
 */
void plains_look_follows(struct plains *all, uint64_t now_ns);
/* The one of `kept` that was used last, idle no more; those that are too old, ended or said something are closed. NULL: none is left. */
struct plain *plain_take(struct list *kept, uint64_t now_ns);
/* For the request's head; empty. */
struct buffer *plain_head(struct plain *p);
/* Sends head and body. */
void plain_ask(struct plain *p, const struct plain_request *request);
/* Closes it, whatever it does; `done` is not called. */
void plain_close(struct plain *p);
void plains_close_kept(struct list *kept);

#endif
