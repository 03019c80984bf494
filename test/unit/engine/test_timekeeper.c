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
    /* The wall clock gains 1 s at once: below the limit of a jump. */
    uint64_t one = timekeeper_advance(&t, START + 2 * NS_PER_SECOND, NS_PER_SECOND);
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

/* Whatever the wall clock does: never back, and never more than 200 ppm faster than monotonic but in a jump. */
static void never_goes_back(void **state) {
    (void)state;
    struct rng random;
    rng_init(&random, 7);
    struct timekeeper t;
    uint64_t real = START, monotonic = 0;
    timekeeper_init(&t, 0, real, monotonic);
    for (int i = 0; i < 100000; i++) {
        uint64_t before = t.time_ns, hold_before = t.starts_after_ns;
        uint64_t step = rng_below(&random, 10 * NS_PER_MS);
        monotonic += step;
        real += step;
        if (rng_below(&random, 100) == 0)
            real += rng_below(&random, 6 * NS_PER_SECOND) - 3 * NS_PER_SECOND;
        uint64_t now = timekeeper_advance(&t, real, monotonic);
        assert_true(now >= before);
        if (t.starts_after_ns == hold_before)
            assert_true(now - before <= step + step / 5000 + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_wall_clock),
        cmocka_unit_test(starts_at_the_last_record_when_the_wall_clock_was_set_back),
        cmocka_unit_test(a_small_lag_is_caught_up_slowly),
        cmocka_unit_test(a_jump_is_followed_and_holds_starts_for_its_length),
        cmocka_unit_test(never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
