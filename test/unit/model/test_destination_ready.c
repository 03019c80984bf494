/*
 * Whose turn it is: fairness between queues and between destinations, queues with a pace of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/destination_state.h"
#include "push.h"

#define NAMES_MAX 8u

static void release(struct world *w) {
    model_check(w->model);
    world_check_replay(w);
    world_reload(w);
    world_release(w);
}

static void publish_many(struct world *w, const char *queue, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        push_publish(w, queue);
    }
}

/* Starts and ends whatever may start; how often each of q0..q7 had its turn. */
static uint32_t run_for(struct world *w, uint64_t duration_ns, uint32_t turns[NAMES_MAX]) {
    uint64_t until_ns = w->now_ns + duration_ns;
    uint32_t started = 0;
    bool more = false; /* in the same record */
    while (w->now_ns < until_ns) {
        struct attempt_start start;
        if (more ? push_start_ahead(w, &start) : push_start(w, &start)) {
            more = true;
            turns[start.queue[1] - '0']++;
            started++;
            push_finish(w, &start, 200, 0);
            continue;
        }
        more = false;
        uint64_t next_ns = model_next_start_ns(w->model, w->now_ns);
        assert_true(next_ns > w->now_ns); /* else the engine would spin */
        w->now_ns = next_ns < until_ns ? next_ns : until_ns;
    }
    return started;
}

static void queues_share_fairly(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(100, 1));
    for (int i = 0; i < 4; i++) {
        char name[] = {'q', (char)('0' + i), '\0'};
        push_define_queue(&w, name, "out", push_pace(0, 1), NULL);
        publish_many(&w, name, i == 3 ? 5 : 100);
    }
    uint32_t turns[NAMES_MAX] = {0};
    assert_int_equal(run_for(&w, NS_PER_SECOND, turns), 100);
    assert_int_equal(turns[3], 5); /* all it had */
    for (int i = 0; i < 3; i++) {
        assert_in_range(turns[i], 31, 32);
    }
    release(&w);
}

/* q0 may do 10 a second, q1 as much as is left; neither waits for the other. */
static void a_slow_queue_holds_up_nobody(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(100, 1));
    push_define_queue(&w, "q0", "out", push_pace(10, 1), NULL);
    push_define_queue(&w, "q1", "out", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 300);
    publish_many(&w, "q1", 300);
    uint32_t turns[NAMES_MAX] = {0};
    assert_int_equal(run_for(&w, 2 * NS_PER_SECOND, turns), 200);
    assert_in_range(turns[0], 19, 20);
    release(&w);
}

/* Two with a pace of their own that together want more than there is starve neither each other nor a third. */
static void nobody_starves(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(90, 1));
    push_define_queue(&w, "q0", "out", push_pace(80, 1), NULL);
    push_define_queue(&w, "q1", "out", push_pace(80, 1), NULL);
    push_define_queue(&w, "q2", "out", push_pace(0, 1), NULL);
    for (int i = 0; i < 3; i++) {
        char name[] = {'q', (char)('0' + i), '\0'};
        publish_many(&w, name, 200);
    }
    uint32_t turns[NAMES_MAX] = {0};
    assert_int_equal(run_for(&w, 2 * NS_PER_SECOND, turns), 180);
    for (int i = 0; i < 3; i++) {
        assert_in_range(turns[i], 59, 61);
    }
    release(&w);
}

static void a_queue_blocked_by_its_own_cap_comes_back(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(0, 1));
    struct pace_def one = push_pace(0, 1);
    one.concurrency = 1;
    push_define_queue(&w, "q0", "out", one, NULL);
    publish_many(&w, "q0", 3);
    struct attempt_start start, none;
    for (int i = 0; i < 3; i++) {
        assert_true(push_start(&w, &start));
        assert_false(push_start(&w, &none));
        assert_true(model_next_start_ns(w.model, w.now_ns) == UINT64_MAX);
        model_check(w.model);
        push_finish(&w, &start, 200, 0);
    }
    assert_false(push_start(&w, &none));
    release(&w);
}

