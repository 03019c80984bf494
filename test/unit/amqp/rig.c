#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/amqp_table.h"
#include "rig.h"

#define ROOM_MAX ((size_t)1 << 24)

static uint64_t now_ms(void *context) {
    struct rig *r = context;
    return r->now_ms;
}

static void ask(void *context, struct amqp_op *op) {
    struct rig *r = context;
    assert_true(r->op_count < RIG_OPS_MAX);
    r->ops[r->op_count++] = op;
}

static struct buffer *out(void *context) {
    struct rig *r = context;
    return r->ended ? NULL : &r->out;
}

static void ended(void *context) {
    struct rig *r = context;
    assert_false(r->ended);
    r->ended = true;
}

static void unused(void *context) {
    struct rig *r = context;
    r->unused = true;
}

static void resumed(void *context) {
    struct rig *r = context;
    r->resumed = true;
}

static void count_up(void *context, uint8_t *bytes, size_t size) {
    (void)context;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)i;
}

void rig_init(struct rig *r) {
    *r = (struct rig){.now_ms = 1000};
    r->host = (struct amqp_host){.version = "0",
                                 .pool = &r->pool,
                                 .budget = &r->budget,
                                 .now_ms = now_ms,
                                 .ask = ask,
                                 .out = out,
                                 .ended = ended,
                                 .resumed = resumed,
                                 .unused = unused,
                                 .random = count_up};
    amqp_limits_default(&r->host.limits);
    amqp_connection_budget_init(&r->budget, &r->host.limits);
    buffer_init(&r->in, ROOM_MAX);
    buffer_init(&r->out, ROOM_MAX);
    assert_int_equal(amqp_connection_create(&r->host, r, &r->connection), 0);
}

void rig_release(struct rig *r) {
    amqp_connection_lost(r->connection);
    while (r->op_count > 0) {
        struct amqp_op *op = rig_take(r, 0, r->ops[0]->kind);
        if (op->kind == AMQP_OP_CONSUME && op->code == 0)
            op->consumer = 1;
        amqp_connection_answer(op);
    }
    assert_true(amqp_connection_is_unused(r->connection));
    amqp_connection_free(r->connection);
    amqp_op_pool_release(&r->pool);
    buffer_release(&r->in);
    buffer_release(&r->out);
}

void rig_bytes(struct rig *r, struct span bytes) {
    assert_int_equal(buffer_append_span(&r->in, bytes), 0);
    buffer_consume(&r->in, amqp_connection_feed(r->connection, buffer_span(&r->in)));
    amqp_connection_flush(r->connection);
}

void rig_method(struct rig *r, uint16_t channel, const struct amqp_method *m) {
    struct buffer bytes;
    buffer_init(&bytes, ROOM_MAX);
    assert_int_equal(amqp_method_write(&bytes, channel, m), 0);
    rig_bytes(r, buffer_span(&bytes));
    buffer_release(&bytes);
}

void rig_publish(struct rig *r, uint16_t channel, const char *key, bool mandatory,
                 const char *body) {
    struct amqp_method m = {AMQP_BASIC_PUBLISH, .as.basic_publish = {.routing_key = span_text(key),
                                                                     .mandatory = mandatory}};
    struct buffer bytes;
    buffer_init(&bytes, ROOM_MAX);
    assert_int_equal(amqp_method_write(&bytes, channel, &m), 0);
    assert_int_equal(amqp_content_header_write(&bytes, channel, strlen(body), span_of("\0\0", 2)),
                     0);
    assert_int_equal(amqp_body_write(&bytes, channel, span_text(body), 131072), 0);
    rig_bytes(r, buffer_span(&bytes));
    buffer_release(&bytes);
}

struct amqp_op *rig_take(struct rig *r, size_t index, enum amqp_op_kind kind) {
    assert_true(index < r->op_count);
    struct amqp_op *op = r->ops[index];
    assert_int_equal(op->kind, kind);
    r->op_count--;
    memmove(r->ops + index, r->ops + index + 1, (r->op_count - index) * sizeof *r->ops);
    return op;
}

