/* What is about the server: rights, methods, health, metrics, events, the description. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/head.h"
#include "api/openapi.h"
#include "api/routes.h"
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

static void methods_and_paths(void **state) {
    (void)state;
    struct answer a;
    ask(h, &a, "DELETE", "/v1/queues", "", NULL);
    assert_int_equal(a.status, 405);
    assert_string_equal(answer_field(&a, "Allow"), "GET, HEAD, POST");
    assert_string_equal(json_text(a.json, "type"), "/problems/method-not-allowed");
    answer_release(&a);
    ask(h, &a, "OPTIONS", "/v1/queues/q", "", NULL);
    assert_int_equal(a.status, 204);
    assert_non_null(strstr(answer_field(&a, "Allow"), "PUT"));
    answer_release(&a);
    ask(h, &a, "HEAD", "/v1/queues", "", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.size, 0);
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/v2/queues", "", NULL), 404);
    assert_int_equal(ask_status(h, "GET", "/v1/queues/a%zzb", "", NULL), 400);
    assert_int_equal(ask_status(h, "GET", "/v1/queues/q", "", "body"), 400);
}

static void correlation_and_problems(void **state) {
    (void)state;
    struct answer a;
    ask(h, &a, "GET", "/v1/queues/none", "X-Correlation-Id: my-id\r\n", NULL);
    assert_string_equal(answer_field(&a, "X-Correlation-Id"), "my-id");
    assert_string_equal(json_text(a.json, "correlationId"), "my-id");
    assert_string_equal(answer_field(&a, "Content-Type"), "application/problem+json");
    char type[64];
    snprintf(type, sizeof type, "%s", json_text(a.json, "type"));
    answer_release(&a);
    ask(h, &a, "GET", type, "", NULL);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "What to do next"));
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/problems/none", "", NULL), 404);
    /* Not usable as an id: another is made. */
    ask(h, &a, "GET", "/healthz", "X-Correlation-Id: a b\r\n", NULL);
    assert_int_equal(strlen(answer_field(&a, "X-Correlation-Id")), 16);
    answer_release(&a);
}

static void traces(void **state) {
    (void)state;
    static const char good[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_true(traceparent_valid(span_text(good)));
    char bad[sizeof good];
    for (size_t i = 0; i < sizeof good - 1; i++) {
        strcpy(bad, good);
        bad[i] = 'G';
        assert_false(traceparent_valid(span_text(bad)));
    }
    assert_false(
        traceparent_valid(span_text("00-00000000000000000000000000000000-b7ad6b7169203331-01")));
    assert_false(
        traceparent_valid(span_text("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01")));
    assert_false(traceparent_valid(span_text("")));
}

/* ---- rights ---- */

static void loopback_is_open_but_not_to_other_sites(void **state) {
    (void)state;
    static const struct {
        const char *headers;
        int status;
    } rows[] = {
        {"Host: localhost:8080\r\n", 200},
        {"Host: 127.0.0.1:8080\r\n", 200},
        {"Host: [::1]:8080\r\n", 200},
        {"Host: localhost:8080\r\nOrigin: http://localhost:8080\r\n", 200},
        {"Host: localhost:8080\r\nOrigin: http://evil.example\r\n", 403},
        {"Host: localhost:8080\r\nOrigin: null\r\n", 403},
        {"Host: evil.example\r\n", 403},
        {"Host: 127.0.0.1.evil.example\r\n", 403},
        {"Host: localhost.evil.example\r\n", 403},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int status = ask_status(h, "GET", "/v1/queues", rows[i].headers, NULL);
        if (status != rows[i].status) {
            fail_msg("%s: %d", rows[i].headers, status);
        }
    }
}

static void tokens_open_what_they_cover(void **state) {
    (void)state;
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES], field[128];
    char admin[TOKEN_TEXT_BYTES], admin_hash[TOKEN_HASH_BYTES], admin_field[128];
    token_make(token, hash);
    token_make(admin, admin_hash);
    static const char *const resources[] = {"queues/mail-*"};
    struct token_def defs[] = {{"shop", hash, SCOPE_PUBLISH, resources, 1},
                               {"boss", admin_hash, SCOPE_ADMIN, NULL, 0}};
    struct auth *auth;
    assert_int_equal(auth_create(defs, 2, &auth), 0);
    snprintf(field, sizeof field, "Authorization: Bearer %s\r\n", token);
    snprintf(admin_field, sizeof admin_field, "Authorization: Bearer %s\r\n" JSON, admin);
    h = harness_start(&(struct api_options){.auth = auth});

    struct answer a;
    ask(h, &a, "PUT", "/v1/queues/mail-a", JSON, "{}");
    assert_int_equal(a.status, 401);
    assert_non_null(answer_field(&a, "WWW-Authenticate"));
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/v1/queues", "Authorization: Bearer x\r\n", NULL), 401);
    assert_int_equal(ask_status(h, "GET", "/healthz", "", NULL), 200);
    assert_int_equal(ask_status(h, "GET", "/metrics", "", NULL), 401);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/mail-a", field, "{}"), 403);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/mail-a", admin_field, "{}"), 201);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/bills", admin_field, "{}"), 201);
    assert_int_equal(ask_status(h, "POST", "/v1/queues/mail-a/messages", field, "x"), 202);
    assert_int_equal(ask_status(h, "POST", "/v1/queues/bills/messages", field, "x"), 404);
    assert_int_equal(ask_status(h, "GET", "/v1/queues/mail-a/messages", field, NULL), 403);
    /* What a transaction names is asked for one by one. */
    static const char transaction[] =
        "{\"operations\":[{\"enqueue\":{\"queue\":\"%s\",\"body\":1}}]}";
    char body[128];
    snprintf(body, sizeof body, transaction, "mail-a");
    assert_int_equal(ask_status(h, "POST", "/v1/transactions", field, body), 202);
    snprintf(body, sizeof body, transaction, "bills");
    int foreign = ask_status(h, "POST", "/v1/transactions", field, body);
    snprintf(body, sizeof body, transaction, "nothing");
    assert_int_equal(foreign, ask_status(h, "POST", "/v1/transactions", admin_field, body));
    harness_stop(h);
    auth_free(auth);
}

