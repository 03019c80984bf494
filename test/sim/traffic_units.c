/* Requests about units: entries of campaigns, reservations, transactions, totals. */
#include <string.h>

#include "traffic.h"

#define WINDOW 220u /* members and purchases that are in use at a time; it moves with the run */

static uint32_t draw_in_window(struct sim *s, struct rng *rng, uint32_t all) {
    uint64_t base = (uint64_t)s->result->operations * (all - WINDOW) / PLAN_LENGTH;
    uint32_t at = (uint32_t)base + (uint32_t)rng_below(rng, WINDOW);
    return at < all ? at : all - 1;
}

/* In use for certain or not, by what is known; without an answer both. */
static bool surely(unsigned may, unsigned states) {
    return (may & ~states) == 0;
}

static void check_sold_out(struct sim *s, unsigned stock, uint64_t safety) {
    struct unit_count count = units_count(s, stock, 0, 0);
    const struct stock_facts *st = &s->units->stocks[stock];
    SIM_CHECK(s, count.maybe + safety >= st->total, "%s is said to be sold out at %llu of %llu",
              st->name, (unsigned long long)count.maybe, (unsigned long long)st->total);
}

static void check_queue_full(struct sim *s, unsigned queue) {
    const struct queue_facts *q = &s->letters->queues[queue];
    SIM_CHECK(s, q->alive_maybe >= rule_least(&q->max_messages), "%s is not full", q->name);
}

/* ---- entries ---- */

void traffic_fill_enter(struct sim *s, struct call *c, unsigned campaign, uint32_t member,
                        uint32_t tag) {
    const struct campaign_facts *k = &s->units->campaigns[campaign];
    c->campaign = campaign;
    c->member = member;
    snprintf(c->member_text, sizeof(c->member_text), "member-%u", member);
    c->q.r.name = span_text(k->name);
    c->q.r.in.enter.member = span_text(c->member_text);
    c->q.r.in.enter.generation = (uint32_t)k->generation.now;
    if (tag != 0)
        traffic_fill_letter(s, c, tag, &c->q.r.in.enter.envelope);
}

static bool make_enter(struct sim *s, struct call *c, struct rng *rng) {
    unsigned campaign = rng_below(rng, 3) == 0 ? CAMPAIGN_LOTS : CAMPAIGN_COUPONS;
    uint32_t member = 1 + draw_in_window(s, rng, MEMBERS);
    uint32_t tag = 0;
    bool stale = rng_below(rng, 50) == 0;
    if (s->units->campaigns[campaign].has_queue) {
        tag = letter_make(s, QUEUE_MAIL, 16 + (uint32_t)rng_below(rng, 300));
        letter_at(s, tag)->tied = true;
        letter_at(s, tag)->member = member;
        letter_at(s, tag)->keyed = rng_below(rng, 4) == 0;
    }
    traffic_fill_enter(s, c, campaign, member, tag);
    c->q.r.in.enter.generation += stale;
    return true;
}

/* The member's entry stands for certain: nobody may enter for this member again. */
static bool stands(const struct sim *s, const struct campaign_facts *k,
                   const struct entry_facts *e) {
    if (e->receipt == 0)
        return false;
    bool withdraws = k->has_queue && k->policy == CAMPAIGN_FAILURE_RELEASE_REENTER;
    if (!withdraws || e->letter == 0)
        return true;
    const struct letter *l = letter_at(s, e->letter);
    return surely(letter_may(s, l), MAY_ALIVE) || l->delivered;
}

static void entered(struct sim *s, struct call *c) {
    struct campaign_facts *k = &s->units->campaigns[c->campaign];
    struct entry_facts *e = &k->members[c->member];
    const struct receipt *receipt = &c->q.r.receipt;
    if (e->receipt == receipt->id) {
        SIM_CHECK(s, c->q.r.replayed, "an entry is made twice with one receipt");
        return;
    }
    SIM_CHECK(s, !stands(s, k, e) || c->q.r.replayed, "member %u enters %s twice", c->member,
              k->name);
    SIM_CHECK(s, sim_real_ns(s) >= k->opens_ns || sim_engine_ns(s) >= k->opens_ns,
              "member %u enters %s before it opens", c->member, k->name);
    if (c->q.r.replayed && e->receipt != 0)
        return; /* of an entry before the one that stands */
    SIM_CHECK(s, c->q.r.replayed || rule_may_be(&k->generation, c->q.r.in.enter.generation),
              "member %u enters %s by a definition that was changed", c->member, k->name);
    uint32_t unit = unit_make(s, k->stock, c->member);
    unit_at(s, unit)->receipt = receipt->id;
    unit_at(s, unit)->letter = c->letter;
    if (c->q.r.replayed)
        unit_at(s, unit)->may = UNIT_NONE | UNIT_FINAL;
    else
        unit_given(s, unit, receipt->number, 0, rule_least(&k->safety));
    *e = (struct entry_facts){.receipt = receipt->id, .unit = unit, .letter = c->letter};
    if (c->letter != 0) {
        letter_at(s, c->letter)->unit = unit;
        letter_accepted(s, c->letter, receipt->id, receipt->accepted_ns);
    }
}

