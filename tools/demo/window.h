/*
 * window.h - exact count of events in a sliding window of time.
 *
 * Promise: the count after an event at t is the number of events in (t - length, t], by a log of every
 *          arrival in that window: no buckets, no estimate. The largest of these counts is the largest
 *          number of events in any window of that length, wherever it starts, because a fullest window
 *          can always be moved until an event is its last moment.
 * Units:   ns of one clock that never goes back.
 * Shape:   plain struct, caller-owned; time is passed in. Memory: 8 bytes per event in the window, up to
 *          WINDOW_EVENTS_MAX.
 */
#ifndef SLUICE_DEMO_WINDOW_H
#define SLUICE_DEMO_WINDOW_H

#include <stdint.h>

#include "base/compiler.h"

#define WINDOW_EVENTS_MAX (UINT32_C(1) << 22)

struct window {
    uint64_t *times; /* owns; ring, capacity is a power of two */
    uint32_t capacity, first, count;
    uint32_t most; /* largest count so far */
    uint64_t length_ns;
};

/* E_NOMEM. */
MUST_CHECK int window_init(struct window *w, uint64_t length_ns);
void window_release(struct window *w);
/* Events in (now_ns - length, now_ns]. */
uint32_t window_count(struct window *w, uint64_t now_ns);
/* E_NOMEM, E_LIMIT: not counted. */
MUST_CHECK int window_add(struct window *w, uint64_t now_ns);
/* Time until the oldest event leaves the window; 0 when it is empty. */
uint64_t window_wait_ns(struct window *w, uint64_t now_ns);

#endif
