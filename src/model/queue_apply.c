/*
 * Facts of the queue module: the only code that changes queues and messages (with the mutators of
 * queue_state.c, which the facts of attempts use).
 *
 * The payloads are described in queue.c and message_payload.h.
 */
#include <assert.h>

#include "base/error.h"
#include "model/campaign.h"
#include "model/fact.h"
#include "model/history.h"
#include "model/queue_fanout.h"
#include "model/queue_tenant.h"
#include "model/session.h"

static int apply_defined(struct model *m, const struct applied *w, struct reader *in) {
    uint32_t index = reader_u32(in);
    uint64_t file_hash = reader_u64(in);
    struct queue_def def;
    int rc = in->failed ? E_CORRUPT : queue_def_decode(in, &def);
    if (rc != 0) {
        return rc;
    }
    struct queue *q;
    rc = queue_put(m, index, &def, file_hash, &q);
    return rc != 0 ? rc : queue_trim_dead(m, w, q);
}

/* What is left is dead: decide refused while anything else was there. */
static int apply_deleted(struct model *m, const struct applied *w, struct reader *in) {
    struct queue *q = queue_at(m->queues, reader_u32(in));
    if (q == NULL || campaign_uses_queue(m, q->index)) {
        return E_CORRUPT;
    }
    int rc = 0;
    while (rc == 0 && q->dead.first != 0) {
        enum dead_reason reason = message_at(m->queues, q->dead.first)->dead_reason;
        rc = message_end(m, w, q->dead.first, MESSAGE_DROPPED, reason);
    }
    if (rc != 0) {
        return rc;
    }
    for (unsigned state = 1; state < STATES_LIVE; state++) {
        if (q->counts[state] != 0) {
            return E_CORRUPT;
        }
    }
    queue_drop(m, q);
    return 0;
}

static int apply_paused(struct model *m, struct reader *in) {
    struct queue *q = queue_at(m->queues, reader_u32(in));
    uint8_t paused = reader_u8(in);
    if (q == NULL || in->failed || paused > 1) {
        return E_CORRUPT;
    }
    q->def.paused = paused == 1;
    queue_ready_changed(m, q);
    return 0;
}

static int apply_purged(struct model *m, const struct applied *w, struct reader *in) {
    struct queue *q = queue_at(m->queues, reader_u32(in));
    uint8_t mask = reader_u8(in);
    uint32_t max = reader_u32(in);
    if (q == NULL || in->failed || (mask & STATE_BIT(MESSAGE_IN_FLIGHT)) != 0) {
        return E_CORRUPT;
    }
    return queue_purge(m, w, q, mask, max);
}

static int put_fill(struct model *m, const struct applied *w, uint32_t slot,
                    const struct message_payload *p) {
    struct message *g = message_at(m->queues, slot);
    const struct stored_message *in = &p->stored;
    g->accepted_ns = in->accepted_ns;
    g->queue = p->queue;
    g->priority = in->priority;
    g->body_bytes = (uint32_t)in->envelope.body.size;
    g->extra_bytes = (in->payload.size - in->envelope.body.size) & EXTRA_BYTES_MAX;
    int rc = message_set_address(m, slot, w->address);
    if (rc == 0) {
        rc = message_set_tie(m, slot, p);
    }
    if (rc == 0 && in->envelope.ordering_key.size > 0) {
        rc = key_join(m, slot, key_hash(p->queue, in->envelope.ordering_key));
    }
    return rc;
}

static int apply_put(struct model *m, const struct applied *w, struct span payload) {
    struct message_payload p;
    int rc = message_payload_decode(payload, &p);
    if (rc != 0) {
        return rc;
    }
    struct queue *q = queue_at(m->queues, p.queue);
    if (q == NULL || id_position(p.stored.id) != w->position) {
        return E_CORRUPT; /* an id of before may have a receipt already, and would get a second one */
    }
    uint32_t slot = 0;
    rc = message_create(m, p.stored.id, &slot);
    if (rc != 0) {
        return rc;
    }
    rc = put_fill(m, w, slot, &p);
    if (rc != 0) {
        message_forget_tie(m, slot);
        return rc;
    }
    q->published++;
    uint64_t due = p.stored.schedule_ns > w->time_ns ? p.stored.schedule_ns : 0;
    rc = message_set_times(m, slot, due, p.stored.expires_ns);
    if (rc != 0) {
        return rc;
    }
    if (p.by_deadline && p.stored.expires_ns != 0) {
        times_at(m->queues, message_at(m->queues, slot)->times)->by_deadline = true;
    }
    return due != 0 ? message_move(m, slot, MESSAGE_DELAYED, PLACE_TAIL)
                    : message_arrive(m, slot, PLACE_TAIL);
}

