/*
 * Answers of every kind, each read at once, byte by byte and in pieces of seven: the same must come out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/buffer.h"
#include "dispatch/answer.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

struct expected {
    const char *name;
    const char *bytes;
    enum answer_state state;
    unsigned status;
    bool lives;
    const char *body;
    bool ends;    /* the far side closes behind it */
    bool to_head; /* of a HEAD request */
    uint64_t retry_after_s;
};

static const struct expected EXPECTED[] = {
    {"with a length", OK_HEAD "Content-Length: 2\r\n\r\nok", ANSWER_WHOLE, 200, true, "ok"},
    {"with length 0", OK_HEAD "Content-Length: 0\r\n\r\n", ANSWER_WHOLE, 200, true, ""},
    {"chunked", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\n...\r\n0\r\n\r\n",
     ANSWER_WHOLE, 200, true, "ok..."},
    {"chunk extensions and trailers",
     OK_HEAD
     "Transfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d\"\r\nok\r\n0;x\r\nRetry-After: 9\r\n\r\n",
     ANSWER_WHOLE, 200, true, "ok"},
    {"chunks and a length",
     OK_HEAD "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
     ANSWER_WHOLE, 200, false, "ok"},
    {"a coding that is not chunked", OK_HEAD "Transfer-Encoding: gzip\r\n\r\nok", ANSWER_WHOLE, 200,
     false, "ok", .ends = true},
    {"until the end", OK_HEAD "\r\nok", ANSWER_WHOLE, 200, false, "ok", .ends = true},
    {"until the end, which does not come", OK_HEAD "\r\nok", ANSWER_AWAITED, 200, false, "ok"},
    {"wants to close", OK_HEAD "Connection: close\r\nContent-Length: 2\r\n\r\nok", ANSWER_WHOLE,
     200, false, "ok"},
    {"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", ANSWER_WHOLE, 200, false, "ok"},
    {"1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
     ANSWER_WHOLE, 200, true, "ok"},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", ANSWER_WHOLE, 204, true, ""},
    {"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", ANSWER_WHOLE, 204,
     true, ""},
    {"304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ANSWER_WHOLE,
     304, true, ""},
    {"304 with chunks", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
     ANSWER_WHOLE, 304, true, ""},
    {"to a HEAD", OK_HEAD "Content-Length: 5000\r\n\r\n", ANSWER_WHOLE, 200, true, "",
     .to_head = true},
    {"to a HEAD, no length", OK_HEAD "\r\n", ANSWER_WHOLE, 200, true, "", .to_head = true},
    {"100 first", "HTTP/1.1 100 Continue\r\n\r\n" OK_HEAD "Content-Length: 2\r\n\r\nok",
     ANSWER_WHOLE, 200, true, "ok"},
    {"103 with a length",
     "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nRetry-After: 9\r\n\r\n" OK_HEAD
     "Content-Length: 2\r\n\r\nok",
     ANSWER_WHOLE, 200, true, "ok"},
    {"only 100", "HTTP/1.1 100 Continue\r\n\r\n", ANSWER_AWAITED, 0, false, ""},
    {"only 100, and the end", "HTTP/1.1 100 Continue\r\n\r\n", ANSWER_BAD, 0, false, "",
     .ends = true},
    {"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
     ANSWER_BAD, 0, false, ""},
    {"offers an upgrade",
     OK_HEAD "Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nok", ANSWER_WHOLE,
     200, true, "ok"},
    {"more than it says", OK_HEAD "Content-Length: 2\r\n\r\nokay", ANSWER_WHOLE, 200, false, "ok"},
    {"another answer behind",
     OK_HEAD "Content-Length: 2\r\n\r\nok" OK_HEAD "Content-Length: 0\r\n\r\n", ANSWER_WHOLE, 200,
     false, "ok"},
    {"a line end behind", OK_HEAD "Content-Length: 2\r\n\r\nok\r\n", ANSWER_WHOLE, 200, false,
     "ok"},
    {"behind the chunks", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", ANSWER_WHOLE, 200,
     false, ""},
    {"behind 204", "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx", ANSWER_WHOLE, 204,
     false, ""},
    {"less than it says", OK_HEAD "Content-Length: 9\r\n\r\nok", ANSWER_BAD, 200, false, "ok",
     .ends = true},
    {"chunks without an end", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", ANSWER_BAD,
     200, false, "ok", .ends = true},
    {"nothing", "", ANSWER_BAD, 0, false, "", .ends = true},
    {"half a head", OK_HEAD "Content-", ANSWER_BAD, 0, false, "", .ends = true},
    {"half a status line", "HTTP/1.", ANSWER_BAD, 0, false, "", .ends = true},
    {"garbage", "220 smtp.example ESMTP\r\n", ANSWER_BAD, 0, false, ""},
    {"HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", ANSWER_BAD, 0, false, ""},
    {"a negative length", OK_HEAD "Content-Length: -17\r\n\r\n", ANSWER_BAD, 0, false, ""},
    {"a huge length", OK_HEAD "Content-Length: 99999999999999999999\r\n\r\n", ANSWER_BAD, 0, false,
     ""},
    {"two lengths", OK_HEAD "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok.", ANSWER_BAD, 0,
     false, ""},
    {"a bad chunk", OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", ANSWER_BAD, 200,
     false, ""},
    {"a huge chunk", OK_HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", ANSWER_BAD,
     200, false, ""},
    {"status 42", "HTTP/1.1 42 What\r\nContent-Length: 0\r\n\r\n", ANSWER_BAD, 0, false, ""},
    {"status 999", "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE, 999, true, ""},
    {"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE, 200, true, ""},
    {"later, in seconds", "HTTP/1.1 503 No\r\nRetry-After: 17 \r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, "", .retry_after_s = 17},
    {"later, as a date",
     "HTTP/1.1 503 No\r\nretry-after: Thu, 01 Jan 1970 00:16:50 GMT\r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, "", .retry_after_s = 10},
    {"a date that is over",
     "HTTP/1.1 503 No\r\nRetry-After: Thu, 01 Jan 1970 00:16:30 GMT\r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, ""},
    {"digits that might be a date",
     "HTTP/1.1 503 No\r\nRetry-After: 20300102\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE, 503,
     true, "", .retry_after_s = 20300102},
    {"digits that are neither",
     "HTTP/1.1 503 No\r\nRetry-After: 20300102 s\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE, 503,
     true, ""},
    {"a date that begins with digits",
     "HTTP/1.1 503 No\r\nRetry-After: 01 Jan 1970 00:16:50 GMT\r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, "", .retry_after_s = 10},
    {"later than ever",
     "HTTP/1.1 503 No\r\nRetry-After: 99999999999999999999999\r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, "", .retry_after_s = UINT64_MAX},
    {"some day", "HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", ANSWER_WHOLE,
     503, true, ""},
    {"of two the last",
     "HTTP/1.1 503 No\r\nRetry-After: 1\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, "", .retry_after_s = 2},
    {"a name that goes on", "HTTP/1.1 503 No\r\nRetry-After-All: 1\r\nContent-Length: 0\r\n\r\n",
     ANSWER_WHOLE, 503, true, ""},
};

static bool keep(void *context, struct span bytes) {
    assert_int_equal(buffer_append_span(context, bytes), 0);
    return true;
}

static void check(const struct expected *e, size_t piece) {
    struct answer a;
    struct buffer body;
    struct span left = span_text(e->bytes);
    bool over =
        false; /* bytes behind the answer, in another piece: who holds the connection sees those */
    buffer_init(&body, 1000);
    answer_init(&a, e->to_head, keep, &body);
    while (left.size > 0 && a.state == ANSWER_AWAITED) {
        size_t size = left.size < piece ? left.size : piece;
        answer_take(&a, span_of(left.data, size));
        left = span_of(left.data + size, left.size - size);
        over = a.state == ANSWER_WHOLE && left.size > 0;
    }
    if (e->ends && a.state == ANSWER_AWAITED) {
        answer_end(&a);
    }
    bool same = a.state == e->state && a.status == e->status && (a.lives == e->lives || over) &&
                span_equal(buffer_span(&body), span_text(e->body)) &&
                answer_retry_after_s(&a, 1000) == e->retry_after_s;
    if (!same) {
        fail_msg("%s, by %zu: state %d, status %u, lives %d, body %.*s, later %llu", e->name, piece,
                 a.state, a.status, a.lives, SPAN_ARG(buffer_span(&body)),
                 (unsigned long long)answer_retry_after_s(&a, 1000));
    }
    buffer_release(&body);
}

static void all_kinds_in_all_pieces(void **state) {
    (void)state;
    static const size_t pieces[] = {100000, 1, 7};
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++) {
        for (size_t k = 0; k < 3; k++) {
            check(&EXPECTED[i], pieces[k]);
        }
    }
}

static void a_nul_is_not_understood(void **state) {
    (void)state;
    static const char bytes[] = "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n";
    static const char status[] = "HTTP/1.1 2\0000 OK\r\n\r\n";
    struct answer a;
    answer_init(&a, false, keep, NULL);
    assert_int_equal(answer_take(&a, span_of(bytes, sizeof bytes - 1)), ANSWER_BAD);
    assert_true(a.not_understood);
    answer_init(&a, false, keep, NULL);
    assert_int_equal(answer_take(&a, span_of(status, sizeof status - 1)), ANSWER_BAD);
}

/* One field for ever, many fields, many interim answers. */
static void heads_have_an_end(void **state) {
    (void)state;
    static const char *const parts[] = {"xxxxxxxxxxxxxxxxxxxxxxxxx",
                                        "A: bcdefghijklmnopqrstuvw\r\n",
                                        "\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b"};
    for (size_t i = 0; i < 3; i++) {
        struct answer a;
        size_t taken = 0, size = strlen(parts[i]);
        answer_init(&a, false, keep, NULL);
        answer_take(&a, span_text("HTTP/1.1 103 Early Hints\r\nA: b"));
        if (i == 1) {
            answer_take(&a, span_text("\r\n"));
        }
        while (a.state == ANSWER_AWAITED && taken <= ANSWER_HEADS_MAX_BYTES) {
            answer_take(&a, span_of(parts[i], size));
            taken += size;
        }
        assert_int_equal(a.state, ANSWER_BAD);
        assert_true(a.not_understood);
        assert_true(taken > 70000); /* and not at once */
    }
}

static bool enough(void *context, struct span bytes) {
    size_t *left = context;
    bool more = bytes.size <= *left;
    *left -= more ? bytes.size : 0;
    return more;
}

static void who_takes_it_says_when_it_is_enough(void **state) {
    (void)state;
    static char flood[100000];
    size_t left = 250000, taken = 0;
    struct answer a;
    memset(flood, 'f', sizeof flood);
    answer_init(&a, false, enough, &left);
    answer_take(&a, span_text("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n"));
    while (a.state == ANSWER_AWAITED) {
        answer_take(&a, span_of(flood, sizeof flood));
        taken += sizeof flood;
    }
    assert_int_equal(a.state, ANSWER_ENOUGH);
    assert_int_equal(taken, 300000);
    assert_false(a.not_understood);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_in_all_pieces),
        cmocka_unit_test(a_nul_is_not_understood),
        cmocka_unit_test(heads_have_an_end),
        cmocka_unit_test(who_takes_it_says_when_it_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
