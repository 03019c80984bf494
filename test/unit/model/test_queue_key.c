/* Ordering keys: one of a key at a time, the others wait in order, and hold up nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"

static void setup_queue(void) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    struct queue_def def = mail_def("orders", "out");
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
}

static uint64_t put(const char *key) {
    return mail_put((struct letter){.queue = "orders", .key = key});
}

static void test_one_at_a_time(void **state) {
    setup_queue();
    uint64_t a1 = put("a"), a2 = put("a"), a3 = put("a"), b1 = put("b");
    assert_int_equal(mail_info("orders").blocked, 2);
    struct attempt_start s, t, none;
    assert_true(push_start(&mail, &s) && s.message == a1);
    assert_true(push_start(&mail, &t) && t.message == b1);
    assert_false(push_start(&mail, &none));
    world_reload(&mail);
    push_finish(&mail, &s, 200, 0);
    assert_int_equal(mail_get(a2).state, MESSAGE_READY);
    assert_int_equal(mail_get(a3).state, MESSAGE_BLOCKED);
    assert_true(push_start(&mail, &s) && s.message == a2);
}

/* A failing message holds its key, not the others. */
static void test_retry_holds_the_key(void **state) {
    setup_queue();
    uint64_t a1 = put("a"), a2 = put("a");
    struct attempt_start s, t;
    assert_true(push_start(&mail, &s));
    push_finish(&mail, &s, 500, 3600 * NS_PER_SECOND / 1000);
    assert_int_equal(mail_get(a1).state, MESSAGE_DELAYED);
    assert_int_equal(mail_get(a2).state, MESSAGE_BLOCKED);
    assert_false(push_start(&mail, &t));
    uint64_t b1 = put("b");
    assert_true(push_start(&mail, &t) && t.message == b1);
    world_reload(&mail);
    assert_int_equal(mail_get(a2).state, MESSAGE_BLOCKED);
}

static void test_the_dead_let_go(void **state) {
    setup_queue();
    uint64_t a1 = put("a"), a2 = put("a");
    struct attempt_start s;
    assert_true(push_start(&mail, &s));
    push_finish(&mail, &s, 422, 0);
    assert_int_equal(mail_get(a1).state, MESSAGE_DEAD);
    assert_int_equal(mail_get(a2).state, MESSAGE_READY);
    world_reload(&mail); /* the dead one knows its key still: */
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.name = span_text("orders");
    r.in.redrive.id = a1;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(mail_get(a1).state, MESSAGE_BLOCKED);
}

static void test_deleting_the_holder_and_a_waiter(void **state) {
    setup_queue();
    uint64_t a1 = put("a"), a2 = put("a"), a3 = put("a");
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", a2), REFUSAL_NONE);
    assert_int_equal(mail_get(a3).state, MESSAGE_BLOCKED);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", a1), REFUSAL_NONE);
    assert_int_equal(mail_get(a3).state, MESSAGE_READY);
}

/* What is scheduled for later does not hold its key before its time. */
static void test_scheduled_joins_when_due(void **state) {
    setup_queue();
    uint64_t later =
        mail_put((struct letter){.queue = "orders", .key = "a", .schedule_ns = mail.now_ns + 100});
    uint64_t now = put("a");
    assert_int_equal(mail_get(now).state, MESSAGE_READY);
    mail.now_ns += 100;
    world_run_timers(&mail);
    assert_int_equal(mail_get(later).state, MESSAGE_BLOCKED);
}

static void test_blocked_can_expire(void **state) {
    setup_queue();
    put("a");
    uint64_t brief = mail_put((struct letter){.queue = "orders", .key = "a", .ttl_ns = 10});
    uint64_t a3 = put("a");
    mail.now_ns += 10;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_get(brief).dead_reason, DEAD_EXPIRED);
    assert_int_equal(mail_get(a3).state, MESSAGE_BLOCKED);
}

static void test_keys_of_two_queues_are_apart(void **state) {
    setup_queue();
    mail_queue("other");
    put("a");
    uint64_t other = mail_put((struct letter){.queue = "other", .key = "a"});
    assert_int_equal(mail_get(other).state, MESSAGE_READY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_at_a_time, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_retry_holds_the_key, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_the_dead_let_go, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_deleting_the_holder_and_a_waiter, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_scheduled_joins_when_due, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_blocked_can_expire, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_keys_of_two_queues_are_apart, mail_setup,
                                        mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
