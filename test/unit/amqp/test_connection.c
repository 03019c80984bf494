#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "rig.h"

static void an_unfinished_handshake_ends(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_bytes(&r, span_of("AMQ", 3));
    assert_true(amqp_connection_due_ms(r.connection) == 11000);
    r.now_ms = 10999;
    amqp_connection_tick(r.connection);
    assert_false(r.ended);
    r.now_ms = 11000;
    amqp_connection_tick(r.connection);
    assert_true(r.ended && amqp_connection_is_unused(r.connection));
    rig_expect_nothing(&r);
    rig_release(&r);
}

static void silence_is_beaten_and_then_taken_for_death(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r); /* 10 s */
    amqp_connection_tick(r.connection);
    rig_expect_nothing(&r);
    for (int i = 0; i < 5 && !r.ended; i++) {
        r.now_ms = amqp_connection_due_ms(r.connection);
        amqp_connection_tick(r.connection);
    }
    assert_true(r.ended && r.now_ms > 21000 && r.now_ms <= 26000);
    for (int i = 0; i < 3; i++)
        rig_expect_heartbeat(&r);
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_CLOSE));
    assert_true(r.unused);
    rig_release(&r);
}

static void a_client_that_we_do_not_hear_for_our_own_sake_stays(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    amqp_connection_alarm(r.connection, true, "low on disk");
    rig_publish(&r, 1, "q", false, "x");
    assert_true(amqp_connection_stalled(r.connection) && r.op_count == 0);
    assert_true(span_is(rig_expect(&r, 0, AMQP_CONNECTION_BLOCKED).as.connection_blocked.reason,
                        "low on disk"));
    for (int i = 0; i < 20; i++) {
        r.now_ms = amqp_connection_due_ms(r.connection);
        amqp_connection_tick(r.connection);
    }
    assert_false(r.ended);
    while (r.out_read < r.out.size && r.out.data[r.out_read] == AMQP_FRAME_HEARTBEAT)
        rig_expect_heartbeat(&r);
    amqp_connection_alarm(r.connection, false, NULL);
    rig_expect(&r, 0, AMQP_CONNECTION_UNBLOCKED);
    rig_bytes(&r, span_of(NULL, 0));
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_PUBLISH));
    rig_release(&r);
}

static void close_is_answered_when_all_is_given_back(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    rig_publish(&r, 1, "q", false, "x");
    rig_method(&r, 0, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE});
    rig_expect_nothing(&r);
    struct amqp_op *publish = rig_take(&r, 0, AMQP_OP_PUBLISH);
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_CLOSE));
    rig_expect(&r, 0, AMQP_CONNECTION_CLOSE_OK);
    rig_method(&r, 0, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE});
    rig_expect(&r, 0, AMQP_CONNECTION_CLOSE_OK); /* for a thread of the client that closed it too */
    assert_false(r.ended);                       /* the client hangs up ... */
    r.now_ms = amqp_connection_due_ms(r.connection) - 1;
    amqp_connection_tick(r.connection);
    assert_false(r.ended);
    r.now_ms++;
    amqp_connection_tick(r.connection); /* ... or has had its time */
    assert_true(r.ended && !r.unused);
    rig_answer(&r, publish);
    assert_true(r.unused);
    rig_release(&r);
}

static void too_much_asked_stalls(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    r.host.limits.asked_max = 3;
    rig_open(&r);
    for (int i = 0; i < 5; i++)
        rig_publish(&r, 1, "q", false, "x");
    assert_int_equal(r.op_count, 3);
    assert_true(amqp_connection_stalled(r.connection) && r.in.size > 0);
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_PUBLISH));
    assert_false(amqp_connection_stalled(r.connection));
    rig_bytes(&r, span_of(NULL, 0));
    assert_int_equal(r.op_count, 3);
    rig_release(&r);
}

static void deliver(struct rig *r, uint32_t count) {
    struct amqp_delivery d = {.channel = 1, .consumer = 5, .encoded = span_of("\0\0", 2)};
    while (count-- > 0) {
        d.message++;
        amqp_connection_deliver(r->connection, &d);
        amqp_connection_flush(r->connection);
        r->out_read = r->out.size = 0;
        while (r->op_count > 0 && r->ops[0]->kind == AMQP_OP_SETTLE)
            rig_answer(r, rig_take(r, 0, AMQP_OP_SETTLE));
    }
}

