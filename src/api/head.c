#include "api/head.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "api/filter.h"
#include "api/routes.h"
#include "base/units.h"
#include "base/error.h"
#include "http/query.h"

#define PAGE_DEFAULT     50u
#define PAGE_MAX         1000u
#define TRACESTATE_BYTES 512u

/* ---- fields ---- */

static bool same_name(struct span name, const char *lower) {
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)lower[i]) {
            return false;
        }
    }
    return true;
}

/* Lengths tell most fields apart, so a field costs one comparison at most. */
static struct span *field_of(struct call_head *h, struct span name) {
    static const struct {
        const char *name;
        size_t size, offset;
    } known[] = {
        {"host", 4, offsetof(struct call_head, host)},
        {"origin", 6, offsetof(struct call_head, origin)},
        {"if-match", 8, offsetof(struct call_head, if_match)},
        {"tracestate", 10, offsetof(struct call_head, tracestate)},
        {"traceparent", 11, offsetof(struct call_head, traceparent)},
        {"content-type", 12, offsetof(struct call_head, content_type)},
        {"authorization", 13, offsetof(struct call_head, authorization)},
        {"idempotency-key", 15, offsetof(struct call_head, idempotency_key)},
        {"x-correlation-id", 16, offsetof(struct call_head, correlation_id)},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (name.size == known[i].size && same_name(name, known[i].name)) {
            return (struct span *)(void *)((char *)h + known[i].offset);
        }
    }
    if (name.size > 7 && same_name(span_of(name.data, 7), "sluice-")) {
        h->has_options = true;
    }
    return NULL;
}

static bool correlation_valid(struct span id) {
    if (id.size == 0 || id.size > CORRELATION_BYTES) {
        return false;
    }
    for (size_t i = 0; i < id.size; i++) {
        if (id.data[i] <= ' ' || id.data[i] > '~' || id.data[i] == '"' || id.data[i] == '\\') {
            return false;
        }
    }
    return true;
}

static void make_correlation(struct call *c) {
    static const char digits[] = "0123456789abcdef";
    uint64_t number = hash_u64(++c->loop->correlation_seed);
    for (int i = 0; i < 16; i++, number >>= 4) {
        c->correlation[i] = digits[number & 15];
    }
    c->correlation_size = 16;
}

static bool hex_run(struct span text, size_t at, size_t count, bool *ret_zero) {
    *ret_zero = true;
    for (size_t i = at; i < at + count; i++) {
        uint8_t c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        *ret_zero = *ret_zero && c == '0';
    }
    return true;
}

bool traceparent_valid(struct span text) {
    bool zero, trace_zero, span_zero;
    return text.size == 55 && text.data[0] == '0' && text.data[1] == '0' && text.data[2] == '-' &&
           text.data[35] == '-' && text.data[52] == '-' && hex_run(text, 3, 32, &trace_zero) &&
           hex_run(text, 36, 16, &span_zero) && hex_run(text, 53, 2, &zero) && !trace_zero &&
           !span_zero;
}

void head_read(struct call *c) {
    size_t count;
    const struct http_header *headers = http_headers(c->x, &count);
    struct call_head *h = &c->head;
    memset(h, 0, sizeof *h);
    for (size_t i = 0; i < count; i++) {
        struct span *field = field_of(h, headers[i].name);
        if (field != NULL && field->data == NULL) {
            *field = headers[i].value;
        }
    }
    /* A trace that is malformed is not continued, as the standard has it. */
    if (!traceparent_valid(h->traceparent)) {
        h->traceparent = h->tracestate = span_of(NULL, 0);
    }
    if (h->tracestate.size > TRACESTATE_BYTES) {
        h->tracestate = span_of(NULL, 0);
    }
    if (correlation_valid(h->correlation_id)) {
        memcpy(c->correlation, h->correlation_id.data, h->correlation_id.size);
        c->correlation_size = (uint8_t)h->correlation_id.size;
    } else {
        make_correlation(c);
    }
}

/* ---- query ---- */

static bool read_page_size(struct call_query *q, struct span value) {
    uint64_t size;
    if (u64_parse(value, &size) != 0 || size == 0) {
        return false;
    }
    q->page_size = size > PAGE_MAX ? PAGE_MAX : (uint32_t)size;
    return true;
}

