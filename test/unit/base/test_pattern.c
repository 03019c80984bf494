#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/pattern.h"

static bool found(const char *pattern, const char *name) {
    struct pattern *p;
    assert_int_equal(pattern_compile(span_text(pattern), &p), 0);
    bool matches = pattern_matches(p, span_text(name));
    pattern_free(p);
    return matches;
}

static void test_what_clients_write(void **state) {
    assert_true(found("", "anything"));
    assert_true(found(".*", ""));
    assert_true(found("ord", "my.orders"));
    assert_false(found("^ord", "my.orders"));
    assert_true(found("^(?!amq\\.).*", "orders")); /* of so many files of RabbitMQ */
    assert_false(found("^(?!amq\\.).*", "amq.gen-x"));
    assert_true(found("^q\\d+$", "q17"));
    assert_true(found("(?i)^ORDERS$", "orders"));
    assert_true(found("^(a|b)[[:digit:]]{2}$", "b42"));
}

static void test_bytes_and_nul(void **state) {
    struct pattern *p;
    static const uint8_t name[] = {'a', 0, 0xff, 'b'};
    assert_int_equal(pattern_compile(span_text("^a..b$"), &p), 0);
    assert_true(pattern_matches(p, span_of(name, sizeof name)));
    assert_false(pattern_matches(p, span_of(NULL, 0)));
    pattern_free(p);
}

static void test_what_is_none(void **state) {
    static const char *const bad[] = {"(", "[a", "*a", "a{2,1}", "(?<", "\\"};
    struct pattern *p = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pattern_compile(span_text(bad[i]), &p), E_INVALID);
    }
    static char deep[2 * 200 + 1];
    memset(deep, '(', 200);
    memset(deep + 200, ')', 200);
    assert_int_equal(pattern_compile(span_text(deep), &p), E_INVALID);
    static char big[PATTERN_MAX_BYTES + 2];
    memset(big, 'a', PATTERN_MAX_BYTES + 1);
    assert_int_equal(pattern_compile(span_text(big), &p), E_LIMIT);
    assert_int_equal(pattern_compile(span_text("((a{1000}){1000}){1000}"), &p), E_INVALID);
}

/* Without a limit this one takes longer than anybody waits. */
static void test_a_costly_one_gives_up(void **state) {
    struct pattern *p;
    bool matches;
    static char name[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    assert_int_equal(pattern_compile(span_text("^(a+)+$"), &p), 0);
    assert_int_equal(pattern_try(p, span_text(name), &matches), E_LIMIT);
    assert_false(pattern_matches(p, span_text(name)));
    pattern_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_clients_write),
        cmocka_unit_test(test_bytes_and_nul),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_a_costly_one_gives_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
