/* Policies: which applies, what it comes to, and that a change reaches what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "model/policy.h"
#include "amqp_world.h"

static struct span number(const char *key, int64_t value) {
    begin();
    amqp_put_i64(&t, key, value);
    return end();
}

static struct span text(const char *key, const char *value) {
    begin();
    amqp_put_text(&t, key, span_text(value));
    return end();
}

static struct policy_def of(const char *pattern, int32_t priority, struct span definition) {
    return (struct policy_def){.pattern = span_text(pattern),
                               .apply_to = span_text("all"),
                               .priority = priority,
                               .definition = definition};
}

static enum refusal define(const char *name, struct policy_def def) {
    struct request r;
    request_init(&r, REQUEST_POLICY_DEFINE);
    r.vhost = span_text("/");
    r.name = span_text(name);
    r.in.policy = def;
    enum refusal refusal = world_ask(&w, &r);
    rabbit_trim(&w);
    request_release(&r);
    return refusal;
}

static enum refusal drop(const char *name, bool operator_policy) {
    struct request r;
    request_init(&r, REQUEST_POLICY_DELETE);
    r.vhost = span_text("/");
    r.name = span_text(name);
    r.in.policy.operator_policy = operator_policy;
    enum refusal refusal = world_ask(&w, &r);
    request_release(&r);
    return refusal;
}

static void queue(const char *name, struct span arguments) {
    struct rabbit_queue q = {.arguments = arguments};
    assert_int_equal(rabbit_declare(&w, name, q, NULL), REFUSAL_NONE);
}

static void fill(const char *name, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        rabbit_publish(&w, "", name, "x");
    }
}

static struct queue_info info_of(const char *name) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text(name);
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    struct queue_info info = r.out.queue;
    request_release(&r);
    return info;
}

static void test_present_and_new_queues(void **state) {
    queue("q1", none);
    queue("other", none);
    fill("q1", 10);
    assert_int_equal(define("short", of("^q", 0, number("max-length", 3))), REFUSAL_NONE);
    assert_int_equal(rabbit_ready(&w, "q1"), 3); /* at once */
    queue("q2", none);
    fill("q2", 10);
    fill("other", 10);
    assert_int_equal(rabbit_ready(&w, "q2"), 3);
    assert_int_equal(rabbit_ready(&w, "other"), 10);
    assert_int_not_equal(info_of("q1").policy, 0);
    assert_int_equal(info_of("other").policy, 0);
    assert_int_equal(define("short", of("^q", 0, number("max-length", 2))), REFUSAL_NONE);
    assert_int_equal(rabbit_ready(&w, "q2"), 2);
    assert_int_equal(drop("short", false), REFUSAL_NONE);
    assert_int_equal(drop("short", false), REFUSAL_NOT_FOUND);
    fill("q1", 10);
    assert_int_equal(rabbit_ready(&w, "q1"), 12);
    assert_int_equal(info_of("q1").policy, 0);
}

static void test_the_highest_priority_applies(void **state) {
    queue("q", none);
    assert_int_equal(define("low", of(".*", -1, number("max-length", 1))), REFUSAL_NONE);
    assert_int_equal(define("high", of("^q$", 5, number("max-length", 4))), REFUSAL_NONE);
    assert_int_equal(define("middle", of("", 2, number("max-length", 2))), REFUSAL_NONE);
    fill("q", 9);
    assert_int_equal(rabbit_ready(&w, "q"), 4);
    assert_int_equal(define("high", of("^nobody$", 5, number("max-length", 4))), REFUSAL_NONE);
    assert_int_equal(rabbit_ready(&w, "q"), 2); /* the next one takes its place */
    assert_int_equal(drop("middle", false), REFUSAL_NONE);
    fill("q", 9);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
}

static void test_the_smaller_number_holds(void **state) {
    queue("q", number("x-max-length", 5));
    assert_int_equal(define("wide", of("q", 0, number("max-length", 100))), REFUSAL_NONE);
    fill("q", 9);
    assert_int_equal(rabbit_ready(&w, "q"), 5);
    struct policy_def operator_policy = of("q", 0, number("max-length", 3));
    operator_policy.operator_policy = true;
    operator_policy.apply_to = span_text("queues");
    assert_int_equal(define("wide", operator_policy), REFUSAL_NONE); /* of the same name */
    assert_int_equal(rabbit_ready(&w, "q"), 3);
    assert_int_equal(define("wide", of("q", 0, number("max-length", 0))), REFUSAL_NONE);
    assert_int_equal(rabbit_ready(&w, "q"), 0);
    assert_int_equal(drop("wide", false), REFUSAL_NONE);
    fill("q", 9);
    assert_int_equal(rabbit_ready(&w, "q"), 3);
    assert_int_equal(drop("wide", true), REFUSAL_NONE);
    fill("q", 9);
    assert_int_equal(rabbit_ready(&w, "q"), 5);
}