static void full_pool_is_busy(void **state) {
    (void)state;
    h = harness_start(&(struct api_options){.open_loopback = true, .calls_max = 1});
    char request[512], answers[8192];
    snprintf(request, sizeof request, "%s%s", "GET /v1/queues HTTP/1.1\r\nHost: localhost\r\n\r\n",
             "GET /v1/queues HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ask_raw(h, request, answers, sizeof answers, "/problems/busy");
    assert_non_null(strstr(answers, "HTTP/1.1 200"));
    assert_non_null(strstr(answers, "HTTP/1.1 503"));
    assert_non_null(strstr(answers, "Retry-After: 1"));
    assert_non_null(strstr(answers, "/problems/busy"));
    harness_stop(h);
}

/* ---- health, metrics, events ---- */

static void health_and_readiness(void **state) {
    (void)state;
    struct answer a;
    ask(h, &a, "GET", "/healthz", "", NULL);
    assert_string_equal(json_text(a.json, "version"), "0.0.0-test");
    answer_release(&a);
    ask(h, &a, "GET", "/readyz", "", NULL);
    assert_int_equal(a.status, 200);
    assert_true(json_is_true(json_at(a.json, "ready")));
    answer_release(&a);
    ask(h, &a, "POST", "/v1/noop", JSON, "anything");
    assert_int_equal(a.status, 200);
    answer_release(&a);
}

/* Every line is a comment or `name{labels} number`, every name has its TYPE before it. */
static void metrics_are_well_formed(void **state) {
    (void)state;
    struct answer a;
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q", JSON, "{}"), 201);
    assert_int_equal(ask_status(h, "PUT", "/v1/stocks/s", JSON, "{\"total\":7}"), 201);
    assert_int_equal(ask_status(h, "POST", "/v1/queues/q/messages", "", "x"), 202);
    ask(h, &a, "GET", "/metrics", "", NULL);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\nsluice_queue_messages{queue=\"q\",state=\"ready\"} 1\n"));
    assert_non_null(strstr(a.body, "\nsluice_stock_total_units{stock=\"s\"} 7\n"));
    assert_non_null(strstr(a.body, "\nsluice_accepted_total 1\n"));
    assert_non_null(strstr(a.body, "sluice_http_request_duration_seconds_bucket{le=\"+Inf\"} "));
    char type[128] = "";
    char *rest = NULL;
    for (char *line = strtok_r(a.body, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# TYPE ", 7) == 0) {
            snprintf(type, sizeof type, "%.*s", (int)strcspn(line + 7, " "), line + 7);
        } else if (line[0] != '#') {
            assert_memory_equal(line, type, strlen(type));
            char *end;
            strtod(strrchr(line, ' '), &end);
            assert_int_equal(*end, '\0');
        }
    }
    answer_release(&a);
}

