/* Requests of publishers and consumers: publishes, transactions, consumers, settles, gets, connections that end. */
#include <string.h>

#include "broker.h"
#include "traffic.h"

#define ROUTES 12u /* different first words of a routing key */

/* ---- publish ---- */

static void fill_message(struct sim *s, struct call *c, unsigned n, struct rng *rng,
                         struct exchange_publish *p) {
    static const uint8_t exchanges[] = {EXCHANGE_NUMBER_DIRECT, EXCHANGE_NUMBER_FAN,
                                        EXCHANGE_NUMBER_TOPIC, EXCHANGE_NUMBER_TOPIC};
    unsigned x = exchanges[rng_below(rng, sizeof(exchanges))];
    unsigned word = (unsigned)rng_below(rng, ROUTES), odd = (unsigned)rng_below(rng, 2);
    char *key = n == 0 ? c->order_text : c->dedup_text;
    unsigned boxes, order = x == EXCHANGE_NUMBER_FAN ? 2 * ROUTES + word : 2 * word + odd;
    if (x == EXCHANGE_NUMBER_DIRECT) {
        snprintf(key, sizeof(c->order_text), "%s", odd ? "single" : "both");
        boxes = odd ? 1u << BOX_SINGLE : 1u << BOX_PLAIN | 1u << BOX_BRIEF;
    } else if (x == EXCHANGE_NUMBER_FAN) {
        snprintf(key, sizeof(c->order_text), "w%u", word);
        boxes = (1u << BOXES_FOR_ROUTES) - 1;
    } else {
        snprintf(key, sizeof(c->order_text), "w%u.%s", word, odd ? "odd" : "even");
        boxes = 1u << BOX_KEYED | 1u << (odd ? BOX_SINGLE : BOX_PLAIN);
    }
    uint32_t size = 16 + (uint32_t)rng_below(rng, 300);
    uint32_t tag = parcel_make(s, (uint8_t)boxes, (uint8_t)order, size);
    c->body = c->body != NULL ? c->body : sim_alloc(LETTER_BYTES_MAX);
    uint8_t *body = c->body + n * PARCEL_BYTES_MAX;
    parcel_fill(tag, size, body);
    c->parcels[n] = tag;
    *p = (struct exchange_publish){
        .vhost = span_text("/"),
        .message = {.exchange = span_text(exchange_names[x]),
                    .routing_key = span_text(key),
                    .properties = span_of("\0", 2),
                    .body = span_of(body, size),
                    .priority = (uint8_t)(tag % 7)},
    };
}

static bool make_publish(struct sim *s, struct call *c, struct rng *rng) {
    fill_message(s, c, 0, rng, &c->q.r.in.amqp_publish);
    return true;
}

static void published(struct sim *s, uint32_t tag, const struct exchange_publish *p) {
    unsigned boxes = parcel_at(s, tag)->boxes;
    SIM_CHECK(s, p->routed == (uint32_t)__builtin_popcount(boxes),
              "parcel %u was routed to %u boxes of %x", tag, p->routed, boxes);
    if (p->refused) {
        SIM_CHECK(s, boxes >> BOX_SINGLE & 1, "parcel %u was refused by a box without a limit",
                  tag);
        const struct rule *most = &s->parcels->boxes[BOX_SINGLE].max_messages;
        SIM_CHECK(s, parcels_in_box(s, BOX_SINGLE) >= rule_least(most),
                  "parcel %u was refused by a box that is not full", tag);
        parcel_refused_by(s, tag, BOX_SINGLE);
    }
    parcel_confirmed(s, tag);
}

static void publish_answered(struct sim *s, struct call *c) {
    uint32_t tag = c->parcels[0];
    if (c->q.r.refusal == REFUSAL_NONE)
        published(s, tag, &c->q.r.in.amqp_publish);
    else if (c->q.r.refusal == REFUSAL_QUEUE_FULL && parcel_at(s, tag)->boxes == 1u << BOX_SINGLE)
        parcel_refused(s, tag);
    else if (traffic_is_full(s, c))
        parcel_refused(s, tag);
    else
        traffic_unexpected(s, c);
}

static void nothing_known(struct sim *s, struct call *c) {
    (void)s;
    (void)c;
}

const struct traffic traffic_amqp_publish = {16, REQUEST_AMQP_PUBLISH, make_publish,
                                             publish_answered, nothing_known};

/* ---- settle ---- */

