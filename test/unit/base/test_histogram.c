#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/histogram.h"
#include "base/rng.h"

#define SAMPLES 20000

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Against the sorted samples: never below the true quantile, at most 1/32 above. */
static void quantiles_agree_with_sorting(void **state) {
    (void)state;
    static struct histogram h;
    static uint64_t samples[SAMPLES];
    struct rng r;
    rng_init(&r, 11);
    histogram_init(&h);
    for (int i = 0; i < SAMPLES; i++) {
        samples[i] = rng_next(&r) >> (23 + rng_below(&r, 40));
        histogram_add(&h, samples[i]);
    }
    qsort(samples, SAMPLES, sizeof *samples, compare_u64);
    const double quantiles[] = {0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0};
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        uint64_t truth = samples[(size_t)(quantiles[i] * SAMPLES) - 1];
        uint64_t told = histogram_quantile_ns(&h, quantiles[i]);
        assert_true(told >= truth);
        assert_true(told <= truth + truth / 32 + 1);
    }
    assert_true(h.max_ns == samples[SAMPLES - 1] && h.min_ns == samples[0]);
}

static void small_and_huge_times(void **state) {
    (void)state;
    static struct histogram h;
    histogram_init(&h);
    assert_true(histogram_quantile_ns(&h, 0.5) == 0);
    histogram_add(&h, 0);
    histogram_add(&h, 31);
    histogram_add(&h, 32);
    histogram_add(&h, UINT64_MAX);
    assert_true(histogram_quantile_ns(&h, 0.25) == 0);
    assert_true(histogram_quantile_ns(&h, 0.5) == 31);
    assert_true(histogram_quantile_ns(&h, 0.75) == 32);
    assert_true(histogram_quantile_ns(&h, 1.0) == UINT64_MAX);
    assert_int_equal(histogram_count_up_to(&h, 31), 2);
    assert_int_equal(histogram_count_up_to(&h, UINT64_MAX), 4);
}

static void merging_is_adding_all(void **state) {
    (void)state;
    static struct histogram a, b, all;
    histogram_init(&a);
    histogram_init(&b);
    histogram_init(&all);
    for (uint64_t i = 1; i <= 1000; i++) {
        histogram_add(i % 3 == 0 ? &a : &b, i * i);
        histogram_add(&all, i * i);
    }
    histogram_merge(&a, &b);
    assert_memory_equal(&a, &all, sizeof a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_agree_with_sorting),
        cmocka_unit_test(small_and_huge_times),
        cmocka_unit_test(merging_is_adding_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
