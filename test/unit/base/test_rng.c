#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"

static void same_seed_same_numbers(void **state) {
    (void)state;
    struct rng a, b, other;
    rng_init(&a, 42);
    rng_init(&b, 42);
    rng_init(&other, 43);
    int differing = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t x = rng_next(&a);
        assert_true(x == rng_next(&b));
        differing += x != rng_next(&other);
    }
    assert_int_equal(differing, 100);
}

/* From state {1, 2, 3, 4}, as printed by the authors' reference program. */
static void follows_the_published_algorithm(void **state) {
    (void)state;
    struct rng r = {{1, 2, 3, 4}};
    assert_true(rng_next(&r) == 11520);
    assert_true(rng_next(&r) == 0);
    assert_true(rng_next(&r) == 1509978240);
    assert_true(rng_next(&r) == 1215971899390074240);
}

static void below_is_uniform_and_below(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 7);
    uint32_t counts[10] = {0};
    for (int i = 0; i < 100000; i++) {
        uint64_t x = rng_below(&r, 10);
        assert_true(x < 10);
        counts[x]++;
    }
    for (int i = 0; i < 10; i++) {
        assert_in_range(counts[i], 9500, 10500);
    }
    assert_true(rng_below(&r, 1) == 0);
    uint64_t big = (UINT64_C(1) << 63) + 1;
    for (int i = 0; i < 1000; i++) {
        assert_true(rng_below(&r, big) < big);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_numbers),
        cmocka_unit_test(follows_the_published_algorithm),
        cmocka_unit_test(below_is_uniform_and_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
