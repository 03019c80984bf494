/* Decisions about messages that are there: delete, purge, redrive, move. */
#include <assert.h>

#include "base/error.h"
#include "model/campaign.h"
#include "model/fact.h"
#include "model/put.h"
#include "model/queue_tenant.h"

#define REDRIVE_MAX 1000u

/* ---- delete, purge ---- */

void queue_emit_settlement(const struct model *m, struct decision *d, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->tie == 0 || g->state == MESSAGE_DEAD) {
        return; /* the dead were settled when they died */
    }
    struct message_view view;
    message_view_fill(m->queues, slot, &view);
    campaign_emit_settlement(m, d, g->id, &view.tie, false);
}

enum refusal queue_decide_delete(const struct model *m, struct decision *d, struct request *r) {
    struct queues *s = m->queues;
    uint32_t slot = message_find(s, r->id);
    if (slot == 0 || (r->name.size > 0 && queue_find(m, r->name) != message_at(s, slot)->queue)) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such message in the queue");
    }
    if (message_at(s, slot)->state == MESSAGE_CONFIRMING) {
        return request_refuse(r, REFUSAL_CONFLICT,
                              "the message was sent: tell first what became of it");
    }
    if (message_at(s, slot)->state == MESSAGE_IN_FLIGHT) {
        return request_refuse(r, REFUSAL_CONFLICT,
                              "the message is in flight: its attempt must end first");
    }
    message_prefetch_end(m, message_at(s, slot)); /* its line of the audit is written first */
    message_emit(d, FACT_MESSAGE_DELETED, r->id);
    queue_emit_settlement(m, d, slot);
    return REFUSAL_NONE;
}

static void emit_purged(struct decision *d, uint32_t queue, unsigned mask, uint32_t max) {
    size_t begun = decision_begin(d, FACT_QUEUE_PURGED, 1);
    decision_put_u32(d, queue);
    decision_put_u8(d, (uint8_t)mask);
    decision_put_u32(d, max);
    decision_end(d, begun);
}

/* One by one, because some of them are tied. */
static void purge_list(const struct model *m, struct decision *d, struct request *r,
                       uint32_t slot) {
    while (slot != 0 && r->count < PURGE_TIED_MAX) {
        const struct message *g = message_at(m->queues, slot);
        message_emit(d, FACT_MESSAGE_DELETED, g->id);
        queue_emit_settlement(m, d, slot);
        r->count++;
        slot = message_next(m->queues, slot);
    }
}

static void purge_tied(const struct model *m, struct decision *d, struct request *r,
                       const struct queue *q, unsigned mask) {
    const struct queues *s = m->queues;
    uint32_t key = mask & STATE_BIT(MESSAGE_BLOCKED) ? q->keys.first : 0;
    for (; key != 0; key = key_at(s, key)->next) {
        purge_list(m, d, r, key_at(s, key)->blocked.first);
    }
    purge_list(m, d, r, mask & STATE_BIT(MESSAGE_DELAYED) ? delayed_first(m->queues, q) : 0);
    const struct ready_set *set;
    for (uint32_t at = 0;
         mask & STATE_BIT(MESSAGE_READY) && (set = tenant_next_set(s, q, &at)) != NULL;) {
        for (uint32_t i = 0; i < set->level_count; i++) {
            purge_list(m, d, r, set->levels->lists[i].first);
        }
    }
    purge_list(m, d, r, mask & STATE_BIT(MESSAGE_DEAD) ? q->dead.first : 0);
}

void queue_emit_purge(const struct model *m, struct decision *d, struct request *r,
                      const struct queue *q, unsigned mask, uint32_t max) {
    uint64_t total = 0, tied = 0;
    for (unsigned state = 1; state < STATES_LIVE; state++) {
        if (mask & STATE_BIT(state)) {
            total += q->counts[state];
            tied += state != MESSAGE_DEAD ? q->tied[state] : 0;
        }
    }
    if (tied > 0) {
        purge_tied(m, d, r, q, mask);
    } else if (total > 0) {
        emit_purged(d, q->index, mask, max);
        r->count = total < max ? total : max;
    }
    r->next = r->count < total;
}

enum refusal queue_decide_purge(const struct model *m, struct decision *d, struct request *r,
                                struct queue *q) {
    unsigned wanted = r->in.list.state;
    if (wanted == MESSAGE_IN_FLIGHT || wanted > MESSAGE_BLOCKED) {
        return request_invalid(r, "/state", "ready, delayed, dead or blocked");
    }
    unsigned mask = 0;
    for (unsigned state = 1; state < STATES_LIVE; state++) {
        if (state != MESSAGE_IN_FLIGHT && state != MESSAGE_CONFIRMING &&
            (wanted == 0 || wanted == state)) {
            mask |= STATE_BIT(state);
        }
    }
    queue_emit_purge(m, d, r, q, mask, PURGE_MAX);
    return REFUSAL_NONE;
}

/* ---- redrive ---- */

static void emit_redriven(struct decision *d, uint64_t id, uint64_t expires_ns) {
    size_t begun = decision_begin(d, FACT_MESSAGE_REDRIVEN, 2);
    decision_put_u64(d, id);
    decision_put_u64(d, expires_ns);
    decision_end(d, begun);
}

