/* Entering a campaign over HTTP: the member is found by the definition of the moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

#define JSON    "Content-Type: application/json\r\n"
#define ENTRIES "/v1/campaigns/c/entries"

static struct harness *h;

static void put(const char *path, const char *body) {
    struct answer a;
    ask(h, &a, "PUT", path, JSON, body);
    if (a.status != 201 && a.status != 200) {
        fail_msg("PUT %s: %s", path, a.body);
    }
    answer_release(&a);
}

static int start(void **state) {
    (void)state;
    h = harness_start(NULL);
    put("/v1/queues/q", "{}");
    put("/v1/stocks/s", "{\"total\":3}");
    put("/v1/campaigns/c", "{\"stock\":\"s\",\"queue\":\"q\",\"memberPointer\":\"/member\"}");
    return 0;
}

static int stop(void **state) {
    (void)state;
    harness_stop(h);
    return 0;
}

static void first_come_first_served(void **state) {
    (void)state;
    struct answer a;
    char receipt[32] = "", body[64];
    for (int i = 1; i <= 3; i++) {
        snprintf(body, sizeof body, "{\"member\":\"m%d\"}", i);
        ask(h, &a, "POST", ENTRIES, JSON, body);
        assert_int_equal(a.status, 202);
        assert_int_equal(json_number(a.json, "number"), i);
        assert_true(json_number(a.json, "position") > 0);
        assert_string_not_equal(json_text(a.json, "acceptedAt"), "");
        snprintf(receipt, sizeof receipt, "%s", json_text(a.json, "receipt"));
        assert_non_null(strstr(json_text(a.json, "links.receipt"), receipt));
        answer_release(&a);
    }
    ask(h, &a, "POST", ENTRIES, JSON, "{\"member\":\"m3\"}");
    assert_int_equal(a.status, 409);
    assert_string_equal(json_text(a.json, "type"), "/problems/already-claimed");
    assert_string_equal(json_text(a.json, "receipt"), receipt);
    answer_release(&a);
    ask(h, &a, "POST", ENTRIES, JSON, "{\"member\":\"m4\"}");
    assert_int_equal(a.status, 410);
    assert_string_equal(json_text(a.json, "type"), "/problems/sold-out");
    answer_release(&a);
    ask(h, &a, "GET", "/v1/campaigns/c/entries/m3", "", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(json_text(a.json, "receipt"), receipt);
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/v1/campaigns/c/entries/m4", "", NULL), 404);
    ask(h, &a, "GET", ENTRIES "?page_size=2", "", NULL);
    assert_int_equal(json_array_size(json_at(a.json, "entries")), 2);
    assert_string_equal(json_text(a.json, "entries.0.member"), "m1");
    assert_string_not_equal(json_text(a.json, "nextPageToken"), "");
    answer_release(&a);
}

static void hours_are_kept(void **state) {
    (void)state;
    struct answer a;
    put("/v1/campaigns/c", "{\"stock\":\"s\",\"memberPointer\":\"/member\","
                           "\"opensAt\":\"2400-01-01T00:00:00Z\"}");
    ask(h, &a, "POST", ENTRIES, JSON, "{\"member\":\"m\"}");
    assert_int_equal(a.status, 425);
    assert_string_equal(json_text(a.json, "opensAt"), "2400-01-01T00:00:00.000Z");
    assert_true(atoll(answer_field(&a, "Retry-After")) > 1000000);
    answer_release(&a);
    put("/v1/campaigns/c", "{\"stock\":\"s\",\"memberPointer\":\"/member\","
                           "\"closesAt\":\"2001-01-01T00:00:00Z\"}");
    ask(h, &a, "POST", ENTRIES, JSON, "{\"member\":\"m\"}");
    assert_int_equal(a.status, 410);
    assert_string_equal(json_text(a.json, "type"), "/problems/closed");
    answer_release(&a);
    assert_int_equal(ask_status(h, "POST", "/v1/campaigns/none/entries", JSON, "{\"member\":1}"),
                     404);
}

/* The pointer changes while the loop still knows the old one: the engine says so, nobody notices. */
static void another_definition_reads_another_member(void **state) {
    (void)state;
    struct answer a;
    put("/v1/campaigns/c", "{\"stock\":\"s\",\"queue\":\"q\",\"memberPointer\":\"/member\","
                           "\"opensAt\":\"2400-01-01T00:00:00Z\"}");
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, "{\"member\":\"m1\"}"), 425);
    put("/v1/campaigns/c", "{\"stock\":\"s\",\"queue\":\"q\",\"memberPointer\":\"/user/id\"}");
    ask(h, &a, "POST", ENTRIES, JSON, "{\"member\":\"m9\",\"user\":{\"id\":77}}");
    assert_int_equal(a.status, 202);
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/v1/campaigns/c/entries/77", "", NULL), 200);
    assert_int_equal(ask_status(h, "GET", "/v1/campaigns/c/entries/m9", "", NULL), 404);
    /* A body that fits only the old definition is judged by the new one. */
    ask(h, &a, "POST", ENTRIES, JSON, "{\"member\":\"m8\"}");
    assert_int_equal(a.status, 400);
    assert_string_equal(json_text(a.json, "errors.0.pointer"), "/user/id");
    answer_release(&a);
}

