/*
 * Pace against a naive twin: the whole history in arrays, every promise checked against all of it.
 *
 * Times, rates, answer times, unknown outcomes, restarts (save and load) and definitions are random; the seed is
 * printed, and SEED=n repeats a run. What is checked, at each start j at t_j under definition D_j:
 *
 *   rate    for each earlier start i: the sum over k = i..j-1 of T_k <= (t_j - t_i) + (burst_j - 1) * T_j,
 *           where T_k is what start k cost when it was made. With one definition that is the
 *           promise of GCRA: at most burst + t / T starts in any window.
 *   strict  of all attempts ever made, fewer than `count` are under way or ended less than a period ago.
 *   cap     fewer than `concurrency` are under way.
 *
 * While the definition stays, waits are also compared to the ns with what the history says, so the pace is
 * not slower than promised either.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "model/pace.h"

#define HISTORY_MAX 3000u
#define UNDER_WAY   UINT64_MAX

__extension__ typedef __int128 int128;

struct attempt {
    uint64_t start_ns;
    uint64_t end_ns; /* UNDER_WAY */
    uint64_t takes_ns;
    struct pace_def def; /* when it started */
};

struct twin {
    struct attempt history[HISTORY_MAX];
    uint32_t count;
    uint32_t open; /* under way */
    struct pace_def def;
    bool redefined; /* since the beginning */
    uint64_t now_ns;
    struct rng rng;
    struct pace pace;
};

static long double cost_of(const struct pace_def *def) {
    return def->count == 0 ? 0 : (long double)def->period_ns / def->count;
}

/* ---- promises over the whole history ---- */

static void check_rate(const struct twin *t) {
    const struct attempt *last = &t->history[t->count - 1];
    if (last->def.count == 0) {
        return;
    }
    long double allowance = (last->def.burst - 1) * cost_of(&last->def);
    long double sum = 0;
    for (uint32_t i = t->count - 1; i-- > 0;) {
        sum += cost_of(&t->history[i].def);
        long double window = (long double)(last->start_ns - t->history[i].start_ns);
        assert_true(sum <= window + allowance + 0.01L);
    }
}

static void check_strict(const struct twin *t) {
    const struct attempt *last = &t->history[t->count - 1];
    if (last->def.count == 0 || last->def.mode != PACE_STRICT) {
        return;
    }
    uint32_t others = 0;
    for (uint32_t i = 0; i < t->count - 1; i++) {
        const struct attempt *a = &t->history[i];
        others += a->end_ns == UNDER_WAY || a->end_ns + last->def.period_ns > last->start_ns;
    }
    assert_true(others < last->def.count);
}

static void check_concurrency(const struct twin *t) {
    assert_true(t->def.concurrency == 0 || t->open <= t->def.concurrency);
    assert_int_equal(t->pace.in_flight, t->open);
}

/* ---- what the wait must be, from the history ---- */

static uint64_t gcra_wait_ns(const struct twin *t) {
    int128 count = t->def.count, period = (int128)t->def.period_ns;
    int128 earliest = 0; /* in count-ths of a ns */
    for (uint32_t i = 0; i < t->count; i++) {
        int128 at = (int128)t->history[i].start_ns * count + (int128)(t->count - i) * period;
        earliest = at > earliest ? at : earliest;
    }
    int128 wait = earliest - (int128)(t->def.burst - 1) * period - (int128)t->now_ns * count;
    return wait <= 0 ? 0 : (uint64_t)((wait + count - 1) / count);
}

static int newest_first(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static uint64_t tokens_wait_ns(const struct twin *t) {
    if (t->open >= t->def.count) {
        return PACE_WAIT_FOR_END;
    }
    static uint64_t ends[HISTORY_MAX];
    uint32_t ended = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->history[i].end_ns != UNDER_WAY) {
            ends[ended++] = t->history[i].end_ns;
        }
    }
    qsort(ends, ended, sizeof *ends, newest_first);
    uint32_t may_be_spent = t->def.count - 1 - t->open;
    if (ended <= may_be_spent) {
        return 0;
    }
    uint64_t free_ns = ends[may_be_spent] + t->def.period_ns;
    return free_ns > t->now_ns ? free_ns - t->now_ns : 0;
}

