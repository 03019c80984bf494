#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "rig.h"

static void declare(struct rig *r, uint16_t channel, const char *name) {
    struct amqp_method m = {AMQP_QUEUE_DECLARE, .as.queue_declare = {.queue = span_text(name)}};
    rig_method(r, channel, &m);
}

static void named(struct amqp_op *op) {
    assert_int_equal(amqp_op_set_name(op, op->method.as.queue_declare.queue), 0);
}

static void consume(struct rig *r, const char *tag) {
    struct amqp_method m = {
        AMQP_BASIC_CONSUME,
        .as.basic_consume = {.queue = span_text("q"), .consumer_tag = span_text(tag)}};
    rig_method(r, 1, &m);
}

static void deliver(struct rig *r, uint64_t consumer, uint64_t message, const char *body) {
    struct amqp_delivery d = {.channel = 1,
                              .consumer = consumer,
                              .message = message,
                              .routing_key = span_text("q"),
                              .encoded = span_of("\0\0", 2),
                              .body = span_text(body)};
    amqp_connection_deliver(r->connection, &d);
    amqp_connection_flush(r->connection);
}

static void ack(struct rig *r, uint64_t tag, bool multiple) {
    rig_method(r, 1, &(struct amqp_method){AMQP_BASIC_ACK, .as.basic_ack = {tag, multiple}});
}

static void confirm_mode(struct rig *r) {
    rig_method(r, 1, &(struct amqp_method){.id = AMQP_CONFIRM_SELECT});
    rig_expect(r, 1, AMQP_CONFIRM_SELECT_OK);
}

/* ---- the line ---- */

static void answers_leave_in_the_order_of_the_questions(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    declare(&r, 1, "a");
    rig_method(&r, 1, &(struct amqp_method){.id = AMQP_BASIC_QOS});
    declare(&r, 1, "b");
    struct amqp_op *a = rig_take(&r, 0, AMQP_OP_METHOD), *b = rig_take(&r, 0, AMQP_OP_METHOD);
    named(a);
    named(b);
    rig_answer(&r, b);
    rig_expect_nothing(&r);
    rig_answer(&r, a);
    struct amqp_method m = rig_expect(&r, 1, AMQP_QUEUE_DECLARE_OK);
    assert_true(span_is(m.as.queue_declare_ok.queue, "a"));
    rig_expect(&r, 1, AMQP_BASIC_QOS_OK);
    m = rig_expect(&r, 1, AMQP_QUEUE_DECLARE_OK);
    assert_true(span_is(m.as.queue_declare_ok.queue, "b"));
    rig_release(&r);
}

static void channels_do_not_wait_for_each_other(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    rig_method(&r, 2, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN});
    rig_expect(&r, 2, AMQP_CHANNEL_OPEN_OK);
    declare(&r, 1, "a");
    declare(&r, 2, "b");
    struct amqp_op *b = rig_take(&r, 1, AMQP_OP_METHOD);
    named(b);
    rig_answer(&r, b);
    rig_expect(&r, 2, AMQP_QUEUE_DECLARE_OK);
    rig_release(&r);
}

/* ---- confirms ---- */

static void a_run_of_confirms_is_one_ack(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    confirm_mode(&r);
    struct amqp_op *ops[5];
    for (size_t i = 0; i < 5; i++)
        rig_publish(&r, 1, "q", false, "x");
    for (size_t i = 0; i < 5; i++)
        ops[i] = rig_take(&r, 0, AMQP_OP_PUBLISH);
    ops[3]->refused = true;
    amqp_connection_answer(ops[1]); /* overtakes */
    amqp_connection_flush(r.connection);
    rig_expect_nothing(&r);
    amqp_connection_answer(ops[0]);
    amqp_connection_answer(ops[2]);
    amqp_connection_answer(ops[3]);
    amqp_connection_answer(ops[4]);
    amqp_connection_flush(r.connection);
    struct amqp_method m = rig_expect(&r, 1, AMQP_BASIC_ACK);
    assert_true(m.as.basic_ack.delivery_tag == 3 && m.as.basic_ack.multiple);
    m = rig_expect(&r, 1, AMQP_BASIC_NACK);
    assert_true(m.as.basic_nack.delivery_tag == 4 && !m.as.basic_nack.multiple);
    m = rig_expect(&r, 1, AMQP_BASIC_ACK);
    assert_true(m.as.basic_ack.delivery_tag == 5 && !m.as.basic_ack.multiple);
    rig_release(&r);
}

