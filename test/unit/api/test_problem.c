#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "api/problem.h"
#include "base/clock.h"

static json_t *written(const struct problem_facts *p) {
    struct buffer text;
    struct json_out out;
    buffer_init(&text, 1 << 16);
    out_init(&out, &text);
    problem_write(p, &out);
    assert_false(out.failed);
    json_t *tree = json_loadb((char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(tree);
    buffer_release(&text);
    return tree;
}

static const char *text_at(const json_t *tree, const char *name) {
    return json_string_value(json_object_get(tree, name));
}

/* The status of each refusal is a promise to clients. */
static void every_refusal_has_its_status(void **state) {
    (void)state;
    static const struct {
        enum refusal refusal;
        int status;
        const char *type;
    } rows[] = {
        {REFUSAL_NOT_FOUND, 404, "/problems/not-found"},
        {REFUSAL_REFERENCE, 400, "/problems/invalid"},
        {REFUSAL_INVALID, 400, "/problems/invalid"},
        {REFUSAL_NOT_OPEN, 425, "/problems/not-open-yet"},
        {REFUSAL_CLOSED, 410, "/problems/closed"},
        {REFUSAL_ALREADY_CLAIMED, 409, "/problems/already-claimed"},
        {REFUSAL_MEMBER_LIMIT, 409, "/problems/member-limit"},
        {REFUSAL_SOLD_OUT, 410, "/problems/sold-out"},
        {REFUSAL_CANCELLED, 409, "/problems/cancelled"},
        {REFUSAL_DEADLINE, 422, "/problems/deadline-unreachable"},
        {REFUSAL_QUEUE_FULL, 503, "/problems/queue-full"},
        {REFUSAL_DISK_FULL, 507, "/problems/disk-full"},
        {REFUSAL_KEY_REUSED, 422, "/problems/idempotency-key-reused"},
        {REFUSAL_STALE, 503, "/problems/busy"},
        {REFUSAL_CONFLICT, 409, "/problems/conflict"},
        {REFUSAL_LIMIT, 503, "/problems/limit"},
        {REFUSAL_BUSY, 503, "/problems/busy"},
        {REFUSAL_STOPPING, 503, "/problems/stopping"},
        {REFUSAL_TOO_LARGE, 413, "/problems/too-large"},
        {REFUSAL_PRECONDITION, 409, "/problems/conflict"},
        {REFUSAL_LOCKED, 409, "/problems/conflict"},
        {REFUSAL_FORBIDDEN, 409, "/problems/conflict"},
        {REFUSAL_NOT_ALLOWED, 503, "/problems/limit"},
        {REFUSAL_COMMAND, 400, "/problems/invalid"},
    };
    assert_int_equal(ARRAY_LENGTH(rows), REFUSAL_COUNT - 1);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct problem_facts p = {.kind = problem_of_refusal(rows[i].refusal)};
        json_t *tree = written(&p);
        assert_string_equal(text_at(tree, "type"), rows[i].type);
        assert_int_equal(json_integer_value(json_object_get(tree, "status")), rows[i].status);
        assert_non_null(text_at(tree, "title"));
        assert_true(strlen(text_at(tree, "next")) > 10);
        assert_int_equal(problem_retry_after_s(&p, 0) > 0, rows[i].status >= 503);
        json_decref(tree);
    }
}

static void facts_are_shown(void **state) {
    (void)state;
    struct problem_facts p = {.kind = PROBLEM_NOT_OPEN,
                              .opens_ns = 10 * NS_PER_SECOND + 1,
                              .instance = span_text("/v1/x"),
                              .correlation_id = span_text("abc")};
    json_t *tree = written(&p);
    assert_string_equal(text_at(tree, "opensAt"), "1970-01-01T00:00:10.000000001Z");
    assert_string_equal(text_at(tree, "instance"), "/v1/x");
    assert_string_equal(text_at(tree, "correlationId"), "abc");
    json_decref(tree);
    /* Rounded up: who waits that long is not early again. */
    assert_int_equal(problem_retry_after_s(&p, 0), 11);
    assert_int_equal(problem_retry_after_s(&p, 10 * NS_PER_SECOND), 1);
    assert_int_equal(problem_retry_after_s(&p, 12 * NS_PER_SECOND), 1);

    p = (struct problem_facts){.kind = PROBLEM_INVALID, .pointer = "/a", .detail = "expected 1"};
    tree = written(&p);
    const json_t *first = json_array_get(json_object_get(tree, "errors"), 0);
    assert_string_equal(text_at(first, "pointer"), "/a");
    assert_string_equal(text_at(first, "detail"), "expected 1");
    json_decref(tree);
}

static void names_and_statuses_lead_back(void **state) {
    (void)state;
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        assert_int_equal(problem_find(span_text(problem_types[i].name)), i);
    }
    assert_int_equal(problem_find(span_text("nothing")), PROBLEM_COUNT);
    assert_int_equal(problem_of_status(413), PROBLEM_TOO_LARGE);
    assert_int_equal(problem_of_status(418), PROBLEM_INVALID);
    assert_int_equal(problem_of_status(503), PROBLEM_BUSY);
    assert_int_equal(problem_of_status(599), PROBLEM_INTERNAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_status),
        cmocka_unit_test(facts_are_shown),
        cmocka_unit_test(names_and_statuses_lead_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
