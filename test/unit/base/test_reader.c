#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/reader.h"

static void reads_what_is_there(void **state) {
    (void)state;
    const uint8_t bytes[] = {1,  2,  3,  4,  5, 6, 7, 8, 9,   10, 11,
                             12, 13, 14, 15, 2, 0, 0, 0, 'o', 'k'};
    struct reader r;
    reader_init(&r, span_of(bytes, sizeof bytes));
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_u16(&r), 0x0302);
    assert_int_equal(reader_u32(&r), 0x07060504);
    assert_true(reader_u64(&r) == 0x0f0e0d0c0b0a0908);
    assert_false(reader_done(&r));
    assert_true(span_is(reader_bytes(&r), "ok"));
    assert_true(reader_done(&r));
}

static void first_short_read_fails_all_later_ones(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3};
    struct reader r;
    reader_init(&r, span_of(bytes, sizeof bytes));
    assert_int_equal(reader_u32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_take(&r, 0).size, 0);
    assert_false(reader_done(&r));
}

static void length_beyond_the_end_fails(void **state) {
    (void)state;
    const uint8_t bytes[] = {0xff, 0xff, 0xff, 0xff, 1};
    struct reader r;
    reader_init(&r, span_of(bytes, sizeof bytes));
    struct span s = reader_bytes(&r);
    assert_int_equal(s.size, 0);
    assert_null(s.data);
    assert_true(r.failed);
}

static void empty_span_may_be_null(void **state) {
    (void)state;
    struct reader r;
    reader_init(&r, span_of(NULL, 0));
    assert_true(reader_done(&r));
    assert_int_equal(reader_take(&r, 0).size, 0);
    assert_true(reader_done(&r));
    assert_int_equal(reader_u64(&r), 0);
    assert_false(reader_done(&r));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_there),
        cmocka_unit_test(first_short_read_fails_all_later_ones),
        cmocka_unit_test(length_beyond_the_end_fails),
        cmocka_unit_test(empty_span_may_be_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
