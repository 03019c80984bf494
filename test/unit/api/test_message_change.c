/* Editing, moving and discarding one message through the API. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "harness.h"

#define JSON "Content-Type: application/json\r\n"

static struct harness *h;
static char path[128]; /* of the message of the test */

static int start(void **state) {
    h = harness_start(NULL);
    ask_status(h, "PUT", "/v1/queues/q", JSON, "{}");
    ask_status(h, "PUT", "/v1/queues/other", JSON, "{}");
    struct answer a;
    ask(h, &a, "POST", "/v1/queues/q/messages",
        JSON "Sluice-Forward-X-One: 1\r\nSluice-Priority: 3\r\nSluice-Ordering-Key: k\r\n",
        "{\"n\":1}");
    assert_int_equal(a.status, 202);
    snprintf(path, sizeof path, "/v1/queues/q/messages/%s", json_text(a.json, "receipt"));
    answer_release(&a);
    return 0;
}

static int stop(void **state) {
    harness_stop(h);
    return 0;
}

static const char *with(const char *suffix) {
    static char text[256];
    snprintf(text, sizeof text, "%s%s", path, suffix);
    return text;
}

static void an_edit_replaces_what_it_names(void **state) {
    struct answer a;
    ask(h, &a, "GET", with("?view=full"), "", NULL);
    assert_string_equal(answer_field(&a, "ETag"), "\"0-ready-0\"");
    answer_release(&a);
    ask(h, &a, "PUT", path, "Sluice-Forward-X-Two: 2\r\n", "{\"n\":2}");
    assert_int_equal(a.status, 200);
    assert_int_equal(json_number(a.json, "version"), 1);
    answer_release(&a);
    ask(h, &a, "GET", with("?view=full"), "", NULL);
    assert_string_equal(answer_field(&a, "ETag"), "\"1-ready-0\"");
    assert_int_equal(json_number(a.json, "body.n"), 2);
    assert_int_equal(json_number(a.json, "priority"), 3);
    assert_string_equal(json_text(a.json, "headers"), "X-Two: 2\n");
    assert_string_equal(json_text(a.json, "contentType"), "application/json");
    assert_string_equal(json_text(a.json, "orderingKey"), "k");
    assert_string_equal(json_text(a.json, "history.0.what"), "edited");
    answer_release(&a);
    assert_int_equal(ask_status(h, "PUT", with("?body=keep"), "Sluice-Priority: 9\r\n", NULL), 200);
    ask(h, &a, "GET", with("?view=full"), "", NULL);
    assert_int_equal(json_number(a.json, "priority"), 9);
    assert_int_equal(json_number(a.json, "body.n"), 2);
    answer_release(&a);
    assert_int_equal(ask_status(h, "PUT", path, "", "plain"), 200);
    ask(h, &a, "GET", with("?view=full"), "", NULL);
    assert_int_equal(json_number(a.json, "priority"), 9); /* not what was published with it */
    answer_release(&a);
}

static void an_edit_may_be_conditional(void **state) {
    assert_int_equal(ask_status(h, "PUT", path, "If-Match: \"0-dead-0\"\r\n", "x"), 412);
    assert_int_equal(ask_status(h, "PUT", path, "If-Match: \"0-ready-0\"\r\n", "x"), 200);
    assert_int_equal(ask_status(h, "PUT", path, "If-Match: \"0-ready-0\"\r\n", "y"), 412);
    assert_int_equal(ask_status(h, "PUT", path, "If-Match: *\r\n", "y"), 200);
    struct answer a;
    ask(h, &a, "GET", with("?view=body"), "", NULL);
    assert_string_equal(a.body, "y");
    assert_string_equal(answer_field(&a, "ETag"), "\"2-ready-0\"");
    answer_release(&a);
}

static void what_cannot_be_edited_is_said(void **state) {
    static const char *const bad[] = {"Sluice-Delay: 1s\r\n", "Sluice-Ordering-Key: other\r\n",
                                      "Sluice-Ttl: 1h\r\n", "Sluice-Priority: 10\r\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(ask_status(h, "PUT", path, bad[i], "x"), 400);
    }
    assert_int_equal(ask_status(h, "PUT", with("?body=keep"), "", "x"), 400);
    assert_int_equal(ask_status(h, "PUT", with("?body=drop"), "", "x"), 400);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q/messages/r0000000000000001", "", "x"), 404);
    assert_int_equal(ask_status(h, "PUT", "/v1/queues/q/messages/x", "", "x"), 404);
}

static void a_move_takes_the_receipt_along(void **state) {
    struct answer a;
    assert_int_equal(ask_status(h, "POST", with(":move"), JSON, "{}"), 400);
    assert_int_equal(ask_status(h, "POST", with(":move"), JSON, "{\"to\":\"none\"}"), 400);
    ask(h, &a, "POST", with(":move"), JSON, "{\"to\":\"other\"}");
    assert_int_equal(a.status, 200);
    assert_string_equal(json_text(a.json, "queue"), "other");
    answer_release(&a);
    assert_int_equal(ask_status(h, "GET", path, "", NULL), 404);
    char receipt[64];
    snprintf(receipt, sizeof receipt, "/v1/receipts/%s", strrchr(path, '/') + 1);
    ask(h, &a, "GET", receipt, "", NULL);
    assert_string_equal(json_text(a.json, "queue"), "other");
    assert_string_equal(json_text(a.json, "state"), "ready");
    answer_release(&a);
    ask(h, &a, "GET", "/v1/queues/other/messages?orderingKey=k", "", NULL);
    assert_int_equal(json_array_size(json_at(a.json, "messages")), 1);
    answer_release(&a);
}

static void a_discard_says_why(void **state) {
    struct answer a;
    assert_int_equal(ask_status(h, "DELETE", with("?reason="), "", NULL), 400);
    assert_int_equal(ask_status(h, "DELETE", with("?reason=bad%20address"), "", NULL), 204);
    ask(h, &a, "GET", "/v1/audit", "", NULL);
    assert_string_equal(json_text(a.json, "entries.0.entry.reason"), "bad address");
    assert_string_equal(json_text(a.json, "entries.0.entry.action"), "delete");
    answer_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_edit_replaces_what_it_names, start, stop),
        cmocka_unit_test_setup_teardown(an_edit_may_be_conditional, start, stop),
        cmocka_unit_test_setup_teardown(what_cannot_be_edited_is_said, start, stop),
        cmocka_unit_test_setup_teardown(a_move_takes_the_receipt_along, start, stop),
        cmocka_unit_test_setup_teardown(a_discard_says_why, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
