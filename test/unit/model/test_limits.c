/* Several paces at once: each holds as if it were alone, also over definitions that change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "model/limits.h"

#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

#define STARTS_MAX 6000u

static uint64_t starts[STARTS_MAX];
static uint32_t count;

static const struct pace_def second_and_minute[] = {
    {.mode = PACE_STRICT, .count = 50, .period_ns = NS_PER_SECOND, .burst = 50},
    {.mode = PACE_STRICT, .count = 400, .period_ns = 60 * NS_PER_SECOND, .burst = 400},
    {.concurrency = 8, .period_ns = NS_PER_SECOND},
};

static uint32_t most_in(uint64_t window_ns) {
    uint32_t most = 0, first = 0;
    for (uint32_t i = 0; i < count; i++) {
        while (starts[i] - starts[first] >= window_ns) {
            first++;
        }
        most = i - first + 1 > most ? i - first + 1 : most;
    }
    return most;
}

static void reload(struct limits *l) {
    struct buffer saved;
    buffer_init(&saved, 1 << 20);
    assert_int_equal(limits_save(l, &saved), 0);
    struct reader in;
    reader_init(&in, buffer_span(&saved));
    assert_int_equal(limits_load(l, &in), 0);
    assert_true(reader_done(&in));
    buffer_release(&saved);
}

/* A backlog for `seconds`; each call takes 20 ms with a jitter; a snapshot comes back now and then. */
static void run(struct limits *l, struct rng *rng, uint64_t *now_ns, uint32_t seconds) {
    uint64_t end_ns[16];
    uint32_t open = 0;
    uint64_t until_ns = *now_ns + seconds * NS_PER_SECOND;
    while (*now_ns < until_ns) {
        for (uint32_t i = 0; i < open;) {
            if (end_ns[i] <= *now_ns) {
                limits_end(l, *now_ns);
                end_ns[i] = end_ns[--open];
            } else {
                i++;
            }
        }
        while (limits_wait_ns(l, *now_ns) == 0 && open < 16) {
            limits_start(l, *now_ns);
            starts[count++ % STARTS_MAX] = *now_ns;
            end_ns[open++] = *now_ns + rng_below(rng, 40 * NS_PER_MS);
        }
        assert_true(limits_in_flight(l) <= 8);
        limits_check(l);
        if (rng_below(rng, 100) == 0) {
            reload(l);
        }
        *now_ns += rng_below(rng, 4 * NS_PER_MS);
    }
    while (open-- > 0) {
        limits_end(l, *now_ns);
    }
}

static void no_window_is_exceeded(void **state) {
    (void)state;
    struct limits l;
    struct rng rng;
    uint64_t now_ns = T0;
    rng_init(&rng, 3);
    limits_init(&l);
    count = 0;
    assert_int_equal(limits_define(&l, second_and_minute, 3, now_ns), 0);
    run(&l, &rng, &now_ns, 150);
    assert_in_range(count, 1150, 1200); /* 400 a minute, all of it used */
    assert_in_range(most_in(NS_PER_SECOND), 45, 50);
    assert_true(most_in(60 * NS_PER_SECOND) <= 400);
    limits_release(&l);
}

/* Each goes on from the one with its period, whatever the order; so no change lets more through. */
static void changes_at_run_time(void **state) {
    (void)state;
    struct limits l;
    struct rng rng;
    uint64_t now_ns = T0;
    rng_init(&rng, 4);
    limits_init(&l);
    count = 0;
    assert_int_equal(limits_define(&l, second_and_minute, 3, now_ns), 0);
    for (int i = 0; i < 20; i++) {
        struct pace_def turned[3] = {second_and_minute[i % 3], second_and_minute[(i + 1) % 3],
                                     second_and_minute[(i + 2) % 3]};
        run(&l, &rng, &now_ns, 5);
        assert_int_equal(limits_define(&l, turned, 3, now_ns), 0);
    }
    assert_true(most_in(NS_PER_SECOND) <= 50);
    assert_true(most_in(60 * NS_PER_SECOND) <= 400);
    limits_release(&l);
}

static void a_new_limit_has_its_burst_to_earn(void **state) {
    (void)state;
    struct limits l;
    limits_init(&l);
    assert_int_equal(limits_define(&l, second_and_minute, 1, T0), 0);
    limits_start(&l, T0);
    struct pace_def two[] = {second_and_minute[0],
                             {.count = 60, .period_ns = 60 * NS_PER_SECOND, .burst = 30}};
    assert_int_equal(limits_define(&l, two, 2, T0), 0);
    assert_int_equal(limits_in_flight(&l), 1);
    assert_int_equal(limits_wait_ns(&l, T0), 0);
    limits_start(&l, T0);
    assert_int_equal(limits_wait_ns(&l, T0), NS_PER_SECOND);
    limits_release(&l);
}

static void what_may_be_gathered(void **state) {
    (void)state;
    struct limits l;
    limits_init(&l);
    struct pace_def smooth = {.count = 500, .period_ns = NS_PER_SECOND};
    assert_int_equal(limits_define(&l, &smooth, 1, T0), 0);
    assert_int_equal(limits_gather_ns(&l), 2 * NS_PER_MS);
    smooth.burst = 1; /* each late start would be lost */
    assert_int_equal(limits_define(&l, &smooth, 1, T0), 0);
    assert_int_equal(limits_gather_ns(&l), 0);
    smooth.mode = PACE_STRICT;
    smooth.burst = 100;
    assert_int_equal(limits_define(&l, &smooth, 1, T0), 0);
    assert_int_equal(limits_gather_ns(&l), 0);
    limits_release(&l);
}

/* Each start at the turn that the last of the limits gives it, and then none of them makes it wait. */
static void turns_of_several(void **state) {
    (void)state;
    struct limits l;
    limits_init(&l);
    assert_false(limits_by_turns(&l));
    struct pace_def both[] = {{.count = 500, .period_ns = NS_PER_SECOND},
                              {.count = 20000, .period_ns = 3600 * NS_PER_SECOND},
                              {.concurrency = 1000, .period_ns = NS_PER_SECOND}};
    assert_int_equal(limits_define(&l, both, 3, T0), 0);
    assert_true(limits_by_turns(&l));
    uint64_t turn_ns = T0;
    for (int i = 0; i < 100; i++) {
        turn_ns = limits_turn_ns(&l, T0);
        assert_int_equal(turn_ns, T0 + (uint64_t)i * 180 * NS_PER_MS);
        assert_int_equal(limits_wait_ns(&l, turn_ns), 0);
        limits_start(&l, turn_ns);
        assert_int_equal(limits_gap_ns(&l), 180 * NS_PER_MS);
    }
    both[1].mode = PACE_STRICT;
    assert_int_equal(limits_define(&l, both, 3, T0), 0);
    assert_false(limits_by_turns(&l));
    both[2].concurrency = 0;
    assert_int_equal(limits_define(&l, &both[2], 1, T0), 0);
    assert_false(limits_by_turns(&l)); /* without a rate there is no turn */
    limits_release(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_window_is_exceeded), cmocka_unit_test(changes_at_run_time),
        cmocka_unit_test(a_new_limit_has_its_burst_to_earn), cmocka_unit_test(what_may_be_gathered),
        cmocka_unit_test(turns_of_several)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