/* Hexadecimal, 16 digits: where the page before ended. */
static bool read_page_token(struct call_query *q, struct span value) {
    uint64_t after = 0;
    if (value.size != 16) {
        return false;
    }
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) {
            return false;
        }
        after = after << 4 | (uint64_t)digit;
    }
    q->after = after;
    return true;
}

/* Whether it is of this list can be said when all of the query is known. */
static bool read_place(struct call_query *q, struct span value) {
    if (value.size != sizeof q->place) {
        return false;
    }
    memcpy(q->place, value.data, sizeof q->place);
    q->has_place = true;
    return true;
}

static bool read_filter(struct call_query *q, struct span value) {
    for (int s = MESSAGE_READY; s <= MESSAGE_CONFIRMING; s++) {
        bool listed = s <= MESSAGE_BLOCKED || s == MESSAGE_CONFIRMING;
        if (listed && span_is(value, message_state_name((enum message_state)s))) {
            q->filter = (enum message_state)s;
            return true;
        }
    }
    return false;
}

static bool read_view(struct call_query *q, struct span value) {
    static const char *const names[] = {"basic", "full", "body"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (span_is(value, names[i])) {
            q->view = (enum call_view)i;
            return true;
        }
    }
    return false;
}

static bool read_keep(struct call_query *q, struct span value) {
    q->keep_body = span_is(value, "keep");
    return q->keep_body;
}

#define EXPECTS_TOKEN "page_token: expected the nextPageToken of the page before"

/* The first that the route knows by this name. */
static const struct {
    const char *name;
    unsigned needs; /* of enum route_query */
    bool (*read)(struct call_query *q, struct span value);
    const char *expects;
} parameters[] = {
    {"page_size", QUERY_PAGE, read_page_size, "page_size: expected a number from 1 to 1000"},
    {"page_token", QUERY_MATCH, read_place, EXPECTS_TOKEN},
    {"page_token", QUERY_PAGE, read_page_token, EXPECTS_TOKEN},
    {"filter", QUERY_FILTER, read_filter,
     "filter: expected one of ready, delayed, in-flight, dead, blocked"},
    {"body", QUERY_KEEP, read_keep, "body: expected keep"},
    {"view", QUERY_VIEW, read_view, "view: expected one of basic, full, body"},
};

/* False: no such member. One that is not a good text is found by filter_read. */
static bool gather_match(struct call *c, const struct query_parameter *p) {
    bool number;
    uint64_t value;
    if ((c->route->query & QUERY_MATCH) == 0 || !filter_has(p->name, &number)) {
        return false;
    }
    char name[QUERY_NAME_BYTES + 1];
    snprintf(name, sizeof name, "%.*s", SPAN_ARG(p->name));
    json_t *text = number && u64_parse(p->value, &value) == 0 && value <= INT64_MAX
                       ? json_integer((json_int_t)value)
                       : json_stringn((const char *)p->value.data, p->value.size);
    c->tree = c->tree != NULL ? c->tree : json_object();
    return json_object_set_new(c->tree, name, text) == 0;
}

static bool take_reason(struct call *c, struct span value) {
    uint8_t *copy = value.size >= 1 && value.size <= 256 ? call_alloc(c, value.size) : NULL;
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, value.data, value.size);
    c->query.reason = span_of(copy, value.size);
    return true;
}

static const char UNKNOWN_PARAMETER[] = "unknown query parameter";

/* NULL: fine; else what is wrong. */
static const char *read_parameter(struct call *c, const struct query_parameter *p) {
    for (size_t i = 0; i < ARRAY_LENGTH(parameters); i++) {
        if ((c->route->query & parameters[i].needs) != 0 && span_is(p->name, parameters[i].name)) {
            return parameters[i].read(&c->query, p->value) ? NULL : parameters[i].expects;
        }
    }
    if ((c->route->query & QUERY_REASON) != 0 && span_is(p->name, "reason")) {
        return take_reason(c, p->value) ? NULL : "reason: expected 1 to 256 bytes";
    }
    return gather_match(c, p) ? NULL : UNKNOWN_PARAMETER;
}