static void add_settle(struct sim *s, struct call *c, uint32_t at, enum settle_verdict verdict) {
    const struct in_hand *h = &s->broker->items[at];
    uint32_t n = c->settle_count++;
    c->settled[n].tag = h->tag;
    c->settled[n].box = h->box;
    c->settled[n].serial = parcel_at(s, h->tag)->copies[h->box].serial;
    c->settles[n] = (struct settle){.message = h->message, .verdict = verdict};
    broker_settling(s, at, verdict);
}

static uint32_t holder_at(const struct sim *s, uint32_t at) {
    const struct in_hand *h = &s->broker->items[at];
    return parcel_at(s, h->tag)->copies[h->box].holder;
}

/* The one at `at` and more of its session. verdict 0: drawn for each. */
static void fill_settles(struct sim *s, struct call *c, uint32_t at, struct rng *rng) {
    static const uint8_t verdicts[] = {SETTLE_ACK, SETTLE_ACK,     SETTLE_ACK,    SETTLE_ACK,
                                       SETTLE_ACK, SETTLE_REQUEUE, SETTLE_REJECT, SETTLE_RETURN};
    unsigned session = session_of(holder_at(s, at));
    c->connection = session;
    c->session = c->q.r.session = s->broker->sessions[session].id;
    uint32_t most = rng == NULL ? CALL_SETTLES : 1 + (uint32_t)rng_below(rng, CALL_SETTLES);
    for (uint32_t i = at + 1; i-- > 0 && c->settle_count < most;) {
        if (i >= s->broker->count || session_of(holder_at(s, i)) != session)
            continue;
        unsigned verdict = rng == NULL ? SETTLE_ACK : verdicts[rng_below(rng, sizeof(verdicts))];
        add_settle(s, c, i, (enum settle_verdict)verdict);
    }
    c->q.r.in.settle = (struct settle_list){.items = c->settles, .count = c->settle_count};
}

static bool make_settle(struct sim *s, struct call *c, struct rng *rng) {
    if (s->broker->count == 0)
        return false;
    fill_settles(s, c, (uint32_t)rng_below(rng, s->broker->count), rng);
    return true;
}

static void settles_answered(struct sim *s, const struct call *c) {
    for (uint32_t i = 0; i < c->settle_count; i++)
        copy_settled(s, c->settled[i].tag, c->settled[i].box, c->settled[i].serial,
                     c->settles[i].verdict);
}

/* They are still held, and nobody knows: until the session ends. */
static void settles_refused(struct sim *s, const struct call *c) {
    for (uint32_t i = 0; i < c->settle_count; i++)
        parcel_at(s, c->settled[i].tag)->copies[c->settled[i].box].acked_life = 0;
}

static void settle_answered(struct sim *s, struct call *c) {
    if (c->q.r.refusal == REFUSAL_NONE)
        settles_answered(s, c);
    else if (traffic_is_full(s, c))
        settles_refused(s, c);
    else
        traffic_unexpected(s, c);
}

const struct traffic traffic_settle = {16, REQUEST_SETTLE, make_settle, settle_answered,
                                       nothing_known};

struct call *traffic_acknowledge(struct sim *s, uint32_t at) {
    struct call *c = call_take(s, REQUEST_SETTLE);
    c->traffic = &traffic_settle;
    fill_settles(s, c, at, NULL);
    return c;
}

/* ---- transaction ---- */

static bool make_transaction(struct sim *s, struct call *c, struct rng *rng) {
    if (s->broker->count > 0) {
        fill_settles(s, c, (uint32_t)rng_below(rng, s->broker->count), rng);
    } else {
        c->connection = (unsigned)rng_below(rng, SESSIONS);
        c->session = c->q.r.session = broker_session(s, c->connection)->id;
    }
    uint32_t count = 1 + (uint32_t)rng_below(rng, CALL_PARCELS);
    for (uint32_t i = 0; i < count; i++)
        fill_message(s, c, i, rng, &c->publishes[i]);
    if (count == 2) {
        parcel_at(s, c->parcels[0])->partner = c->parcels[1];
        parcel_at(s, c->parcels[1])->partner = c->parcels[0];
    }
    struct settle_list settles = {.items = c->settles, .count = c->settle_count};
    c->q.r.in.amqp_transaction = (struct exchange_transaction){
        .publishes = c->publishes, .publish_count = count, .settles = settles};
    return true;
}

static void transaction_answered(struct sim *s, struct call *c) {
    bool done = c->q.r.refusal == REFUSAL_NONE;
    if (!done && !traffic_is_full(s, c))
        traffic_unexpected(s, c);
    for (uint32_t i = 0; i < CALL_PARCELS && c->parcels[i] != 0; i++) {
        if (done)
            published(s, c->parcels[i], &c->publishes[i]);
        else
            parcel_refused(s, c->parcels[i]);
    }
    if (done)
        settles_answered(s, c);
    else
        settles_refused(s, c);
}

