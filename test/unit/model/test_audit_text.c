/* What an entry says, and that it says no secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/audit.h"

static char text[AUDIT_TEXT_MAX + 1];

static const char *text_of(const struct request *r) {
    struct buffer out;
    buffer_init(&out, AUDIT_TEXT_MAX);
    const struct decision d = {.now_ns = UINT64_C(1893553445000000007), .position = 12};
    assert_int_equal(audit_text(&d, r, 3, &out), 0);
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(buffer_span(&out)));
    buffer_release(&out);
    return text;
}

static struct request request_of(enum request_kind kind, const char *actor) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text("mail");
    r.actor = span_text(actor);
    r.address = span_text("[::1]:5");
    return r;
}

static void what_it_says(void **state) {
    (void)state;
    struct request r = request_of(REQUEST_QUEUE_PURGE, "ops#06099d4c");
    r.count = 17;
    assert_string_equal(text_of(&r),
                        "{\"number\":3,\"time\":\"2030-01-02T03:04:05.000000007Z\",\"position\":12,"
                        "\"actor\":\"ops#06099d4c\",\"address\":\"[::1]:5\",\"action\":\"purge\","
                        "\"resource\":\"queues/mail\",\"result\":\"purged\",\"count\":17}");
    r = request_of(REQUEST_MESSAGE_DELETE, "a");
    r.id = 64;
    assert_non_null(strstr(text_of(&r), "\"resource\":\"queues/mail/messages/r0000000000000040\""));
    r = request_of(REQUEST_AUDIT_NOTE, "program");
    r.name = span_text("start");
    r.in.note = span_text("version 1");
    assert_non_null(strstr(text_of(&r), "\"action\":\"start\",\"result\":\"done\","
                                        "\"detail\":\"version 1\"}"));
}

/* Against the C library's calendar, at the borders of days, years and leap years. */
static void times(void **state) {
    (void)state;
    for (uint64_t day = 0; day < 200000; day += 1) {
        for (int edge = 0; edge < 2; edge++) {
            time_t seconds = (time_t)(day * 86400 + (edge ? 86399 : 0));
            char expected[64];
            struct tm tm;
            gmtime_r(&seconds, &tm);
            strftime(expected, sizeof expected, "\"time\":\"%Y-%m-%dT%H:%M:%S.000000000Z\"", &tm);
            struct buffer out;
            struct request r = request_of(REQUEST_QUEUE_PAUSE, "a");
            const struct decision d = {.now_ns = (uint64_t)seconds * 1000000000u};
            buffer_init(&out, AUDIT_TEXT_MAX);
            assert_int_equal(audit_text(&d, &r, 3, &out), 0);
            assert_non_null(memmem(out.data, out.size, expected, strlen(expected)));
            buffer_release(&out);
        }
    }
}

/* Whoever names a token cannot write entries of another's. */
static void nothing_gets_out_of_its_quotes(void **state) {
    (void)state;
    struct request r = request_of(REQUEST_QUEUE_PAUSE, "x\",\"actor\":\"y\n\\\x80");
    assert_non_null(strstr(text_of(&r), "\"actor\":\"x_,_actor_:_y___\","));
}

/* A filter is JSON and a reason anybody's language: both are read again as they were written. */
static void words_stay_words(void **state) {
    (void)state;
    struct request r = request_of(REQUEST_JOB_START, "ops");
    r.in.job_start = (struct job_start){
        .action = JOB_DISCARD,
        .filter = span_text("{\"contains\":\"a\\\"b\",\"status\":503}"),
        .reason = span_text("\xed\x99\x98\xeb\xb6\x88 \"fr\xc3\xbch\"\n\xff\x7f"),
    };
    const char *said = text_of(&r);
    assert_non_null(
        strstr(said, "\"filter\":\"{\\\"contains\\\":\\\"a\\\\\\\"b\\\",\\\"status\\\":503}\""));
    assert_non_null(
        strstr(said, "\"reason\":\"\xed\x99\x98\xeb\xb6\x88 \\\"fr\xc3\xbch\\\"___\"}"));
    r = request_of(REQUEST_MESSAGE_DELETE, "ops");
    r.in.note = span_text("\"x\"");
    assert_non_null(strstr(text_of(&r), "\"reason\":\"\\\"x\\\"\"}"));
}

/* However long they are: never half a character, never more than an entry holds. */
static void long_words_are_cut(void **state) {
    (void)state;
    static char quotes[4096], letters[4096];
    struct request r = request_of(REQUEST_JOB_START, "ops");
    memset(quotes, '"', sizeof quotes);
    for (size_t i = 0; i < sizeof letters; i++) {
        letters[i] = i % 3 == 0 ? '\xed' : i % 3 == 1 ? '\x99' : '\x98';
    }
    r.in.job_start = (struct job_start){.action = JOB_DISCARD,
                                        .filter = span_of(quotes, sizeof quotes),
                                        .reason = span_of(letters, sizeof letters - 1)};
    const char *said = text_of(&r), *reason = strstr(said, "\"reason\":\"");
    assert_non_null(reason);
    assert_non_null(strstr(said, "\\\"\",\"reason\""));
    assert_int_equal(strlen(reason), strlen("\"reason\":\"\"}") + 510);
    assert_true(utf8_valid(span_text(said)));
}

static void no_secret_no_hash_of_one(void **state) {
    (void)state;
    struct destination_def def;
    struct request r = request_of(REQUEST_DESTINATION_DEFINE, "ops");
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("sms")), 0);
    r.in.define.destination = &def;
    char first[sizeof text];
    strcpy(first, text_of(&r));
    assert_int_equal(def_set_text(&def.headers, span_text("Authorization: hush\n")), 0);
    assert_string_equal(first, text_of(&r));
    assert_int_equal(def_set_text(&def.url, span_text("http://other/")), 0);
    assert_string_not_equal(first, text_of(&r));
    destination_def_release(&def);
}

static void lines(void **state) {
    (void)state;
    const struct audit_entry e = {.hash = {0xab, 1}, .text = span_text("{\"number\":70,\"x\":1}")};
    struct buffer out;
    struct audit_entry got;
    buffer_init(&out, 1024);
    assert_int_equal(audit_line_append(&e, &out), 0);
    assert_int_equal(out.size, e.text.size + AUDIT_LINE_EXTRA);
    struct span line = span_of(out.data, out.size - 1);
    assert_int_equal(audit_line_parse(line, &got), 0);
    assert_int_equal(got.number, 70);
    assert_true(span_equal(got.text, e.text));
    assert_memory_equal(got.hash, e.hash, sizeof e.hash);
    for (size_t size = 0; size < line.size; size++) {
        assert_int_equal(audit_line_parse(span_of(line.data, size), &got), E_CORRUPT);
    }
    out.data[0] = 'A';
    assert_int_equal(audit_line_parse(line, &got), E_CORRUPT);
    buffer_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_says),
        cmocka_unit_test(times),
        cmocka_unit_test(nothing_gets_out_of_its_quotes),
        cmocka_unit_test(words_stay_words),
        cmocka_unit_test(long_words_are_cut),
        cmocka_unit_test(no_secret_no_hash_of_one),
        cmocka_unit_test(lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
