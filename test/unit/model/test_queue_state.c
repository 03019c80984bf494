/* What happens to one message: the moves, the ends, what is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"

static uint64_t setup_one(bool dead_letters) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    struct queue_def def = mail_def("orders", "out");
    def.dead_letters = dead_letters;
    def.max_dead = 2;
    def.retry.max_attempts = 3;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    return mail_put((struct letter){.queue = "orders", .body = "12345"});
}

static struct attempt_start start(void) {
    struct attempt_start s;
    assert_true(push_start(&mail, &s));
    return s;
}

static void test_done(void **state) {
    uint64_t id = setup_one(true);
    struct attempt_start s = start();
    assert_int_equal(s.message, id);
    assert_int_equal(mail_get(id).state, MESSAGE_IN_FLIGHT);
    assert_int_equal(mail_info("orders").in_flight, 1);
    assert_int_equal(model_segment_live_bytes(mail.model, 0) > 0, 1);
    push_finish(&mail, &s, 204, 0);
    struct receipt_info r = mail_receipt(id);
    assert_int_equal(r.state, MESSAGE_DONE);
    assert_int_equal(r.last_status, 204);
    assert_int_equal(r.attempts, 1);
    assert_int_equal(r.address, 0);
    assert_string_equal(mail_receipt_queue(id), "orders");
    struct queue_info q = mail_info("orders");
    assert_true(q.completed == 1 && q.attempts == 1 && q.bytes == 0 && q.in_flight == 0);
    assert_int_equal(model_segment_live_bytes(mail.model, 0), 0);
}

static void test_retry_until_exhausted(void **state) {
    uint64_t id = setup_one(true);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        struct attempt_start s = start();
        assert_int_equal(s.attempt, attempt);
        push_finish(&mail, &s, 500, 5 * NS_PER_SECOND);
        if (attempt < 3) {
            assert_int_equal(mail_get(id).state, MESSAGE_DELAYED);
            assert_int_equal(mail_get(id).last_status, 500);
            mail.now_ns += 4000 * NS_PER_SECOND;
        }
    }
    assert_int_equal(mail_get(id).state, MESSAGE_DEAD);
    assert_int_equal(mail_get(id).dead_reason, DEAD_EXHAUSTED);
    struct queue_info q = mail_info("orders");
    assert_true(q.dead == 1 && q.died == 1 && q.bytes == 0 && q.attempts == 3);
    assert_true(model_segment_live_bytes(mail.model, 0) > 0); /* the body is kept */
}

static void test_no_dead_letters(void **state) {
    uint64_t id = setup_one(false);
    struct attempt_start s = start();
    push_finish(&mail, &s, 422, 0);
    assert_int_equal(mail_receipt(id).state, MESSAGE_DROPPED);
    assert_int_equal(mail_receipt(id).dead_reason, DEAD_REFUSED);
    assert_true(mail_info("orders").dead == 0 && mail_info("orders").died == 1);
}

static void test_max_dead_drops_the_oldest(void **state) {
    uint64_t first = setup_one(true);
    mail_put((struct letter){.queue = "orders"});
    mail_put((struct letter){.queue = "orders"});
    for (unsigned i = 0; i < 3; i++) {
        struct attempt_start s = start();
        push_finish(&mail, &s, 422, 0);
    }
    assert_int_equal(mail_info("orders").dead, 2);
    assert_int_equal(mail_receipt(first).state, MESSAGE_DROPPED);
    struct queue_def def = mail_def("orders", "out");
    def.max_dead = 1;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    assert_int_equal(mail_info("orders").dead, 1);
}

/* What was started may end; what came back too late does not leave again. */
static void test_in_flight_does_not_expire(void **state) {
    setup_one(true);
    uint64_t id = mail_put((struct letter){.queue = "orders", .priority = 9, .ttl_ns = 100});
    struct attempt_start s = start();
    assert_int_equal(s.message, id);
    mail.now_ns += 200;
    assert_int_equal(world_run_timers(&mail), 0);
    push_finish(&mail, &s, 503, 0);
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_get(id).dead_reason, DEAD_EXPIRED);
}