static int apply_moved(struct model *m, const struct applied *w, struct span payload) {
    struct message_payload p;
    int rc = message_payload_decode(payload, &p);
    if (rc != 0) {
        return rc;
    }
    uint32_t slot = message_find(m->queues, p.stored.id);
    if (slot == 0 || stored_bytes(message_at(m->queues, slot)) != payload.size) {
        return E_CORRUPT;
    }
    return message_set_address(m, slot, w->address);
}

/* A message that was under way before comes back near its old place; one that was only scheduled
 * arrives now. */
static int apply_due(struct model *m, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->state != MESSAGE_DELAYED) {
        return E_CORRUPT;
    }
    return message_arrive(m, slot, g->attempts > 0 ? PLACE_BY_AGE : PLACE_TAIL);
}

static int apply_expired(struct model *m, const struct applied *w, uint32_t slot) {
    struct message *g = message_at(m->queues, slot);
    if (g->state == MESSAGE_IN_FLIGHT || g->state == MESSAGE_CONFIRMING ||
        g->state == MESSAGE_DEAD) {
        return E_CORRUPT;
    }
    queue_at(m->queues, g->queue)->expired++;
    bool by_deadline = message_times_of(m->queues, g).by_deadline;
    return message_die(m, w, slot, by_deadline ? DEAD_DEADLINE : DEAD_EXPIRED);
}

static int apply_message_deleted(struct model *m, const struct applied *w, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->state == MESSAGE_IN_FLIGHT || g->state == MESSAGE_CONFIRMING) {
        return E_CORRUPT;
    }
    queue_at(m->queues, g->queue)->deleted++;
    return message_end(m, w, slot, MESSAGE_DROPPED, DEAD_DELETED);
}

/* As if it had just arrived: its attempts are counted anew. */
static int apply_redriven(struct model *m, const struct applied *w, uint32_t slot,
                          uint64_t expires_ns) {
    const struct message *g = message_at(m->queues, slot);
    if (g->state != MESSAGE_DEAD) {
        return E_CORRUPT;
    }
    message_renew(m, slot);
    struct history_entry e = {.kind = HISTORY_REDRIVEN, .time_ns = w->time_ns};
    int rc = history_note(m, g->id, &e);
    rc = rc != 0 ? rc : message_set_times(m, slot, 0, expires_ns);
    return rc != 0 ? rc : message_arrive(m, slot, PLACE_TAIL);
}

static int apply_tenant(struct model *m, struct reader *in) {
    uint32_t slot = message_find(m->queues, reader_u64(in));
    uint64_t hash = reader_u64(in);
    return slot == 0 || in->failed ? E_CORRUPT : tenant_join(m, slot, hash);
}

static int apply_to_message(struct model *m, const struct applied *w, uint16_t kind,
                            struct reader *in) {
    uint32_t slot = message_due(m, reader_u64(in));
    uint64_t expires_ns = kind == FACT_MESSAGE_REDRIVEN ? reader_u64(in) : 0;
    if (slot == 0 || in->failed) {
        return E_CORRUPT;
    }
    switch (kind) {
    case FACT_MESSAGE_DUE:
        return apply_due(m, slot);
    case FACT_MESSAGE_EXPIRED:
        return apply_expired(m, w, slot);
    case FACT_MESSAGE_DELETED:
        return apply_message_deleted(m, w, slot);
    default:
        return apply_redriven(m, w, slot, expires_ns);
    }
}

static int apply_to_queue(struct model *m, const struct applied *w, uint16_t kind,
                          struct reader *in) {
    struct queue *q = queue_at(m->queues, reader_u32(in));
    uint64_t session = kind == FACT_QUEUE_OWNED ? reader_u64(in) : 0;
    if (q == NULL || in->failed) {
        return E_CORRUPT;
    }
    if (kind == FACT_QUEUE_REMOVED) {
        return queue_remove(m, w, q);
    }
    if (kind == FACT_QUEUE_OWNED) {
        return session_own_queue(m, session, q);
    }
    queue_use_changed(m, q);
    return 0;
}

