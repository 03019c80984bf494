/* Live bytes of segments, in whatever order they come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/bodies.h"

static uint32_t by_thousand(uint64_t address) {
    return (uint32_t)(address / 1000);
}

static struct bodies b;

static int setup(void **state) {
    bodies_init(&b);
    b.segment_of = by_thousand;
    return 0;
}

static int teardown(void **state) {
    bodies_release(&b);
    return 0;
}

static void test_adds_and_removes(void **state) {
    assert_int_equal(bodies_add(&b, 5001, 10), 0);
    assert_int_equal(bodies_add(&b, 5999, 7), 0);
    assert_int_equal(bodies_add(&b, 6000, 1), 0);
    assert_int_equal(bodies_live(&b, 5), 17);
    assert_int_equal(bodies_live(&b, 6), 1);
    assert_int_equal(bodies_live(&b, 4), 0);
    assert_int_equal(bodies_live(&b, 7), 0);
    bodies_remove(&b, 5001, 10);
    assert_int_equal(bodies_live(&b, 5), 7);
}

/* A snapshot lists messages by queue, not by segment. */
static void test_any_order(void **state) {
    static const uint32_t order[] = {500, 3, 900, 499, 4, 901, 2};
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        assert_int_equal(bodies_add(&b, order[i] * 1000ull + 1, order[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        assert_int_equal(bodies_live(&b, order[i]), order[i]);
    }
    assert_int_equal(bodies_live(&b, 1), 0);
    assert_int_equal(bodies_live(&b, 600), 0);
    static const uint32_t sorted[] = {2, 3, 4, 499, 500, 900, 901};
    uint32_t at = 1;
    for (size_t i = 0; i < ARRAY_LENGTH(sorted); i++, at++) {
        assert_int_equal(at = bodies_next_live(&b, at), sorted[i]);
    }
    assert_int_equal(bodies_next_live(&b, at), 0);
}

/* The array is as long as the living log, not as its history. */
static void test_forgets_the_dead_front(void **state) {
    for (uint32_t segment = 1; segment < 100000; segment++) {
        assert_int_equal(bodies_add(&b, segment * 1000ull, 5), 0);
        if (segment > 3) {
            bodies_remove(&b, (segment - 3) * 1000ull, 5);
        }
    }
    assert_true(b.capacity <= 64);
    assert_int_equal(bodies_live(&b, 99999), 5);
    assert_int_equal(bodies_live(&b, 99996), 0);
}

static void test_address_zero_is_nothing(void **state) {
    assert_int_equal(bodies_add(&b, 0, 10), 0);
    bodies_remove(&b, 0, 10);
    assert_int_equal(b.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_adds_and_removes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgets_the_dead_front, setup, teardown),
        cmocka_unit_test_setup_teardown(test_address_zero_is_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
