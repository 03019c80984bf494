/*
 * engine/timekeeper.h - the time of records: follows the wall clock, never goes back, never hurries.
 *
 * Promise: time_ns never decreases. It runs at the speed of the monotonic clock, at most 200 ppm
 *          faster to catch up, at half speed while it is ahead of a wall clock that was set back. When the
 *          wall clock jumps ahead by more than 20 ms it jumps along, and starts_after_ns says until when
 *          (monotonic) no attempt may start, so that no pace sees its tokens come back early: for the
 *          length of the jump, 2 s at least, a minute at most. So a pace of one second, or two, is kept
 *          whatever the wall clock does; one with a longer period while the jump is longer than it.
 *          A restart goes on 19 ms behind the wall clock, which is caught up as any lag is. What it
 *          cannot know is a jump while nothing ran, or a hold that was not over.
 * Shape:   plain struct, both clocks passed in.
 */
#ifndef SLUICE_ENGINE_TIMEKEEPER_H
#define SLUICE_ENGINE_TIMEKEEPER_H

#include <stdint.h>

#define TIMEKEEPER_JUMP_NS     20000000ull
#define TIMEKEEPER_LAG_NS      19000000ull /* a little less: the clocks are not read at once */
#define TIMEKEEPER_HOLD_MIN_NS 2000000000ull
#define TIMEKEEPER_HOLD_MAX_NS 60000000000ull

struct timekeeper {
    uint64_t time_ns;
    uint64_t monotonic_ns;    /* at the last advance */
    uint64_t starts_after_ns; /* monotonic */
};

/* last_ns: time of the last record, 0 without. */
void timekeeper_init(struct timekeeper *t, uint64_t last_ns, uint64_t real_ns,
                     uint64_t monotonic_ns);
/* The time now. */
uint64_t timekeeper_advance(struct timekeeper *t, uint64_t real_ns, uint64_t monotonic_ns);

#endif
