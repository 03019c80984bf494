/* What other modules see of queues and messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"

static void test_view_and_peek(void **state) {
    mail_queue("orders");
    uint32_t queue = queue_find(mail.model, span_text("orders"));
    struct message_view view;
    assert_false(queue_peek(mail.model, queue, mail.now_ns, &view));
    assert_false(queue_peek(mail.model, 12345, mail.now_ns, &view));
    assert_false(queue_message_view(mail.model, 12345, &view));
    uint64_t low = mail_put((struct letter){.queue = "orders"});
    uint64_t high = mail_put((struct letter){.queue = "orders", .priority = 5, .ttl_ns = 100});
    assert_true(queue_peek(mail.model, queue, mail.now_ns, &view));
    assert_true(view.id == high && view.queue == queue && view.state == MESSAGE_READY);
    assert_true(view.expires_ns == mail.now_ns + 100 && view.due_ns == 0);
    assert_true(queue_peek(mail.model, queue, mail.now_ns + 99, &view));
    assert_false(queue_peek(mail.model, queue, mail.now_ns + 100, &view)); /* its life is over */
    assert_true(view.tie.campaign == 0 && view.tie.purchase.size == 0);
    assert_true(queue_message_view(mail.model, low, &view));
    assert_true(view.accepted_ns_hint == mail.now_ns && view.expires_ns == 0);
    assert_int_equal(queue_ready_count(mail.model, queue), 2);
    push_ask_name(&mail, REQUEST_QUEUE_PAUSE, "orders");
    assert_false(queue_peek(mail.model, queue, mail.now_ns, &view));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_view_and_peek, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