int queue_apply(struct model *m, const struct applied *where, uint16_t kind, uint16_t version,
                struct reader *payload) {
    switch (kind) {
    case FACT_QUEUE_DEFINED:
        return apply_defined(m, where, payload);
    case FACT_QUEUE_DELETED:
        return apply_deleted(m, where, payload);
    case FACT_QUEUE_PAUSED:
        return apply_paused(m, payload);
    case FACT_QUEUE_PURGED:
        return apply_purged(m, where, payload);
    case FACT_MESSAGE_PUT:
        return apply_put(m, where, reader_take(payload, payload->left));
    case FACT_MESSAGE_MOVED:
        return apply_moved(m, where, reader_take(payload, payload->left));
    case FACT_MESSAGE_EDITED:
        return queue_apply_edited(m, where, reader_take(payload, payload->left));
    case FACT_MESSAGE_TRANSFERRED:
        return queue_apply_transferred(m, where, payload);
    case FACT_MESSAGE_FANOUT:
        return queue_apply_fanout(m, where, version, payload);
    case FACT_MESSAGE_DEAD_LETTERED:
        return queue_apply_dead_lettered(m, where, payload);
    case FACT_MESSAGE_RELOCATED:
        return queue_apply_relocated(m, where, payload);
    case FACT_MESSAGE_TENANT:
        return apply_tenant(m, payload);
    case FACT_IDS_RESERVED:
        return 0;
    case FACT_QUEUE_REMOVED:
    case FACT_QUEUE_TOUCHED:
    case FACT_QUEUE_OWNED:
        return apply_to_queue(m, where, kind, payload);
    case FACT_MESSAGE_DUE:
    case FACT_MESSAGE_EXPIRED:
    case FACT_MESSAGE_DELETED:
    case FACT_MESSAGE_REDRIVEN:
        return apply_to_message(m, where, kind, payload);
    default:
        return E_VERSION;
    }
}

/* ---- purge ---- */

static int purge_one(struct model *m, const struct applied *w, struct queue *q, uint32_t slot) {
    q->deleted++;
    return message_end(m, w, slot, MESSAGE_DROPPED, DEAD_DELETED);
}

/* From the front to `last`, which is where the list ended when the purge began; 0: nothing joins it meanwhile. */
static int purge_list(struct model *m, const struct applied *w, struct queue *q, uint32_t first,
                      uint32_t last, uint32_t *left) {
    int rc = 0;
    for (uint32_t slot = first; rc == 0 && slot != 0 && *left > 0;) {
        uint32_t next = slot == last ? 0 : message_next(m->queues, slot);
        rc = purge_one(m, w, q, slot);
        --*left;
        slot = next;
    }
    return rc;
}

/*
 * The end of a ready message may let a blocked one of its key be ready, at the tail of some level. That one
 * was not ready when the purge was decided: hence the ends of all levels are noted before.
 */
static int purge_set(struct model *m, const struct applied *w, struct queue *q,
                     const struct ready_set *set, uint32_t *left) {
    uint32_t lasts[PRIORITY_MAX + 1];
    uint32_t count = set->level_count;
    for (uint32_t i = 0; i < count; i++) {
        lasts[i] = set->levels->lists[i].last;
    }
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        if (lasts[i] != 0) {
            rc = purge_list(m, w, q, set->levels->lists[i].first, lasts[i], left);
        }
    }
    return rc;
}

/* Each set that is in the round now: one that got empty has left it, another one goes to its end. */
static int purge_ready(struct model *m, const struct applied *w, struct queue *q, uint32_t *left) {
    int rc = 0;
    for (uint32_t i = tenant_round_count(q); rc == 0 && i > 0 && *left > 0; i--) {
        const struct ready_set *set = tenant_first_set(m->queues, q);
        /* The last message of a tenant takes its set along, if no other one refers to it. */
        uint64_t others = q->counts[MESSAGE_READY] - set->messages;
        rc = purge_set(m, w, q, set, left);
        if (q->counts[MESSAGE_READY] > others) {
            tenant_rotate(m, q);
        }
    }
    return rc;
}

int queue_purge(struct model *m, const struct applied *w, struct queue *q, unsigned mask,
                uint32_t max) {
    int rc = 0;
    if (mask & STATE_BIT(MESSAGE_DEAD)) {
        rc = purge_list(m, w, q, q->dead.first, q->dead.last, &max);
    }
    while (rc == 0 && max > 0 && (mask & STATE_BIT(MESSAGE_BLOCKED)) && q->keys.first != 0) {
        rc = purge_one(m, w, q, key_at(m->queues, q->keys.first)->blocked.first);
        max--;
    }
    if (rc == 0 && (mask & STATE_BIT(MESSAGE_DELAYED))) {
        rc = purge_list(m, w, q, delayed_first(m->queues, q), 0, &max);
    }
    if (rc == 0 && (mask & STATE_BIT(MESSAGE_READY))) {
        rc = purge_ready(m, w, q, &max);
    }
    return rc;
}
