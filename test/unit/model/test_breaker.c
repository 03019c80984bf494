/*
 * The breaker against a table: state, event, next state. A line is one event from the state that the lines before
 * led to; so each script is a walk through the diagram of breaker.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "model/breaker.h"

#define SECOND NS_PER_SECOND

/* 4 calls, half of them bad: opens for 10 s, then 20, then at most 25; 2 probes. */
static const struct breaker_def by_count = {.window_calls = 4,
                                            .failure_percent = 50,
                                            .slow_ns = SECOND,
                                            .slow_percent = 100,
                                            .minimum_calls = 4,
                                            .probes = 2,
                                            .open_ns = 10 * SECOND,
                                            .open_max_ns = 25 * SECOND};

enum event {
    GOOD, /* a call starts and ends well */
    BAD,
    SLOW,
    LOST,      /* ends without a verdict */
    START,     /* starts, and stays under way */
    LATE_GOOD, /* the oldest one under way ends */
    LATE_BAD,
    NONE, /* only time passes */
    OPEN, /* by hand */
    CLOSE,
};

struct line {
    uint64_t passes_s;
    enum event event;
    enum breaker_state then;
    bool may_start; /* afterwards */
};

#define C BREAKER_CLOSED
#define O BREAKER_OPEN
#define H BREAKER_HALF_OPEN
#define F BREAKER_FORCED

static const struct line opens_and_closes[] = {
    {0, BAD, C, true},   {0, BAD, C, true},  {0, GOOD, C, true}, {0, GOOD, O, false},
    {9, NONE, O, false}, {1, NONE, O, true}, {0, GOOD, H, true}, {0, GOOD, C, true},
    {0, BAD, C, true}, /* what was before it opened is forgotten */
};
static const struct line the_window_slides[] = {
    {0, BAD, C, true},  {0, GOOD, C, true}, {0, GOOD, C, true}, {0, GOOD, C, true},
    {0, GOOD, C, true}, {0, BAD, C, true},  {0, GOOD, C, true}, {0, BAD, O, false},
};
static const struct line openings_grow[] = {
    {0, BAD, C, true},   {0, BAD, C, true},    {0, BAD, C, true},  {0, BAD, O, false},
    {10, BAD, O, false}, {19, NONE, O, false}, {1, BAD, O, false}, {24, NONE, O, false},
    {1, GOOD, H, true},  {0, GOOD, C, true},
};
static const struct line slow_calls[] = {
    {0, SLOW, C, true},
    {0, SLOW, C, true},
    {0, SLOW, C, true},
    {0, SLOW, O, false},
};
static const struct line lost_probes_go_again[] = {
    {0, BAD, C, true},   {0, BAD, C, true},  {0, BAD, C, true},  {0, BAD, O, false},
    {10, LOST, H, true}, {0, LOST, H, true}, {0, GOOD, H, true}, {0, GOOD, C, true},
};
static const struct line no_more_than_the_probes[] = {
    {0, BAD, C, true},    {0, BAD, C, true},    {0, BAD, C, true},        {0, BAD, O, false},
    {10, START, H, true}, {0, START, H, false}, {0, LATE_GOOD, H, false}, {0, LATE_GOOD, C, true},
};
static const struct line who_began_before_it_opened_says_nothing[] = {
    {0, START, C, true},    {0, BAD, C, true},  {0, BAD, C, true},
    {0, BAD, C, true},      {0, BAD, O, false}, {10, NONE, O, true},
    {0, LATE_BAD, O, true}, {0, GOOD, H, true}, {0, GOOD, C, true},
};
static const struct line who_began_before_is_no_probe[] = {
    {0, START, C, true},    {0, BAD, C, true},       {0, BAD, C, true},
    {0, BAD, C, true},      {0, BAD, O, false},      {10, START, H, true},
    {0, LATE_BAD, H, true}, {0, LATE_GOOD, H, true}, {0, GOOD, C, true},
};
static const struct line by_hand[] = {
    {0, OPEN, F, false}, {1000, NONE, F, false}, {0, CLOSE, C, true}, {0, BAD, C, true},
    {0, BAD, C, true},   {0, BAD, C, true},      {0, BAD, O, false},  {0, CLOSE, C, true},
};

static uint32_t under_way[16];
static unsigned first, count;

static void call(struct breaker *b, enum call_outcome outcome, uint64_t takes_ns, uint64_t now_ns) {
    assert_int_equal(breaker_wait_ns(b, now_ns), 0);
    uint32_t period = breaker_start(b, now_ns);
    breaker_end(b, period, outcome, takes_ns, now_ns);
}

