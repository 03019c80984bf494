#include "broker.h"

#include <inttypes.h>
#include <string.h>

#include "base/amqp_table.h"
#include "providers.h"
#include "traffic.h"

const char *const exchange_names[EXCHANGES] = {"sim-direct", "sim-fan", "sim-topic", "sim-dead"};

struct broker *broker_create(void) {
    return sim_alloc(sizeof(struct broker));
}

void broker_free(struct broker *b) {
    free(b->items);
    free(b);
}

/* ---- what is there from the start ---- */

static bool ask(struct sim *s, struct call *c) {
    c->q.r.vhost = span_text("/");
    if (!calls_finish(s, &c, 1, NULL, NULL))
        return false;
    enum refusal refusal = c->q.r.refusal;
    SIM_CHECK(s, refusal == REFUSAL_NONE || (refusal == REFUSAL_DISK_FULL && s->tight),
              "%s is refused: %s (%s)", request_kind_name(c->q.r.kind), refusal_name(refusal),
              c->q.r.error_detail != NULL ? c->q.r.error_detail : "");
    call_give(s, c);
    return refusal == REFUSAL_NONE;
}

static bool declare_exchange(struct sim *s, unsigned x, const char *type) {
    struct call *c = call_take(s, REQUEST_EXCHANGE_DECLARE);
    c->q.r.name = span_text(exchange_names[x]);
    c->q.r.in.exchange = (struct exchange_declare){.type = span_text(type), .durable = true};
    return ask(s, c);
}

/* Half of the boxes have their limits as arguments, the others by a policy: the same must come of it. */
bool broker_is_by_policy(const struct sim *s, unsigned box) {
    return sim_draw(s, 'D', 50 + box) % 2 == 0;
}

/* prefix: "x-" of arguments, "" in a policy. */
static void put_limits(const struct sim *s, struct amqp_table_out *t, unsigned box,
                       const char *prefix) {
    const struct box_facts *b = &s->parcels->boxes[box];
    char names[6][40];
    static const char *const keys[] = {
        "delivery-limit", "dead-letter-exchange", "dead-letter-routing-key",
        "message-ttl",    "max-length",           "overflow"};
    for (unsigned i = 0; i < ARRAY_LENGTH(keys); i++)
        snprintf(names[i], sizeof(names[i]), "%s%s", prefix, keys[i]);
    if (b->delivery_limit != 0)
        amqp_put_i32(t, names[0], (int32_t)b->delivery_limit);
    if (b->dead >= 0) {
        amqp_put_text(t, names[1], span_text(exchange_names[EXCHANGE_NUMBER_DEAD]));
        amqp_put_text(t, names[2], span_text(s->parcels->boxes[b->dead].name));
    }
    if (b->ttl_ns != 0)
        amqp_put_i32(t, names[3], (int32_t)(b->ttl_ns / NS_PER_MS));
    if (b->max_messages.asked != 0) {
        amqp_put_i32(t, names[4], (int32_t)b->max_messages.asked);
        amqp_put_text(t, names[5], span_text("reject-publish"));
    }
}

static void put_arguments(const struct sim *s, struct amqp_table_out *t, unsigned box) {
    if (s->parcels->boxes[box].delivery_limit != 0)
        amqp_put_text(t, "x-queue-type", span_text("quorum"));
    if (!broker_is_by_policy(s, box))
        put_limits(s, t, box, "x-");
    if (box == BOX_SINGLE)
        amqp_put_bool(t, "x-single-active-consumer", true);
    if (box == BOX_KEYED)
        amqp_put_text(t, "x-ordering-key", span_text("routing-key"));
    if (box == BOX_BRIEF)
        amqp_put_i32(t, "x-max-priority", 5);
}

static struct span end_table(struct amqp_table_out *t, const struct buffer *b) {
    int error = amqp_table_end(t);
    assert(error == 0);
    return span_of(b->data + 4, b->size - 4);
}

void broker_fill_policy(const struct sim *s, struct call *c, unsigned box) {
    const char *name = s->parcels->boxes[box].name;
    struct buffer b;
    struct amqp_table_out t;
    buffer_init(&b, 1024);
    amqp_table_begin(&t, &b);
    put_limits(s, &t, box, "");
    struct span definition = end_table(&t, &b);
    assert(definition.size <= LETTER_BYTES_MAX);
    memcpy(c->body, definition.data, definition.size);
    snprintf(c->key, sizeof(c->key), "^%s$", name);
    c->q.r.name = span_text(name);
    c->q.r.vhost = span_text("/");
    c->q.r.in.policy = (struct policy_def){.name = c->q.r.name,
                                           .pattern = span_text(c->key),
                                           .apply_to = span_text("queues"),
                                           .definition = span_of(c->body, definition.size)};
    buffer_release(&b);
}

