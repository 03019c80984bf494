#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"

static const struct http_route ROUTES[] = {
    {HTTP_GET_, "/"},
    {HTTP_GET_, "/v1/queues"},
    {HTTP_GET_, "/v1/queues/{queue}"},
    {HTTP_PUT_, "/v1/queues/{queue}"},
    {HTTP_POST_, "/v1/queues/{queue}:pause"},
    {HTTP_POST_, "/v1/queues/{queue}:purge"},
    {HTTP_POST_, "/v1/queues/{queue}/messages"},
    {HTTP_DELETE_, "/v1/queues/{queue}/messages/{message}"},
    {HTTP_GET_, "/v1/queues/{queue}/messages/first"},
    {HTTP_POST_, "/v1/messages:run"},
    {HTTP_GET_, "/v1/receipts/{receipt}"},
};

static struct http_router *router;

static int make(void **state) {
    (void)state;
    size_t bad;
    return http_router_create(ROUTES, ARRAY_LENGTH(ROUTES), &bad, &router);
}

static int drop(void **state) {
    (void)state;
    http_router_free(router);
    return 0;
}

static int match(enum http_method method, const char *path, struct http_match *m) {
    return http_router_match(router, method, span_text(path), m);
}

struct row {
    enum http_method method;
    const char *path;
    int rc;
    int route;
    const char *captures; /* joined by '|' */
};

static const struct row ROWS[] = {
    {HTTP_GET_, "/", 0, 0, ""},
    {HTTP_GET_, "/v1/queues", 0, 1, ""},
    {HTTP_HEAD_, "/v1/queues", 0, 1, ""},
    {HTTP_GET_, "/v1/queues/a", 0, 2, "a"},
    {HTTP_PUT_, "/v1/queues/a", 0, 3, "a"},
    {HTTP_POST_, "/v1/queues/a:pause", 0, 4, "a"},
    {HTTP_POST_, "/v1/queues/a%3Ab:purge", 0, 5, "a:b"},
    {HTTP_POST_, "/v1/queues/a:b:purge", 0, 5, "a:b"},
    {HTTP_POST_, "/v1/queues/a:b/messages", 0, 6, "a:b"},
    {HTTP_DELETE_, "/v1/queues/a/messages/m%2F1", 0, 7, "a|m/1"},
    {HTTP_GET_, "/v1/queues/a/messages/first", 0, 8, "a"},
    {HTTP_DELETE_, "/v1/queues/a/messages/a:b", 0, 7, "a|a:b"},
    {HTTP_POST_, "/v1/messages:run", 0, 9, ""},
    {HTTP_GET_, "/v1/receipts/a:pause", 0, 10, "a:pause"},
    {HTTP_GET_, "/v1/queues/%C3%A9+%2B", 0, 2, "\xc3\xa9++"},
    {HTTP_GET_, "", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "v1/queues", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "//v1/queues", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/queues/", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/queues/a/", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/queues//messages", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/V1/queues", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/queue", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/queuess", E_NOT_FOUND, 0, ""},
    {HTTP_POST_, "/v1/queues/a:explode", E_NOT_FOUND, 0, ""},
    {HTTP_POST_, "/v1/queues/:pause", E_NOT_FOUND, 0, ""},
    {HTTP_POST_, "/v1/queues/a:", E_NOT_FOUND, 0, ""},
    {HTTP_POST_, "/v1/messages", E_NOT_FOUND, 0, ""},
    {HTTP_POST_, "/v1/queues:pause", E_NOT_FOUND, 0, ""},
    {HTTP_GET_, "/v1/queues/a/messages/m/x", E_NOT_FOUND, 0, ""},
    {HTTP_DELETE_, "/v1/queues", E_UNSUPPORTED, 0, ""},
    {HTTP_GET_, "/v1/queues/a:pause", E_UNSUPPORTED, 0, ""},
    {HTTP_GET_, "/v1/queues/%", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%4", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%4g", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%00", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/a%0Ab", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%FF", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%C0%AF", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/..", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%2e", E_INVALID, 0, ""},
    {HTTP_GET_, "/v1/queues/%2E./messages/first", E_INVALID, 0, ""},
};

static void table(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        const struct row *row = &ROWS[i];
        struct http_match m;
        int rc = match(row->method, row->path, &m);
        if (rc != row->rc)
            fail_msg("%s: %s, expected %s", row->path, error_name(rc), error_name(row->rc));
        if (rc != 0)
            continue;
        char joined[256] = "";
        for (size_t c = 0; c < m.capture_count; c++) {
            strcat(joined, c > 0 ? "|" : "");
            strncat(joined, (const char *)m.captures[c].data, m.captures[c].size);
        }
        assert_int_equal(m.route, row->route);
        assert_string_equal(joined, row->captures);
    }
}

static void allow_lists_what_is_served(void **state) {
    (void)state;
    struct http_match m;
    assert_int_equal(match(HTTP_DELETE_, "/v1/queues/a", &m), E_UNSUPPORTED);
    assert_string_equal(m.allow, "GET, HEAD, PUT");
    assert_int_equal(match(HTTP_GET_, "/v1/queues/a:pause", &m), E_UNSUPPORTED);
    assert_string_equal(m.allow, "POST");
}

static void long_names(void **state) {
    (void)state;
    struct http_match m;
    char path[2000] = "/v1/queues/";
    char *name = path + strlen(path);
    memset(name, 'n', HTTP_NAME_BYTES);
    assert_int_equal(match(HTTP_GET_, path, &m), 0);
    assert_int_equal(m.captures[0].size, HTTP_NAME_BYTES);
    name[HTTP_NAME_BYTES] = 'n';
    assert_int_equal(match(HTTP_GET_, path, &m), E_TOO_LARGE);
    for (size_t i = 0; i < HTTP_NAME_BYTES; i++)
        memcpy(name + 3 * i, "%6e", 3);
    assert_int_equal(match(HTTP_GET_, path, &m), 0);
    assert_int_equal(m.captures[0].size, HTTP_NAME_BYTES);
}

static void bad_tables(void **state) {
    (void)state;
    static const struct {
        struct http_route routes[2];
        int rc;
    } tables[] = {
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "a"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, ""}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/a/"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/a//b"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/{}"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/x{a}"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/{a}:"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/a"}}, E_INVALID},
        {{{HTTP_GET_, "/{a}/x"}, {HTTP_GET_, "/{b}/x"}}, E_INVALID},
        {{{HTTP_GET_, "/a"}, {HTTP_GET_, "/{a}/{b}/{c}/{d}/{e}"}}, E_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        size_t bad = 99;
        struct http_router *r = NULL;
        assert_int_equal(http_router_create(tables[i].routes, 2, &bad, &r), tables[i].rc);
        assert_int_equal(bad, 1);
        assert_null(r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(allow_lists_what_is_served),
        cmocka_unit_test(long_names),
        cmocka_unit_test(bad_tables),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
