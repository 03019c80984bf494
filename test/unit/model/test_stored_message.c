/* The payload of MESSAGE_PUT: there and back, small, and refused when damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "mail.h"
#include "model/fact.h"
#include "model/message_payload.h"

static struct message_payload full(void) {
    return (struct message_payload){
        .queue = 7,
        .tie = {.campaign = 3, .stock = 4, .purchase = span_text("order-17")},
        .stored = {.id = 640,
                   .accepted_ns = 123456789,
                   .queue = span_text("orders"),
                   .schedule_ns = 5,
                   .expires_ns = 6,
                   .priority = 9,
                   .envelope = {.content_type = span_text("text/plain"),
                                .ordering_key = span_text("k"),
                                .traceparent = span_text("00-1-2-3"),
                                .tracestate = span_text("s=1"),
                                .correlation_id = span_text("c"),
                                .headers = span_text("A: b\n"),
                                .body = span_text("the body")}},
    };
}

static void check_equal(const struct message_payload *a, const struct message_payload *b) {
    const struct envelope *x = &a->stored.envelope, *y = &b->stored.envelope;
    assert_true(a->queue == b->queue && a->stored.id == b->stored.id);
    assert_true(a->stored.accepted_ns == b->stored.accepted_ns);
    assert_true(a->stored.schedule_ns == b->stored.schedule_ns);
    assert_true(a->stored.expires_ns == b->stored.expires_ns);
    assert_true(a->stored.priority == b->stored.priority);
    assert_true(span_equal(a->stored.queue, b->stored.queue));
    assert_true(span_equal(x->content_type, y->content_type));
    assert_true(span_equal(x->ordering_key, y->ordering_key));
    assert_true(span_equal(x->traceparent, y->traceparent));
    assert_true(span_equal(x->tracestate, y->tracestate));
    assert_true(span_equal(x->correlation_id, y->correlation_id));
    assert_true(span_equal(x->headers, y->headers));
    assert_true(span_equal(x->body, y->body));
    assert_true(a->tie.campaign == b->tie.campaign && a->tie.stock == b->tie.stock);
    assert_true(a->purchase_is_id == b->purchase_is_id);
    assert_true(span_equal(a->tie.purchase, b->tie.purchase));
}

static void test_round_trip(void **state) {
    struct buffer out;
    buffer_init(&out, 1u << 20);
    struct message_payload a = full(), b;
    assert_int_equal(message_payload_encode(&a, &out), 0);
    assert_int_equal(message_payload_decode(buffer_span(&out), &b), 0);
    check_equal(&a, &b);
    assert_true(span_equal(b.stored.payload, buffer_span(&out)));
    buffer_release(&out);
}

static void test_small(void **state) {
    static const uint8_t body[100];
    struct buffer out;
    buffer_init(&out, 1u << 20);
    struct message_payload p = {.stored = {.id = 64,
                                           .queue = span_text("orders"),
                                           .envelope = {.body = span_of(body, 100)}}};
    assert_int_equal(message_payload_encode(&p, &out), 0);
    assert_true(out.size - 100 + 8 <= 70); /* with the header of the fact */
    buffer_release(&out);
}

/* No cut, and no other byte count than the layout says, is taken for a message. */
static void test_damaged_is_refused(void **state) {
    struct buffer out;
    buffer_init(&out, 1u << 20);
    struct message_payload a = full(), b;
    assert_int_equal(message_payload_encode(&a, &out), 0);
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(message_payload_decode(span_of(out.data, size), &b), E_CORRUPT);
    }
    assert_int_equal(buffer_put_u8(&out, 0), 0);
    assert_int_equal(message_payload_decode(buffer_span(&out), &b), E_CORRUPT);
    out.size--;
    out.data[23] |= 0x80; /* a flag that nobody knows */
    assert_int_equal(message_payload_decode(buffer_span(&out), &b), E_CORRUPT);
    buffer_release(&out);
}

static void test_find_in_a_record(void **state) {
    struct buffer payload, facts;
    buffer_init(&payload, 1u << 20);
    buffer_init(&facts, 1u << 20);
    struct message_payload a = full();
    struct stored_message found;
    mail_fact(&facts, FACT_STOCK_PLUS, 1, span_text("something else"));
    for (uint64_t id = 640; id < 643; id++) {
        buffer_clear(&payload);
        a.stored.id = id;
        assert_int_equal(message_payload_encode(&a, &payload), 0);
        mail_fact(&facts, id == 641 ? FACT_MESSAGE_MOVED : FACT_MESSAGE_PUT, 1,
                  buffer_span(&payload));
    }
    assert_int_equal(stored_message_find(buffer_span(&facts), 641, &found), 0);
    assert_true(found.id == 641 && span_is(found.envelope.body, "the body"));
    assert_int_equal(stored_message_find(buffer_span(&facts), 643, &found), E_NOT_FOUND);
    facts.size -= 1;
    assert_int_equal(stored_message_find(buffer_span(&facts), 642, &found), E_CORRUPT);
    buffer_release(&payload);
    buffer_release(&facts);
}

static void expect_header(const char *lines, const char *name, const char *value) {
    struct span found = header_line_find(span_text(lines), span_text(name));
    assert_true(value == NULL ? found.data == NULL : span_is(found, value) && found.data != NULL);
}

static void test_header_lines(void **state) {
    const char *lines = "X-A: one\nno colon\nx-ab:  two: three\nEmpty:\nX-A: later";
    expect_header(lines, "x-a", "one");
    expect_header(lines, "X-AB", "two: three");
    expect_header(lines, "empty", "");
    expect_header(lines, "x", NULL);
    expect_header(lines, "no colon", NULL);
    expect_header(lines, "", NULL);
    expect_header("", "x-a", NULL);
    struct span rest = span_text(lines), name, value;
    unsigned count = 0;
    while (header_line_next(&rest, &name, &value)) {
        count++;
    }
    assert_true(count == 4 && span_is(name, "X-A") && span_is(value, "later"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),         cmocka_unit_test(test_small),
        cmocka_unit_test(test_damaged_is_refused), cmocka_unit_test(test_find_in_a_record),
        cmocka_unit_test(test_header_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
