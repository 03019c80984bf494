#include "api/call.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/json_tree.h"
#include "api/routes.h"
#include "base/units.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/logline.h"
#include "model/audit.h"

#define JSON_TYPE    "application/json"
#define PROBLEM_TYPE "application/problem+json"
#define REFUSED_BODY "{\"type\":\"/problems/internal\",\"status\":500}"

static void admit_waiting(struct api_loop *l);

/* ---- the pool ---- */

struct call *call_take(struct api_loop *l) {
    struct call *c = l->pool;
    if (c != NULL) {
        l->pool = c->next;
    } else {
        c = l->calls < l->calls_max ? malloc(sizeof *c) : NULL;
        if (c == NULL) {
            return NULL;
        }
        l->calls++;
    }
    c->loop = l;
    c->request.may_wait = false; /* somebody waits for each answer */
    c->x = NULL;
    c->route = NULL;
    c->gather = NULL;
    c->company = NULL;
    c->kept = NULL;
    c->items = 0;
    c->quiet = false;
    c->rated = false;
    c->own = NULL;
    c->has_definition = false;
    c->tree = NULL;
    c->tries = 0;
    c->count = 0;
    c->blocks = NULL;
    c->arena_used = 0;
    c->principal = (struct principal){.token = NULL};
    request_init(&c->request.r, REQUEST_NOTHING);
    return c;
}

void call_give(struct call *c) {
    if (c->has_definition) {
        definition_release(&c->definition);
    }
    if (c->tree != NULL) {
        json_decref(c->tree);
    }
    if (c->kept != NULL) {
        buffer_release(c->kept);
        free(c->kept);
    }
    if (c->own != NULL) {
        c->own_free(c->own);
    }
    while (c->blocks != NULL) {
        struct call_block *b = c->blocks;
        c->blocks = b->next;
        free(b);
    }
    request_release(&c->request.r);
    struct api_loop *l = c->loop;
    l->items -= c->items;
    c->next = l->pool;
    l->pool = c;
    admit_waiting(l);
}

void *call_alloc(struct call *c, size_t size) {
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded <= CALL_ARENA_BYTES - c->arena_used) {
        void *at = c->arena + c->arena_used;
        c->arena_used += (uint32_t)rounded;
        return at;
    }
    struct call_block *b = malloc(16 + rounded);
    if (b == NULL) {
        return NULL;
    }
    b->next = c->blocks;
    c->blocks = b;
    return (uint8_t *)b + 16;
}

struct span call_capture(const struct call *c, size_t i) {
    assert(i < c->match.capture_count);
    return c->match.captures[i];
}

/* ---- to the engine ---- */

static void collect(struct call *c) {
    struct api_loop *l = c->loop;
    c->request.port = &l->port;
    c->request.next = NULL;
    if (l->last != NULL) {
        l->last->next = &c->request;
    } else {
        l->first = &c->request;
    }
    l->last = &c->request;
    l->collected++;
    /* Who asks in a quick answer asks behind before_wait: without another round it waited for whatever comes next. */
    net_loop_again(l->loop);
}

static void collect_with_company(struct call *c) {
    for (; c != NULL; c = c->company) {
        collect(c);
    }
}

static uint32_t list_items(const struct call *c) {
    uint32_t items = 0;
    for (; c != NULL; c = c->company) {
        items += request_list_items(&c->request.r);
    }
    return items;
}

static bool admit(struct call *c) {
    struct api_loop *l = c->loop;
    uint32_t items = list_items(c);
    if (l->items + items > LIST_ITEMS_MAX) {
        return false;
    }
    c->items = items;
    l->items += items;
    return true;
}

static void wait_for_admission(struct call *c) {
    struct api_loop *l = c->loop;
    c->next = NULL;
    *(l->waiting != NULL ? &l->last_waiting->next : &l->waiting) = c;
    l->last_waiting = c;
    if (c->x != NULL) {
        http_hold_line(c->x);
    }
}