static void credit_is_raised_unless_paused(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    struct amqp_method m = {AMQP_BASIC_CONSUME,
                            .as.basic_consume = {.queue = span_text("q"), .no_ack = true}};
    rig_method(&r, 1, &m);
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_CONSUME);
    assert_true(op->method.as.basic_consume.consumer_tag.size > 20);
    assert_int_equal(op->in.consume.number, 1);
    op->consumer = 5;
    rig_answer(&r, op);
    deliver(&r, 999);
    assert_int_equal(r.op_count, 0);
    deliver(&r, 1);
    op = rig_take(&r, 0, AMQP_OP_CREDIT);
    assert_true(op->in.credit.consumer == 5 && op->in.credit.credit == 3000);
    rig_answer(&r, op);
    amqp_connection_pause(r.connection, true);
    deliver(&r, 1900);
    assert_int_equal(r.op_count, 0);
    amqp_connection_pause(r.connection, false);
    op = rig_take(&r, 0, AMQP_OP_CREDIT);
    assert_true(op->in.credit.credit == 4900);
    rig_answer(&r, op);
    rig_release(&r);
}

static void our_end_is_told(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    amqp_connection_shut_down(r.connection, "the broker stops");
    struct amqp_method m = rig_expect(&r, 0, AMQP_CONNECTION_CLOSE);
    assert_true(m.as.connection_close.reply_code == 320 &&
                span_is(m.as.connection_close.reply_text, "CONNECTION_FORCED - the broker stops"));
    rig_method(&r, 1, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN});
    rig_expect_nothing(&r);
    rig_method(&r, 0, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE_OK});
    assert_true(r.ended);
    rig_release(&r);
}

static void a_lost_client_gives_back_once(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    amqp_connection_lost(r.connection);
    amqp_connection_lost(r.connection);
    assert_int_equal(r.op_count, 1);
    assert_false(amqp_connection_is_unused(r.connection));
    rig_answer(&r, rig_take(&r, 0, AMQP_OP_CLOSE));
    assert_true(r.unused && !r.ended);
    rig_release(&r);
}

/* ---- bodies ---- */

#define BODY_BYTES 40000u

/* A publish of a body of which each byte is different from its neighbours, and from that of another `salt`. */
static void write_publish(struct buffer *to, uint8_t *body, uint8_t salt, uint32_t frame_max) {
    struct amqp_method m = {AMQP_BASIC_PUBLISH,
                            .as.basic_publish = {.routing_key = span_text("q")}};
    for (uint32_t i = 0; i < BODY_BYTES; i++)
        body[i] = (uint8_t)(i * 7 + i / 251 + salt);
    buffer_init(to, 1u << 20);
    assert_int_equal(amqp_method_write(to, 1, &m), 0);
    assert_int_equal(amqp_content_header_write(to, 1, BODY_BYTES, span_of("\0\0", 2)), 0);
    assert_int_equal(amqp_body_write(to, 1, span_of(body, BODY_BYTES), frame_max), 0);
}

/* Also of messages whose memory was another's, or is too small. */
static void a_body_is_the_same_however_it_is_cut(void **state) {
    (void)state;
    static uint8_t body[BODY_BYTES];
    static const uint32_t frames[] = {131072, 8192, 4096};
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    for (uint32_t cut = 900; cut < BODY_BYTES + 200; cut += cut / 4 + 1) {
        struct buffer bytes;
        rig_publish(&r, 1, "q", false, "small");
        amqp_connection_answer(rig_take(&r, 0, AMQP_OP_PUBLISH));
        write_publish(&bytes, body, (uint8_t)cut, frames[cut % 3]);
        for (size_t at = 0; at < bytes.size; at += cut) {
            assert_int_equal(r.op_count, 0);
            rig_bytes(&r, span_of(bytes.data + at, bytes.size - at < cut ? bytes.size - at : cut));
            assert_in_range(r.in.size, 0, 1100); /* what is here of a frame is not kept twice */
        }
        struct amqp_op *op = rig_take(&r, 0, AMQP_OP_PUBLISH);
        assert_true(span_equal(op->in.publish.body, span_of(body, BODY_BYTES)));
        amqp_connection_answer(op);
        buffer_release(&bytes);
    }
    rig_expect_nothing(&r);
    rig_release(&r);
}

