/* The climb after idle time, by rate and by calls under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/ramp.h"

#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

static uint32_t starts_in(struct ramp *r, const struct ramp_def *def, struct limits *l,
                          uint64_t from_ns, uint64_t span_ns) {
    uint32_t started = 0;
    for (uint64_t now_ns = from_ns; now_ns < from_ns + span_ns; now_ns += NS_PER_MS) {
        while (limits_wait_ns(l, now_ns) == 0 && ramp_wait_ns(r, def, l, now_ns) == 0) {
            limits_start(l, now_ns);
            ramp_start(r, def, l, now_ns);
            limits_end(l, now_ns);
            ramp_end(r, now_ns);
            started++;
        }
    }
    return started;
}

static void the_rate_climbs(void **state) {
    (void)state;
    const struct ramp_def def = {.duration_ns = 10 * NS_PER_SECOND, .idle_ns = NS_PER_SECOND};
    const struct pace_def pace = {.count = 100, .period_ns = NS_PER_SECOND, .burst = 4};
    struct limits l;
    struct ramp r = {0};
    limits_init(&l);
    assert_int_equal(limits_define(&l, &pace, 1, 0), 0);
    uint32_t first = starts_in(&r, &def, &l, T0, NS_PER_SECOND); /* a tenth */
    starts_in(&r, &def, &l, T0 + NS_PER_SECOND, 4 * NS_PER_SECOND);
    uint32_t half = starts_in(&r, &def, &l, T0 + 5 * NS_PER_SECOND, NS_PER_SECOND);
    starts_in(&r, &def, &l, T0 + 6 * NS_PER_SECOND, 4 * NS_PER_SECOND);
    uint32_t all = starts_in(&r, &def, &l, T0 + 10 * NS_PER_SECOND, NS_PER_SECOND);
    assert_in_range(first, 9, 12);
    assert_in_range(half, 48, 60);
    assert_in_range(all, 97, 104);
    /* An idle second later it begins anew. */
    assert_in_range(starts_in(&r, &def, &l, T0 + 13 * NS_PER_SECOND, NS_PER_SECOND), 9, 12);
    limits_release(&l);
}

static void without_a_rate_the_calls_under_way_climb(void **state) {
    (void)state;
    const struct ramp_def def = {.duration_ns = 10 * NS_PER_SECOND};
    const struct pace_def pace = {.period_ns = NS_PER_SECOND, .concurrency = 100};
    struct limits l;
    struct ramp r = {0};
    limits_init(&l);
    assert_int_equal(limits_define(&l, &pace, 1, 0), 0);
    ramp_begin(&r, &def, T0);
    uint32_t open = 0;
    for (; ramp_wait_ns(&r, &def, &l, T0) == 0; open++) {
        limits_start(&l, T0);
        ramp_start(&r, &def, &l, T0);
    }
    assert_in_range(open, 10, 11);
    assert_true(ramp_wait_ns(&r, &def, &l, T0) < NS_PER_SECOND); /* looked at again */
    assert_int_equal(ramp_wait_ns(&r, &def, &l, T0 + 5 * NS_PER_SECOND), 0);
    assert_int_equal(ramp_wait_ns(&r, &def, &l, T0 + 10 * NS_PER_SECOND), 0);
    limits_release(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_rate_climbs),
                                       cmocka_unit_test(without_a_rate_the_calls_under_way_climb)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
