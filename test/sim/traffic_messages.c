/* Requests about messages: publish, delete, purge, redrive, receipts, pauses of queues. */
#include <string.h>

#include "providers.h"
#include "traffic.h"

#define TRIES 12u

/* ---- publish ---- */

static unsigned draw_queue(struct rng *rng) {
    static const uint8_t queues[] = {QUEUE_MAIL,   QUEUE_MAIL, QUEUE_ORDERS, QUEUE_ORDERS,
                                     QUEUE_ORDERS, QUEUE_JOBS, QUEUE_JOBS,   QUEUE_STORE,
                                     QUEUE_TOLD,   QUEUE_TOLD, QUEUE_TOLD,   QUEUE_TOLD};
    if (rng_below(rng, 3) == 0)
        return QUEUE_LANE_FIRST + (unsigned)rng_below(rng, QUEUE_LANES);
    return queues[rng_below(rng, sizeof(queues))];
}

static void fill_publish(struct sim *s, struct call *c, uint32_t tag) {
    const struct letter *l = letter_at(s, tag);
    struct publish *p = &c->q.r.in.publish;
    traffic_fill_letter(s, c, tag, &p->envelope);
    p->queue = c->q.r.name = span_text(s->letters->queues[l->queue].name);
    p->ttl_ns = l->life_ns;
    if (l->unordered)
        p->schedule_ns = sim_engine_ns(s) + tag % 300 * NS_PER_MS;
    p->priority = l->queue == QUEUE_JOBS ? tag % 10 : 0;
}

static bool make_publish(struct sim *s, struct call *c, struct rng *rng) {
    unsigned queue = draw_queue(rng);
    uint32_t size = 16 + (uint32_t)rng_below(rng, 200);
    if (rng_below(rng, 30) == 0)
        size = (uint32_t)rng_below(rng, LETTER_BYTES_MAX);
    uint32_t tag = letter_make(s, queue, size);
    struct letter *l = letter_at(s, tag);
    if (queue == QUEUE_ORDERS && rng_below(rng, 8) > 0)
        l->key = (uint8_t)(1 + rng_below(rng, KEYS));
    bool may_wait = queue == QUEUE_JOBS || queue == QUEUE_STORE;
    if (rng_below(rng, 6) == 0 && (may_wait || queue == QUEUE_ORDERS))
        l->unordered = true;
    if (rng_below(rng, 5) == 0 && may_wait)
        l->life_ns = (5 + rng_below(rng, 500)) * NS_PER_MS;
    l->keyed = rng_below(rng, 5) < 2;
    fill_publish(s, c, tag);
    return true;
}

struct call *traffic_retry(struct sim *s, uint32_t tag) {
    struct letter *l = letter_at(s, tag);
    struct call *c;
    l->asked = true;
    l->refused = false;
    if (l->queue == QUEUE_TICKETS) {
        c = call_take(s, REQUEST_TRANSACTION);
        c->traffic = &traffic_transaction;
        traffic_fill_transaction(s, c, tag);
    } else if (l->tied) {
        c = call_take(s, REQUEST_CAMPAIGN_ENTER);
        c->traffic = &traffic_enter;
        traffic_fill_enter(s, c, CAMPAIGN_COUPONS, l->member, tag);
    } else {
        c = call_take(s, REQUEST_QUEUE_PUBLISH);
        c->traffic = &traffic_publish;
        fill_publish(s, c, tag);
    }
    return c;
}

static void publish_answered(struct sim *s, struct call *c) {
    struct letter *l = letter_at(s, c->letter);
    const struct queue_facts *q = &s->letters->queues[l->queue];
    const struct request *r = &c->q.r;
    bool known = l->id != 0;
    if (r->refusal == REFUSAL_NONE) {
        SIM_CHECK(s, !known || !l->keyed || r->replayed, "a key that was known is new");
        SIM_CHECK(s, r->replayed || q->alive_certain < rule_most(&q->max_messages),
                  "queue %s takes more than its limit", q->name);
        letter_accepted(s, c->letter, r->receipt.id, r->receipt.accepted_ns);
    } else if (known && l->keyed) {
        traffic_unexpected(s, c); /* same key, same outcome */
    } else if (r->refusal == REFUSAL_QUEUE_FULL) {
        SIM_CHECK(s, q->alive_maybe >= rule_least(&q->max_messages), "queue %s is not full",
                  q->name);
        letter_refused(s, c->letter);
    } else if (traffic_is_full(s, c)) {
        letter_refused(s, c->letter);
    } else {
        traffic_unexpected(s, c);
    }
}

