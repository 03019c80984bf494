#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "dispatch/excerpt.h"

static void becomes(const char *raw, size_t size, const char *expected) {
    uint8_t out[EXCERPT_MAX_BYTES];
    size_t got = excerpt_clean(span_of(raw, size), out);
    assert_int_equal(got, strlen(expected));
    assert_memory_equal(out, expected, got);
}

#define BECOMES(raw, expected) becomes(raw, sizeof(raw) - 1, expected)

static void text_stays(void **state) {
    (void)state;
    BECOMES("", "");
    BECOMES("{\"ok\": true}", "{\"ok\": true}");
    BECOMES("gr\xc3\xbc\xc3\x9f \xe4\xbd\xa0 \xf0\x9f\x98\x80",
            "gr\xc3\xbc\xc3\x9f \xe4\xbd\xa0 \xf0\x9f\x98\x80");
}

static void controls_and_broken_bytes_do_not(void **state) {
    (void)state;
    BECOMES("a\r\nb\tc", "a  b c");
    BECOMES("\x1b[31m\0\x7f", "?[31m??");
    BECOMES("\x80\xff", "??");
    BECOMES("\xc0\xaf", "??");           /* overlong */
    BECOMES("\xe0\x80\xaf", "???");      /* overlong */
    BECOMES("\xed\xa0\x80", "???");      /* surrogate */
    BECOMES("\xf4\x90\x80\x80", "????"); /* above U+10FFFF */
    BECOMES("\xc2\x85", "??");           /* C1: next line */
    BECOMES("\xe4\xbdz", "??z");         /* cut in the middle */
}

static void the_end_is_cut_between_characters(void **state) {
    (void)state;
    uint8_t raw[600], out[EXCERPT_MAX_BYTES];
    memset(raw, 'x', sizeof raw);
    assert_int_equal(excerpt_clean(span_of(raw, sizeof raw), out), 512);
    memcpy(raw + 511, "\xc3\xbc", 2);
    assert_int_equal(excerpt_clean(span_of(raw, sizeof raw), out), 511);
    assert_int_equal(excerpt_clean(span_of("ab\xe4\xbd", 4), out), 2);
}

/* Whatever comes in, what comes out is clean already. */
static void cleaning_twice_changes_nothing(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 7);
    for (int i = 0; i < 20000; i++) {
        uint8_t raw[40], once[EXCERPT_MAX_BYTES], twice[EXCERPT_MAX_BYTES];
        size_t size = rng_below(&r, sizeof raw);
        for (size_t k = 0; k < size; k++) {
            raw[k] = (uint8_t)(rng_below(&r, 2) ? 0x80 + rng_below(&r, 128) : rng_below(&r, 256));
        }
        size_t first = excerpt_clean(span_of(raw, size), once);
        assert_true(first <= size);
        assert_int_equal(excerpt_clean(span_of(once, first), twice), first);
        assert_memory_equal(once, twice, first);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_stays),
        cmocka_unit_test(controls_and_broken_bytes_do_not),
        cmocka_unit_test(the_end_is_cut_between_characters),
        cmocka_unit_test(cleaning_twice_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
