#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "amqp/codec.h"
#include "base/error.h"

#define BYTES(text) span_of(text, sizeof(text) - 1)
#define FRAME_MAX   4096u

/* queue.declare of "mail", durable and auto-delete, with x-max-priority 5: by hand from the specification. */
static const char DECLARE[] = "\1\0\3\0\0\0\x24"
                              "\0\x32\0\x0a"
                              "\0\0"
                              "\4mail"
                              "\x0a"
                              "\0\0\0\x14"
                              "\x0ex-max-priorityI\0\0\0\5"
                              "\xce";

static struct amqp_method read_method(struct span bytes, uint16_t channel) {
    struct amqp_frame frame;
    struct amqp_method m;
    assert_int_equal(amqp_frame_read(bytes, FRAME_MAX, &frame), bytes.size);
    assert_int_equal(frame.type, AMQP_FRAME_METHOD);
    assert_int_equal(frame.channel, channel);
    assert_int_equal(amqp_method_read(frame.payload, &m), 0);
    return m;
}

static void a_method_is_read(void **state) {
    (void)state;
    struct amqp_method m = read_method(BYTES(DECLARE), 3);
    assert_int_equal(m.id, AMQP_QUEUE_DECLARE);
    const struct amqp_queue_declare *d = &m.as.queue_declare;
    assert_true(span_is(d->queue, "mail"));
    assert_true(d->durable && d->auto_delete && !d->passive && !d->exclusive && !d->nowait);
    assert_int_equal(d->arguments.size, 20);
}

static void a_method_is_written(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, FRAME_MAX);
    struct amqp_method m = read_method(BYTES(DECLARE), 3);
    assert_int_equal(amqp_method_write(&out, 3, &m), 0);
    assert_true(span_equal(buffer_span(&out), BYTES(DECLARE)));
    buffer_clear(&out);
    m = (struct amqp_method){AMQP_BASIC_ACK,
                             .as.basic_ack = {.delivery_tag = 258, .multiple = true}};
    assert_int_equal(amqp_method_write(&out, 1, &m), 0);
    assert_true(
        span_equal(buffer_span(&out), BYTES("\1\0\1\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\1\2\1\xce")));
    buffer_clear(&out);
    m.id = AMQP_CHANNEL_OPEN_OK; /* a field that nobody uses */
    assert_int_equal(amqp_method_write(&out, 1, &m), 0);
    assert_true(span_equal(buffer_span(&out), BYTES("\1\0\1\0\0\0\x08\0\x14\0\x0b\0\0\0\0\xce")));
    buffer_release(&out);
}

static void what_cannot_be_written_leaves_nothing(void **state) {
    (void)state;
    char text[256] = {0};
    struct buffer out;
    buffer_init(&out, 64);
    struct amqp_method m = {AMQP_QUEUE_DECLARE_OK, .as.queue_declare_ok.queue = span_of(text, 256)};
    assert_int_equal(amqp_method_write(&out, 1, &m), E_INVALID);
    m.as.queue_declare_ok.queue.size = 255;
    assert_int_equal(amqp_method_write(&out, 1, &m), E_LIMIT);
    assert_int_equal(amqp_body_write(&out, 1, span_of(text, 100), 40), E_LIMIT);
    struct amqp_properties p = {.flags = AMQP_HAS_TYPE, .type = span_of(text, 256)};
    assert_int_equal(amqp_properties_write(&out, &p), E_INVALID);
    p.flags = 1;
    assert_int_equal(amqp_properties_write(&out, &p), E_INVALID);
    assert_int_equal(out.size, 0);
    buffer_release(&out);
}

static void frames_wait_for_their_end(void **state) {
    (void)state;
    struct amqp_frame frame;
    struct span whole = BYTES(DECLARE);
    for (size_t size = 0; size < whole.size; size++)
        assert_int_equal(amqp_frame_read(span_of(whole.data, size), FRAME_MAX, &frame), 0);
    assert_int_equal(amqp_frame_read(BYTES("\1\0\0\0\0\0\0\xcf"), FRAME_MAX, &frame), E_INVALID);
    assert_int_equal(amqp_frame_read(BYTES("\4\0\0\0\0\0\0"), FRAME_MAX, &frame), E_UNSUPPORTED);
    assert_int_equal(amqp_frame_read(BYTES("\3\0\0\0\0\x10\0"), FRAME_MAX, &frame), 0);
    assert_int_equal(amqp_frame_read(BYTES("\3\0\0\0\0\x10\1"), FRAME_MAX, &frame), E_TOO_LARGE);
    assert_int_equal(amqp_frame_read(BYTES("\3\0\0\xff\xff\xff\xff"), FRAME_MAX, &frame),
                     E_TOO_LARGE);
}

