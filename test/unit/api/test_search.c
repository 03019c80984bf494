/* Searching a queue through the API: parameters, header fields, bodies, pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "api/match.h"
#include "api/search.h"
#include "harness.h"

#define JSON "Content-Type: application/json\r\n"

static struct harness *h;

static int start(void **state) {
    h = harness_start(NULL);
    return ask_status(h, "PUT", "/v1/queues/q", JSON, "{}") == 201 ? 0 : 1;
}

static int stop(void **state) {
    harness_stop(h);
    return 0;
}

static void publish(const char *headers, const char *body) {
    assert_int_equal(ask_status(h, "POST", "/v1/queues/q/messages", headers, body), 202);
}

/* How many messages the query finds, and in *looked how many it looked at; by pages of two. */
static unsigned find_counting(const char *query, unsigned *looked) {
    char path[1024], token[64] = "";
    unsigned found = 0;
    *looked = 0;
    do {
        struct answer a;
        snprintf(path, sizeof path, "/v1/queues/q/messages?page_size=2&%s%s%s", query,
                 token[0] != '\0' ? "&page_token=" : "", token);
        ask(h, &a, "GET", path, "", NULL);
        if (a.status != 200) {
            fail_msg("%s: %s", path, a.body);
        }
        found += (unsigned)json_array_size(json_at(a.json, "messages"));
        *looked += (unsigned)json_number(a.json, "searched");
        snprintf(token, sizeof token, "%s", json_text(a.json, "nextPageToken"));
        answer_release(&a);
    } while (token[0] != '\0');
    return found;
}

static unsigned find(const char *query) {
    unsigned looked;
    return find_counting(query, &looked);
}

static void by_body_and_header(void **state) {
    publish(JSON "Sluice-Forward-X-Tenant: seven\r\n",
            "{\"order\":{\"id\":17,\"who\":\"m\\u002d1\"}}");
    publish(JSON "Sluice-Forward-X-Tenant: eight\r\n", "{\"order\":{\"id\":18,\"who\":\"m-1\"}}");
    publish(JSON, "{\"order\":null}");
    publish("Content-Type: text/plain\r\nSluice-Ordering-Key: k\r\n", "order 17 in plain text");
    assert_int_equal(find("pointer=/order/id"), 2);
    assert_int_equal(find("pointer=/order/id&equals=17"), 1);
    assert_int_equal(find("pointer=/order/id&equals=1"), 0);
    assert_int_equal(find("pointer=/order/who&equals=m-1"), 2); /* however it was escaped */
    assert_int_equal(find("pointer=/order&equals=null"), 1);
    assert_int_equal(find("contains=order"), 4);
    assert_int_equal(find("contains=in+plain"), 1);
    assert_int_equal(find("header=x-tenant"), 2);
    assert_int_equal(find("header=X-Tenant:%20eight"), 1);
    assert_int_equal(find("header=X-Tenant:seven&pointer=/order/id&equals=18"), 0);
    assert_int_equal(find("orderingKey=k"), 1);
    assert_int_equal(find("orderingKey=k&contains=17"), 1);
    assert_int_equal(find("state=dead&contains=order"), 0);
    assert_int_equal(find("minAttempts=1"), 0);
    assert_int_equal(find("acceptedFrom=2020-01-01T00:00:00Z"), 4);
    assert_int_equal(find("acceptedTo=2020-01-01T00:00:00Z"), 0);
}

static void every_message_is_looked_at_once(void **state) {
    for (unsigned i = 0; i < 700; i++) {
        publish("Content-Type: text/plain\r\n", i % 100 == 7 ? "needle" : "hay");
    }
    unsigned looked;
    assert_int_equal(find_counting("contains=needle", &looked), 7);
    assert_in_range(looked, 700, 700 + 4 * 256); /* what is looked at behind a full page is again */
    assert_int_equal(find_counting("contains=straw", &looked), 0);
    assert_int_equal(looked, 700);
}

static void bad_parameters(void **state) {
    static const char *const bad[] = {"reason=lost",    "status=x",  "status=1000",
                                      "equals=1",       "pointer=a", "acceptedFrom=yesterday",
                                      "contains=",      "header=:x", "orderingKey=",
                                      "minAttempts=-1", "unknown=1", "state=done"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char path[256];
        snprintf(path, sizeof path, "/v1/queues/q/messages?%s", bad[i]);
        int status = ask_status(h, "GET", path, "", NULL);
        if (status != 400) {
            fail_msg("%s: %d", bad[i], status);
        }
    }
    assert_int_equal(ask_status(h, "GET", "/v1/queues/none/messages?contains=x", "", NULL), 404);
}

