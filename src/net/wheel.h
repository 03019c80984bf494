/*
 * net/wheel.h - coarse timers for very many connections: setting one later costs one store.
 *
 * Promise: `fire` is called once, on the first wheel_advance at or after due time rounded up to
 *          WHEEL_TICK_MS; never before it is due.
 * Shape:   intrusive, caller-owned, no clock, no allocation. A timer may be set or cancelled from any
 *          `fire`, its own included.
 * Units:   ms of any monotonic clock, the same in every call.
 */
#ifndef SLUICE_NET_WHEEL_H
#define SLUICE_NET_WHEEL_H

#include <stdint.h>

#include "base/list.h"

#define WHEEL_TICK_MS 32u
#define WHEEL_SLOTS   1024u
#define WHEEL_NEVER   UINT64_MAX

struct wheel_timer {
    struct list_node node;
    uint64_t due_ms;  /* WHEEL_NEVER: not set */
    uint64_t seen_ms; /* when its slot comes round; <= due_ms while linked and set */
    void (*fire)(struct wheel_timer *t);
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t tick;      /* the last one handled, in WHEEL_TICK_MS */
    uint64_t next_tick; /* no slot before it has a timer; WHEEL_NEVER: no slot has */
    uint32_t linked;    /* timers in slots, those not set included */
};

void wheel_init(struct wheel *w, uint64_t now_ms);
void wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t));
/* Sets or moves it. WHEEL_NEVER: keeps it from firing, at the price of a store. */
void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t due_ms);
/* Takes it out, so that its memory may go. */
void wheel_cancel(struct wheel *w, struct wheel_timer *t);
void wheel_advance(struct wheel *w, uint64_t now_ms);
/* Before that time wheel_advance has nothing to do. WHEEL_NEVER: nothing at all. */
uint64_t wheel_next_ms(const struct wheel *w);

#endif
