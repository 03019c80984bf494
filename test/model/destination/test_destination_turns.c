/*
 * Starts that are decided ahead of their turns, against the far side's view: the history of turns, over crashes at any point.
 *
 * One destination with a random smooth rate, redefined at times, fed by one queue (by turns) or for a while by two (not); the
 * engine comes late by up to 100 ms; ends come at random; the program is killed, with what had not left, and goes on at
 * once or later. Checked at each start j, with T_k what start k cost when it was made:
 *
 *   turns    for each earlier start i: the sum over k = i..j-1 of T_k <= turn_j - turn_i by turns, and the allowance of
 *            the burst more where it leaves at once. So no window has more than 1 + window / T, whatever crashed in it.
 *   ahead    a start is decided at most 56 ms before its turn, and alone only when that is near.
 *   places   with a cap of concurrency what is decided ahead has its place.
 *   use      while nothing comes later than 8 ms and nothing crashes no turn is lost: each is exactly T after the one before.
 *
 * SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "model/destination_state.h"
#include "push.h"
#include "seeds.h"

#define HISTORY_MAX 6000u
#define LOOK_BACK   400u
#define OPEN_MAX    200u

struct past {
    uint64_t turn_ns;
    struct pace_def def;
};

struct twin {
    struct world w;
    struct past history[HISTORY_MAX];
    uint32_t count;
    struct pace_def def;
    struct attempt_start open[OPEN_MAX];
    uint64_t open_until_ns[OPEN_MAX]; /* when it leaves, and a while */
    uint32_t open_count;
    bool two_queues;
    bool on_time;   /* since the last start: nothing that may cost a turn */
    uint32_t exact; /* turns that were seen to be exactly behind one another */
};

static uint64_t below(struct twin *t, uint64_t bound) {
    return rng_below(&t->w.rng, bound);
}

static void define(struct twin *t) {
    static const uint32_t rates[] = {1, 5, 50, 130, 500, 777, 2000};
    t->def = push_pace(rates[below(t, 7)], 0);
    t->def.concurrency = below(t, 3) ? 0 : 1 + (uint32_t)below(t, 60);
    assert_int_equal(push_define_destination(&t->w, "out", t->def), REFUSAL_NONE);
    t->def.burst = pace_burst(&t->def);
    t->on_time = false;
}

static void second_queue(struct twin *t) {
    t->two_queues = !t->two_queues;
    push_define_queue(&t->w, "q1", t->two_queues ? "out" : "", push_pace(0, 1), NULL);
    t->on_time = false;
}

/* ---- the promises ---- */

static uint64_t cost_ns(const struct pace_def *def) {
    return def->period_ns / def->count; /* rounded down: the sums are on the safe side */
}

static void check_turns(const struct twin *t, bool by_turns) {
    const struct past *last = &t->history[t->count - 1];
    uint64_t allowance_ns = by_turns ? 0 : (last->def.burst - 1) * (cost_ns(&last->def) + 1);
    uint64_t sum_ns = 0;
    for (uint32_t back = 2; back <= LOOK_BACK && back <= t->count; back++) {
        const struct past *p = &t->history[t->count - back];
        sum_ns += cost_ns(&p->def);
        uint64_t window_ns = last->turn_ns > p->turn_ns ? last->turn_ns - p->turn_ns : 0;
        assert_true(sum_ns <= window_ns + allowance_ns);
    }
}

/* A whole turn, or one ns more where a turn is no whole number of them. */
static void check_use(struct twin *t) {
    if (t->on_time && t->count >= 2) {
        const struct past *last = &t->history[t->count - 1];
        uint64_t gap_ns = last->turn_ns - t->history[t->count - 2].turn_ns;
        assert_in_range(gap_ns, cost_ns(&last->def), cost_ns(&last->def) + 1);
        t->exact++;
    }
    t->on_time = true;
}

