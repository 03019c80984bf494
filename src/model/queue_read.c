/* What other modules and answers read of queues and messages. */
#include "model/queue_tenant.h"

void queue_describe(const struct model *m, const struct queue *q, struct queue_info *ret) {
    uint64_t oldest = 0;
    uint32_t at = 0;
    const struct ready_set *set;
    while ((set = tenant_next_set(m->queues, q, &at)) != NULL) {
        for (uint32_t i = 0; i < set->level_count; i++) {
            uint32_t first = set->levels->lists[i].first;
            uint64_t accepted = first == 0 ? 0 : message_at(m->queues, first)->accepted_ns;
            oldest = first != 0 && (oldest == 0 || accepted < oldest) ? accepted : oldest;
        }
    }
    *ret = (struct queue_info){
        .ready = q->counts[MESSAGE_READY],
        .delayed = q->counts[MESSAGE_DELAYED],
        .in_flight = q->counts[MESSAGE_IN_FLIGHT],
        .confirming = q->counts[MESSAGE_CONFIRMING],
        .dead = q->counts[MESSAGE_DEAD],
        .blocked = q->counts[MESSAGE_BLOCKED],
        .bytes = q->bytes,
        .published = q->published,
        .completed = q->completed,
        .died = q->died,
        .expired = q->expired,
        .deleted = q->deleted,
        .attempts = q->attempts,
        .oldest_ns = oldest,
        .paused = q->def.paused,
        .consumers = q->consumers,
        .policy = q->policy,
        .operator_policy = q->operator_policy,
        .tenants = tenant_count(q),
    };
}

uint64_t queue_confirming(const struct model *m) {
    const struct roster *all = &m->queues->roster;
    uint64_t count = 0;
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        count += queue_at(m->queues, i)->counts[MESSAGE_CONFIRMING];
    }
    return count;
}

void message_view_fill(const struct queues *s, uint32_t slot, struct message_view *ret) {
    const struct message *g = message_at(s, slot);
    const struct message_times t = message_times_of(s, g);
    *ret = (struct message_view){
        .id = g->id,
        .address = g->address,
        .accepted_ns_hint = g->accepted_ns,
        .due_ns = t.due_ns,
        .expires_ns = t.expires_ns,
        .first_attempt_ns = t.first_attempt_ns,
        .queue = g->queue,
        .attempts = g->attempts,
        .body_bytes = g->body_bytes,
        .state = (enum message_state)g->state,
        .dead_reason = (enum dead_reason)g->dead_reason,
        .last_status = message_status(g),
        .outcome_unknown = g->outcome_unknown,
        .key_hash = g->key == 0 ? 0 : key_at(s, g->key)->hash,
        .tenant_hash = tenant_of(s, g),
    };
    if (!message_is_tied(s, g)) {
        return;
    }
    const struct message_tie *tie = tie_at(s, g->tie);
    ret->tie.campaign = tie->campaign;
    ret->tie.stock = tie->stock;
    if (tie->purchase != NULL) {
        ret->tie.purchase = span_of(tie->purchase + 1, tie->purchase[0]);
    } else {
        receipt_format(g->id, ret->purchase_text);
        ret->tie.purchase = span_text(ret->purchase_text);
    }
}

uint64_t message_stored_id(const struct queues *s, const struct message *g) {
    struct amqp_origin origin;
    struct span bytes = message_origin(s, g);
    bool other = bytes.size > 0 && amqp_origin_read(bytes, &origin) == 0 && origin.stored_id != 0;
    return other ? origin.stored_id : g->id;
}

void message_describe(const struct model *m, const struct message *g, struct message_info *ret) {
    const struct queues *s = m->queues;
    const struct message_times t = message_times_of(s, g);
    *ret = (struct message_info){
        .id = g->id,
        .address = g->address,
        .stored_id = message_stored_id(s, g),
        .accepted_ns = g->accepted_ns,
        .changed_ns = message_changed_ns(m, g),
        .keyed = g->key != 0,
        .state = (enum message_state)g->state,
        .priority = g->priority,
        .attempts = g->attempts,
        .body_bytes = g->body_bytes,
        .due_ns = t.due_ns,
        .expires_ns = t.expires_ns,
        .dead_reason = (enum dead_reason)g->dead_reason,
        .last_status = message_status(g),
        .last_error = message_error(g),
    };
}