static void a_new_pace_of_the_queue_counts_at_once(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(0, 1));
    struct pace_def slow = push_pace(1, 1);
    slow.period_ns = 3600 * NS_PER_SECOND;
    push_define_queue(&w, "q0", "out", slow, NULL);
    publish_many(&w, "q0", 100);
    uint32_t turns[NAMES_MAX] = {0};
    assert_int_equal(run_for(&w, NS_PER_SECOND, turns), 1);
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    w.now_ns += 3600 * NS_PER_SECOND; /* what was spent stays spent, then it is free */
    assert_int_equal(run_for(&w, NS_PER_SECOND, turns), 99);
    release(&w);
}

static void to_second(struct destination_def *def, void *context) {
    (void)context;
    assert_int_equal(def_set_text(&def->failover.destination, span_text("second")), 0);
    assert_int_equal(def_set_text(&def->failover.queue, span_text("q0")), 0);
    def->failover.failures = 2;
    def->failover.within_ns = 2 * NS_PER_SECOND;
    def->failover.every_ns = NS_PER_SECOND;
    def->failover.return_after_ns = 3600 * NS_PER_SECOND;
    def->failover.probes = 1;
}

/* As the engine gathers them: the first one because it must be, the others with it. The last one's time ahead. */
static uint64_t start_all(struct world *w, uint32_t *ret_count) {
    struct attempt_start start;
    uint64_t ahead_ns = 0;
    for (*ret_count = 0; *ret_count == 0 ? push_start(w, &start) : push_start_ahead(w, &start);
         ++*ret_count) {
        assert_true(*ret_count == 0 || start.ahead_ns == 0 ||
                    start.ahead_ns == ahead_ns + 2 * NS_PER_MS);
        ahead_ns = start.ahead_ns;
    }
    return ahead_ns;
}

/* One queue: many at a time, each with its turn. As soon as others could come in between: only whose turn it is. */
/* What waits for its turn holds a place that what is under way may need. */
static void half_of_the_places_are_not_taken_ahead(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    struct pace_def pace = push_pace(500, 0);
    pace.concurrency = 10;
    push_define_destination(&w, "out", pace);
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 30);
    struct attempt_start start;
    uint32_t ahead = 0;
    while (push_start_ahead(&w, &start)) {
        ahead += start.ahead_ns > 0;
    }
    assert_in_range(ahead, 1, 4);
    assert_in_range(push_info(&w, "out").in_flight, 5, 10);
    release(&w);
}

/* 200 messages of one queue wait for a destination that takes 500/s. */
static void begin_by_turns(struct world *w) {
    world_init(w, NULL);
    push_define_destination(w, "out", push_pace(500, 0));
    push_define_queue(w, "q0", "out", push_pace(0, 1), NULL);
    publish_many(w, "q0", 200);
}

static void one_queue_is_decided_ahead(void **state) {
    (void)state;
    struct world w;
    begin_by_turns(&w);
    uint32_t count;
    assert_int_equal(start_all(&w, &count), TURN_AHEAD_NS);
    assert_int_equal(count, 29);
    assert_int_equal(start_all(&w, &count), 0); /* not one by one, as soon as it is possible */
    assert_int_equal(count, 0);
    uint64_t before_ns = w.now_ns;
    w.now_ns = model_next_start_ns(w.model, w.now_ns);
    assert_int_equal(w.now_ns - before_ns, TURN_AHEAD_NS + 2 * NS_PER_MS - TURN_NEAR_NS);
    assert_int_equal(start_all(&w, &count), TURN_AHEAD_NS);
    assert_int_equal(count, 25);
    push_define_queue(&w, "q1", "out", push_pace(0, 1), NULL);
    w.now_ns += 44 * NS_PER_MS;
    start_all(&w, &count);
    assert_int_equal(count, 0);
    w.now_ns = model_next_start_ns(w.model, w.now_ns);
    assert_int_equal(start_all(&w, &count), 0); /* these leave at once */
    assert_int_equal(count, 2);
    uint32_t turns[NAMES_MAX] = {0};
    publish_many(&w, "q0", 2000);
    assert_in_range(run_for(&w, 2 * NS_PER_SECOND, turns), 995, 1001); /* and none is lost */
    release(&w);
}

