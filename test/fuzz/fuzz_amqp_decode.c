/*
 * AMQP frames out of arbitrary bytes: nothing crashes, what is read lies inside of what was given, and it reads
 * back the same after it was written.
 */
#include <assert.h>
#include <stdlib.h>

#include "amqp/codec.h"
#include "base/amqp_table.h"
#include "base/error.h"

#define FRAME_MAX 4096u
#define ROOM_MAX  ((size_t)1 << 20)

static void check_field(const struct amqp_field *f) {
    struct amqp_field inner;
    int64_t number;
    struct span text;
    assert(amqp_field_equal(f, f) || f->type == 'f' || f->type == 'd' || f->type == 'F' ||
           f->type == 'A'); /* not a number is not itself */
    amqp_field_integer(f, &number);
    amqp_field_text(f, &text);
    assert(f->encoded.size >= 1 && f->encoded.data[0] == (uint8_t)f->type);
    for (struct span s = f->as.bytes; f->type == 'F' && amqp_table_next(&s, &inner);)
        check_field(&inner);
    for (struct span s = f->as.bytes; f->type == 'A' && amqp_array_next(&s, &inner);)
        check_field(&inner);
}

static void check_table(struct span entries) {
    struct amqp_field f;
    size_t used = 0;
    assert(amqp_table_valid(entries));
    for (struct span rest = entries; amqp_table_next(&rest, &f);) {
        check_field(&f);
        used += 1 + f.name.size + f.encoded.size;
    }
    assert(used == entries.size);
}

static void check_method(struct span payload) {
    struct amqp_method m, again;
    if (amqp_method_read(payload, &m) != 0)
        return;
    assert(amqp_method_sender(m.id) != AMQP_SENT_BY_NOBODY);
    if (m.id == AMQP_QUEUE_DECLARE)
        check_table(m.as.queue_declare.arguments);
    struct buffer first, second;
    buffer_init(&first, ROOM_MAX);
    buffer_init(&second, ROOM_MAX);
    int error = amqp_method_write(&first, 1, &m);
    assert(error == 0);
    struct amqp_frame frame;
    int64_t size = amqp_frame_read(buffer_span(&first), ROOM_MAX, &frame);
    assert(size == (int64_t)first.size);
    error = amqp_method_read(frame.payload, &again);
    assert(error == 0 && again.id == m.id);
    error = amqp_method_write(&second, 1, &again);
    assert(error == 0 && span_equal(buffer_span(&first), buffer_span(&second)));
    buffer_release(&first);
    buffer_release(&second);
}

static void check_header(struct span payload) {
    struct amqp_content_header h;
    if (amqp_content_header_read(payload, &h) != 0)
        return;
    check_table(h.properties.headers);
    struct buffer out;
    buffer_init(&out, ROOM_MAX);
    int error = amqp_properties_write(&out, &h.properties);
    assert(error == 0 && span_equal(buffer_span(&out), h.encoded));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct span rest = span_of(data, size);
    check_method(rest);
    check_header(rest);
    if (amqp_table_valid(rest))
        check_table(rest);
    for (;;) {
        struct amqp_frame frame;
        int64_t used = amqp_frame_read(rest, FRAME_MAX, &frame);
        if (used <= 0)
            return 0;
        assert((size_t)used <= rest.size && frame.payload.data >= rest.data &&
               frame.payload.size + AMQP_FRAME_OVERHEAD == (size_t)used);
        if (frame.type == AMQP_FRAME_METHOD)
            check_method(frame.payload);
        else if (frame.type == AMQP_FRAME_HEADER_)
            check_header(frame.payload);
        rest = span_of(rest.data + used, rest.size - (size_t)used);
    }
}
