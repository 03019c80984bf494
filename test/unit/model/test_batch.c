/* Several messages in one request: who joins, what it costs, when it waits, and what a restart makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mail.h"

static void with_batch(struct destination_def *def, void *context) {
    const enum batch_token *token = context;
    def->batch.max_messages = 3;
    def->batch.max_bytes = 100;
    def->batch.wait_ns = 10 * NS_PER_MS;
    def->batch.token = *token;
    def->breaker.window_calls = 100;
    def->breaker.minimum_calls = 100;
}

static void begin(enum batch_token token) {
    struct pace_def pace = push_pace(0, 1);
    pace.concurrency = 1;
    assert_int_equal(push_define_more(&mail, "out", pace, with_batch, &token), REFUSAL_NONE);
    struct queue_def def = mail_def("q", "out");
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
}

/* As the next decision of the record before. */
static bool joined(struct attempt_start *ret) {
    mail.position--;
    bool is = push_start(&mail, ret);
    mail.position += !is;
    return is;
}

static uint64_t put(const char *body, const char *key) {
    return mail_put((struct letter){.queue = "q", .body = body, .key = key});
}

static void a_request_takes_one_token_and_holds_so_many(void **state) {
    (void)state;
    begin(BATCH_TOKEN_REQUEST);
    struct attempt_start first, second, third, none;
    uint64_t ids[5];
    for (unsigned i = 0; i < 5; i++) {
        ids[i] = put("x", NULL);
    }
    assert_true(push_start(&mail, &first));
    assert_int_equal(first.lead, 0);
    assert_true(joined(&second));
    assert_true(joined(&third));
    assert_int_equal(second.message, ids[1]);
    assert_int_equal(second.lead, ids[0]);
    assert_false(joined(&none)); /* it is full */
    assert_false(push_start(&mail, &none));
    model_check(mail.model);
    world_reload(&mail);
    /* Its place is free when the one ends that took it, each message by its own result. */
    push_finish(&mail, &second, 422, 0);
    assert_false(push_start(&mail, &none));
    push_finish(&mail, &first, 200, 0);
    assert_int_equal(mail_get(ids[1]).state, MESSAGE_DEAD);
    assert_int_equal(mail_receipt(ids[0]).state, MESSAGE_DONE);
    mail.now_ns += 10 * NS_PER_MS;
    assert_true(push_start(&mail, &none));
    assert_int_equal(none.message, ids[3]);
    world_reload(&mail);
    /* Those of unknown outcome are sent again, all of them. */
    assert_int_equal(push_recover(&mail), 2);
    assert_int_equal(mail_info("q").ready, 3);
}

static void another_record_is_another_request(void **state) {
    (void)state;
    begin(BATCH_TOKEN_REQUEST);
    struct attempt_start start;
    for (unsigned i = 0; i < 3; i++) {
        put("x", NULL);
    }
    assert_true(push_start(&mail, &start));
    assert_false(push_start(&mail, &start)); /* the place is taken */
}

static void it_waits_to_be_full_but_not_for_ever(void **state) {
    (void)state;
    begin(BATCH_TOKEN_REQUEST);
    struct attempt_start start;
    put("x", NULL), put("x", NULL);
    assert_false(push_start(&mail, &start));
    assert_int_equal(model_next_start_ns(mail.model, mail.now_ns), mail.now_ns + 10 * NS_PER_MS);
    mail.now_ns += 10 * NS_PER_MS;
    assert_true(push_start(&mail, &start));
    assert_true(joined(&start));
}

static void bytes_and_keys_bound_it(void **state) {
    (void)state;
    static const char body[] = "0123456789012345678901234567890123456789012345678901234567890";
    begin(BATCH_TOKEN_REQUEST);
    struct attempt_start start;
    put(body, NULL), put(body, NULL); /* 122 bytes: full, and too much for one */
    assert_true(push_start(&mail, &start));
    assert_false(joined(&start));
    push_recover(&mail);
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_PURGE, "q"), REFUSAL_NONE);
    uint64_t a = put("x", "k"), b = put("x", "k"), c = put("x", NULL);
    mail.now_ns += 60 * NS_PER_SECOND;
    assert_true(push_start(&mail, &start));
    assert_int_equal(start.message, a);
    assert_true(joined(&start));
    assert_int_equal(start.message, c); /* b waits for its key */
    assert_false(joined(&start));
    assert_int_equal(mail_get(b).state, MESSAGE_BLOCKED);
}