static void admit_waiting(struct api_loop *l) {
    while (l->waiting != NULL && admit(l->waiting)) {
        struct call *c = l->waiting;
        l->waiting = c->next;
        collect_with_company(c);
    }
}

static void ask(struct call *c) {
    bool lists = c->items == 0 && list_items(c) > 0;
    if (lists && (c->loop->waiting != NULL || !admit(c))) {
        wait_for_admission(c);
    } else {
        collect_with_company(c);
    }
}

/* Between the quotes, if it has any. */
static struct span unquoted(struct span key) {
    bool quoted = key.size >= 2 && key.data[0] == '"' && key.data[key.size - 1] == '"';
    return quoted ? span_of(key.data + 1, key.size - 2) : key;
}

static bool fill_idempotency(struct call *c) {
    /* A call of the program's own has no head to look at. */
    if (c->x == NULL || c->head.idempotency_key.data == NULL || http_method(c->x) != HTTP_POST_) {
        return true;
    }
    struct span key = unquoted(c->head.idempotency_key);
    if (key.size == 0 || key.size > KEY_MAX_BYTES) {
        call_invalid(c, "", "Idempotency-Key: expected 1 to 255 characters");
        return false;
    }
    struct hash_key hash = c->loop->api->hash;
    struct hash_key typed = {hash.k0, hash.k1 ^ hash_bytes(hash, c->head.content_type)};
    c->request.r.idempotency = (struct idempotency){
        .key = key,
        /* A path that names no resource is shared: there each tenant has keys of its own. */
        .scope = hash_bytes(hash, http_path(c->x)) ^
                 (c->match.capture_count == 0 ? auth_space(&c->principal) : 0),
        .fingerprint = hash_bytes(typed, http_body(c->x)),
    };
    return true;
}

/* Whoever changes something has to answer for it: the model writes this into the audit. */
static void sign(struct call *c) {
    const struct auth_token *token = c->principal.token;
    if (c->route != NULL && !c->quiet && (action_traits(c->route->action) & ACTION_CHANGES) != 0) {
        assert(audit_names(c->request.r.kind)); /* a new route: give it its line in audit_text.c */
        c->request.r.actor = c->principal.user != NULL
                                 ? c->principal.user->name
                                 : span_text(token != NULL ? auth_token_label(token) : "anonymous");
        c->request.r.address = http_peer(c->x);
    }
}

void call_submit(struct call *c, void (*answer)(struct call *c)) {
    c->answer = answer;
    sign(c);
    if (fill_idempotency(c)) {
        ask(c);
    }
}

struct request *call_request(struct call *c, enum request_kind kind) {
    request_release(&c->request.r);
    request_init(&c->request.r, kind);
    return &c->request.r;
}

void call_resubmit(struct call *c) {
    struct request *r = &c->request.r;
    buffer_clear(&r->out_bytes);
    r->refusal = REFUSAL_NONE;
    r->error_detail = NULL;
    r->error_pointer[0] = '\0';
    r->count = r->next = 0;
    ask(c);
}

bool call_read_tree(struct call *c) {
    char reason[JSON_REASON_BYTES];
    int error = json_tree_read(http_body(c->x), reason, &c->tree);
    if (error == E_INVALID) {
        call_invalid(c, "", reason);
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    }
    return error == 0;
}

void call_envelope(struct call *c, struct envelope *e) {
    e->content_type = c->head.content_type;
    e->traceparent = c->head.traceparent;
    e->tracestate = c->head.tracestate;
    e->correlation_id = span_of(c->correlation, c->correlation_size);
    e->body = http_body(c->x);
}

/* ---- answers ---- */

void call_header(struct call *c, const char *name, struct span value) {
    struct buffer *b = &c->loop->headers;
    size_t before = b->size;
    if (buffer_append_text(b, name) != 0 || buffer_append(b, ": ", 2) != 0 ||
        buffer_append_span(b, value) != 0 || buffer_append(b, "\r\n", 2) != 0) {
        b->size = before; /* no memory: the answer goes without this line */
    }
}