static void test_own_texts_win(void **state) {
    assert_int_equal(rabbit_exchange(&w, "mine", "fanout", none), REFUSAL_NONE);
    assert_int_equal(rabbit_exchange(&w, "theirs", "fanout", none), REFUSAL_NONE);
    queue("own-dead", none);
    queue("policy-dead", none);
    assert_int_equal(rabbit_bind(&w, "mine", "own-dead", "", none), REFUSAL_NONE);
    assert_int_equal(rabbit_bind(&w, "theirs", "policy-dead", "", none), REFUSAL_NONE);
    begin();
    amqp_put_i64(&t, "x-max-length", 1);
    amqp_put_text(&t, "x-dead-letter-exchange", span_text("mine"));
    queue("a", end());
    queue("b", number("x-max-length", 1));
    assert_int_equal(define("dlx", of("^[ab]$", 0, text("dead-letter-exchange", "theirs"))),
                     REFUSAL_NONE);
    fill("a", 3);
    fill("b", 4);
    assert_int_equal(rabbit_ready(&w, "own-dead"), 2);
    assert_int_equal(rabbit_ready(&w, "policy-dead"), 3);
}

static void test_overflow(void **state) {
    queue("q", number("x-max-length", 1));
    queue("own", text("x-overflow", "drop-head"));
    begin();
    amqp_put_text(&t, "overflow", span_text("reject-publish"));
    amqp_put_i64(&t, "max-length", 2);
    assert_int_equal(define("p", of(".*", 0, end())), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "", "q", "first"), 1);
    assert_int_not_equal(rabbit_publish(&w, "", "q", "second"), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
    fill("own", 5);
    assert_int_equal(rabbit_ready(&w, "own"), 2);
}

static void test_expires_and_ttl(void **state) {
    queue("idle", none);
    queue("kept", none);
    begin();
    amqp_put_i64(&t, "expires", 1000);
    assert_int_equal(define("e", of("^idle$", 0, end())), REFUSAL_NONE);
    assert_int_equal(define("t", of("^kept$", 0, number("message-ttl", 500))), REFUSAL_NONE);
    fill("kept", 2);
    w.now_ns += NS_PER_SECOND - 1;
    world_run_timers(&w);
    assert_int_equal(rabbit_ready(&w, "kept"), 0);
    assert_int_equal(rabbit_ready(&w, "idle"), 0);
    world_reload(&w); /* the timer is set again */
    w.now_ns += 2;
    world_run_timers(&w);
    struct rabbit_queue passive = {.passive = true};
    assert_int_equal(rabbit_declare(&w, "idle", passive, NULL), REFUSAL_NOT_FOUND);
    assert_int_equal(rabbit_declare(&w, "kept", passive, NULL), REFUSAL_NONE);
}

static void test_alternate_exchange(void **state) {
    assert_int_equal(rabbit_exchange(&w, "x", "direct", none), REFUSAL_NONE);
    queue("rest", none);
    assert_int_equal(rabbit_bind(&w, "amq.fanout", "rest", "", none), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "x", "k", "lost"), 0);
    assert_int_equal(define("ae", of("^[xy]$", 0, text("alternate-exchange", "amq.fanout"))),
                     REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "x", "k", "found"), 1);
    assert_int_equal(rabbit_exchange(&w, "y", "direct", none), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "y", "k", "found"), 1);
    world_reload(&w);
    assert_int_equal(rabbit_publish(&w, "y", "k", "found"), 1);
    assert_int_equal(drop("ae", false), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "x", "k", "lost"), 0);
}

static void test_delivery_limit_is_of_quorum_queues(void **state) {
    queue("classic", none);
    queue("quorum", text("x-queue-type", "quorum"));
    assert_int_equal(define("limit", of(".*", 0, number("delivery-limit", 1))), REFUSAL_NONE);
    static const char *const names[] = {"classic", "quorum"};
    for (uint32_t i = 0; i < 2; i++) {
        rabbit_publish(&w, "", names[i], "poison");
        for (unsigned tries = 0; tries < 2; tries++) {
            struct delivery d = rabbit_get(&w, i + 1, names[i]);
            assert_int_equal(d.kind, DELIVERY_MESSAGE);
            rabbit_settle(&w, i + 1, d.message, SETTLE_REQUEUE);
        }
        assert_int_equal(rabbit_ready(&w, names[i]), i == 0 ? 1 : 0);
        rabbit_close(&w, i + 1);
    }
}

