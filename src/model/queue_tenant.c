/*
 * The round.
 *
 *      first served -> [a, left 2] -> [own] -> [b] -> [c] <- who gets the first message joins here
 *                           |
 *                           +-- left is 0: to the end, and b has as many turns as its weight
 *
 * Without tenants, or with one only, the first is always the same, and this costs nothing.
 *
 * MESSAGE_TENANT v1
 *        0    8  message, put by the same record
 *        8    8  hash of queue and tenant
 */
#include "model/queue_tenant.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/fact.h"

static bool tenant_matches(const void *owner, uint32_t slot, const void *key) {
    return tenant_at(owner, slot)->hash == *(const uint64_t *)key;
}

static uint64_t map_hash(const struct queues *s, uint64_t hash) {
    return hash_u64(hash ^ s->hash.k1);
}

void tenants_init(struct queues *s) {
    slab_init(&s->tenants, sizeof(struct tenant), UINT32_MAX - 1);
    map_init(&s->by_tenant, s, tenant_matches);
}

uint64_t tenant_hash(const struct queue *q, struct span name) {
    return q->def.tenant_header[0] == '\0' || name.size == 0 ? 0 : key_hash(q->index, name) | 1;
}

uint64_t tenant_of_publish(const struct queue *q, const struct publish *p) {
    const char *name = q->def.tenant_header;
    return name[0] == '\0' ? 0
                           : tenant_hash(q, header_line_find(p->envelope.headers, span_text(name)));
}

static uint32_t find(const struct queues *s, uint64_t hash) {
    return map_find(&s->by_tenant, map_hash(s, hash), &hash);
}

void tenant_emit(const struct model *m, struct decision *d, const struct queue *q, uint64_t id,
                 uint64_t hash) {
    bool known = hash != 0 && find(m->queues, hash) != 0;
    if (hash == 0 || (!known && tenant_count(q) >= m->limits.tenants)) {
        return;
    }
    size_t begun = decision_begin(d, FACT_MESSAGE_TENANT, 1);
    decision_put_u64(d, id);
    decision_put_u64(d, hash);
    decision_end(d, begun);
}

/* ---- the round ---- */

static void refresh_weight(struct queue *q, struct tenant *t) {
    if (t->version == q->fair->version) {
        return;
    }
    uint32_t before = t->weight;
    t->version = q->fair->version;
    t->weight = 1;
    for (uint32_t i = 0; t->hash != 0 && i < q->def.tenant_weights.count; i++) {
        const struct weight_def *w = &q->def.tenant_weights.items[i];
        t->weight = tenant_hash(q, span_text(w->tenant)) == t->hash ? w->weight : t->weight;
    }
    q->fair->weights += t->in_round ? (uint64_t)t->weight - before : 0;
}

static void round_append(const struct queues *s, struct fair *f, uint32_t slot) {
    struct tenant *t = tenant_at(s, slot);
    t->prev = f->round.last;
    t->next = 0;
    *(f->round.last != 0 ? &tenant_at(s, f->round.last)->next : &f->round.first) = slot;
    f->round.last = slot;
    f->round.count++;
}

static void round_take(const struct queues *s, struct fair *f, uint32_t slot) {
    struct tenant *t = tenant_at(s, slot);
    *(t->prev != 0 ? &tenant_at(s, t->prev)->next : &f->round.first) = t->next;
    *(t->next != 0 ? &tenant_at(s, t->next)->prev : &f->round.last) = t->prev;
    t->next = t->prev = 0;
    f->round.count--;
}

/* Another one is first: its turn begins. */
static void turn_begin(const struct queues *s, struct queue *q) {
    struct fair *f = q->fair;
    f->left = 0;
    if (f->round.first != 0) {
        struct tenant *t = tenant_at(s, f->round.first);
        refresh_weight(q, t);
        f->left = t->weight;
    }
}

/* The cell of the set in which `g` stands, or would. */
static uint32_t cell_of(const struct queues *s, const struct queue *q, const struct message *g) {
    uint32_t tenant = g->tie == 0 ? 0 : tie_at(s, g->tie)->tenant;
    return tenant != 0 ? tenant : q->fair->own;
}

static void round_join(const struct queues *s, struct queue *q, uint32_t slot) {
    struct tenant *t = tenant_at(s, slot);
    refresh_weight(q, t);
    round_append(s, q->fair, slot);
    t->in_round = true;
    q->fair->weights += t->weight;
    if (q->fair->round.count == 1) {
        turn_begin(s, q);
    }
}

void tenant_set_grew(struct model *m, struct queue *q, const struct message *g) {
    uint32_t slot = q->fair == NULL ? 0 : cell_of(m->queues, q, g);
    if (slot != 0 && !tenant_at(m->queues, slot)->in_round) {
        round_join(m->queues, q, slot);
    }
}

