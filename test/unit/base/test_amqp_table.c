#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "base/wire.h"

#define BYTES(text) span_of(text, sizeof(text) - 1)

static void every_type_is_read(void **state) {
    (void)state;
    struct span t = BYTES("\1a"
                          "t\1"
                          "\1b"
                          "b\xff"
                          "\1c"
                          "B\xff"
                          "\1d"
                          "s\xff\xfe"
                          "\1e"
                          "u\xff\xfe"
                          "\1f"
                          "I\xff\xff\xff\xff"
                          "\1g"
                          "i\xff\xff\xff\xff"
                          "\1h"
                          "l\xff\xff\xff\xff\xff\xff\xff\xfb"
                          "\1i"
                          "L\xff\xff\xff\xff\xff\xff\xff\xfb"
                          "\1j"
                          "f\x3f\xc0\0\0"
                          "\1k"
                          "d\x3f\xf8\0\0\0\0\0\0"
                          "\1l"
                          "D\2\0\0\1\x2c"
                          "\1m"
                          "S\0\0\0\2hi"
                          "\1n"
                          "A\0\0\0\4t\0b\5"
                          "\1o"
                          "T\0\0\0\0\0\0\0\x9"
                          "\1p"
                          "F\0\0\0\3\1zV"
                          "\1q"
                          "V"
                          "\1r"
                          "x\0\0\0\1\0");
    assert_true(amqp_table_valid(t));
    struct amqp_field f;
    char expected = 'a';
    for (struct span rest = t; amqp_table_next(&rest, &f); expected++)
        assert_true(f.name.size == 1 && f.name.data[0] == expected);
    assert_int_equal(expected, 'r' + 1);
    const struct {
        const char *name;
        int64_t value;
    } integers[] = {{"b", -1}, {"c", 255},        {"d", -2}, {"e", 65534},
                    {"f", -1}, {"g", 4294967295}, {"h", -5}, {"o", 9}};
    for (size_t i = 0; i < ARRAY_LENGTH(integers); i++) {
        int64_t v;
        assert_true(amqp_table_find(t, integers[i].name, &f));
        assert_true(amqp_field_integer(&f, &v));
        assert_true(v == integers[i].value);
    }
    int64_t none;
    assert_true(amqp_table_find(t, "i", &f) && f.as.natural == UINT64_MAX - 4);
    assert_false(amqp_field_integer(&f, &none));
    assert_true(amqp_table_find(t, "j", &f) && f.as.real > 1.49 && f.as.real < 1.51);
    assert_true(amqp_table_find(t, "k", &f) && f.as.real > 1.49 && f.as.real < 1.51);
    assert_true(amqp_table_find(t, "l", &f) && f.as.decimal.scale == 2 &&
                f.as.decimal.value == 300);
    struct span text;
    assert_true(amqp_table_find(t, "m", &f));
    assert_true(amqp_field_text(&f, &text) && span_is(text, "hi"));
    assert_true(amqp_table_find(t, "n", &f) && amqp_array_next(&f.as.bytes, &f) && f.type == 't');
    assert_true(amqp_table_find(t, "p", &f) && amqp_table_find(f.as.bytes, "z", &f));
    assert_true(amqp_table_find(t, "r", &f) && f.as.bytes.size == 1);
    assert_false(amqp_table_find(t, "s", &f));
}

static void what_is_cut_or_unknown_is_refused(void **state) {
    (void)state;
    struct span t = BYTES("\1m"
                          "S\0\0\0\2hi"
                          "\1p"
                          "F\0\0\0\7\1zI\0\0\0\1");
    assert_true(amqp_table_valid(t));
    for (size_t size = 1; size < t.size; size++)
        assert_true(amqp_table_valid(span_of(t.data, size)) == (size == 9));
    assert_false(amqp_table_valid(BYTES("\1aZ")));
    assert_false(amqp_table_valid(BYTES("\1aS\xff\xff\xff\xff")));
    assert_false(amqp_table_valid(BYTES("\1aF\0\0\0\1\1")));
    assert_false(amqp_array_valid(BYTES("S\0\0\0\3ab")));
    struct reader r;
    reader_init(&r, BYTES("\0\0\0\3\1aZ"));
    assert_int_equal(amqp_table_get(&r).size, 0);
    assert_true(r.failed);
}