/* Of whoever asked for a burst, if only for the one that he would have: none is decided before it leaves. */
static void a_wished_burst_has_no_turns(void **state) {
    (void)state;
    static const uint32_t wishes[][2] = {{50, 1}, {500, 8}, {500, 1}, {1, 1}};
    for (size_t i = 0; i < ARRAY_LENGTH(wishes); i++) {
        struct world w;
        begin_by_turns(&w);
        push_define_destination(&w, "out", push_pace(wishes[i][0], wishes[i][1]));
        struct attempt_start start;
        uint32_t count;
        for (uint64_t n = 0; n < 20; n++) {
            assert_int_equal(start_all(&w, &count), 0);
            assert_int_equal(count, n > 0 ? 1 : wishes[i][1]);
            world_reload(&w);
            w.now_ns += NS_PER_SECOND / wishes[i][0] - 1;
            assert_false(push_start_ahead(&w, &start)); /* nor is it a ns too early */
            w.now_ns++;
        }
        push_define_destination(&w, "out", push_pace(wishes[i][0], 0));
        assert_true(push_start_ahead(&w, &start) && start.gap_ns != 0);
        release(&w);
    }
}

/* What was decided counts, and holds up what the new pace lets begin; neither way is there a burst. */
static void a_new_pace_holds_behind_what_was_decided(void **state) {
    (void)state;
    struct world w;
    begin_by_turns(&w);
    uint32_t count;
    uint64_t last_ns = w.now_ns + start_all(&w, &count);
    push_define_destination(&w, "out", push_pace(5, 0));
    for (uint64_t n = 0; n < 3; n++) {
        struct attempt_start start;
        w.now_ns = model_next_start_ns(w.model, w.now_ns);
        assert_true(push_start(&w, &start));
        assert_int_equal(w.now_ns + start.ahead_ns, last_ns + 2 * NS_PER_MS + n * 200 * NS_PER_MS);
        assert_false(push_start_ahead(&w, &start));
    }
    uint64_t slow_ns = w.now_ns;
    push_define_destination(&w, "out", push_pace(500, 0));
    w.now_ns = model_next_start_ns(w.model, w.now_ns);
    assert_in_range(w.now_ns, slow_ns + 200 * NS_PER_MS, slow_ns + 220 * NS_PER_MS);
    start_all(&w, &count);
    assert_in_range(count, 25, 29);
    release(&w);
}

#define SLOW_ONES 100u

/* Starts all that may in one record; how many. Each stands on its own grid of 200 ms, however it was decided. */
static uint32_t start_slow_ones(struct world *w, uint64_t last_ns[SLOW_ONES]) {
    struct attempt_start start;
    uint32_t count = 0;
    for (; count == 0 ? push_start(w, &start) : push_start_ahead(w, &start); count++) {
        unsigned i = (unsigned)atoi(start.queue + 1);
        uint64_t turn_ns = w->now_ns + start.ahead_ns;
        assert_true(start.ahead_ns <= TURN_AHEAD_NS);
        assert_true(last_ns[i] == 0 || turn_ns == last_ns[i] + 200 * NS_PER_MS);
        assert_int_equal(start.gap_ns, 200 * NS_PER_MS);
        last_ns[i] = turn_ns;
        push_finish(w, &start, 200, 0);
    }
    return count;
}

/* 500 a second in all, and as few records as one destination alone would need. */
static void slow_destinations_share_records(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    uint64_t last_ns[SLOW_ONES] = {0};
    for (unsigned i = 0; i < SLOW_ONES; i++, w.now_ns += 2 * NS_PER_MS) {
        char name[8];
        snprintf(name, sizeof name, "d%u", i);
        push_define_destination(&w, name, push_pace(5, 0));
        push_define_queue(&w, name, name, push_pace(0, 1), NULL);
        publish_many(&w, name, 40);
        start_slow_ones(&w, last_ns);
    }
    uint32_t records = 0, starts = 0;
    for (uint64_t end_ns = w.now_ns + 5 * NS_PER_SECOND; w.now_ns < end_ns; records++) {
        starts += start_slow_ones(&w, last_ns);
        uint64_t next_ns = model_next_start_ns(w.model, w.now_ns);
        assert_true(next_ns > w.now_ns);
        w.now_ns = next_ns + rng_below(&w.rng, TURN_NEAR_NS); /* the machine may be as late */
    }
    assert_in_range(starts, 2470, 2530);
    assert_in_range(records, 90, 105);
    release(&w);
}

