#include "http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/error.h"

static int understand(const char *text, struct head_facts *f) {
    static struct http_header room[8];
    struct parsed_head parsed = {.headers = room, .header_room = ARRAY_LENGTH(room)};
    return head_understand(span_text(text), &parsed, f);
}

#define H " HTTP/1.1\r\nHost: h\r\n"

static void targets(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
        const char *path, *query;
    } rows[] = {
        {"GET /" H "\r\n", 0, "/", ""},
        {"GET /a/b?c=d" H "\r\n", 0, "/a/b", "c=d"},
        {"GET /a?b?c" H "\r\n", 0, "/a", "b?c"},
        {"GET //a" H "\r\n", 0, "//a", ""},
        {"GET http://x/a?b" H "\r\n", 0, "/a", "b"},
        {"GET http://x" H "\r\n", 0, "/", ""},
        {"GET http://x?b" H "\r\n", 0, "/", "b"},
        {"GET HTTPS://x:1/" H "\r\n", 0, "/", ""},
        {"OPTIONS *" H "\r\n", 0, "*", ""},
        {"GET *" H "\r\n", 400, NULL, NULL},
        {"GET http://" H "\r\n", 400, NULL, NULL},
        {"GET x" H "\r\n", 400, NULL, NULL},
        {"FOO /" H "\r\n", 405, NULL, NULL},
        {"PRI / HTTP/2.0\r\nHost: h\r\n\r\n", 405, NULL, NULL},
        {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct head_facts f;
        int status = understand(rows[i].text, &f);
        if (status != rows[i].status)
            fail_msg("%s: %d %s", rows[i].text, status, f.detail);
        assert_int_equal(f.detail != NULL, status != 0);
        if (status == 0)
            assert_true(span_is(f.path, rows[i].path) && span_is(f.query, rows[i].query));
    }
}

static void bodies(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
        uint64_t length;
        bool chunked, wants_continue;
    } rows[] = {
        {"POST /" H "\r\n", 0, 0, false, false},
        {"POST /" H "content-length: 12\r\n\r\n", 0, 12, false, false},
        {"POST /" H "Content-Length: 9999999999999999999\r\n\r\n", 0, 9999999999999999999u, false,
         false},
        {"POST /" H "Content-Length: 18446744073709551615\r\n\r\n", 400, 0, false, false},
        {"POST /" H "Content-Length: 1\r\nCONTENT-LENGTH: 1\r\n\r\n", 400, 0, false, false},
        {"POST /" H "TRANSFER-ENCODING: cHuNkEd\r\n\r\n", 0, 0, true, false},
        {"POST /" H "Transfer-Encoding: gzip,chunked\r\n\r\n", 501, 0, false, false},
        {"POST /" H "Transfer-Encoding: gzip\r\n\r\n", 400, 0, false, false},
        {"POST /" H "Transfer-Encoding:\r\n\r\n", 400, 0, false, false},
        {"POST /" H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, 0, false,
         false},
        {"POST /" H "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n", 0, 1, false, true},
        {"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", 0, 1, false,
         false},
        {"POST /" H "Expect: x\r\n\r\n", 417, 0, false, false},
        {"POST /" H "Host: h\r\n\r\n", 400, 0, false, false},
        {"POST / HTTP/1.1\r\n\r\n", 400, 0, false, false},
        {"POST /" H "A:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", 431, 0, false, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct head_facts f;
        int status = understand(rows[i].text, &f);
        if (status != rows[i].status)
            fail_msg("%s: %d %s", rows[i].text, status, f.detail);
        if (status != 0)
            continue;
        assert_true(f.length == rows[i].length);
        assert_int_equal(f.chunked, rows[i].chunked);
        assert_int_equal(f.wants_continue, rows[i].wants_continue);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(targets), cmocka_unit_test(bodies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
