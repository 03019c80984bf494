/*
 * The set of purchases: the only code that makes, changes and ends them.
 *
 *                 reserve                     confirm
 *      (nothing) ---------> held  ------------------------> final
 *          |  ^               |  \                            |
 *          |  '---------------'   '--------. cancelled        | cancelled
 *          |    hold ended, send failed     v                 v
 *          '-------------------------------> tombstone -------> (nothing)
 *               cancel before its purchase             ttl over
 *
 * Reserving without a hold goes to final at once; a failed send takes final to nothing.
 */
#include "model/stock_state.h"

#include <assert.h>
#include <stdlib.h>

#define ID_RUN_BITS 8u

/* ---- look-up ---- */

struct scoped_key {
    uint32_t stock;
    struct span key;
};

static uint64_t scoped_hash(const struct stocks *s, uint32_t stock, struct span key) {
    return hash_u64(hash_bytes(s->hash, key) + stock * UINT64_C(0x9e3779b97f4a7c15));
}

/*
 * Many purchases are named by receipts, which come one after the other: a run of them lies together in
 * the map, and finds its places in the cache. Clients may name such purchases too, hence the secret; what they
 * can put into one place is a run.
 */
static uint64_t purchase_hash_of(const struct stocks *s, uint32_t stock, struct span key) {
    uint64_t id = 0;
    if (receipt_parse(key, &id) != 0) {
        return scoped_hash(s, stock, key);
    }
    uint64_t run = hash_u64(((id_position(id) >> ID_RUN_BITS) + stock) ^ s->hash.k0);
    uint64_t spread = hash_u64(id ^ s->hash.k1 ^ (uint64_t)stock << 32);
    return map_hash_in_run(spread, run);
}

bool purchase_matches(const void *owner, uint32_t slot, const void *key) {
    const struct purchase *p = purchase_at(owner, slot);
    const struct scoped_key *k = key;
    return p->stock == k->stock && span_equal(key_text_span(&p->key), k->key);
}

static uint64_t purchase_hash(const void *owner, uint32_t slot) {
    const struct purchase *p = purchase_at(owner, slot);
    return purchase_hash_of(owner, p->stock, key_text_span(&p->key));
}

bool member_matches(const void *owner, uint32_t slot, const void *key) {
    const struct member *b = member_at(owner, slot);
    const struct scoped_key *k = key;
    return b->stock == k->stock && span_equal(key_text_span(&b->key), k->key);
}

static uint64_t member_hash(const void *owner, uint32_t slot) {
    const struct member *b = member_at(owner, slot);
    return scoped_hash(owner, b->stock, key_text_span(&b->key));
}

static uint32_t find_in(const struct map *map, uint64_t hash, uint32_t stock, struct span key) {
    struct scoped_key k = {.stock = stock, .key = key};
    return map_find(map, hash, &k);
}

uint32_t purchase_find(const struct stocks *s, uint32_t stock, struct span key) {
    return find_in(&s->purchase_map, purchase_hash_of(s, stock, key), stock, key);
}

uint32_t member_find(const struct stocks *s, uint32_t stock, struct span key) {
    return find_in(&s->member_map, scoped_hash(s, stock, key), stock, key);
}

void stock_prefetch_member(const struct model *m, uint32_t stock, struct span member) {
    map_prefetch(&m->stocks->member_map, scoped_hash(m->stocks, stock, member));
}

/* ---- members ---- */

static int member_join(struct stocks *s, uint32_t stock, struct span key, uint32_t *ret_slot) {
    if (key.size == 0) {
        *ret_slot = 0;
        return 0;
    }
    uint64_t hash = scoped_hash(s, stock, key);
    uint32_t slot = find_in(&s->member_map, hash, stock, key);
    if (slot != 0) {
        member_at(s, slot)->purchases++;
        *ret_slot = slot;
        return 0;
    }
    int rc = slab_take(&s->members, &slot);
    if (rc != 0) {
        return rc;
    }
    struct member *b = member_at(s, slot);
    b->stock = stock;
    b->purchases = 1;
    rc = key_text_init(&b->key, key);
    if (rc == 0) {
        rc = map_insert(&s->member_map, hash, slot);
    }
    if (rc != 0) {
        key_text_release(&b->key);
        slab_give(&s->members, slot);
        return rc;
    }
    s->key_bytes += key_text_memory_bytes(&b->key);
    *ret_slot = slot;
    return 0;
}

