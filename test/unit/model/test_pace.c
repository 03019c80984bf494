/*
 * Pacing by hand-made cases; test/model/pace tries random ones against a naive twin.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/pace.h"

#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

static struct pace_def rate(enum pace_mode mode, uint32_t count, uint32_t burst) {
    return (struct pace_def){
        .mode = mode, .count = count, .period_ns = NS_PER_SECOND, .burst = burst};
}

static void make(struct pace *p, struct pace_def def) {
    pace_init(p);
    assert_int_equal(pace_define(p, &def), 0);
}

/* Starts whatever may start until `until_ns`; each ends after `takes_ns`. Returns how many. */
static uint32_t run_backlog(struct pace *p, uint64_t from_ns, uint64_t until_ns) {
    uint32_t started = 0;
    uint64_t now_ns = from_ns;
    while (now_ns < until_ns) {
        uint64_t wait_ns = pace_wait_ns(p, now_ns);
        if (wait_ns == 0) {
            pace_start(p, now_ns);
            pace_end(p, now_ns);
            started++;
        }
        now_ns += wait_ns;
    }
    return started;
}

static void without_limits_nothing_waits(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_STRICT, 0, 0));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pace_wait_ns(&p, T0), 0);
        pace_start(&p, T0);
    }
    assert_int_equal(p.in_flight, 1000);
    pace_check(&p);
    pace_release(&p);
}

static void smooth_spaces_and_allows_its_burst(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_SMOOTH, 10, 3));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pace_wait_ns(&p, T0), 0);
        pace_start(&p, T0);
    }
    assert_int_equal(pace_wait_ns(&p, T0), 100 * NS_PER_MS);
    assert_int_equal(pace_wait_ns(&p, T0 + 99 * NS_PER_MS), NS_PER_MS);
    assert_int_equal(pace_wait_ns(&p, T0 + 100 * NS_PER_MS), 0);
    pace_release(&p);
}

/* T = 333333333.3 ns: 3,000 of them are 1,000 s to the ns. */
static void fractions_do_not_drift(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_SMOOTH, 3, 2));
    assert_int_equal(run_backlog(&p, T0, T0 + 1000 * NS_PER_SECOND), 3001);
    assert_int_equal(pace_wait_ns(&p, T0 + 1000 * NS_PER_SECOND), 0);
    pace_start(&p, T0 + 1000 * NS_PER_SECOND);
    assert_int_equal(pace_wait_ns(&p, T0 + 1000 * NS_PER_SECOND), 333333334);
    pace_release(&p);
}

static void strict_counts_from_the_end(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_STRICT, 2, 2));
    pace_start(&p, T0);
    pace_start(&p, T0);
    uint64_t now_ns = T0 + 5 * NS_PER_SECOND;
    assert_true(pace_wait_ns(&p, now_ns) == PACE_WAIT_FOR_END);
    pace_end(&p, now_ns);
    assert_int_equal(pace_wait_ns(&p, now_ns), NS_PER_SECOND);
    assert_int_equal(pace_wait_ns(&p, now_ns + NS_PER_SECOND), 0);
    pace_start(&p, now_ns + NS_PER_SECOND);
    assert_true(pace_wait_ns(&p, now_ns + 9 * NS_PER_SECOND) == PACE_WAIT_FOR_END);
    pace_release(&p);
}

/* An unknown outcome holds its token until the time-out; ends that come meanwhile sort before it. */
static void an_end_may_lie_in_the_future(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_STRICT, 3, 3));
    for (int i = 0; i < 3; i++) {
        pace_start(&p, T0);
    }
    pace_end(&p, T0 + 30 * NS_PER_SECOND);
    pace_end(&p, T0 + 2 * NS_PER_SECOND);
    pace_end(&p, T0 + 3 * NS_PER_SECOND);
    pace_check(&p);
    assert_int_equal(pace_wait_ns(&p, T0 + 2 * NS_PER_SECOND), NS_PER_SECOND);
    pace_start(&p, T0 + 3 * NS_PER_SECOND);
    assert_int_equal(pace_wait_ns(&p, T0 + 3 * NS_PER_SECOND), NS_PER_SECOND);
    pace_start(&p, T0 + 4 * NS_PER_SECOND);
    assert_int_equal(pace_wait_ns(&p, T0 + 5 * NS_PER_SECOND), 26 * NS_PER_SECOND);
    pace_release(&p);
}

static void concurrency_waits_for_an_end(void **state) {
    (void)state;
    struct pace p;
    struct pace_def def = rate(PACE_SMOOTH, 1000, 10);
    def.concurrency = 2;
    make(&p, def);
    pace_start(&p, T0);
    pace_start(&p, T0);
    assert_true(pace_wait_ns(&p, T0 + NS_PER_SECOND) == PACE_WAIT_FOR_END);
    pace_end(&p, T0);
    assert_int_equal(pace_wait_ns(&p, T0 + NS_PER_SECOND), 0);
    pace_release(&p);
}

