/*
 * What people do to messages that wait or are dead: edit, move to another queue, send again.
 *
 * The id, and with it the receipt, stays: it tells what became of the message. Only what is in flight cannot be
 * touched.
 *
 *   MESSAGE_EDITED       a payload as of MESSAGE_PUT (message_payload.h) with its version; the body stands in this record
 *                        from now on
 *   MESSAGE_TRANSFERRED  0 8 message id   8 4 queue index   12 1 priority   13 8 end of its time to live, 0: none
 *                        21 8 hash of its ordering key in that queue, 0: none
 */
#include <assert.h>

#include "base/error.h"
#include "model/campaign.h"
#include "model/dedup.h"
#include "model/fact.h"
#include "model/history.h"
#include "model/queue_state.h"
#include "model/queue_tenant.h"
#include "model/session.h"

/* ---- which ---- */

/* In flight, or at a destination that will tell what became of it. */
static bool is_under_way(const struct message *g) {
    return g->state == MESSAGE_IN_FLIGHT || g->state == MESSAGE_CONFIRMING;
}

/* The message of the request, in its queue, and not under way. */
static enum refusal change_target(const struct model *m, struct request *r, uint32_t *ret_slot) {
    struct queues *s = m->queues;
    uint32_t slot = message_find(s, r->id);
    if (slot == 0 || queue_find(m, r->name) != message_at(s, slot)->queue) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such message in the queue");
    }
    if (is_under_way(message_at(s, slot))) {
        return request_refuse(r, REFUSAL_CONFLICT,
                              "the message is under way: its attempt must end first");
    }
    *ret_slot = slot;
    return REFUSAL_NONE;
}

bool message_is_as_seen(const struct message *g, const struct message_seen *seen) {
    return g->address == seen->address && g->attempts == seen->attempts &&
           g->state == (unsigned)seen->state;
}

/* ---- edit ---- */

static enum refusal check_edit(const struct model *m, const struct decision *d, struct request *r,
                               const struct queue *q, const struct message *g) {
    const struct stored_message *content = r->in.edit.content;
    uint64_t size = content->envelope.body.size;
    if (!message_is_as_seen(g, &r->in.edit.seen)) {
        return REFUSAL_STALE;
    }
    if (!d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    if (content->priority > q->def.max_priority) {
        return request_invalid(r, "/priority", "above the queue's maxPriority");
    }
    bool grows = g->state != MESSAGE_DEAD && size > g->body_bytes;
    if (grows && q->def.overflow != OVERFLOW_DROP_HEAD &&
        !queue_has_bytes_for(q, size - g->body_bytes)) {
        return request_refuse(r, REFUSAL_QUEUE_FULL, "the queue holds maxBytes bytes");
    }
    return queue_check_envelope(r, &content->envelope);
}

enum refusal queue_decide_edit(const struct model *m, struct decision *d, struct request *r) {
    uint32_t slot = 0;
    enum refusal refusal = change_target(m, r, &slot);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    const struct message *g = message_at(m->queues, slot);
    const struct queue *q = queue_at(m->queues, g->queue);
    refusal = check_edit(m, d, r, q, g);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    struct message_view view;
    message_view_fill(m->queues, slot, &view);
    struct message_payload p = {.queue = g->queue, .stored = *r->in.edit.content};
    p.stored.id = g->id;
    p.stored.accepted_ns = g->accepted_ns;
    p.stored.queue = queue_stored_name(q);
    p.stored.expires_ns = view.expires_ns;
    message_payload_tie(&p, &view.tie);
    p.amqp = p.stored.properties.size > 0;
    size_t begun = decision_begin(d, FACT_MESSAGE_EDITED, 1);
    d->failed |= message_payload_encode(&p, d->facts) != 0;
    decision_end(d, begun);
    return REFUSAL_NONE;
}

int queue_apply_edited(struct model *m, const struct applied *w, struct span payload) {
    struct message_payload p;
    int rc = message_payload_decode(payload, &p);
    uint32_t slot = rc == 0 ? message_find(m->queues, p.stored.id) : 0;
    if (slot == 0 || is_under_way(message_at(m->queues, slot)) ||
        message_at(m->queues, slot)->queue != p.queue) {
        return rc != 0 ? rc : E_CORRUPT;
    }
    rc = message_set_body(m, slot, w->address, payload.size, p.stored.envelope.body.size);
    rc = rc != 0 ? rc : message_set_priority(m, slot, p.stored.priority);
    struct history_entry e = {.kind = HISTORY_EDITED, .time_ns = w->time_ns};
    return rc != 0 ? rc : history_note(m, p.stored.id, &e);
}

/* ---- move ---- */

/* The ordering key that a queue makes of what is stored. */
static uint64_t key_in(const struct queue *q, const struct stored_message *stored) {
    struct span key = stored->envelope.ordering_key;
    if (key.size == 0 && q->def.ordering == KEY_OF_ROUTING_KEY) {
        key = stored->routing_key;
    } else if (key.size == 0 && q->def.ordering == KEY_OF_HEADER) {
        key = stored_message_header(stored, span_text(q->def.ordering_header));
    }
    return key.size > 0 ? key_hash(q->index, key) : 0;
}

enum refusal queue_find_target(const struct model *m, struct request *r, struct span name,
                               const struct queue *from, const struct queue **ret) {
    const struct queue *to = queue_at(m->queues, queue_find(m, name));
    if (to == NULL) {
        return request_refuse_at(r, REFUSAL_REFERENCE, "/to", "there is no queue by this name");
    }
    if (to == from) {
        return request_invalid(r, "/to", "the messages are in this queue already");
    }
    if (session_owner(m, to) != 0) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/to",
                                 "the queue is exclusive to a connection");
    }
    *ret = to;
    return REFUSAL_NONE;
}

