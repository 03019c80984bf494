#include "http/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/compiler.h"

static struct http_limits limits;

static const char POST_TEXT[] = "\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nX-Thing:  some thing \r\n"
                                "Content-Length: 5\r\n\r\nhello";
static const char CHUNKED_TEXT[] =
    "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    "3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n";

/* Feeds text in pieces that end at `cut` and at `cut2`. */
static size_t feed(struct http_request *r, const char *text, size_t cut, size_t cut2) {
    size_t ends[3] = {cut, cut2, strlen(text)};
    size_t used = 0;
    for (int i = 0; i < 3; i++) {
        while (used < ends[i] && r->phase < REQUEST_DONE)
            used += http_request_take(r, &limits, span_of(text + used, ends[i] - used));
    }
    return used;
}

static int set_limits(void **state) {
    (void)state;
    http_limits_default(&limits);
    return 0;
}

static void whole_whatever_the_cuts(void **state) {
    (void)state;
    struct http_request r;
    http_request_init(&r);
    for (size_t cut = 0; cut < sizeof POST_TEXT; cut++) {
        for (size_t cut2 = cut; cut2 < sizeof POST_TEXT - 1; cut2++) {
            assert_int_equal(feed(&r, POST_TEXT, cut, cut2), sizeof POST_TEXT - 1);
            assert_int_equal(r.phase, REQUEST_DONE);
            assert_int_equal(r.method, HTTP_POST_);
            assert_true(span_is(r.path, "/a") && span_is(r.query, "b") && r.keep_alive);
            assert_true(span_is(http_request_header(&r, "x-thing"), "some thing"));
            assert_null(http_request_header(&r, "x-thin").data);
            assert_true(span_is(buffer_span(&r.body), "hello"));
            http_request_clear(&r);
        }
    }
    http_request_release(&r);
}

static void chunked_whatever_the_cuts(void **state) {
    (void)state;
    struct http_request r;
    http_request_init(&r);
    for (size_t cut = 0; cut < sizeof CHUNKED_TEXT; cut++) {
        for (size_t cut2 = cut; cut2 < sizeof CHUNKED_TEXT - 1; cut2++) {
            assert_int_equal(feed(&r, CHUNKED_TEXT, cut, cut2), sizeof CHUNKED_TEXT - 1);
            assert_int_equal(r.phase, REQUEST_DONE);
            assert_true(span_is(buffer_span(&r.body), "abcde"));
            http_request_clear(&r);
        }
    }
    http_request_release(&r);
}

static void leaves_what_follows(void **state) {
    (void)state;
    struct http_request r;
    http_request_init(&r);
    const char *text = "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /next";
    assert_int_equal(feed(&r, text, 0, 0), strlen(text) - 9);
    assert_int_equal(r.phase, REQUEST_DONE);
    http_request_release(&r);
}

static void pauses_between_head_and_body(void **state) {
    (void)state;
    struct http_request r;
    http_request_init(&r);
    struct span text = span_text(POST_TEXT);
    assert_int_equal(http_request_take(&r, &limits, text), text.size - 5);
    assert_true(http_request_in_body(&r));
    assert_int_equal(http_request_take(&r, &limits, span_of(text.data + text.size - 5, 5)), 5);
    assert_int_equal(r.phase, REQUEST_DONE);
    http_request_release(&r);
}

static void body_limits(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789", 0},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
         "chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
         0},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n", 413},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n2\r\n",
         413},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413},
    };
    limits.body_bytes = 10;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        for (size_t cut = 0; cut < strlen(rows[i].text); cut++) {
            struct http_request r;
            http_request_init(&r);
            feed(&r, rows[i].text, cut, cut);
            assert_int_equal(r.phase, rows[i].status == 0 ? REQUEST_DONE : REQUEST_BAD);
            if (rows[i].status != 0)
                assert_int_equal(r.status, rows[i].status);
            http_request_release(&r);
        }
    }
    http_limits_default(&limits);
}

static void memory_follows_what_arrived(void **state) {
    (void)state;
    struct http_request r;
    http_request_init(&r);
    const char *text = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nx";
    feed(&r, text, 0, 0);
    assert_in_range(http_request_memory_bytes(&r), 1, 4096);
    http_request_release(&r);
}

static void empty_lines_before(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 0},
        {"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"\r\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct http_request r;
        http_request_init(&r);
        feed(&r, rows[i].text, 1, 2);
        assert_int_equal(r.phase, rows[i].status == 0 ? REQUEST_DONE : REQUEST_BAD);
        http_request_release(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_whatever_the_cuts),
        cmocka_unit_test(chunked_whatever_the_cuts),
        cmocka_unit_test(leaves_what_follows),
        cmocka_unit_test(pauses_between_head_and_body),
        cmocka_unit_test(body_limits),
        cmocka_unit_test(memory_follows_what_arrived),
        cmocka_unit_test(empty_lines_before),
    };
    return cmocka_run_group_tests(tests, set_limits, NULL);
}