static void a_larger_burst_must_be_earned(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_SMOOTH, 10, 1));
    run_backlog(&p, T0, T0 + 10 * NS_PER_SECOND);
    struct pace_def larger = rate(PACE_SMOOTH, 10, 100);
    assert_int_equal(pace_define(&p, &larger), 0);
    uint32_t started = run_backlog(&p, T0 + 10 * NS_PER_SECOND, T0 + 11 * NS_PER_SECOND);
    assert_in_range(started, 9, 11);
    pace_release(&p);
}

static void a_first_definition_starts_full(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_SMOOTH, 10, 5));
    assert_int_equal(run_backlog(&p, 1, 2), 5); /* also where time is small */
    pace_release(&p);
}

/* 500 spent, down to 100 and up again: the 400 do not come back. */
static void what_was_spent_stays_spent(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_STRICT, 500, 500));
    assert_int_equal(run_backlog(&p, T0, T0 + NS_PER_MS), 500);
    struct pace_def less = rate(PACE_STRICT, 100, 100);
    struct pace_def more = rate(PACE_STRICT, 500, 500);
    assert_int_equal(pace_define(&p, &less), 0);
    assert_int_equal(pace_define(&p, &more), 0);
    assert_int_equal(run_backlog(&p, T0 + NS_PER_MS, T0 + NS_PER_SECOND), 0);
    pace_check(&p);
    pace_release(&p);
}

static void strict_remembers_what_smooth_did(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_SMOOTH, 500, 500));
    assert_int_equal(run_backlog(&p, T0, T0 + 1), 500);
    struct pace_def strict = rate(PACE_STRICT, 500, 500);
    assert_int_equal(pace_define(&p, &strict), 0);
    assert_int_equal(run_backlog(&p, T0 + 1, T0 + NS_PER_SECOND), 0);
    pace_release(&p);
}

static void fewer_while_many_are_under_way(void **state) {
    (void)state;
    struct pace p;
    make(&p, rate(PACE_STRICT, 10, 10));
    for (int i = 0; i < 10; i++) {
        pace_start(&p, T0);
    }
    struct pace_def less = rate(PACE_STRICT, 2, 2);
    assert_int_equal(pace_define(&p, &less), 0);
    for (uint64_t i = 1; i <= 8; i++) {
        pace_end(&p, T0 + i);
        pace_check(&p);
        assert_true(pace_wait_ns(&p, T0 + 5 * NS_PER_SECOND) == PACE_WAIT_FOR_END);
    }
    pace_end(&p, T0 + 9);
    assert_int_equal(pace_wait_ns(&p, T0 + 9), NS_PER_SECOND);
    pace_release(&p);
}

static void a_snapshot_brings_it_back(void **state) {
    (void)state;
    struct pace p, q;
    make(&p, rate(PACE_STRICT, 7, 2));
    run_backlog(&p, T0, T0 + 3 * NS_PER_SECOND / 2);
    uint64_t later_ns = T0 + 4 * NS_PER_SECOND;
    pace_start(&p, later_ns);
    struct buffer first, second;
    buffer_init(&first, 4096);
    buffer_init(&second, 4096);
    assert_int_equal(pace_save(&p, &first), 0);
    struct reader in;
    reader_init(&in, buffer_span(&first));
    pace_init(&q);
    assert_int_equal(pace_load(&q, &in), 0);
    assert_true(reader_done(&in));
    assert_int_equal(pace_save(&q, &second), 0);
    assert_true(span_equal(buffer_span(&first), buffer_span(&second)));
    assert_int_equal(pace_wait_ns(&p, later_ns), pace_wait_ns(&q, later_ns));
    pace_check(&q);
    for (size_t cut = 0; cut < first.size; cut++) {
        struct pace broken;
        pace_init(&broken);
        reader_init(&in, span_of(first.data, cut));
        assert_int_equal(pace_load(&broken, &in), E_CORRUPT);
    }
    buffer_release(&first);
    buffer_release(&second);
    pace_release(&p);
    pace_release(&q);
}

/* Loaded from a snapshot: of ours, or of a program that kept the burst that held, whoever chose it. */
static bool loaded_by_turns(struct pace_def def, bool old) {
    struct pace p, q;
    struct buffer bytes;
    struct reader in;
    make(&p, def);
    buffer_init(&bytes, 4096);
    assert_int_equal(pace_save(&p, &bytes), 0);
    bytes.data[0] = old ? (uint8_t)def.mode : bytes.data[0];
    reader_init(&in, buffer_span(&bytes));
    pace_init(&q);
    assert_int_equal(pace_load(&q, &in), 0);
    bool by_turns = pace_by_turns(&q);
    assert_true(q.def.burst == (old && by_turns ? 0 : def.burst));
    assert_int_equal(pace_burst(&q.def), pace_burst(&def));
    buffer_release(&bytes);
    pace_release(&p);
    pace_release(&q);
    return by_turns;
}

