/* Names across vhosts, and origins of dead-lettered messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/put.h"
#include "model/request.h"

static void expect_name(const char *vhost, const char *queue, const char *expected) {
    char buffer[QUEUE_NAME_MAX_BYTES + 1], back[VHOST_MAX_BYTES + 1];
    struct span name = amqp_queue_name(span_text(vhost), span_text(queue), buffer);
    assert_true(span_is(name, expected));
    assert_true(span_is(amqp_queue_split(name, back), queue));
    assert_string_equal(back, vhost);
}

static void test_names(void **state) {
    expect_name("/", "orders", "orders");
    expect_name("/", "a/b", "%2F/a/b");
    expect_name("/", "50%", "50%");
    expect_name("shop", "orders", "shop/orders");
    expect_name("shop", "a/b", "shop/a/b");
    expect_name("a/b%", "c", "a%2Fb%25/c");
    char buffer[QUEUE_NAME_MAX_BYTES + 1], longest[256];
    memset(longest, '/', sizeof longest);
    struct span queue = span_of(longest, 255), vhost = span_of(longest, VHOST_MAX_BYTES);
    assert_int_equal(amqp_queue_name(vhost, queue, buffer).size, QUEUE_NAME_MAX_BYTES);
    assert_int_equal(amqp_queue_name(vhost, span_of(longest, 256), buffer).size, 0);
    assert_int_equal(amqp_queue_name(span_of(longest, 128), queue, buffer).size, 0);
    assert_int_equal(amqp_queue_name(vhost, span_of("a\0b", 3), buffer).size, 0);
    assert_int_equal(amqp_queue_name(vhost, span_of(NULL, 0), buffer).size, 0);
}

static void put_death(struct buffer *b, uint8_t reason, const char *queue) {
    assert_int_equal(buffer_put_u8(b, reason), 0);
    assert_int_equal(buffer_put_u64(b, 7), 0);
    assert_int_equal(buffer_put_u64(b, 2), 0);
    assert_int_equal(put_key(b, span_text(queue)), 0);
    assert_int_equal(put_key(b, span_text("x")), 0);
    assert_int_equal(put_key(b, span_text("k")), 0);
}

static void test_origin(void **state) {
    struct buffer b;
    buffer_init(&b, 4096);
    assert_int_equal(buffer_put_u64(&b, 99), 0);
    assert_int_equal(buffer_put_u16(&b, 2), 0);
    assert_int_equal(put_key(&b, span_text("dlx")), 0);
    assert_int_equal(put_key(&b, span_text("dead")), 0);
    put_death(&b, DEAD_REJECTED, "one");
    put_death(&b, DEAD_EXPIRED, "two");
    struct amqp_origin o;
    struct amqp_death d;
    assert_int_equal(amqp_origin_read(buffer_span(&b), &o), 0);
    assert_int_equal(o.stored_id, 99);
    assert_int_equal(o.death_count, 2);
    assert_true(span_is(o.exchange, "dlx") && span_is(o.routing_key, "dead"));
    assert_true(amqp_origin_next(&o.deaths, &d));
    assert_string_equal(amqp_reason_name(d.reason), "rejected");
    assert_int_equal(d.count, 2);
    assert_true(amqp_origin_next(&o.deaths, &d));
    assert_true(span_is(d.queue, "two"));
    assert_string_equal(amqp_reason_name(d.reason), "expired");
    assert_false(amqp_origin_next(&o.deaths, &d));
    for (size_t size = 0; size < b.size; size++) {
        assert_int_equal(amqp_origin_read(span_of(b.data, size), &o), E_CORRUPT);
    }
    buffer_release(&b);
}

static void test_texts(void **state) {
    assert_string_equal(amqp_reason_name(DEAD_MAXLEN), "maxlen");
    assert_string_equal(amqp_reason_name(DEAD_DELIVERY_LIMIT), "delivery_limit");
    assert_string_equal(exchange_type_name(EXCHANGE_TOPIC, false), "topic");
    assert_string_equal(exchange_type_name(EXCHANGE_TOPIC, true), "x-delayed-message");
}

/* What a fact leaves out is filled in; what a connection is told has neither keys nor headers. */
static void test_origin_with_routing(void **state) {
    struct buffer b;
    struct amqp_origin o;
    struct span key;
    uint32_t size;
    buffer_init(&b, 4096);
    assert_int_equal(buffer_put_u64(&b, 99), 0);
    assert_int_equal(buffer_put_u16(&b, 1 | ORIGIN_ROUTED | ORIGIN_BORROWS), 0);
    assert_int_equal(put_key(&b, span_text("dlx")), 0);
    assert_int_equal(put_key(&b, span_text("dead")), 0);
    put_death(&b, DEAD_REJECTED, "one");
    size_t told_size = b.size;
    assert_int_equal(buffer_put_u16(&b, 2), 0);
    assert_int_equal(put_key(&b, span_text("second")), 0);
    assert_int_equal(put_key(&b, span_text("")), 0);
    uint8_t *whole = amqp_origin_complete(buffer_span(&b), span_of("\1at\1", 4), &size);
    assert_int_equal(amqp_origin_read(span_of(whole, size), &o), 0);
    assert_true(span_is(o.headers, "\1at\1") && o.death_count == 1);
    assert_true(amqp_origin_next_key(&o.keys, &key) && span_is(key, "second"));
    assert_true(amqp_origin_next_key(&o.keys, &key) && key.size == 0);
    assert_false(amqp_origin_next_key(&o.keys, &key));
    uint8_t *told;
    uint32_t told_bytes;
    assert_int_equal(amqp_origin_told(span_of(whole, size), &told, &told_bytes), 0);
    assert_int_equal(told_bytes, told_size);
    assert_int_equal(amqp_origin_read(span_of(told, told_bytes), &o), 0);
    assert_true(o.death_count == 1 && o.keys.size == 0 && o.headers.size == 0);
    for (uint32_t cut = size; cut-- > 0;) { /* without headers it is whole again */
        assert_int_equal(amqp_origin_read(span_of(whole, cut), &o),
                         cut == size - 4 ? 0 : E_CORRUPT);
    }
    free(told);
    free(whole);
    buffer_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_origin_with_routing),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