static void a_failed_publish_closes_after_the_confirms_before_it(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    confirm_mode(&r);
    for (size_t i = 0; i < 3; i++)
        rig_publish(&r, 1, "q", true, "x");
    struct amqp_op *first = rig_take(&r, 0, AMQP_OP_PUBLISH);
    struct amqp_op *second = rig_take(&r, 0, AMQP_OP_PUBLISH);
    first->routed = 1;
    amqp_op_refuse(second, AMQP_NOT_FOUND, "no exchange '%s' in vhost '/'", "e");
    amqp_connection_answer(first);
    amqp_connection_answer(second);
    amqp_connection_answer(rig_take(&r, 0, AMQP_OP_PUBLISH));
    amqp_connection_flush(r.connection);
    assert_int_equal(rig_expect(&r, 1, AMQP_BASIC_ACK).as.basic_ack.delivery_tag, 1);
    struct amqp_method m = rig_expect(&r, 1, AMQP_CHANNEL_CLOSE);
    assert_true(m.as.channel_close.reply_code == 404 &&
                span_is(m.as.channel_close.reply_text, "NOT_FOUND - no exchange 'e' in vhost '/'"));
    assert_true(m.as.channel_close.failed_class == 60 && m.as.channel_close.failed_method == 40);
    rig_expect_nothing(&r); /* no return, no ack for the third */
    rig_release(&r);
}

/* ---- deliveries ---- */

static void a_delivery_waits_for_its_consume_ok(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    consume(&r, "k");
    deliver(&r, 5, 100, "early");
    rig_expect_nothing(&r);
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_CONSUME);
    op->consumer = 5;
    rig_answer(&r, op);
    rig_expect(&r, 1, AMQP_BASIC_CONSUME_OK);
    struct amqp_method m = rig_expect(&r, 1, AMQP_BASIC_DELIVER);
    assert_true(m.as.basic_deliver.delivery_tag == 1 &&
                span_is(m.as.basic_deliver.consumer_tag, "k"));
    assert_true(span_is(rig_expect_body(&r), "early"));
    rig_release(&r);
}

static void a_delivery_after_the_cancel_goes_back(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    consume(&r, "k");
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_CONSUME);
    op->consumer = 5;
    rig_answer(&r, op);
    rig_expect(&r, 1, AMQP_BASIC_CONSUME_OK);
    rig_method(&r, 1,
               &(struct amqp_method){AMQP_BASIC_CANCEL,
                                     .as.basic_cancel = {.consumer_tag = span_text("k")}});
    op = rig_take(&r, 0, AMQP_OP_CANCEL);
    assert_true(op->in.credit.consumer == 5);
    deliver(&r, 5, 100, "late");
    rig_answer(&r, op);
    rig_expect(&r, 1, AMQP_BASIC_CANCEL_OK);
    rig_expect_nothing(&r);
    op = rig_take(&r, 0, AMQP_OP_SETTLE);
    assert_true(op->in.settle.count == 1 && op->in.settle.items[0].message == 100 &&
                op->in.settle.items[0].verdict == AMQP_VERDICT_RETURN);
    rig_answer(&r, op);
    rig_release(&r);
}