static void a_frame_that_came_in_parts_has_to_end_as_it_should(void **state) {
    (void)state;
    static uint8_t body[BODY_BYTES];
    struct rig r;
    struct buffer bytes;
    rig_init(&r);
    rig_open(&r);
    write_publish(&bytes, body, 0, 131072);
    bytes.data[bytes.size - 1] = 'x';
    rig_bytes(&r, span_of(bytes.data, 20000));
    rig_bytes(&r, span_of(bytes.data + 20000, bytes.size - 20000));
    assert_int_equal(rig_expect(&r, 0, AMQP_CONNECTION_CLOSE).as.connection_close.reply_code,
                     AMQP_FRAME_ERROR);
    buffer_release(&bytes);
    rig_release(&r);
}

/* The rest of the frame belongs to nobody, and what comes behind it is read as ever. */
static void a_channel_that_fails_in_the_middle_of_a_frame_takes_nothing_with_it(void **state) {
    (void)state;
    static uint8_t body[BODY_BYTES];
    struct rig r;
    struct buffer bytes;
    rig_init(&r);
    rig_open(&r);
    rig_publish(&r, 1, "q", false, "first");
    write_publish(&bytes, body, 0, 131072);
    rig_bytes(&r, span_of(bytes.data, 20000));
    struct amqp_op *op = rig_take(&r, 0, AMQP_OP_PUBLISH);
    amqp_op_refuse(op, AMQP_NOT_FOUND, "no exchange");
    rig_answer(&r, op);
    rig_expect(&r, 1, AMQP_CHANNEL_CLOSE);
    rig_bytes(&r, span_of(bytes.data + 20000, 5000));
    rig_bytes(&r, span_of(bytes.data + 25000, bytes.size - 25000));
    rig_method(&r, 1, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
    rig_method(&r, 1, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN});
    rig_expect(&r, 1, AMQP_CHANNEL_OPEN_OK);
    assert_int_equal(r.op_count, 0);
    buffer_release(&bytes);
    rig_release(&r);
}

/* ---- memory that connections share ---- */

static void open_two(struct rig *a, struct rig *b, uint64_t max_bytes) {
    rig_init(a);
    rig_init(b);
    a->budget.max_bytes = max_bytes;
    b->host.budget = &a->budget;
    rig_open(a);
    rig_open(b);
}

static void release_two(struct rig *a, struct rig *b) {
    rig_release(b);
    rig_release(a);
    assert_true(a->budget.leaving_bytes == 0 && a->budget.favoured == NULL);
    assert_int_equal(a->budget.held_bytes, 0);
}

static void begin(struct rig *r, uint64_t body_bytes) {
    struct amqp_method m = {AMQP_BASIC_PUBLISH,
                            .as.basic_publish = {.routing_key = span_text("q")}};
    struct buffer bytes;
    buffer_init(&bytes, 1024);
    assert_int_equal(amqp_method_write(&bytes, 1, &m), 0);
    assert_int_equal(amqp_content_header_write(&bytes, 1, body_bytes, span_of("\0\0", 2)), 0);
    rig_bytes(r, buffer_span(&bytes));
    buffer_release(&bytes);
}

static void send_body(struct rig *r, size_t size) {
    static const uint8_t zeros[60000];
    struct buffer bytes;
    buffer_init(&bytes, 1 << 20);
    assert_int_equal(amqp_body_write(&bytes, 1, span_of(zeros, size), 131072), 0);
    rig_bytes(r, buffer_span(&bytes));
    buffer_release(&bytes);
}

/* A second later it is told. */
static void expect_wait(struct rig *r) {
    assert_true(amqp_connection_stalled(r->connection) && !r->resumed);
    r->now_ms += 1000;
    assert_true(amqp_connection_due_ms(r->connection) <= r->now_ms);
    amqp_connection_tick(r->connection);
    while (r->out.data[r->out_read] == AMQP_FRAME_HEARTBEAT)
        rig_expect_heartbeat(r);
    rig_expect(r, 0, AMQP_CONNECTION_BLOCKED);
    assert_true(amqp_connection_due_ms(r->connection) > r->now_ms);
}

static void expect_resumed(struct rig *r) {
    amqp_budget_serve(r->host.budget);
    assert_true(r->resumed && !amqp_connection_stalled(r->connection));
    rig_expect(r, 0, AMQP_CONNECTION_UNBLOCKED);
    rig_bytes(r, span_of(NULL, 0));
}