/* The token of the first page of this list, which has more than one message. */
static void token_of(const char *query, char token[64]) {
    char path[256];
    struct answer a;
    snprintf(path, sizeof path, "/v1/queues/q/messages?page_size=1&%s", query);
    ask(h, &a, "GET", path, "", NULL);
    snprintf(token, 64, "%s", json_text(a.json, "nextPageToken"));
    assert_int_equal(strlen(token), 48);
    answer_release(&a);
}

static void must_refuse(const char *query, const char *token, const char *detail) {
    char path[256];
    struct answer a;
    snprintf(path, sizeof path, "/v1/queues/%s&page_token=%s", query, token);
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(a.status, detail == NULL ? 200 : 400);
    assert_true(detail == NULL || strstr(json_text(a.json, "detail"), detail) != NULL);
    answer_release(&a);
}

static void tokens_are_of_one_list(void **state) {
    static const char other[] = "not of this list";
    char all[64], ready[64], found[64];
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/r", JSON, "{}"), 201);
    for (unsigned i = 0; i < 3; i++) {
        publish(JSON, "{\"n\":1}");
    }
    token_of("", all);
    token_of("filter=ready", ready);
    token_of("pointer=/n&equals=1", found);
    must_refuse("q/messages?page_size=2", all, NULL);
    must_refuse("r/messages?page_size=2", all, other);
    must_refuse("q/messages?filter=ready", all, other);
    must_refuse("q/messages?contains=1", all, other);
    must_refuse("q/messages?filter=ready", ready, NULL);
    must_refuse("q/messages?filter=dead", ready, other);
    must_refuse("q/messages?page_size=2", ready, other);
    must_refuse("q/messages?equals=1&pointer=/n", found, NULL);
    must_refuse("q/messages?equals=2&pointer=/n", found, other);
    must_refuse("q/messages?page_size=1", "0000000000000001", "expected the nextPageToken");
    must_refuse("q/messages?page_size=1", "", "expected the nextPageToken");
    all[3] ^= 1;
    must_refuse("q/messages?page_size=1", all, other);
}

/* Behind many messages of another queue, at which a page does not look all at once. */
static void a_list_goes_on_until_it_has_found_something(void **state) {
    struct answer a;
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/r", JSON, "{}"), 201);
    for (unsigned i = 0; i < 40 * HARNESS_LIST_LOOKS; i++) {
        assert_int_equal(ask_status(h, "POST", "/v1/queues/r/messages", JSON, "1"), 202);
    }
    for (unsigned i = 0; i <= HARNESS_LIST_LOOKS; i++) {
        publish(JSON, "1");
    }
    ask(h, &a, "GET", "/v1/queues/q/messages", "", NULL);
    assert_int_not_equal(json_array_size(json_at(a.json, "messages")), 0);
    answer_release(&a);
    assert_int_equal(find("filter=ready"), HARNESS_LIST_LOOKS + 1);
}

/* A table of AMQP's header fields is looked into like lines of text. */
static void amqp_headers(void **state) {
    static const char properties[] = "\xa0\x00\x04json\x00\x00\x00\x12\x01nI\x00\x00\x00\x05\x04"
                                     "nameS\x00\x00\x00\x01x";
    struct stored_message stored = {.properties = span_of(properties, sizeof properties - 1)};
    struct message_filter f = {.header = span_text("n"), .header_value = span_text("5")};
    struct matcher m;
    matcher_init(&m, &f);
    assert_true(matcher_takes(&m, &stored));
    f.header_value = span_text("6");
    assert_false(matcher_takes(&m, &stored));
    f = (struct message_filter){.header = span_text("name"), .header_value = span_text("x")};
    assert_true(matcher_takes(&m, &stored));
    for (size_t size = 0; size < sizeof properties - 1; size++) {
        stored.properties.size = size; /* cut: nothing, and nothing read beyond it */
        assert_false(matcher_takes(&m, &stored));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(by_body_and_header, start, stop),
        cmocka_unit_test_setup_teardown(every_message_is_looked_at_once, start, stop),
        cmocka_unit_test_setup_teardown(bad_parameters, start, stop),
        cmocka_unit_test_setup_teardown(tokens_are_of_one_list, start, stop),
        cmocka_unit_test_setup_teardown(a_list_goes_on_until_it_has_found_something, start, stop),
        cmocka_unit_test(amqp_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
