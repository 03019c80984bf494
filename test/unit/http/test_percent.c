#include "http/percent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/error.h"

struct row {
    const char *raw;
    enum percent_form form;
    int rc;
    const char *decoded;
};

static const struct row ROWS[] = {
    {"", PERCENT_PATH, 0, ""},
    {"abc", PERCENT_PATH, 0, "abc"},
    {"a+b", PERCENT_PATH, 0, "a+b"},
    {"a+b", PERCENT_QUERY, 0, "a b"},
    {"a%2Bb", PERCENT_QUERY, 0, "a+b"},
    {"%41%5a%7E", PERCENT_PATH, 0, "AZ~"},
    {"%2541", PERCENT_PATH, 0, "%41"}, /* once, not twice */
    {"%E2%82%AC", PERCENT_PATH, 0, "\xe2\x82\xac"},
    {"%f0%9f%98%80", PERCENT_PATH, 0, "\xf0\x9f\x98\x80"},
    {"%", PERCENT_PATH, E_INVALID, NULL},
    {"a%4", PERCENT_PATH, E_INVALID, NULL},
    {"%4x", PERCENT_PATH, E_INVALID, NULL},
    {"%u0041", PERCENT_PATH, E_INVALID, NULL},
    {"%00", PERCENT_PATH, E_INVALID, NULL},
    {"%1f", PERCENT_PATH, E_INVALID, NULL},
    {"%7f", PERCENT_PATH, E_INVALID, NULL},
    {"%80", PERCENT_PATH, E_INVALID, NULL},
    {"%C0%80", PERCENT_PATH, E_INVALID, NULL},       /* overlong NUL */
    {"%E0%80%AF", PERCENT_PATH, E_INVALID, NULL},    /* overlong slash */
    {"%ED%A0%80", PERCENT_PATH, E_INVALID, NULL},    /* surrogate */
    {"%F4%90%80%80", PERCENT_PATH, E_INVALID, NULL}, /* above U+10FFFF */
    {"%E2%82", PERCENT_PATH, E_INVALID, NULL},       /* cut */
    {"0123456789abcdef", PERCENT_PATH, 0, "0123456789abcdef"},
    {"0123456789abcdefg", PERCENT_PATH, E_TOO_LARGE, NULL},
};

static void table(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        char out[16];
        size_t size = 99;
        int rc = percent_decode(span_text(ROWS[i].raw), ROWS[i].form, out, sizeof out, &size);
        if (rc != ROWS[i].rc)
            fail_msg("%s: %s", ROWS[i].raw, error_name(rc));
        if (rc == 0)
            assert_true(span_is(span_of(out, size), ROWS[i].decoded));
        else
            assert_int_equal(size, 99);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