bool head_query(struct call *c) {
    c->query = (struct call_query){.page_size = PAGE_DEFAULT};
    struct span query = http_query(c->x);
    if (query.size == 0 || (c->route->query & QUERY_OWN) != 0) {
        return true;
    }
    struct query_walk walk;
    struct query_parameter p;
    query_walk_init(&walk, query);
    int error;
    while ((error = query_next(&walk, &p)) == 0) {
        const char *wrong = read_parameter(c, &p);
        if (wrong != NULL) {
            char detail[192];
            struct span found = wrong == UNKNOWN_PARAMETER ? p.name : p.value;
            snprintf(detail, sizeof detail, "%s; found \"%.*s\"", wrong,
                     (int)(found.size < 64 ? found.size : 64), (const char *)found.data);
            call_invalid(c, "", detail);
            return false;
        }
    }
    if (error != E_END) {
        call_invalid(c, "", "the query string is malformed");
        return false;
    }
    return true;
}

/* ---- content type ---- */

static bool is_json_type(struct span type) {
    const uint8_t *end = memchr(type.data, ';', type.size);
    size_t size = end != NULL ? (size_t)(end - type.data) : type.size;
    while (size > 0 && type.data[size - 1] == ' ') {
        size--;
    }
    return (size == 16 && same_name(span_of(type.data, 16), "application/json")) ||
           (size > 5 && same_name(span_of(type.data + size - 5, 5), "+json"));
}

/* Some clients cannot POST without a body and send an empty object, with or without white space. */
static bool says_nothing(struct span body) {
    char seen[3];
    size_t count = 0;
    for (size_t i = 0; i < body.size && count < sizeof seen; i++) {
        if (memchr(" \t\r\n", body.data[i], 4) == NULL) {
            seen[count++] = (char)body.data[i];
        }
    }
    return count == 0 || (count == 2 && memcmp(seen, "{}", 2) == 0);
}

bool head_body_type(struct call *c) {
    if (c->route->body == BODY_JSON && c->head.content_type.size > 0 &&
        !is_json_type(c->head.content_type)) {
        call_problem(c, PROBLEM_UNSUPPORTED, "expected Content-Type: application/json");
        return false;
    }
    if (c->route->body == BODY_NONE && !says_nothing(http_body(c->x))) {
        call_invalid(c, "", "expected no body: what this route can be told stands in the query");
        return false;
    }
    return true;
}

/* ---- rights ---- */

/* No resource has it: names begin with a letter or digit. */
#define NOBODYS_NAME "!"

/* Part of every request's way in, so it is copied, not formatted. What is too long is cut off. */
static struct span resource_text(struct span plural, struct span name, char *out, size_t size) {
    assert(plural.size < size);
    memcpy(out, plural.data, plural.size);
    out[plural.size] = '/';
    size_t left = size - plural.size - 1;
    size_t taken = name.size < left ? name.size : left;
    if (taken > 0) {
        memcpy(out + plural.size + 1, name.data, taken);
    }
    return span_of(out, plural.size + 1 + taken);
}

/* "queues/mail" of "/v1/queues/{queue}/messages"; empty where the path names none of the four kinds. */
static struct span resource_of(const struct call *c, char *out, size_t size) {
    static const char prefix[] = "/v1/";
    const char *pattern = c->route->pattern;
    if (c->match.capture_count == 0 || strncmp(pattern, prefix, sizeof prefix - 1) != 0) {
        return span_of(NULL, 0);
    }
    pattern += sizeof prefix - 1;
    struct span plural = span_of(pattern, strcspn(pattern, "/"));
    for (int kind = 0; kind < DEFINITION_KINDS; kind++) {
        if (span_is(plural, definition_types[kind].plural)) {
            return resource_text(plural, c->match.captures[0], out, size);
        }
    }
    return span_of(NULL, 0);
}

/* "127.0.0.1", but not "127.example.com". */
static bool is_loopback_number(struct span host) {
    bool starts = host.size >= 4 && memcmp(host.data, "127.", 4) == 0;
    for (size_t i = 0; i < host.size; i++) {
        starts = starts && (host.data[i] == '.' || (host.data[i] >= '0' && host.data[i] <= '9'));
    }
    return starts;
}

/* A name that only this machine can mean, so that no other site's name is rebound to it. */
static bool host_is_local(struct span host) {
    const uint8_t *colon = memrchr(host.data, ':', host.size);
    if (colon != NULL && host.data[host.size - 1] != ']') {
        host.size = (size_t)(colon - host.data);
    }
    return (host.size == 9 && same_name(host, "localhost")) || span_is(host, "[::1]") ||
           is_loopback_number(host);
}

/* "http://<host>" of a page that we served ourselves. */
static bool origin_is_host(struct span origin, struct span host) {
    const uint8_t *at = origin.size > 3 ? memmem(origin.data, origin.size, "://", 3) : NULL;
    if (at == NULL) {
        return false;
    }
    at += 3;
    return span_equal(span_of(at, (size_t)(origin.data + origin.size - at)), host);
}