/* An entry without an answer before is the one that is told of now. */
static void claimed(struct sim *s, struct call *c) {
    struct campaign_facts *k = &s->units->campaigns[c->campaign];
    struct entry_facts *e = &k->members[c->member];
    SIM_CHECK(s, e->receipt != 0, "member %u is said to have entered %s and has not", c->member,
              k->name);
    SIM_CHECK(s, e->receipt == c->q.r.receipt.id, "member %u of %s has another receipt now",
              c->member, k->name);
    const struct unit *u = unit_at(s, e->unit);
    SIM_CHECK(s, u->number == 0 || u->number == c->q.r.receipt.number,
              "member %u of %s has another number now", c->member, k->name);
}

static void enter_answered(struct sim *s, struct call *c) {
    struct campaign_facts *k = &s->units->campaigns[c->campaign];
    bool known = c->letter != 0 && letter_at(s, c->letter)->id != 0;
    bool keyed = c->letter != 0 && letter_at(s, c->letter)->keyed;
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        entered(s, c);
        return;
    case REFUSAL_ALREADY_CLAIMED:
        claimed(s, c);
        break;
    case REFUSAL_SOLD_OUT:
        SIM_CHECK(s, !stands(s, k, &k->members[c->member]), "member %u has entered", c->member);
        check_sold_out(s, k->stock, rule_most(&k->safety));
        break;
    case REFUSAL_NOT_OPEN:
        SIM_CHECK(s, s->turn_engine_ns < k->opens_ns, "%s is open", k->name);
        break;
    case REFUSAL_STALE:
        SIM_CHECK(s, !rule_known(&k->generation) || c->q.r.in.enter.generation != k->generation.now,
                  "the definition is the present one");
        break;
    case REFUSAL_QUEUE_FULL:
        check_queue_full(s, QUEUE_MAIL);
        break;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    }
    SIM_CHECK(s, !known || !keyed, "an entry that was accepted is refused under its key");
    if (c->letter != 0 && !known)
        letter_refused(s, c->letter);
}

static void enter_lost(struct sim *s, struct call *c) {
    s->units->campaigns[c->campaign].members[c->member].asked = true;
}

const struct traffic traffic_enter = {16, REQUEST_CAMPAIGN_ENTER, make_enter, enter_answered,
                                      enter_lost};

/* ---- reservations ---- */

static void fill_unit(struct sim *s, struct call *c, uint32_t unit) {
    struct unit *u = unit_at(s, unit);
    struct reserve *r = &c->q.r.in.reserve;
    c->unit = unit;
    c->stock = u->stock;
    unit_key(s, unit, c->purchase);
    r->purchase = span_text(c->purchase);
    c->q.r.name = r->stock = span_text(s->units->stocks[u->stock].name);
    if (u->member != 0) {
        snprintf(c->member_text, sizeof(c->member_text), "buyer-%u", u->member);
        r->member = span_text(c->member_text);
    }
}

static bool make_reservation(struct sim *s, struct call *c, struct rng *rng) {
    uint32_t at = draw_in_window(s, rng, PURCHASES);
    if (s->units->purchases[at] == 0)
        s->units->purchases[at] = unit_make(s, STOCK_SEATS, 1 + at % 37);
    fill_unit(s, c, s->units->purchases[at]);
    return true;
}

static void reserved(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    const struct stock_facts *st = &s->units->stocks[u->stock];
    const struct reservation_info *info = &c->q.r.out.reservation;
    unsigned may = unit_may(s, u);
    SIM_CHECK(s, !surely(may, UNIT_CANCELLED), "a purchase is given after it was cancelled");
    if (surely(may, UNIT_IN_USE))
        SIM_CHECK(s,
                  info->number == u->number && (u->receipt == 0 || u->receipt == c->q.r.receipt.id),
                  "unit %u had number %u and is told %llu", c->unit, u->number,
                  (unsigned long long)info->number);
    bool the_same = (may & UNIT_IN_USE) && u->receipt == c->q.r.receipt.id;
    if (!the_same && !surely(may, UNIT_IN_USE)) {
        struct unit_count mine = units_count(s, u->stock, u->member, c->unit);
        SIM_CHECK(s, st->per_member == 0 || mine.certain < st->per_member,
                  "buyer %u has more than %llu", u->member, (unsigned long long)st->per_member);
        unit_given(s, c->unit, info->number, info->expires_ns, 0);
    }
    u->receipt = c->q.r.receipt.id;
    u->number = (uint32_t)info->number;
    u->until_ns = info->expires_ns;
    u->may = info->state == RESERVATION_HELD ? UNIT_HELD : UNIT_FINAL;
}