/*
 * Where a destination that failed over sends to one that is busy by turns, its messages take turns with that one's own, instead of finding
 * all turns taken ahead.
 */
static void who_fails_over_is_not_shut_out(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "second", push_pace(500, 0));
    push_define_more(&w, "first", push_pace(500, 0), to_second, NULL);
    push_define_queue(&w, "q0", "first", push_pace(0, 1), NULL);
    push_define_queue(&w, "q1", "second", push_pace(0, 1), NULL);
    publish_many(&w, "q1", 2000);
    uint32_t turns[NAMES_MAX] = {0};
    run_for(&w, NS_PER_SECOND, turns);
    publish_many(&w, "q0", 2000);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_FAILOVER, "first"), REFUSAL_NONE);
    memset(turns, 0, sizeof turns);
    uint32_t all = run_for(&w, NS_PER_SECOND, turns);
    assert_in_range(all, 490, 502);
    assert_in_range(turns[0], all * 2 / 5, all * 3 / 5);
    release(&w);
}

static void publish_keyed(struct world *w, const char *queue, const char *key) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text(queue);
    r.in.publish.envelope.ordering_key = span_text(key);
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    request_release(&r);
}

/* Only where an end can let nothing begin may it wait for the next starts. */
static void whether_an_end_is_awaited(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    assert_true(model_end_is_awaited(w.model, w.now_ns));
    push_define_destination(&w, "out", push_pace(500, 0));
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 100);
    uint32_t count;
    start_all(&w, &count);
    assert_false(model_end_is_awaited(w.model, w.now_ns));
    publish_keyed(&w, "q0", "k");
    publish_keyed(&w, "q0", "k"); /* one of them may wait for the other */
    assert_true(model_end_is_awaited(w.model, w.now_ns));
    release(&w);

    world_init(&w, NULL);
    struct pace_def both = push_pace(500, 0);
    both.concurrency = 4;
    push_define_destination(&w, "out", both);
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 100);
    start_all(&w, &count);
    assert_int_equal(count, 4);
    assert_true(model_end_is_awaited(w.model, w.now_ns));
    push_define_destination(&w, "other", push_pace(0, 1));
    release(&w);

    world_init(&w, NULL); /* an attempt of another destination, of which nothing is known */
    push_define_destination(&w, "out", push_pace(500, 0));
    push_define_destination(&w, "other", push_pace(0, 1));
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    push_define_queue(&w, "q1", "other", push_pace(0, 1), NULL);
    push_publish(&w, "q1");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    publish_many(&w, "q0", 100);
    start_all(&w, &count);
    assert_true(model_end_is_awaited(w.model, w.now_ns));
    push_finish(&w, &start, 200, 0);
    assert_false(model_end_is_awaited(w.model, w.now_ns));
    release(&w);
}

static void destinations_take_turns(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "a", push_pace(0, 1));
    push_define_destination(&w, "b", push_pace(0, 1));
    push_define_queue(&w, "q0", "a", push_pace(0, 1), NULL);
    push_define_queue(&w, "q1", "b", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 10);
    publish_many(&w, "q1", 10);
    for (int i = 0; i < 20; i++) {
        struct attempt_start start;
        assert_true(push_start(&w, &start));
        assert_int_equal(start.queue[1] - '0', i % 2);
    }
    release(&w);
}

