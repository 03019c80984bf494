#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "api/json_out.h"
#include "base/rng.h"

static struct buffer text;

static int begin(void **state) {
    (void)state;
    buffer_init(&text, 1 << 20);
    return 0;
}

static int end(void **state) {
    (void)state;
    buffer_release(&text);
    return 0;
}

static void commas_are_placed(void **state) {
    (void)state;
    struct json_out j;
    out_init(&j, &text);
    out_open(&j, '{');
    out_key(&j, "a");
    out_u64(&j, 1);
    out_key(&j, "b");
    out_open(&j, '[');
    out_bool(&j, true);
    out_null(&j);
    out_open(&j, '{');
    out_close(&j, '}');
    out_double(&j, 0.25);
    out_close(&j, ']');
    out_key(&j, "t");
    out_time(&j, 0);
    out_key(&j, "d");
    out_duration(&j, 1500000000);
    out_key(&j, "x");
    out_base64(&j, span_text("ab"));
    out_close(&j, '}');
    assert_false(j.failed);
    static const char expected[] =
        "{\"a\":1,\"b\":[true,null,{},0.25],\"t\":\"1970-01-01T00:00:00.000Z\","
        "\"d\":\"1.5s\",\"x\":\"YWI=\"}";
    assert_int_equal(text.size, sizeof expected - 1);
    assert_memory_equal(text.data, expected, text.size);
}

/* Any bytes make a string that a parser takes; what was UTF-8 comes back as it was. */
static void any_bytes_are_a_string(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 5);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        size_t size = rng_below(&r, sizeof bytes);
        for (size_t i = 0; i < size; i++) {
            bytes[i] =
                (uint8_t)(rng_below(&r, 3) == 0 ? 0xc0 + rng_below(&r, 64) : rng_below(&r, 256));
        }
        struct json_out j;
        buffer_clear(&text);
        out_init(&j, &text);
        out_span(&j, span_of(bytes, size));
        json_t *back =
            json_loadb((char *)text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(back);
        json_t *same = json_stringn((const char *)bytes, size);
        if (same != NULL) {
            assert_true(json_equal(back, same));
        }
        json_decref(back);
        json_decref(same);
    }
}

static void a_full_buffer_is_said(void **state) {
    (void)state;
    struct buffer small;
    struct json_out j;
    buffer_init(&small, 8);
    out_init(&j, &small);
    out_text(&j, "longer than that");
    assert_true(j.failed);
    assert_true(small.size <= 8);
    buffer_release(&small);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commas_are_placed, begin, end),
        cmocka_unit_test_setup_teardown(any_bytes_are_a_string, begin, end),
        cmocka_unit_test_setup_teardown(a_full_buffer_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
