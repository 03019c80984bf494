/* The routes of definitions, messages, stocks, receipts and transactions on a real engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "harness.h"

#define JSON "Content-Type: application/json\r\n"

static struct harness *h;

static int start(void **state) {
    (void)state;
    h = harness_start(NULL);
    return 0;
}

static int stop(void **state) {
    (void)state;
    harness_stop(h);
    return 0;
}

static void put(const char *path, const char *body) {
    struct answer a;
    ask(h, &a, "PUT", path, JSON, body);
    if (a.status != 201 && a.status != 200) {
        fail_msg("PUT %s: %s", path, a.body);
    }
    answer_release(&a);
}

/* ---- definitions ---- */

static void a_queue_from_birth_to_death(void **state) {
    (void)state;
    struct answer a;
    ask(h, &a, "POST", "/v1/queues", JSON, "{\"name\":\"q\",\"maxPriority\":3}");
    assert_int_equal(a.status, 201);
    assert_string_equal(answer_field(&a, "Location"), "/v1/queues/q");
    answer_release(&a);
    ask(h, &a, "POST", "/v1/queues", JSON, "{\"name\":\"q\"}");
    assert_int_equal(a.status, 409);
    assert_string_equal(json_text(a.json, "type"), "/problems/conflict");
    answer_release(&a);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q", JSON, "{\"maxPriority\":5}"), 200);
    ask(h, &a, "GET", "/v1/queues/q", "", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(json_number(a.json, "maxPriority"), 5);
    assert_int_equal(json_number(a.json, "stats.ready"), 0);
    answer_release(&a);
    assert_int_equal(ask_status(h, "DELETE", "/v1/queues/q", "", NULL), 204);
    ask(h, &a, "GET", "/v1/queues/q", "", NULL);
    assert_int_equal(a.status, 404);
    assert_string_equal(json_text(a.json, "type"), "/problems/not-found");
    assert_string_equal(json_text(a.json, "instance"), "/v1/queues/q");
    answer_release(&a);
}

static void bad_definitions_say_all_that_is_wrong(void **state) {
    (void)state;
    struct answer a;
    ask(h, &a, "PUT", "/v1/queues/q", JSON,
        "{\"name\":\"other\",\"maxPriority\":-1,\"retryConfig\":{\"maxAttempt\":1}}");
    assert_int_equal(a.status, 400);
    assert_string_equal(json_text(a.json, "type"), "/problems/invalid");
    assert_int_equal(json_array_size(json_at(a.json, "errors")), 2);
    assert_string_equal(json_text(a.json, "errors.0.pointer"), "/maxPriority");
    assert_string_equal(json_text(a.json, "errors.1.pointer"), "/retryConfig/maxAttempt");
    answer_release(&a);
    ask(h, &a, "PUT", "/v1/queues/q", JSON, "{\"name\":\"other\"}");
    assert_int_equal(a.status, 400);
    assert_string_equal(json_text(a.json, "errors.0.pointer"), "/name");
    answer_release(&a);
    ask(h, &a, "PUT", "/v1/queues/q", JSON, "{\"maxPriority\":1,\"maxPriority\":2}");
    assert_int_equal(a.status, 400);
    answer_release(&a);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q", JSON, "[]"), 400);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q", JSON, ""), 400);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/-q", JSON, "{}"), 400);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q", "Content-Type: text/plain\r\n", "{}"),
                     415);
    ask(h, &a, "PUT", "/v1/queues/q", JSON, "{\"destination\":\"nowhere\"}");
    assert_int_equal(a.status, 400);
    answer_release(&a);
}