void tenant_set_shrank(struct model *m, struct queue *q, const struct message *g) {
    if (q->fair == NULL || tenant_set(m->queues, q, g)->messages > 0) {
        return;
    }
    uint32_t slot = cell_of(m->queues, q, g);
    bool was_first = q->fair->round.first == slot;
    struct tenant *t = tenant_at(m->queues, slot);
    round_take(m->queues, q->fair, slot);
    t->in_round = false;
    q->fair->weights -= t->weight;
    if (was_first) {
        turn_begin(m->queues, q);
    }
}

uint32_t tenant_served(const struct queues *s, const struct queue *q, const struct message *g) {
    uint32_t slot = q->fair == NULL ? 0 : cell_of(s, q, g);
    return slot != 0 && q->fair->round.first == slot ? slot : 0;
}

void tenant_rotate(struct model *m, struct queue *q) {
    if (q->fair == NULL || q->fair->round.count == 0) {
        return;
    }
    uint32_t slot = q->fair->round.first;
    round_take(m->queues, q->fair, slot);
    round_append(m->queues, q->fair, slot);
    turn_begin(m->queues, q);
}

void tenant_turn(struct model *m, struct queue *q, uint32_t served) {
    if (served == 0 || q->fair->round.first != served) {
        return; /* it has no message any more, and another one is first already */
    }
    assert(q->fair->left > 0);
    if (--q->fair->left == 0) {
        tenant_rotate(m, q);
    }
}

uint32_t tenant_round_count(const struct queue *q) {
    return q->fair == NULL ? 1 : q->fair->round.count;
}

/* ---- sets ---- */

static struct ready_set *set_of(const struct queues *s, const struct queue *q, uint32_t slot) {
    struct tenant *t = tenant_at(s, slot);
    return t->hash == 0 ? &queue_at(s, q->index)->ready : &t->ready;
}

struct ready_set *tenant_set(const struct queues *s, struct queue *q, const struct message *g) {
    uint32_t tenant = g->tie == 0 ? 0 : tie_at(s, g->tie)->tenant;
    return tenant != 0 ? &tenant_at(s, tenant)->ready : &q->ready;
}

const struct ready_set *tenant_first_set(const struct queues *s, const struct queue *q) {
    return q->fair == NULL || q->fair->round.first == 0 ? &q->ready
                                                        : set_of(s, q, q->fair->round.first);
}

/* Without tenants there is one place; a set out of the round has no next either, and ends the walk. */
uint32_t tenant_round_place(const struct queues *s, const struct queue *q,
                            const struct message *g) {
    return q->fair == NULL ? 1 : g == NULL ? q->fair->own : cell_of(s, q, g);
}

struct ready_set *tenant_next_set(const struct queues *s, const struct queue *q, uint32_t *at) {
    if (q->fair == NULL) {
        return (*at)++ == 0 ? &queue_at(s, q->index)->ready : NULL;
    }
    *at = *at == 0 ? q->fair->round.first : tenant_at(s, *at)->next;
    return *at == 0 ? NULL : set_of(s, q, *at);
}

/* ---- tenants ---- */

static int make(struct queues *s, struct queue *q, uint64_t hash, uint32_t *ret_slot) {
    uint32_t slot;
    int rc = slab_take(&s->tenants, &slot);
    if (rc != 0) {
        return rc;
    }
    struct tenant *t = tenant_at(s, slot);
    t->hash = hash;
    t->queue = q->index;
    t->weight = 1;
    rc = hash == 0 ? 0 : map_insert(&s->by_tenant, map_hash(s, hash), slot);
    if (rc != 0) {
        slab_give(&s->tenants, slot);
        return rc;
    }
    *ret_slot = slot;
    return 0;
}

/* With the queue's own set in it, if there is something. */
static int fair_make(struct queues *s, struct queue *q) {
    struct fair *f = calloc(1, sizeof *f);
    if (f == NULL || make(s, q, 0, &f->own) != 0) {
        free(f);
        return E_NOMEM;
    }
    f->version = 1;
    q->fair = f;
    if (q->ready.messages > 0) {
        round_join(s, q, f->own);
    }
    return 0;
}

static int tenant_get(struct queues *s, struct queue *q, uint64_t hash, uint32_t *ret_slot) {
    *ret_slot = find(s, hash);
    if (*ret_slot != 0) {
        return tenant_at(s, *ret_slot)->queue == q->index ? 0 : E_CORRUPT;
    }
    int rc = q->fair == NULL ? fair_make(s, q) : 0;
    rc = rc != 0 ? rc : make(s, q, hash, ret_slot);
    if (rc == 0) {
        q->fair->tenants++;
    }
    return rc;
}

int tenant_join(struct model *m, uint32_t slot, uint64_t hash) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    struct queue *q = queue_at(s, g->queue);
    if (hash == 0 || tenant_of(s, g) != 0) {
        return E_CORRUPT;
    }
    uint32_t tenant = 0;
    int rc = tenant_get(s, q, hash, &tenant);
    if (rc != 0) {
        return rc;
    }
    tenant_at(s, tenant)->refs++; /* so that it is there while the message goes over */
    rc = message_set_tenant(m, slot, tenant);
    if (rc != 0) {
        tenant_at(s, tenant)->refs--;
    }
    return rc;
}