static void pausing_and_turning_queues(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "a", push_pace(0, 1));
    push_define_destination(&w, "b", push_pace(0, 1));
    push_define_queue(&w, "q0", "a", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 3);
    assert_int_equal(push_ask_name(&w, REQUEST_QUEUE_PAUSE, "q0"), REFUSAL_NONE);
    struct attempt_start start;
    assert_false(push_start(&w, &start));
    assert_true(model_next_start_ns(w.model, w.now_ns) == UINT64_MAX);
    model_check(w.model);
    assert_int_equal(push_ask_name(&w, REQUEST_QUEUE_RESUME, "q0"), REFUSAL_NONE);
    assert_true(push_start(&w, &start));
    push_define_queue(&w, "q0", "b", push_pace(0, 1), NULL);
    assert_true(push_start(&w, &start));
    assert_int_equal(start.destination, destination_find(w.model, span_text("b")));
    push_define_queue(&w, "q0", "", push_pace(0, 1), NULL);
    assert_false(push_start(&w, &start));
    release(&w);
}

static enum refusal define_lane(struct world *w, const char *name, uint32_t weight,
                                uint32_t percent) {
    struct queue_def def = world_queue_def(name, "out");
    def.weight = weight;
    def.guaranteed_percent = percent;
    return world_define(w, &def);
}

static void shares_are_as_defined(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(100, 1));
    assert_int_equal(define_lane(&w, "q0", 1, 50), REFUSAL_NONE);
    assert_int_equal(define_lane(&w, "q1", 3, 0), REFUSAL_NONE);
    assert_int_equal(define_lane(&w, "q2", 1, 0), REFUSAL_NONE);
    assert_int_equal(define_lane(&w, "q3", 1, 51), REFUSAL_INVALID);
    assert_int_equal(define_lane(&w, "q3", 0, 0), REFUSAL_INVALID);
    assert_int_equal(define_lane(&w, "q0", 1, 60), REFUSAL_NONE); /* its own does not count twice */
    assert_int_equal(define_lane(&w, "q0", 1, 50), REFUSAL_NONE);
    publish_many(&w, "q0", 200);
    publish_many(&w, "q1", 200);
    publish_many(&w, "q2", 200);
    uint32_t turns[NAMES_MAX] = {0};
    assert_int_equal(run_for(&w, NS_PER_SECOND, turns), 100);
    assert_in_range(turns[0], 59, 61); /* 50 and a fifth of the rest */
    assert_in_range(turns[1], 29, 31);
    assert_in_range(turns[2], 9, 11);
    push_ask_name(&w, REQUEST_QUEUE_PAUSE, "q0");
    memset(turns, 0, sizeof turns);
    assert_int_equal(run_for(&w, NS_PER_SECOND, turns), 100);
    assert_in_range(turns[1], 74, 76);
    release(&w);
}

/* However much waits in others: a message of a queue that was idle has the next slot. */
static void an_idle_queue_is_next(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(100, 1));
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    push_define_queue(&w, "q1", "out", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 1000);
    for (int i = 0; i < 20; i++) {
        uint32_t turns[NAMES_MAX] = {0};
        run_for(&w, 50 * NS_PER_MS, turns);
        assert_int_equal(turns[1], 0);
        push_publish(&w, "q1");
        assert_int_equal(run_for(&w, 10 * NS_PER_MS, turns), 1);
        assert_int_equal(turns[1], 1);
    }
    release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_share_fairly),
        cmocka_unit_test(a_slow_queue_holds_up_nobody),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(a_queue_blocked_by_its_own_cap_comes_back),
        cmocka_unit_test(a_new_pace_of_the_queue_counts_at_once),
        cmocka_unit_test(half_of_the_places_are_not_taken_ahead),
        cmocka_unit_test(one_queue_is_decided_ahead),
        cmocka_unit_test(a_wished_burst_has_no_turns),
        cmocka_unit_test(a_new_pace_holds_behind_what_was_decided),
        cmocka_unit_test(slow_destinations_share_records),
        cmocka_unit_test(who_fails_over_is_not_shut_out),
        cmocka_unit_test(whether_an_end_is_awaited),
        cmocka_unit_test(destinations_take_turns),
        cmocka_unit_test(pausing_and_turning_queues),
        cmocka_unit_test(shares_are_as_defined),
        cmocka_unit_test(an_idle_queue_is_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
