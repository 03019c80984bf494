/*
 * The small readers of what clients and providers write: paths, queries, receipts, times, durations, numbers, tokens,
 * traces, lists of statuses, addresses, header lines, excerpts, templates. The first byte chooses; the rest is the text.
 *
 * What is understood reads as the same when it is written again.
 */
#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/head.h"
#include "api/routes.h"
#include "base/units.h"
#include "base/error.h"
#include "base/utf8.h"
#include "dispatch/address.h"
#include "dispatch/excerpt.h"
#include "dispatch/header_list.h"
#include "http/percent.h"
#include "http/query.h"
#include "http/router.h"
#include "model/destination.h"
#include "model/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As strict as ours about UTF-8, and not written by us. */
static bool jansson_takes(const char *text, size_t size) {
    json_t *same = json_stringn(text, size);
    bool valid = same != NULL;
    json_decref(same);
    return valid;
}

static void check_percent_form(struct span in, enum percent_form form) {
    char out[600];
    size_t size;
    if (percent_decode(in, form, out, sizeof out, &size) == 0) {
        assert(size <= sizeof out && size <= in.size);
        assert(jansson_takes(out, size));
        for (size_t i = 0; i < size; i++) {
            assert((uint8_t)out[i] >= 0x20 && out[i] != 0x7f);
        }
    }
}

static void check_percent(struct span in) {
    check_percent_form(in, PERCENT_PATH);
    check_percent_form(in, PERCENT_QUERY);
    assert(utf8_valid(in) == jansson_takes((const char *)in.data, in.size));
}

static void check_query(struct span in) {
    struct query_walk walk;
    struct query_parameter p;
    char name[QUERY_NAME_BYTES + 1], out[QUERY_VALUE_BYTES];
    struct span value;
    int rc;
    query_walk_init(&walk, in);
    while ((rc = query_next(&walk, &p)) == 0) {
        assert(p.name.size > 0 && p.name.size <= QUERY_NAME_BYTES);
        assert(p.value.size <= QUERY_VALUE_BYTES);
        memcpy(name, p.name.data, p.name.size);
        name[p.name.size] = '\0';
        int found = query_find(in, name, out, sizeof out, &value);
        assert(found != E_NOT_FOUND);
        assert(found != 0 || span_equal(value, p.value));
    }
    assert(rc == E_END || rc == E_INVALID || rc == E_TOO_LARGE);
}

static struct http_router *make_router(void) {
    struct http_router *router;
    struct http_route *routes = calloc(api_route_count, sizeof *routes);
    size_t bad;
    assert(routes != NULL);
    for (size_t i = 0; i < api_route_count; i++) {
        routes[i] = (struct http_route){api_routes[i].method, api_routes[i].pattern};
    }
    int rc = http_router_create(routes, api_route_count, &bad, &router);
    assert(rc == 0);
    free(routes);
    return router;
}

static void check_route(struct span in) {
    static struct http_router *router;
    struct http_match match;
    router = router != NULL ? router : make_router();
    for (int method = HTTP_GET_; method <= HTTP_OPTIONS_; method++) {
        int rc = http_router_match(router, (enum http_method)method, in, &match);
        assert(rc == 0 || rc == E_NOT_FOUND || rc == E_UNSUPPORTED || rc == E_INVALID ||
               rc == E_TOO_LARGE);
        for (size_t i = 0; rc == 0 && i < match.capture_count; i++) {
            struct span s = match.captures[i];
            assert(s.size > 0 && s.size <= HTTP_NAME_BYTES && !span_is(s, "."));
            assert(!span_is(s, "..") && utf8_valid(s));
        }
        assert(rc != E_UNSUPPORTED || match.allow[0] != '\0');
    }
}

static void check_receipt(struct span in) {
    uint64_t id, same;
    char text[18];
    if (receipt_parse(in, &id) == 0) {
        receipt_format(id, text);
        int rc = receipt_parse(span_text(text), &same);
        assert(rc == 0 && same == id && in.size == strlen(text));
    }
}

static void check_time(struct span in) {
    uint64_t ns, same;
    char text[TIME_TEXT_BYTES];
    if (time_parse(in, &ns) == 0) {
        size_t size = time_format(ns, text);
        int rc = time_parse(span_of(text, size), &same);
        assert(rc == 0 && same == ns);
    }
}

static void check_duration(struct span in) {
    uint64_t ns, same;
    char text[DURATION_TEXT_BYTES];
    if (duration_parse(in, &ns) == 0) {
        size_t size = duration_format(ns, text);
        int rc = duration_parse(span_of(text, size), &same);
        assert(rc == 0 && same == ns);
    }
}

static void check_number(struct span in) {
    uint64_t value;
    char text[20];
    if (u64_parse(in, &value) == 0) {
        size_t size = u64_format(value, text);
        assert(span_equal(span_of(text, size), in));
    }
}