static void acks_of_a_turn_are_one_question(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    consume(&r, "k");
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_CONSUME);
    op->consumer = 5;
    rig_answer(&r, op);
    for (uint64_t message = 101; message <= 110; message++)
        deliver(&r, 5, message, "m");
    assert_int_equal(r.op_count, 0);
    struct buffer bytes;
    buffer_init(&bytes, 4096);
    const struct amqp_method methods[] = {
        {AMQP_BASIC_ACK, .as.basic_ack = {2, false}},
        {AMQP_BASIC_NACK, .as.basic_nack = {5, true, true}},
        {AMQP_BASIC_REJECT, .as.basic_reject = {7, false}},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(methods); i++)
        assert_int_equal(amqp_method_write(&bytes, 1, &methods[i]), 0);
    rig_bytes(&r, buffer_span(&bytes));
    buffer_release(&bytes);
    op = rig_take(&r, 0, AMQP_OP_SETTLE);
    const struct amqp_settlement expected[] = {
        {102, AMQP_VERDICT_ACK},     {101, AMQP_VERDICT_REQUEUE}, {103, AMQP_VERDICT_REQUEUE},
        {104, AMQP_VERDICT_REQUEUE}, {105, AMQP_VERDICT_REQUEUE}, {107, AMQP_VERDICT_REJECT}};
    assert_int_equal(op->in.settle.count, ARRAY_LENGTH(expected));
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_true(op->in.settle.items[i].message == expected[i].message);
        assert_int_equal(op->in.settle.items[i].verdict, expected[i].verdict);
    }
    rig_answer(&r, op);
    /* What the channel still holds goes back before it is said to be closed. */
    rig_method(&r, 1, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE});
    op = rig_take(&r, 0, AMQP_OP_SETTLE);
    assert_int_equal(op->in.settle.count, 4);
    rig_answer(&r, op);
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_CANCEL));
    rig_release(&r);
}

static void settlements_go_before_what_could_see_them(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    consume(&r, "k");
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_CONSUME);
    op->consumer = 5;
    rig_answer(&r, op);
    deliver(&r, 5, 7, "m");
    struct buffer bytes;
    buffer_init(&bytes, 4096);
    const struct amqp_method acked = {AMQP_BASIC_ACK, .as.basic_ack = {1, false}};
    const struct amqp_method asked = {AMQP_QUEUE_DECLARE,
                                      .as.queue_declare = {.queue = span_text("q")}};
    assert_int_equal(amqp_method_write(&bytes, 1, &acked), 0);
    assert_int_equal(amqp_method_write(&bytes, 1, &asked), 0);
    rig_bytes(&r, buffer_span(&bytes));
    buffer_release(&bytes);
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_SETTLE));
    op = rig_take(&r, 0, AMQP_OP_METHOD);
    named(op);
    rig_answer(&r, op);
    rig_release(&r);
}

static void what_a_closed_channel_got_goes_back(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    rig_method(&r, 1,
               &(struct amqp_method){AMQP_BASIC_GET, .as.basic_get = {.queue = span_text("q")}});
    consume(&r, "k");
    ack(&r, 9, false);
    assert_int_equal(rig_expect(&r, 1, AMQP_CHANNEL_CLOSE).as.channel_close.reply_code, 406);
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_GET);
    op->found = true;
    op->delivery.message = 77;
    rig_answer(&r, op);
    struct amqp_op *consumed = rig_take(&r, 0, AMQP_OP_CONSUME);
    op = rig_take(&r, 0, AMQP_OP_SETTLE);
    assert_true(op->in.settle.count == 1 && op->in.settle.items[0].message == 77);
    rig_answer(&r, op);
    consumed->consumer = 5;
    rig_answer(&r, consumed);
    op = rig_take(&r, 0, AMQP_OP_CANCEL);
    assert_true(op->in.credit.consumer == 5);
    rig_answer(&r, op);
    rig_expect_nothing(&r);
    rig_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_leave_in_the_order_of_the_questions),
        cmocka_unit_test(channels_do_not_wait_for_each_other),
        cmocka_unit_test(a_run_of_confirms_is_one_ack),
        cmocka_unit_test(a_failed_publish_closes_after_the_confirms_before_it),
        cmocka_unit_test(a_delivery_waits_for_its_consume_ok),
        cmocka_unit_test(a_delivery_after_the_cancel_goes_back),
        cmocka_unit_test(acks_of_a_turn_are_one_question),
        cmocka_unit_test(settlements_go_before_what_could_see_them),
        cmocka_unit_test(what_a_closed_channel_got_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
