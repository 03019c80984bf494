/*
 * Stocks: their definitions, what is asked of them, and what the facts do. The checks and facts of
 * single units are in stock_reserve.c, the set that they change is in stock_purchase.c.
 */
#include "model/stock_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/campaign.h"
#include "model/fact.h"
#include "model/receipt.h"

#define DEFINITION_BYTES (4u << 10)
#define RECLAIM_CELLS    32u

/* ---- made and freed ---- */

int stocks_create(const struct model *m, struct stocks **ret) {
    struct stocks *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    s->hash = m->hash;
    slab_init(&s->purchases, sizeof(struct purchase), UINT32_MAX - 1); /* limits bind decide only */
    slab_init(&s->members, sizeof(struct member), UINT32_MAX - 1);
    roster_init(&s->roster, m->hash);
    map_init(&s->purchase_map, s, purchase_matches);
    map_init(&s->member_map, s, member_matches);
    *ret = s;
    return 0;
}

void stocks_free(struct stocks *s) {
    if (s == NULL) {
        return;
    }
    stocks_reclaim(s, UINT32_MAX);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        struct stock *st = roster_at(&s->roster, i);
        stock_release_keys(s, st);
        stock_free(st);
    }
    roster_release(&s->roster);
    map_release(&s->purchase_map);
    map_release(&s->member_map);
    slab_release(&s->purchases);
    slab_release(&s->members);
    free(s);
}

uint64_t stocks_memory_bytes(const struct model *m) {
    const struct stocks *s = m->stocks;
    uint64_t bytes = sizeof *s + s->key_bytes + roster_memory_bytes(&s->roster) +
                     slab_memory_bytes(&s->purchases) + slab_memory_bytes(&s->members) +
                     map_memory_bytes(&s->purchase_map) + map_memory_bytes(&s->member_map);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct stock *st = roster_at(&s->roster, i);
        bytes += sizeof *st + number_set_memory_bytes(&st->numbers);
    }
    return bytes;
}

/* ---- what others see ---- */

uint32_t stock_find(const struct model *m, struct span name) {
    return roster_find(&m->stocks->roster, name);
}

const struct stock_def *stock_definition(const struct model *m, uint32_t stock) {
    const struct stock *st = stock_at(m, stock);
    return st == NULL ? NULL : &st->def;
}

void stock_describe(const struct model *m, uint32_t stock, struct stock_info *ret) {
    const struct stock *st = stock_at(m, stock);
    assert(st != NULL);
    memset(ret, 0, sizeof *ret); /* the bytes go out in lists, padding too */
    ret->total = st->def.total;
    ret->used = stock_used(st);
    ret->held = st->held;
    ret->tombstones = st->tombstones;
    ret->sold_out = stock_used(st) == st->def.total;
    ret->sold_out_since_ns = st->sold_out_since_ns;
}

/* ---- definitions ---- */

static enum refusal check_change(const struct model *m, const struct stock *st,
                                 const struct stock_def *def, struct request *r) {
    if (def->total < stock_used(st)) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/total", "below the units in use");
    }
    if (st->def.on_sale && !def->on_sale) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/onSale", "the stock is on sale already");
    }
    if (st->def.on_sale && def->total < st->def.total) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/total",
                                 "the stock is on sale, its total can only rise");
    }
    if (def->total < st->def.total && def->total < campaign_least_total(m, st->index)) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/total",
                                 "below what a campaign has given and keeps back");
    }
    return REFUSAL_NONE;
}