void rig_answer(struct rig *r, struct amqp_op *op) {
    amqp_connection_answer(op);
    amqp_connection_flush(r->connection);
}

static struct amqp_frame next_frame(struct rig *r) {
    struct amqp_frame frame;
    int64_t size = amqp_frame_read(span_of(r->out.data + r->out_read, r->out.size - r->out_read),
                                   131072, &frame);
    assert_true(size > 0);
    r->out_read += (size_t)size;
    return frame;
}

struct amqp_method rig_expect(struct rig *r, uint16_t channel, enum amqp_method_id id) {
    struct amqp_frame frame = next_frame(r);
    struct amqp_method m;
    assert_int_equal(frame.type, AMQP_FRAME_METHOD);
    assert_int_equal(frame.channel, channel);
    assert_int_equal(amqp_method_read(frame.payload, &m), 0);
    assert_string_equal(amqp_method_text(m.id), amqp_method_text(id));
    return m;
}

struct span rig_expect_body(struct rig *r) {
    struct amqp_frame frame = next_frame(r);
    struct amqp_content_header h;
    assert_int_equal(frame.type, AMQP_FRAME_HEADER_);
    assert_int_equal(amqp_content_header_read(frame.payload, &h), 0);
    if (h.body_size == 0)
        return span_of(NULL, 0);
    frame = next_frame(r);
    assert_int_equal(frame.payload.size, h.body_size);
    return frame.payload;
}

void rig_expect_nothing(struct rig *r) {
    assert_int_equal(r->out_read, r->out.size);
}

void rig_expect_heartbeat(struct rig *r) {
    assert_int_equal(next_frame(r).type, AMQP_FRAME_HEARTBEAT);
}

static void write_properties(struct buffer *to) {
    struct amqp_table_out t;
    amqp_table_begin(&t, to);
    size_t inner = amqp_put_open(&t, "capabilities", 'F');
    amqp_put_bool(&t, "consumer_cancel_notify", true);
    amqp_put_bool(&t, "connection.blocked", true);
    amqp_put_close(&t, inner);
    assert_int_equal(amqp_table_end(&t), 0);
}

void rig_open(struct rig *r) {
    rig_bytes(r, span_of("AMQP\0\0\x09\1", 8));
    rig_expect(r, 0, AMQP_CONNECTION_START);
    struct buffer properties;
    buffer_init(&properties, 1024);
    write_properties(&properties);
    struct amqp_method ok = {
        AMQP_CONNECTION_START_OK,
        .as.connection_start_ok = {.client_properties =
                                       span_of(properties.data + 4, properties.size - 4),
                                   .mechanism = span_text("PLAIN"),
                                   .response = span_of("\0u\0p", 4),
                                   .locale = span_text("en_US")}};
    rig_method(r, 0, &ok);
    buffer_release(&properties);
    struct amqp_op *op = rig_take(r, 0, AMQP_OP_LOGIN);
    assert_true(span_is(op->in.login.user, "u") && span_is(op->in.login.password, "p"));
    assert_int_equal(amqp_op_set_name(op, span_text("u")), 0);
    rig_answer(r, op);
    rig_expect(r, 0, AMQP_CONNECTION_TUNE);
    rig_method(
        r, 0,
        &(struct amqp_method){AMQP_CONNECTION_TUNE_OK, .as.connection_tune_ok = {100, 131072, 10}});
    rig_method(r, 0,
               &(struct amqp_method){AMQP_CONNECTION_OPEN, .as.connection_open = {span_text("/")}});
    rig_answer(r, rig_take(r, 0, AMQP_OP_OPEN));
    rig_expect(r, 0, AMQP_CONNECTION_OPEN_OK);
    rig_method(r, 1, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN});
    rig_expect(r, 1, AMQP_CHANNEL_OPEN_OK);
}
