#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/buffer.h"
#include "base/error.h"

static void grows_and_keeps_content(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 100000);
    for (uint32_t i = 0; i < 20000; i++) {
        assert_int_equal(buffer_put_u32(&b, i), 0);
    }
    assert_int_equal(b.size, 80000);
    for (uint32_t i = 0; i < 20000; i++) {
        const uint8_t *p = b.data + 4 * (size_t)i;
        assert_int_equal(p[0] | p[1] << 8 | p[2] << 16, i);
    }
    buffer_release(&b);
}

static void never_passes_its_maximum(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 10);
    assert_int_equal(buffer_append(&b, "12345678", 8), 0);
    assert_int_equal(buffer_append(&b, "abc", 3), E_LIMIT);
    assert_true(span_is(buffer_span(&b), "12345678"));
    assert_int_equal(buffer_append(&b, "ab", 2), 0);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX), E_LIMIT);
    assert_int_equal(buffer_put_u8(&b, 1), E_LIMIT);
    assert_true(b.capacity <= 10);
    buffer_release(&b);
}

static void writes_little_endian(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 64);
    assert_int_equal(buffer_put_u8(&b, 0x01), 0);
    assert_int_equal(buffer_put_u16(&b, 0x0302), 0);
    assert_int_equal(buffer_put_u32(&b, 0x07060504), 0);
    assert_int_equal(buffer_put_u64(&b, 0x0f0e0d0c0b0a0908), 0);
    for (uint8_t i = 0; i < 15; i++) {
        assert_int_equal(b.data[i], i + 1);
    }
    buffer_release(&b);
}

static void length_and_bytes_come_together_or_not_at_all(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 8);
    assert_int_equal(buffer_put_bytes(&b, span_text("12345")), E_LIMIT);
    assert_int_equal(b.size, 0);
    assert_int_equal(buffer_put_bytes(&b, span_text("1234")), 0);
    assert_memory_equal(b.data,
                        "\4\0\0\0"
                        "1234",
                        8);
    buffer_release(&b);
}

static void prints_and_consumes(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 16);
    assert_int_equal(buffer_printf(&b, "%d-%s", 42, "ab"), 0);
    assert_true(span_is(buffer_span(&b), "42-ab"));
    assert_int_equal(buffer_printf(&b, "%s", "far too long for it"), E_LIMIT);
    assert_true(span_is(buffer_span(&b), "42-ab"));
    buffer_consume(&b, 3);
    assert_true(span_is(buffer_span(&b), "ab"));
    buffer_consume(&b, 2);
    buffer_consume(&b, 0);
    assert_int_equal(b.size, 0);
    assert_int_equal(buffer_append_text(&b, "x"), 0);
    buffer_clear(&b);
    assert_int_equal(b.size, 0);
    buffer_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_content),
        cmocka_unit_test(never_passes_its_maximum),
        cmocka_unit_test(writes_little_endian),
        cmocka_unit_test(length_and_bytes_come_together_or_not_at_all),
        cmocka_unit_test(prints_and_consumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
