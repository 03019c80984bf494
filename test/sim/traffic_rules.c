/*
 * Definitions that change beside what they rule: queues, policies, campaigns. (Destinations and totals have their own.)
 *
 * A change that stays without an answer is asked for again, the same, as whoever imports definitions does.
 */
#include <string.h>

#include "broker.h"
#include "traffic.h"

#define CHANGE_ONE_IN 4u

/* False: nothing is to be asked for now. True: `r` says what. */
static bool draw(struct rng *rng, bool changing, struct rule *r, uint64_t value) {
    if (changing || rng_below(rng, CHANGE_ONE_IN) != 0)
        return false;
    if (rule_known(r))
        r->asked = value;
    return true;
}

/* ---- queues ---- */

static bool make_queue(struct sim *s, struct call *c, struct rng *rng) {
    static const uint8_t queues[] = {QUEUE_MAIL, QUEUE_ORDERS, QUEUE_JOBS, QUEUE_STORE};
    c->queue = queues[rng_below(rng, sizeof(queues))];
    struct queue_facts *q = &s->letters->queues[c->queue];
    uint64_t length = rng_below(rng, 4) == 0 ? 5 + rng_below(rng, 60) : 300 + rng_below(rng, 601);
    bool known = rule_known(&q->max_messages) && rule_known(&q->max_attempts);
    /* A definition says whether the queue is paused as well. */
    if (q->paused || q->may_pause ||
        !draw(rng, q->changing, &q->max_messages, known ? length : q->max_messages.asked))
        return false;
    if (known)
        q->max_attempts.asked = 2 + rng_below(rng, 5);
    q->changing = true;
    clients_fill_queue(s, c->queue, &c->queue_def);
    c->q.r.name = span_text(q->name);
    c->q.r.in.define.queue = &c->queue_def;
    return true;
}

static void queue_answered(struct sim *s, struct call *c) {
    struct queue_facts *q = &s->letters->queues[c->queue];
    q->changing = false;
    if (c->q.r.refusal == REFUSAL_NONE) {
        q->max_messages.now = q->max_messages.asked;
        q->max_attempts.now = q->max_attempts.asked;
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
}

static void queue_lost(struct sim *s, struct call *c) {
    s->letters->queues[c->queue].changing = false;
}

const struct traffic traffic_queue = {1, REQUEST_QUEUE_DEFINE, make_queue, queue_answered,
                                      queue_lost};

/* ---- policies ---- */

static bool make_policy(struct sim *s, struct call *c, struct rng *rng) {
    struct box_facts *b = &s->parcels->boxes[BOX_SINGLE];
    uint64_t length = 5 + rng_below(rng, 200);
    if (!broker_is_by_policy(s, BOX_SINGLE) || !draw(rng, b->changing, &b->max_messages, length))
        return false;
    b->changing = true;
    c->body = c->body != NULL ? c->body : sim_alloc(LETTER_BYTES_MAX);
    broker_fill_policy(s, c, BOX_SINGLE);
    return true;
}

static void policy_answered(struct sim *s, struct call *c) {
    struct box_facts *b = &s->parcels->boxes[BOX_SINGLE];
    b->changing = false;
    if (c->q.r.refusal == REFUSAL_NONE)
        b->max_messages.now = b->max_messages.asked;
    else if (!traffic_is_full(s, c))
        traffic_unexpected(s, c);
}

static void policy_lost(struct sim *s, struct call *c) {
    (void)c;
    s->parcels->boxes[BOX_SINGLE].changing = false;
}

const struct traffic traffic_policy = {1, REQUEST_POLICY_DEFINE, make_policy, policy_answered,
                                       policy_lost};

/* ---- campaigns ---- */

static bool make_campaign(struct sim *s, struct call *c, struct rng *rng) {
    c->campaign = (unsigned)rng_below(rng, CAMPAIGNS);
    struct campaign_facts *k = &s->units->campaigns[c->campaign];
    uint64_t safety = k->safety.now + 1 + rng_below(rng, 24); /* another one than it was */
    if (!draw(rng, k->changing, &k->safety, safety % 25))
        return false;
    k->generation.asked = k->generation.now + !rule_known(&k->safety);
    k->changing = true;
    clients_fill_campaign(s, c->campaign, &c->campaign_def);
    c->q.r.name = span_text(k->name);
    c->q.r.in.define.campaign = &c->campaign_def;
    return true;
}

static void campaign_answered(struct sim *s, struct call *c) {
    struct campaign_facts *k = &s->units->campaigns[c->campaign];
    k->changing = false;
    if (c->q.r.refusal == REFUSAL_NONE) {
        k->safety.now = k->safety.asked;
        k->generation.now = k->generation.asked;
        SIM_CHECK(s, c->q.r.generation == k->generation.now, "%s: generation %u follows on %llu",
                  k->name, c->q.r.generation, (unsigned long long)k->generation.now - 1);
    } else if (c->q.r.refusal == REFUSAL_CONFLICT) {
        struct unit_count count = units_count(s, k->stock, 0, 0);
        SIM_CHECK(s, count.maybe + k->safety.asked > s->units->stocks[k->stock].total,
                  "%s cannot keep %llu back", k->name, (unsigned long long)k->safety.asked);
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
}

static void campaign_lost(struct sim *s, struct call *c) {
    s->units->campaigns[c->campaign].changing = false;
}

const struct traffic traffic_campaign = {1, REQUEST_CAMPAIGN_DEFINE, make_campaign,
                                         campaign_answered, campaign_lost};
