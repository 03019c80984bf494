#include "http/chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/compiler.h"

/* Decodes in pieces of `piece` bytes; returns the bytes used. */
static size_t decode(const char *text, size_t piece, enum chunk_state *ret_state, char out[256]) {
    struct chunk c;
    struct span s = span_text(text);
    size_t used = 0, size = 0;
    chunk_init(&c);
    while (used < s.size && c.state < CHUNK_LAST) {
        struct span data,
            part = span_of(s.data + used, s.size - used < piece ? s.size - used : piece);
        used += chunk_take(&c, part, &data);
        memcpy(out + size, data.data, data.size);
        size += data.size;
    }
    out[size] = '\0';
    *ret_state = c.state;
    return used;
}

static void table(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum chunk_state end;
        const char *data;
        size_t left; /* not used */
    } rows[] = {
        {"0\r\n\r\n", CHUNK_LAST, "", 2},
        {"3\r\nabc\r\n0\r\nX", CHUNK_LAST, "abc", 1},
        {"00000003\r\nabc\r\nA\r\n0123456789\r\n000\r\n", CHUNK_LAST, "abc0123456789", 0},
        {"3;x=y\r\nabc\r\n0;z\r\n", CHUNK_LAST, "abc", 0},
        {"3; x = \"a\\\";\" ;y\r\nabc\r\n0\r\n", CHUNK_LAST, "abc", 0},
        {"3;\r\nabc", CHUNK_BAD, "", 4},
        {"3;x=\r\nabc", CHUNK_BAD, "", 4},
        {"3;;x\r\nabc", CHUNK_BAD, "", 6},
        {"3;=y\r\nabc", CHUNK_BAD, "", 6},
        {"3;x=y\"\r\nabc", CHUNK_BAD, "", 5},
        {"3;x=\"y\r\nabc", CHUNK_BAD, "", 4},
        {"3;x=\"y\"z\r\nabc", CHUNK_BAD, "", 5},
        {"3;x y\r\nabc", CHUNK_BAD, "", 5},
        {"3\r\nab", CHUNK_DATA, "ab", 0},
        {"3\r\nabc", CHUNK_DATA_CR, "abc", 0},
        {"3\r\nabcd", CHUNK_BAD, "abc", 0},
        {"3\nabc", CHUNK_BAD, "", 3},
        {"3 \r\nabc", CHUNK_BAD, "", 5},
        {"\r\n", CHUNK_BAD, "", 1},
        {";x\r\n", CHUNK_BAD, "", 3},
        {"g\r\n", CHUNK_BAD, "", 2},
        {"-1\r\n", CHUNK_BAD, "", 3},
        {"0x3\r\nabc", CHUNK_BAD, "", 6},
        {"000000003\r\nabc", CHUNK_BAD, "", 5},
        {"3\r\nabc\r\n\r\n", CHUNK_BAD, "abc", 1},
        {"3\r\nabc\rX", CHUNK_BAD, "abc", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        for (size_t piece = 1; piece < 20; piece++) {
            enum chunk_state end;
            char out[256];
            size_t used = decode(rows[i].text, piece, &end, out);
            if (end != rows[i].end)
                fail_msg("%s: state %d", rows[i].text, (int)end);
            assert_string_equal(out, rows[i].data);
            assert_int_equal(used, strlen(rows[i].text) - rows[i].left);
        }
    }
}

static void extensions_are_bounded_over_the_whole_body(void **state) {
    (void)state;
    struct chunk c;
    struct span data;
    chunk_init(&c);
    size_t chunks = 0;
    while (c.state != CHUNK_BAD && chunks++ < 1000) {
        struct span s = span_text("1;0123456789\r\n");
        (void)chunk_take(&c, s, &data);
        if (c.state != CHUNK_BAD)
            (void)chunk_take(&c, span_text("x"), &data),
                (void)chunk_take(&c, span_text("\r\n"), &data);
    }
    assert_in_range(chunks, CHUNK_EXTENSION_BYTES / 11, CHUNK_EXTENSION_BYTES / 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table), cmocka_unit_test(extensions_are_bounded_over_the_whole_body)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
