/*
 * Reserve, release, confirm: the checks, and the facts that they end in.
 *
 * Check and emit are apart, so that a transaction checks all its operations before the first one emits.
 * Keys in facts are one length byte and up to 255 bytes; numbers are little-endian. The layouts stand at
 * the emit functions and in docs/format/facts.md.
 */
#include "model/stock_state.h"

#include <assert.h>
#include <endian.h>

#include "model/fact.h"

#define FACT_HEADER_BYTES 8u
/* No further tombstones are made when they take more than this share of the limit of purchases. */
#define TOMBSTONE_SHARE 4u

struct reservation_info purchase_describe(const struct purchase *p) {
    return (struct reservation_info){
        .state = p->number == 0     ? RESERVATION_CANCELLED
                 : p->until_ns != 0 ? RESERVATION_HELD
                                    : RESERVATION_FINAL,
        .number = p->number,
        .expires_ns = p->until_ns,
        .made_ns = p->made_ns,
    };
}

/* ---- units that this very decision has given already ---- */

struct pending {
    uint64_t units;
    uint64_t units_of_member;
    uint32_t last_number; /* they ascend: each got the smallest free one */
    bool purchase_is_given;
};

static uint32_t fact_field(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

/*
 * A record may give several units of one stock (a redrive of many messages does), and none of them is
 * in the state yet. They stand in d->facts, so they are counted there; mostly it is empty.
 */
static struct pending pending_in(const struct decision *d, uint32_t stock, struct span purchase,
                                 struct span member) {
    struct pending found = {.units = 0};
    struct reader facts;
    reader_init(&facts, buffer_span(d->facts));
    while (facts.left >= FACT_HEADER_BYTES) {
        uint16_t kind = reader_u16(&facts);
        (void)reader_u16(&facts);
        struct span payload = reader_take(&facts, reader_u32(&facts));
        if (kind != FACT_STOCK_PLUS || payload.size < 4 || fact_field(payload.data) != stock) {
            continue;
        }
        struct reader plus;
        reader_init(&plus, payload);
        (void)reader_u32(&plus);
        found.last_number = reader_u32(&plus);
        (void)reader_u64(&plus);
        (void)reader_u64(&plus);
        found.purchase_is_given |= span_equal(reader_key(&plus), purchase);
        found.units++;
        found.units_of_member += member.size > 0 && span_equal(reader_key(&plus), member);
    }
    return found;
}

/* ---- checks ---- */

static enum refusal check_known(const struct model *m, const struct purchase *p,
                                struct span member) {
    if (p->number == 0) {
        return REFUSAL_CANCELLED;
    }
    struct span owner = {.size = 0};
    if (p->member != 0) {
        owner = key_text_span(&member_at(m->stocks, p->member)->key);
    }
    return span_equal(owner, member) ? REFUSAL_NONE : REFUSAL_CONFLICT;
}

static bool member_is_full(const struct model *m, const struct stock *st, struct span member,
                           uint64_t pending) {
    if (st->def.per_member == 0 || member.size == 0) {
        return false;
    }
    uint32_t slot = member_find(m->stocks, st->index, member);
    uint64_t has = slot == 0 ? 0 : member_at(m->stocks, slot)->purchases;
    return has + pending >= st->def.per_member;
}

enum refusal stock_check_plus(const struct model *m, const struct decision *d, uint32_t stock,
                              struct span purchase, struct span member, uint64_t keep_back,
                              struct reservation_info *ret_known, bool *ret_is_known) {
    const struct stock *st = stock_at(m, stock);
    assert(st != NULL);
    uint32_t slot = purchase_find(m->stocks, stock, purchase);
    if (slot != 0) {
        const struct purchase *p = purchase_at(m->stocks, slot);
        *ret_known = purchase_describe(p);
        *ret_is_known = true;
        return check_known(m, p, member);
    }
    *ret_is_known = false;
    struct pending pending = pending_in(d, stock, purchase, member);
    if (pending.purchase_is_given) {
        return REFUSAL_CONFLICT;
    }
    if (member_is_full(m, st, member, pending.units_of_member)) {
        return REFUSAL_MEMBER_LIMIT;
    }
    uint64_t left = st->def.total - stock_used(st);
    assert(pending.units <= left); /* each of them was checked here */
    if (left - pending.units <= keep_back) {
        return REFUSAL_SOLD_OUT;
    }
    bool full = m->stocks->purchase_count + pending.units >= m->limits.purchases;
    return full ? REFUSAL_LIMIT : REFUSAL_NONE;
}

/* At the end of time when the sum would pass it. */
static uint64_t time_after(uint64_t now_ns, uint64_t span_ns) {
    return span_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + span_ns;
}

static enum refusal check_reserve(const struct model *m, const struct decision *d,
                                  struct stock_plan *plan) {
    const struct reserve *r = plan->reserve;
    bool known = false; /* an empty purchase never is: stock_emit makes its number */
    enum refusal refusal = stock_check_plus(m, d, plan->stock, plan->purchase, r->member, 0,
                                            &plan->reservation, &known);
    plan->changes = !known;
    if (known) {
        uint32_t slot = purchase_find(m->stocks, plan->stock, plan->purchase);
        plan->receipt_id = purchase_at(m->stocks, slot)->id;
        plan->detail = refusal == REFUSAL_CONFLICT ? "the purchase is of another member" : NULL;
        return refusal;
    }
    if (refusal == REFUSAL_NONE && !d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    plan->detail = refusal == REFUSAL_LIMIT ? "the limit of purchases is reached" : NULL;
    return refusal;
}

static bool may_bury(const struct model *m) {
    return m->stocks->tombstone_count < m->limits.purchases / TOMBSTONE_SHARE + 1;
}

static enum refusal check_release(const struct model *m, const struct decision *d,
                                  struct stock_plan *plan) {
    uint32_t slot = purchase_find(m->stocks, plan->stock, plan->purchase);
    if (slot != 0) {
        plan->reservation = purchase_describe(purchase_at(m->stocks, slot));
        plan->changes = plan->reservation.state != RESERVATION_CANCELLED;
        return REFUSAL_NONE;
    }
    plan->changes = true;
    if (!d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    if (!may_bury(m) || m->stocks->purchase_count >= m->limits.purchases) {
        plan->detail = "the limit of cancelled purchases is reached";
        return REFUSAL_LIMIT;
    }
    return REFUSAL_NONE;
}

static enum refusal check_confirm(const struct model *m, struct stock_plan *plan) {
    uint32_t slot = purchase_find(m->stocks, plan->stock, plan->purchase);
    if (slot == 0) {
        plan->detail = "there is no such purchase, or its hold ended";
        return REFUSAL_NOT_FOUND;
    }
    plan->reservation = purchase_describe(purchase_at(m->stocks, slot));
    if (plan->reservation.state == RESERVATION_CANCELLED) {
        return REFUSAL_CANCELLED;
    }
    plan->changes = plan->reservation.state == RESERVATION_HELD;
    return REFUSAL_NONE;
}

/* Receipt ids serve as purchase numbers, so nobody may take one before it is given. */
static bool is_future_receipt(const struct decision *d, struct span purchase) {
    uint64_t id = 0;
    return receipt_parse(purchase, &id) == 0 && id_position(id) >= d->position;
}

enum refusal stock_check(const struct model *m, const struct decision *d, enum operation_kind kind,
                         struct span stock, const struct reserve *r, struct stock_plan *ret_plan) {
    *ret_plan = (struct stock_plan){.kind = kind, .reserve = r, .purchase = r->purchase};
    ret_plan->stock = stock_find(m, stock);
    if (ret_plan->stock == 0) {
        ret_plan->detail = "there is no such stock";
        return REFUSAL_NOT_FOUND;
    }
    if (r->purchase.size > KEY_MAX_BYTES || r->member.size > KEY_MAX_BYTES) {
        ret_plan->detail = "a purchase or member key has at most 255 bytes";
        return REFUSAL_INVALID;
    }
    if (is_future_receipt(d, r->purchase)) {
        ret_plan->detail = "the purchase number reads as a receipt that was not given yet";
        return REFUSAL_INVALID;
    }
    if (kind == OPERATION_RESERVE) {
        return check_reserve(m, d, ret_plan);
    }
    if (r->purchase.size == 0) {
        ret_plan->detail = "a purchase number is needed";
        return REFUSAL_INVALID;
    }
    return kind == OPERATION_RELEASE ? check_release(m, d, ret_plan) : check_confirm(m, ret_plan);
}

/* ---- emits ---- */

/*
 * STOCK_PLUS v1
 *   offset size
 *        0    4  stock index
 *        4    4  number of the unit
 *        8    8  receipt id of the reservation; 0: it has none of its own
 *       16    8  end of the hold, ns; 0: final
 *       24    .  purchase key, then member key (may be empty)
 */
static uint32_t emit_plus(const struct model *m, struct decision *d, uint32_t stock,
                          struct span purchase, struct span member, uint64_t hold_until_ns,
                          uint64_t receipt_id) {
    const struct stock *st = stock_at(m, stock);
    struct pending pending = pending_in(d, stock, purchase, member);
    uint32_t number = number_set_free_after(&st->numbers, pending.last_number);
    size_t begun = decision_begin(d, FACT_STOCK_PLUS, 1);
    decision_put_u32(d, stock);
    decision_put_u32(d, number);
    decision_put_u64(d, receipt_id);
    decision_put_u64(d, hold_until_ns);
    decision_put_key(d, purchase);
    decision_put_key(d, member);
    decision_end(d, begun);
    return number;
}

uint64_t stock_emit_plus(const struct model *m, struct decision *d, uint32_t stock,
                         struct span purchase, struct span member, uint64_t hold_until_ns) {
    return emit_plus(m, d, stock, purchase, member, hold_until_ns, 0);
}

/*
 * STOCK_MINUS v1
 *        0    4  stock index
 *        4    4  number of the unit, free again
 *        8    1  reason: enum stock_minus_reason
 *        9    8  end of the tombstone that stays, ns; 0: none stays
 *       17    .  purchase key
 */
void stock_emit_minus(const struct model *m, struct decision *d, uint32_t stock,
                      struct span purchase, enum stock_minus_reason reason) {
    uint32_t slot = stock_at(m, stock) == NULL ? 0 : purchase_find(m->stocks, stock, purchase);
    const struct purchase *p = slot == 0 ? NULL : purchase_at(m->stocks, slot);
    if (p == NULL || p->number == 0) {
        return;
    }
    bool buries = reason == MINUS_CANCELLED && may_bury(m);
    size_t begun = decision_begin(d, FACT_STOCK_MINUS, 1);
    decision_put_u32(d, stock);
    decision_put_u32(d, p->number);
    decision_put_u8(d, (uint8_t)reason);
    decision_put_u64(d, buries ? time_after(d->now_ns, m->limits.tombstone_ttl_ns) : 0);
    decision_put_key(d, purchase);
    decision_end(d, begun);
}

/*
 * STOCK_TOMBSTONE v1: a cancel came before its purchase.
 *        0    4  stock index
 *        4    8  its end, ns
 *       12    .  purchase key
 */
static void emit_tombstone(const struct model *m, struct decision *d, uint32_t stock,
                           struct span purchase) {
    size_t begun = decision_begin(d, FACT_STOCK_TOMBSTONE, 1);
    decision_put_u32(d, stock);
    decision_put_u64(d, time_after(d->now_ns, m->limits.tombstone_ttl_ns));
    decision_put_key(d, purchase);
    decision_end(d, begun);
}

/*
 * STOCK_CONFIRMED v1 (a hold became final), STOCK_TOMBSTONE_ENDED v1
 *        0    4  stock index
 *        4    .  purchase key
 */
static void emit_purchase(struct decision *d, enum fact_kind kind, uint32_t stock,
                          struct span purchase) {
    size_t begun = decision_begin(d, (uint16_t)kind, 1);
    decision_put_u32(d, stock);
    decision_put_key(d, purchase);
    decision_end(d, begun);
}

static void emit_reserve(const struct model *m, struct decision *d, struct stock_plan *plan) {
    const struct reserve *r = plan->reserve;
    uint64_t hold_ns = r->hold_ns != 0 ? r->hold_ns : stock_at(m, plan->stock)->def.hold_ns;
    uint64_t until_ns = hold_ns == 0 ? 0 : time_after(d->now_ns, hold_ns);
    plan->receipt_id = id_make(d->position, d->operation++);
    if (plan->purchase.size == 0) {
        receipt_format(plan->receipt_id, plan->text);
        plan->purchase = span_text(plan->text);
    }
    plan->reservation = (struct reservation_info){
        .state = until_ns == 0 ? RESERVATION_FINAL : RESERVATION_HELD,
        .number =
            emit_plus(m, d, plan->stock, plan->purchase, r->member, until_ns, plan->receipt_id),
        .expires_ns = until_ns,
        .made_ns = d->now_ns,
    };
}

static void emit_release(const struct model *m, struct decision *d, struct stock_plan *plan) {
    if (plan->reservation.number != 0) {
        stock_emit_minus(m, d, plan->stock, plan->purchase, MINUS_CANCELLED);
    } else {
        emit_tombstone(m, d, plan->stock, plan->purchase);
    }
    plan->reservation.state = RESERVATION_CANCELLED;
    plan->reservation.expires_ns = time_after(d->now_ns, m->limits.tombstone_ttl_ns);
}

void stock_emit(const struct model *m, struct decision *d, struct stock_plan *plan,
                struct receipt *ret) {
    if (plan->changes && plan->kind == OPERATION_RESERVE) {
        emit_reserve(m, d, plan);
    } else if (plan->changes && plan->kind == OPERATION_RELEASE) {
        emit_release(m, d, plan);
    } else if (plan->changes) {
        emit_purchase(d, FACT_STOCK_CONFIRMED, plan->stock, plan->purchase);
        plan->reservation.state = RESERVATION_FINAL;
        plan->reservation.expires_ns = 0;
    }
    *ret = (struct receipt){.id = 0};
    if (plan->kind == OPERATION_RESERVE) {
        ret->id = plan->receipt_id;
        ret->accepted_ns = plan->reservation.made_ns;
        ret->number = plan->reservation.number;
    }
}

void stock_on_timer(const struct model *m, struct decision *d, uint32_t timer_kind, uint64_t ref) {
    assert(timer_kind == TIMER_HOLD);
    const struct purchase *p = purchase_at(m->stocks, (uint32_t)ref);
    assert(p->until_ns != 0 && p->until_ns <= d->now_ns);
    if (p->number != 0) {
        stock_emit_minus(m, d, p->stock, key_text_span(&p->key), MINUS_HOLD_ENDED);
    } else {
        emit_purchase(d, FACT_STOCK_TOMBSTONE_ENDED, p->stock, key_text_span(&p->key));
    }
}