/* One token is known; nothing but its own text may find it. */
static void check_token(struct span in) {
    static struct auth *auth;
    static char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    if (auth == NULL) {
        static const char *const patterns[] = {"queues/mail-*"};
        token_make(token, hash);
        const struct token_def def = {"fuzz", hash, SCOPE_ADMIN, patterns, 1};
        int rc = auth_create(&def, 1, &auth);
        assert(rc == 0);
    }
    assert(auth_find(auth, in) == NULL); /* 256 random bits were not guessed */
    struct principal p = {.token = NULL};
    (void)auth_decide(&p, ACTION_OPEN, in);
    (void)auth_covers(&p, in);
    (void)token_hash_valid(in);
    (void)resource_pattern_valid(in);
    (void)scope_parse(in);
}

static void check_trace(struct span in) {
    if (traceparent_valid(in)) {
        assert(in.size == 55);
    }
}

static void check_statuses(struct span in) {
    char *list = span_dup(in);
    assert(list != NULL);
    bool valid = status_list_valid(list);
    for (unsigned status = 0; status < 1000; status += 33) {
        bool has = status_list_has(list, status);
        assert(!valid || !has || status >= 100);
    }
    free(list);
}

static void check_address(struct span in) {
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)(in.size < 100 ? in.size : 100),
             (const char *)in.data);
    if (address_text_is_public(text)) {
        assert(strchr(text, ':') != NULL || strchr(text, '.') != NULL);
        assert(strncmp(text, "127.", 4) != 0 && strncmp(text, "10.", 3) != 0);
    }
}

/* No header of ours is taken over, and nothing ends a line early. */
static void check_header_lines(struct span in) {
    struct header_list list, reserved, none;
    header_list_init(&none);
    header_list_init(&list);
    header_list_init(&reserved);
    header_list_add_text(&reserved, "X-Taken", "1");
    header_list_add_lines(&list, in, &reserved);
    for (const struct curl_slist *n = header_list_curl(&list, &none); n != NULL; n = n->next) {
        assert(strpbrk(n->data, "\r\n") == NULL);
        assert(strncasecmp(n->data, "X-Taken:", 8) != 0);
        assert(strncasecmp(n->data, "Content-Length:", 15) != 0);
        assert(strncasecmp(n->data, "Transfer-Encoding:", 18) != 0);
        assert(strncasecmp(n->data, "Idempotency-Key:", 16) != 0);
    }
    header_list_release(&list);
    header_list_release(&reserved);
    header_list_release(&none);
}

static void check_excerpt(struct span in) {
    uint8_t out[EXCERPT_MAX_BYTES];
    size_t size = excerpt_clean(in, out);
    assert(size <= EXCERPT_MAX_BYTES && size <= in.size);
    assert(jansson_takes((const char *)out, size));
    for (size_t i = 0; i < size; i++) {
        assert(out[i] >= 0x20 && out[i] != 0x7f);
    }
}

/* Each place but {queue} has the same value. */
static int look_up(void *context, struct span place, struct span *ret) {
    *ret = *(const struct span *)context;
    return span_is(place, "queue") ? E_NOT_FOUND : 0;
}

static bool shape_kept(enum template_for target, struct span out) {
    for (size_t i = 0; i < out.size; i++) {
        uint8_t c = out.data[i];
        if (c < 0x20 || c == 0x7f || (target != TEMPLATE_LINE && c <= ' ') ||
            (target == TEMPLATE_WORD && (c < 'A' || c > 'Z'))) {
            return false;
        }
    }
    return true;
}

/* First line: a template. The rest: what a message has for its places. Nothing of it ends a line or leaves its segment. */
static void check_template(struct span in) {
    const uint8_t *line = memchr(in.data, '\n', in.size);
    if (line == NULL) {
        return;
    }
    char *text = strndup((const char *)in.data, (size_t)(line - in.data));
    struct span value = span_of(line + 1, (size_t)(in.data + in.size - line - 1));
    assert(text != NULL);
    bool plain = shape_kept(TEMPLATE_URL, span_text(text)) && strchr(text, '.') == NULL;
    for (int target = TEMPLATE_URL; target <= TEMPLATE_WORD; target++) {
        struct buffer out;
        struct span place;
        buffer_init(&out, 1u << 16);
        int rc = template_expand(text, (enum template_for)target, look_up, &value, &out, &place);
        if (rc == 0 && plain && template_problem(text) == NULL && template_has_places(text)) {
            struct span made = buffer_span(&out);
            assert(target == TEMPLATE_WORD || shape_kept((enum template_for)target, made));
            assert(target != TEMPLATE_URL || made.size < 4 ||
                   memmem(made.data, made.size, "/../", 4) == NULL);
        }
        buffer_release(&out);
    }
    (void)template_url_host_is_fixed(text);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const checks[])(struct span) = {
        check_percent,  check_query,        check_route,   check_receipt, check_time,
        check_duration, check_number,       check_token,   check_trace,   check_statuses,
        check_address,  check_header_lines, check_excerpt, check_template};
    if (size > 0) {
        checks[data[0] % ARRAY_LENGTH(checks)](span_of(data + 1, size - 1));
    }
    return 0;
}
