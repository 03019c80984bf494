/*
 * The stocks in a snapshot, and their invariants.
 *
 *      roster (roster_save)
 *      a stock:     u32 index, u64 file hash, u64 sold out since, u64 purchases, definition
 *      a purchase:  u32 number, u64 receipt id, u64 made, u64 until, key, member key
 *
 * Purchases stand in the order of their two lists, timed before final. Everything else follows from
 * them: numbers, members, counters, timers.
 */
#include "model/stock_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

static void save_purchases(struct saver *out, const struct stocks *s,
                           const struct purchase_list *l) {
    for (uint32_t slot = l->first; slot != 0; slot = purchase_at(s, slot)->next) {
        const struct purchase *p = purchase_at(s, slot);
        save_u32(out, p->number);
        save_u64(out, p->id);
        save_u64(out, p->made_ns);
        save_u64(out, p->until_ns);
        save_key(out, key_text_span(&p->key));
        struct span member = {.size = 0};
        if (p->member != 0) {
            member = key_text_span(&member_at(s, p->member)->key);
        }
        save_key(out, member);
        save_item_end(out);
    }
}

int stock_save(const struct model *m, struct buffer *chunk,
               int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct stocks *s = m->stocks;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    roster_save(&s->roster, &out);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct stock *st = roster_at(&s->roster, i);
        save_u32(&out, i);
        save_u64(&out, st->file_hash);
        save_u64(&out, st->sold_out_since_ns);
        save_u64(&out, stock_used(st) + st->tombstones);
        out.rc = out.rc != 0 ? out.rc : stock_def_encode(&st->def, chunk);
        save_item_end(&out);
        save_purchases(&out, s, &st->timed);
        save_purchases(&out, s, &st->final);
    }
    return out.rc;
}

static int load_purchase(struct model *m, struct stock *st, struct reader *in) {
    struct purchase_value v = {.number = reader_u32(in)};
    v.id = reader_u64(in);
    v.made_ns = reader_u64(in);
    v.until_ns = reader_u64(in);
    v.key = reader_key(in);
    v.member = reader_key(in);
    if (in->failed || (v.number == 0 && (v.until_ns == 0 || v.member.size > 0))) {
        return E_CORRUPT; /* a tombstone ends, and is nobody's */
    }
    return purchase_add(m, st, &v);
}

static int load_stock(struct model *m, struct reader *in) {
    struct stock *st = calloc(1, sizeof *st);
    if (st == NULL) {
        return E_NOMEM;
    }
    st->index = reader_u32(in);
    st->file_hash = reader_u64(in);
    st->sold_out_since_ns = reader_u64(in);
    uint64_t purchases = reader_u64(in);
    int rc = stock_def_decode(in, &st->def);
    if (rc == 0) {
        rc = roster_put(&m->stocks->roster, st->index, st, st->def.name);
    }
    if (rc != 0) {
        stock_free(st);
        return rc;
    }
    while (rc == 0 && purchases-- > 0) {
        rc = load_purchase(m, st, in);
    }
    bool sold_out = stock_used(st) == st->def.total; /* S5 */
    return rc == 0 && sold_out != (st->sold_out_since_ns != 0) ? E_CORRUPT : rc;
}

int stock_load(struct model *m, struct reader *section) {
    uint32_t items = 0;
    int rc = roster_load(&m->stocks->roster, section, &items);
    while (rc == 0 && items-- > 0) {
        rc = load_stock(m, section);
    }
    return rc == 0 && section->failed ? E_CORRUPT : rc;
}

/* ---- invariants ---- */

struct tally {
    uint64_t units, held, tombstones, purchases;
};

static void check_purchase(const struct model *m, const struct stock *st, uint32_t slot) {
    const struct stocks *s = m->stocks;
    const struct purchase *p = purchase_at(s, slot);
    assert(p->stock == st->index);
    assert(purchase_find(s, st->index, key_text_span(&p->key)) == slot);
    assert(timer_is_true(m, TIMER_HOLD, slot, 0, p->until_ns));                          /* S4 */
    assert(p->number != 0 ? number_set_has(&st->numbers, p->number) : p->until_ns != 0); /* S2 */
    if (p->member != 0) {
        const struct member *b = member_at(s, p->member);
        assert(p->number != 0 && b->stock == st->index && b->purchases > 0);
        assert(member_find(s, st->index, key_text_span(&b->key)) == p->member);
    }
}

static void check_list(const struct model *m, const struct stock *st, const struct purchase_list *l,
                       struct tally *sum) {
    uint32_t before = 0;
    for (uint32_t slot = l->first; slot != 0; slot = purchase_at(m->stocks, slot)->next) {
        const struct purchase *p = purchase_at(m->stocks, slot);
        check_purchase(m, st, slot);
        assert(p->prev == before && (l == &st->timed) == (p->until_ns != 0));
        sum->purchases++;
        sum->units += p->number != 0;
        sum->held += p->number != 0 && p->until_ns != 0;
        sum->tombstones += p->number == 0;
        before = slot;
    }
    assert(l->last == before);
}

static void check_stock(const struct model *m, const struct stock *st, struct tally *all) {
    struct tally sum = {.units = 0};
    check_list(m, st, &st->timed, &sum);
    check_list(m, st, &st->final, &sum);
    assert(sum.units == stock_used(st) && stock_used(st) <= st->def.total); /* S1; S2: no twice */
    assert(sum.held == st->held && sum.tombstones == st->tombstones);
    assert((st->sold_out_since_ns != 0) == (stock_used(st) == st->def.total)); /* S5 */
    all->purchases += sum.purchases;
    all->tombstones += sum.tombstones;
}

static void count_members(const struct stocks *s, const struct purchase_list *l, uint32_t *counts) {
    for (uint32_t slot = l->first; slot != 0; slot = purchase_at(s, slot)->next) {
        counts[purchase_at(s, slot)->member]++;
    }
}

static void compare_members(const struct stocks *s, const struct purchase_list *l,
                            const uint32_t *counts) {
    for (uint32_t slot = l->first; slot != 0; slot = purchase_at(s, slot)->next) {
        uint32_t member = purchase_at(s, slot)->member;
        assert(member == 0 || member_at(s, member)->purchases == counts[member]);
    }
}

/* S3. A member without a purchase would show as one member too many in the map. */
static void check_members(const struct stocks *s) {
    uint32_t *counts = calloc(s->members.used_limit, sizeof *counts);
    uint64_t named = 0;
    for (uint32_t i = roster_after(&s->roster, 0); i != 0 && counts != NULL;
         i = roster_after(&s->roster, i)) {
        const struct stock *st = roster_at(&s->roster, i);
        count_members(s, &st->timed, counts);
        count_members(s, &st->final, counts);
        compare_members(s, &st->timed, counts);
        compare_members(s, &st->final, counts);
    }
    for (uint32_t slot = 1; counts != NULL && slot < s->members.used_limit; slot++) {
        named += counts[slot] > 0;
    }
    assert(counts == NULL || s->dying != NULL || named == s->members.live);
    free(counts);
}

void stock_check_invariants(const struct model *m) {
    const struct stocks *s = m->stocks;
    struct tally all = {.units = 0};
    roster_check(&s->roster);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        check_stock(m, roster_at(&s->roster, i), &all);
    }
    assert(all.purchases == s->purchase_count && all.tombstones == s->tombstone_count);
    assert(s->purchase_map.count == s->purchases.live && s->member_map.count == s->members.live);
    assert(s->dying != NULL || s->purchases.live == s->purchase_count);
    check_members(s);
}