static enum refusal check_definition(const struct model *m, const struct decision *d,
                                     const struct stock *st, const struct stock_def *def,
                                     struct request *r) {
    if (!name_valid(span_text(def->name))) {
        return request_invalid(r, "/name", "1 to 128 letters, digits, dots, dashes, underscores");
    }
    if (st != NULL) {
        return check_change(m, st, def, r);
    }
    if (!d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    uint32_t live = m->stocks->roster.live;
    if (live >= m->limits.stocks || live >= ROSTER_ITEMS_MAX) {
        return request_refuse(r, REFUSAL_LIMIT, "the limit of stocks is reached");
    }
    return REFUSAL_NONE;
}

/*
 * STOCK_DEFINED v1
 *   offset size
 *        0    4  stock index
 *        4    8  hash of the file's definition, 0: no file ever named it
 *       12    .  the definition as stock_def_encode writes it
 */
static void emit_defined(struct decision *d, uint32_t index, uint64_t file_hash,
                         struct span definition) {
    size_t begun = decision_begin(d, FACT_STOCK_DEFINED, 1);
    decision_put_u32(d, index);
    decision_put_u64(d, file_hash);
    decision_put_span(d, definition);
    decision_end(d, begun);
}

static enum refusal decide_define(const struct model *m, struct decision *d, struct request *r) {
    const struct stock_def *def = r->in.define.stock;
    uint32_t index = stock_find(m, span_text(def->name));
    const struct stock *st = stock_at(m, index);
    struct buffer present, wanted;
    buffer_init(&present, DEFINITION_BYTES);
    buffer_init(&wanted, DEFINITION_BYTES);
    bool emit = false;
    uint64_t file_hash = 0;
    enum refusal refusal = check_definition(m, d, st, def, r);
    if (stock_def_encode(def, &wanted) != 0 ||
        (st != NULL && stock_def_encode(&st->def, &present) != 0)) {
        d->failed = true;
    } else if (refusal == REFUSAL_NONE) {
        refusal = definition_decide(&r->in.define.how, buffer_span(&present), buffer_span(&wanted),
                                    st == NULL ? 0 : st->file_hash, &emit, &file_hash);
    }
    if (refusal == REFUSAL_NONE && emit) {
        emit_defined(d, st != NULL ? index : roster_next_index(&m->stocks->roster), file_hash,
                     buffer_span(&wanted));
    }
    buffer_release(&present);
    buffer_release(&wanted);
    return refusal;
}

/*
 * STOCK_DELETED v1
 *        0    4  stock index
 */
static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r) {
    uint32_t index = stock_find(m, r->name);
    if (index == 0) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no stock by this name");
    }
    if (campaign_uses_stock(m, index)) {
        return request_refuse(r, REFUSAL_CONFLICT, "a campaign uses the stock");
    }
    size_t begun = decision_begin(d, FACT_STOCK_DELETED, 1);
    decision_put_u32(d, index);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

/* ---- decide ---- */

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r) {
    const struct stock *st = stock_at(m, stock_find(m, r->name));
    if (st == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no stock by this name");
    }
    stock_describe(m, st->index, &r->out.stock);
    d->failed |= stock_def_encode(&st->def, &r->out_bytes) != 0;
    return REFUSAL_NONE;
}

static int list_item(const struct model *m, const struct stock *st, struct buffer *out) {
    struct stock_info info;
    stock_describe(m, st->index, &info);
    size_t at = 0;
    int rc = sized_begin(out, &at);
    if (rc == 0) {
        rc = stock_def_encode(&st->def, out);
    }
    if (rc == 0) {
        sized_end(out, at);
        rc = buffer_put_bytes(out, span_of(&info, sizeof info));
    }
    return rc;
}

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct roster *roster = &m->stocks->roster;
    uint32_t max = request_list_max(r);
    uint32_t last = (uint32_t)r->in.list.after;
    uint32_t index = roster_after(roster, last);
    for (; index != 0 && r->count < max; index = roster_after(roster, index)) {
        d->failed |= list_item(m, roster_at(roster, index), &r->out_bytes) != 0;
        r->count++;
        last = index;
    }
    r->next = index == 0 ? 0 : last;
    return REFUSAL_NONE;
}

