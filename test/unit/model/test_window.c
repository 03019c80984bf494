/* A sliding count against a naive one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "model/window.h"

#define CALLS 2000u

/* What is at most 15/16 of the width old is counted, what is older than the width is not. */
static void as_a_naive_count(void **state) {
    (void)state;
    static uint64_t at_ns[CALLS];
    struct rng rng;
    rng_init(&rng, 7);
    struct window w = {0};
    window_define(&w, NS_PER_SECOND);
    uint64_t now_ns = UINT64_C(1700000000) * NS_PER_SECOND;
    for (uint32_t n = 0; n < CALLS; n++) {
        now_ns += rng_below(&rng, rng_below(&rng, 50) == 0 ? 3 * NS_PER_SECOND : 20 * NS_PER_MS);
        at_ns[n] = now_ns;
        window_add(&w, now_ns, (struct call_count){.total = 1, .bad = n % 3 == 0});
        uint32_t least = 0, most = 0;
        for (uint32_t i = 0; i <= n; i++) {
            least += now_ns - at_ns[i] < NS_PER_SECOND / 16 * 15;
            most += now_ns - at_ns[i] <= NS_PER_SECOND;
        }
        assert_in_range(window_sum(&w, now_ns).total, least, most);
    }
    assert_int_equal(window_sum(&w, now_ns + NS_PER_SECOND).total, 0);
}

static void another_width_empties_it(void **state) {
    (void)state;
    struct window w = {0};
    window_define(&w, NS_PER_SECOND);
    window_add(&w, 5 * NS_PER_SECOND, (struct call_count){.total = 1});
    window_define(&w, NS_PER_SECOND);
    assert_int_equal(window_sum(&w, 5 * NS_PER_SECOND).total, 1);
    window_define(&w, 2 * NS_PER_SECOND);
    assert_int_equal(window_sum(&w, 5 * NS_PER_SECOND).total, 0);
}

static void it_does_not_overflow(void **state) {
    (void)state;
    struct window w = {0};
    window_define(&w, NS_PER_SECOND);
    window_add(&w, NS_PER_SECOND, (struct call_count){.total = UINT32_MAX});
    window_add(&w, NS_PER_SECOND, (struct call_count){.total = 5, .bad = 1});
    assert_int_equal(window_sum(&w, NS_PER_SECOND).total, UINT32_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_a_naive_count),
                                       cmocka_unit_test(another_width_empties_it),
                                       cmocka_unit_test(it_does_not_overflow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
