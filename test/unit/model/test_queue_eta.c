/*
 * Dispatch deadlines: refused at once, or dead when they pass. When messages leave: test_destination_eta.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "push.h"

static enum refusal publish(struct world *w, uint64_t after_ns, uint64_t ttl_ns, uint64_t *ret_id) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("q");
    r.in.publish.deadline_ns = w->now_ns + after_ns;
    r.in.publish.ttl_ns = ttl_ns;
    r.in.publish.envelope.body = span_text("{}");
    enum refusal refusal = world_ask(w, &r);
    *ret_id = r.receipt.id;
    request_release(&r);
    return refusal;
}

static void begin(struct world *w) {
    world_init(w, NULL);
    push_define_destination(w, "out", push_pace(10, 1));
    push_define_queue(w, "q", "out", push_pace(0, 1), NULL);
}

static void end(struct world *w) {
    model_check(w->model);
    world_check_replay(w);
    world_reload(w);
    world_release(w);
}

static void what_cannot_be_met_is_refused(void **state) {
    (void)state;
    struct world w;
    uint64_t id;
    begin(&w);
    assert_int_equal(publish(&w, 0, 0, &id), REFUSAL_DEADLINE);
    for (int i = 0; i < 50; i++) {
        push_publish(&w, "q");
    }
    assert_int_equal(publish(&w, 4 * NS_PER_SECOND, 0, &id), REFUSAL_DEADLINE);
    assert_int_equal(publish(&w, 6 * NS_PER_SECOND, 0, &id), REFUSAL_NONE);
    push_ask_name(&w, REQUEST_DESTINATION_PAUSE, "out");
    assert_int_equal(publish(&w, NS_PER_SECOND, 0, &id), REFUSAL_NONE); /* who knows */
    end(&w);
}

static void what_passes_is_dead_for_that_reason(void **state) {
    (void)state;
    struct world w;
    uint64_t by_deadline, by_ttl;
    begin(&w);
    push_ask_name(&w, REQUEST_DESTINATION_PAUSE, "out");
    assert_int_equal(publish(&w, NS_PER_SECOND, 5 * NS_PER_SECOND, &by_deadline), REFUSAL_NONE);
    assert_int_equal(publish(&w, 5 * NS_PER_SECOND, NS_PER_SECOND, &by_ttl), REFUSAL_NONE);
    world_reload(&w); /* which of the two it is stands in the snapshot */
    w.now_ns += 2 * NS_PER_SECOND;
    world_run_timers(&w);
    assert_int_equal(push_message(&w, by_deadline).dead_reason, DEAD_DEADLINE);
    assert_int_equal(push_message(&w, by_ttl).dead_reason, DEAD_EXPIRED);
    end(&w);
}

/* Without dead letters only the receipt tells why, also out of a snapshot. */
static void receipts_tell_why(void **state) {
    (void)state;
    struct world w;
    uint64_t id;
    begin(&w);
    struct queue_def def = world_queue_def("q", "");
    def.dead_letters = false;
    assert_int_equal(world_define(&w, &def), REFUSAL_NONE);
    assert_int_equal(publish(&w, NS_PER_SECOND, 0, &id), REFUSAL_NONE);
    w.now_ns += 2 * NS_PER_SECOND;
    world_run_timers(&w);
    world_reload(&w);
    struct request r;
    request_init(&r, REQUEST_RECEIPT_GET);
    r.id = id;
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(r.out.receipt.dead_reason, DEAD_DEADLINE);
    request_release(&r);
    end(&w);
}

static void what_is_under_way_may_end(void **state) {
    (void)state;
    struct world w;
    uint64_t id;
    begin(&w);
    assert_int_equal(publish(&w, NS_PER_SECOND, 0, &id), REFUSAL_NONE);
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    w.now_ns += 2 * NS_PER_SECOND;
    world_run_timers(&w);
    assert_int_equal(push_message(&w, id).state, MESSAGE_IN_FLIGHT);
    push_finish(&w, &start, 503, 0); /* but not begin again */
    world_run_timers(&w);
    assert_int_equal(push_message(&w, id).dead_reason, DEAD_DEADLINE);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_met_is_refused),
        cmocka_unit_test(what_passes_is_dead_for_that_reason),
        cmocka_unit_test(receipts_tell_why),
        cmocka_unit_test(what_is_under_way_may_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