static uint64_t expected_wait_ns(const struct twin *t) {
    if (t->def.concurrency != 0 && t->open >= t->def.concurrency) {
        return PACE_WAIT_FOR_END;
    }
    if (t->def.count == 0) {
        return 0;
    }
    uint64_t wait_ns = gcra_wait_ns(t);
    uint64_t tokens_ns = t->def.mode == PACE_STRICT ? tokens_wait_ns(t) : 0;
    return tokens_ns > wait_ns ? tokens_ns : wait_ns;
}

/* ---- random steps ---- */

static struct pace_def random_def(struct rng *r) {
    static const uint64_t periods[] = {NS_PER_SECOND, 60 * NS_PER_SECOND, 100 * NS_PER_MS,
                                       999999937};
    struct pace_def def = {
        .mode = rng_below(r, 2) ? PACE_STRICT : PACE_SMOOTH,
        .count = (uint32_t)rng_below(r, rng_below(r, 4) ? 30 : 300),
        .period_ns = periods[rng_below(r, 4)],
        .burst = 1 + (uint32_t)rng_below(r, rng_below(r, 2) ? 4 : 40),
        .concurrency = rng_below(r, 3) ? 0 : 1 + (uint32_t)rng_below(r, 20),
    };
    return def;
}

static void step_time(struct twin *t) {
    uint64_t mean_ns = t->def.count == 0 ? NS_PER_MS : t->def.period_ns / t->def.count;
    static const uint64_t tenths[] = {0, 1, 5, 10, 20, 100};
    t->now_ns += rng_below(&t->rng, 1 + mean_ns * tenths[rng_below(&t->rng, 6)] / 10);
}

static void step_start(struct twin *t) {
    uint64_t wait_ns = pace_wait_ns(&t->pace, t->now_ns);
    if (!t->redefined) {
        assert_true(wait_ns == expected_wait_ns(t));
    }
    if (wait_ns == PACE_WAIT_FOR_END) {
        assert_true(t->open > 0);
        return;
    }
    if (wait_ns > 1 && rng_below(&t->rng, 2)) { /* as a patient dispatcher does */
        assert_true(pace_wait_ns(&t->pace, t->now_ns + wait_ns - 1) == 1);
        t->now_ns += wait_ns;
        wait_ns = 0;
    }
    if (wait_ns > 0) {
        return;
    }
    pace_start(&t->pace, t->now_ns);
    t->history[t->count++] = (struct attempt){
        .start_ns = t->now_ns,
        .end_ns = UNDER_WAY,
        .takes_ns = rng_below(&t->rng, 3) ? 20 * NS_PER_MS : rng_below(&t->rng, 3 * NS_PER_SECOND),
        .def = t->def,
    };
    t->open++;
    check_rate(t);
    check_strict(t);
    check_concurrency(t);
}

/* What has had its time ends; now and then one of them without a known outcome. */
static void step_ends(struct twin *t, bool all) {
    for (uint32_t i = 0; i < t->count; i++) {
        struct attempt *a = &t->history[i];
        if (a->end_ns != UNDER_WAY || (!all && a->start_ns + a->takes_ns > t->now_ns)) {
            continue;
        }
        a->end_ns = t->now_ns;
        if (all || rng_below(&t->rng, 50) == 0) {
            uint64_t over_ns = a->start_ns + 5 * NS_PER_SECOND;
            a->end_ns = over_ns > t->now_ns ? over_ns : t->now_ns;
        }
        pace_end(&t->pace, a->end_ns);
        t->open--;
    }
}

static void step_restart(struct twin *t) {
    struct buffer saved;
    buffer_init(&saved, 1 << 20);
    assert_int_equal(pace_save(&t->pace, &saved), 0);
    pace_release(&t->pace);
    pace_init(&t->pace);
    struct reader in;
    reader_init(&in, buffer_span(&saved));
    assert_int_equal(pace_load(&t->pace, &in), 0);
    assert_true(reader_done(&in));
    buffer_release(&saved);
    if (rng_below(&t->rng, 2)) { /* it was a crash */
        t->now_ns += rng_below(&t->rng, 3 * NS_PER_SECOND);
        step_ends(t, true);
    }
}

