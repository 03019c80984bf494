#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/clock.h"
#include "model/destination_state.h"

static struct destination_def good(void) {
    struct destination_def def;
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("out")), 0);
    assert_int_equal(def_set_text(&def.url, span_text("https://provider.example/v1/send?x=%20")),
                     0);
    return def;
}

static void expect(struct destination_def *def, const char *expected_pointer) {
    const char *pointer = NULL;
    const char *problem = destination_def_problem(def, &pointer);
    if (expected_pointer == NULL) {
        assert_null(problem);
    } else {
        assert_non_null(problem);
        assert_string_equal(pointer, expected_pointer);
    }
    destination_def_release(def);
}

static void expect_text(size_t offset, const char *value, const char *expected_pointer) {
    struct destination_def def = good();
    char **field = (char **)(void *)((char *)&def + offset);
    assert_int_equal(def_set_text(field, span_text(value)), 0);
    expect(&def, expected_pointer);
}

#define TEXT(field, value, pointer)                                                                \
    expect_text(offsetof(struct destination_def, field), value, pointer)

static void defaults_are_fine(void **state) {
    (void)state;
    struct destination_def def = good();
    expect(&def, NULL);
}

static void urls(void **state) {
    (void)state;
    TEXT(url, "http://h", NULL);
    TEXT(url, "HTTP://h:80/", NULL);
    TEXT(url, "https://[2001:db8::1]:8443/a", NULL);
    TEXT(url, "https://[2001:db8::1]/a", NULL);
    TEXT(url, "http://h:65535?a=b:c", NULL);
    static const char *const bad[] = {"",
                                      "ftp://h/",
                                      "file:///etc/passwd",
                                      "h/path",
                                      "http://",
                                      "http:///path",
                                      "http://:80/",
                                      "http://h:0/",
                                      "http://h:65536",
                                      "http://h:99999999999999999999/",
                                      "http://h:abc/",
                                      "http://[::1]:80x/",
                                      "http://?q",
                                      "http://user:secret@h/",
                                      "http://h/a b",
                                      "http://h/\r\nX: 1",
                                      "http://h/\xc3\xbc"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        TEXT(url, bad[i], "/url");
    }
    TEXT(url, "http://h/?to=a@b", NULL);
}

static void methods_and_headers(void **state) {
    (void)state;
    TEXT(method, "PATCH", NULL);
    TEXT(method, "", "/method");
    TEXT(method, "post", "/method");
    TEXT(method, "GET /x", "/method");
    TEXT(headers, "A: 1\nB-c:\n", NULL);
    TEXT(headers, "no colon", "/headers");
    TEXT(headers, ": value", "/headers");
    TEXT(headers, "A: 1\n\nB: 1", "/headers");
    TEXT(headers, "A: 1\r\n", "/headers");
    TEXT(headers, "A b: 1", "/headers");
    TEXT(headers, "content-length: 1", "/headers");
    TEXT(headers, "Idempotency-Key: 1", "/headers");
}

static void lists_of_statuses(void **state) {
    (void)state;
    static const char *const fine[] = {"", "429", "408,425,429,500-599", "100-599", "429, 503"};
    static const char *const bad[] = {"x",       "42",   "4290", "99",      "600", "500-",
                                      "500-400", "429,", ",429", "429;503", "-5",  "500-599-600"};
    for (size_t i = 0; i < ARRAY_LENGTH(fine); i++) {
        assert_true(status_list_valid(fine[i]));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_false(status_list_valid(bad[i]));
        TEXT(retry_statuses, bad[i], "/retryStatuses");
    }
    const char *list = "408,425, 429,500-599";
    for (unsigned status = 100; status < 600; status++) {
        bool in = status == 408 || status == 425 || status == 429 || status >= 500;
        assert_int_equal(status_list_has(list, status), in);
    }
    assert_false(status_list_has("", 500));
    TEXT(confirm.statuses, "202,204-299", NULL);
    TEXT(confirm.statuses, "200-399", "/confirmation/statuses"); /* it would wait for nobody */
    TEXT(confirm.statuses, "102", "/confirmation/statuses");
    TEXT(confirm.statuses, "202,", "/confirmation/statuses");
}

static void numbers(void **state) {
    (void)state;
    struct destination_def def = good();
    def.timeout_ns = 0;
    expect(&def, "/timeout");
    def = good();
    def.connect_timeout_ns = UINT64_MAX;
    expect(&def, "/connectTimeout");
    def = good();
    def.first_byte_timeout_ns = UINT64_MAX;
    expect(&def, "/firstByteTimeout");
    def = good();
    def.max_response_bytes = UINT32_MAX;
    expect(&def, "/maxResponseBytes");
    def = good();
    def.pace.count = PACE_COUNT_MAX + 1;
    expect(&def, "/rateLimits/maxDispatchesPerSecond");
    def = good();
    def.pace.count = 10;
    def.pace.period_ns = 0;
    expect(&def, "/rateLimits/maxDispatchesPerSecond");
    def = good();
    def.pace.count = 1;
    def.pace.period_ns = 86400 * NS_PER_SECOND;
    def.pace.burst = PACE_COUNT_MAX;
    expect(&def, "/rateLimits/maxBurstSize");
}

static void names(void **state) {
    (void)state;
    TEXT(name, "a.b_c-1", NULL);
    TEXT(name, "", "/name");
    TEXT(name, "-a", "/name");
    TEXT(name, "a/b", "/name");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_fine),
        cmocka_unit_test(urls),
        cmocka_unit_test(methods_and_headers),
        cmocka_unit_test(lists_of_statuses),
        cmocka_unit_test(numbers),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