static void lists_come_in_pages(void **state) {
    (void)state;
    struct answer a;
    char path[128] = "/v1/stocks?page_size=3";
    size_t seen = 0, pages = 0;
    for (int i = 0; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "/v1/stocks/s%d", i);
        put(name, "{\"total\":5}");
    }
    for (;;) {
        ask(h, &a, "GET", path, "", NULL);
        assert_int_equal(a.status, 200);
        seen += json_array_size(json_at(a.json, "stocks"));
        pages++;
        const char *token = json_text(a.json, "nextPageToken");
        bool last = token[0] == '\0';
        snprintf(path, sizeof path, "/v1/stocks?page_size=3&page_token=%s", token);
        answer_release(&a);
        if (last) {
            break;
        }
    }
    assert_int_equal(seen, 8);
    assert_int_equal(pages, 3);
    assert_int_equal(ask_status(h, "GET", "/v1/stocks?page_size=0", "", NULL), 400);
    assert_int_equal(ask_status(h, "GET", "/v1/stocks?page_token=x", "", NULL), 400);
    assert_int_equal(ask_status(h, "GET", "/v1/stocks?pagesize=3", "", NULL), 400);
    assert_int_equal(ask_status(h, "GET", "/v1/stocks?filter=dead", "", NULL), 400);
}

/* ---- messages ---- */

static void publish(const char *headers, const char *body, char id[32]) {
    struct answer a;
    ask(h, &a, "POST", "/v1/queues/q/messages", headers, body);
    if (a.status != 202) {
        fail_msg("%s", a.body);
    }
    snprintf(id, 32, "%s", json_text(a.json, "receipt"));
    assert_int_equal(strlen(id), 17);
    assert_non_null(strstr(answer_field(&a, "Location"), id));
    answer_release(&a);
}

static void a_message_is_kept_as_it_came(void **state) {
    (void)state;
    struct answer a;
    char id[32], path[128];
    put("/v1/queues/q", "{}");
    publish("Content-Type: text/x-note; charset=utf-8\r\nSluice-Priority: 4\r\n"
            "Sluice-Ordering-Key: k1\r\nSluice-Forward-X-Tenant: seven\r\n"
            "X-Correlation-Id: corr-1\r\n"
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
            "hello \xf0\x9f\x98\x80", id);
    snprintf(path, sizeof path, "/v1/queues/q/messages/%s", id);
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(json_text(a.json, "id"), id);
    assert_string_equal(json_text(a.json, "state"), "ready");
    assert_int_equal(json_number(a.json, "priority"), 4);
    assert_null(json_at(a.json, "bodyBase64"));
    answer_release(&a);
    strcat(path, "?view=full");
    ask(h, &a, "GET", path, "", NULL);
    assert_string_equal(json_text(a.json, "contentType"), "text/x-note; charset=utf-8");
    assert_string_equal(json_text(a.json, "orderingKey"), "k1");
    assert_string_equal(json_text(a.json, "headers"), "X-Tenant: seven\n");
    assert_string_equal(json_text(a.json, "correlationId"), "corr-1");
    assert_string_equal(json_text(a.json, "traceparent"),
                        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_string_equal(json_text(a.json, "bodyBase64"), "aGVsbG8g8J+YgA==");
    answer_release(&a);
    snprintf(path, sizeof path, "/v1/queues/q/messages/%s?view=body", id);
    ask(h, &a, "GET", path, "", NULL);
    assert_string_equal(a.body, "hello \xf0\x9f\x98\x80");
    assert_string_equal(answer_field(&a, "Content-Type"), "text/x-note; charset=utf-8");
    assert_string_equal(answer_field(&a, "X-Content-Type-Options"), "nosniff");
    answer_release(&a);
    publish(JSON, "{\"a\": [1, 2]}", id);
    snprintf(path, sizeof path, "/v1/queues/q/messages/%s?view=full", id);
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(json_number(a.json, "body.a.1"), 2);
    answer_release(&a);
}

static void options_of_a_message_are_checked(void **state) {
    (void)state;
    static const char *const bad[] = {
        "Sluice-Delay: 5\r\n",
        "Sluice-Priority: -1\r\n",
        "Sluice-Priority: 256\r\n",
        "Sluice-Ttl: 0s\r\n",
        "Sluice-Ttl: soon\r\n",
        "Sluice-Schedule-Time: now\r\n",
        "Sluice-Prioritaet: 3\r\n",
        "Sluice-Forward-: x\r\n",
        "Idempotency-Key: \"\"\r\n",
        "Sluice-Ordering-Key:\r\n",
        "Sluice-Unique-Key:\r\n",
        "Sluice-Unique-Key: a\r\n",
        "Sluice-Delay: 5s\r\nSluice-Schedule-Time: 2090-01-31T09:00:00Z\r\n",
        "Sluice-Schedule-Time: 2090-01-31T09:00:00Z\r\nSluice-Delay: 0s\r\n",
        "Sluice-Ttl: 10s\r\nSluice-Delay: 1h\r\n",
    };
    put("/v1/queues/q", "{}");
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        int status = ask_status(h, "POST", "/v1/queues/q/messages", bad[i], "x");
        if (status != 400) {
            fail_msg("%s: %d", bad[i], status);
        }
    }
    struct answer a;
    char id[32], path[128];
    publish("sluice-delay: 1h\r\n", "later", id);
    snprintf(path, sizeof path, "/v1/queues/q/messages?filter=delayed");
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(json_array_size(json_at(a.json, "messages")), 1);
    assert_string_equal(json_text(a.json, "messages.0.id"), id);
    answer_release(&a);
    assert_int_equal(ask_status(h, "POST", "/v1/queues/none/messages", "", "x"), 404);
}