static void reserve_answered(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    unsigned may = unit_may(s, u);
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        reserved(s, c);
        break;
    case REFUSAL_CANCELLED:
        SIM_CHECK(s, may & UNIT_CANCELLED, "unit %u was not cancelled", c->unit);
        break;
    case REFUSAL_SOLD_OUT:
        SIM_CHECK(s, !surely(may, UNIT_IN_USE | UNIT_CANCELLED), "unit %u was given", c->unit);
        check_sold_out(s, u->stock, 0);
        break;
    case REFUSAL_MEMBER_LIMIT:
        SIM_CHECK(s,
                  !surely(may, UNIT_IN_USE | UNIT_CANCELLED) &&
                      units_count(s, u->stock, u->member, c->unit).maybe >=
                          s->units->stocks[u->stock].per_member,
                  "buyer %u has room for unit %u", u->member, c->unit);
        break;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    }
}

static void reserve_lost(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    if (!surely(unit_may(s, u), UNIT_IN_USE | UNIT_CANCELLED)) {
        u->number = 0;
        u->receipt = 0;
    }
    u->may = (uint8_t)unit_may(s, u);
    u->may |= s->units->stocks[u->stock].hold_ns != 0 ? UNIT_HELD | UNIT_NONE : UNIT_FINAL;
}

const struct traffic traffic_reserve = {18, REQUEST_STOCK_RESERVE, make_reservation,
                                        reserve_answered, reserve_lost};

/* A ticket now and then, mostly a seat: often one that nobody has asked for yet. */
static bool make_release(struct sim *s, struct call *c, struct rng *rng) {
    for (unsigned n = 0; n < 8 && rng_below(rng, 5) == 0 && s->units->count > 1; n++) {
        uint32_t unit = 1 + (uint32_t)rng_below(rng, s->units->count - 1);
        if (unit_at(s, unit)->stock != STOCK_TICKETS)
            continue;
        fill_unit(s, c, unit);
        return true;
    }
    return make_reservation(s, c, rng);
}

static void release_answered(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    if (c->q.r.refusal == REFUSAL_NONE) {
        u->may = UNIT_CANCELLED;
        u->number = 0;
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
}

static void release_lost(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    u->may = (uint8_t)(unit_may(s, u) | UNIT_CANCELLED);
}

const struct traffic traffic_release = {5, REQUEST_STOCK_RELEASE, make_release, release_answered,
                                        release_lost};

static void confirm_answered(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    unsigned may = unit_may(s, u);
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        SIM_CHECK(s, may & UNIT_IN_USE, "unit %u is confirmed and was not in use", c->unit);
        u->number = (uint32_t)c->q.r.out.reservation.number;
        u->until_ns = 0;
        u->may = UNIT_FINAL;
        break;
    case REFUSAL_NOT_FOUND:
        SIM_CHECK(s, may & UNIT_NONE, "unit %u is not found, and was given", c->unit);
        break;
    case REFUSAL_CANCELLED:
        SIM_CHECK(s, may & UNIT_CANCELLED, "unit %u was not cancelled", c->unit);
        break;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    }
}

static void confirm_lost(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    unsigned may = unit_may(s, u);
    u->may = (uint8_t)(may & UNIT_HELD ? may | UNIT_FINAL : may);
}

const struct traffic traffic_confirm = {7, REQUEST_STOCK_CONFIRM, make_reservation,
                                        confirm_answered, confirm_lost};

/* ---- transactions: a ticket, the letter that goes with it, and often a key of their own ---- */

