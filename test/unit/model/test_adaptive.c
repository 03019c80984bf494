/* The limit that is found: a far side that slows down beyond a number of calls, errors, and no use of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/adaptive.h"

static const struct adaptive_def def = {.floor = 2, .ceiling = 200};

/* A far side that bears `capacity` at a time in 10 ms; what is over queues up there. */
static uint64_t answer_us(uint32_t in_flight, uint32_t capacity) {
    return in_flight <= capacity ? 10000 : (uint64_t)10000 * in_flight / capacity;
}

static uint64_t now_ns;

static void load(struct adaptive *a, uint32_t calls, uint32_t capacity) {
    for (uint32_t i = 0; i < calls; i++) {
        uint32_t in_flight = adaptive_limit(a, &def); /* a backlog: always as many as may be */
        assert_in_range(in_flight, def.floor, def.ceiling);
        adaptive_end(a, &def, in_flight, OUTCOME_GOOD, answer_us(in_flight, capacity),
                     now_ns += 10 * NS_PER_MS);
    }
}

static void it_finds_what_is_borne(void **state) {
    (void)state;
    struct adaptive a = {0};
    adaptive_define(&a, &def);
    assert_int_equal(adaptive_limit(&a, &def), 8);
    load(&a, 3000, 40);
    assert_in_range(adaptive_limit(&a, &def), 40,
                    100); /* 1.5 times as long is tolerated, and some more */
    load(&a, 3000, 10);
    assert_in_range(adaptive_limit(&a, &def), 8, 60);
}

static void errors_take_a_tenth(void **state) {
    (void)state;
    struct adaptive a = {0};
    adaptive_define(&a, &def);
    load(&a, 2000, 100);
    uint32_t before = adaptive_limit(&a, &def);
    adaptive_end(&a, &def, before, OUTCOME_BAD, 10000, now_ns);
    assert_in_range(adaptive_limit(&a, &def), before * 9 / 10 - 1, before * 9 / 10);
    for (int i = 0; i < 100; i++) {
        adaptive_end(&a, &def, before, OUTCOME_BAD, 10000, now_ns);
    }
    assert_int_equal(adaptive_limit(&a, &def), def.floor);
}

static void it_does_not_grow_unused(void **state) {
    (void)state;
    struct adaptive a = {0};
    adaptive_define(&a, &def);
    uint32_t before = adaptive_limit(&a, &def);
    for (int i = 0; i < 1000; i++) {
        adaptive_end(&a, &def, 1, OUTCOME_GOOD, 10000, now_ns);
    }
    assert_int_equal(adaptive_limit(&a, &def), before);
}

static void off(void **state) {
    (void)state;
    struct adaptive a = {0};
    struct adaptive_def none = {.floor = 1};
    adaptive_define(&a, &none);
    adaptive_end(&a, &none, 5, OUTCOME_BAD, 1, now_ns);
    assert_true(adaptive_limit(&a, &none) == UINT32_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_is_borne), cmocka_unit_test(errors_take_a_tenth),
        cmocka_unit_test(it_does_not_grow_unused), cmocka_unit_test(off)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
