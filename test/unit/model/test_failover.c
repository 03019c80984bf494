/* The rule of a payment integration: more than 100 failures in a minute, looked at every 30 s, pending 3 min. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/failover.h"

#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

static const struct failover_def def = {.failures = 100,
                                        .within_ns = 60 * NS_PER_SECOND,
                                        .every_ns = 30 * NS_PER_SECOND,
                                        .pending_ns = 180 * NS_PER_SECOND,
                                        .return_after_ns = 300 * NS_PER_SECOND,
                                        .probes = 3};

/* Failures at this rate until the time; evaluations as they come due. */
static void pass(struct failover *f, uint64_t *now_ns, uint64_t seconds, uint32_t bad_a_second) {
    for (uint64_t until_ns = *now_ns + seconds * NS_PER_SECOND; *now_ns < until_ns;) {
        *now_ns += NS_PER_SECOND;
        for (uint32_t i = 0; i < bad_a_second; i++) {
            failover_end(f, &def, 0, OUTCOME_BAD, *now_ns);
        }
        if (f->evaluate_ns != 0 && f->evaluate_ns <= *now_ns) {
            failover_set(f, &def, failover_evaluate(f, &def, *now_ns), false, *now_ns);
        }
    }
}

static void healthy_caution_critical(void **state) {
    (void)state;
    struct failover f = {0};
    uint64_t now_ns = T0;
    failover_define(&f, &def);
    pass(&f, &now_ns, 300, 1); /* 60 a minute: not too many */
    assert_int_equal(f.health, HEALTH_HEALTHY);
    pass(&f, &now_ns, 90, 3);
    assert_int_equal(f.health, HEALTH_CAUTION);
    pass(&f, &now_ns, 120, 0); /* it was but a moment */
    assert_int_equal(f.health, HEALTH_HEALTHY);
    assert_int_equal(f.evaluate_ns, 0); /* and nothing is looked at any more */
    pass(&f, &now_ns, 90, 3);
    assert_int_equal(f.health, HEALTH_CAUTION);
    pass(&f, &now_ns, 210, 3);
    assert_int_equal(f.health, HEALTH_CRITICAL);
}

/* An evaluation comes when the writer has time for it; the three minutes are of those that were due. */
static void pending_is_counted_in_evaluations(void **state) {
    (void)state;
    const uint64_t first_ns = T0 / def.every_ns * def.every_ns, late_ns = 9 * NS_PER_MS;
    struct failover f = {0};
    failover_define(&f, &def);
    failover_set(&f, &def, HEALTH_CAUTION, false, first_ns + late_ns);
    for (uint64_t passed_ns = def.every_ns; passed_ns <= def.pending_ns;
         passed_ns += def.every_ns) {
        uint64_t now_ns = first_ns + passed_ns + NS_PER_MS; /* less late than the first was */
        assert_int_equal(f.evaluate_ns, first_ns + passed_ns);
        for (int i = 0; i < 101; i++) {
            failover_end(&f, &def, 0, OUTCOME_BAD, now_ns);
        }
        enum health health = failover_evaluate(&f, &def, now_ns);
        assert_int_equal(health, passed_ns < def.pending_ns ? HEALTH_CAUTION : HEALTH_CRITICAL);
        failover_set(&f, &def, health, false, now_ns);
    }
}

static void the_way_back(void **state) {
    (void)state;
    struct failover f = {0};
    failover_define(&f, &def);
    failover_set(&f, &def, HEALTH_CRITICAL, false, T0);
    assert_false(failover_may_probe(&f, &def, T0 + 299 * NS_PER_SECOND));
    uint64_t now_ns = T0 + 300 * NS_PER_SECOND;
    uint32_t probes[3];
    for (int i = 0; i < 3; i++) {
        assert_true(failover_may_probe(&f, &def, now_ns));
        probes[i] = failover_probe(&f);
    }
    assert_false(failover_may_probe(&f, &def, now_ns));
    failover_end(&f, &def, probes[0], OUTCOME_GOOD, now_ns);
    failover_end(&f, &def, probes[1], OUTCOME_BAD, now_ns); /* not yet */
    assert_false(failover_would_return(&f, &def, probes[2], OUTCOME_GOOD));
    failover_end(&f, &def, probes[2], OUTCOME_GOOD, now_ns);
    now_ns += 300 * NS_PER_SECOND;
    for (int i = 0; i < 3; i++) {
        assert_true(failover_may_probe(&f, &def, now_ns));
        uint32_t probe = failover_probe(&f);
        assert_int_equal(failover_would_return(&f, &def, probe, OUTCOME_GOOD), i == 2);
        failover_end(&f, &def, probe, OUTCOME_GOOD, now_ns);
    }
}

static void by_hand_it_stays(void **state) {
    (void)state;
    struct failover f = {0};
    failover_define(&f, &def);
    failover_set(&f, &def, HEALTH_CRITICAL, true, T0);
    assert_false(failover_may_probe(&f, &def, T0 + 86400 * NS_PER_SECOND));
    failover_set(&f, &def, HEALTH_HEALTHY, true, T0);
    assert_false(failover_is_over(&f));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(healthy_caution_critical),
                                       cmocka_unit_test(pending_is_counted_in_evaluations),
                                       cmocka_unit_test(the_way_back),
                                       cmocka_unit_test(by_hand_it_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