/* Even when nobody has looked at the timers yet. */
static void test_expired_never_leaves(void **state) {
    setup_one(true);
    mail_put((struct letter){.queue = "orders", .priority = 9, .ttl_ns = 100});
    mail.now_ns += 100;
    struct decision d = world_begin(&mail);
    struct attempt_start s;
    assert_false(model_decide_start(mail.model, &d, &s));
    world_run_timers(&mail);
    assert_int_equal(start().attempt, 1);
}

static void test_unknown_outcome(void **state) {
    uint64_t id = setup_one(true);
    start();
    world_reload(&mail);
    assert_int_equal(push_recover(&mail), 1);
    assert_int_equal(mail_get(id).state, MESSAGE_READY);
    world_reload(&mail);
    mail.now_ns += 60 * NS_PER_SECOND;
    struct attempt_start s = start();
    assert_true(s.outcome_unknown_before && s.attempt == 2);
}

static void test_priority_then_arrival(void **state) {
    uint64_t low = setup_one(true);
    uint64_t high = mail_put((struct letter){.queue = "orders", .priority = 9});
    uint64_t middle = mail_put((struct letter){.queue = "orders", .priority = 3});
    uint64_t high_later = mail_put((struct letter){.queue = "orders", .priority = 9});
    world_reload(&mail);
    const uint64_t order[] = {high, high_later, middle, low};
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        assert_int_equal(start().message, order[i]);
    }
}

/* A returned message has its old place again, before those that came later. */
static void test_returned_goes_to_its_old_place(void **state) {
    uint64_t first = setup_one(true);
    for (unsigned i = 0; i < 5; i++) {
        mail_put((struct letter){.queue = "orders"});
    }
    struct attempt_start s = start();
    push_finish(&mail, &s, 500, 0);
    mail.now_ns += 3600 * NS_PER_SECOND;
    assert_int_equal(start().message, first);
}

static void test_paused(void **state) {
    setup_one(true);
    struct attempt_start s;
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_PAUSE, "orders"), REFUSAL_NONE);
    assert_false(push_start(&mail, &s));
    mail_put((struct letter){.queue = "orders"}); /* still accepts */
    world_reload(&mail);
    assert_false(push_start(&mail, &s));
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_RESUME, "orders"), REFUSAL_NONE);
    assert_true(push_start(&mail, &s));
}

static void test_first_attempt_is_remembered(void **state) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    struct queue_def def = mail_def("aging", "out");
    def.retry.max_duration_ns = 3600 * NS_PER_SECOND;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t id = mail_put((struct letter){.queue = "aging"});
    uint64_t first_ns = mail.now_ns;
    struct attempt_start s = start();
    push_finish(&mail, &s, 500, 0);
    mail.now_ns += 10 * NS_PER_SECOND;
    start();
    world_reload(&mail);
    struct message_view view;
    assert_true(queue_message_view(mail.model, id, &view));
    assert_int_equal(view.first_attempt_ns, first_ns);
}

/* The API takes times up to the year 2500: from 2262 on they have all 64 bits. */
static void test_far_away_is_not_now(void **state) {
    const uint64_t due_ns = UINT64_C(1) << 63 | 7;
    setup_one(true);
    start();
    uint64_t id = mail_put((struct letter){.queue = "orders", .schedule_ns = due_ns});
    assert_int_equal(mail_get(id).due_ns, due_ns);
    world_reload(&mail);
    assert_int_equal(mail_get(id).due_ns, due_ns);
    mail.now_ns += 3600 * NS_PER_SECOND;
    world_run_timers(&mail);
    assert_int_equal(mail_get(id).state, MESSAGE_DELAYED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_done, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_retry_until_exhausted, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_no_dead_letters, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_max_dead_drops_the_oldest, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_in_flight_does_not_expire, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_expired_never_leaves, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_outcome, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_priority_then_arrival, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_returned_goes_to_its_old_place, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_paused, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_first_attempt_is_remembered, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_far_away_is_not_now, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
