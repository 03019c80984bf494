#include "dispatch/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

static struct event an_event(const char *content_type) {
    struct event e = {.id = span_text("r1-f"),
                      .source = span_text("/queues/\"q\""),
                      .type = span_text("order.paid"),
                      .content_type = span_text(content_type)};
    strcpy(e.time, "2030-01-02T03:04:05.678Z");
    return e;
}

static json_t *body_of(const char *content_type, struct span body) {
    struct event e = an_event(content_type);
    struct buffer out;
    buffer_init(&out, 4096);
    assert_int_equal(event_body(&e, body, &out), 0);
    json_t *value = json_loadb((const char *)out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    buffer_release(&out);
    return value;
}

static const char *text(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static void json_stands_in_data(void **state) {
    (void)state;
    json_t *e = body_of("application/json; charset=utf-8", span_text("{\"n\":[1,null]}"));
    assert_string_equal(text(e, "specversion"), "1.0");
    assert_string_equal(text(e, "source"), "/queues/\"q\"");
    assert_string_equal(text(e, "type"), "order.paid");
    assert_string_equal(text(e, "datacontenttype"), "application/json; charset=utf-8");
    assert_int_equal(json_array_size(json_object_get(json_object_get(e, "data"), "n")), 2);
    assert_null(json_object_get(e, "subject"));
    json_decref(e);
}

static void anything_else_in_base64(void **state) {
    (void)state;
    json_t *e = body_of("text/plain", span_of("a\0b", 3));
    assert_string_equal(text(e, "data_base64"), "YQBi");
    assert_null(json_object_get(e, "data"));
    json_decref(e);
    e = body_of("application/json", span_text("{not json"));
    assert_non_null(json_object_get(e, "data_base64"));
    json_decref(e);
    e = body_of("", span_of(NULL, 0));
    assert_null(json_object_get(e, "data"));
    assert_null(json_object_get(e, "data_base64"));
    json_decref(e);
}

static void attributes_fit_into_headers(void **state) {
    (void)state;
    struct event e = an_event("");
    struct header_list l, none;
    header_list_init(&l);
    header_list_init(&none);
    e.subject = span_text("k\xc3\xa4 %");
    event_headers(&e, &l);
    assert_int_equal(l.failed, 0);
    bool source = false, subject = false;
    for (struct curl_slist *n = header_list_curl(&l, &none); n != NULL; n = n->next) {
        source |= strcmp(n->data, "ce-source: /queues/%22q%22") == 0;
        subject |= strcmp(n->data, "ce-subject: k%C3%A4%20%25") == 0;
    }
    assert_true(source && subject);
    header_list_release(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_stands_in_data),
        cmocka_unit_test(anything_else_in_base64),
        cmocka_unit_test(attributes_fit_into_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
