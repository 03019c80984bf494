#include "http/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"

static void find(void **state) {
    (void)state;
    static const struct {
        const char *query, *name;
        int rc;
        const char *value;
    } rows[] = {
        {"a=1&b=2", "b", 0, "2"},
        {"a=1&b=2", "a", 0, "1"},
        {"a=1&b=2", "c", E_NOT_FOUND, NULL},
        {"", "a", E_NOT_FOUND, NULL},
        {"a", "a", 0, ""},
        {"a=", "a", 0, ""},
        {"a=b=c", "a", 0, "b=c"},
        {"&&a=1&&", "a", 0, "1"},
        {"page%5Fsize=20", "page_size", 0, "20"},
        {"a=x+y%20z", "a", 0, "x y z"},
        {"a=1&a=1", "a", E_EXISTS, NULL},
        {"a=1&b=%zz", "a", E_INVALID, NULL},
        {"=1", "a", E_INVALID, NULL},
        {"a=12345678", "a", 0, "12345678"},
        {"a=123456789", "a", E_TOO_LARGE, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char out[8];
        struct span value = {NULL, 0};
        int rc = query_find(span_text(rows[i].query), rows[i].name, out, sizeof out, &value);
        if (rc != rows[i].rc)
            fail_msg("%s: %s", rows[i].query, error_name(rc));
        if (rc == 0)
            assert_true(span_is(value, rows[i].value));
    }
}

static void walk_ends_and_is_bounded(void **state) {
    (void)state;
    struct query_walk w;
    struct query_parameter p;
    query_walk_init(&w, span_text("x=1&y"));
    assert_int_equal(query_next(&w, &p), 0);
    assert_true(span_is(p.name, "x") && span_is(p.value, "1"));
    assert_int_equal(query_next(&w, &p), 0);
    assert_true(span_is(p.name, "y") && span_is(p.value, ""));
    assert_int_equal(query_next(&w, &p), E_END);
    assert_int_equal(query_next(&w, &p), E_END);

    char text[QUERY_VALUE_BYTES + 10] = "a=";
    memset(text + 2, 'v', QUERY_VALUE_BYTES + 1);
    query_walk_init(&w, span_text(text));
    assert_int_equal(query_next(&w, &p), E_TOO_LARGE);
    query_walk_init(&w, span_of(text + 2, QUERY_NAME_BYTES + 1));
    assert_int_equal(query_next(&w, &p), E_TOO_LARGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(find),
                                       cmocka_unit_test(walk_ends_and_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
