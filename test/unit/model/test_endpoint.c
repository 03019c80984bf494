/* Ejection, its share, its growth; what checks and people say; another definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/definition.h"
#include "model/endpoint.h"

#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

#define N 4u

static char a[] = "a", b[] = "b", c[] = "c", x[] = "x", d[] = "d", url[] = "http://there";
static struct endpoint_def defs[N] = {{a, url, 1}, {b, url, 1}, {c, url, 1}, {d, url, 1}};
static const struct balance_def def = {.eject_errors = 3,
                                       .eject_success_percent = 50,
                                       .eject_minimum = 10,
                                       .eject_ns = 10 * NS_PER_SECOND,
                                       .eject_max_percent = 50};

static void ends(struct endpoints *e, uint32_t i, enum call_outcome outcome, int times,
                 uint64_t now_ns) {
    for (int n = 0; n < times; n++) {
        e->items[i].in_flight++;
        endpoint_end(e, &def, e->items[i].id, outcome, 1000, now_ns);
    }
}

static void make(struct endpoints *e) {
    endpoints_init(e);
    assert_int_equal(endpoints_define(e, defs, N, &def), 0);
}

static void errors_in_a_row(void **state) {
    (void)state;
    struct endpoints e;
    uint64_t at_ns;
    make(&e);
    ends(&e, 0, OUTCOME_BAD, 2, T0);
    ends(&e, 0, OUTCOME_GOOD, 1, T0);
    ends(&e, 0, OUTCOME_BAD, 2, T0);
    assert_true(endpoint_is_in(&e.items[0], T0, NULL));
    ends(&e, 0, OUTCOME_BAD, 1, T0);
    assert_false(endpoint_is_in(&e.items[0], T0, &at_ns));
    assert_true(at_ns == T0 + 10 * NS_PER_SECOND);
    assert_true(endpoint_is_in(&e.items[0], at_ns, NULL));
    ends(&e, 0, OUTCOME_BAD, 3, at_ns); /* again: twice as long */
    assert_true(e.items[0].ejected_until_ns == at_ns + 20 * NS_PER_SECOND);
    endpoints_release(&e);
}

static void no_more_than_the_share(void **state) {
    (void)state;
    struct endpoints e;
    uint64_t at_ns;
    make(&e);
    for (uint32_t i = 0; i < N; i++) {
        ends(&e, i, OUTCOME_BAD, 5, T0);
    }
    uint32_t in = 0;
    for (uint32_t i = 0; i < N; i++) {
        in += endpoint_is_in(&e.items[i], T0, NULL);
    }
    assert_int_equal(in, 2);
    assert_true(endpoints_any_in(&e, T0, &at_ns));
    endpoints_release(&e);
}

static void the_success_rate(void **state) {
    (void)state;
    struct endpoints e;
    make(&e);
    for (int i = 0; i < 5; i++) {
        ends(&e, 1, OUTCOME_GOOD, 1, T0);
        ends(&e, 1, OUTCOME_BAD, i < 4 ? 1 : 2, T0);
    }
    assert_false(endpoint_is_in(&e.items[1], T0, NULL)); /* 5 of 11, never 3 in a row */
    endpoints_release(&e);
}

static void what_is_said_stays(void **state) {
    (void)state;
    struct endpoints e;
    uint64_t at_ns;
    make(&e);
    assert_false(endpoint_changes(&e.items[0], ENDPOINT_UP, T0));
    endpoint_change(&e.items[0], ENDPOINT_DOWN, T0);
    endpoint_change(&e.items[0], ENDPOINT_OUT, T0);
    endpoint_change(&e.items[0], ENDPOINT_UP, T0);
    assert_false(endpoint_is_in(&e.items[0], T0, &at_ns));
    assert_true(at_ns == UINT64_MAX);
    endpoint_change(&e.items[0], ENDPOINT_IN, T0 + 5);
    assert_true(endpoint_is_in(&e.items[0], T0 + 5, NULL));
    assert_true(e.items[0].returned_ns == T0 + 5);
    endpoints_release(&e);
}

static void another_definition_keeps_what_was_learned(void **state) {
    (void)state;
    struct endpoints e;
    make(&e);
    ends(&e, 2, OUTCOME_GOOD, 7, T0);
    struct endpoint_def other[] = {{c, url, 5}, {x, url, 1}};
    assert_int_equal(endpoints_define(&e, other, 2, &def), 0);
    assert_int_equal(e.items[0].succeeded, 7);
    assert_int_equal(e.items[0].weight, 5);
    assert_int_equal(e.items[1].succeeded, 0);
    endpoint_end(&e, &def, endpoint_id(span_text("a")), OUTCOME_BAD, 1, T0); /* gone: nothing */
    endpoints_check(&e);
    endpoints_release(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_in_a_row), cmocka_unit_test(no_more_than_the_share),
        cmocka_unit_test(the_success_rate), cmocka_unit_test(what_is_said_stays),
        cmocka_unit_test(another_definition_keeps_what_was_learned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
