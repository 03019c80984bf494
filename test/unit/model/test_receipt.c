/* What became of a message, for a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"

static uint64_t ended(void) {
    uint64_t id = mail_put((struct letter){.queue = "orders"});
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", id), REFUSAL_NONE);
    return id;
}

static void use_limits(struct model_limits limits) {
    world_release(&mail);
    world_init(&mail, &limits);
    mail_queue("orders");
}

static void test_life_of_a_receipt(void **state) {
    mail_queue("orders");
    assert_int_equal(mail_ask_id(REQUEST_RECEIPT_GET, "", 64), REFUSAL_NOT_FOUND);
    uint64_t id = mail_put((struct letter){.queue = "orders", .schedule_ns = mail.now_ns + 9});
    struct receipt_info r = mail_receipt(id);
    assert_true(r.id == id && r.state == MESSAGE_DELAYED && r.due_ns == mail.now_ns + 9);
    assert_true(r.address != 0 && r.number == 0 && r.changed_ns == 0);
    assert_string_equal(mail_receipt_queue(id), "orders");
    mail.now_ns += 5;
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", id), REFUSAL_NONE);
    world_reload(&mail);
    r = mail_receipt(id);
    assert_true(r.state == MESSAGE_DROPPED && r.dead_reason == DEAD_DELETED);
    assert_true(r.address == 0 && r.changed_ns == mail.now_ns);
}

/* One attempt that fails for good, of a queue that keeps its dead or not. */
static uint64_t refused(const char *queue, bool dead_letters) {
    struct attempt_start start;
    struct queue_def def = mail_def(queue, "far");
    def.dead_letters = dead_letters;
    def.retry.max_attempts = 1;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t id = mail_put((struct letter){.queue = queue});
    mail.now_ns += 5;
    assert_true(push_start(&mail, &start));
    push_finish(&mail, &start, 0, 0);
    return id;
}

/* Dead or gone, over a restart too: why and since when. */
static void test_the_last_error_stays_told(void **state) {
    assert_int_equal(push_define_destination(&mail, "far", push_pace(0, 0)), REFUSAL_NONE);
    uint64_t kept = refused("keeps", true), kept_at = mail.now_ns;
    uint64_t gone = refused("drops", false), gone_at = mail.now_ns;
    for (unsigned restarts = 0; restarts < 2; restarts++) {
        struct receipt_info r = mail_receipt(kept);
        assert_true(r.state == MESSAGE_DEAD && r.dead_reason == DEAD_EXHAUSTED);
        assert_true(r.last_error == ATTEMPT_CONNECT && r.changed_ns == kept_at);
        r = mail_receipt(gone);
        assert_true(r.state == MESSAGE_DROPPED && r.dead_reason == DEAD_EXHAUSTED);
        assert_true(r.last_error == ATTEMPT_CONNECT && r.changed_ns == gone_at);
        world_reload(&mail);
    }
}

static void test_oldest_goes_first(void **state) {
    use_limits((struct model_limits){.receipts = 3});
    uint64_t ids[5];
    for (unsigned i = 0; i < 5; i++) {
        ids[i] = ended();
    }
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(mail_ask_id(REQUEST_RECEIPT_GET, "", ids[i]),
                         i < 2 ? REFUSAL_NOT_FOUND : REFUSAL_NONE);
    }
}

static void test_time_to_live(void **state) {
    use_limits((struct model_limits){.receipt_ttl_ns = 1000});
    uint64_t id = ended();
    mail.now_ns += 999;
    assert_int_equal(mail_ask_id(REQUEST_RECEIPT_GET, "", id), REFUSAL_NONE);
    mail.now_ns += 1;
    assert_int_equal(mail_ask_id(REQUEST_RECEIPT_GET, "", id), REFUSAL_NOT_FOUND);
    ended();
    assert_int_equal(mail_ask_id(REQUEST_RECEIPT_GET, "", id), REFUSAL_NOT_FOUND);
}

static void test_nothing(void **state) {
    uint64_t position = mail.position;
    assert_int_equal(push_ask_name(&mail, REQUEST_NOTHING, ""), REFUSAL_NONE);
    assert_int_equal(mail.position, position);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life_of_a_receipt, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_the_last_error_stays_told, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_oldest_goes_first, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_time_to_live, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_nothing, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