static void emit_transferred(struct decision *d, const struct message *g, const struct queue *to,
                             uint64_t key) {
    size_t begun = decision_begin(d, FACT_MESSAGE_TRANSFERRED, 1);
    decision_put_u64(d, g->id);
    decision_put_u32(d, to->index);
    decision_put_u8(d, g->priority < to->def.max_priority ? (uint8_t)g->priority
                                                          : (uint8_t)to->def.max_priority);
    decision_put_u64(d, queue_end_of_life(to, d->now_ns, 0));
    decision_put_u64(d, key);
    decision_end(d, begun);
}

/* A dead one gave its unit back: it needs one again. */
static enum refusal take_unit_again(const struct model *m, struct decision *d, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->state != MESSAGE_DEAD || g->tie == 0) {
        return REFUSAL_NONE;
    }
    struct message_view view;
    message_view_fill(m->queues, slot, &view);
    return campaign_emit_redrive(m, d, g->id, &view.tie);
}

enum refusal queue_emit_transfer(const struct model *m, struct decision *d, uint32_t slot,
                                 const struct queue *to, const struct stored_message *stored) {
    enum refusal refusal = take_unit_again(m, d, slot);
    if (refusal == REFUSAL_NONE) {
        const struct message *g = message_at(m->queues, slot);
        struct span tenant = stored_message_header(stored, span_text(to->def.tenant_header));
        emit_transferred(d, g, to, key_in(to, stored));
        tenant_emit(m, d, to, g->id, tenant_hash(to, tenant));
    }
    return refusal;
}

enum refusal queue_decide_transfer(const struct model *m, struct decision *d, struct request *r) {
    uint32_t slot = 0;
    enum refusal refusal = change_target(m, r, &slot);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    const struct message *g = message_at(m->queues, slot);
    const struct queue *to = NULL;
    refusal = queue_find_target(m, r, r->in.transfer.to, queue_at(m->queues, g->queue), &to);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    if (!message_is_as_seen(g, &r->in.transfer.seen)) {
        return REFUSAL_STALE;
    }
    if (to->def.overflow != OVERFLOW_DROP_HEAD && !queue_has_room_for(to, 1, g->body_bytes)) {
        return request_refuse_at(r, REFUSAL_QUEUE_FULL, "/to", "the other queue is full");
    }
    return queue_emit_transfer(m, d, slot, to, r->in.transfer.stored);
}

int queue_apply_transferred(struct model *m, const struct applied *w, struct reader *in) {
    uint32_t slot = message_find(m->queues, reader_u64(in));
    struct queue *to = queue_at(m->queues, reader_u32(in));
    uint8_t priority = reader_u8(in);
    uint64_t expires_ns = reader_u64(in), key = reader_u64(in);
    if (in->failed || slot == 0 || to == NULL) {
        return E_CORRUPT;
    }
    struct message *g = message_at(m->queues, slot);
    struct history_entry e = {.kind = HISTORY_MOVED, .time_ns = w->time_ns, .queue = g->queue};
    if (is_under_way(g) || g->queue == to->index) {
        return E_CORRUPT;
    }
    dedup_message_ended(m, g->id); /* a unique key holds in the queue where it was published */
    int rc = message_rehouse(m, slot, to, priority, expires_ns, key);
    return rc != 0 ? rc : history_note(m, message_at(m->queues, slot)->id, &e);
}