static void wrong_methods_are_told_apart(void **state) {
    (void)state;
    struct amqp_method m;
    assert_int_equal(amqp_method_read(BYTES("\0\x32\0"), &m), E_INVALID);
    assert_int_equal(amqp_method_read(BYTES("\0\x32\0\x63"), &m), E_UNSUPPORTED);
    assert_int_equal(m.id, 0x00320063);
    assert_int_equal(amqp_method_read(BYTES("\0\x3c\0\x50\0\0\0\0\0\0\0\1"), &m), E_INVALID);
    assert_int_equal(amqp_method_read(BYTES("\0\x3c\0\x50\0\0\0\0\0\0\0\1\0\0"), &m), E_INVALID);
    assert_int_equal(amqp_method_read(BYTES("\0\x3c\0\x50\0\0\0\0\0\0\0\1\0"), &m), 0);
    /* a table of a type that does not exist */
    assert_int_equal(amqp_method_read(BYTES("\0\x32\0\x0a\0\0\0\0\0\0\0\3\1aZ"), &m), E_INVALID);
}

/* content-type, headers {"a": true}, delivery-mode 2, timestamp 5. */
static const char PROPERTIES[] = "\xb0\x40"
                                 "\4text"
                                 "\0\0\0\4\1at\1"
                                 "\2"
                                 "\0\0\0\0\0\0\0\5";

static void properties_travel(void **state) {
    (void)state;
    struct amqp_properties p;
    assert_int_equal(amqp_properties_read(BYTES(PROPERTIES), &p), 0);
    assert_true(span_is(p.content_type, "text"));
    assert_true(p.delivery_mode == 2 && p.timestamp == 5 && p.headers.size == 4);
    struct buffer out;
    buffer_init(&out, FRAME_MAX);
    assert_int_equal(amqp_properties_write(&out, &p), 0);
    assert_true(span_equal(buffer_span(&out), BYTES(PROPERTIES)));
    assert_int_equal(amqp_properties_read(BYTES("\0\1\0\0"), &p), E_INVALID);
    assert_int_equal(amqp_properties_read(BYTES("\0\1"), &p),
                     E_INVALID); /* more flags, and one that nobody knows */
    assert_int_equal(amqp_properties_read(BYTES("\0\2"), &p), E_INVALID);
    assert_int_equal(amqp_properties_read(BYTES("\0\0\0"), &p), E_INVALID);
    assert_int_equal(amqp_properties_read(BYTES("\x80\0\2a"), &p), E_INVALID);
    buffer_release(&out);
}

static void a_content_is_cut_into_frames(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, FRAME_MAX);
    assert_int_equal(amqp_content_header_write(&out, 2, 5, BYTES(PROPERTIES)), 0);
    size_t header_size = out.size;
    assert_int_equal(amqp_body_write(&out, 2, BYTES("hello"), 11), 0);
    struct amqp_frame frame;
    struct amqp_content_header h;
    assert_int_equal(amqp_frame_read(buffer_span(&out), FRAME_MAX, &frame), header_size);
    assert_int_equal(frame.type, AMQP_FRAME_HEADER_);
    assert_int_equal(amqp_content_header_read(frame.payload, &h), 0);
    assert_true(h.class_id == AMQP_CLASS_BASIC && h.body_size == 5);
    assert_true(span_equal(h.encoded, BYTES(PROPERTIES)) && h.properties.delivery_mode == 2);
    assert_true(span_equal(span_of(out.data + header_size, out.size - header_size),
                           BYTES("\3\0\2\0\0\0\3hel\xce\3\0\2\0\0\0\2lo\xce")));
    assert_int_equal(amqp_content_header_read(BYTES("\0\x3c\0\0\0\0\0\0\0\0\0"), &h), E_INVALID);
    buffer_clear(&out);
    assert_int_equal(amqp_heartbeat_write(&out), 0);
    assert_true(span_equal(buffer_span(&out), BYTES("\x08\0\0\0\0\0\0\xce")));
    buffer_release(&out);
}

static void methods_and_codes_have_names(void **state) {
    (void)state;
    assert_string_equal(amqp_method_text(AMQP_QUEUE_DECLARE_OK), "queue.declare_ok");
    assert_string_equal(amqp_method_text(0), "unknown");
    assert_int_equal(amqp_method_sender(AMQP_CONNECTION_CLOSE), AMQP_SENT_BY_BOTH);
    assert_int_equal(amqp_method_sender(AMQP_BASIC_DELIVER), AMQP_SENT_BY_SERVER);
    assert_int_equal(amqp_method_sender(AMQP_CONFIRM_SELECT), AMQP_SENT_BY_CLIENT);
    assert_true(amqp_method_carries_content(AMQP_BASIC_PUBLISH));
    assert_false(amqp_method_carries_content(AMQP_BASIC_GET));
    assert_string_equal(amqp_code_name(AMQP_PRECONDITION_FAILED), "PRECONDITION_FAILED");
    assert_false(amqp_code_closes_connection(AMQP_PRECONDITION_FAILED));
    assert_true(amqp_code_closes_connection(AMQP_NOT_ALLOWED));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_method_is_read),
        cmocka_unit_test(a_method_is_written),
        cmocka_unit_test(what_cannot_be_written_leaves_nothing),
        cmocka_unit_test(frames_wait_for_their_end),
        cmocka_unit_test(wrong_methods_are_told_apart),
        cmocka_unit_test(properties_travel),
        cmocka_unit_test(a_content_is_cut_into_frames),
        cmocka_unit_test(methods_and_codes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