static void member_leave(struct stocks *s, uint32_t slot) {
    if (slot == 0) {
        return;
    }
    struct member *b = member_at(s, slot);
    assert(b->purchases > 0);
    if (--b->purchases > 0) {
        return;
    }
    map_remove(&s->member_map, member_hash(s, slot), slot);
    s->key_bytes -= key_text_memory_bytes(&b->key);
    key_text_release(&b->key);
    slab_give(&s->members, slot);
}

/* ---- lists and timers ---- */

static struct purchase_list *list_of(struct stock *st, const struct purchase *p) {
    return p->until_ns == 0 ? &st->final : &st->timed;
}

static void list_append_purchase(struct stocks *s, struct purchase_list *l, uint32_t slot) {
    struct purchase *p = purchase_at(s, slot);
    p->next = 0;
    p->prev = l->last;
    if (l->last != 0) {
        purchase_at(s, l->last)->next = slot;
    } else {
        l->first = slot;
    }
    l->last = slot;
}

static void list_remove_purchase(struct stocks *s, struct purchase_list *l, uint32_t slot) {
    struct purchase *p = purchase_at(s, slot);
    if (p->prev != 0) {
        purchase_at(s, p->prev)->next = p->next;
    } else {
        l->first = p->next;
    }
    if (p->next != 0) {
        purchase_at(s, p->next)->prev = p->prev;
    } else {
        l->last = p->prev;
    }
}

/* The only writer of until_ns after a purchase was made: list and timer go along (S4). */
static int purchase_set_until(struct model *m, struct stock *st, uint32_t slot, uint64_t until_ns) {
    struct purchase *p = purchase_at(m->stocks, slot);
    list_remove_purchase(m->stocks, list_of(st, p), slot);
    int rc = timer_set(m, TIMER_HOLD, slot, 0, until_ns, &p->until_ns);
    list_append_purchase(m->stocks, list_of(st, p), slot);
    return rc;
}

/* ---- units ---- */

void stock_note_level(struct stock *st, uint64_t now_ns) {
    if (stock_used(st) < st->def.total) {
        st->sold_out_since_ns = 0;
    } else if (st->sold_out_since_ns == 0) {
        st->sold_out_since_ns = now_ns;
    }
}

static int unit_take(struct stock *st, const struct purchase_value *v) {
    if (v->number == 0) {
        return 0;
    }
    if (stock_used(st) >= st->def.total) {
        return E_CORRUPT; /* S1: no decide gives more */
    }
    int rc = number_set_take(&st->numbers, v->number);
    return rc == E_EXISTS ? E_CORRUPT : rc;
}

static void count(struct stocks *s, struct stock *st, const struct purchase *p, int change) {
    s->purchase_count += (uint64_t)change;
    if (p->number == 0) {
        s->tombstone_count += (uint64_t)change;
        st->tombstones += (uint64_t)change;
    } else if (p->until_ns != 0) {
        st->held += (uint64_t)change;
    }
}

/* ---- purchases ---- */

/* Frees key, member and cell. Timer, number, list and counters are the caller's. */
static void purchase_drop(struct stocks *s, uint32_t slot) {
    struct purchase *p = purchase_at(s, slot);
    map_remove(&s->purchase_map, purchase_hash(s, slot), slot);
    member_leave(s, p->member);
    s->key_bytes -= key_text_memory_bytes(&p->key);
    key_text_release(&p->key);
    slab_give(&s->purchases, slot);
}

/* Cell, key, member and map entry. */
static int purchase_make(struct stocks *s, const struct stock *st, const struct purchase_value *v,
                         uint64_t hash, uint32_t *ret_slot) {
    uint32_t slot = 0;
    int rc = slab_take(&s->purchases, &slot);
    if (rc != 0) {
        return rc;
    }
    struct purchase *p = purchase_at(s, slot);
    p->stock = st->index;
    p->id = v->id;
    p->made_ns = v->made_ns;
    p->number = v->number;
    rc = member_join(s, st->index, v->member, &p->member);
    if (rc == 0) {
        rc = key_text_init(&p->key, v->key);
    }
    if (rc == 0) {
        rc = map_insert(&s->purchase_map, hash, slot);
    }
    if (rc != 0) {
        member_leave(s, p->member);
        key_text_release(&p->key);
        slab_give(&s->purchases, slot);
        return rc;
    }
    s->key_bytes += key_text_memory_bytes(&p->key);
    *ret_slot = slot;
    return 0;
}