static enum operation_kind operation_of(enum request_kind kind) {
    return kind == REQUEST_STOCK_RESERVE   ? OPERATION_RESERVE
           : kind == REQUEST_STOCK_RELEASE ? OPERATION_RELEASE
                                           : OPERATION_CONFIRM;
}

static struct span stock_name_of(const struct request *r) {
    return r->name.size > 0 ? r->name : r->in.reserve.stock;
}

static enum refusal decide_operation(const struct model *m, struct decision *d, struct request *r) {
    struct stock_plan plan;
    enum refusal refusal =
        stock_check(m, d, operation_of(r->kind), stock_name_of(r), &r->in.reserve, &plan);
    if (refusal == REFUSAL_NONE) {
        stock_emit(m, d, &plan, &r->receipt);
    }
    r->error_detail = plan.detail;
    r->out.reservation = plan.reservation;
    return refusal;
}

static enum refusal decide_reservation_get(const struct model *m, struct request *r) {
    uint32_t stock = stock_find(m, stock_name_of(r));
    struct span key = r->in.reserve.purchase;
    uint32_t slot = stock == 0 ? 0 : purchase_find(m->stocks, stock, key);
    if (slot == 0) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such reservation of this stock");
    }
    const struct purchase *p = purchase_at(m->stocks, slot);
    r->out.reservation = purchase_describe(p);
    r->receipt = (struct receipt){.id = p->id, .accepted_ns = p->made_ns, .number = p->number};
    return REFUSAL_NONE;
}

static enum refusal stock_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_STOCK_DEFINE:
        return decide_define(m, d, r);
    case REQUEST_STOCK_DELETE:
        return decide_delete(m, d, r);
    case REQUEST_STOCK_GET:
        return decide_get(m, d, r);
    case REQUEST_STOCK_LIST:
        return decide_list(m, d, r);
    case REQUEST_STOCK_RESERVE:
    case REQUEST_STOCK_RELEASE:
    case REQUEST_STOCK_CONFIRM:
        return decide_operation(m, d, r);
    case REQUEST_STOCK_RESERVATION_GET:
        return decide_reservation_get(m, r);
    default:
        return REFUSAL_INVALID;
    }
}

/* ---- apply ---- */

static int apply_defined(struct model *m, const struct applied *w, struct reader *p) {
    struct stocks *s = m->stocks;
    uint32_t index = reader_u32(p);
    uint64_t file_hash = reader_u64(p);
    struct stock_def def;
    int rc = stock_def_decode(p, &def);
    if (rc != 0) {
        return rc;
    }
    struct stock *st = stock_at(m, index);
    if (st != NULL && strcmp(st->def.name, def.name) == 0 && def.total >= stock_used(st) &&
        (def.total >= st->def.total || def.total >= campaign_least_total(m, index))) {
        roster_rename(&s->roster, index, def.name);
        stock_def_release(&st->def);
    } else if (st != NULL || (st = calloc(1, sizeof *st)) == NULL) {
        stock_def_release(&def);
        return st != NULL ? E_CORRUPT : E_NOMEM;
    } else {
        st->index = index;
        rc = roster_put(&s->roster, index, st, def.name);
    }
    st->def = def;
    st->file_hash = file_hash;
    if (rc != 0) {
        stock_free(st);
        return rc;
    }
    stock_note_level(st, w->time_ns);
    return 0;
}

static int apply_deleted(struct model *m, struct reader *p) {
    uint32_t index = reader_u32(p);
    struct stock *st = stock_at(m, index);
    if (st == NULL || campaign_uses_stock(m, index)) {
        return E_CORRUPT;
    }
    roster_remove(&m->stocks->roster, index);
    stock_bury(m, st);
    return 0;
}

