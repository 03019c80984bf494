/* Facts that cannot be are refused, whatever they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "mail.h"
#include "model/fact.h"

static struct buffer facts;

static int apply_one(uint16_t kind, uint16_t version, const void *payload, size_t size) {
    buffer_init(&facts, 1u << 20);
    mail_fact(&facts, kind, version, span_of(payload, size));
    int rc = mail_apply(buffer_span(&facts));
    buffer_release(&facts);
    return rc;
}

static void test_newer_is_refused(void **state) {
    assert_int_equal(apply_one(FACT_MESSAGE_DUE, 2, "12345678", 8), E_VERSION);
    assert_int_equal(apply_one(0x0199, 1, "", 0), E_VERSION);
    assert_int_equal(apply_one(0xff01, 1, "", 0), E_VERSION);
    assert_int_equal(apply_one(FACT_MESSAGE_DUE, 0, "12345678", 8), E_CORRUPT);
}

static void test_impossible_is_refused(void **state) {
    mail_queue("orders");
    uint64_t id = mail_put((struct letter){.queue = "orders"});
    static const uint16_t unknown[] = {FACT_MESSAGE_DUE, FACT_MESSAGE_EXPIRED, FACT_MESSAGE_DELETED,
                                       FACT_MESSAGE_REDRIVEN};
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++) {
        assert_int_equal(apply_one(unknown[i], 1, "0123456789abcdef", 16), E_CORRUPT);
        assert_int_equal(apply_one(unknown[i], 1, &id, 4), E_CORRUPT);
    }
    assert_int_equal(apply_one(FACT_MESSAGE_DUE, 1, &id, 8), E_CORRUPT); /* it is not delayed */
    uint64_t redriven[2] = {id, 0};
    assert_int_equal(apply_one(FACT_MESSAGE_REDRIVEN, 1, redriven, 16), E_CORRUPT); /* nor dead */
    uint32_t queue = queue_find(mail.model, span_text("orders"));
    uint8_t paused[5] = {(uint8_t)queue, 0, 0, 0, 2};
    assert_int_equal(apply_one(FACT_QUEUE_PAUSED, 1, paused, 5), E_CORRUPT);
    assert_int_equal(apply_one(FACT_QUEUE_DELETED, 1, &queue, 4), E_CORRUPT); /* not empty */
    uint8_t purged[9] = {(uint8_t)queue, 0, 0, 0, 1 << MESSAGE_IN_FLIGHT, 1, 0, 0, 0};
    assert_int_equal(apply_one(FACT_QUEUE_PURGED, 1, purged, 9), E_CORRUPT);
    assert_int_equal(mail_get(id).state, MESSAGE_READY);
}

static void test_the_same_message_twice(void **state) {
    mail_queue("orders");
    size_t before = mail.log.size;
    mail_put((struct letter){.queue = "orders"});
    struct reader log;
    reader_init(&log, span_of(mail.log.data + before + 16, mail.log.size - before - 16));
    assert_int_equal(mail_apply(reader_bytes(&log)), E_CORRUPT);
}

static void test_cut_facts(void **state) {
    mail_queue("orders");
    buffer_init(&facts, 1u << 20);
    mail_fact(&facts, FACT_MESSAGE_DUE, 1, span_text("12345678"));
    for (size_t size = 1; size < facts.size; size++) {
        assert_int_equal(mail_apply(span_of(facts.data, size)), E_CORRUPT);
    }
    buffer_release(&facts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_newer_is_refused, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_impossible_is_refused, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_the_same_message_twice, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_cut_facts, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
