#include "model/outcome.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/audit.h"
#include "model/queue_state.h"

#define BODY_MAX_BYTES (16u << 10)

/* ---- the body ---- */

/* What is no UTF-8 is shown as far as it is ASCII. */
static int put_escaped(struct buffer *out, struct span text) {
    bool whole = utf8_valid(text);
    int rc = 0;
    for (size_t i = 0; i < text.size && rc == 0; i++) {
        uint8_t c = text.data[i];
        if (c < ' ' || c == '"' || c == '\\' || c == 0x7f) {
            rc = buffer_printf(out, "\\u%04x", c);
        } else {
            rc = buffer_put_u8(out, c < 0x80 || whole ? c : '?');
        }
    }
    return rc;
}

/* `,"key":"text"`; nothing for an empty text. */
static int put_member(struct buffer *out, const char *key, struct span text) {
    if (text.size == 0) {
        return 0;
    }
    int rc = buffer_printf(out, ",\"%s\":\"", key);
    rc = rc != 0 ? rc : put_escaped(out, text);
    return rc != 0 ? rc : buffer_append_text(out, "\"");
}

static int put_body(const struct decision *d, const struct queue *q, const struct outcome *o,
                    struct buffer *out) {
    char id[18];
    receipt_format(o->message, id);
    const char *reason = o->success ? "" : dead_reason_name(o->reason);
    const char *error =
        o->error != ATTEMPT_OK ? attempt_error_name((enum attempt_error)o->error) : "";
    int rc = buffer_printf(out, "{\"type\":\"message-ended\",\"receipt\":\"%s\"", id);
    rc = rc != 0 ? rc : put_member(out, "queue", span_text(q->def.name));
    rc = rc != 0 ? rc : put_member(out, "outcome", span_text(o->success ? "done" : "dead"));
    rc = rc != 0 ? rc : put_member(out, "deadReason", span_text(reason));
    if (rc == 0 && o->status != 0) {
        rc = buffer_printf(out, ",\"status\":%u", o->status);
    }
    rc = rc != 0 ? rc : put_member(out, "error", span_text(error));
    rc = rc != 0 ? rc : buffer_printf(out, ",\"attempts\":%" PRIu32, o->attempts);
    rc = rc != 0 ? rc : put_member(out, "response", o->excerpt);
    rc = rc != 0 ? rc : put_member(out, "orderingKey", o->ordering_key);
    rc = rc != 0 ? rc : put_member(out, "correlationId", o->correlation_id);
    rc = rc != 0 ? rc : audit_put_time(out, d->now_ns);
    return rc != 0 ? rc : buffer_append_text(out, "}");
}

void outcome_emit(const struct model *m, struct decision *d, const struct outcome *o) {
    const struct queue *q = queue_at(m->queues, o->queue);
    const char *name = o->success ? q->def.on_success.queue : q->def.on_failure.queue;
    uint32_t target = name[0] != '\0' ? queue_find(m, span_text(name)) : 0;
    if (target == 0) {
        return;
    }
    struct buffer body;
    buffer_init(&body, BODY_MAX_BYTES);
    if (put_body(d, q, o, &body) != 0) {
        d->failed = true;
    } else {
        struct publish p = {
            .queue = span_text(name),
            .envelope = {.content_type = span_text("application/json"),
                         .ordering_key = o->ordering_key,
                         .correlation_id = o->correlation_id,
                         .body = buffer_span(&body)},
        };
        struct receipt receipt;
        queue_emit_put(m, d, target, &p, NULL, &receipt);
    }
    buffer_release(&body);
}

/* ---- definitions ---- */

/* Do outcomes of `def` come to `name`, by however many steps? At most `steps`, else it counts as yes. */
static bool comes_to(const struct model *m, const struct queue_def *def, const char *name,
                     uint32_t steps) {
    const char *targets[] = {def->on_success.queue, def->on_failure.queue};
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        const struct queue *next = targets[i][0] == '\0'
                                       ? NULL
                                       : queue_at(m->queues, queue_find(m, span_text(targets[i])));
        bool same = strcmp(targets[i], name) == 0;
        if (same || (next != NULL && (steps == 0 || comes_to(m, &next->def, name, steps - 1)))) {
            return true;
        }
    }
    return false;
}

static enum refusal check_target(const struct model *m, struct request *r,
                                 const struct queue_def *wanted, const char *target,
                                 const char *pointer) {
    if (target[0] == '\0') {
        return REFUSAL_NONE;
    }
    if (strcmp(target, wanted->name) == 0) {
        return request_invalid(r, pointer, "its own outcomes would come to it");
    }
    const struct queue *q = queue_at(m->queues, queue_find(m, span_text(target)));
    if (q == NULL) {
        return request_refuse_at(r, REFUSAL_REFERENCE, pointer, "there is no queue by this name");
    }
    return comes_to(m, &q->def, wanted->name, OUTCOME_CHAIN_MAX)
               ? request_invalid(r, pointer, "outcomes of its outcomes would come to it")
               : REFUSAL_NONE;
}

enum refusal outcome_check(const struct model *m, struct request *r,
                           const struct queue_def *wanted) {
    enum refusal refusal = check_target(m, r, wanted, wanted->on_success.queue, "/onSuccess/queue");
    return refusal != REFUSAL_NONE
               ? refusal
               : check_target(m, r, wanted, wanted->on_failure.queue, "/onFailure/queue");
}

bool outcome_wants(const struct model *m, const char *queue) {
    const struct roster *all = &m->queues->roster;
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        const struct queue_def *def = &queue_at(m->queues, i)->def;
        if (strcmp(def->on_success.queue, queue) == 0 ||
            strcmp(def->on_failure.queue, queue) == 0) {
            return true;
        }
    }
    return false;
}
