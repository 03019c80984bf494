#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "plan.h"

static const struct plan_options OPTIONS = {
    .entries = 20000, .members = 12000, .early_ms = 3000, .burst_ms = 9000, .seed = 7};

static void every_member_clicks_and_every_entry_is_used(void **state) {
    (void)state;
    struct plan p;
    uint32_t *clicks = test_calloc(OPTIONS.members, sizeof(*clicks));
    assert_int_equal(plan_create(&OPTIONS, &p), 0);
    assert_int_equal(p.count, OPTIONS.entries);
    for (uint32_t i = 0; i < p.count; i++) {
        assert_true(p.clicks[i].member < OPTIONS.members);
        clicks[p.clicks[i].member]++;
    }
    for (uint32_t i = 0; i < OPTIONS.members; i++)
        assert_true(clicks[i] > 0);
    plan_release(&p);
    test_free(clicks);
}

static void clicks_before_the_latecomers_are_in_order(void **state) {
    (void)state;
    struct plan p;
    uint32_t early = 0;
    assert_int_equal(plan_create(&OPTIONS, &p), 0);
    for (uint32_t i = 1; i < p.late_first; i++)
        assert_true(p.clicks[i - 1].due_ms <= p.clicks[i].due_ms);
    for (uint32_t i = 0; i < p.late_first; i++)
        early += p.clicks[i].due_ms < 0;
    assert_int_equal(early, 480 + 120); /* 4 % of the members, one in four of them twice */
    assert_true(p.clicks[0].due_ms >= -3000);
    assert_true(p.count - p.late_first >= 960);
    plan_release(&p);
}

/* A voucher given back must find somebody who has not clicked before. */
static void latecomers_are_new(void **state) {
    (void)state;
    struct plan p;
    bool *seen = test_calloc(OPTIONS.members, sizeof(*seen));
    assert_int_equal(plan_create(&OPTIONS, &p), 0);
    for (uint32_t i = 0; i < p.late_first; i++)
        seen[p.clicks[i].member] = true;
    for (uint32_t i = p.late_first; i < p.count; i++)
        assert_false(seen[p.clicks[i].member]);
    plan_release(&p);
    test_free(seen);
}

static void the_seed_decides(void **state) {
    (void)state;
    struct plan a, b, c;
    struct plan_options other = OPTIONS;
    other.seed++;
    assert_int_equal(plan_create(&OPTIONS, &a), 0);
    assert_int_equal(plan_create(&OPTIONS, &b), 0);
    assert_int_equal(plan_create(&other, &c), 0);
    assert_memory_equal(a.clicks, b.clicks, a.count * sizeof(*a.clicks));
    assert_memory_not_equal(a.clicks, c.clicks, a.count * sizeof(*a.clicks));
    plan_release(&a);
    plan_release(&b);
    plan_release(&c);
}

static void too_few_entries_are_refused(void **state) {
    (void)state;
    struct plan p;
    struct plan_options few = OPTIONS;
    few.entries = few.members;
    assert_int_equal(plan_create(&few, &p), E_INVALID);
    few.members = few.entries = 0;
    assert_int_equal(plan_create(&few, &p), E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_clicks_and_every_entry_is_used),
        cmocka_unit_test(clicks_before_the_latecomers_are_in_order),
        cmocka_unit_test(latecomers_are_new),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(too_few_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