static void nothing_known(struct sim *s, struct call *c) {
    (void)s;
    (void)c;
}

const struct traffic traffic_publish = {30, REQUEST_QUEUE_PUBLISH, make_publish, publish_answered,
                                        nothing_known};

/* ---- one letter ---- */

/* One of the last ones, or of all, that was accepted and may be as `may` says. 0: none was found. */
static uint32_t draw_letter(struct sim *s, struct rng *rng, unsigned may) {
    uint32_t count = s->letters->count;
    for (unsigned n = 0; n < TRIES && count > 1; n++) {
        uint32_t tag = traffic_recent(rng, count, 200);
        if (tag > 0 && letter_at(s, tag)->id != 0 && (letter_at(s, tag)->may & may))
            return tag;
    }
    return 0;
}

static bool fill_letter_request(struct sim *s, struct call *c, uint32_t tag) {
    if (tag == 0)
        return false;
    c->letter = tag;
    c->queue = letter_at(s, tag)->queue;
    c->q.r.name = span_text(s->letters->queues[c->queue].name);
    c->q.r.id = letter_at(s, tag)->id;
    return true;
}

/* Of these all that happens is known by their provider alone. */
static bool is_left_alone(const struct sim *s, uint32_t tag) {
    return tag != 0 && letter_at(s, tag)->queue >= QUEUE_LANE_FIRST;
}

static bool make_delete(struct sim *s, struct call *c, struct rng *rng) {
    uint32_t tag = draw_letter(s, rng, MAY_ALIVE | MAY_DEAD | MAY_GONE);
    return !is_left_alone(s, tag) && fill_letter_request(s, c, tag);
}

/* Gone by a person's wish: what it was tied to is settled unless it was dead before. */
static void letter_removed(struct sim *s, uint32_t tag) {
    struct letter *l = letter_at(s, tag);
    unsigned may = letter_may(s, l);
    letter_set(s, l, MAY_GONE);
    if (may & MAY_ALIVE)
        unit_letter_died(s, tag);
}

