/* The invariants of queue.h, by number, by walking everything. */
#include <assert.h>
#include <stdlib.h>

#include "model/queue_tenant.h"
#include "model/session_state.h"

struct census {
    const struct model *m;
    const struct queue *q;
    uint64_t messages;                               /* in all queues */
    uint32_t counts[STATES_LIVE], tied[STATES_LIVE]; /* of this queue */
    uint64_t bytes;
    struct bodies bodies; /* added up anew */
};

static void check_timer(const struct model *m, uint32_t slot) {
    const struct queues *s = m->queues;
    const struct message *g = message_at(s, slot);
    uint64_t due = message_timer_due(s, g);
    if (g->times == 0) {
        assert(due == 0);
        return;
    }
    const struct message_times t = message_times_of(s, g);
    assert(t.timer_ns == due && timer_is_true(m, TIMER_MESSAGE, g->id, slot, due)); /* Q1 */
    bool timed = g->state == MESSAGE_DELAYED || g->state == MESSAGE_CONFIRMING;
    assert((t.due_ns != 0) == timed); /* Q1 */
    assert(!message_is_plain(g) || g->state == MESSAGE_DELAYED);
}

static void check_key_of(const struct queues *s, uint32_t slot) {
    const struct message *g = message_at(s, slot);
    if (g->key == 0) {
        assert(g->state != MESSAGE_BLOCKED);
        return;
    }
    const struct message_key *k = key_at(s, g->key);
    assert(k->queue == g->queue && k->refs > 0);
    assert(map_find(&s->by_key, key_map_hash(s, k->hash), &k->hash) == g->key);
    if (g->state == MESSAGE_READY || g->state == MESSAGE_IN_FLIGHT ||
        g->state == MESSAGE_CONFIRMING) {
        assert(k->holder == slot); /* Q3 */
    } else if (g->state == MESSAGE_BLOCKED) {
        assert(k->holder != 0 && k->holder != slot); /* Q3: else it would wait for ever */
    } else if (g->state == MESSAGE_DEAD) {
        assert(k->holder != slot);
    }
}

static void check_message(struct census *c, uint32_t slot, enum message_state state) {
    const struct queues *s = c->m->queues;
    const struct message *g = message_at(s, slot);
    assert(g->state == state && g->queue == c->q->index); /* Q1 */
    assert(message_find(s, g->id) == slot);
    assert((g->dead_reason != DEAD_NONE) == (state == MESSAGE_DEAD));
    check_timer(c->m, slot);
    check_key_of(s, slot);
    c->messages++;
    c->counts[state]++;
    c->tied[state] += message_is_tied(s, g);
    c->bytes += state != MESSAGE_DEAD ? g->body_bytes : 0;
    int rc = bodies_add(&c->bodies, g->address, stored_bytes(g));
    assert(rc == 0);
}

static void check_list(struct census *c, const struct slot_list *l, enum message_state state) {
    const struct queues *s = c->m->queues;
    uint32_t before = 0, count = 0;
    for (uint32_t slot = l->first; slot != 0; slot = message_at(s, slot)->next) {
        assert(message_at(s, slot)->prev == before);
        check_message(c, slot, state);
        before = slot;
        count++;
    }
    assert(l->last == before && l->count == count);
}

static void check_delayed(struct census *c) {
    const struct queues *s = c->m->queues;
    uint32_t before = 0, count = 0;
    for (uint32_t slot = delayed_first(s, c->q); slot != 0; slot = message_next(s, slot)) {
        assert(message_prev(s, slot) == before);
        check_message(c, slot, MESSAGE_DELAYED);
        before = slot;
        count++;
    }
    roll_check(&s->delayed, &c->q->delayed);
    assert(c->q->delayed.count == count);
}

static void check_levels(struct census *c, const struct ready_set *set) {
    uint64_t before = c->counts[MESSAGE_READY];
    for (uint32_t i = 0; i < set->level_count; i++) {
        const struct slot_list *l = &set->levels->lists[i];
        bool marked = set->levels->bits[i / 64] >> (i % 64) & 1;
        assert(marked == (l->first != 0)); /* Q4: else a level would be passed over */
        check_list(c, l, MESSAGE_READY);
        assert(l->first == 0 || message_at(c->m->queues, l->first)->priority == i);
    }
    assert(c->counts[MESSAGE_READY] - before == set->messages);
}

static void check_ready(struct census *c) {
    uint32_t at = 0;
    const struct ready_set *set;
    while ((set = tenant_next_set(c->m->queues, c->q, &at)) != NULL) {
        check_levels(c, set);
    }
    tenant_check(c->m, c->q);
}

static void check_keys(struct census *c) {
    const struct queues *s = c->m->queues;
    uint32_t before = 0, count = 0;
    for (uint32_t k = c->q->keys.first; k != 0; k = key_at(s, k)->next) {
        assert(key_at(s, k)->prev == before && key_at(s, k)->blocked.count > 0);
        check_list(c, &key_at(s, k)->blocked, MESSAGE_BLOCKED);
        before = k;
        count++;
    }
    assert(c->q->keys.last == before && c->q->keys.count == count);
}

static void check_queue(struct census *c) {
    const struct queue *q = c->q;
    memset(c->counts, 0, sizeof c->counts);
    memset(c->tied, 0, sizeof c->tied);
    c->bytes = 0;
    check_ready(c);
    check_delayed(c);
    check_list(c, &q->in_flight, MESSAGE_IN_FLIGHT);
    check_list(c, &q->confirming, MESSAGE_CONFIRMING);
    for (uint32_t h = q->holders.first; h != 0; h = consumer_at(c->m->sessions, h)->of_queue.next) {
        check_list(c, &consumer_at(c->m->sessions, h)->held, MESSAGE_IN_FLIGHT);
    }
    check_list(c, &q->dead, MESSAGE_DEAD);
    check_keys(c);
    assert(memcmp(c->counts, q->counts, sizeof c->counts) == 0); /* Q2 */
    assert(memcmp(c->tied, q->tied, sizeof c->tied) == 0);
    assert(c->bytes == q->bytes);
    assert(q->def.max_dead == 0 || q->counts[MESSAGE_DEAD] <= q->def.max_dead);
    if (q->target != 0 && target_at(c->m->queues, q->target)->destination != 0) {
        assert(q->told_ready == (q->counts[MESSAGE_READY] > 0 && !q->def.paused));
    }
}

/* Q5, both ways: what was added up anew stands there, and nothing besides. */
static void check_bodies(const struct census *c) {
    const struct bodies *kept = &c->m->bodies;
    for (uint32_t i = 0; i < c->bodies.count; i++) {
        assert(bodies_live(kept, c->bodies.first + i) == c->bodies.live_bytes[i]);
    }
    for (uint32_t i = 0; i < kept->count; i++) {
        assert(bodies_live(&c->bodies, kept->first + i) == kept->live_bytes[i]);
    }
}

void queue_check(const struct model *m) {
    const struct queues *s = m->queues;
    struct census c = {.m = m};
    bodies_init(&c.bodies);
    c.bodies.segment_of = m->bodies.segment_of;
    roster_check(&s->roster);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        c.q = queue_at(s, i);
        assert(c.q->index == i);
        check_queue(&c);
    }
    assert(c.messages == s->messages.live && c.messages == s->by_id.count); /* Q1 */
    check_bodies(&c);
    bodies_release(&c.bodies);
}