/* Open to this machine, but not to pages of other sites in a browser that runs on it. */
bool call_is_open(const struct call *c) {
    return c->loop->api->options.open_loopback && http_peer_is_loopback(c->x) &&
           host_is_local(c->head.host) &&
           (c->head.origin.data == NULL || origin_is_host(c->head.origin, c->head.host));
}

static void find_principal(struct call *c) {
    const struct auth *auth = c->loop->api->options.auth;
    if (auth != NULL && c->head.authorization.data != NULL) {
        c->principal.token = auth_find(auth, c->head.authorization);
    } else {
        c->principal.everything = call_is_open(c);
    }
}

static void refuse_unknown(struct call *c) {
    if (c->head.authorization.data == NULL && http_peer_is_loopback(c->x) &&
        c->loop->api->options.open_loopback) {
        call_problem(c, PROBLEM_FORBIDDEN,
                     "without tokens, only for this machine: Origin or Host is of another site");
        return;
    }
    call_header(c, "WWW-Authenticate", span_text("Bearer realm=\"sluice\""));
    call_problem(c, PROBLEM_UNAUTHORIZED, NULL);
}

/*
 * Asked for by a name that nothing has, the engine says of it what it says of what is not there, in the
 * same words and the same time. A key would bring back an answer that another tenant had.
 */
static void hide(struct call *c) {
    c->match.captures[0] = span_text(NOBODYS_NAME);
    c->head.idempotency_key = span_of(NULL, 0);
}

bool head_logs_in(const struct call *c) {
    static const char scheme[] = "basic ";
    struct span field = c->head.authorization;
    const struct api_more *more = c->loop->api->options.more;
    return more != NULL && c->match.route >= api_route_count && field.size >= sizeof scheme - 1 &&
           same_name(span_of(field.data, sizeof scheme - 1), scheme);
}

/* A token that is right is one client wherever it comes from; all others are told apart by their address. */
static bool within_rate(struct call *c) {
    struct rate *rate = c->loop->api->rate;
    const struct auth_token *token = c->principal.token;
    if (rate == NULL) {
        return true;
    }
    uint64_t client = token != NULL ? rate_client_of_token(rate, auth_token_label(token))
                                    : rate_client_of_peer(rate, http_peer(c->x));
    c->rated = true;
    return rate_take(rate, client, c->started_ns, &c->rate);
}

bool head_admit(struct call *c) {
    if (c->route->action == ACTION_OPEN) {
        return true;
    }
    if (!head_logs_in(c)) {
        find_principal(c);
    }
    if (within_rate(c)) {
        return true;
    }
    atomic_fetch_add_explicit(&c->loop->api->counts.limited, 1, memory_order_relaxed);
    struct problem_facts facts = {.kind = PROBLEM_RATE_LIMITED, .wait_ns = c->rate.wait_ns};
    call_problem_facts(c, &facts);
    return false;
}

bool head_rights(struct call *c) {
    char room[HTTP_NAME_BYTES + 64];
    if (c->route->action == ACTION_OPEN) {
        return true;
    }
    switch (auth_decide(&c->principal, c->route->action, resource_of(c, room, sizeof room))) {
    case AUTH_YES:
        return true;
    case AUTH_HIDDEN:
        hide(c);
        return true;
    case AUTH_UNKNOWN:
        refuse_unknown(c);
        return false;
    default:
        call_problem(c, PROBLEM_FORBIDDEN, "the token does not cover this");
        return false;
    }
}

bool head_covers(const struct call *c, const char *plural, struct span name) {
    char room[NAME_MAX_BYTES + 64];
    return !auth_is_tenant(&c->principal) ||
           auth_covers(&c->principal, resource_text(span_text(plural), name, room, sizeof room));
}

struct span head_name(struct call *c, const char *plural, struct span name) {
    if (name.size == 0 || head_covers(c, plural, name)) {
        return name;
    }
    /* With the name behind it: two that are hidden stay two. */
    char *hidden = call_alloc(c, name.size + 2);
    if (hidden == NULL) {
        return span_of(NULL, 0);
    }
    hidden[0] = NOBODYS_NAME[0];
    memcpy(hidden + 1, name.data, name.size);
    hidden[name.size + 1] = '\0';
    return span_of(hidden, name.size + 1);
}