static int apply_plus(struct model *m, const struct applied *w, struct reader *p) {
    struct stock *st = stock_at(m, reader_u32(p));
    struct purchase_value v = {.made_ns = w->time_ns};
    v.number = reader_u32(p);
    v.id = reader_u64(p);
    v.until_ns = reader_u64(p);
    v.key = reader_key(p);
    v.member = reader_key(p);
    if (st == NULL || p->failed || v.number == 0 || v.number > st->def.total) {
        return E_CORRUPT; /* the smallest free number is never above the total */
    }
    if (v.id != 0 && id_position(v.id) != w->position) {
        return E_CORRUPT; /* as in MESSAGE_PUT */
    }
    int rc = purchase_add(m, st, &v);
    if (rc != 0) {
        return rc;
    }
    stock_note_level(st, w->time_ns);
    return v.id == 0 ? 0 : receipt_note(m, w, v.id, 0, 0, DEAD_NONE, 0, 0, 0);
}

static int apply_tombstone(struct model *m, const struct applied *w, struct reader *p) {
    struct stock *st = stock_at(m, reader_u32(p));
    struct purchase_value v = {.made_ns = w->time_ns, .until_ns = reader_u64(p)};
    v.key = reader_key(p);
    if (st == NULL || p->failed || v.until_ns == 0) {
        return E_CORRUPT;
    }
    return purchase_add(m, st, &v);
}

static int apply_minus(struct model *m, const struct applied *w, struct reader *p) {
    struct stock *st = stock_at(m, reader_u32(p));
    uint32_t number = reader_u32(p);
    (void)reader_u8(p); /* the reason is for those who read the log */
    uint64_t tombstone_until_ns = reader_u64(p);
    struct span key = reader_key(p);
    uint32_t slot = st == NULL || p->failed ? 0 : purchase_find(m->stocks, st->index, key);
    if (slot == 0 || number == 0 || purchase_at(m->stocks, slot)->number != number) {
        return E_CORRUPT;
    }
    int rc = purchase_release(m, st, slot, tombstone_until_ns);
    stock_note_level(st, w->time_ns);
    return rc;
}

static int apply_confirmed(struct model *m, struct reader *p) {
    struct stock *st = stock_at(m, reader_u32(p));
    struct span key = reader_key(p);
    uint32_t slot = st == NULL || p->failed ? 0 : purchase_find(m->stocks, st->index, key);
    if (slot == 0 || purchase_describe(purchase_at(m->stocks, slot)).state != RESERVATION_HELD) {
        return E_CORRUPT;
    }
    purchase_confirm(m, st, slot);
    return 0;
}

static int apply_tombstone_ended(struct model *m, struct reader *p) {
    struct stock *st = stock_at(m, reader_u32(p));
    struct span key = reader_key(p);
    uint32_t slot = st == NULL || p->failed ? 0 : purchase_find(m->stocks, st->index, key);
    if (slot == 0 || purchase_at(m->stocks, slot)->number != 0) {
        return E_CORRUPT;
    }
    purchase_forget(m, st, slot);
    return 0;
}

static int stock_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                       struct reader *p) {
    (void)version; /* each kind has one so far */
    stocks_reclaim(m->stocks, RECLAIM_CELLS);
    switch (kind) {
    case FACT_STOCK_DEFINED:
        return apply_defined(m, w, p);
    case FACT_STOCK_DELETED:
        return apply_deleted(m, p);
    case FACT_STOCK_PLUS:
        return apply_plus(m, w, p);
    case FACT_STOCK_MINUS:
        return apply_minus(m, w, p);
    case FACT_STOCK_CONFIRMED:
        return apply_confirmed(m, p);
    case FACT_STOCK_TOMBSTONE:
        return apply_tombstone(m, w, p);
    case FACT_STOCK_TOMBSTONE_ENDED:
        return apply_tombstone_ended(m, p);
    default:
        return E_CORRUPT;
    }
}

const struct module stock_module = {
    .name = "stock",
    .decide = stock_decide,
    .apply = stock_apply,
    .on_timer = stock_on_timer,
    .save = stock_save,
    .load = stock_load,
    .check = stock_check_invariants,
    .memory_bytes = stocks_memory_bytes,
    .section_version = 1,
};
