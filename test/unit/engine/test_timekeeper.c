#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/timekeeper.h"

#define START (1000 * NS_PER_SECOND)

static void follows_the_wall_clock(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, 0, START, 5);
    assert_int_equal(timekeeper_advance(&t, START + 70, 75), START + 70);
}

static void starts_at_the_last_record_when_the_wall_clock_was_set_back(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, START + NS_PER_SECOND, START, 0);
    uint64_t later = timekeeper_advance(&t, START + NS_PER_MS, NS_PER_MS);
    assert_int_equal(later, START + NS_PER_SECOND + NS_PER_MS / 2);
}

static void a_small_lag_is_caught_up_slowly(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, 0, START, 0);
    /* The wall clock gains 15 ms at once: below the limit of a jump. */
    uint64_t one = timekeeper_advance(&t, START + NS_PER_SECOND + 15 * NS_PER_MS, NS_PER_SECOND);
    assert_int_equal(one, START + NS_PER_SECOND + NS_PER_SECOND / 5000);
    assert_int_equal(t.starts_after_ns, 0);
}

static void a_jump_is_followed_and_holds_starts_for_its_length(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, 0, START, 0);
    timekeeper_advance(&t, START + 10 * NS_PER_SECOND + NS_PER_MS, NS_PER_MS);
    assert_int_equal(t.time_ns, START + 10 * NS_PER_SECOND + NS_PER_MS);
    assert_int_equal(t.starts_after_ns, NS_PER_MS + 10 * NS_PER_SECOND);
    timekeeper_advance(&t, START + 100000 * NS_PER_SECOND, 2 * NS_PER_MS);
    assert_int_equal(t.starts_after_ns, 2 * NS_PER_MS + TIMEKEEPER_HOLD_MAX_NS);
}

/* Found by the simulator: the second hold put an end to the first. */
static void a_shorter_hold_does_not_end_a_longer_one(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, 0, START, 0);
    timekeeper_advance(&t, START + 10 * NS_PER_SECOND + NS_PER_MS, NS_PER_MS);
    timekeeper_advance(&t, START + 13 * NS_PER_SECOND + 2 * NS_PER_MS, 2 * NS_PER_MS);
    assert_int_equal(t.starts_after_ns, NS_PER_MS + 10 * NS_PER_SECOND);
}

/* Found by the simulator: a wait of 100 ms was over after a jump of 60 ms and a hold of as much. */
static void a_short_jump_holds_starts_for_two_seconds(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, 0, START, 0);
    timekeeper_advance(&t, START + 61 * NS_PER_MS, NS_PER_MS);
    assert_int_equal(t.time_ns, START + 61 * NS_PER_MS);
    assert_int_equal(t.starts_after_ns, NS_PER_MS + TIMEKEEPER_HOLD_MIN_NS);
}

/* Found by the simulator: a restart made up at once for a lag that was being caught up slowly. */
static void a_restart_does_not_make_up_for_a_lag(void **state) {
    (void)state;
    struct timekeeper t;
    timekeeper_init(&t, START, START + NS_PER_SECOND, 7);
    assert_int_equal(t.time_ns, START + NS_PER_SECOND - TIMEKEEPER_LAG_NS);
    timekeeper_init(&t, START, START + 5 * NS_PER_MS, 7);
    assert_int_equal(t.time_ns, START);
    assert_int_equal(t.starts_after_ns, 7);
}

/* Whatever the wall clock does: never back, and never more than 200 ppm faster than monotonic but in a jump. */
static void never_goes_back(void **state) {
    (void)state;
    struct rng random;
    rng_init(&random, 7);
    struct timekeeper t;
    uint64_t real = START, monotonic = 0;
    timekeeper_init(&t, 0, real, monotonic);
    for (int i = 0; i < 100000; i++) {
        uint64_t before = t.time_ns;
        uint64_t step = rng_below(&random, 10 * NS_PER_MS);
        monotonic += step;
        real += step;
        if (rng_below(&random, 100) == 0)
            real += rng_below(&random, 6 * NS_PER_SECOND) - 3 * NS_PER_SECOND;
        uint64_t now = timekeeper_advance(&t, real, monotonic);
        assert_true(now >= before);
        if (now - before <= step + step / 5000 + 1)
            continue;
        assert_true(now == real && now - before > TIMEKEEPER_JUMP_NS);
        assert_true(t.starts_after_ns >= monotonic + TIMEKEEPER_HOLD_MIN_NS);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_wall_clock),
        cmocka_unit_test(starts_at_the_last_record_when_the_wall_clock_was_set_back),
        cmocka_unit_test(a_small_lag_is_caught_up_slowly),
        cmocka_unit_test(a_jump_is_followed_and_holds_starts_for_its_length),
        cmocka_unit_test(a_shorter_hold_does_not_end_a_longer_one),
        cmocka_unit_test(a_short_jump_holds_starts_for_two_seconds),
        cmocka_unit_test(a_restart_does_not_make_up_for_a_lag),
        cmocka_unit_test(never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