static void step_define(struct twin *t) {
    t->def = random_def(&t->rng);
    t->redefined = true;
    assert_int_equal(pace_define(&t->pace, &t->def), 0);
}

static void run(uint64_t seed, bool redefine) {
    static struct twin t;
    t = (struct twin){.now_ns = UINT64_C(1700000000) * NS_PER_SECOND};
    rng_init(&t.rng, seed);
    t.def = random_def(&t.rng);
    pace_init(&t.pace);
    assert_int_equal(pace_define(&t.pace, &t.def), 0);
    uint32_t starts_wanted = 50 + (uint32_t)rng_below(&t.rng, 400);
    for (int i = 0; i < 20000 && t.count < starts_wanted; i++) {
        step_time(&t);
        step_ends(&t, false);
        step_start(&t);
        if (rng_below(&t.rng, 200) == 0) {
            step_restart(&t);
        }
        if (redefine && rng_below(&t.rng, 60) == 0) {
            step_define(&t);
        }
        pace_check(&t.pace);
    }
    pace_release(&t.pace);
}

static uint64_t first_seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static void run_many(bool redefine) {
    uint64_t first = first_seed();
    uint64_t runs = getenv("SEED") != NULL ? 1 : 150;
    for (uint64_t seed = first; seed < first + runs; seed++) {
        print_message("seed %llu\r", (unsigned long long)seed);
        run(seed, redefine);
    }
    print_message("seeds %llu..%llu\n", (unsigned long long)first,
                  (unsigned long long)(first + runs - 1));
}

static void one_definition_to_the_ns(void **state) {
    (void)state;
    run_many(false);
}

static void definitions_that_change(void **state) {
    (void)state;
    run_many(true);
}

/* ---- how much of the limit is used while there is a backlog ---- */

struct answer {
    uint64_t due_ns[4096];
    uint32_t first, count;
};

static uint32_t run_backlog(struct pace_def def, uint64_t answer_ns, uint64_t duration_ns) {
    static struct answer open;
    struct pace p;
    pace_init(&p);
    assert_int_equal(pace_define(&p, &def), 0);
    open.first = open.count = 0;
    uint32_t started = 0;
    for (uint64_t now_ns = NS_PER_SECOND; now_ns < NS_PER_SECOND + duration_ns;) {
        while (open.count > 0 && open.due_ns[open.first % 4096] <= now_ns) {
            pace_end(&p, open.due_ns[open.first++ % 4096]);
            open.count--;
        }
        uint64_t wait_ns = pace_wait_ns(&p, now_ns);
        if (wait_ns == 0) {
            pace_start(&p, now_ns);
            open.due_ns[(open.first + open.count++) % 4096] = now_ns + answer_ns;
            started++;
            continue;
        }
        uint64_t answered_ns = open.count > 0 ? open.due_ns[open.first % 4096] : UINT64_MAX;
        now_ns = wait_ns != PACE_WAIT_FOR_END && now_ns + wait_ns < answered_ns ? now_ns + wait_ns
                                                                                : answered_ns;
    }
    pace_release(&p);
    return started;
}

static void the_limit_is_used(void **state) {
    (void)state;
    struct pace_def def = {.count = 500, .period_ns = NS_PER_SECOND, .burst = 4};
    uint32_t full = 500 * 60;
    assert_in_range(run_backlog(def, 20 * NS_PER_MS, 60 * NS_PER_SECOND), full * 995 / 1000,
                    full + 4);
    def.mode = PACE_STRICT;
    assert_in_range(run_backlog(def, 20 * NS_PER_MS, 60 * NS_PER_SECOND), full * 97 / 100, full);
    def.count = 777777; /* T is no whole number of ns */
    def.mode = PACE_SMOOTH;
    assert_in_range(run_backlog(def, 0, NS_PER_SECOND), 777777 - 1, 777777 + 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_definition_to_the_ns),
        cmocka_unit_test(definitions_that_change),
        cmocka_unit_test(the_limit_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