static void who_chose_the_burst_is_kept(void **state) {
    (void)state;
    assert_true(loaded_by_turns(rate(PACE_SMOOTH, 500, 0), false));
    assert_false(loaded_by_turns(rate(PACE_SMOOTH, 500, 8), false));
    assert_false(loaded_by_turns(rate(PACE_SMOOTH, 50, 1), false));
    assert_true(loaded_by_turns(rate(PACE_SMOOTH, 500, 8), true));
    assert_false(loaded_by_turns(rate(PACE_SMOOTH, 500, 9), true));
    assert_false(loaded_by_turns(rate(PACE_STRICT, 500, 50), false));
}

static void impossible_rates_are_refused(void **state) {
    (void)state;
    struct pace_def def = rate(PACE_SMOOTH, 500, 4);
    assert_true(pace_def_valid(&def));
    def.burst = 0; /* chosen by the rate */
    assert_true(pace_def_valid(&def));
    def = rate(PACE_SMOOTH, PACE_COUNT_MAX + 1, 1);
    assert_false(pace_def_valid(&def));
    def = rate(PACE_SMOOTH, 1, PACE_COUNT_MAX);
    assert_true(pace_def_valid(&def));
    def.period_ns = 3600 * NS_PER_SECOND; /* a million hours of allowance */
    assert_false(pace_def_valid(&def));
    def = rate((enum pace_mode)2, 1, 1);
    assert_false(pace_def_valid(&def));
    def = rate(PACE_SMOOTH, 0, 0);
    assert_true(pace_def_valid(&def));
    assert_int_equal(pace_burst(&(struct pace_def){.count = 500}), 8);
    assert_int_equal(pace_burst(&(struct pace_def){.count = 500, .mode = PACE_STRICT}), 50);
    assert_int_equal(pace_burst(&(struct pace_def){.count = 10}), 1);
    assert_int_equal(pace_burst(&(struct pace_def){.count = 500, .burst = 7}), 7);
}

/* Each start has its turn 2 ms behind the one before, however long before it is decided; a wished burst has no turns. */
static void turns_are_even(void **state) {
    (void)state;
    struct pace p;
    pace_init(&p);
    struct pace_def def = rate(PACE_SMOOTH, 500, 0);
    assert_int_equal(pace_define(&p, &def), 0);
    assert_true(pace_by_turns(&p));
    uint64_t now_ns = 1000 * NS_PER_SECOND;
    for (uint64_t i = 0; i < 28; i++) {
        assert_int_equal(pace_turn_ns(&p, now_ns), now_ns + i * 2 * NS_PER_MS);
        pace_start(&p, pace_turn_ns(&p, now_ns));
    }
    assert_int_equal(pace_takes_ns(&p, now_ns, 10), (28 + 10) * 2 * NS_PER_MS);
    now_ns += 80 * NS_PER_MS; /* late: the turn has come */
    assert_int_equal(pace_turn_ns(&p, now_ns), now_ns);
    pace_release(&p);
    struct pace_def others[] = {rate(PACE_SMOOTH, 500, 9), rate(PACE_SMOOTH, 500, 8),
                                rate(PACE_SMOOTH, 50, 1), rate(PACE_STRICT, 500, 0),
                                rate(PACE_SMOOTH, 0, 0)};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        pace_init(&p);
        assert_int_equal(pace_define(&p, &others[i]), 0);
        pace_start(&p, now_ns);
        assert_false(pace_by_turns(&p));
        assert_int_equal(pace_turn_ns(&p, now_ns), now_ns);
        pace_release(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_even),
        cmocka_unit_test(who_chose_the_burst_is_kept),
        cmocka_unit_test(without_limits_nothing_waits),
        cmocka_unit_test(smooth_spaces_and_allows_its_burst),
        cmocka_unit_test(fractions_do_not_drift),
        cmocka_unit_test(strict_counts_from_the_end),
        cmocka_unit_test(an_end_may_lie_in_the_future),
        cmocka_unit_test(concurrency_waits_for_an_end),
        cmocka_unit_test(a_larger_burst_must_be_earned),
        cmocka_unit_test(a_first_definition_starts_full),
        cmocka_unit_test(what_was_spent_stays_spent),
        cmocka_unit_test(strict_remembers_what_smooth_did),
        cmocka_unit_test(fewer_while_many_are_under_way),
        cmocka_unit_test(a_snapshot_brings_it_back),
        cmocka_unit_test(impossible_rates_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