static bool define_policy(struct sim *s, unsigned box) {
    if (!broker_is_by_policy(s, box))
        return true;
    struct call *c = call_take(s, REQUEST_POLICY_DEFINE);
    c->body = c->body != NULL ? c->body : sim_alloc(LETTER_BYTES_MAX);
    broker_fill_policy(s, c, box);
    if (c->q.r.in.policy.definition.size > 0)
        return ask(s, c);
    call_give(s, c);
    return true;
}

static bool declare_box(struct sim *s, unsigned box) {
    struct buffer b;
    struct amqp_table_out t;
    buffer_init(&b, 1024);
    amqp_table_begin(&t, &b);
    put_arguments(s, &t, box);
    struct call *c = call_take(s, REQUEST_AMQP_QUEUE_DECLARE);
    c->q.r.name = span_text(s->parcels->boxes[box].name);
    c->q.r.in.queue_declare =
        (struct queue_declare){.durable = true, .arguments = end_table(&t, &b)};
    bool done = ask(s, c) && define_policy(s, box);
    buffer_release(&b);
    return done;
}

static bool bind(struct sim *s, unsigned x, unsigned box, const char *key) {
    struct call *c = call_take(s, REQUEST_AMQP_BIND);
    c->q.r.in.binding = (struct binding){.source = span_text(exchange_names[x]),
                                         .destination = span_text(s->parcels->boxes[box].name),
                                         .routing_key = span_text(key)};
    return ask(s, c);
}

bool broker_define(struct sim *s) {
    bool done = declare_exchange(s, EXCHANGE_NUMBER_DIRECT, "direct") &&
                declare_exchange(s, EXCHANGE_NUMBER_FAN, "fanout") &&
                declare_exchange(s, EXCHANGE_NUMBER_TOPIC, "topic") &&
                declare_exchange(s, EXCHANGE_NUMBER_DEAD, "direct");
    for (unsigned box = 0; done && box < BOXES; box++)
        done = declare_box(s, box);
    for (unsigned box = 0; done && box < BOXES_FOR_ROUTES; box++)
        done = bind(s, EXCHANGE_NUMBER_FAN, box, "");
    for (unsigned box = BOXES_FOR_ROUTES; done && box < BOXES; box++)
        done = bind(s, EXCHANGE_NUMBER_DEAD, box, s->parcels->boxes[box].name);
    return done && bind(s, EXCHANGE_NUMBER_DIRECT, BOX_PLAIN, "both") &&
           bind(s, EXCHANGE_NUMBER_DIRECT, BOX_BRIEF, "both") &&
           bind(s, EXCHANGE_NUMBER_DIRECT, BOX_SINGLE, "single") &&
           bind(s, EXCHANGE_NUMBER_TOPIC, BOX_KEYED, "#") &&
           bind(s, EXCHANGE_NUMBER_TOPIC, BOX_PLAIN, "*.even") &&
           bind(s, EXCHANGE_NUMBER_TOPIC, BOX_SINGLE, "*.odd");
}

/* ---- sessions ---- */

struct session_facts *broker_session(struct sim *s, unsigned session) {
    struct session_facts *se = &s->broker->sessions[session];
    if (se->id == 0)
        *se = (struct session_facts){.id = ++s->broker->last_session, .next_number = 1};
    return se;
}

static struct consumer_facts *consumer_of(const struct sim *s, uint32_t holder) {
    return &s->broker->sessions[holder / CONSUMERS_EACH].consumers[holder % CONSUMERS_EACH];
}

static void hold(struct sim *s, uint32_t tag, unsigned box, uint32_t holder, uint64_t message) {
    struct broker *b = s->broker;
    if (b->count == b->capacity) {
        b->capacity = b->capacity == 0 ? 256 : b->capacity * 2;
        b->items = realloc(b->items, b->capacity * sizeof(*b->items));
        assert(b->items != NULL);
    }
    struct copy *c = &parcel_at(s, tag)->copies[box];
    c->holder = holder;
    c->held_at = b->count;
    b->items[b->count++] = (struct in_hand){.tag = tag, .box = (uint8_t)box, .message = message};
    if (holder < CONSUMERS) {
        consumer_of(s, holder)->held++;
        b->sessions[session_of(holder)].held++;
    }
}

static void drop_held(struct sim *s, uint32_t at) {
    struct broker *b = s->broker;
    struct in_hand *h = &b->items[at];
    uint32_t holder = parcel_at(s, h->tag)->copies[h->box].holder;
    if (holder < CONSUMERS) {
        consumer_of(s, holder)->held--;
        b->sessions[session_of(holder)].held--;
    }
    *h = b->items[--b->count];
    if (at < b->count)
        parcel_at(s, h->tag)->copies[h->box].held_at = at;
}

void broker_settling(struct sim *s, uint32_t at, enum settle_verdict verdict) {
    struct in_hand h = s->broker->items[at];
    drop_held(s, at);
    copy_settling(s, h.tag, h.box, verdict);
}

