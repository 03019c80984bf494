/* Queues by name and index, and the destinations they push to, whichever comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"
#include "model/queue_state.h"

static void test_index_is_stable(void **state) {
    mail_queue("a");
    mail_queue("b");
    uint32_t a = queue_find(mail.model, span_text("a")), b = queue_find(mail.model, span_text("b"));
    assert_true(a != 0 && b != 0 && a != b);
    struct queue_def def = mail_def("a", "");
    def.max_messages = 9;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    world_reload(&mail);
    assert_int_equal(queue_find(mail.model, span_text("a")), a);
    assert_int_equal(queue_definition(mail.model, a)->max_messages, 9);
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_DELETE, "a"), REFUSAL_NONE);
    assert_null(queue_definition(mail.model, a));
    assert_null(queue_pace(mail.model, a));
    mail_queue("c"); /* the slot again, but not the index */
    assert_int_not_equal(queue_find(mail.model, span_text("c")), a);
    assert_null(queue_definition(mail.model, a));
}

static uint32_t define_pushed(const char *name, const char *destination) {
    struct queue_def def = mail_def(name, destination);
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    return queue_find(mail.model, span_text(name));
}

static void test_ring_of_a_destination(void **state) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    assert_int_equal(push_define_destination(&mail, "else", (struct pace_def){0}), REFUSAL_NONE);
    uint32_t out = destination_find(mail.model, span_text("out"));
    assert_int_equal(queue_next_of_destination(mail.model, out, 0), 0);
    uint32_t a = define_pushed("a", "out"), b = define_pushed("b", "out");
    define_pushed("c", "else");
    assert_int_equal(queue_next_of_destination(mail.model, out, 0), a);
    assert_int_equal(queue_next_of_destination(mail.model, out, a), b);
    assert_int_equal(queue_next_of_destination(mail.model, out, b), a);
    define_pushed("a", "else");
    assert_int_equal(queue_next_of_destination(mail.model, out, b), b);
}

/* A queue that turns to another destination takes its waiting messages along. */
static void test_turned_to_another_destination(void **state) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    assert_int_equal(push_define_destination(&mail, "else", (struct pace_def){0}), REFUSAL_NONE);
    define_pushed("a", "out");
    mail_put((struct letter){.queue = "a"});
    mail_put((struct letter){.queue = "a"});
    struct attempt_start s;
    assert_true(push_start(&mail, &s));
    assert_int_equal(s.destination, destination_find(mail.model, span_text("out")));
    define_pushed("a", "else");
    assert_true(push_start(&mail, &s));
    assert_int_equal(s.destination, destination_find(mail.model, span_text("else")));
    define_pushed("a", "");
    mail_put((struct letter){.queue = "a"});
    assert_false(push_start(&mail, &s));
}

static void test_idle_queue_is_small(void **state) {
    uint64_t before = model_memory_bytes(mail.model);
    char name[16];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "queue-%u", i);
        mail_queue(name);
        mail_ask_id(REQUEST_MESSAGE_DELETE, name, mail_put((struct letter){.queue = name}));
    }
    assert_true(model_memory_bytes(mail.model) - before < 1000 * 1024 + (512u << 10));
    assert_true(sizeof(struct queue) <= 768);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_index_is_stable, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_ring_of_a_destination, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_turned_to_another_destination, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_idle_queue_is_small, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