static void delete_answered(struct sim *s, struct call *c) {
    struct letter *l = letter_at(s, c->letter);
    unsigned may = letter_may(s, l);
    if (c->q.r.refusal == REFUSAL_NONE) {
        SIM_CHECK(s, (may & (MAY_ALIVE | MAY_DEAD)) && l->under_way == 0,
                  "letter %u is deleted, and was not there", c->letter);
        letter_removed(s, c->letter);
    } else if (c->q.r.refusal == REFUSAL_NOT_FOUND) {
        SIM_CHECK(s, may & MAY_GONE, "letter %u is not found: it was accepted and not ended",
                  c->letter);
    } else if (c->q.r.refusal == REFUSAL_CONFLICT) {
        SIM_CHECK(s, l->under_way != 0 || l->stranded, "letter %u is not in flight", c->letter);
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
}

static void delete_lost(struct sim *s, struct call *c) {
    struct letter *l = letter_at(s, c->letter);
    letter_set(s, l, l->may | MAY_GONE);
    unit_letter_unsure(s, c->letter);
}

const struct traffic traffic_delete = {5, REQUEST_MESSAGE_DELETE, make_delete, delete_answered,
                                       delete_lost};

/* ---- receipts ---- */

static bool make_receipt(struct sim *s, struct call *c, struct rng *rng) {
    bool there = fill_letter_request(s, c, draw_letter(s, rng, MAY_ALIVE | MAY_DEAD | MAY_GONE));
    c->q.r.name = span_of(NULL, 0);
    return there;
}

static unsigned may_of_state(enum message_state state) {
    if (state == MESSAGE_DEAD)
        return MAY_DEAD;
    return state == MESSAGE_DONE || state == MESSAGE_DROPPED ? MAY_GONE : MAY_ALIVE;
}

static void receipt_answered(struct sim *s, struct call *c) {
    const struct letter *l = letter_at(s, c->letter);
    const struct receipt_info *info = &c->q.r.out.receipt;
    if (c->q.r.refusal != REFUSAL_NONE)
        traffic_unexpected(s, c); /* receipts outlive the run */
    SIM_CHECK(s, letter_may(s, l) & may_of_state(info->state),
              "the receipt of letter %u says %s, it may be %u", c->letter,
              message_state_name(info->state), letter_may(s, l));
    SIM_CHECK(s, info->state != MESSAGE_IN_FLIGHT || l->under_way != 0 || l->stranded,
              "the receipt of letter %u says in flight", c->letter);
}

const struct traffic traffic_receipt = {5, REQUEST_RECEIPT_GET, make_receipt, receipt_answered,
                                        nothing_known};

/* ---- redrive ---- */

static bool make_redrive(struct sim *s, struct call *c, struct rng *rng) {
    bool all = rng_below(rng, 10) == 0;
    uint32_t tag = all ? 0 : draw_letter(s, rng, MAY_DEAD);
    if (!all && (is_left_alone(s, tag) || !fill_letter_request(s, c, tag)))
        return false;
    if (all)
        c->queue = rng_below(rng, 2) == 0 ? QUEUE_ORDERS : QUEUE_JOBS;
    c->q.r.name = span_text(s->letters->queues[c->queue].name);
    c->q.r.in.redrive.id = all ? 0 : letter_at(s, c->letter)->id;
    return true;
}

/* Those for certain are counted in *ret_certain, those perhaps as well in *ret_maybe. */
static void redrive_each(struct sim *s, unsigned queue, bool lost, uint64_t *ret_certain,
                         uint64_t *ret_maybe) {
    for (uint32_t tag = 1; tag < s->letters->count; tag++) {
        struct letter *l = letter_at(s, tag);
        unsigned may = l->queue == queue ? letter_may(s, l) : 0;
        if ((may & MAY_DEAD) == 0)
            continue;
        ++*ret_maybe;
        *ret_certain += may == MAY_DEAD;
        if (may == MAY_DEAD && !lost) {
            letter_redriven(s, l);
        } else {
            letter_set(s, l, may | MAY_ALIVE);
            l->unordered = l->redriven = l->may_be_anew = true;
        }
    }
}

static void redrive_one_answered(struct sim *s, struct call *c) {
    struct letter *l = letter_at(s, c->letter);
    unsigned may = letter_may(s, l);
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        SIM_CHECK(s, (may & MAY_DEAD) && c->q.r.count == 1,
                  "letter %u is redriven, and was not dead", c->letter);
        letter_redriven(s, l);
        unit_letter_redriven(s, c->letter);
        break;
    case REFUSAL_NOT_FOUND:
        SIM_CHECK(s, may & MAY_GONE, "letter %u is not found: it is dead", c->letter);
        break;
    case REFUSAL_CONFLICT:
        SIM_CHECK(s, may & MAY_ALIVE, "letter %u is not dead", c->letter);
        break;
    case REFUSAL_SOLD_OUT:
    case REFUSAL_CANCELLED:
    case REFUSAL_ALREADY_CLAIMED:
        SIM_CHECK(s, l->unit != 0, "letter %u has no unit and cannot have it again", c->letter);
        break;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    }
}

