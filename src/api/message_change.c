/*
 * Editing and moving one message. Both need what is stored, which the engine does not have: it is asked where the message is,
 * the body is read, and what is to be done goes back to the engine with how the message was found. Was it
 * changed in between (an attempt, another operator, compaction), the engine says STALE and all begins anew.
 */
#include <stdlib.h>

#include "api/head.h"
#include "api/info.h"
#include "api/routes.h"
#include "base/error.h"

#define TRIES_MAX 8u

/* ---- look, then change ---- */

static void look(struct call *c, void (*found)(struct call *c)) {
    struct span queue = call_capture(c, 0);
    struct request *r = call_request(c, REQUEST_MESSAGE_GET);
    r->name = queue;
    c->quiet = true; /* only looks */
    if (message_take_id(c, 1)) {
        call_submit(c, found);
    }
}

/* Reads what is stored into the call's own room. False: answered. */
static bool read_stored(struct call *c, const struct message_info *m, struct stored_message *ret) {
    if (c->kept == NULL) {
        c->kept = malloc(sizeof *c->kept);
        if (c->kept == NULL) {
            call_problem(c, PROBLEM_INTERNAL, NULL);
            return false;
        }
        buffer_init(c->kept, RECORD_MAX_BYTES * 2u);
    }
    int error =
        engine_read_message(c->loop->api->options.engine, m->stored_id, m->address, c->kept, ret);
    if (error == E_NOT_FOUND) {
        call_problem(c, PROBLEM_CONFLICT, "its body stands elsewhere by now: send it again");
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, error == E_CORRUPT ? "its stored body is damaged" : NULL);
    }
    return error == 0;
}

/* A weak comparison would do no harm, but none of our tags is weak. */
static bool is_as_wanted(const struct call *c, const struct message_info *m, uint16_t version) {
    char tag[ETAG_BYTES];
    message_etag(m, version, tag);
    return c->head.if_match.size == 0 || span_is(c->head.if_match, "*") ||
           span_is(c->head.if_match, tag);
}

/*
 * The message was found: its stored form, which lives as long as the call, and how it was seen. NULL: answered.
 */
static struct stored_message *take_found(struct call *c, struct message_seen *ret_seen) {
    if (call_refused(c)) {
        return NULL;
    }
    const struct message_info m = c->request.r.out.message;
    struct stored_message *stored = call_alloc(c, sizeof *stored);
    if (stored == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return NULL;
    }
    if (!read_stored(c, &m, stored)) {
        return NULL;
    }
    if (!is_as_wanted(c, &m, stored->version)) {
        call_problem(c, PROBLEM_CHANGED, "If-Match names another version, state or attempt");
        return NULL;
    }
    *ret_seen = (struct message_seen){m.address, m.attempts, m.state};
    return stored;
}

/* It was changed while we looked: True, and it begins anew. */
static bool begins_anew(struct call *c, void (*found)(struct call *c)) {
    if (c->request.r.refusal != REFUSAL_STALE || ++c->tries >= TRIES_MAX) {
        return false;
    }
    look(c, found);
    return true;
}

static void submit_change(struct call *c, void (*answer)(struct call *c)) {
    c->quiet = false;
    if (message_take_id(c, 1)) {
        call_submit(c, answer);
    }
}

/* ---- edit ---- */

static void edit_found(struct call *c);

static void edited(struct call *c) {
    if (begins_anew(c, edit_found) || call_refused(c)) {
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_receipt(&out, "id", c->request.r.id);
    info_u64(&out, "version", c->count);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

/* What was sent takes the place of what was stored; the rest stays. NULL: fine, else what is wrong. */
static const char *put_together(struct call *c, const struct publish *p,
                                struct stored_message *content) {
    struct envelope *e = &content->envelope;
    bool amqp = content->properties.size > 0;
    if (p->schedule_ns != 0 || p->ttl_ns != 0 || p->deadline_ns != 0 ||
        p->envelope.ordering_key.size > 0 || p->unique_key.size > 0) {
        return "times and keys stay as they are: what can be edited is the body, Content-Type, "
               "Sluice-Forward-<Name>, Sluice-Priority and Sluice-Retry-Config";
    }
    if (amqp && (p->envelope.headers.size > 0 || c->head.content_type.size > 0)) {
        return "it was published by AMQP: its properties stay, only its body can be edited (send "
               "no Content-Type)";
    }
    e->body = c->query.keep_body ? e->body : http_body(c->x);
    e->content_type = c->head.content_type.size > 0 ? c->head.content_type : e->content_type;
    e->headers = p->envelope.headers.size > 0 ? p->envelope.headers : e->headers;
    e->retry = p->envelope.retry.size > 0 ? p->envelope.retry : e->retry;
    bool prioritized = http_header_find(c->x, "Sluice-Priority").size > 0;
    content->priority = prioritized ? p->priority : content->priority;
    content->version++;
    return content->version == 0 ? "it was edited 65,535 times" : NULL;
}

static void edit_found(struct call *c) {
    struct message_seen seen;
    struct publish p = {.priority = 0};
    uint8_t priority = c->request.r.out.message.priority; /* an edit before may have changed it */
    struct stored_message *content = take_found(c, &seen);
    if (content == NULL || !publish_options(c, &p)) {
        return;
    }
    content->priority = priority;
    const char *wrong = put_together(c, &p, content);
    if (wrong != NULL) {
        call_invalid(c, "", wrong);
        return;
    }
    c->count = content->version;
    struct request *r = call_request(c, REQUEST_MESSAGE_EDIT);
    r->in.edit.seen = seen;
    r->in.edit.content = content;
    submit_change(c, edited);
}

void message_edit(struct call *c) {
    if (c->query.keep_body && http_body(c->x).size > 0) {
        call_invalid(c, "", "expected no body with body=keep");
        return;
    }
    look(c, edit_found);
}

/* ---- move ---- */

static void transfer_found(struct call *c);

static struct span wanted_queue(struct call *c) {
    const char *to = json_string_value(json_object_get(c->tree, "to"));
    return to != NULL ? head_name(c, "queues", span_text(to)) : span_of(NULL, 0);
}

static void transferred(struct call *c) {
    if (begins_anew(c, transfer_found) || call_refused(c)) {
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_receipt(&out, "id", c->request.r.id);
    info_span(&out, "queue", wanted_queue(c));
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

static void transfer_found(struct call *c) {
    struct message_seen seen;
    const struct stored_message *stored = take_found(c, &seen);
    if (stored == NULL) {
        return;
    }
    struct request *r = call_request(c, REQUEST_MESSAGE_TRANSFER);
    r->in.transfer.seen = seen;
    r->in.transfer.stored = stored;
    r->in.transfer.to = wanted_queue(c);
    submit_change(c, transferred);
}

void message_transfer(struct call *c) {
    if (!call_read_tree(c)) {
        return;
    }
    if (json_object_size(c->tree) != 1 || wanted_queue(c).size == 0) {
        call_invalid(c, "/to", "expected {\"to\": \"the name of a queue\"}");
        return;
    }
    look(c, transfer_found);
}
