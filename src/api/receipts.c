/*
 * GET /v1/receipts/{receipt}: what became of an accepted request.
 */
#include <stdio.h>

#include "api/head.h"
#include "api/info.h"
#include "api/routes.h"

static void write_links(const struct receipt_info *i, const char *id, struct json_out *out) {
    char link[NAME_MAX_BYTES + 64];
    out_key(out, "links");
    out_open(out, '{');
    snprintf(link, sizeof link, "/v1/receipts/%s", id);
    info_text(out, "self", link);
    if (i->queue[0] != '\0') {
        snprintf(link, sizeof link, "/v1/queues/%s/messages/%s", i->queue, id);
        info_text(out, "message", link);
    }
    out_close(out, '}');
}

/* Receipts can be guessed, being positions: a tenant reads those of its own queues and campaigns. */
static void hide_foreign(struct call *c) {
    struct request *r = &c->request.r;
    struct span queue = span_text(r->out.receipt.queue), campaign = buffer_span(&r->out_bytes);
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
    if (i->queue[0] != '\0') {
        info_text(&out, "queue", i->queue);
        info_u64(&out, "attempts", i->attempts);
    }
    if (i->dead_reason != DEAD_NONE) {
        info_text(&out, "deadReason", dead_reason_name(i->dead_reason));
    }
    if (i->last_status != 0) {
        info_u64(&out, "lastStatus", i->last_status);
    }
    info_time(&out, "dueAt", i->due_ns);
    info_time(&out, "eta", i->eta_ns);
    info_time(&out, "changedAt", i->changed_ns);
    write_links(i, id, &out);
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