void tenant_part(struct model *m, uint32_t slot) {
    struct queues *s = m->queues;
    struct message_tie *tie = tie_at(s, message_at(s, slot)->tie);
    struct tenant *t = tie->tenant == 0 ? NULL : tenant_at(s, tie->tenant);
    if (t == NULL || --t->refs > 0) {
        return;
    }
    assert(!t->in_round && t->ready.messages == 0);
    queue_at(s, t->queue)->fair->tenants--;
    free(t->ready.levels);
    map_remove(&s->by_tenant, map_hash(s, t->hash), tie->tenant);
    slab_give(&s->tenants, tie->tenant);
    tie->tenant = 0;
}

uint64_t tenant_of(const struct queues *s, const struct message *g) {
    uint32_t tenant = g->tie == 0 ? 0 : tie_at(s, g->tie)->tenant;
    return tenant == 0 ? 0 : tenant_at(s, tenant)->hash;
}

uint32_t tenant_count(const struct queue *q) {
    return q->fair == NULL ? 0 : q->fair->tenants;
}

int tenant_define(struct model *m, struct queue *q) {
    if (q->fair != NULL) {
        q->fair->version++;
        return 0;
    }
    return q->def.tenant_header[0] == '\0' ? 0 : fair_make(m->queues, q);
}

void tenant_release(struct queues *s, struct queue *q) {
    if (q->fair != NULL) {
        slab_give(&s->tenants, q->fair->own);
        free(q->fair);
        q->fair = NULL;
    }
}

uint32_t tenant_left(const struct queue *q) {
    return tenant_count(q) == 0 ? 0 : q->fair->left;
}

/* A weight that was lowered counts from the next turn on. */
int tenant_load_left(struct queue *q, uint32_t left) {
    if (left == 0) {
        return 0;
    }
    if (q->fair == NULL || q->fair->round.count == 0 || left > TENANT_WEIGHT_MAX) {
        return E_CORRUPT;
    }
    q->fair->left = left;
    return 0;
}

/* ---- who is before whom ---- */

static uint64_t rounds(const struct queue *q, uint64_t own, uint32_t weight) {
    uint64_t all = q->counts[MESSAGE_READY];
    uint64_t others = q->fair->weights > weight ? q->fair->weights - weight : 0;
    uint64_t turns = own / weight + 1;
    uint64_t ahead = others > all / turns ? all : own + others * turns;
    return ahead < all ? ahead : all;
}

static uint64_t above(const struct ready_set *set, uint32_t priority) {
    uint64_t count = 0;
    for (uint32_t i = priority; i < set->level_count; i++) {
        count += set->levels->lists[i].count;
    }
    return count;
}

uint64_t tenant_ahead_new(const struct model *m, const struct queue *q, uint64_t tenant,
                          uint8_t priority) {
    if (q->fair == NULL) {
        return above(&q->ready, priority);
    }
    uint32_t slot = tenant == 0 ? q->fair->own : find(m->queues, tenant);
    return slot == 0 ? rounds(q, 0, 1)
                     : rounds(q, above(set_of(m->queues, q, slot), priority),
                              tenant_at(m->queues, slot)->weight);
}

uint64_t tenant_ahead(const struct model *m, const struct queue *q, const struct message *g,
                      uint64_t own) {
    return q->fair == NULL ? own
                           : rounds(q, own, tenant_at(m->queues, cell_of(m->queues, q, g))->weight);
}

/* ---- check ---- */

void tenant_check(const struct model *m, const struct queue *q) {
    const struct queues *s = m->queues;
    const struct fair *f = q->fair;
    if (f == NULL) {
        return;
    }
    uint64_t messages = 0, weights = 0;
    uint32_t count = 0, before = 0;
    for (uint32_t slot = f->round.first; slot != 0; slot = tenant_at(s, slot)->next) {
        const struct tenant *t = tenant_at(s, slot);
        assert(t->in_round && t->queue == q->index && t->prev == before);
        assert(set_of(s, q, slot)->messages > 0);
        assert(t->hash == 0 ? slot == f->own : find(s, t->hash) == slot && t->refs > 0);
        messages += set_of(s, q, slot)->messages;
        weights += t->weight;
        before = slot;
        count++;
    }
    assert(count == f->round.count && before == f->round.last && weights == f->weights);
    assert(messages == q->counts[MESSAGE_READY]); /* else somebody is never served */
    assert((f->left > 0) == (count > 0));
}

uint64_t tenant_memory_bytes(const struct queues *s, const struct queue *q) {
    uint64_t bytes = q->fair == NULL ? 0 : sizeof *q->fair;
    uint32_t at = 0;
    const struct ready_set *set;
    while ((set = tenant_next_set(s, q, &at)) != NULL) {
        bytes += ready_set_bytes(set);
    }
    return bytes;
}