static void messages_wait_for_the_memory_of_others(void **state) {
    (void)state;
    struct rig a, b;
    open_two(&a, &b, 60000);
    begin(&a, 40000);
    begin(&b, 40000);
    expect_wait(&b);
    send_body(&b, 40000);
    send_body(&a, 40000);
    rig_answer(&a, rig_take(&a, 0, AMQP_OP_PUBLISH));
    expect_resumed(&b);
    assert_true(a.budget.favoured == NULL);
    rig_answer(&b, rig_take(&b, 0, AMQP_OP_PUBLISH));
    rig_publish(&a, 1, "q", false, "x");
    assert_int_equal(a.op_count, 1);
    release_two(&a, &b);
}

static void a_message_larger_than_all_memory_comes_through(void **state) {
    (void)state;
    struct rig a, b;
    open_two(&a, &b, 1000);
    begin(&a, 120000);
    begin(&b, 90000);
    amqp_budget_serve(&a.budget);
    assert_true(a.resumed && !b.resumed);
    send_body(&a, 60000);
    send_body(&a, 60000);
    struct amqp_op *op = rig_take(&a, 0, AMQP_OP_PUBLISH);
    expect_wait(&b);
    rig_answer(&a, op);
    expect_resumed(&b);
    send_body(&b, 60000);
    send_body(&b, 30000);
    rig_answer(&b, rig_take(&b, 0, AMQP_OP_PUBLISH));
    release_two(&a, &b);
}

/* A byte now and then is no progress either. */
static void who_stands_still_is_closed_when_others_wait(void **state) {
    (void)state;
    struct rig a, b;
    open_two(&a, &b, 60000);
    begin(&a, 40000);
    for (uint64_t until = a.now_ms + 100000; a.now_ms < until;) {
        a.now_ms = amqp_connection_due_ms(a.connection);
        amqp_connection_tick(a.connection);
        send_body(&a, 1);
    }
    a.out_read = a.out.size; /* heartbeats */
    b.now_ms = a.now_ms;
    begin(&b, 40000);
    expect_wait(&b);
    for (uint64_t until = a.now_ms + 31000; a.now_ms < until;) {
        a.now_ms += 1000;
        amqp_connection_tick(a.connection);
        send_body(&a, 1);
    }
    while (a.out.data[a.out_read] == AMQP_FRAME_HEARTBEAT)
        rig_expect_heartbeat(&a);
    assert_int_equal(rig_expect(&a, 0, AMQP_CONNECTION_CLOSE).as.connection_close.reply_code, 506);
    expect_resumed(&b);
    release_two(&a, &b);
}

static void a_channel_that_fails_while_it_waits_keeps_nothing(void **state) {
    (void)state;
    struct rig a, b;
    open_two(&a, &b, 60000);
    begin(&a, 40000);
    rig_publish(&b, 1, "q", false, "x");
    begin(&b, 40000);
    expect_wait(&b);
    struct amqp_op *op = rig_take(&b, 0, AMQP_OP_PUBLISH);
    amqp_op_refuse(op, AMQP_NOT_FOUND, "no exchange");
    rig_answer(&b, op);
    rig_expect(&b, 1, AMQP_CHANNEL_CLOSE);
    amqp_budget_serve(&a.budget); /* it is favoured now, and does not want it */
    expect_resumed(&b);
    assert_true(a.budget.favoured == NULL);
    uint64_t held = a.budget.held_bytes;
    assert_true(held > 40000 && held < 41000);
    release_two(&a, &b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unfinished_handshake_ends),
        cmocka_unit_test(silence_is_beaten_and_then_taken_for_death),
        cmocka_unit_test(a_client_that_we_do_not_hear_for_our_own_sake_stays),
        cmocka_unit_test(close_is_answered_when_all_is_given_back),
        cmocka_unit_test(too_much_asked_stalls),
        cmocka_unit_test(credit_is_raised_unless_paused),
        cmocka_unit_test(our_end_is_told),
        cmocka_unit_test(a_lost_client_gives_back_once),
        cmocka_unit_test(a_body_is_the_same_however_it_is_cut),
        cmocka_unit_test(a_frame_that_came_in_parts_has_to_end_as_it_should),
        cmocka_unit_test(a_channel_that_fails_in_the_middle_of_a_frame_takes_nothing_with_it),
        cmocka_unit_test(messages_wait_for_the_memory_of_others),
        cmocka_unit_test(a_message_larger_than_all_memory_comes_through),
        cmocka_unit_test(who_stands_still_is_closed_when_others_wait),
        cmocka_unit_test(a_channel_that_fails_while_it_waits_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
