#include "traffic.h"

#include <string.h>

#include "destinations.h"

static const struct traffic *const kinds[] = {
    &traffic_publish,
    &traffic_enter,
    &traffic_reserve,
    &traffic_release,
    &traffic_confirm,
    &traffic_transaction,
    &traffic_delete,
    &traffic_redrive,
    &traffic_receipt,
    &traffic_pause_queue,
    &traffic_pause_destination,
    &traffic_purge,
    &traffic_limits,
    &traffic_act,
    &traffic_total,
    &traffic_amqp_publish,
    &traffic_amqp_transaction,
    &traffic_consume,
    &traffic_cancel,
    &traffic_settle,
    &traffic_get,
    &traffic_credit,
    &traffic_disconnect,
    &traffic_exclusive,
    &traffic_slip,
    &traffic_slip_look,
    &traffic_slip_discard,
    &traffic_slip_edit,
    &traffic_slip_move,
    &traffic_slip_redrive,
    &traffic_slip_confirm,
    &traffic_chore,
    &traffic_chore_look,
    &traffic_chore_cancel,
    &traffic_queue,
    &traffic_policy,
    &traffic_campaign,
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- the facts of a run ---- */

static const char *const lane_names[QUEUE_LANES] = {"sim-lane-a", "sim-lane-b", "sim-lane-c"};

/* The first has a guarantee, the others share the rest by their weights. */
static void draw_lanes(struct sim *s) {
    struct queue_facts *q = &s->letters->queues[QUEUE_LANE_FIRST];
    uint64_t draw = sim_draw(s, 'w', 0);
    q[0].percent = 5 + (uint32_t)(draw % 80);
    q[1].weight = 1 + (uint32_t)(draw >> 10) % 9;
    q[2].weight = 1 + (uint32_t)(draw >> 20) % 3;
    for (unsigned i = 0; i < QUEUE_LANES; i++)
        q[i].deadline_ns = (draw >> (30 + i)) % 2 == 0 ? 0 : 40 * NS_PER_MS;
}

static void queue_facts(struct sim *s) {
    struct queue_facts *q = s->letters->queues;
    uint64_t draw = sim_draw(s, 'q', 0);
    q[QUEUE_MAIL] = (struct queue_facts){.name = "sim-mail", .max_messages = rule_of(900)};
    q[QUEUE_ORDERS] = (struct queue_facts){.name = "sim-orders", .max_messages = rule_of(900)};
    q[QUEUE_JOBS] = (struct queue_facts){.name = "sim-jobs", .max_messages = rule_of(900)};
    q[QUEUE_STORE] =
        (struct queue_facts){.name = "sim-store", .max_messages = rule_of(20 + draw % 500)};
    q[QUEUE_TICKETS] = (struct queue_facts){.name = "sim-tickets", .max_messages = rule_of(900)};
    for (unsigned lane = 0; lane < QUEUE_LANES; lane++)
        q[QUEUE_LANE_FIRST + lane] =
            (struct queue_facts){.name = lane_names[lane], .max_messages = rule_of(900)};
    q[QUEUE_TOLD] = (struct queue_facts){.name = "sim-told", .max_messages = rule_of(900)};
    for (unsigned i = 0; i < QUEUES; i++) {
        q[i].max_attempts = rule_of(2 + sim_draw(s, 'r', i) % 5);
        q[i].dead_letters = true;
        q[i].weight = 1;
    }
    draw_lanes(s);
    q[QUEUE_TOLD].deadline_ns = (draw >> 30) % 2 == 0 ? 0 : 30 * NS_PER_MS;
    q[QUEUE_TOLD].ttl_ns = (draw >> 31) % 2 == 0 ? 0 : (50 + (draw >> 32) % 1000) * NS_PER_MS;
    q[QUEUE_JOBS].dead_letters = (draw >> 10) % 4 != 0;
    q[QUEUE_STORE].dead_letters = (draw >> 12) % 2 == 0;
    q[QUEUE_STORE].ttl_ns = (draw >> 13) % 2 == 0 ? 0 : (100 + (draw >> 14) % 2000) * NS_PER_MS;
}

static void unit_facts(struct sim *s) {
    struct stock_facts *st = s->units->stocks;
    uint64_t draw = sim_draw(s, 'u', 0);
    st[STOCK_SEATS] = (struct stock_facts){.name = "sim-seats", .total = 20 + draw % 300};
    st[STOCK_SEATS].per_member = (draw >> 10) % 3 == 0 ? 0 : 1 + (draw >> 12) % 8;
    st[STOCK_SEATS].hold_ns = (draw >> 16) % 2 == 0 ? 0 : (20 + (draw >> 18) % 400) * NS_PER_MS;
    st[STOCK_COUPONS] =
        (struct stock_facts){.name = "sim-coupons", .total = 100 + (draw >> 28) % 900};
    st[STOCK_LOTS] = (struct stock_facts){.name = "sim-lots", .total = 50 + (draw >> 38) % 400};
    st[STOCK_TICKETS] =
        (struct stock_facts){.name = "sim-ticket-units", .total = 20 + (draw >> 48) % 300};
    struct campaign_facts *k = s->units->campaigns;
    draw = sim_draw(s, 'u', 1);
    k[CAMPAIGN_COUPONS] = (struct campaign_facts){
        .name = "sim-coupons",
        .stock = STOCK_COUPONS,
        .policy = (unsigned)(draw % 3),
        .opens_ns = sim_real_ns(s) + (draw >> 4) % (200 * NS_PER_MS),
        .safety = rule_of((draw >> 30) % 2 == 0 ? 0 : (draw >> 32) % 20),
        .has_queue = true,
        .generation = rule_of(1),
    };
    k[CAMPAIGN_LOTS] = (struct campaign_facts){.name = "sim-lots",
                                               .stock = STOCK_LOTS,
                                               .policy = CAMPAIGN_FAILURE_KEEP,
                                               .generation = rule_of(1)};
}

void traffic_facts(struct sim *s) {
    queue_facts(s);
    unit_facts(s);
}

/* ---- drawing ---- */

static const struct traffic *draw_kind(struct rng *rng) {
    static unsigned sum;
    for (size_t i = 0; sum == 0 && i < KINDS; i++)
        for (size_t k = 0; i == 0 && k < KINDS; k++)
            sum += kinds[k]->weight;
    unsigned at = (unsigned)rng_below(rng, sum);
    size_t i = 0;
    for (; at >= kinds[i]->weight; i++)
        at -= kinds[i]->weight;
    return kinds[i];
}

struct call *traffic_draw(struct sim *s, struct rng *rng) {
    for (;;) {
        const struct traffic *t = draw_kind(rng);
        struct call *c = call_take(s, t->kind);
        c->traffic = t;
        if (t->make(s, c, rng))
            return c;
        call_give(s, c);
    }
}

/* ---- shared ---- */

bool traffic_is_full(struct sim *s, const struct call *c) {
    if (c->q.r.refusal != REFUSAL_DISK_FULL)
        return false;
    SIM_CHECK(s, s->tight && !s->draining, "the disk is said to be full, and is not");
    return true;
}

void traffic_unexpected(struct sim *s, const struct call *c) {
    sim_fail(s, "%s is answered by %s%s%s (letter %u, unit %u, member %u)",
             request_kind_name(c->q.r.kind), refusal_name(c->q.r.refusal),
             c->q.r.error_detail != NULL ? ": " : "",
             c->q.r.error_detail != NULL ? c->q.r.error_detail : "", c->letter, c->unit, c->member);
}

void traffic_fill_letter(struct sim *s, struct call *c, uint32_t tag, struct envelope *e) {
    const struct letter *l = letter_at(s, tag);
    c->letter = tag;
    c->queue = l->queue;
    if (c->body == NULL)
        c->body = sim_alloc(LETTER_BYTES_MAX);
    letter_fill(tag, l->size, c->body);
    e->body = span_of(c->body, l->size);
    if (l->key != 0) {
        snprintf(c->order_text, sizeof(c->order_text), "key-%u", l->key);
        e->ordering_key = span_text(c->order_text);
    }
    if (l->keyed) {
        snprintf(c->key, sizeof(c->key), "k%u", tag);
        c->q.r.idempotency = (struct idempotency){
            .key = span_text(c->key), .scope = c->q.r.kind, .fingerprint = tag};
    }
}

void traffic_fill_stock(struct sim *s, struct call *c, unsigned stock, uint64_t total) {
    const struct stock_facts *facts = &s->units->stocks[stock];
    int error = stock_def_init(&c->stock_def);
    error = error != 0 ? error : def_set_text(&c->stock_def.name, span_text(facts->name));
    assert(error == 0);
    c->stock_def.total = total;
    c->stock_def.per_member = facts->per_member;
    c->stock_def.hold_ns = facts->hold_ns;
    c->stock = stock;
    c->q.r.name = span_text(facts->name);
    c->q.r.in.define.stock = &c->stock_def;
}