static void an_idempotency_key_gives_the_same_answer(void **state) {
    (void)state;
    struct answer first, again;
    put("/v1/queues/q", "{}");
    put("/v1/queues/other", "{}");
    static const char key[] = "Idempotency-Key: \"order-17\"\r\n";
    ask(h, &first, "POST", "/v1/queues/q/messages", key, "x");
    assert_int_equal(first.status, 202);
    assert_null(answer_field(&first, "Idempotency-Replayed"));
    /* Unquoted is the same key. */
    ask(h, &again, "POST", "/v1/queues/q/messages", "Idempotency-Key: order-17\r\n", "x");
    assert_int_equal(again.status, 202);
    assert_string_equal(answer_field(&again, "Idempotency-Replayed"), "true");
    assert_string_equal(json_text(again.json, "receipt"), json_text(first.json, "receipt"));
    answer_release(&first);
    answer_release(&again);
    ask(h, &again, "POST", "/v1/queues/q/messages", key, "y");
    assert_int_equal(again.status, 422);
    assert_string_equal(json_text(again.json, "type"), "/problems/idempotency-key-reused");
    answer_release(&again);
    /* Elsewhere it is another key. */
    ask(h, &again, "POST", "/v1/queues/other/messages", key, "x");
    assert_int_equal(again.status, 202);
    assert_null(answer_field(&again, "Idempotency-Replayed"));
    answer_release(&again);
    ask(h, &again, "GET", "/v1/queues/q", "", NULL);
    assert_int_equal(json_number(again.json, "stats.published"), 1);
    answer_release(&again);
}

