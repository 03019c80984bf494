/* Every code point in its only form, and what is beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

/* `code` in `size` bytes, however wrong that is. */
static void put(uint32_t code, size_t size, uint8_t out[4]) {
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; code >>= 6) {
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
    }
    out[0] = (uint8_t)(marks[size] | code);
}

static size_t right_size(uint32_t code) {
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

static void each_code_point_has_one_form(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x200000; code++) {
        bool exists = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        for (size_t size = right_size(code); size <= 4; size++) {
            uint8_t bytes[4];
            put(code, size, bytes);
            size_t expected = exists && size == right_size(code) ? size : 0;
            assert_int_equal(utf8_length(bytes, size), expected);
            assert_int_equal(utf8_valid(span_of(bytes, size)), expected != 0);
        }
    }
}

static void a_part_is_none(void **state) {
    (void)state;
    const char *text = "\xf0\x9f\x98\x80";
    for (size_t size = 1; size < 4; size++) {
        assert_int_equal(utf8_length((const uint8_t *)text, size), 0);
        assert_false(utf8_valid(span_of(text, size)));
    }
    assert_int_equal(utf8_length((const uint8_t *)"\x80", 1), 0);
    assert_int_equal(utf8_length((const uint8_t *)"\xc3(", 2), 0);
    assert_true(utf8_valid(span_text("a\xc3\xbc\xf0\x9f\x98\x80z")));
    assert_false(utf8_valid(span_text("a\xc3\xbc\xff")));
    assert_true(utf8_valid(span_of(NULL, 0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_point_has_one_form),
        cmocka_unit_test(a_part_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