/* Tables in tables: `levels` with the outermost. */
static struct span nest(uint8_t *room, size_t size, uint32_t levels) {
    uint8_t *at = room + size;
    for (uint32_t i = 1; i < levels; i++) {
        size_t inner = (size_t)(room + size - at);
        at -= 7;
        memcpy(at, "\1nF", 3);
        wire_put_u32(at + 3, (uint32_t)inner);
    }
    return span_of(at, (size_t)(room + size - at));
}

static void depth_is_bounded(void **state) {
    (void)state;
    uint8_t room[1024];
    assert_true(amqp_table_valid(nest(room, sizeof room, AMQP_TABLE_DEPTH)));
    assert_false(amqp_table_valid(nest(room, sizeof room, AMQP_TABLE_DEPTH + 1)));
}

static void what_is_written_is_read(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, 4096);
    struct amqp_table_out t;
    amqp_table_begin(&t, &out);
    amqp_put_text(&t, "product", span_text("x"));
    size_t inner = amqp_put_open(&t, "capabilities", 'F');
    amqp_put_bool(&t, "basic.nack", true);
    amqp_put_close(&t, inner);
    inner = amqp_put_open(&t, "list", 'A');
    amqp_put_i32(&t, NULL, -7);
    amqp_put_i64(&t, NULL, 8);
    amqp_put_close(&t, inner);
    amqp_put_time(&t, "when", 9);
    assert_int_equal(amqp_table_end(&t), 0);
    struct reader r;
    reader_init(&r, buffer_span(&out));
    struct span table = amqp_table_get(&r);
    assert_true(reader_done(&r));
    struct amqp_field f;
    assert_true(amqp_table_find(table, "capabilities", &f));
    assert_true(amqp_table_find(f.as.bytes, "basic.nack", &f) && f.as.boolean);
    assert_true(amqp_table_find(table, "list", &f));
    struct amqp_field e;
    assert_true(amqp_array_next(&f.as.bytes, &e) && e.as.integer == -7);
    assert_true(amqp_array_next(&f.as.bytes, &e) && e.as.integer == 8);
    assert_false(amqp_array_next(&f.as.bytes, &e));
    buffer_release(&out);
}

static void a_full_buffer_is_left_as_it_was(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, 20);
    assert_int_equal(buffer_put_u8(&out, 1), 0);
    struct amqp_table_out t;
    amqp_table_begin(&t, &out);
    size_t inner = amqp_put_open(&t, "much", 'F');
    amqp_put_text(&t, "text", span_text("that does not fit"));
    amqp_put_close(&t, inner);
    assert_int_equal(amqp_table_end(&t), E_LIMIT);
    assert_int_equal(out.size, 1);
    buffer_release(&out);
}

static void equality_looks_at_values(void **state) {
    (void)state;
    struct span a = BYTES("\1aI\0\0\0\5"
                          "\1bS\0\0\0\1x");
    assert_true(amqp_table_equal(a, BYTES("\1bS\0\0\0\1x"
                                          "\1al\0\0\0\0\0\0\0\5")));
    assert_false(amqp_table_equal(a, BYTES("\1bS\0\0\0\1x"
                                           "\1al\0\0\0\0\0\0\0\6")));
    assert_false(amqp_table_equal(a, BYTES("\1aI\0\0\0\5")));
    assert_false(amqp_table_equal(BYTES("\1aI\0\0\0\5"), a));
    assert_false(amqp_table_equal(BYTES("\1aI\0\0\0\5"), BYTES("\1aT\0\0\0\0\0\0\0\5")));
    assert_true(amqp_table_equal(BYTES("\1aA\0\0\0\2b\1"), BYTES("\1aA\0\0\0\2B\1")));
    assert_false(amqp_table_equal(BYTES("\1aA\0\0\0\2b\1"), BYTES("\1aA\0\0\0\4B\1b\1")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(what_is_cut_or_unknown_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_full_buffer_is_left_as_it_was),
        cmocka_unit_test(equality_looks_at_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
