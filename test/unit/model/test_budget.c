/* Retries are a share of the traffic, and always a few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/budget.h"

#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

static const struct budget_def def = {
    .percent = 20, .min_per_second = 1, .window_ns = 10 * NS_PER_SECOND};

/* Everything fails: for each start a retry is wanted at once. */
static void a_fifth_of_the_traffic(void **state) {
    (void)state;
    struct budget b = {0};
    budget_define(&b, &def);
    uint32_t first = 0, again = 0;
    for (uint64_t now_ns = T0; now_ns < T0 + 60 * NS_PER_SECOND; now_ns += NS_PER_MS) {
        budget_start(&b, false, now_ns);
        first++;
        if (budget_allows(&b, &def, now_ns)) {
            budget_start(&b, true, now_ns);
            again++;
        }
        struct call_count t = window_sum(&b.starts, now_ns);
        assert_true(t.bad <= 10 || (uint64_t)t.bad * 100 <= (uint64_t)t.total * 20);
    }
    assert_in_range(again * 100 / (first + again), 19, 20);
}

static void a_few_always(void **state) {
    (void)state;
    struct budget b = {0};
    budget_define(&b, &def);
    for (int i = 0; i < 10; i++) {
        assert_true(budget_allows(&b, &def, T0));
        budget_start(&b, true, T0);
    }
    assert_false(budget_allows(&b, &def, T0));
    assert_true(budget_allows(&b, &def, T0 + 11 * NS_PER_SECOND));
}

static void slots_follow_each_other_at_the_rate_of_the_budget(void **state) {
    (void)state;
    struct budget b = {0};
    budget_define(&b, &def);
    for (int i = 0; i < 1000; i++) {
        budget_start(&b, false, T0);
    }
    uint64_t last_ns = T0;
    for (int i = 0; i < 100; i++) {
        uint64_t slot_ns = budget_slot(&b, &def, T0);
        assert_true(slot_ns - last_ns == 10 * NS_PER_SECOND / 200);
        budget_give_slot(&b, slot_ns);
        last_ns = slot_ns;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fifth_of_the_traffic), cmocka_unit_test(a_few_always),
        cmocka_unit_test(slots_follow_each_other_at_the_rate_of_the_budget)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