static void happen(struct breaker *b, enum event event, uint64_t now_ns) {
    switch (event) {
    case GOOD:
        call(b, OUTCOME_GOOD, 1, now_ns);
        return;
    case BAD:
        call(b, OUTCOME_BAD, 1, now_ns);
        return;
    case SLOW:
        call(b, OUTCOME_GOOD, SECOND, now_ns);
        return;
    case LOST:
        call(b, OUTCOME_NONE, 1, now_ns);
        return;
    case START:
        under_way[count++] = breaker_start(b, now_ns);
        return;
    case LATE_GOOD:
    case LATE_BAD:
        breaker_end(b, under_way[first++], event == LATE_GOOD ? OUTCOME_GOOD : OUTCOME_BAD, 1,
                    now_ns);
        return;
    case OPEN:
    case CLOSE:
        breaker_force(b, event == OPEN, now_ns);
        return;
    case NONE:
        return;
    }
}

static void reload(struct breaker *b) {
    struct buffer saved, again;
    struct breaker next;
    buffer_init(&saved, 1 << 16);
    buffer_init(&again, 1 << 16);
    assert_int_equal(breaker_save(b, &saved), 0);
    breaker_init(&next);
    assert_int_equal(breaker_define(&next, &b->def), 0);
    struct reader in;
    reader_init(&in, buffer_span(&saved));
    assert_int_equal(breaker_load(&next, &in), 0);
    assert_true(reader_done(&in));
    assert_int_equal(breaker_save(&next, &again), 0);
    assert_true(span_equal(buffer_span(&saved), buffer_span(&again)));
    breaker_release(b);
    *b = next;
    buffer_release(&saved);
    buffer_release(&again);
}

static void walk(const char *name, const struct line *lines, unsigned n, bool reloads) {
    struct breaker b;
    breaker_init(&b);
    assert_int_equal(breaker_define(&b, &by_count), 0);
    uint64_t now_ns = UINT64_C(1700000000) * SECOND;
    first = count = 0;
    for (unsigned i = 0; i < n; i++) {
        now_ns += lines[i].passes_s * SECOND;
        happen(&b, lines[i].event, now_ns);
        breaker_check(&b);
        if (reloads) {
            reload(&b); /* a snapshot may come between any two events */
        }
        if (b.state != lines[i].then || (breaker_wait_ns(&b, now_ns) == 0) != lines[i].may_start) {
            fail_msg("%s, line %u: %s", name, i + 1, breaker_state_name(b.state));
        }
    }
    breaker_release(&b);
}

#define WALK(table)                                                                                \
    do {                                                                                           \
        walk(#table, table, sizeof table / sizeof table[0], false);                                \
        walk(#table, table, sizeof table / sizeof table[0], true);                                 \
    } while (0)

static void the_table(void **state) {
    (void)state;
    WALK(opens_and_closes);
    WALK(the_window_slides);
    WALK(openings_grow);
    WALK(slow_calls);
    WALK(lost_probes_go_again);
    WALK(no_more_than_the_probes);
    WALK(who_began_before_it_opened_says_nothing);
    WALK(who_began_before_is_no_probe);
    WALK(by_hand);
}

static void a_window_of_time(void **state) {
    (void)state;
    struct breaker_def def = by_count;
    def.window_calls = 0;
    def.window_ns = 10 * SECOND;
    struct breaker b;
    breaker_init(&b);
    assert_int_equal(breaker_define(&b, &def), 0);
    uint64_t now_ns = UINT64_C(1700000000) * SECOND;
    for (int i = 0; i < 3; i++) {
        call(&b, OUTCOME_BAD, 1, now_ns);
    }
    now_ns += 11 * SECOND; /* they are too old */
    call(&b, OUTCOME_BAD, 1, now_ns);
    assert_int_equal(b.state, BREAKER_CLOSED);
    for (int i = 0; i < 3; i++) {
        call(&b, OUTCOME_BAD, 1, now_ns);
    }
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_release(&b);
}

static void off_it_never_opens(void **state) {
    (void)state;
    struct breaker b;
    breaker_init(&b);
    for (int i = 0; i < 100; i++) {
        call(&b, OUTCOME_BAD, 1, SECOND);
    }
    assert_int_equal(b.state, BREAKER_CLOSED);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_table),
                                       cmocka_unit_test(a_window_of_time),
                                       cmocka_unit_test(off_it_never_opens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
