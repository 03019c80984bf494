#include "http/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static const struct http_limits LIMITS = {
    .request_line_bytes = 30, .header_bytes = 40, .header_count = 3};

static void tokens(void **state) {
    (void)state;
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (int c = 0; c < 256; c++) {
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool expected = alphanumeric || (c != 0 && c < 128 && strchr(marks, c) != NULL);
        assert_int_equal(gate_is_token((uint8_t)c), expected);
        assert_int_equal(gate_is_value((uint8_t)c), c == '\t' || (c >= ' ' && c != 127));
    }
}

/* All at once and byte by byte come to the same verdict at the same byte. */
static struct gate judge(const char *text, size_t *ret_used) {
    struct gate whole, bytewise;
    struct span s = span_text(text);
    gate_init(&whole);
    gate_init(&bytewise);
    *ret_used = gate_take(&whole, &LIMITS, s);
    size_t used = 0;
    while (used < s.size && bytewise.state < GATE_DONE)
        used += gate_take(&bytewise, &LIMITS, span_of(s.data + used, 1));
    assert_int_equal(bytewise.state, whole.state);
    assert_int_equal(bytewise.status, whole.status);
    assert_int_equal(used, *ret_used);
    return whole;
}

#define VALUE_34 "0123456789012345678901234567890123"

static void verdicts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum gate_state verdict;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\nrest", GATE_DONE, 0},
        {"GET / HTTP/1.1\r\nA:\r\nb: c d\r\n\r\n", GATE_DONE, 0},
        {"GET / HTTP/1.1\r\nA: b\r\n", GATE_FIELD, 0},
        {"GET / HTTP/1.1\r\nA: b\n", GATE_BAD, 400},
        {"GET / HTTP/1.1\r\nA : b\r\n", GATE_BAD, 400},
        {"GET / HTTP/1.1\r\n A: b\r\n", GATE_BAD, 400},
        {"GET / HTTP/1.1\r\n\r\r", GATE_BAD, 400},
        {"GET / HTTP/1.1x", GATE_BAD, 400},
        {"GET / HTTP/x", GATE_BAD, 400},
        {"GET /123456789012 HTTP/1.1\r\n", GATE_FIELD, 0},    /* 28 bytes */
        {"GET /12345678901234 HTTP/1.1\r\n", GATE_FIELD, 0},  /* 30 */
        {"GET /123456789012345 HTTP/1.1\r\n", GATE_BAD, 414}, /* 31 */
        {"G / HTTP/1.1\r\nA:\r\nA:\r\nA:\r\n\r\n", GATE_DONE, 0},
        {"G / HTTP/1.1\r\nA:\r\nA:\r\nA:\r\nA:\r\n", GATE_BAD, 431},
        {"G / HTTP/1.1\r\nA:" VALUE_34 "\r\n\r\n", GATE_DONE, 0}, /* 40 bytes of fields */
        {"G / HTTP/1.1\r\nA:" VALUE_34 "x\r\n\r\n", GATE_BAD, 431},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        size_t used;
        struct gate g = judge(rows[i].text, &used);
        if (g.state != rows[i].verdict || g.status != rows[i].status)
            fail_msg("%s: state %d status %d", rows[i].text, (int)g.state, g.status);
    }
}

static void stops_at_the_end_of_the_head(void **state) {
    (void)state;
    size_t used;
    struct gate g = judge("GET / HTTP/1.1\r\n\r\nGET /", &used);
    assert_int_equal(g.state, GATE_DONE);
    assert_int_equal(used, 18);
}

static void trailers(void **state) {
    (void)state;
    struct gate g;
    gate_init_trailer(&g);
    assert_int_equal(gate_take(&g, &LIMITS, span_text("A: b\r\n\r\nX")), 8);
    assert_int_equal(g.state, GATE_DONE);
    gate_init_trailer(&g);
    assert_int_equal(gate_take(&g, &LIMITS, span_text("\r\n")), 2);
    assert_int_equal(g.state, GATE_DONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(stops_at_the_end_of_the_head),
        cmocka_unit_test(trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
