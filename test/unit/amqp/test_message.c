#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "amqp/message.h"
#include "base/amqp_table.h"

#define BYTES(text) span_of(text, sizeof(text) - 1)

static struct span keys[AMQP_KEYS_MAX];

static struct amqp_publish with_headers(struct buffer *room, struct span entries) {
    struct amqp_publish p = {.routing_key = span_text("k")};
    p.properties = (struct amqp_properties){.flags = AMQP_HAS_HEADERS | AMQP_HAS_EXPIRATION |
                                                     AMQP_HAS_DELIVERY_MODE,
                                            .headers = entries,
                                            .expiration = span_text("1500"),
                                            .delivery_mode = 2};
    assert_int_equal(amqp_properties_write(room, &p.properties), 0);
    p.encoded = buffer_span(room);
    return p;
}

static void what_the_model_needs_is_taken_out(void **state) {
    (void)state;
    struct buffer room, out;
    struct amqp_message m;
    buffer_init(&room, 4096);
    buffer_init(&out, 4096);
    struct amqp_publish p = with_headers(&room, BYTES("\7x-delayI\0\0\0\5\2CCA\0\0\0\6S\0\0\0\1a"));
    assert_int_equal(amqp_message_in(&p, &out, keys, &m), 0);
    assert_true(m.has_ttl && m.ttl_ns == 1500000000 && m.delay_ns == 5000000);
    assert_true(m.key_count == 1 && span_is(m.keys[0], "a"));
    assert_true(span_equal(m.properties, p.encoded));
    buffer_release(&room);
    buffer_release(&out);
}

static void bcc_is_a_key_that_nobody_sees(void **state) {
    (void)state;
    struct buffer room, out;
    struct amqp_message m;
    struct amqp_properties after;
    struct amqp_field f;
    buffer_init(&room, 4096);
    buffer_init(&out, 4096);
    struct amqp_publish p = with_headers(&room, BYTES("\3BCCA\0\0\0\6S\0\0\0\1b\1zt\1"));
    assert_int_equal(amqp_message_in(&p, &out, keys, &m), 0);
    assert_true(m.key_count == 1 && span_is(m.keys[0], "b"));
    assert_int_equal(amqp_properties_read(m.properties, &after), 0);
    assert_false(amqp_table_find(after.headers, "BCC", &f));
    assert_true(amqp_table_find(after.headers, "z", &f) && after.delivery_mode == 2);
    buffer_release(&room);
    buffer_release(&out);
}

static void properties_go_out_as_they_came(void **state) {
    (void)state;
    struct buffer out;
    struct amqp_delivery ret;
    struct amqp_properties p;
    struct amqp_field f;
    int64_t count;
    struct stored_message stored = {.properties = BYTES("\x20\0\0\0\0\6\3old"
                                                        "t\1"),
                                    .exchange = span_text("e"),
                                    .routing_key = span_text("k"),
                                    .envelope.body = span_text("body")};
    struct delivery d = {.message = 9};
    buffer_init(&out, 4096);
    assert_int_equal(amqp_message_out(&stored, &d, &out, &ret), 0);
    assert_true(span_equal(ret.encoded, stored.properties) && span_is(ret.routing_key, "k"));
    d.delivery_count = 3;
    assert_int_equal(amqp_message_out(&stored, &d, &out, &ret), 0);
    assert_int_equal(amqp_properties_read(ret.encoded, &p), 0);
    assert_true(amqp_table_find(p.headers, "old", &f));
    assert_true(amqp_table_find(p.headers, "x-delivery-count", &f));
    assert_true(amqp_field_integer(&f, &count) && count == 3);
    buffer_release(&out);
}

static void what_came_by_http_says_what_it_is(void **state) {
    (void)state;
    struct buffer out;
    struct amqp_delivery ret;
    struct amqp_properties p;
    struct stored_message stored = {.queue = span_text("mail"),
                                    .envelope.content_type = span_text("a/b")};
    struct delivery d = {.message = 9};
    buffer_init(&out, 4096);
    assert_int_equal(amqp_message_out(&stored, &d, &out, &ret), 0);
    assert_int_equal(amqp_properties_read(ret.encoded, &p), 0);
    assert_true(span_is(p.content_type, "a/b") && p.delivery_mode == 2);
    assert_true(span_is(ret.routing_key, "mail") && ret.exchange.size == 0);
    buffer_release(&out);
}

static void what_was_published_elsewhere_goes_to_its_queue(void **state) {
    (void)state;
    struct buffer room, out;
    struct amqp_message m;
    buffer_init(&room, 4096);
    buffer_init(&out, 4096);
    struct amqp_publish p = with_headers(&room, BYTES("\7x-delayI\0\0\0\5\2CCA\0\0\0\6S\0\0\0\1a"
                                                      "\17x-sluice-importF\0\0\0\55"
                                                      "\10exchangeS\0\0\0\1x"
                                                      "\13routing-keyS\0\0\0\1r"
                                                      "\5againt\1"
                                                      "\2idV"));
    assert_true(amqp_message_is_import(&p));
    assert_int_equal(amqp_message_in(&p, &out, keys, &m), 0);
    assert_true(span_is(m.to_queue, "k") && span_is(m.exchange, "x") &&
                span_is(m.routing_key, "r"));
    assert_true(m.import_again && m.import_id.size == 0 && m.has_ttl);
    assert_int_equal(m.key_count, 0); /* neither routed again nor delayed again */
    assert_int_equal(m.delay_ns, 0);
    struct amqp_properties stored;
    struct amqp_field f;
    assert_int_equal(amqp_properties_read(m.properties, &stored), 0);
    assert_true(amqp_table_find(stored.headers, "CC", &f));
    assert_false(amqp_table_find(stored.headers, "x-sluice-import", &f));
    p.exchange = span_text("amq.direct"); /* only to a queue */
    assert_false(amqp_message_is_import(&p));
    buffer_release(&room);
    buffer_release(&out);
}

static void an_expiration_is_a_number_of_ms(void **state) {
    (void)state;
    static const char *const good[] = {"0", "1500", "+5", "-0", "007", "315360000000"};
    static const uint64_t means[] = {0, 1500, 5, 0, 7, UINT64_C(315360000000)};
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      "-1",
                                      "--1",
                                      " 5",
                                      "5 ",
                                      "5.5",
                                      "0x5",
                                      "315360000001",
                                      "99999999999999999999999999"};
    uint64_t ms = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        assert_true(amqp_expiration_read(span_text(good[i]), &ms));
        assert_int_equal(ms, means[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_false(amqp_expiration_read(span_text(bad[i]), &ms));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_model_needs_is_taken_out),
        cmocka_unit_test(what_was_published_elsewhere_goes_to_its_queue),
        cmocka_unit_test(bcc_is_a_key_that_nobody_sees),
        cmocka_unit_test(properties_go_out_as_they_came),
        cmocka_unit_test(what_came_by_http_says_what_it_is),
        cmocka_unit_test(an_expiration_is_a_number_of_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