/* Its unit was given back when it died: the campaign says whether there is one again. */
enum refusal queue_emit_redrive(const struct model *m, struct decision *d, const struct queue *q,
                                uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->tie != 0) {
        struct message_view view;
        message_view_fill(m->queues, slot, &view);
        enum refusal refusal = campaign_emit_redrive(m, d, g->id, &view.tie);
        if (refusal != REFUSAL_NONE) {
            return refusal;
        }
    }
    uint64_t ttl = q->def.message_ttl_ns;
    bool ends = ttl != 0 && ttl <= UINT64_MAX - d->now_ns;
    emit_redriven(d, g->id, ends ? d->now_ns + ttl : 0);
    return REFUSAL_NONE;
}

/* Oldest death first. What cannot have its unit again stays dead, and `next` leads past it. */
static enum refusal redrive_all(const struct model *m, struct decision *d, struct request *r,
                                const struct queue *q) {
    const struct queues *s = m->queues;
    uint32_t max = r->in.redrive.max;
    max = max == 0 || max > REDRIVE_MAX ? REDRIVE_MAX : max;
    uint32_t after = message_find(s, r->in.redrive.after);
    bool stands = after != 0 && message_at(s, after)->state == MESSAGE_DEAD &&
                  message_at(s, after)->queue == q->index;
    uint32_t slot = stands ? message_at(s, after)->next : q->dead.first;
    uint64_t last_left = stands ? r->in.redrive.after : 0; /* stays dead: a place to go on from */
    for (uint32_t seen = 0; slot != 0 && seen < max; seen++) {
        const struct message *g = message_at(s, slot);
        bool done = queue_emit_redrive(m, d, q, slot) == REFUSAL_NONE;
        r->count += done;
        last_left = done ? last_left : g->id;
        slot = g->next;
    }
    r->next = slot == 0 ? 0 : last_left != 0 ? last_left : 1;
    return REFUSAL_NONE;
}

enum refusal queue_decide_redrive(const struct model *m, struct decision *d, struct request *r,
                                  struct queue *q) {
    if (r->in.redrive.id == 0) {
        return redrive_all(m, d, r, q);
    }
    uint32_t slot = message_find(m->queues, r->in.redrive.id);
    if (slot == 0 || message_at(m->queues, slot)->queue != q->index) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such message in the queue");
    }
    if (message_at(m->queues, slot)->state != MESSAGE_DEAD) {
        return request_refuse(r, REFUSAL_CONFLICT, "the message is not dead");
    }
    enum refusal refusal = queue_emit_redrive(m, d, q, slot);
    r->count = refusal == REFUSAL_NONE;
    return refusal;
}

/* ---- compaction ---- */

/* Slot of a message whose body is still the one that was read; 0: it is gone, done, or was edited meanwhile. */
static uint32_t still_there(const struct model *m, const struct request *r, uint32_t i) {
    uint32_t slot = r->in.move.ids[i] == 0 ? 0 : message_find(m->queues, r->in.move.ids[i]);
    if (slot == 0 || message_at(m->queues, slot)->address != r->in.move.addresses[i]) {
        return 0;
    }
    return stored_bytes(message_at(m->queues, slot)) == r->in.move.payloads[i].size ? slot : 0;
}

/* Those of one body, as they stand in the list from `first` on. */
static void emit_relocated(const struct model *m, struct decision *d, struct request *r,
                           uint32_t first, const struct message_payload *p, struct span payload) {
    size_t begun = decision_begin(d, FACT_MESSAGE_RELOCATED, 1);
    size_t at = 0;
    d->failed |= sized_begin(d->facts, &at) != 0;
    for (uint32_t i = first; i < r->in.move.count && !d->failed; i++) {
        struct message_payload other;
        bool same = still_there(m, r, i) != 0 &&
                    message_payload_decode(r->in.move.payloads[i], &other) == 0 &&
                    other.stored.id == p->stored.id;
        if (same) {
            decision_put_u64(d, r->in.move.ids[i]);
            r->in.move.ids[i] = 0; /* not again */
            r->count++;
        }
    }
    if (!d->failed) {
        sized_end(d->facts, at);
    }
    decision_put_span(d, payload);
    decision_end(d, begun);
}

/* Is the payload the body of this message? By its own id, or by that under which it was stored. */
static bool is_body_of(const struct model *m, uint32_t slot, const struct message_payload *p) {
    uint64_t id = message_stored_id(m->queues, message_at(m->queues, slot));
    return id >= p->stored.id && id - p->stored.id < (p->copies > 1 ? p->copies : 1);
}

/* Those that are gone or have another body by now are left out; the rest of the payload is as it was read from the log. */
enum refusal queue_decide_move(const struct model *m, struct decision *d, struct request *r) {
    for (uint32_t i = 0; i < r->in.move.count; i++) {
        struct span payload = r->in.move.payloads[i];
        uint32_t slot = still_there(m, r, i);
        struct message_payload p;
        if (slot == 0 || message_payload_decode(payload, &p) != 0 || !is_body_of(m, slot, &p)) {
            continue;
        }
        if (p.copies > 1 || p.stored.id != r->in.move.ids[i]) {
            emit_relocated(m, d, r, i, &p, payload);
            continue;
        }
        size_t begun = decision_begin(d, FACT_MESSAGE_MOVED, 1);
        decision_put_span(d, payload);
        decision_end(d, begun);
        r->count++;
    }
    return REFUSAL_NONE;
}
