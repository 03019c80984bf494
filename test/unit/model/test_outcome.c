/*
 * Outcomes: one message for each end, in its record; to whom; and what definitions are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "model/outcome.h"
#include "push.h"

static enum refusal define(struct world *w, const char *name, const char *destination,
                           const char *on_success, const char *on_failure) {
    struct queue_def def = world_queue_def(name, destination);
    assert_int_equal(def_set_text(&def.on_success.queue, span_text(on_success)), 0);
    assert_int_equal(def_set_text(&def.on_failure.queue, span_text(on_failure)), 0);
    def.retry.max_attempts = 1;
    return world_define(w, &def);
}

static void begin(struct world *w) {
    world_init(w, NULL);
    assert_int_equal(push_define_destination(w, "out", push_pace(0, 1)), REFUSAL_NONE);
    assert_int_equal(define(w, "told", "", "", ""), REFUSAL_NONE);
    assert_int_equal(define(w, "undo", "", "", ""), REFUSAL_NONE);
    assert_int_equal(define(w, "q", "out", "told", "undo"), REFUSAL_NONE);
}

static void end(struct world *w) {
    model_check(w->model);
    world_check_replay(w);
    world_reload(w);
    world_release(w);
}

static struct queue_info info_of(struct world *w, const char *queue) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text(queue);
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    struct queue_info info = r.out.queue;
    request_release(&r);
    return info;
}

/* Ends the one message of q and compares what is told, in the very decision of the end. */
static void finish_telling(struct world *w, uint16_t status, const char *expected) {
    uint64_t id = push_publish(w, "q");
    struct attempt_start start;
    assert_true(push_start(w, &start));
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){.message = id,
                                          .attempt = 1,
                                          .status = status,
                                          .success = status == 200,
                                          .excerpt = span_text("it \"said\"\n\xc3\xa4"),
                                          .ordering_key = span_text("k\xff"),
                                          .correlation_id = span_text("c-1")};
    struct decision d = world_begin(w);
    model_decide(w->model, &d, &r);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    struct stored_message told;
    assert_int_equal(stored_message_find(buffer_span(d.facts), id_make(d.position, 0), &told), 0);
    char text[18], wanted[1024];
    receipt_format(id, text);
    snprintf(wanted, sizeof wanted, expected, text);
    assert_true(told.envelope.body.size > strlen(wanted));
    assert_memory_equal(told.envelope.body.data, wanted, strlen(wanted));
    assert_true(span_is(told.envelope.correlation_id, "c-1"));
    assert_true(span_is(told.envelope.ordering_key, "k\xff"));
    world_commit(w, &d);
    request_release(&r);
}

static void each_end_tells_its_queue(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    finish_telling(
        &w, 200,
        "{\"type\":\"message-ended\",\"receipt\":\"%s\",\"queue\":\"q\",\"outcome\":"
        "\"done\",\"status\":200,\"attempts\":1,\"response\":\"it \\u0022said\\u0022"
        "\\u000a\xc3\xa4\",\"orderingKey\":\"k?\",\"correlationId\":\"c-1\",\"time\":\"");
    assert_int_equal(info_of(&w, "told").ready, 1);
    assert_int_equal(info_of(&w, "undo").ready, 0);
    finish_telling(&w, 422,
                   "{\"type\":\"message-ended\",\"receipt\":\"%s\",\"queue\":\"q\",\"outcome\":"
                   "\"dead\",\"deadReason\":\"refused\",\"status\":422,");
    assert_int_equal(info_of(&w, "undo").ready, 1);
    end(&w);
}

static void what_expires_is_a_failure(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    push_ask_name(&w, REQUEST_QUEUE_PAUSE, "q");
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("q");
    r.in.publish.ttl_ns = NS_PER_SECOND;
    r.in.publish.envelope.body = span_text("{}");
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    request_release(&r);
    w.now_ns += 2 * NS_PER_SECOND;
    world_run_timers(&w);
    assert_int_equal(info_of(&w, "undo").ready, 1);
    assert_int_equal(info_of(&w, "q").dead, 1);
    end(&w);
}

static void retries_and_unknown_ends_tell_nobody(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    push_publish(&w, "q");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    assert_int_equal(push_recover(&w), 1);
    assert_int_equal(info_of(&w, "undo").ready + info_of(&w, "told").ready, 0);
    end(&w);
}

static void bad_targets_are_refused(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    assert_int_equal(define(&w, "a", "", "none", ""), REFUSAL_REFERENCE);
    assert_int_equal(define(&w, "a", "", "", "a"), REFUSAL_INVALID);
    assert_int_equal(define(&w, "undo", "", "", "told"), REFUSAL_NONE);
    assert_int_equal(define(&w, "told", "", "q", ""), REFUSAL_INVALID); /* q -> told -> q */
    assert_int_equal(define(&w, "told", "", "", "undo"), REFUSAL_INVALID);
    assert_int_equal(push_ask_name(&w, REQUEST_QUEUE_DELETE, "told"), REFUSAL_CONFLICT);
    assert_int_equal(define(&w, "q", "out", "", ""), REFUSAL_NONE);
    assert_int_equal(define(&w, "undo", "", "", ""), REFUSAL_NONE);
    assert_int_equal(push_ask_name(&w, REQUEST_QUEUE_DELETE, "told"), REFUSAL_NONE);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_tells_its_queue),
        cmocka_unit_test(what_expires_is_a_failure),
        cmocka_unit_test(retries_and_unknown_ends_tell_nobody),
        cmocka_unit_test(bad_targets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