static void redrive_answered(struct sim *s, struct call *c) {
    uint64_t certain = 0, maybe = 0;
    if (c->letter != 0) {
        redrive_one_answered(s, c);
    } else if (c->q.r.refusal == REFUSAL_NONE) {
        redrive_each(s, c->queue, c->q.r.next != 0, &certain, &maybe);
        SIM_CHECK(s, c->q.r.next != 0 || (c->q.r.count >= certain && c->q.r.count <= maybe),
                  "%llu letters are redriven; %llu to %llu are dead",
                  (unsigned long long)c->q.r.count, (unsigned long long)certain,
                  (unsigned long long)maybe);
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
}

static void redrive_lost(struct sim *s, struct call *c) {
    uint64_t certain = 0, maybe = 0;
    if (c->letter == 0) {
        redrive_each(s, c->queue, true, &certain, &maybe);
        return;
    }
    struct letter *l = letter_at(s, c->letter);
    letter_set(s, l, letter_may(s, l) | MAY_ALIVE);
    l->unordered = l->redriven = l->may_be_anew = true;
    unit_letter_unsure(s, c->letter);
}

const struct traffic traffic_redrive = {4, REQUEST_QUEUE_REDRIVE, make_redrive, redrive_answered,
                                        redrive_lost};

/* ---- purge ---- */

static bool make_purge(struct sim *s, struct call *c, struct rng *rng) {
    if (rng_below(rng, 6) != 0)
        return false;
    c->queue = (unsigned)rng_below(rng, QUEUE_LANE_FIRST);
    c->q.r.name = span_text(s->letters->queues[c->queue].name);
    return true;
}

static void purge_each(struct sim *s, unsigned queue, bool lost, uint64_t *ret_certain,
                       uint64_t *ret_maybe) {
    for (uint32_t tag = 1; tag < s->letters->count; tag++) {
        struct letter *l = letter_at(s, tag);
        unsigned may = l->queue == queue && l->id != 0 ? letter_may(s, l) : 0;
        l->swept |= lost && l->queue == queue && l->asked;
        if ((may & (MAY_ALIVE | MAY_DEAD)) == 0 || (l->under_way != 0 && !lost))
            continue;
        ++*ret_maybe;
        *ret_certain += (may & MAY_GONE) == 0 && !l->stranded;
        if (!lost && !l->stranded) {
            letter_removed(s, tag);
        } else {
            letter_set(s, l, may | MAY_GONE);
            unit_letter_unsure(s, tag);
        }
    }
}

static void purge_answered(struct sim *s, struct call *c) {
    uint64_t certain = 0, maybe = 0;
    if (c->q.r.refusal == REFUSAL_TOO_LARGE && c->queue != QUEUE_JOBS)
        return; /* tied letters are purged one by one, and a record is at most half a small segment */
    if (c->q.r.refusal != REFUSAL_NONE) {
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
        return;
    }
    purge_each(s, c->queue, false, &certain, &maybe);
    SIM_CHECK(s, c->q.r.count >= certain && c->q.r.count <= maybe,
              "%llu letters of %s are purged; there were %llu to %llu",
              (unsigned long long)c->q.r.count, s->letters->queues[c->queue].name,
              (unsigned long long)certain, (unsigned long long)maybe);
}

static void purge_lost(struct sim *s, struct call *c) {
    uint64_t certain = 0, maybe = 0;
    purge_each(s, c->queue, true, &certain, &maybe);
}

const struct traffic traffic_purge = {1, REQUEST_QUEUE_PURGE, make_purge, purge_answered,
                                      purge_lost};

/* ---- pause, resume: one request kind each, chosen when made ---- */

static bool make_pause_queue(struct sim *s, struct call *c, struct rng *rng) {
    c->queue = (unsigned)rng_below(rng, QUEUES);
    struct queue_facts *q = &s->letters->queues[c->queue];
    if (q->changing || (!q->paused && rng_below(rng, 4) != 0))
        return false;
    c->q.r.kind = q->paused ? REQUEST_QUEUE_RESUME : REQUEST_QUEUE_PAUSE;
    c->q.r.name = span_text(q->name);
    q->may_pause = true;
    return true;
}

static void pause_queue_answered(struct sim *s, struct call *c) {
    struct queue_facts *q = &s->letters->queues[c->queue];
    if (c->q.r.refusal == REFUSAL_NONE) {
        q->paused = c->q.r.kind == REQUEST_QUEUE_PAUSE;
        q->may_pause = false;
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
}

const struct traffic traffic_pause_queue = {2, REQUEST_QUEUE_PAUSE, make_pause_queue,
                                            pause_queue_answered, nothing_known};