static void note_latency(struct api_loop *l, uint64_t ns) {
    pthread_mutex_lock(&l->lock);
    histogram_add(&l->latency, ns);
    pthread_mutex_unlock(&l->lock);
}

/* Changes of definitions and failures are worth a line; the rest only when somebody asks for it. */
static void log_call(const struct call *c, int status, uint64_t ns) {
    bool change =
        c->route != NULL && status < 300 && (action_traits(c->route->action) & ACTION_CHANGES) != 0;
    enum logline_level level = status == 500 ? LOGLINE_ERROR
                               : change      ? LOGLINE_INFO
                                             : LOGLINE_DEBUG;
    if (!logline_wanted(level)) {
        return;
    }
    struct logline line;
    logline_begin(&line, level, c->route != NULL ? c->route->id : "request");
    logline_span(&line, "path", http_path(c->x));
    logline_u64(&line, "status", (uint64_t)status);
    logline_duration(&line, "duration", ns);
    logline_span(&line, "peer", http_peer(c->x));
    logline_span(&line, "correlation", span_of(c->correlation, c->correlation_size));
    logline_end(&line);
}

static void tell_rate(struct call *c) {
    char text[RATE_TEXT_SIZE];
    rate_text(&c->rate, text);
    call_header(c, "RateLimit-Policy", span_text(rate_policy(c->loop->api->rate)));
    call_header(c, "RateLimit", span_text(text));
}

static void finish(struct call *c, int status, const char *content_type, struct span body) {
    uint64_t ns = clock_monotonic_ns() - c->started_ns;
    call_header(c, "X-Correlation-Id", span_of(c->correlation, c->correlation_size));
    if (c->rated) {
        tell_rate(c);
    }
    log_call(c, status, ns);
    note_latency(c->loop, ns);
    http_reply(c->x, status, content_type, buffer_span(&c->loop->headers), body);
    buffer_clear(&c->loop->headers);
    call_give(c);
}

struct json_out call_json_begin(struct call *c) {
    struct json_out out;
    buffer_clear(&c->loop->text);
    out_init(&out, &c->loop->text);
    return out;
}

static void end_json(struct call *c, int status, const char *type, const struct json_out *out) {
    if (out->failed) {
        finish(c, 500, PROBLEM_TYPE, span_text(REFUSED_BODY));
        return;
    }
    finish(c, status, type, buffer_span(&c->loop->text));
}

void call_json_end(struct call *c, int status, const struct json_out *out) {
    end_json(c, status, JSON_TYPE, out);
}

void call_text(struct call *c, int status, const char *content_type, struct span body) {
    finish(c, status, content_type, body);
}

void call_empty(struct call *c, int status) {
    finish(c, status, NULL, span_of(NULL, 0));
}

/* ---- problems ---- */

void call_problem_facts(struct call *c, struct problem_facts *facts) {
    facts->instance = http_path(c->x);
    facts->correlation_id = span_of(c->correlation, c->correlation_size);
    uint64_t wait_s = problem_retry_after_s(facts, clock_real_ns());
    if (wait_s > 0) {
        char digits[20];
        call_header(c, "Retry-After", span_of(digits, u64_format(wait_s, digits)));
    }
    struct json_out out = call_json_begin(c);
    problem_write(facts, &out);
    end_json(c, problem_types[facts->kind].status, PROBLEM_TYPE, &out);
}

void call_problem(struct call *c, enum problem kind, const char *detail) {
    struct problem_facts facts = {.kind = kind, .detail = detail};
    call_problem_facts(c, &facts);
}

void call_invalid(struct call *c, const char *pointer, const char *detail) {
    struct problem_facts facts = {.kind = PROBLEM_INVALID, .detail = detail, .pointer = pointer};
    call_problem_facts(c, &facts);
}

void call_errors(struct call *c) {
    struct problem_facts facts = {.kind = PROBLEM_INVALID, .errors = c->loop->errors};
    call_problem_facts(c, &facts);
}

struct field_reader call_reader(struct call *c) {
    c->loop->errors->count = 0;
    return (struct field_reader){.errors = c->loop->errors};
}