const struct traffic traffic_amqp_transaction = {3, REQUEST_AMQP_TRANSACTION, make_transaction,
                                                 transaction_answered, nothing_known};

/* ---- consumers ---- */

static struct consumer_facts *consumer_at(struct sim *s, uint32_t holder) {
    return &s->broker->sessions[session_of(holder)].consumers[holder % CONSUMERS_EACH];
}

static bool fill_consume(struct sim *s, struct call *c, unsigned session, unsigned box,
                         uint16_t prefetch) {
    struct session_facts *se = broker_session(s, session);
    uint32_t k = 0;
    while (k < CONSUMERS_EACH && se->consumers[k].number != 0)
        k++;
    if (k == CONSUMERS_EACH)
        return false;
    se->consumers[k] = (struct consumer_facts){.number = se->next_number++,
                                               .credit = DELIVERY_CREDIT,
                                               .prefetch = prefetch,
                                               .box = (uint8_t)box};
    c->connection = session;
    c->session = c->q.r.session = se->id;
    c->consumer = session * CONSUMERS_EACH + k;
    c->q.r.vhost = span_text("/");
    c->q.r.name = span_text(s->parcels->boxes[box].name);
    c->q.r.in.consume = (struct consume){.consumer = se->consumers[k].number,
                                         .channel = BROKER_CHANNEL,
                                         .prefetch = prefetch,
                                         .priority = (int32_t)(se->next_number % 3)};
    return true;
}

static bool make_consume(struct sim *s, struct call *c, struct rng *rng) {
    static const uint8_t boxes[] = {BOX_PLAIN,  BOX_PLAIN, BOX_KEYED,      BOX_KEYED,
                                    BOX_SINGLE, BOX_BRIEF, BOX_DEAD_PLAIN, BOX_DEAD_BRIEF};
    unsigned session = (unsigned)rng_below(rng, SESSIONS);
    uint16_t prefetch = rng_below(rng, 5) == 0 ? 0 : (uint16_t)(1 + rng_below(rng, 12));
    if (!fill_consume(s, c, session, boxes[rng_below(rng, sizeof(boxes))], prefetch))
        return false;
    if (prefetch == 0 && rng_below(rng, 2) == 0)
        consumer_at(s, c->consumer)->no_ack = c->q.r.in.consume.no_ack = true;
    return true;
}

static void consume_answered(struct sim *s, struct call *c) {
    if (c->q.r.refusal == REFUSAL_NONE)
        return;
    if (!traffic_is_full(s, c))
        traffic_unexpected(s, c);
    if (s->broker->sessions[c->connection].id == c->session)
        consumer_at(s, c->consumer)->cancelled = true;
}

const struct traffic traffic_consume = {6, REQUEST_CONSUME, make_consume, consume_answered,
                                        nothing_known};

struct call *traffic_drain_box(struct sim *s, unsigned box) {
    struct call *c = call_take(s, REQUEST_CONSUME);
    c->traffic = &traffic_consume;
    for (unsigned session = 0; session < SESSIONS; session++)
        if (fill_consume(s, c, session, box, 0))
            return c;
    call_give(s, c);
    return traffic_end_session(s, 0);
}

struct call *traffic_end_session(struct sim *s, unsigned session) {
    struct call *c = call_take(s, REQUEST_SESSION_CLOSE);
    c->traffic = &traffic_disconnect;
    c->q.r.session = s->broker->sessions[session].id;
    broker_disconnect(s, session);
    return c;
}

/* A consumer that is there; 0: none was found. */
static struct consumer_facts *draw_consumer(struct sim *s, struct call *c, struct rng *rng) {
    uint32_t holder = (uint32_t)rng_below(rng, CONSUMERS);
    struct consumer_facts *k = consumer_at(s, holder);
    c->session = c->q.r.session = s->broker->sessions[session_of(holder)].id;
    c->connection = session_of(holder);
    c->consumer = holder;
    c->q.r.in.consume = (struct consume){.consumer = k->number, .channel = BROKER_CHANNEL};
    return k->number != 0 && !k->cancelled ? k : NULL;
}

static bool make_cancel(struct sim *s, struct call *c, struct rng *rng) {
    struct consumer_facts *k = draw_consumer(s, c, rng);
    if (k != NULL)
        k->cancelled = true;
    return k != NULL;
}

