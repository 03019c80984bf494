#include "engine/timekeeper.h"

/* 1/5000 = 200 ppm: what a disciplined clock may drift, and far below what any pace would notice. */
#define CATCH_UP_DIVISOR 5000u

void timekeeper_init(struct timekeeper *t, uint64_t last_ns, uint64_t real_ns,
                     uint64_t monotonic_ns) {
    t->time_ns = last_ns > real_ns ? last_ns : real_ns;
    t->monotonic_ns = monotonic_ns;
    t->starts_after_ns = monotonic_ns;
}

/* The jump shortened every wait by `jump_ns`, so starts wait for that long; an hour's jump is not worth an hour. */
static void jump(struct timekeeper *t, uint64_t real_ns) {
    uint64_t jump_ns = real_ns - t->time_ns;
    uint64_t hold_ns = jump_ns < TIMEKEEPER_HOLD_MAX_NS ? jump_ns : TIMEKEEPER_HOLD_MAX_NS;
    t->time_ns = real_ns;
    t->starts_after_ns = t->monotonic_ns + hold_ns;
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