bool queue_message_view(const struct model *m, uint64_t id, struct message_view *ret) {
    uint32_t slot = message_find(m->queues, id);
    if (slot == 0) {
        return false;
    }
    message_view_fill(m->queues, slot, ret);
    return true;
}

bool queue_message_info(const struct model *m, uint64_t id, uint64_t now_ns,
                        struct message_info *ret, uint32_t *ret_queue) {
    uint32_t slot = message_find(m->queues, id);
    if (slot == 0) {
        return false;
    }
    const struct message *g = message_at(m->queues, slot);
    message_describe(m, g, ret);
    ret->eta = message_eta(m, g, now_ns);
    *ret_queue = g->queue;
    return true;
}

bool queue_peek(const struct model *m, uint32_t queue, uint64_t now_ns, struct message_view *ret) {
    const struct queue *q = queue_at(m->queues, queue);
    uint32_t slot = q == NULL || q->def.paused ? 0 : queue_first_ready(m->queues, q);
    if (slot == 0) {
        return false;
    }
    message_view_fill(m->queues, slot, ret);
    return ret->expires_ns == 0 || ret->expires_ns > now_ns;
}

bool queue_message_storied(struct model *m, uint64_t id, bool storied) {
    uint32_t slot = message_find(m->queues, id);
    if (slot == 0) {
        return false;
    }
    struct message *g = message_at(m->queues, slot);
    m->queues->storied += (uint32_t)storied - g->storied;
    g->storied = storied;
    return true;
}

uint32_t queue_storied_count(const struct model *m) {
    return m->queues->storied;
}

uint64_t queue_ready_bytes(const struct model *m, uint32_t queue) {
    const struct queue *q = queue_at(m->queues, queue);
    return q == NULL ? 0 : q->ready_bytes;
}

uint64_t queue_ready_count(const struct model *m, uint32_t queue) {
    const struct queue *q = queue_at(m->queues, queue);
    return q == NULL ? 0 : q->counts[MESSAGE_READY];
}

/* ---- compaction ---- */

/*
 * Looks through one chunk of the slab and, as a by-product, learns exactly which segments its bodies
 * are in: what has left since is not looked for here again.
 */
static size_t chunk_segment_ids(const struct model *m, size_t chunk, uint32_t segment,
                                struct live_body *ret, size_t max) {
    struct queues *s = m->queues;
    struct chunk_segments seen = {.low = UINT32_MAX};
    size_t found = 0;
    for (uint32_t i = 0; i < SLAB_CHUNK_CELLS; i++) {
        uint32_t slot = (uint32_t)chunk * SLAB_CHUNK_CELLS + i;
        if (slot == 0 || slot >= s->messages.used_limit) {
            continue;
        }
        const struct message *g = message_at(s, slot);
        if (g->state == 0 || g->address == 0) {
            continue;
        }
        uint32_t at = m->bodies.segment_of(g->address);
        seen.low = at < seen.low ? at : seen.low;
        seen.high = at > seen.high ? at : seen.high;
        if (at == segment && found < max) {
            ret[found++] = (struct live_body){
                .id = g->id, .stored_id = message_stored_id(s, g), .address = g->address};
        }
    }
    s->chunks[chunk] = seen;
    return found;
}

size_t queue_segment_ids(const struct model *m, uint32_t segment, struct live_body *ret,
                         size_t max) {
    const struct queues *s = m->queues;
    size_t found = 0;
    for (size_t chunk = 0; chunk < s->chunk_count && found < max; chunk++) {
        if (s->chunks[chunk].low <= segment && segment <= s->chunks[chunk].high) {
            found += chunk_segment_ids(m, chunk, segment, ret + found, max - found);
        }
    }
    return found;
}