static void test_apply_to(void **state) {
    queue("q", none);
    struct policy_def def = of(".*", 0, number("max-length", 1));
    def.apply_to = span_text("exchanges");
    assert_int_equal(define("p", def), REFUSAL_NONE);
    fill("q", 3);
    assert_int_equal(rabbit_ready(&w, "q"), 3);
    def.apply_to = span_text("queues");
    assert_int_equal(define("p", def), REFUSAL_NONE);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
    def.apply_to = span_text("streams");
    assert_int_equal(define("p", def), REFUSAL_INVALID);
}

static void test_a_policy_stays_in_its_vhost(void **state) {
    struct request r;
    request_init(&r, REQUEST_VHOST_DEFINE);
    r.name = span_text("v");
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    request_release(&r);
    struct rabbit_queue there = {.vhost = "v"};
    assert_int_equal(rabbit_declare(&w, "q", there, NULL), REFUSAL_NONE);
    queue("q", none);
    assert_int_equal(define("p", of("q", 0, number("max-length", 1))), REFUSAL_NONE);
    assert_int_not_equal(info_of("q").policy, 0);
    assert_int_equal(info_of("v/q").policy, 0);
    request_init(&r, REQUEST_VHOST_DELETE);
    r.name = span_text("/");
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE); /* with its policies */
    request_release(&r);
    assert_int_equal(drop("p", false), REFUSAL_NOT_FOUND);
}

static void test_what_is_no_policy(void **state) {
    assert_int_equal(define("p", of("(", 0, number("max-length", 1))), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, none)), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, number("no-such-key", 1))), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, number("max-length", -1))), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, text("max-length", "many"))), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, text("overflow", "burst"))), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, number("alternate-exchange", 1))), REFUSAL_INVALID);
    assert_int_equal(define("", of("", 0, number("max-length", 1))), REFUSAL_INVALID);
    assert_int_equal(define("p", of("", 0, text("ha-mode", "all"))), REFUSAL_NONE);
}

/* A pattern that would keep the writer busy is refused where it shows. */
static void test_a_costly_pattern(void **state) {
    queue("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", none);
    assert_int_equal(define("p", of("^(a+)+$", 0, number("max-length", 1))), REFUSAL_INVALID);
    assert_int_equal(drop("p", false), REFUSAL_NOT_FOUND);
}

static void test_there_is_a_limit(void **state) {
    char name[16];
    for (unsigned i = 0; i <= POLICIES_MAX; i++) {
        snprintf(name, sizeof name, "p%u", i);
        assert_int_equal(define(name, of("^nothing$", 0, number("max-length", 1))),
                         i < POLICIES_MAX ? REFUSAL_NONE : REFUSAL_LIMIT);
    }
}

/* One made by HTTP counts what waits, whatever it waits for, and refuses what is too much. */
static void test_a_queue_of_http(void **state) {
    assert_int_equal(world_define_queue(&w, "letters", 0), REFUSAL_NONE);
    assert_int_equal(define("p", of("letters", 0, number("max-length", 2))), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "", "letters", "1"), 1);
    assert_int_equal(rabbit_publish(&w, "", "letters", "2"), 1);
    assert_int_not_equal(rabbit_publish(&w, "", "letters", "3"), 1);
    assert_int_equal(world_define_queue(&w, "letters", 1), REFUSAL_NONE); /* keeps its policy */
    assert_int_not_equal(info_of("letters").policy, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_present_and_new_queues, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_the_highest_priority_applies, amqp_setup,
                                        amqp_teardown),
        cmocka_unit_test_setup_teardown(test_the_smaller_number_holds, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_own_texts_win, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_overflow, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_expires_and_ttl, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_alternate_exchange, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_delivery_limit_is_of_quorum_queues, amqp_setup,
                                        amqp_teardown),
        cmocka_unit_test_setup_teardown(test_apply_to, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_a_policy_stays_in_its_vhost, amqp_setup,
                                        amqp_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_policy, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_a_costly_pattern, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_there_is_a_limit, amqp_setup, amqp_teardown),
        cmocka_unit_test_setup_teardown(test_a_queue_of_http, amqp_setup, amqp_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
