#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "answer.h"

static struct answer read_text(int status, const char *body) {
    struct answer a;
    answer_read(status, span_text(body), &a);
    return a;
}

static void a_receipt_is_read_in_each_of_its_shapes(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
    } shapes[] = {
        {202, "{\"receipt\":\"r01\",\"number\":17}"},
        {202, "{\"id\":\"r01\",\"number\":17}"},
        {409, "{\"type\":\"https://a.example/problems/already-claimed\","
              "\"receipt\":{\"id\":\"r01\",\"number\":17}}"},
        {409, "{\"type\":\"urn:sluice:already-claimed\",\"receipt\":{\"receipt\":\"r01\","
              "\"number\":17}}"},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct answer a = read_text(shapes[i].status, shapes[i].body);
        assert_int_equal(a.kind, shapes[i].status == 202 ? ANSWER_WON : ANSWER_CLAIMED);
        assert_string_equal(a.receipt, "r01");
        assert_int_equal(a.number, 17);
    }
}

static void refusals_are_told_apart(void **state) {
    (void)state;
    assert_int_equal(read_text(410, "{\"type\":\"/problems/sold-out\"}").kind, ANSWER_SOLD_OUT);
    assert_int_equal(read_text(410, "{\"type\":\"/problems/closed\"}").kind, ANSWER_CLOSED);
    assert_int_equal(read_text(425, "{\"type\":\"/problems/not-open-yet\"}").kind, ANSWER_EARLY);
    assert_int_equal(read_text(409, "{\"type\":\"/problems/member-limit\"}").kind, ANSWER_OTHER);
    assert_int_equal(read_text(404, "not JSON").kind, ANSWER_OTHER);
}

static void only_a_busy_server_is_asked_again(void **state) {
    (void)state;
    static const int busy[] = {429, 500, 503, 507};
    for (size_t i = 0; i < sizeof(busy) / sizeof(busy[0]); i++)
        assert_true(answer_ask_again(read_text(busy[i], "{}").kind));
    assert_false(answer_ask_again(ANSWER_WON));
    assert_false(answer_ask_again(ANSWER_SOLD_OUT));
}

static void texts_cannot_break_a_ledger_line(void **state) {
    (void)state;
    struct answer a = read_text(202, "{\"receipt\":\"r\\t1\\n\",\"number\":1}");
    assert_string_equal(a.receipt, "r?1?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receipt_is_read_in_each_of_its_shapes),
        cmocka_unit_test(refusals_are_told_apart),
        cmocka_unit_test(only_a_busy_server_is_asked_again),
        cmocka_unit_test(texts_cannot_break_a_ledger_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
