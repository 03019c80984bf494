#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "app/config/yaml_tree.h"
#include "base/error.h"

static void scalars_have_their_types(void **state) {
    (void)state;
    static const char text[] =
        "a: 1\nb: -1.5\nc: true\nd: ~\ne: text\nf: \"1\"\ng: 'true'\n"
        "h: 2030-01-01T00:00:00Z\ni: 10s\nj: +10s\nk: .5\nl: 1e3\nm:\n"
        "n: 0x10\no: |\n  line\np: [1, two, {x: 3}]\nq: 99999999999999999999\n"
        "r: 127.0.0.1\ns: 1.2.3\n";
    static const char expected[] =
        "{\"a\":1,\"b\":-1.5,\"c\":true,\"d\":null,\"e\":\"text\",\"f\":\"1\",\"g\":\"true\","
        "\"h\":\"2030-01-01T00:00:00Z\",\"i\":\"10s\",\"j\":\"+10s\",\"k\":0.5,\"l\":1000.0,"
        "\"m\":null,\"n\":\"0x10\",\"o\":\"line\\n\",\"p\":[1,\"two\",{\"x\":3}],\"q\":1e20,"
        "\"r\":\"127.0.0.1\",\"s\":\"1.2.3\"}";
    struct yaml_tree y;
    struct yaml_fault fault;
    assert_int_equal(yaml_tree_read(span_text(text), &y, &fault), 0);
    json_t *wanted = json_loads(expected, 0, NULL);
    assert_non_null(wanted);
    assert_true(json_equal(y.tree, wanted));
    json_decref(wanted);
    yaml_tree_release(&y);
}

static void every_value_knows_its_place(void **state) {
    (void)state;
    static const char text[] =
        "# a comment\nqueues:\n  - name: q\n    limits: {a: 1,\n      b: 2}\n"
        "  - name: r\n";
    static const struct {
        const char *pointer;
        uint32_t line, column;
    } rows[] = {
        {"/queues", 2, 1},
        {"/queues/0/name", 3, 5},
        {"/queues/0/limits/a", 4, 14},
        {"/queues/0/limits/b", 5, 7},
        {"/queues/1", 6, 5},
        {"/queues/1/missing/more", 6, 5}, /* the nearest around it */
        {"/none", 1, 1},
        {"", 1, 1},
    };
    struct yaml_tree y;
    struct yaml_fault fault;
    assert_int_equal(yaml_tree_read(span_text(text), &y, &fault), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct yaml_place p = yaml_tree_find(&y, rows[i].pointer);
        if (p.line != rows[i].line || p.column != rows[i].column) {
            fail_msg("%s: %u:%u", rows[i].pointer, p.line, p.column);
        }
    }
    yaml_tree_release(&y);
}

static void what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t line;
        const char *part;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", 3, "\"a\" stands here twice"},
        {"a: &x 1\nb: *x\n", 2, "aliases"},
        {"a: !!str 1\n", 1, "tags"},
        {"a: !!map {}\n", 1, "tags"},
        {"a: {<<: {b: 1}}\n", 1, "merge"},
        {"a: 1\n---\nb: 2\n", 2, "one document"},
        {"- 1\n", 1, "names and values"},
        {"text\n", 1, "names and values"},
        {"a: [1, 2\nb: 3\n", 2, ""},
        {"a: \"x\n", 2, ""},
        {"? [a]\n: b\n", 1, "expected a name"},
        {"a: \"\\0\"\n", 1, "NUL"},
        {"\tx: 1\n", 1, ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct yaml_tree y;
        struct yaml_fault fault;
        assert_int_equal(yaml_tree_read(span_text(rows[i].text), &y, &fault), E_INVALID);
        if (fault.place.line != rows[i].line || strstr(fault.reason, rows[i].part) == NULL) {
            fail_msg("%s: line %u: %s", rows[i].text, fault.place.line, fault.reason);
        }
    }
}

static void depth_is_bounded_and_nothing_is_fine(void **state) {
    (void)state;
    char deep[200] = "a: ";
    memset(deep + 3, '[', YAML_DEPTH_MAX + 1);
    struct yaml_tree y;
    struct yaml_fault fault;
    assert_int_equal(yaml_tree_read(span_text(deep), &y, &fault), E_INVALID);
    assert_non_null(strstr(fault.reason, "deep"));
    static const char *const empty[] = {"", "# nothing\n", "---\n", "~\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(empty); i++) {
        assert_int_equal(yaml_tree_read(span_text(empty[i]), &y, &fault), 0);
        assert_int_equal(json_object_size(y.tree), 0);
        yaml_tree_release(&y);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_have_their_types),
        cmocka_unit_test(every_value_knows_its_place),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(depth_is_bounded_and_nothing_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
