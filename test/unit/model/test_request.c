/* Receipt texts, names, refusals noted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/request.h"

static void test_receipt_text(void **state) {
    char text[18];
    uint64_t id = 0;
    receipt_format(0x0123456789abcdefull, text);
    assert_string_equal(text, "r0123456789abcdef");
    assert_int_equal(receipt_parse(span_text(text), &id), 0);
    assert_true(id == 0x0123456789abcdefull);
    receipt_format(UINT64_MAX, text);
    assert_int_equal(receipt_parse(span_text(text), &id), 0);
    assert_true(id == UINT64_MAX);
}

/* One id has one text, so nothing else is taken for it. */
static void test_receipt_texts_refused(void **state) {
    static const char *const bad[] = {"",
                                      "r",
                                      "0123456789abcdef",
                                      "r0123456789ABCDEF",
                                      "r0123456789abcde",
                                      "r0123456789abcdef0",
                                      "r0123456789abcdeg",
                                      "x0123456789abcdef",
                                      "r 123456789abcdef"};
    uint64_t id = 7;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(receipt_parse(span_text(bad[i]), &id), E_INVALID);
    }
    assert_int_equal(id, 7);
}

/* Cells are used again: of a longer name before nothing may be left, and all else must have come along. */
static void test_starts_are_copied_as_far_as_they_go(void **state) {
    (void)state;
    struct attempt_start from = {.message = 1, .gap_ns = 7, .lead = 8, .item_count = 9};
    struct attempt_start to;
    memset(&to, 'x', sizeof to);
    for (size_t size = sizeof from.queue - 1;
         size<sizeof from.queue; size = size> 3 ? 3 : size - 1) {
        memset(from.queue, 'q', size);
        from.queue[size] = '\0';
        from.message += size;
        attempt_start_copy(&to, &from);
        assert_memory_equal(&to, &from, offsetof(struct attempt_start, queue));
        assert_string_equal(to.queue, from.queue);
    }
}

static void test_names(void **state) {
    assert_string_equal(request_kind_name(REQUEST_QUEUE_PUBLISH), "QUEUE_PUBLISH");
    assert_string_equal(request_kind_name((enum request_kind)0x7777), "UNKNOWN");
    assert_string_equal(message_state_name(MESSAGE_IN_FLIGHT), "in-flight");
    assert_string_equal(message_state_name(0), "none");
    assert_string_equal(dead_reason_name(DEAD_EXHAUSTED), "exhausted");
    assert_string_equal(attempt_error_name(ATTEMPT_BODY_LOST), "body-lost");
    assert_string_equal(attempt_error_name((enum attempt_error)200), "unknown");
}

static void test_refusals_are_noted(void **state) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    assert_int_equal(request_invalid(&r, "/priority", "too high"), REFUSAL_INVALID);
    assert_string_equal(r.error_pointer, "/priority");
    assert_string_equal(r.error_detail, "too high");
    assert_int_equal(request_refuse(&r, REFUSAL_LIMIT, "no more"), REFUSAL_LIMIT);
    assert_string_equal(r.error_detail, "no more");
    assert_int_equal(request_refuse_at(&r, REFUSAL_REFERENCE, "/queue", "none"), REFUSAL_REFERENCE);
    assert_string_equal(r.error_pointer, "/queue");
    request_release(&r);
}

static void test_list_max(void **state) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_LIST);
    assert_int_equal(request_list_max(&r), 100);
    r.in.list.max = 7;
    assert_int_equal(request_list_max(&r), 7);
    r.in.list.max = 1000000;
    assert_int_equal(request_list_max(&r), LIST_MAX);
    request_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receipt_text),
        cmocka_unit_test(test_receipt_texts_refused),
        cmocka_unit_test(test_starts_are_copied_as_far_as_they_go),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refusals_are_noted),
        cmocka_unit_test(test_list_max),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
