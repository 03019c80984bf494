#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "window.h"

#define LENGTH_NS UINT64_C(1000)
#define EVENTS    20000u

/* Events in (times[last] - length, times[last]], counted one by one. */
static uint32_t count_by_hand(const uint64_t *times, uint32_t last) {
    uint32_t count = 0;
    for (uint32_t i = 0; i <= last; i++)
        if (times[i] + LENGTH_NS > times[last])
            count++;
    return count;
}

/* Gaps from none to longer than the window, in stretches, so that it fills, drains and empties. */
static uint64_t gap(struct rng *r, uint32_t event) {
    static const uint64_t spread[] = {1, 2, 7, 60, 900, 2500};
    return rng_below(r, spread[(event / 500 + 3) % 6]);
}

static void counts_as_a_loop_over_all_arrivals_does(void **state) {
    (void)state;
    struct rng r;
    struct window w;
    uint64_t *times = test_calloc(EVENTS, sizeof(*times));
    uint64_t now_ns = 5;
    uint32_t most = 0;
    rng_init(&r, 20);
    assert_int_equal(window_init(&w, LENGTH_NS), 0);
    for (uint32_t i = 0; i < EVENTS; i++) {
        now_ns += gap(&r, i);
        times[i] = now_ns;
        assert_int_equal(window_add(&w, now_ns), 0);
        uint32_t expected = count_by_hand(times, i);
        most = expected > most ? expected : most;
        assert_int_equal(window_count(&w, now_ns), expected);
        assert_int_equal(w.most, most);
    }
    assert_true(most > 1024); /* the ring has grown at least once */
    window_release(&w);
    test_free(times);
}

static void an_event_leaves_exactly_one_length_later(void **state) {
    (void)state;
    struct window w;
    assert_int_equal(window_init(&w, LENGTH_NS), 0);
    assert_int_equal(window_wait_ns(&w, 10), 0);
    assert_int_equal(window_add(&w, 10), 0);
    assert_int_equal(window_count(&w, 10 + LENGTH_NS - 1), 1);
    assert_int_equal(window_wait_ns(&w, 10 + LENGTH_NS - 1), 1);
    assert_int_equal(window_count(&w, 10 + LENGTH_NS), 0);
    assert_int_equal(w.most, 1);
    window_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_as_a_loop_over_all_arrivals_does),
        cmocka_unit_test(an_event_leaves_exactly_one_length_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
