#include "engine/timekeeper.h"

/* 1/5000 = 200 ppm: what a disciplined clock may drift, and far below what any pace would notice. */
#define CATCH_UP_DIVISOR 5000u

/* Before the end of the process the time may have lagged by as much as no jump is: that is no time that passed. */
void timekeeper_init(struct timekeeper *t, uint64_t last_ns, uint64_t real_ns,
                     uint64_t monotonic_ns) {
    uint64_t floor_ns = last_ns != 0 ? real_ns - TIMEKEEPER_LAG_NS : real_ns;
    t->time_ns = last_ns > floor_ns ? last_ns : floor_ns;
    t->monotonic_ns = monotonic_ns;
    t->starts_after_ns = monotonic_ns;
}

/*
 * Every wait under way is shortened by the jump. A pace whose period is not longer than the hold is then kept
 * by the hold alone, whatever became of its tokens. An hour's jump is not worth an hour.
 */
static void jump(struct timekeeper *t, uint64_t real_ns) {
    uint64_t hold_ns = real_ns - t->time_ns;
    hold_ns = hold_ns < TIMEKEEPER_HOLD_MIN_NS ? TIMEKEEPER_HOLD_MIN_NS : hold_ns;
    hold_ns = hold_ns > TIMEKEEPER_HOLD_MAX_NS ? TIMEKEEPER_HOLD_MAX_NS : hold_ns;
    uint64_t after_ns = t->monotonic_ns + hold_ns;
    t->time_ns = real_ns;
    t->starts_after_ns = after_ns > t->starts_after_ns ? after_ns : t->starts_after_ns;
}

uint64_t timekeeper_advance(struct timekeeper *t, uint64_t real_ns, uint64_t monotonic_ns) {
    if (monotonic_ns <= t->monotonic_ns)
        return t->time_ns;
    uint64_t passed_ns = monotonic_ns - t->monotonic_ns;
    t->monotonic_ns = monotonic_ns;
    if (t->time_ns > real_ns) {
        t->time_ns += passed_ns / 2;
        return t->time_ns;
    }
    t->time_ns += passed_ns;
    if (real_ns > t->time_ns + TIMEKEEPER_JUMP_NS) {
        jump(t, real_ns);
    } else if (real_ns > t->time_ns) {
        uint64_t behind_ns = real_ns - t->time_ns;
        uint64_t step_ns = passed_ns / CATCH_UP_DIVISOR;
        t->time_ns += behind_ns < step_ns ? behind_ns : step_ns;
    }
    return t->time_ns;
}
