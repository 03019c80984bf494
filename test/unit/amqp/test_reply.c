#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "amqp/reply.h"

static void an_address_reads_as_it_was_written(void **state) {
    (void)state;
    struct amqp_reply_address a = {UINT64_MAX, 1, UINT16_MAX}, b;
    char text[64];
    amqp_reply_address_write(&a, text);
    assert_true(amqp_reply_address_read(span_text(text), &b));
    assert_true(a.session == b.session && a.secret == b.secret && a.channel == b.channel);
}

static void other_names_are_none(void **state) {
    (void)state;
    static const char *const names[] = {
        "",
        "mail",
        "amq.rabbitmq.reply-to",
        "amq.rabbitmq.reply-to.",
        "amq.rabbitmq.reply-to.1.1",
        "amq.rabbitmq.reply-to.1.1.",
        "amq.rabbitmq.reply-to.1..1",
        "amq.rabbitmq.reply-to.1.10000.1",
        "amq.rabbitmq.reply-to.1.1.g",
        "amq.rabbitmq.reply-to.11111111111111111.1.1",
    };
    struct amqp_reply_address a;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        assert_false(amqp_reply_address_read(span_text(names[i]), &a));
    assert_true(amqp_is_reply_to(span_text("amq.rabbitmq.reply-to")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_reads_as_it_was_written),
        cmocka_unit_test(other_names_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
