/*
 * GET /v1/receipts/{receipt}: what became of an accepted request. POST .../confirmation: what became of a message
 * that its destination took and works on.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/head.h"
#include "api/info.h"
#include "api/routes.h"
#include "base/error.h"

static void write_links(struct span queue, const char *id, struct json_out *out) {
    char link[QUEUE_NAME_MAX_BYTES + 64];
    out_key(out, "links");
    out_open(out, '{');
    snprintf(link, sizeof link, "/v1/receipts/%s", id);
    info_text(out, "self", link);
    if (queue.size > 0) {
        snprintf(link, sizeof link, "/v1/queues/%.*s/messages/%s", SPAN_ARG(queue), id);
        info_text(out, "message", link);
    }
    out_close(out, '}');
}

/* Receipts can be guessed, being positions: a tenant reads those of its own queues and campaigns. */
static void hide_foreign(struct call *c) {
    struct request *r = &c->request.r;
    struct span queue = request_receipt_queue(r), campaign = request_receipt_campaign(r);
    if (!auth_is_tenant(&c->principal) || r->refusal != REFUSAL_NONE ||
        (queue.size > 0 && head_covers(c, "queues", queue)) ||
        (campaign.size > 0 && head_covers(c, "campaigns", campaign))) {
        return;
    }
    r->refusal = REFUSAL_NOT_FOUND;
    r->error_detail = RECEIPT_NOT_KNOWN;
}

static void got(struct call *c) {
    const struct receipt_info *i = &c->request.r.out.receipt;
    struct span queue = request_receipt_queue(&c->request.r);
    char id[18];
    hide_foreign(c);
    if (call_refused(c)) {
        return;
    }
    receipt_format(c->request.r.id, id);
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_text(&out, "receipt", id);
    info_u64(&out, "position", id_position(c->request.r.id));
    if (i->number != 0) {
        info_u64(&out, "number", i->number);
    }
    info_text(&out, "state", i->state != 0 ? message_state_name(i->state) : "accepted");
    if (queue.size > 0) {
        info_span(&out, "queue", queue);
        info_u64(&out, "attempts", i->attempts);
    }
    if (i->dead_reason != DEAD_NONE) {
        info_text(&out, "deadReason", dead_reason_name(i->dead_reason));
    }
    if (i->last_status != 0) {
        info_u64(&out, "lastStatus", i->last_status);
    }
    if (i->last_error != ATTEMPT_OK) {
        info_text(&out, "lastError", attempt_error_name((enum attempt_error)i->last_error));
    }
    info_time(&out, i->state == MESSAGE_CONFIRMING ? "confirmBy" : "dueAt", i->due_ns);
    if (i->confirmed != CONFIRM_NONE) {
        info_text(&out, "confirmation", confirm_outcome_name(i->confirmed));
    }
    info_eta(&out, &i->eta);
    info_time(&out, "changedAt", i->changed_ns);
    write_links(queue, id, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void receipt_show(struct call *c) {
    c->request.r.kind = REQUEST_RECEIPT_GET;
    if (receipt_parse(call_capture(c, 0), &c->request.r.id) != 0) {
        call_problem(c, PROBLEM_NOT_FOUND, "a receipt is 'r' and 16 hexadecimal digits");
        return;
    }
    call_submit(c, got);
}

/* ---- confirmation ---- */

/* What was told, and the stored message, which its outcome takes texts from. */
struct told {
    enum confirm_outcome outcome; /* as words, then as it is */
    char *note;                   /* owns */
    struct buffer record;
    struct stored_message stored;
};

static void told_free(void *own) {
    struct told *t = own;
    free(t->note);
    buffer_release(&t->record);
    free(t);
}

static bool note_valid(struct span text) {
    return text.size <= KEY_MAX_BYTES;
}

static const char *const outcome_words[] = {"succeeded", "failed", "retry", NULL};
static const struct field told_fields[] = {{"outcome", FIELD_WORD, FIELD_AT(struct told, outcome),
                                            .words = outcome_words, .required = true},
                                           {"note", FIELD_TEXT, FIELD_AT(struct told, note),
                                            .valid = note_valid,
                                            .expects = "a text of at most 255 bytes"},
                                           FIELD_END};

static void confirmed(struct call *c) {
    const struct told *t = c->own;
    char id[18];
    if (call_refused(c)) {
        return;
    }
    receipt_format(c->request.r.id, id);
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_text(&out, "receipt", id);
    info_text(&out, "outcome", confirm_outcome_name(t->outcome));
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

/* The receipt is there and the caller may see it: what is told goes to the model. */
static void confirm(struct call *c) {
    struct told *t = c->own;
    uint64_t id = c->request.r.id, address = c->request.r.out.receipt.address;
    bool is_signed = c->match.capture_count > 1;
    hide_foreign(c);
    if (call_refused(c)) {
        return;
    }
    bool stored = address != 0 && engine_read_message(c->loop->api->options.engine, id, address,
                                                      &t->record, &t->stored) == 0;
    struct request *r = call_request(c, REQUEST_CONFIRM);
    r->id = id;
    r->in.confirm = (struct confirm){
        .outcome = t->outcome,
        .note = span_text(t->note != NULL ? t->note : ""),
        .signature = is_signed ? call_capture(c, 1) : span_of(NULL, 0),
    };
    if (stored) {
        r->in.confirm.ordering_key = t->stored.envelope.ordering_key;
        r->in.confirm.correlation_id = t->stored.envelope.correlation_id;
        r->in.confirm.retry = t->stored.envelope.retry;
    }
    call_submit(c, confirmed);
}

void receipt_confirm(struct call *c) {
    struct told *t = calloc(1, sizeof *t);
    if (t == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    buffer_init(&t->record, UINT32_MAX);
    c->own = t;
    c->own_free = told_free;
    if (!call_read_tree(c)) {
        return;
    }
    struct field_reader reader = call_reader(c);
    int error = fields_read(told_fields, c->tree, t, NULL, &reader);
    t->outcome++; /* words begin at 0 */
    if (error == E_INVALID) {
        call_errors(c);
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else if (receipt_parse(call_capture(c, 0), &c->request.r.id) != 0) {
        call_problem(c, PROBLEM_NOT_FOUND, "a receipt is 'r' and 16 hexadecimal digits");
    } else {
        c->request.r.kind = REQUEST_RECEIPT_GET;
        call_submit(c, confirm);
    }
}