void broker_disconnect(struct sim *s, unsigned session) {
    struct broker *b = s->broker;
    for (uint32_t i = b->count; i-- > 0;) {
        struct in_hand h = b->items[i];
        if (session_of(parcel_at(s, h.tag)->copies[h.box].holder) != session)
            continue;
        drop_held(s, i);
        copy_let_go(s, h.tag, h.box);
    }
    b->sessions[session] = (struct session_facts){.id = 0};
}

void broker_restart(struct sim *s) {
    for (unsigned i = 0; i < SESSIONS; i++)
        broker_disconnect(s, i);
    s->parcels->life++;
}

void broker_disconnect_all(struct sim *s) {
    for (unsigned i = 0; i < SESSIONS; i++)
        if (s->broker->sessions[i].id != 0)
            call_queue(s, traffic_end_session(s, i));
}

/* ---- deliveries ---- */

static void check_room(struct sim *s, unsigned session, struct consumer_facts *c, uint32_t tag) {
    const struct session_facts *se = &s->broker->sessions[session];
    SIM_CHECK(s, c->prefetch == 0 || c->held < c->prefetch,
              "parcel %u is delivered beyond the prefetch of %u", tag, c->prefetch);
    SIM_CHECK(s, se->limit == 0 || se->held < se->limit,
              "parcel %u is delivered beyond the channel's prefetch of %u", tag, se->limit);
    SIM_CHECK(s, c->delivered < c->credit, "parcel %u is delivered beyond the credit", tag);
    c->delivered++;
}

/* It stays with one consumer as long as that one is there. */
static void check_active(struct sim *s, uint32_t holder, uint32_t tag) {
    struct broker *b = s->broker;
    const struct session_facts *se = &b->sessions[session_of(b->active)];
    bool there = b->active_session != 0 && se->id == b->active_session &&
                 consumer_of(s, b->active)->number != 0 && !consumer_of(s, b->active)->cancelled;
    SIM_CHECK(s, !there || b->active == holder,
              "parcel %u goes to another consumer than the active one", tag);
    b->active = holder;
    b->active_session = b->sessions[session_of(holder)].id;
}

void broker_take(struct sim *s, const struct delivery *d, unsigned place, uint32_t holder) {
    unsigned box;
    uint32_t tag = parcel_find(s, d->message, d->stored_id, d->address, place, &box);
    if (tag == 0)
        return; /* it cannot be read: the session has it until it ends */
    copy_delivered(s, tag, box, place, d);
    if (holder < CONSUMERS) {
        check_room(s, session_of(holder), consumer_of(s, holder), tag);
        if (place == BOX_SINGLE)
            check_active(s, holder, tag);
    }
    s->result->deliveries++;
    hold(s, tag, box, holder, d->message);
}

/* Of a session that has closed meanwhile: it is back in its queue already. */
static uint32_t holder_of(const struct sim *s, const struct delivery *d) {
    for (uint32_t i = 0; i < SESSIONS; i++) {
        const struct session_facts *se = &s->broker->sessions[i];
        for (uint32_t k = 0; se->id == d->session && k < CONSUMERS_EACH; k++)
            if (se->consumers[k].number == d->consumer)
                return i * CONSUMERS_EACH + k;
        SIM_CHECK(s, se->id != d->session, "a delivery to a consumer that there never was");
    }
    SIM_CHECK(s, d->session <= s->broker->last_session, "a delivery to nobody's session");
    return NO_HOLDER;
}

void broker_deliver(void *sim, struct delivery_batch *first) {
    struct sim *s = sim;
    for (const struct delivery_batch *b = first; b != NULL; b = b->next) {
        for (uint32_t i = 0; i < b->count; i++) {
            const struct delivery *d = &b->items[i];
            SIM_CHECK(s, d->kind == DELIVERY_MESSAGE, "a consumer is told that its queue is gone");
            uint32_t holder = holder_of(s, d);
            if (holder != NO_HOLDER)
                broker_take(s, d, consumer_of(s, holder)->box, holder);
        }
    }
    delivery_batch_free(first);
}

/* ---- by itself ---- */

static bool is_eager(const struct sim *s, uint32_t at) {
    const struct in_hand *h = &s->broker->items[at];
    uint32_t holder = parcel_at(s, h->tag)->copies[h->box].holder;
    return s->draining || (holder < CONSUMERS && consumer_of(s, holder)->no_ack);
}

static void consume_all(struct sim *s) {
    for (unsigned box = 0; box < BOXES; box++) {
        bool there = false;
        for (uint32_t i = 0; i < CONSUMERS; i++)
            there |= consumer_of(s, i)->number != 0 && !consumer_of(s, i)->cancelled &&
                     consumer_of(s, i)->box == box;
        if (!there)
            call_queue(s, traffic_drain_box(s, box));
    }
}

void broker_work(struct sim *s) {
    for (uint32_t i = s->broker->count; i-- > 0;)
        if (i < s->broker->count && is_eager(s, i))
            call_queue(s, traffic_acknowledge(s, i));
    if (s->draining)
        consume_all(s);
}
