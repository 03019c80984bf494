#include "manage/calls.h"

#include <stdlib.h>

#include "api/info.h"
#include "base/error.h"
#include "http/query.h"
#include "manage/manager.h"

#define LIST_MAX_BYTES ((size_t)1 << 30)
#define TEXT_MAX_BYTES ((size_t)8 << 20)

static const enum request_kind kinds[MANAGE_LISTS] = {
    [LIST_VHOST] = REQUEST_VHOST_LIST,       [LIST_EXCHANGE] = REQUEST_EXCHANGE_LIST,
    [LIST_QUEUE] = REQUEST_QUEUE_LIST,       [LIST_BINDING] = REQUEST_BINDING_LIST,
    [LIST_CONSUMER] = REQUEST_CONSUMER_LIST, [LIST_POLICY] = REQUEST_POLICY_LIST,
    [LIST_USER] = REQUEST_USER_LIST,         [LIST_PERMISSION] = REQUEST_PERMISSION_LIST,
};

static void own_free(void *own) {
    struct manage *m = own;
    for (int i = 0; i < MANAGE_LISTS; i++)
        buffer_release(&m->lists[i]);
    buffer_release(&m->text);
    json_decref(m->found);
    manage_peers_free(m->peers);
    json_decref(m->session_names);
    manage_login_free(m->login);
    import_free(m->import);
    free(m);
}

struct manage *manage_of(struct call *c) {
    struct manage *m = c->own;
    if (m != NULL)
        return m;
    m = calloc(1, sizeof *m);
    if (m == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return NULL;
    }
    for (int i = 0; i < MANAGE_LISTS; i++)
        buffer_init(&m->lists[i], LIST_MAX_BYTES);
    buffer_init(&m->text, TEXT_MAX_BYTES);
    c->own = m;
    c->own_free = own_free;
    c->head.idempotency_key = span_of(NULL, 0); /* a call here is many requests */
    return m;
}

struct manager *manage_manager(const struct call *c) {
    return c->loop->api->options.more->context;
}

/* ---- lists ---- */

static void answered(struct call *c);

static void ask_next(struct call *c) {
    struct manage *m = c->own;
    if (m->wanted == 0) {
        m->then(c);
        return;
    }
    int list = 0;
    while ((m->wanted & 1u << list) == 0)
        list++;
    m->asking = (enum manage_list)list;
    m->wanted &= ~(1u << list);
    struct span vhost = c->request.r.vhost;
    struct request *r = call_request(c, kinds[list]);
    r->vhost = vhost;
    r->in.list.max = LIST_MAX;
    c->quiet = true;
    call_submit(c, answered);
}

static void answered(struct call *c) {
    struct manage *m = c->own;
    struct request *r = &c->request.r;
    if (manage_refused(c))
        return;
    if (buffer_append_span(&m->lists[m->asking], buffer_span(&r->out_bytes)) != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    if (m->asking == LIST_QUEUE && r->next != 0) {
        r->in.list.after = r->next;
        call_resubmit(c);
        return;
    }
    ask_next(c);
}

void manage_ask(struct call *c, unsigned lists, struct span vhost, void (*then)(struct call *c)) {
    struct manage *m = manage_of(c);
    if (m == NULL)
        return;
    m->wanted = lists;
    m->then = then;
    c->request.r.vhost = vhost;
    ask_next(c);
}

void manage_submit(struct call *c, bool quiet, void (*then)(struct call *c)) {
    c->quiet = quiet;
    call_submit(c, then);
}

/* ---- answers ---- */

/* 400 for what RabbitMQ closes a channel for; its tools show `reason` then. */
static enum problem problem_of(enum refusal refusal) {
    switch (refusal) {
    case REFUSAL_CONFLICT:
    case REFUSAL_PRECONDITION:
    case REFUSAL_LOCKED:
    case REFUSAL_FORBIDDEN:
    case REFUSAL_REFERENCE:
        return PROBLEM_INVALID;
    default:
        return problem_of_refusal(refusal);
    }
}

bool manage_refused(struct call *c) {
    const struct request *r = &c->request.r;
    if (r->refusal == REFUSAL_NONE)
        return false;
    struct problem_facts facts = {
        .kind = problem_of(r->refusal), .detail = r->error_detail, .pointer = r->error_pointer};
    call_problem_facts(c, &facts);
    return true;
}

void manage_defined(struct call *c) {
    struct manage *m = c->own;
    if (!manage_refused(c))
        call_empty(c, m->there ? 204 : 201);
}

void manage_done(struct call *c) {
    if (!manage_refused(c))
        call_empty(c, 204);
}

void manage_send(struct call *c, int status, json_t *value) {
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    if (text == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    call_text(c, status, "application/json", span_text(text));
    free(text);
}

/* ---- what was asked ---- */

bool manage_body(struct call *c) {
    if (http_body(c->x).size == 0) {
        c->tree = json_object();
        if (c->tree == NULL)
            call_problem(c, PROBLEM_INTERNAL, NULL);
        return c->tree != NULL;
    }
    if (!call_read_tree(c))
        return false;
    if (!json_is_object(c->tree)) {
        call_invalid(c, "", "expected an object");
        return false;
    }
    return true;
}

struct span member_text(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? span_of(json_string_value(value), json_string_length(value))
                                 : span_text("");
}

/* Some tools write "true". */
bool member_bool(const json_t *object, const char *name) {
    return json_is_true(json_object_get(object, name)) ||
           span_is(member_text(object, name), "true");
}

int64_t member_integer(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    if (json_is_string(value))
        return strtoll(json_string_value(value), NULL, 10);
    return json_is_integer(value) ? json_integer_value(value) : 0;
}

bool manage_flag(const struct call *c, const char *name) {
    char room[16];
    struct span value;
    return query_find(http_query(c->x), name, room, sizeof room, &value) == 0 &&
           (span_is(value, "true") || span_is(value, "yes"));
}

struct span manage_copy(struct call *c, struct span text) {
    uint8_t *copy = call_alloc(c, text.size + 1);
    if (copy == NULL)
        return span_of(NULL, 0);
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return span_of(copy, text.size);
}
