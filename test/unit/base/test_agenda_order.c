/* Few and many, in orders that others sort slowly: against the C library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/agenda_order.h"
#include "base/rng.h"

#define MOST 300u

enum shape { RANDOM, UP, DOWN, ONE_TIME, TWO_TIMES, SHAPES };

static uint64_t time_of(enum shape shape, struct rng *r, uint32_t i) {
    switch (shape) {
    case RANDOM:
        return rng_below(r, UINT64_MAX);
    case UP:
        return i;
    case DOWN:
        return MOST - i;
    case ONE_TIME:
        return 7;
    default:
        return rng_below(r, 2);
    }
}

static void make(enum shape shape, struct rng *r, struct agenda_entry *e, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint64_t key = (uint64_t)(i * 17 % MOST) << 32 | i; /* each once, in no order */
        e[i] = (struct agenda_entry){time_of(shape, r, i), key, i + 1};
    }
}

static int compare(const void *a, const void *b) {
    return agenda_before(*(const struct agenda_entry *)a, *(const struct agenda_entry *)b) ? -1 : 1;
}

/* The cell, which is no part of the order, goes with its entry. */
static void assert_alike(const struct agenda_entry *a, const struct agenda_entry *b) {
    assert_true(agenda_same(*a, *b));
    assert_int_equal(a->cell, b->cell);
}

static void check_one(enum shape shape, struct rng *r, uint32_t n) {
    static struct agenda_entry e[MOST], sorted[MOST], room[MOST];
    make(shape, r, e, n);
    memcpy(sorted, e, sizeof sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    agenda_sort(e, room, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_alike(&e[i], &sorted[i]);
    }
}

static void sorts_as_the_library_does(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 20261121);
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        for (uint32_t n = 0; n < MOST; n++) {
            check_one((enum shape)shape, &r, n);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sorts_as_the_library_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