static void is_done(struct sim *s, struct call *c) {
    if (c->q.r.refusal != REFUSAL_NONE && !traffic_is_full(s, c))
        traffic_unexpected(s, c);
}

const struct traffic traffic_cancel = {1, REQUEST_CONSUMER_CANCEL, make_cancel, is_done,
                                       nothing_known};

static bool make_credit(struct sim *s, struct call *c, struct rng *rng) {
    struct consumer_facts *k = draw_consumer(s, c, rng);
    if (k != NULL)
        k->credit = c->q.r.in.consume.credit = k->credit + 1 + rng_below(rng, 100);
    return k != NULL;
}

const struct traffic traffic_credit = {1, REQUEST_CONSUMER_CREDIT, make_credit, is_done,
                                       nothing_known};

/* ---- get ---- */

static bool make_get(struct sim *s, struct call *c, struct rng *rng) {
    unsigned box = (unsigned)rng_below(rng, BOXES);
    c->connection = (unsigned)rng_below(rng, SESSIONS);
    c->session = c->q.r.session = broker_session(s, c->connection)->id;
    c->consumer = box;
    c->q.r.vhost = span_text("/");
    c->q.r.name = span_text(s->parcels->boxes[box].name);
    c->q.r.in.get.channel = BROKER_CHANNEL;
    return true;
}

static void get_answered(struct sim *s, struct call *c) {
    struct delivery *d = &c->q.r.out.delivery;
    if (c->q.r.refusal != REFUSAL_NONE) {
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
        return;
    }
    if (d->kind == DELIVERY_MESSAGE && s->broker->sessions[c->connection].id == c->session)
        broker_take(s, d, c->consumer, GETTER(c->connection));
    free(d->origin);
    d->origin = NULL;
}

const struct traffic traffic_get = {3, REQUEST_BASIC_GET, make_get, get_answered, nothing_known};

/* ---- connections ---- */

/* In order or not: all that the broker sees is that it ends. */
static bool make_disconnect(struct sim *s, struct call *c, struct rng *rng) {
    c->connection = (unsigned)rng_below(rng, SESSIONS);
    c->session = c->q.r.session = s->broker->sessions[c->connection].id;
    if (c->session == 0)
        return false;
    broker_disconnect(s, c->connection);
    return true;
}

/* A connection says again that it is gone, until that is heard. */
static void disconnect_answered(struct sim *s, struct call *c) {
    if (c->q.r.refusal == REFUSAL_NONE)
        return;
    if (!traffic_is_full(s, c))
        traffic_unexpected(s, c);
    struct call *again = call_take(s, REQUEST_SESSION_CLOSE);
    again->traffic = &traffic_disconnect;
    again->q.r.session = c->q.r.session;
    call_queue(s, again);
}

const struct traffic traffic_disconnect = {1, REQUEST_SESSION_CLOSE, make_disconnect,
                                           disconnect_answered, nothing_known};

/* ---- exclusive queues ---- */

/* Its own is declared; that of another is locked; that of a session that ended is not there. */
static bool make_exclusive(struct sim *s, struct call *c, struct rng *rng) {
    uint64_t last = s->broker->last_session;
    c->connection = (unsigned)rng_below(rng, SESSIONS);
    c->session = c->q.r.session = broker_session(s, c->connection)->id;
    uint64_t owner = rng_below(rng, 2) == 0 || last < 8 ? c->session : last - rng_below(rng, 8);
    c->consumer = (uint32_t)owner;
    snprintf(c->key, sizeof(c->key), "own-%llu", (unsigned long long)owner);
    c->q.r.vhost = span_text("/");
    c->q.r.name = span_text(c->key);
    c->q.r.in.queue_declare =
        (struct queue_declare){.exclusive = true, .passive = owner != c->session};
    return true;
}

static void exclusive_answered(struct sim *s, struct call *c) {
    bool own = c->consumer == c->q.r.session, there = false;
    for (unsigned i = 0; i < SESSIONS; i++)
        there |= s->broker->sessions[i].id == c->consumer;
    enum refusal refusal = c->q.r.refusal;
    if (own ? refusal == REFUSAL_NONE : refusal == REFUSAL_LOCKED || refusal == REFUSAL_NOT_FOUND)
        return;
    SIM_CHECK(s, traffic_is_full(s, c), "the exclusive queue of session %u (%s) says %s",
              c->consumer, there ? "is there" : "has ended", refusal_name(refusal));
}

const struct traffic traffic_exclusive = {2, REQUEST_AMQP_QUEUE_DECLARE, make_exclusive,
                                          exclusive_answered, nothing_known};
