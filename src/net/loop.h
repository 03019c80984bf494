/*
 * net/loop.h - one I/O thread: a libuv loop, and a mailbox through which other threads reach it.
 *
 * Promise: everything of a loop runs on its thread; only net_loop_post and net_loop_stop may be
 *          called from others. (Until net_loop_run the maker's thread counts as the loop's thread, and
 *          again in net_loop_free.)
 * Shape:   opaque. A posted item is handed to its `run` on the loop's thread, in order of posting per
 *          poster; many posts cost one wake-up, and posts to a loop that is not asleep cost none.
 *
 * One turn of the loop:
 *
 *      handle what is ready ──► what the turn before left for later (net_loop_later) ──┐
 *      ┌───────────────────────────────────────────────────────────────────────────────┘
 *      └──► posted items ──► before_wait ──► posted items ──► deferred items ──► wait
 *                ▲   (again, while that made new work)             │
 *                └─────────────────────────────────────────────────┘
 *
 * Streams write in the deferred step, so that all answers of a turn leave in one write a connection.
 */
#ifndef SLUICE_NET_LOOP_H
#define SLUICE_NET_LOOP_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/list.h"

struct net_loop;
struct wheel;

/* Embedded in whatever is sent to the loop. Owned by the loop from post until `run`. */
struct net_item {
    struct net_item *next; /* link */
    void (*run)(struct net_item *item);
};

/* Embedded in what wants to go on in the next turn. May be taken out again: list_remove. */
struct net_later {
    struct list_node node; /* in the loop's, until `run` */
    void (*run)(struct net_later *later);
    uint64_t turn; /* in which it was added */
};

struct net_loop_options {
    const char *name; /* thread name, at most 15 bytes */
    void *context;    /* borrows: for before_wait */
    /*
     * Called on the thread each time the loop has handled what was ready and is about to wait: the
     * moment to submit what was collected as one batch. May be called more than once a turn, also
     * with nothing collected. May be NULL.
     */
    void (*before_wait)(void *context, struct net_loop *loop);
};

/* Makes the loop and its thread. The thread starts with net_loop_run, so set-up is race-free. */
MUST_CHECK int net_loop_create(const struct net_loop_options *options, struct net_loop **ret_loop);
/* Starts the thread, with all signals blocked. */
MUST_CHECK int net_loop_run(struct net_loop *loop);
/* Any thread. */
void net_loop_post(struct net_loop *loop, struct net_item *item);
/* Any thread: ends the loop once the handles on it are closed (servers freed). */
void net_loop_stop(struct net_loop *loop);
/* After stop, or instead of run: joins and frees. Items posted after the end are dropped. */
void net_loop_free(struct net_loop *loop);

/* ---- the loop's own thread only ---- */

uv_loop_t *net_loop_uv(struct net_loop *loop);
/* Time of this turn, monotonic. */
uint64_t net_loop_now_ms(const struct net_loop *loop);
/* Runs `item` in the deferred step of this turn. It must not be deferred already. */
void net_loop_defer(struct net_loop *loop, struct net_item *item);
/* Which turn this is: a number that no other has. */
uint64_t net_loop_turn(const struct net_loop *loop);
/* Runs `later` in the next turn, behind what the sockets that are ready then bring; that turn begins without a wait. */
void net_loop_later(struct net_loop *loop, struct net_later *later);
/* From a posted or deferred item: new work was made (input handled, something asked), so go through the steps again. */
void net_loop_again(struct net_loop *loop);
/*
 * From the end of a callback of libuv's, with nothing of a protocol on the stack: runs what was posted, and the
 * deferred step. A turn that reads from hundreds of streams then does not keep answers waiting that are
 * there already, and their readers go on with their next requests meanwhile. Cheap when nothing was.
 */
void net_loop_breathe(struct net_loop *loop);
/* Timers of this loop, in net_loop_now_ms time; see net/wheel.h. */
struct wheel *net_loop_wheel(struct net_loop *loop);

/* Room for one read, shared by all streams of the loop: valid until the next one reads. */
#define NET_READ_BYTES (64u * 1024)
uint8_t *net_loop_read_room(struct net_loop *loop);
/* As large again, for what TLS made of it. */
uint8_t *net_loop_plain_room(struct net_loop *loop);

/*
 * Output memory, recycled so that a stream holds some only while it has unsent bytes. `take` gives
 * an empty buffer of some capacity; `give` takes it back and leaves `b` empty, without memory.
 */
MUST_CHECK int net_loop_take_buffer(struct net_loop *loop, struct buffer *b);
void net_loop_give_buffer(struct net_loop *loop, struct buffer *b);

#endif
