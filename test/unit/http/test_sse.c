#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/error.h"

static void texts(void **state) {
    (void)state;
    static const struct {
        const char *id, *event, *data, *text;
    } rows[] = {
        {"7", "tick", "a", "id: 7\nevent: tick\ndata: a\n\n"},
        {"", "", "a", "data: a\n\n"},
        {"", "", "", "data: \n\n"},
        {"", "x", "a\nb", "event: x\ndata: a\ndata: b\n\n"},
        {"", "", "a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"},
        {"", "", "a\n\nb", "data: a\ndata: \ndata: b\n\n"},
        {"", "", "a\n", "data: a\ndata: \n\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct buffer b;
        buffer_init(&b, 1000);
        assert_int_equal(sse_append(&b, span_text(rows[i].id), span_text(rows[i].event),
                                    span_text(rows[i].data)),
                         0);
        assert_true(span_is(buffer_span(&b), rows[i].text));
        buffer_release(&b);
    }
}

static void refused_and_unchanged(void **state) {
    (void)state;
    struct buffer b;
    struct span x = span_text("x");
    buffer_init(&b, 20);
    assert_int_equal(buffer_append_text(&b, "kept"), 0);
    assert_int_equal(sse_append(&b, span_text("1\ndata: forged"), x, x), E_INVALID);
    assert_int_equal(sse_append(&b, x, span_text("a\rb"), x), E_INVALID);
    assert_int_equal(sse_append(&b, span_of("a\0b", 3), x, x), E_INVALID);
    assert_int_equal(sse_append(&b, x, x, span_text("longer than there is room")), E_LIMIT);
    assert_true(span_is(buffer_span(&b), "kept"));
    buffer_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts),
                                       cmocka_unit_test(refused_and_unchanged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