static void messages_are_deleted_purged_paused(void **state) {
    (void)state;
    struct answer a;
    char id[32], path[128];
    put("/v1/queues/q", "{}");
    publish("", "1", id);
    snprintf(path, sizeof path, "/v1/queues/q/messages/%s", id);
    assert_int_equal(ask_status(h, "DELETE", path, "", NULL), 204);
    assert_int_equal(ask_status(h, "DELETE", path, "", NULL), 404);
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(a.status, 404);
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/v1/queues/q/messages/xyz", "", NULL), 404);
    for (int i = 0; i < 5; i++) {
        publish("", "1", id);
    }
    ask(h, &a, "POST", "/v1/queues/q:purge", "", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(json_number(a.json, "purged"), 5);
    answer_release(&a);
    ask(h, &a, "POST", "/v1/queues/q:pause", "", NULL);
    assert_true(json_is_true(json_at(a.json, "paused")));
    answer_release(&a);
    ask(h, &a, "GET", "/v1/queues/q", "", NULL);
    assert_true(json_is_true(json_at(a.json, "paused")));
    answer_release(&a);
    assert_int_equal(ask_status(h, "POST", "/v1/queues/q:resume", "", NULL), 200);
    ask(h, &a, "POST", "/v1/queues/q:redrive", "", NULL);
    assert_int_equal(json_number(a.json, "redriven"), 0);
    answer_release(&a);
    assert_int_equal(ask_status(h, "POST", "/v1/queues/q:explode", "", NULL), 404);
}

static void a_receipt_tells_what_became_of_it(void **state) {
    (void)state;
    struct answer a;
    char id[32], path[128];
    put("/v1/queues/q", "{}");
    publish("", "1", id);
    snprintf(path, sizeof path, "/v1/receipts/%s", id);
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(json_text(a.json, "receipt"), id);
    assert_string_equal(json_text(a.json, "state"), "ready");
    assert_string_equal(json_text(a.json, "queue"), "q");
    answer_release(&a);
    char message[128];
    snprintf(message, sizeof message, "/v1/queues/q/messages/%s", id);
    assert_int_equal(ask_status(h, "DELETE", message, "", NULL), 204);
    ask(h, &a, "GET", path, "", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(json_text(a.json, "state"), "dropped");
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/v1/receipts/r00000000000fffff", "", NULL), 404);
    assert_int_equal(ask_status(h, "GET", "/v1/receipts/17", "", NULL), 404);
}

/* ---- stocks ---- */

static void units_are_taken_confirmed_and_given_back(void **state) {
    (void)state;
    struct answer a;
    static const char path[] = "/v1/stocks/s/reservations";
    put("/v1/stocks/s", "{\"total\":2,\"perMember\":1,\"hold\":\"1h\"}");
    ask(h, &a, "POST", path, JSON, "{\"member\":\"m1\",\"purchase\":\"p 1\"}");
    assert_int_equal(a.status, 201);
    assert_int_equal(json_number(a.json, "number"), 1);
    assert_string_equal(json_text(a.json, "state"), "held");
    assert_string_equal(json_text(a.json, "purchase"), "p 1");
    answer_release(&a);
    ask(h, &a, "POST", path, JSON, "{\"member\":\"m1\",\"purchase\":\"p2\"}");
    assert_int_equal(a.status, 409);
    assert_string_equal(json_text(a.json, "type"), "/problems/member-limit");
    answer_release(&a);
    ask(h, &a, "GET", "/v1/stocks/s/reservations/p%201", "", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(json_text(a.json, "state"), "held");
    answer_release(&a);
    ask(h, &a, "POST", "/v1/stocks/s/reservations/p%201:confirm", "", NULL);
    assert_int_equal(a.status, 200);
    answer_release(&a);
    ask(h, &a, "GET", "/v1/stocks/s/reservations/p%201", "", NULL);
    assert_string_equal(json_text(a.json, "state"), "final");
    answer_release(&a);
    assert_int_equal(ask_status(h, "POST", path, JSON, "{}"), 201);
    ask(h, &a, "POST", path, JSON, "{\"member\":\"m3\"}");
    assert_int_equal(a.status, 410);
    assert_string_equal(json_text(a.json, "type"), "/problems/sold-out");
    answer_release(&a);
    assert_int_equal(ask_status(h, "DELETE", "/v1/stocks/s/reservations/p%201", "", NULL), 204);
    assert_int_equal(ask_status(h, "POST", path, JSON, "{\"member\":\"m3\"}"), 201);
    assert_int_equal(ask_status(h, "GET", "/v1/stocks/s/reservations/none", "", NULL), 404);
    assert_int_equal(ask_status(h, "POST", path, JSON, "{\"membr\":\"m3\"}"), 400);
    assert_int_equal(ask_status(h, "POST", path, JSON, "{\"member\":3}"), 400);
    assert_int_equal(ask_status(h, "POST", "/v1/stocks/none/reservations", JSON, "{}"), 404);
}

/* ---- transactions ---- */

static void a_transaction_is_all_or_nothing(void **state) {
    (void)state;
    struct answer a;
    put("/v1/stocks/s", "{\"total\":1}");
    put("/v1/queues/q", "{}");
    static const char both[] =
        "{\"operations\":[{\"reserve\":{\"stock\":\"s\",\"member\":\"m\",\"purchase\":\"%s\"}},"
        "{\"enqueue\":{\"queue\":\"q\",\"body\":{\"to\":\"m\"},\"priority\":2,"
        "\"compensate\":{\"stock\":\"s\",\"purchase\":\"%s\"}}},"
        "{\"dedup\":{\"key\":\"%s\",\"ttl\":\"1h\"}}]}";
    char body[512];
    snprintf(body, sizeof body, both, "p1", "p1", "k1");
    ask(h, &a, "POST", "/v1/transactions", JSON, body);
    if (a.status != 202) {
        fail_msg("%s", a.body);
    }
    assert_int_equal(json_array_size(json_at(a.json, "operations")), 3);
    assert_string_equal(json_text(a.json, "operations.0.operation"), "reserve");
    assert_int_equal(json_number(a.json, "operations.0.number"), 1);
    answer_release(&a);
    snprintf(body, sizeof body, both, "p2", "p2", "k2");
    ask(h, &a, "POST", "/v1/transactions", JSON, body);
    assert_int_equal(a.status, 410);
    answer_release(&a);
    ask(h, &a, "GET", "/v1/queues/q", "", NULL);
    assert_int_equal(json_number(a.json, "stats.ready"), 1);
    answer_release(&a);
}

static void bad_transactions(void **state) {
    (void)state;
    struct answer a;
    put("/v1/queues/q", "{}");
    ask(h, &a, "POST", "/v1/transactions", JSON,
        "{\"operations\":[{\"reserve\":{\"stok\":\"s\"}},{\"fly\":{}},"
        "{\"enqueue\":{\"queue\":\"q\",\"bodyBase64\":\"!\"}},{\"enqueue\":{\"queue\":\"q\"}},3,"
        "{\"enqueue\":{\"queue\":\"q\",\"body\":1,\"delay\":\"1s\","
        "\"scheduleTime\":\"2090-01-31T09:00:00Z\"}},"
        "{\"enqueue\":{\"queue\":\"q\",\"body\":1,\"delay\":\"1h\",\"ttl\":\"1m\"}}],"
        "\"more\":1}");
    assert_int_equal(a.status, 400);
    static const char *const pointers[] = {
        "/operations/0/reserve/stok",       "/operations/0/reserve/stock", "/operations/1/fly",
        "/operations/2/enqueue/bodyBase64", "/operations/3/enqueue/body",  "/operations/4",
        "/operations/5/enqueue/delay",      "/operations/6/enqueue/ttl",   "/more"};
    size_t count = json_array_size(json_at(a.json, "errors"));
    for (size_t i = 0; i < ARRAY_LENGTH(pointers); i++) {
        bool found = false;
        for (size_t k = 0; k < count; k++) {
            const json_t *e = json_array_get(json_at(a.json, "errors"), k);
            found = found || strcmp(json_text(e, "pointer"), pointers[i]) == 0;
        }
        if (!found) {
            fail_msg("%s is not in %s", pointers[i], a.body);
        }
    }
    assert_int_equal(count, ARRAY_LENGTH(pointers));
    answer_release(&a);
    assert_int_equal(ask_status(h, "POST", "/v1/transactions", JSON, "{}"), 400);
    assert_int_equal(ask_status(h, "POST", "/v1/transactions", JSON, "{\"operations\":[]}"), 400);
    /* A resource twice. */
    assert_int_equal(ask_status(h, "POST", "/v1/transactions", JSON,
                                "{\"operations\":[{\"enqueue\":{\"queue\":\"q\",\"body\":1}},"
                                "{\"enqueue\":{\"queue\":\"q\",\"body\":2}}]}"),
                     400);
}

#define ROUTE_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        ROUTE_TEST(a_queue_from_birth_to_death),
        ROUTE_TEST(bad_definitions_say_all_that_is_wrong),
        ROUTE_TEST(lists_come_in_pages),
        ROUTE_TEST(a_message_is_kept_as_it_came),
        ROUTE_TEST(options_of_a_message_are_checked),
        ROUTE_TEST(an_idempotency_key_gives_the_same_answer),
        ROUTE_TEST(messages_are_deleted_purged_paused),
        ROUTE_TEST(a_receipt_tells_what_became_of_it),
        ROUTE_TEST(units_are_taken_confirmed_and_given_back),
        ROUTE_TEST(a_transaction_is_all_or_nothing),
        ROUTE_TEST(bad_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
