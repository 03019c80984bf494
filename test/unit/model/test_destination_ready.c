/*
 * Whose turn it is: fairness between queues and between destinations, queues with a pace of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
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
    while (w->now_ns < until_ns) {
        struct attempt_start start;
        if (push_start(w, &start)) {
            turns[start.queue[1] - '0']++;
            started++;
            push_finish(w, &start, 200, 0);
            continue;
        }
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

static uint64_t start_all(struct world *w, uint32_t *ret_count) {
    struct attempt_start start;
    uint64_t ahead_ns = 0;
    for (*ret_count = 0; push_start(w, &start); ++*ret_count) {
        assert_true(*ret_count == 0 || start.ahead_ns == 0 ||
                    start.ahead_ns == ahead_ns + 2 * NS_PER_MS);
        ahead_ns = start.ahead_ns;
    }
    return ahead_ns;
}

/* One queue: eight at a time, each with its turn. As soon as others could come in between: only whose turn it is. */
static void one_queue_is_decided_ahead(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(500, 0));
    push_define_queue(&w, "q0", "out", push_pace(0, 1), NULL);
    publish_many(&w, "q0", 100);
    uint32_t count;
    assert_int_equal(start_all(&w, &count), 14 * NS_PER_MS);
    assert_int_equal(count, 8);
    w.now_ns = model_next_start_ns(w.model, w.now_ns);
    assert_int_equal(start_all(&w, &count), 14 * NS_PER_MS);
    assert_int_equal(count, 7);
    push_define_queue(&w, "q1", "out", push_pace(0, 1), NULL);
    w.now_ns += 2 * NS_PER_MS;
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
        cmocka_unit_test(one_queue_is_decided_ahead),
        cmocka_unit_test(whether_an_end_is_awaited),
        cmocka_unit_test(destinations_take_turns),
        cmocka_unit_test(pausing_and_turning_queues),
        cmocka_unit_test(shares_are_as_defined),
        cmocka_unit_test(an_idle_queue_is_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