void traffic_fill_transaction(struct sim *s, struct call *c, uint32_t tag) {
    struct letter *l = letter_at(s, tag);
    struct unit *u = unit_at(s, l->unit);
    struct operation *o = c->operations;
    uint32_t n = 0;
    fill_unit(s, c, l->unit);
    memset(&c->q.r.in, 0, sizeof(c->q.r.in));
    c->q.r.name = span_of(NULL, 0);
    if (tag % 2 == 0) {
        snprintf(c->dedup_text, sizeof(c->dedup_text), "t%u", tag);
        o[n++] = (struct operation){.kind = OPERATION_DEDUP, .dedup_key = span_text(c->dedup_text)};
    }
    o[n] = (struct operation){.kind = OPERATION_RESERVE};
    o[n].reserve.stock = span_text(s->units->stocks[u->stock].name);
    o[n++].reserve.purchase = span_text(c->purchase);
    o[n] = (struct operation){.kind = OPERATION_ENQUEUE};
    o[n].enqueue.queue = span_text(s->letters->queues[QUEUE_TICKETS].name);
    o[n].compensate_stock = span_text(s->units->stocks[u->stock].name);
    traffic_fill_letter(s, c, tag, &o[n++].enqueue.envelope);
    c->q.r.in.transaction.operations = o;
    c->q.r.in.transaction.count = n;
}

static bool make_transaction(struct sim *s, struct call *c, struct rng *rng) {
    uint32_t tag = letter_make(s, QUEUE_TICKETS, 16 + (uint32_t)rng_below(rng, 300));
    uint32_t unit = unit_make(s, STOCK_TICKETS, 0);
    letter_at(s, tag)->unit = unit;
    letter_at(s, tag)->keyed = rng_below(rng, 3) == 0;
    unit_at(s, unit)->letter = tag;
    traffic_fill_transaction(s, c, tag);
    return true;
}

static void transaction_done(struct sim *s, struct call *c) {
    struct letter *l = letter_at(s, c->letter);
    uint32_t n = c->q.r.in.transaction.count;
    const struct operation *o = c->operations;
    if (c->q.r.replayed) {
        SIM_CHECK(s, l->id == 0 || id_position(l->id) == id_position(c->q.r.receipt.id),
                  "a transaction is answered with another's receipt");
        return; /* the audit finds what it made */
    }
    SIM_CHECK(s, l->id == 0, "a transaction is done twice");
    unsigned may = unit_may(s, unit_at(s, c->unit));
    SIM_CHECK(s, !surely(may, UNIT_CANCELLED), "a ticket is given after it was cancelled");
    if (!surely(may, UNIT_IN_USE))
        unit_given(s, c->unit, o[n - 2].receipt.number, 0, 0);
    letter_accepted(s, c->letter, o[n - 1].receipt.id, o[n - 1].receipt.accepted_ns);
}

static void transaction_answered(struct sim *s, struct call *c) {
    struct letter *l = letter_at(s, c->letter);
    unsigned may = unit_may(s, unit_at(s, c->unit));
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        transaction_done(s, c);
        return;
    case REFUSAL_SOLD_OUT:
        check_sold_out(s, STOCK_TICKETS, 0);
        break;
    case REFUSAL_CANCELLED:
        SIM_CHECK(s, may & UNIT_CANCELLED, "ticket %u was not cancelled", c->unit);
        break;
    case REFUSAL_QUEUE_FULL:
        check_queue_full(s, QUEUE_TICKETS);
        break;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    }
    SIM_CHECK(s, l->id == 0, "a transaction that was done is refused under its key");
    letter_refused(s, c->letter);
}

static void transaction_lost(struct sim *s, struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    u->may = (uint8_t)(unit_may(s, u) | UNIT_FINAL);
}

const struct traffic traffic_transaction = {6, REQUEST_TRANSACTION, make_transaction,
                                            transaction_answered, transaction_lost};

/* ---- a higher total ---- */

static bool make_total(struct sim *s, struct call *c, struct rng *rng) {
    unsigned stock = (unsigned)rng_below(rng, STOCKS);
    struct stock_facts *st = &s->units->stocks[stock];
    if (rng_below(rng, 4) != 0 || st->total_asked != 0)
        return false;
    traffic_fill_stock(s, c, stock, st->total + 1 + rng_below(rng, 10));
    st->total_asked = c->stock_def.total;
    return true;
}

static void total_answered(struct sim *s, struct call *c) {
    struct stock_facts *st = &s->units->stocks[c->stock];
    if (c->q.r.refusal == REFUSAL_NONE)
        st->total = c->stock_def.total;
    else if (!traffic_is_full(s, c))
        traffic_unexpected(s, c);
    st->total_asked = 0;
}

static void total_lost(struct sim *s, struct call *c) {
    (void)s;
    (void)c; /* total_asked stays until the audit has seen which one holds */
}

const struct traffic traffic_total = {1, REQUEST_STOCK_DEFINE, make_total, total_answered,
                                      total_lost};