int purchase_add(struct model *m, struct stock *st, const struct purchase_value *v) {
    struct stocks *s = m->stocks;
    uint64_t hash = purchase_hash_of(s, st->index, v->key);
    if (find_in(&s->purchase_map, hash, st->index, v->key) != 0) {
        return E_CORRUPT;
    }
    int rc = unit_take(st, v);
    if (rc != 0) {
        return rc;
    }
    uint32_t slot = 0;
    rc = purchase_make(s, st, v, hash, &slot);
    if (rc != 0) {
        return rc; /* out of memory: the model is not used any more */
    }
    list_append_purchase(s, &st->final, slot);
    if (v->until_ns != 0) {
        rc = purchase_set_until(m, st, slot, v->until_ns);
    }
    count(s, st, purchase_at(s, slot), 1);
    return rc;
}

static void purchase_end(struct model *m, struct stock *st, uint32_t slot) {
    struct purchase *p = purchase_at(m->stocks, slot);
    list_remove_purchase(m->stocks, list_of(st, p), slot);
    timer_clear(m, TIMER_HOLD, slot, &p->until_ns);
    purchase_drop(m->stocks, slot);
}

int purchase_release(struct model *m, struct stock *st, uint32_t slot,
                     uint64_t tombstone_until_ns) {
    struct stocks *s = m->stocks;
    struct purchase *p = purchase_at(s, slot);
    assert(p->number != 0);
    count(s, st, p, -1);
    number_set_give(&st->numbers, p->number);
    if (tombstone_until_ns == 0) {
        purchase_end(m, st, slot);
        return 0;
    }
    member_leave(s, p->member);
    p->member = 0;
    p->number = 0;
    p->id = 0;
    int rc = purchase_set_until(m, st, slot, tombstone_until_ns);
    count(s, st, p, 1);
    return rc;
}

void purchase_confirm(struct model *m, struct stock *st, uint32_t slot) {
    struct purchase *p = purchase_at(m->stocks, slot);
    assert(p->number != 0 && p->until_ns != 0);
    int rc = purchase_set_until(m, st, slot, 0);
    assert(rc == 0); /* removing a timer needs no memory */
    st->held--;
}

void purchase_forget(struct model *m, struct stock *st, uint32_t slot) {
    struct purchase *p = purchase_at(m->stocks, slot);
    assert(p->number == 0);
    count(m->stocks, st, p, -1);
    purchase_end(m, st, slot);
}

/* ---- whole stocks ---- */

void stock_free(struct stock *st) {
    if (st != NULL) {
        number_set_release(&st->numbers);
        stock_def_release(&st->def);
        free(st);
    }
}

static uint32_t purchase_first(const struct stock *st) {
    return st->timed.first != 0 ? st->timed.first : st->final.first;
}

void stock_release_keys(struct stocks *s, struct stock *st) {
    const struct purchase_list *lists[] = {&st->timed, &st->final};
    for (unsigned i = 0; i < ARRAY_LENGTH(lists); i++) {
        for (uint32_t slot = lists[i]->first; slot != 0; slot = purchase_at(s, slot)->next) {
            struct purchase *p = purchase_at(s, slot);
            struct member *b = p->member == 0 ? NULL : member_at(s, p->member);
            if (b != NULL && --b->purchases == 0) {
                key_text_release(&b->key); /* the map goes as a whole */
            }
            key_text_release(&p->key);
        }
    }
}

void stocks_reclaim(struct stocks *s, uint32_t cells) {
    if (s->dying == NULL) {
        return;
    }
    uint32_t slot = purchase_first(s->dying);
    for (; cells > 0 && slot != 0; cells--) {
        list_remove_purchase(s, list_of(s->dying, purchase_at(s, slot)), slot);
        purchase_drop(s, slot);
        slot = purchase_first(s->dying);
    }
    if (s->dying->timed.first == 0 && s->dying->final.first == 0) {
        stock_free(s->dying);
        s->dying = NULL;
    }
}

void stock_bury(struct model *m, struct stock *st) {
    struct stocks *s = m->stocks;
    stocks_reclaim(s, UINT32_MAX); /* an earlier one first, so that one waits at most */
    uint64_t timed = st->held + st->tombstones;
    for (uint32_t slot = st->timed.first; slot != 0; slot = purchase_at(s, slot)->next) {
        agenda_remove(&m->timers, timer_entry(TIMER_HOLD, slot, purchase_at(s, slot)->until_ns));
        assert(timed-- > 0);
    }
    s->purchase_count -= stock_used(st) + st->tombstones;
    s->tombstone_count -= st->tombstones;
    s->dying = st;
    stocks_reclaim(s, 0); /* an empty one is gone at once */
}