static void started(struct twin *t, const struct attempt_start *start, bool alone) {
    bool by_turns = start->gap_ns != 0;
    assert_true(by_turns || start->ahead_ns == 0);
    assert_false(by_turns && t->two_queues);
    assert_true(start->ahead_ns <= (alone ? TURN_NEAR_NS : TURN_AHEAD_NS));
    t->history[t->count++] = (struct past){t->w.now_ns + start->ahead_ns, t->def};
    check_turns(t, by_turns);
    if (by_turns) {
        check_use(t);
    } else {
        t->on_time = false; /* few places were left: it left when it could */
    }
    t->open[t->open_count] = *start;
    t->open_until_ns[t->open_count++] = t->w.now_ns + start->ahead_ns + below(t, 30 * NS_PER_MS);
    assert_true(t->def.concurrency == 0 || push_info(&t->w, "out").in_flight <= t->def.concurrency);
}

/* ---- steps ---- */

static bool has_room(const struct twin *t) {
    return t->count < HISTORY_MAX && t->open_count < OPEN_MAX;
}

/* As the engine gathers: one because it must be, the others with it. */
static void step_starts(struct twin *t) {
    struct attempt_start start;
    for (bool alone = true; has_room(t); alone = false) {
        if (!(alone ? push_start(&t->w, &start) : push_start_ahead(&t->w, &start))) {
            return;
        }
        started(t, &start, alone);
    }
}

static void step_ends(struct twin *t) {
    for (uint32_t i = 0; i < t->open_count;) {
        if (t->open_until_ns[i] > t->w.now_ns) {
            i++;
            continue;
        }
        push_finish(&t->w, &t->open[i], 200, 0);
        t->open[i] = t->open[--t->open_count];
        t->open_until_ns[i] = t->open_until_ns[t->open_count];
    }
}

/* What had its turn has left, what had not never will; both are unknown, and go again. */
static void step_crash(struct twin *t) {
    world_reload(&t->w);
    t->w.now_ns += below(t, 3) ? 0 : below(t, 200 * NS_PER_MS);
    assert_int_equal(push_recover(&t->w), t->open_count);
    t->open_count = 0;
    t->on_time = false;
}

/* To when the engine is woken, and a little or much later; idle a while when nothing is to be done. */
static void step_time(struct twin *t) {
    uint64_t next_ns = model_next_start_ns(t->w.model, t->w.now_ns);
    if (has_room(t)) {
        assert_true(next_ns > t->w.now_ns); /* else the engine would spin */
    }
    bool late = below(t, 20) == 0;
    uint64_t most_ns = next_ns != UINT64_MAX && next_ns - t->w.now_ns < 2 * NS_PER_SECOND
                           ? next_ns - t->w.now_ns
                           : 20 * NS_PER_MS;
    bool sooner = below(t, 4) == 0; /* some request comes before */
    t->w.now_ns += sooner ? below(t, most_ns + 1) : most_ns;
    t->w.now_ns += late ? below(t, 100 * NS_PER_MS) : below(t, TURN_NEAR_NS / 2);
    bool short_of_places =
        t->def.concurrency != 0 && push_info(&t->w, "out").in_flight >= t->def.concurrency / 2;
    t->on_time = t->on_time && !late && next_ns != UINT64_MAX && has_room(t) && !short_of_places;
}

static void step(struct twin *t) {
    for (uint64_t n = below(t, 40); n > 0; n--) {
        push_publish(&t->w, t->two_queues && below(t, 2) ? "q1" : "q0");
    }
    step_ends(t);
    step_starts(t);
    switch (below(t, 60)) {
    case 0:
        step_crash(t);
        break;
    case 1:
        define(t);
        break;
    case 2:
        second_queue(t);
        break;
    default:
        break;
    }
    step_starts(t);
    step_time(t);
}

static uint32_t run(uint64_t seed) {
    static struct twin t;
    memset(&t, 0, sizeof t);
    world_init(&t.w, NULL);
    rng_init(&t.w.rng, seed);
    define(&t);
    push_define_queue(&t.w, "q0", "out", push_pace(0, 1), NULL);
    for (int i = 0; i < 400; i++) {
        step(&t);
    }
    model_check(t.w.model);
    world_check_replay(&t.w);
    world_reload(&t.w);
    world_release(&t.w);
    return t.exact;
}

static void turns_hold_over_crashes(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(20);
    uint32_t exact = 0;
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        exact += run(seed);
    }
    assert_true(seeds.first == seeds.last || exact > 1000); /* else the use was not looked at */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(turns_hold_over_crashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
