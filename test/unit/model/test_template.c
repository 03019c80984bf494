#include "model/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"

static int lookup(void *context, struct span place, struct span *ret) {
    const char *value = span_is(place, "receipt")        ? "r1"
                        : span_is(place, "orderingKey")  ? "a b/../ü"
                        : span_is(place, "header.Dots")  ? ".."
                        : span_is(place, "header.Verb")  ? "PUT"
                        : span_is(place, "header.Break") ? "x\r\nHost: evil"
                        : span_is(place, "queue")        ? ""
                                                         : NULL;
    (void)context;
    if (value == NULL)
        return E_NOT_FOUND;
    *ret = span_text(value);
    return 0;
}

static void expands(const char *text, enum template_for target, int rc, const char *expected) {
    struct buffer out;
    struct span place = span_of(NULL, 0);
    buffer_init(&out, 1000);
    assert_int_equal(template_expand(text, target, lookup, NULL, &out, &place), rc);
    if (rc == 0)
        assert_true(span_is(buffer_span(&out), expected));
    else
        assert_true(place.size > 0 || rc == E_INVALID);
    buffer_release(&out);
}

static void places_are_filled(void **state) {
    (void)state;
    expands("plain", TEMPLATE_LINE, 0, "plain");
    expands("{receipt}", TEMPLATE_LINE, 0, "r1");
    expands("a{receipt}b{{c}}{queue}", TEMPLATE_LINE, 0, "ar1b{c}");
    expands("{header.Verb}", TEMPLATE_WORD, 0, "PUT");
}

static void a_value_cannot_change_what_stands_around_it(void **state) {
    (void)state;
    expands("http://h/{orderingKey}?q", TEMPLATE_URL, 0, "http://h/a%20b%2F..%2F%C3%BC?q");
    expands("http://h/{header.Dots}/x", TEMPLATE_URL, E_INVALID, NULL);
    expands("{header.Break}", TEMPLATE_LINE, E_INVALID, NULL);
    expands("{orderingKey}", TEMPLATE_WORD, E_INVALID, NULL);
    expands("{queue}", TEMPLATE_WORD, E_INVALID, NULL);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    struct buffer out;
    struct span place;
    buffer_init(&out, 1000);
    int rc = template_expand("/{header.None}/", TEMPLATE_URL, lookup, NULL, &out, &place);
    assert_int_equal(rc, E_NOT_FOUND);
    assert_true(span_is(place, "header.None"));
    buffer_release(&out);
    buffer_init(&out, 4);
    rc = template_expand("12345", TEMPLATE_URL, lookup, NULL, &out, &place);
    assert_int_equal(rc, E_LIMIT);
    buffer_release(&out);
}

static void only_known_places_are_defined(void **state) {
    (void)state;
    static const char *const good[] = {
        "", "x", "{receipt}", "{header.X-Order_Id}", "{body:/a/b~1c}", "{{}}", "{{receipt}}"};
    static const char *const bad[] = {"{",        "}",         "{}",           "{receipt",
                                      "receipt}", "{Receipt}", "{header.}",    "{header.a b}",
                                      "{body:a}", "{body:/}",  "{a{receipt}}", "{{receipt}"};
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++)
        assert_null(template_problem(good[i]));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        assert_non_null(template_problem(bad[i]));
    assert_true(template_has_places("a{queue}") && !template_has_places("a"));
}

static void whom_to_call_is_not_the_messages_to_say(void **state) {
    (void)state;
    assert_true(template_url_host_is_fixed("https://h:1/{receipt}"));
    assert_true(template_url_host_is_fixed("https://h?x={receipt}"));
    assert_false(template_url_host_is_fixed("https://{header.Host}/"));
    assert_false(template_url_host_is_fixed("https://h:{header.Port}/"));
    assert_false(template_url_host_is_fixed("{header.Url}"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_filled),
        cmocka_unit_test(a_value_cannot_change_what_stands_around_it),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(only_known_places_are_defined),
        cmocka_unit_test(whom_to_call_is_not_the_messages_to_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
