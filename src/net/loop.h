/*
 * net/loop.h - one I/O thread: a libuv loop, and a mailbox through which other threads reach it.
 *
 * Promise: everything of a loop runs on its thread; only net_loop_post and net_loop_stop may be called from others.
 * Shape:   opaque. A posted item is handed to its `run` on the loop's thread, in order of posting per
 *          poster; many posts cost one wake-up.
 */
#ifndef SLUICE_NET_LOOP_H
#define SLUICE_NET_LOOP_H

#include <uv.h>

#include "base/compiler.h"

struct net_loop;

/* Embedded in whatever is sent to the loop. Owned by the loop from post until `run`. */
struct net_item {
    struct net_item *next; /* link */
    void (*run)(struct net_item *item);
};

struct net_loop_options {
    const char *name; /* thread name, at most 15 bytes */
    void *context;    /* borrows: for before_wait */
    /*
     * Called on the thread each time the loop has handled what was ready and is about to wait: the
     * moment to submit what was collected as one batch. May be NULL.
     */
    void (*before_wait)(void *context, struct net_loop *loop);
};

/* Makes the loop and its thread. The thread starts with net_loop_run, so set-up is race-free. */
MUST_CHECK int net_loop_create(const struct net_loop_options *options, struct net_loop **ret_loop);
/* Starts the thread. */
MUST_CHECK int net_loop_run(struct net_loop *loop);
/* Any thread. */
void net_loop_post(struct net_loop *loop, struct net_item *item);
/* Any thread: a chain linked by `next`, in order; one wake-up. */
void net_loop_post_chain(struct net_loop *loop, struct net_item *first, struct net_item *last);
/* Any thread: ends the loop once its handles are closed. */
void net_loop_stop(struct net_loop *loop);
/* After stop: joins and frees. */
void net_loop_free(struct net_loop *loop);
/* The loop's own thread only. */
uv_loop_t *net_loop_uv(struct net_loop *loop);

#endif
