/*
 * What a message has besides its place in a list: its cell, where its body is, times, what is settled at its end, and where
 * it has been. Nothing here moves a message; what it has is there before it enters a list, and goes after it has left.
 */
#include "model/queue_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/queue_tenant.h"

uint32_t message_find(const struct queues *s, uint64_t id) {
    return map_find(&s->by_id, id_hash(id), &id);
}

uint32_t message_due(const struct model *m, uint64_t id) {
    uint32_t slot = timer_first_slot(m, id);
    assert(slot == 0 || message_at(m->queues, slot)->id == id);
    return slot != 0 ? slot : message_find(m->queues, id);
}

int message_create(struct model *m, uint64_t id, uint32_t *ret_slot) {
    struct queues *s = m->queues;
    if (id >> TIMER_REF_BITS != 0 || message_find(s, id) != 0) {
        return E_CORRUPT;
    }
    uint32_t slot;
    int rc = slab_take(&s->messages, &slot);
    if (rc != 0) {
        return rc;
    }
    message_at(s, slot)->id = id;
    rc = map_insert(&s->by_id, id_hash(id), slot);
    if (rc != 0) {
        slab_give(&s->messages, slot);
        return rc;
    }
    *ret_slot = slot;
    return 0;
}

void message_free(struct model *m, uint32_t slot) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    if (g->tie != 0) {
        free(tie_at(s, g->tie)->purchase);
        free(tie_at(s, g->tie)->origin);
        tenant_part(m, slot);
        slab_give(&s->ties, g->tie);
        g->tie = 0;
    }
    if (g->times != 0) {
        assert(!message_is_plain(g)); /* it was delayed until now, and has left */
        slab_give(&s->times, g->times);
    }
    map_remove(&s->by_id, id_hash(g->id), slot);
    slab_give(&s->messages, slot);
}

/* ---- its body ---- */

/* Widens what is known of the chunk; the array is as long as the slab has chunks. */
static int chunk_note(struct queues *s, uint32_t slot, uint32_t segment) {
    size_t chunk = slot / SLAB_CHUNK_CELLS;
    if (chunk >= s->chunk_count) {
        size_t count = s->messages.chunk_count;
        struct chunk_segments *chunks = realloc(s->chunks, count * sizeof *chunks);
        if (chunks == NULL) {
            return E_NOMEM;
        }
        for (size_t i = s->chunk_count; i < count; i++) {
            chunks[i] = (struct chunk_segments){.low = UINT32_MAX};
        }
        s->chunks = chunks;
        s->chunk_count = count;
    }
    struct chunk_segments *c = &s->chunks[chunk];
    c->low = segment < c->low ? segment : c->low;
    c->high = segment > c->high ? segment : c->high;
    return 0;
}

int message_set_address(struct model *m, uint32_t slot, uint64_t address) {
    struct message *g = message_at(m->queues, slot);
    bodies_remove(&m->bodies, g->address, stored_bytes(g));
    g->address = address;
    if (address == 0) {
        return 0;
    }
    int rc = bodies_add(&m->bodies, address, stored_bytes(g));
    return rc != 0 ? rc : chunk_note(m->queues, slot, m->bodies.segment_of(address));
}

/* ---- its times ---- */

void message_trim_times(struct queues *s, struct message *g) {
    if (g->times == 0 || message_is_plain(g)) {
        return;
    }
    const struct message_times *t = times_at(s, g->times);
    if (t->due_ns == 0 && t->expires_ns == 0 && t->first_attempt_ns == 0 && t->timer_ns == 0) {
        slab_give(&s->times, g->times);
        g->times = 0;
    }
}

void message_fold_times(struct queues *s, struct message *g) {
    const struct message_times t = message_times_of(s, g);
    bool more = t.expires_ns != 0 || t.first_attempt_ns != 0 || t.timer_ns != 0 || t.by_deadline;
    bool fits = t.due_ns != 0 && t.due_ns >> 63 == 0;
    if (fits && !more) {
        slab_give(&s->times, g->times);
        g->times = TIMES_PLAIN | (uint32_t)(t.due_ns >> 32);
        g->prev = (uint32_t)t.due_ns;
    }
}

