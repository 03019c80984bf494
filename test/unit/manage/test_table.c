#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "manage/calls.h"

static struct buffer room;

static int begin(void **state) {
    buffer_init(&room, 1 << 16);
    return 0;
}

static int end(void **state) {
    buffer_release(&room);
    return 0;
}

static int read_text(const char *text, struct span *ret) {
    json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(object);
    int error = table_from_json(object, &room, ret);
    json_decref(object);
    return error;
}

static void there_and_back(void **state) {
    static const char text[] =
        "{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":[1.5,null,[\"y\"]],\"e\":{\"f\":-9}}";
    struct span entries;
    assert_int_equal(read_text(text, &entries), 0);
    json_t *back = table_to_json(entries);
    char *shown = json_dumps(back, JSON_COMPACT);
    assert_string_equal(shown, text);
    free(shown);
    json_decref(back);
}

static void what_is_no_table(void **state) {
    struct span entries;
    char deep[128] = "";
    assert_int_equal(read_text("[1]", &entries), E_INVALID);
    assert_int_equal(read_text("\"x\"", &entries), E_INVALID);
    assert_int_equal(read_text("[]", &entries), 0); /* RabbitMQ writes it for {} */
    assert_int_equal(entries.size, 0);
    for (int i = 0; i < 40; i++)
        strcat(deep, "[");
    char text[256];
    snprintf(text, sizeof text, "{\"a\":%s%.*s}", deep, 40,
             "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    assert_int_equal(read_text(text, &entries), E_INVALID);
}

static void bytes_that_are_no_text(void **state) {
    json_t *value = text_to_json(span_of("\xff\x00", 2));
    assert_string_equal(json_string_value(value), "/wA=");
    json_decref(value);
}

static void properties(void **state) {
    static const char text[] = "{\"content_type\":\"a/b\",\"message_id\":\"m\",\"delivery_mode\":2,"
                               "\"priority\":3,\"headers\":{\"h\":1}}";
    json_t *object = json_loads(text, 0, NULL);
    assert_int_equal(properties_from_json(object, &room), 0);
    json_t *back = properties_to_json(buffer_span(&room));
    assert_true(json_equal(object, back));
    json_decref(back);
    json_object_set_new(object, "expiration", json_string("soon"));
    assert_int_equal(properties_from_json(object, &room), E_INVALID);
    json_object_set_new(object, "expiration", json_string("999999999999"));
    assert_int_equal(properties_from_json(object, &room), E_INVALID);
    json_decref(object);
}

static void keys_of_bindings(void **state) {
    struct binding b = {.routing_key = span_text("a.*")};
    char key[PROPERTIES_KEY_BYTES], other[PROPERTIES_KEY_BYTES];
    binding_properties_key(&b, key);
    assert_string_equal(key, "a.%2A");
    b.routing_key = span_text("");
    binding_properties_key(&b, key);
    assert_string_equal(key, "~");
    b.arguments = span_text("\1at\1");
    binding_properties_key(&b, key);
    b.arguments = span_text("\1bt\1");
    binding_properties_key(&b, other);
    assert_string_not_equal(key, other);
}

static void tags(void **state) {
    assert_int_equal(manage_tags(span_text("")), 0);
    assert_int_equal(manage_tags(span_text("administrator,monitoring")),
                     USER_ADMINISTRATOR | USER_MONITORING);
    assert_int_equal(manage_tags(span_text("administrators, administrator")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(there_and_back, begin, end),
        cmocka_unit_test_setup_teardown(what_is_no_table, begin, end),
        cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test_setup_teardown(properties, begin, end),
        cmocka_unit_test(keys_of_bindings),
        cmocka_unit_test(tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