static void events_carry_the_counters(void **state) {
    (void)state;
    char text[32768];
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q", JSON, "{}"), 201);
    assert_int_equal(ask_status(h, "PUT", "/v1/stocks/s", JSON, "{\"total\":9}"), 201);
    assert_int_equal(ask_status(h, "PUT", "/v1/campaigns/c", JSON,
                                "{\"stock\":\"s\",\"memberPointer\":\"/m\",\"safetyStock\":2,"
                                "\"opensAt\":\"2400-01-01T00:00:00Z\"}"),
                     201);
    assert_int_equal(ask_status(h, "POST", "/v1/campaigns/c/entries", JSON, "{\"m\":1}"), 425);
    ask_raw(h, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", text, sizeof text, "}\n");
    assert_non_null(strstr(text, "Content-Type: text/event-stream"));
    char *data = strstr(text, "event: counters\ndata: ");
    assert_non_null(data);
    data = strchr(data, '{');
    *strchr(data, '\n') = '\0';
    json_t *counters = json_loads(data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(counters);
    assert_string_equal(json_text(counters, "room"), "ok");
    assert_string_equal(json_text(counters, "queues.0.name"), "q");
    assert_int_equal(json_number(counters, "stocks.0.total"), 9);
    assert_int_equal(json_number(counters, "campaigns.0.total"), 7);
    assert_int_equal(json_number(counters, "campaigns.0.refused.not-open-yet"), 1);
    assert_int_equal(json_number(counters, "refused.not-open-yet"), 1);
    assert_true(json_is_number(json_at(counters, "latency.p99")));
    assert_true(json_number(counters, "http.requests") >= 5);
    assert_int_equal(json_number(counters, "http.openConnections"), 1);
    json_decref(counters);
}

/* ---- the description ---- */

static void every_route_is_described(void **state) {
    (void)state;
    struct answer a;
    static const char *const methods[] = {"get", "head", "post", "put", "patch", "delete"};
    ask(h, &a, "GET", "/openapi.json", "", NULL);
    assert_int_equal(a.status, 200);
    const json_t *paths = json_object_get(a.json, "paths");
    const json_t *schemas = json_object_get(json_object_get(a.json, "components"), "schemas");
    size_t described = 0;
    const char *path;
    json_t *item;
    json_object_foreach((json_t *)paths, path, item) {
        described += json_object_size(item);
    }
    assert_int_equal(described, api_route_count);
    for (size_t i = 0; i < api_route_count; i++) {
        const struct route *r = &api_routes[i];
        const json_t *operation =
            json_object_get(json_object_get(paths, r->pattern), methods[r->method]);
        assert_string_equal(json_text(operation, "operationId"), r->id);
        bool described_body = r->takes == NULL || json_object_get(schemas, r->takes) != NULL;
        bool text = r->answers != NULL &&
                    (strcmp(r->answers, "Text") == 0 || strcmp(r->answers, "Events") == 0);
        bool described_answer =
            r->answers == NULL || text || json_object_get(schemas, r->answers) != NULL;
        assert_true(described_body && described_answer);
    }
    answer_release(&a);
}

static void the_console_is_served(void **state) {
    (void)state;
    struct answer a;
    ask(h, &a, "GET", "/", "", NULL);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(answer_field(&a, "Content-Type"), "text/html"));
    char field[80];
    snprintf(field, sizeof field, "If-None-Match: %s\r\n", answer_field(&a, "ETag"));
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", "/", field, NULL), 304);
    assert_int_equal(ask_status(h, "GET", "/assets/none.js", "", NULL), 404);
    assert_int_equal(ask_status(h, "GET", "/assets/..%2fx", "", NULL), 404);
}

#define SYSTEM_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(methods_and_paths),
        SYSTEM_TEST(correlation_and_problems),
        cmocka_unit_test(traces),
        SYSTEM_TEST(loopback_is_open_but_not_to_other_sites),
        cmocka_unit_test(tokens_open_what_they_cover),
        cmocka_unit_test(full_pool_is_busy),
        SYSTEM_TEST(health_and_readiness),
        SYSTEM_TEST(metrics_are_well_formed),
        SYSTEM_TEST(events_carry_the_counters),
        SYSTEM_TEST(every_route_is_described),
        SYSTEM_TEST(the_console_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