int message_need_times(struct queues *s, struct message *g) {
    assert(!message_is_plain(g));
    return g->times != 0 ? 0 : slab_take(&s->times, &g->times);
}

int message_set_times(struct model *m, uint32_t slot, uint64_t due_ns, uint64_t expires_ns) {
    struct message *g = message_at(m->queues, slot);
    if (g->times == 0 && due_ns == 0 && expires_ns == 0) {
        return 0;
    }
    int rc = message_need_times(m->queues, g);
    if (rc != 0) {
        return rc;
    }
    struct message_times *t = times_at(m->queues, g->times);
    t->due_ns = due_ns;
    t->expires_ns = expires_ns;
    return 0; /* the timer follows with the move that is to come */
}

int message_load_times(struct model *m, uint32_t slot, uint64_t due_ns, uint64_t expires_ns,
                       uint64_t first_attempt_ns) {
    if (due_ns == 0 && expires_ns == 0 && first_attempt_ns == 0) {
        return E_CORRUPT; /* such a cell is not kept */
    }
    struct message *g = message_at(m->queues, slot);
    int rc = message_need_times(m->queues, g);
    if (rc == 0) {
        *times_at(m->queues, g->times) = (struct message_times){
            .due_ns = due_ns, .expires_ns = expires_ns, .first_attempt_ns = first_attempt_ns};
    }
    return rc;
}

void message_renew(struct model *m, uint32_t slot) {
    struct message *g = message_at(m->queues, slot);
    g->attempts = 0;
    g->dead_reason = DEAD_NONE;
    if (g->times != 0) {
        times_at(m->queues, g->times)->first_attempt_ns = 0;
        times_at(m->queues, g->times)->by_deadline = false;
    }
}

/* ---- its tie ---- */

int message_need_tie(struct queues *s, struct message *g) {
    return g->tie != 0 ? 0 : slab_take(&s->ties, &g->tie);
}

int message_set_tie(struct model *m, uint32_t slot, const struct message_payload *p) {
    struct queues *s = m->queues;
    if (p->tie.campaign == 0 && p->tie.stock == 0) {
        return 0;
    }
    uint8_t *purchase = NULL;
    if (!p->purchase_is_id) {
        if (p->tie.purchase.size > KEY_MAX_BYTES) {
            return E_CORRUPT;
        }
        purchase = malloc(1 + p->tie.purchase.size);
        if (purchase == NULL) {
            return E_NOMEM;
        }
        purchase[0] = (uint8_t)p->tie.purchase.size;
        memcpy(purchase + 1, p->tie.purchase.data, p->tie.purchase.size);
    }
    struct message *g = message_at(s, slot);
    int rc = message_need_tie(s, g);
    if (rc != 0) {
        free(purchase);
        return rc;
    }
    struct message_tie *tie = tie_at(s, g->tie);
    tie->campaign = p->tie.campaign;
    tie->stock = p->tie.stock;
    tie->purchase = purchase;
    return 0;
}

int message_set_origin(struct model *m, uint32_t slot, struct span origin, struct span headers) {
    if (origin.size == 0) {
        return 0;
    }
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    uint32_t size;
    uint8_t *copy = amqp_origin_complete(origin, headers, &size);
    if (copy == NULL || message_need_tie(s, g) != 0) {
        free(copy);
        return E_NOMEM;
    }
    struct message_tie *tie = tie_at(s, g->tie);
    assert(tie->origin == NULL);
    tie->origin = copy;
    tie->origin_size = size;
    return 0;
}

void message_forget_tie(struct model *m, uint32_t slot) {
    struct queues *s = m->queues;
    const struct message *g = message_at(s, slot);
    if (g->tie != 0) {
        free(tie_at(s, g->tie)->purchase);
        tie_at(s, g->tie)->purchase = NULL;
    }
}
