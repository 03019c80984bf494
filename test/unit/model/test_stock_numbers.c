#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "model/stock_numbers.h"

static void test_ascending(void **state) {
    (void)state;
    struct number_set s;
    number_set_init(&s);
    for (uint32_t n = 1; n <= 300000; n++) { /* past the third level */
        assert_int_equal(number_set_free_after(&s, 0), n);
        assert_int_equal(number_set_take(&s, n), 0);
    }
    assert_int_equal(number_set_take(&s, 7), E_EXISTS);
    number_set_give(&s, 262144);
    number_set_give(&s, 4097);
    assert_int_equal(number_set_free_after(&s, 0), 4097);
    assert_int_equal(number_set_free_after(&s, 4097), 262144);
    assert_int_equal(number_set_free_after(&s, 262144), 300001);
    assert_int_equal(s.used, 299998);
    assert_true(number_set_memory_bytes(&s) < 300000 / 8 * 3);
    number_set_release(&s);
}

static void test_edges(void **state) {
    (void)state;
    struct number_set s;
    number_set_init(&s);
    assert_int_equal(number_set_take(&s, 0), E_EXISTS);
    assert_int_equal(number_set_take(&s, UINT32_MAX), E_EXISTS);
    assert_false(number_set_has(&s, 20000000));
    assert_int_equal(number_set_take(&s, 20000000), 0);
    assert_true(number_set_has(&s, 20000000));
    assert_int_equal(number_set_free_after(&s, 19999999), 20000001);
    assert_int_equal(number_set_free_after(&s, 0), 1);
    number_set_release(&s);
}

#define TWIN 5000u

static uint32_t twin_free_after(const uint8_t *used, uint32_t after) {
    uint32_t n = after + 1;
    while (n < TWIN && used[n]) {
        n++;
    }
    return n;
}

static void test_against_array(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint8_t used[TWIN + 1] = {0};
        struct rng rng;
        struct number_set s;
        rng_init(&rng, seed);
        number_set_init(&s);
        uint64_t takes = 40 + rng_below(&rng, 50); /* fuller or emptier */
        for (unsigned i = 0; i < 20000; i++) {
            uint32_t n = (uint32_t)rng_below(&rng, TWIN - 1) + 1;
            if (rng_below(&rng, 100) < takes) {
                assert_int_equal(number_set_take(&s, n), used[n] ? E_EXISTS : 0);
                used[n] = 1;
            } else if (used[n]) {
                number_set_give(&s, n);
                used[n] = 0;
            }
            uint32_t after = (uint32_t)rng_below(&rng, TWIN - 2);
            if (number_set_free_after(&s, after) != twin_free_after(used, after)) {
                fail_msg("seed %lu, step %u", (unsigned long)seed, i);
            }
        }
        number_set_release(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascending),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_against_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
