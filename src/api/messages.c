/*
 * What waits in a queue: listed and read without consuming, deleted, sent again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/filter.h"
#include "api/info.h"
#include "api/json_scan.h"
#include "api/routes.h"
#include "api/search.h"
#include "base/clock.h"
#include "base/error.h"
#include "model/history.h"

#define REDRIVE_STEP 1000u

bool message_take_id(struct call *c, size_t capture) {
    c->request.r.name = call_capture(c, 0);
    if (receipt_parse(call_capture(c, capture), &c->request.r.id) != 0) {
        call_problem(c, PROBLEM_NOT_FOUND, "an id is 'r' and 16 hexadecimal digits");
        return false;
    }
    return true;
}

/* Among many of other queues nothing may have been found yet. A search goes on by itself. */
static bool goes_on(struct call *c) {
    struct request *r = &c->request.r;
    if (r->count > 0 || r->next == 0 || r->in.list.filter != NULL ||
        ++c->tries >= SEARCH_STEPS_MAX) {
        return false;
    }
    r->in.list.after = r->next;
    r->in.list.bound = r->next_bound;
    return true;
}

static void listed(struct call *c) {
    const struct request *r = &c->request.r;
    if (call_refused(c)) {
        return;
    }
    if (goes_on(c)) {
        call_resubmit(c);
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    out_key(&out, "messages");
    out_open(&out, '[');
    for (uint64_t i = 0; (i + 1) * sizeof(struct message_info) <= r->out_bytes.size; i++) {
        struct message_info m;
        memcpy(&m, r->out_bytes.data + i * sizeof m, sizeof m);
        out_open(&out, '{');
        info_write_message(&m, &out);
        out_close(&out, '}');
    }
    out_close(&out, ']');
    if (r->in.list.filter != NULL) {
        info_u64(&out, "searched", r->visited);
    }
    call_place_token(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

static void free_filter(void *filter) {
    filter_release(filter);
    free(filter);
}

/* The filter of the query, which lives as long as the call. NULL: answered. */
static struct filter *take_filter(struct call *c, const json_t *object) {
    struct filter *f = calloc(1, sizeof *f);
    struct field_reader reader = call_reader(c);
    reader.now_ns = clock_real_ns();
    if (f == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return NULL;
    }
    c->own = f;
    c->own_free = free_filter;
    int error = filter_read(f, object, &reader);
    if (error == E_INVALID) {
        call_errors(c);
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    }
    return error == 0 ? f : NULL;
}

void messages_list(struct call *c) {
    const struct filter *f = c->tree == NULL ? NULL : take_filter(c, c->tree);
    if (c->tree != NULL && f == NULL) {
        return;
    }
    bool by_filter = f != NULL && c->query.filter == 0;
    struct request *r = &c->request.r;
    r->kind = REQUEST_QUEUE_MESSAGES;
    r->name = call_capture(c, 0);
    r->in.list.state = by_filter ? (enum message_state)f->state : c->query.filter;
    r->in.list.max = c->query.page_size;
    r->in.list.filter = f == NULL ? NULL : &f->match;
    if (!call_take_place(c)) {
        return;
    }
    if (f == NULL) {
        call_submit(c, listed);
    } else {
        call_search(c, listed);
    }
}

/* ---- one message ---- */

static bool is_json(struct span body) {
    struct json_fault fault;
    return json_scan(body, NULL, NULL, &fault) == 0;
}

static void optional_span(struct json_out *out, const char *key, struct span value) {
    if (value.size > 0) {
        info_span(out, key, value);
    }
}

static void write_stored(const struct stored_message *m, struct json_out *out) {
    const struct envelope *e = &m->envelope;
    if (m->version > 0) {
        info_u64(out, "version", m->version);
    }
    info_time(out, "scheduleTime", m->schedule_ns);
    optional_span(out, "contentType", e->content_type);
    optional_span(out, "orderingKey", e->ordering_key);
    optional_span(out, "traceparent", e->traceparent);
    optional_span(out, "tracestate", e->tracestate);
    optional_span(out, "correlationId", e->correlation_id);
    optional_span(out, "headers", e->headers);
    if (is_json(e->body)) {
        out_key(out, "body");
        out_raw(out, e->body);
    } else {
        out_key(out, "bodyBase64");
        out_base64(out, e->body);
    }
}

static void write_attempt(const struct history_entry *e, struct json_out *out) {
    static const char *const verdicts[] = {
        [HISTORY_RETRIED] = "retried", [HISTORY_FAILED] = "failed", [HISTORY_UNKNOWN] = "unknown"};
    info_u64(out, "attempt", e->attempt);
    optional_span(out, "destination", e->destination_name);
    optional_span(out, "endpoint", e->endpoint_name);
    if (e->status != 0) {
        info_u64(out, "status", e->status);
    }
    if (e->error != ATTEMPT_OK) {
        info_text(out, "error", attempt_error_name((enum attempt_error)e->error));
    }
    out_key(out, "duration");
    out_duration(out, (uint64_t)e->duration_us * NS_PER_US);
    info_text(out, "verdict",
              e->verdict < ARRAY_LENGTH(verdicts) && verdicts[e->verdict] != NULL
                  ? verdicts[e->verdict]
                  : "unknown");
    optional_span(out, "response", e->excerpt);
}

static void write_event(const struct history_entry *e, struct json_out *out) {
    out_open(out, '{');
    info_text(out, "what", history_kind_name(e->kind));
    info_time(out, "at", e->time_ns);
    if (e->kind == HISTORY_ATTEMPT) {
        write_attempt(e, out);
    } else if (e->kind == HISTORY_DIED) {
        info_text(out, "reason", dead_reason_name(e->reason));
    } else if (e->kind == HISTORY_MOVED) {
        optional_span(out, "from", e->queue_name);
    }
    out_close(out, '}');
}

/* What the model told of it, oldest first. */
static void write_history(struct span told, struct json_out *out) {
    struct reader r;
    struct history_entry e;
    reader_init(&r, told);
    uint32_t went = told.size > 0 ? reader_u32(&r) : 0;
    out_key(out, "history");
    out_open(out, '[');
    while (history_next(&r, &e)) {
        write_event(&e, out);
    }
    out_close(out, ']');
    if (went > 0) {
        info_u64(out, "historyForgotten", went);
    }
}

void message_etag(const struct message_info *m, uint16_t version, char out[ETAG_BYTES]) {
    snprintf(out, ETAG_BYTES, "\"%u-%s-%u\"", version, message_state_name(m->state), m->attempts);
}

static void send_etag(struct call *c, const struct stored_message *stored, char out[ETAG_BYTES]) {
    message_etag(&c->request.r.out.message, stored->version, out);
    call_header(c, "ETag", span_text(out));
}

static void send_message(struct call *c, const struct stored_message *stored) {
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_span(&out, "queue", call_capture(c, 0));
    info_write_message(&c->request.r.out.message, &out);
    write_history(buffer_span(&c->request.r.out_bytes), &out);
    if (stored != NULL) {
        char etag[ETAG_BYTES];
        send_etag(c, stored, etag);
        info_text(&out, "etag", etag);
        write_stored(stored, &out);
    }
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

/* A control character would end the line; such a type is not sent as one. */
static bool type_sendable(struct span type) {
    for (size_t i = 0; i < type.size; i++) {
        if (type.data[i] < ' ' || type.data[i] > '~') {
            return false;
        }
    }
    return type.size > 0 && type.size < 256;
}

/*
 * The payload as it was published. It came from outside and is shown under our own origin, so a
 * browser is told not to run anything in it.
 */
static void send_body(struct call *c, const struct stored_message *stored) {
    struct span type = stored->envelope.content_type;
    char text[256] = "application/octet-stream", etag[ETAG_BYTES];
    if (type_sendable(type)) {
        memcpy(text, type.data, type.size);
        text[type.size] = '\0';
    }
    send_etag(c, stored, etag);
    call_header(c, "X-Content-Type-Options", span_text("nosniff"));
    call_header(c, "Content-Security-Policy", span_text("sandbox; default-src 'none'"));
    call_text(c, 200, text, stored->envelope.body);
}

static void got(struct call *c) {
    const struct message_info *m = &c->request.r.out.message;
    if (call_refused(c)) {
        return;
    }
    if (c->query.view == VIEW_BASIC) {
        send_message(c, NULL);
        return;
    }
    struct stored_message stored;
    struct buffer bytes;
    buffer_init(&bytes, RECORD_MAX_BYTES * 2u);
    int error = engine_read_message(c->loop->api->options.engine, m->stored_id, m->address, &bytes,
                                    &stored);
    if (error == E_NOT_FOUND) {
        call_problem(c, PROBLEM_NOT_FOUND, "its body is no longer held");
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, error == E_CORRUPT ? "its stored body is damaged" : NULL);
    } else if (c->query.view == VIEW_FULL) {
        send_message(c, &stored);
    } else {
        send_body(c, &stored);
    }
    buffer_release(&bytes);
}

void message_get(struct call *c) {
    c->request.r.kind = REQUEST_MESSAGE_GET;
    if (message_take_id(c, 1)) {
        call_submit(c, got);
    }
}

static void deleted(struct call *c) {
    if (!call_refused(c)) {
        call_empty(c, 204);
    }
}

void message_delete(struct call *c) {
    c->request.r.kind = REQUEST_MESSAGE_DELETE;
    c->request.r.in.note = c->query.reason;
    if (message_take_id(c, 1)) {
        call_submit(c, deleted);
    }
}

/* ---- many messages, in steps, so that no step holds up the engine ---- */

/*
 * One step is done. Goes on at `next`; a refusal after some steps ends it, and the answer says how
 * far it came.
 */
static void stepped(struct call *c) {
    struct request *r = &c->request.r;
    if (c->count == 0 && call_refused(c)) {
        return;
    }
    bool refused = r->refusal != REFUSAL_NONE;
    c->count += refused ? 0 : r->count;
    if (!refused && r->next != 0) {
        if (r->kind == REQUEST_QUEUE_REDRIVE) {
            r->in.redrive.after = r->next;
        }
        call_resubmit(c);
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_u64(&out, r->kind == REQUEST_QUEUE_PURGE ? "purged" : "redriven", c->count);
    if (refused) {
        info_text(&out, "stoppedBy", refusal_name(r->refusal));
    }
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void purge_queue(struct call *c) {
    c->request.r.kind = REQUEST_QUEUE_PURGE;
    c->request.r.name = call_capture(c, 0);
    c->request.r.in.list.state = c->query.filter;
    call_submit(c, stepped);
}

void queue_redrive(struct call *c) {
    c->request.r.kind = REQUEST_QUEUE_REDRIVE;
    c->request.r.name = call_capture(c, 0);
    c->request.r.in.redrive.max = REDRIVE_STEP;
    call_submit(c, stepped);
}

void message_redrive(struct call *c) {
    c->request.r.kind = REQUEST_QUEUE_REDRIVE;
    if (message_take_id(c, 1)) {
        c->request.r.in.redrive.id = c->request.r.id;
        c->request.r.in.redrive.max = 1;
        call_submit(c, stepped);
    }
}