bool call_refused(struct call *c) {
    const struct request *r = &c->request.r;
    if (r->refusal == REFUSAL_NONE) {
        return false;
    }
    struct problem_facts facts = {
        .kind = problem_of_refusal(r->refusal),
        .detail = r->error_detail,
        .opens_ns = r->refusal == REFUSAL_NOT_OPEN ? r->opens_ns : 0,
        .pointer = r->error_pointer,
    };
    if (r->refusal == REFUSAL_ALREADY_CLAIMED) {
        facts.receipt = r->receipt.id;
        facts.number = r->receipt.number;
    }
    call_problem_facts(c, &facts);
    return true;
}

/* ---- lists ---- */

void call_list(struct call *c, enum request_kind kind, void (*answer)(struct call *c)) {
    struct request *r = &c->request.r;
    r->kind = kind;
    if (c->match.capture_count > 0) {
        r->name = call_capture(c, 0);
    }
    r->in.list.state = c->query.filter;
    r->in.list.after = c->query.after;
    r->in.list.max = c->query.page_size;
    call_submit(c, answer);
}

void call_page_token(struct call *c, struct json_out *out) {
    if (c->request.r.next != 0) {
        char token[20];
        snprintf(token, sizeof token, "%016llx", (unsigned long long)c->request.r.next);
        out_key(out, "nextPageToken");
        out_text(out, token);
    }
}

/* The list that is asked for. */
static uint32_t list_asked(const struct call *c) {
    const struct request *r = &c->request.r;
    return place_list(r->name, r->in.list.state, c->tree);
}

void call_place_token(struct call *c, struct json_out *out) {
    const struct place p = {.after = c->request.r.next, .bound = c->request.r.next_bound};
    if (p.after != 0) {
        char token[PLACE_DIGITS + 1];
        place_write(&p, list_asked(c), c->loop->api->process, token);
        out_key(out, "nextPageToken");
        out_text(out, token);
    }
}

bool call_take_place(struct call *c) {
    struct place p = {.after = 0};
    const struct span token = span_of(c->query.place, sizeof c->query.place);
    int error =
        c->query.has_place ? place_read(token, list_asked(c), c->loop->api->process, &p) : 0;
    if (error != 0) {
        call_invalid(
            c, "",
            error == E_CLOSED
                ? "page_token: the server was started anew, and a list as long as this one "
                  "does not outlive that: begin with the first page"
                : "page_token: not of this list: queue and filter must be those of the "
                  "page before");
        return false;
    }
    c->request.r.in.list.after = p.after;
    c->request.r.in.list.bound = p.bound;
    return true;
}

/* ---- receipts ---- */

void call_receipt_members(struct call *c, struct json_out *out) {
    const struct receipt *receipt = &c->request.r.receipt;
    char id[18];
    receipt_format(receipt->id, id);
    out_key(out, "receipt");
    out_text(out, id);
    if (receipt->number != 0) {
        out_key(out, "number");
        out_u64(out, receipt->number);
    }
    out_key(out, "position");
    out_u64(out, id_position(receipt->id));
    out_key(out, "acceptedAt");
    out_time(out, receipt->accepted_ns);
    if (receipt->eta_ns != 0) {
        out_key(out, "eta");
        out_time(out, receipt->eta_ns);
    }
}

void call_receipt_headers(struct call *c) {
    static const char prefix[] = "/v1/receipts/";
    const struct request *r = &c->request.r;
    char location[sizeof prefix + 18];
    memcpy(location, prefix, sizeof prefix - 1);
    receipt_format(r->receipt.id, location + sizeof prefix - 1);
    call_header(c, "Location", span_text(location));
    if (r->replayed) {
        call_header(c, "Idempotency-Replayed", span_text("true"));
        atomic_fetch_add_explicit(&c->loop->api->counts.replayed, 1, memory_order_relaxed);
    } else if (!r->duplicate) {
        atomic_fetch_add_explicit(&c->loop->api->counts.accepted, 1, memory_order_relaxed);
    }
}