static void bad_bodies(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"member\":null}",
        "{}",
        "{\"member\":1.5}",
        "{\"member\":\"\"}",
        "{\"member\":{}}",
        "{\"member\":\"a\",\"member\":\"b\"}",
        "{\"member\":\"a\"} x",
        "{\"member\":true}",
    };
    for (int round = 0; round < 2; round++) { /* with the definition unknown, then known */
        for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
            if (ask_status(h, "POST", ENTRIES, JSON, bad[i]) != 400) {
                fail_msg("accepted: %s", bad[i]);
            }
        }
    }
    char body[400] = "{\"member\":\"";
    memset(body + 11, 'x', 256);
    strcpy(body + 11 + 256, "\"}");
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, body), 400);
    strcpy(body + 11 + 255, "\"}");
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, body), 202);
    /* An escape is the same member as the character; a number the same as its digits. */
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, "{\"member\":\"\\u0061\\n\"}"), 202);
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, "{\"member\":\"a\\n\"}"), 409);
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, "{\"member\":12}"), 202);
    assert_int_equal(ask_status(h, "POST", ENTRIES, JSON, "{\"member\":\"12\"}"), 409);
    assert_int_equal(ask_status(h, "POST", ENTRIES, "Content-Type: text/plain\r\n", "{}"), 415);
}

/* Many requests in one packet: answered in order, each once. */
static void pipelined_entries_keep_their_order(void **state) {
    (void)state;
    char request[8192] = "", answers[32768];
    put("/v1/stocks/s", "{\"total\":40}");
    for (int i = 0; i < 40; i++) {
        char body[32];
        size_t size = strlen(request);
        snprintf(body, sizeof body, "{\"member\":%d}", i);
        snprintf(request + size, sizeof request - size,
                 "POST " ENTRIES " HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
    }
    ask_raw(h, request, answers, sizeof answers, "\"number\":40,");
    const char *at = answers;
    for (int i = 1; i <= 40; i++) {
        char number[32];
        snprintf(number, sizeof number, "\"number\":%d,", i);
        at = strstr(at, "\"number\":");
        assert_non_null(at);
        assert_memory_equal(at, number, strlen(number));
        at++;
    }
}

#define ENTRY_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        ENTRY_TEST(first_come_first_served),
        ENTRY_TEST(hours_are_kept),
        ENTRY_TEST(another_definition_reads_another_member),
        ENTRY_TEST(bad_bodies),
        ENTRY_TEST(pipelined_entries_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
