/*
 * Structs out of arbitrary bytes, written and read again: what the writer makes is always well formed and says
 * the same; what does not fit leaves the buffer as it was.
 */
#include <assert.h>

#include "amqp/codec.h"
#include "base/amqp_table.h"
#include "base/error.h"
#include "base/reader.h"

#define ROOM_MAX 2048u

static struct span take(struct reader *r) {
    size_t size = reader_u8(r);
    return reader_take(r, size < r->left ? size : r->left);
}

/* Fields until the bytes say so; `names`: of a table, not an array. */
static void put_fields(struct amqp_table_out *t, struct reader *r, bool names, uint32_t depth) {
    for (uint8_t what; r->left > 0 && (what = reader_u8(r)) != 0;) {
        const char *name = names ? (what & 8 ? "a" : "name") : NULL;
        switch (what & 7) {
        case 0:
            amqp_put_bool(t, name, what & 16);
            break;
        case 1:
            amqp_put_i32(t, name, (int32_t)reader_u32(r));
            break;
        case 2:
            amqp_put_i64(t, name, (int64_t)reader_u64(r));
            break;
        case 3:
            amqp_put_time(t, name, reader_u64(r));
            break;
        case 4:
        case 5:
            amqp_put_text(t, name, take(r));
            break;
        default: {
            bool table = (what & 7) == 6;
            size_t inner = amqp_put_open(t, name, table ? 'F' : 'A');
            if (depth > 0)
                put_fields(t, r, table, depth - 1);
            amqp_put_close(t, inner);
        }
        }
    }
}

static void write_table(struct reader *r, struct buffer *out) {
    struct amqp_table_out t;
    size_t before = out->size;
    amqp_table_begin(&t, out);
    put_fields(&t, r, true, AMQP_TABLE_DEPTH - 2);
    if (amqp_table_end(&t) != 0) {
        assert(out->size == before);
        return;
    }
    struct reader back;
    reader_init(&back, span_of(out->data + before, out->size - before));
    amqp_table_get(&back);
    assert(reader_done(&back));
}

static void write_properties(struct reader *r, struct buffer *out) {
    struct amqp_properties p = {.flags = reader_u16(r)}, back;
    p.content_type = take(r);
    p.correlation_id = take(r);
    p.delivery_mode = reader_u8(r);
    p.timestamp = reader_u64(r);
    p.app_id = take(r);
    size_t before = out->size;
    if (amqp_properties_write(out, &p) != 0) {
        assert(out->size == before);
        return;
    }
    int error = amqp_properties_read(span_of(out->data + before, out->size - before), &back);
    assert(error == 0 && back.flags == p.flags);
    assert(!(p.flags & AMQP_HAS_APP_ID) || span_equal(p.app_id, back.app_id));
    assert(!(p.flags & AMQP_HAS_TIMESTAMP) || p.timestamp == back.timestamp);
}

static void write_deliver(struct reader *r, struct buffer *out) {
    struct amqp_method m = {AMQP_BASIC_DELIVER,
                            .as.basic_deliver = {.consumer_tag = take(r),
                                                 .delivery_tag = reader_u64(r),
                                                 .redelivered = reader_u8(r) & 1,
                                                 .exchange = take(r),
                                                 .routing_key = take(r)}};
    struct amqp_method back;
    struct amqp_frame frame;
    size_t before = out->size;
    if (amqp_method_write(out, 7, &m) != 0) {
        assert(out->size == before);
        return;
    }
    struct span whole = span_of(out->data + before, out->size - before);
    int64_t used = amqp_frame_read(whole, ROOM_MAX, &frame);
    assert(used == (int64_t)whole.size && frame.channel == 7);
    int error = amqp_method_read(frame.payload, &back);
    const struct amqp_basic_deliver *a = &m.as.basic_deliver, *b = &back.as.basic_deliver;
    assert(error == 0 && back.id == m.id && a->delivery_tag == b->delivery_tag &&
           a->redelivered == b->redelivered && span_equal(a->consumer_tag, b->consumer_tag) &&
           span_equal(a->exchange, b->exchange) && span_equal(a->routing_key, b->routing_key));
}

/* The frames of a body hold it, none longer than asked for. */
static void write_body(struct reader *r, struct buffer *out) {
    uint32_t frame_max = AMQP_FRAME_OVERHEAD + 1 + reader_u8(r);
    struct span body = take(r);
    size_t before = out->size;
    if (amqp_body_write(out, 1, body, frame_max) != 0) {
        assert(out->size == before);
        return;
    }
    struct span rest =
        out->size > before ? span_of(out->data + before, out->size - before) : span_of(NULL, 0);
    while (rest.size > 0) {
        struct amqp_frame frame;
        int64_t used = amqp_frame_read(rest, frame_max, &frame);
        assert(used > 0 && frame.type == AMQP_FRAME_BODY && frame.payload.size <= body.size);
        assert(span_equal(frame.payload, span_of(body.data, frame.payload.size)));
        body = span_of(body.data + frame.payload.size, body.size - frame.payload.size);
        rest = span_of(rest.data + used, rest.size - (size_t)used);
    }
    assert(body.size == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const writers[])(struct reader *, struct buffer *) = {
        write_table, write_properties, write_deliver, write_body};
    struct reader r;
    struct buffer out;
    reader_init(&r, span_of(data, size));
    buffer_init(&out, ROOM_MAX);
    while (r.left > 0 && !r.failed)
        writers[reader_u8(&r) % ARRAY_LENGTH(writers)](&r, &out);
    buffer_release(&out);
    return 0;
}