static void a_token_may_be_each_messages(void **state) {
    (void)state;
    begin(BATCH_TOKEN_MESSAGE);
    struct attempt_start start;
    for (unsigned i = 0; i < 3; i++) {
        put("x", NULL);
    }
    assert_true(push_start(&mail, &start));
    assert_false(joined(&start)); /* one at a time */
}

/* One of a request that was answered with `answer`. */
static void end(const struct attempt_start *start, uint16_t status, uint16_t answer) {
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){.message = start->message,
                                          .attempt = start->attempt,
                                          .status = status,
                                          .retriable = status == 503,
                                          .success = status == 200,
                                          .shared = true,
                                          .answer_status = answer};
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
}

static void begin_request(struct attempt_start starts[3]) {
    for (unsigned i = 0; i < 3; i++) {
        put("x", NULL);
    }
    assert_true(push_start(&mail, &starts[0]));
    assert_true(joined(&starts[1]) && joined(&starts[2]));
}

static void the_guards_hear_of_the_request(void **state) {
    (void)state;
    begin(BATCH_TOKEN_REQUEST);
    struct attempt_start s[3];
    begin_request(s);
    end(&s[2], 200, 200);
    end(&s[1], 200, 200);
    end(&s[0], 503, 200); /* its own result; the far side is well */
    assert_int_equal(push_info(&mail, "out").breaker_bad, 0);
    mail.now_ns += 60 * NS_PER_SECOND;
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_PURGE, "q"), REFUSAL_NONE);
    begin_request(s);
    for (unsigned i = 3; i-- > 0;) {
        end(&s[i], 503, 503);
    }
    assert_int_equal(push_info(&mail, "out").breaker_calls, 2);
    assert_int_equal(push_info(&mail, "out").breaker_bad, 1);
}

static void what_is_gone_is_the_item_or_the_destination(void **state) {
    (void)state;
    begin(BATCH_TOKEN_REQUEST);
    struct attempt_start s[3];
    begin_request(s);
    end(&s[2], 200, 200), end(&s[1], 410, 200), end(&s[0], 200, 200);
    assert_false(push_info(&mail, "out").paused);
    assert_int_equal(mail_get(s[1].message).state, MESSAGE_DEAD);
    begin_request(s);
    end(&s[2], 410, 410), end(&s[1], 410, 410), end(&s[0], 410, 410);
    assert_true(push_info(&mail, "out").paused);
    assert_int_equal(mail_info("q").ready, 3);
}

static void with_one_retry(struct destination_def *def, void *context) {
    with_batch(def, context);
    def->budget = (struct budget_def){.window_ns = 10 * NS_PER_SECOND}; /* one always may be */
}

/* A retry that joins the request of a message that is none is one all the same. */
static void the_budget_counts_messages(void **state) {
    (void)state;
    enum batch_token token = BATCH_TOKEN_REQUEST;
    struct queue_def def = mail_def("q", "out");
    def.max_priority = 1;
    assert_int_equal(push_define_more(&mail, "out", push_pace(0, 1), with_one_retry, &token),
                     REFUSAL_NONE);
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    struct attempt_start s[3], first, retry, none;
    begin_request(s);
    for (unsigned i = 3; i-- > 0;) {
        end(&s[i], 503, 503);
    }
    mail.now_ns += 60 * NS_PER_SECOND;
    world_run_timers(&mail);
    uint64_t id = mail_put((struct letter){.queue = "q", .body = "new", .priority = 1});
    assert_true(push_start(&mail, &first));
    assert_int_equal(first.message, id);
    assert_true(joined(&retry));
    assert_int_equal(retry.message, s[0].message);
    assert_false(joined(&none));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, mail_setup, mail_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_request_takes_one_token_and_holds_so_many),
        TEST(another_record_is_another_request),
        TEST(it_waits_to_be_full_but_not_for_ever),
        TEST(bytes_and_keys_bound_it),
        TEST(a_token_may_be_each_messages),
        TEST(the_guards_hear_of_the_request),
        TEST(what_is_gone_is_the_item_or_the_destination),
        TEST(the_budget_counts_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
