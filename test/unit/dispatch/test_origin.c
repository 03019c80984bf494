/*
 * Which URLs need nothing of curl but the connection, and what a request looks like then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dispatch/origin.h"

static void assert_goes(const char *url, const char *host, const char *path) {
    struct origin o;
    assert_int_equal(origin_init(&o, url), 0);
    assert_int_equal(o.usable, host != NULL);
    assert_int_equal(origin_may(&o, "POST"), host != NULL);
    if (host != NULL) {
        assert_string_equal(o.host, host);
        assert_string_equal(o.path, path);
    }
    origin_release(&o);
}

static void plain_ones_and_others(void **state) {
    (void)state;
    assert_goes("http://a.example/x", "a.example", "/x");
    assert_goes("http://a.example", "a.example", "/");
    assert_goes("http://a.example:80/", "a.example", "/");
    assert_goes("http://a.example:8080/../x?y=1&z#f", "a.example:8080", "/../x?y=1&z");
    assert_goes("http://127.0.0.1:9/%0d%0ax", "127.0.0.1:9", "/%0d%0ax");
    assert_goes("http://[::1]:8080/x", "[::1]:8080", "/x");
    assert_goes("https://a.example/x", NULL, NULL);
    assert_goes("http://user:word@a.example/x", NULL, NULL);
    assert_goes("http://[fe80::1%25eth0]/x", NULL, NULL);
    assert_goes("http://b\xc3\xbc.example/x", NULL, NULL);
    assert_goes("http://a.example/x\r\nHost: b", NULL, NULL);
    assert_goes("http://a.example/x y", NULL, NULL);
    assert_goes("", NULL, NULL);
}

static void methods_that_curl_knows_better(void **state) {
    (void)state;
    struct origin o;
    assert_int_equal(origin_init(&o, "http://a.example/"), 0);
    assert_true(origin_may(&o, "HEAD"));
    assert_false(origin_may(&o, "CONNECT"));
    assert_false(origin_may(&o, "PROPFIND"));
    origin_release(&o);
}

static void assert_head(const char *method, struct header_list *own, struct header_list *more,
                        const char *expected) {
    struct origin o;
    struct buffer out;
    buffer_init(&out, 1000);
    assert_int_equal(origin_init(&o, "http://a.example/x?y"), 0);
    struct origin_request r = {.method = method,
                               .user_agent = "sluice/1",
                               .body = span_text("body"),
                               .headers = own,
                               .more = more};
    assert_int_equal(origin_write_head(&o, &r, &out), 0);
    assert_int_equal(buffer_put_u8(&out, 0), 0);
    assert_string_equal((const char *)out.data, expected);
    buffer_release(&out);
    origin_release(&o);
}

static void a_head_as_curl_has_it(void **state) {
    (void)state;
    struct header_list own, more;
    header_list_init(&own);
    header_list_init(&more);
    assert_head("POST", &own, &more,
                "POST /x?y HTTP/1.1\r\nHost: a.example\r\nUser-Agent: sluice/1\r\nAccept: */*\r\n"
                "Content-Length: 4\r\n\r\n");
    header_list_suppress(&own, "Content-Type");
    header_list_add_text(&own, "X-Empty", "");
    header_list_add_text(&own, "X-Own", " a: b ");
    header_list_add_text(&own, "X-Split", "a\r\nEvil: b");
    header_list_add_lines(&more, span_text("accept: text/plain\nUSER-AGENT: me\n"), NULL);
    assert_head("GET", &own, &more,
                "GET /x?y HTTP/1.1\r\nHost: a.example\r\nX-Empty:\r\nX-Own: a: b\r\n"
                "accept: text/plain\r\nUSER-AGENT: me\r\n\r\n");
    header_list_release(&own);
    header_list_release(&more);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_ones_and_others),
        cmocka_unit_test(methods_that_curl_knows_better),
        cmocka_unit_test(a_head_as_curl_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
