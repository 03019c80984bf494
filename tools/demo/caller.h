/*
 * caller.h - one keep-alive connection of the crowd, which asks one entry at a time.
 *
 * Promise: each caller_ask ends in exactly one of `answered` and `lost`. A connection that breaks is
 *          made again until it holds, each time after a short random pause.
 * Shape:   caller-owned struct on one libuv loop; `ready` tells that caller_ask may be called (from
 *          within it, too).
 */
#ifndef SLUICE_DEMO_CALLER_H
#define SLUICE_DEMO_CALLER_H

#include <http_parser.h>
#include <uv.h>

#include "base/buffer.h"
#include "base/rng.h"

#define CALLER_ANSWER_MAX (64u << 10)

struct caller;

struct caller_events {
    void *context; /* borrows */
    void (*ready)(void *context, struct caller *c);
    void (*answered)(void *context, struct caller *c, uint32_t click, int status, struct span body);
    void (*lost)(void *context, struct caller *c, uint32_t click);
};

enum caller_state { CALLER_AWAY, CALLER_CONNECTING, CALLER_IDLE, CALLER_ASKING, CALLER_CLOSING };

struct caller {
    uv_loop_t *loop;                    /* borrows */
    const struct caller_events *events; /* borrows */
    const struct sockaddr_in *address;  /* borrows */
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_timer_t timer; /* while AWAY: when to connect again */
    http_parser parser;
    struct rng rng;
    enum caller_state state;
    bool complete; /* the answer under way has ended */
    bool stopping;
    uint32_t click;     /* while ASKING */
    uint64_t asked_ms;  /* loop time */
    struct buffer body; /* of the answer */
};

/* Starts connecting. */
void caller_init(struct caller *c, uv_loop_t *loop, const struct sockaddr_in *address,
                 const struct caller_events *events, uint64_t seed);
/* IDLE only. `request` is not kept. */
void caller_ask(struct caller *c, uint32_t click, struct span request);
/* Gives up on an answer that takes longer than this: `lost`. */
void caller_check(struct caller *c, uint64_t timeout_ms);
/* Closes for good, without `lost`. caller_release after the loop has run dry. */
void caller_stop(struct caller *c);
void caller_release(struct caller *c);

#endif
