/*
 * What dies goes on: through the dead-letter exchange of its queue, routed as it was published.
 *
 * The body stays where it is in the log; the model does not read it. So what routes a dead letter is kept with the
 * message from its publishing on, in its origin (model/amqp.c), and as little of it as may be needed:
 *
 *      exchange and key   if its queue gives its dead no key of their own, and the key is not the queue's name
 *      keys of CC, BCC    the same
 *      headers            if there is a headers exchange besides the built-in ones, or a binding of one of those
 *
 * With a key of their own the dead lose all others, as in RabbitMQ; their headers they keep. A headers exchange sees
 * x-first-death-* and x-last-death-* too, which no message has in memory: they are made from its deaths.
 */
#include <assert.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "model/exchange_state.h"
#include "model/queue_fanout.h"

#define DEATHS_MAX 64u

struct death {
    const struct model *m;
    struct decision *d;
    const struct queue *q;
    char vhost[VHOST_MAX_BYTES + 1];
    struct span queue_name;    /* as AMQP knows it */
    struct span exchange, key; /* it goes to */
    uint8_t reason;
    struct amqp_origin old;
    struct span keys[AMQP_KEYS_MAX + 1]; /* the first is `key` */
    uint32_t key_count;
    struct amqp_death deaths[DEATHS_MAX]; /* the new list */
    uint32_t count;
    const uint32_t *targets;
    uint32_t target_count;
};

/* ---- origins ---- */

static void save_routing(struct saver *out, const struct span *keys, uint32_t count) {
    save_u16(out, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        save_key(out, keys[i]);
    }
}

/* The headers themselves stand in the record already: see message_set_origin. */
struct span exchange_origin(const struct model *m, struct decision *d, const struct queue *q,
                            const struct amqp_message *in) {
    struct exchanges *s = m->exchanges;
    char vhost[VHOST_MAX_BYTES + 1];
    bool by_key = !q->def.has_dead_letter_key;
    bool headers = s->headers_users > 0 && in->headers.size > 0;
    uint32_t keys = by_key ? in->key_count : 0;
    if (!q->def.has_dead_letter_exchange) {
        return span_of(NULL, 0);
    }
    bool named = span_equal(amqp_queue_split(span_text(q->def.name), vhost), in->routing_key);
    if (!headers && keys == 0 && (!by_key || named)) {
        return span_of(NULL, 0);
    }
    struct saver out = {.chunk = &s->origin};
    buffer_clear(&s->origin);
    save_u64(&out, 0);
    save_u16(&out, (headers || keys > 0 ? ORIGIN_ROUTED : 0) | (headers ? ORIGIN_BORROWS : 0));
    save_key(&out, in->exchange);
    save_key(&out, in->routing_key);
    if (headers || keys > 0) {
        save_routing(&out, in->keys, keys);
    }
    d->failed |= out.rc != 0;
    return out.rc == 0 ? buffer_span(&s->origin) : span_of(NULL, 0);
}

static struct span encode_origin(const struct death *x) {
    struct buffer *b = &x->m->exchanges->origin;
    struct saver out = {.chunk = b};
    bool headers = x->old.headers.size > 0, routed = headers || x->key_count > 1;
    buffer_clear(b);
    save_u64(&out, x->old.stored_id);
    save_u16(&out,
             (uint16_t)(x->count | (routed ? ORIGIN_ROUTED : 0) | (headers ? ORIGIN_BORROWS : 0)));
    save_key(&out, x->exchange);
    save_key(&out, x->key);
    for (uint32_t i = 0; i < x->count; i++) {
        const struct amqp_death *d = &x->deaths[i];
        save_u8(&out, (uint8_t)(d->reason | (d->first ? 0x80 : 0)));
        save_u64(&out, d->time_ns);
        save_u64(&out, d->count);
        save_key(&out, d->queue);
        save_key(&out, d->exchange);
        save_key(&out, d->routing_key);
    }
    if (routed) {
        save_routing(&out, x->keys + 1, x->key_count - 1);
    }
    x->d->failed |= out.rc != 0;
    return out.rc == 0 ? buffer_span(b) : span_of(NULL, 0);
}

/* ---- its deaths ---- */

/* Somebody did not want it, or could not take it: not this broker alone sends it round. */
static bool is_rejection(uint8_t reason) {
    return reason == DEAD_REJECTED || reason == DEAD_REFUSED || reason == DEAD_EXHAUSTED ||
           reason == DEAD_UNCONFIRMED;
}

/* The same queue and reason again: counted, and first in the list now. */
static void list_deaths(struct death *x) {
    struct amqp_death now = {.reason = x->reason,
                             .first = x->old.death_count == 0,
                             .queue = x->queue_name,
                             .exchange = x->old.exchange,
                             .routing_key = x->old.routing_key,
                             .time_ns = x->d->now_ns,
                             .count = 1};
    x->count = 1;
    struct amqp_death d;
    struct span rest = x->old.deaths;
    while (x->count < DEATHS_MAX && amqp_origin_next(&rest, &d)) {
        if (d.reason == now.reason && span_equal(d.queue, now.queue)) {
            now.count = d.count + 1;
            now.first = d.first;
            now.exchange = d.exchange;
            now.routing_key = d.routing_key;
        } else {
            x->deaths[x->count++] = d;
        }
    }
    x->deaths[0] = now;
}

/* It was there before, and nobody rejected it since: it would go round for ever. */
static bool is_cycle(const struct death *x, struct span target) {
    for (uint32_t i = 0; i < x->count && !is_rejection(x->deaths[i].reason); i++) {
        if (span_equal(x->deaths[i].queue, target)) {
            return true;
        }
    }
    return false;
}

/* ---- where it goes ---- */

static void set_keys(struct death *x, struct span key) {
    x->key = x->keys[0] = key;
    x->key_count = 1;
    if (x->q->def.has_dead_letter_key) {
        x->key = x->keys[0] = span_text(x->q->def.dead_letter_key);
        return;
    }
    struct span rest = x->old.keys, further;
    while (x->key_count <= AMQP_KEYS_MAX && amqp_origin_next_key(&rest, &further)) {
        x->keys[x->key_count++] = further;
    }
}

static void put_summary(struct amqp_table_out *t, const struct amqp_death *d,
                        const char *const names[3]) {
    amqp_put_text(t, names[0], d->exchange);
    amqp_put_text(t, names[1], d->queue);
    amqp_put_text(t, names[2], span_text(amqp_reason_name(d->reason)));
}

/* What a headers exchange sees. Of two fields by one name the first counts. */
static struct span headers_of(const struct death *x) {
    static const char *const first[] = {"x-first-death-exchange", "x-first-death-queue",
                                        "x-first-death-reason"};
    static const char *const last[] = {"x-last-death-exchange", "x-last-death-queue",
                                       "x-last-death-reason"};
    struct exchanges *s = x->m->exchanges;
    struct amqp_table_out t;
    if (s->headers_users == 0) {
        return span_of(NULL, 0);
    }
    buffer_clear(&s->headers);
    amqp_table_begin(&t, &s->headers);
    put_summary(&t, &x->deaths[0], last);
    for (uint32_t i = 0; i < x->count; i++) {
        if (x->deaths[i].first) {
            put_summary(&t, &x->deaths[i], first);
        }
    }
    int rc = amqp_table_end(&t);
    rc = rc != 0 ? rc : buffer_append_span(&s->headers, x->old.headers);
    x->d->failed |= rc != 0;
    return rc != 0 ? span_of(NULL, 0) : span_of(s->headers.data + 4, s->headers.size - 4);
}

static void route_death(struct death *x) {
    struct route_request route = {.vhost = span_text(x->vhost),
                                  .exchange = x->exchange,
                                  .keys = x->keys,
                                  .key_count = x->key_count,
                                  .headers = headers_of(x)};
    x->target_count = 0;
    if (exchange_route(x->m, &route, &x->targets, &x->target_count) != REFUSAL_NONE) {
        x->target_count = 0; /* no such exchange: RabbitMQ drops it too */
        return;
    }
    uint32_t kept = 0, *targets = x->m->exchanges->queues;
    for (uint32_t i = 0; i < x->target_count; i++) {
        const struct queue *q = queue_at(x->m->queues, targets[i]);
        char vhost[VHOST_MAX_BYTES + 1];
        if (!is_cycle(x, amqp_queue_split(span_text(q->def.name), vhost)) &&
            (q->def.overflow == OVERFLOW_DROP_HEAD || queue_has_room(q, 0))) {
            targets[kept++] = targets[i];
        }
    }
    x->target_count = kept;
}

static void death_init(struct death *x, const struct model *m, struct decision *d,
                       const struct queue *q, enum dead_reason reason) {
    x->m = m;
    x->d = d;
    x->q = q;
    x->reason = (uint8_t)reason;
    x->queue_name = amqp_queue_split(span_text(q->def.name), x->vhost);
    x->exchange = span_text(q->def.dead_letter_exchange);
    x->target_count = 0;
}

static struct fan_target target_of(const struct death *x, uint32_t index, uint8_t priority) {
    const struct queue *q = queue_at(x->m->queues, index);
    return (struct fan_target){
        .queue = index,
        .expires_ns = queue_end_of_life(q, x->d->now_ns, 0),
        .key_hash = q->def.ordering == KEY_OF_ROUTING_KEY ? key_hash(index, x->key) : 0,
        .priority = priority < q->def.max_priority ? priority : q->def.max_priority,
    };
}

/* ---- of a queued message ---- */

static void read_origin(struct death *x, const struct message *g) {
    struct span origin = message_origin(x->m->queues, g);
    if (origin.size == 0 || amqp_origin_read(origin, &x->old) != 0) {
        x->old = (struct amqp_origin){.routing_key = x->queue_name};
    }
    x->old.stored_id = x->old.stored_id != 0 ? x->old.stored_id : g->id;
}

static void emit_death(struct death *x, uint32_t slot, enum death_end end) {
    const struct message *g = message_at(x->m->queues, slot);
    struct fan_out f;
    death_begin(&f, x->d, g->id, (enum dead_reason)x->reason, end,
                x->target_count > 0 ? encode_origin(x) : span_of(NULL, 0));
    for (uint32_t i = 0; i < x->target_count; i++) {
        struct fan_target t = target_of(x, x->targets[i], (uint8_t)g->priority);
        t.id = decision_id(x->d);
        death_target(&f, &t);
    }
    death_end(&f);
}

/* Into `x`: where it goes. False: too few ids for that and `more`. */
static bool route_message(struct death *x, uint32_t slot, uint32_t more) {
    read_origin(x, message_at(x->m->queues, slot));
    list_deaths(x);
    set_keys(x, x->old.routing_key);
    route_death(x);
    return x->target_count == 0 || decision_has_ids(x->d, x->target_count + more);
}

bool exchange_emit_death(const struct model *m, struct decision *d, uint32_t slot,
                         enum dead_reason reason) {
    const struct message *g = message_at(m->queues, slot);
    const struct queue *q = queue_at(m->queues, g->queue);
    struct death x;
    death_init(&x, m, d, q, reason);
    if (q->def.has_dead_letter_exchange && !route_message(&x, slot, 0)) {
        return false;
    }
    /* What is pushed is not dropped because an exchange is missing: it stays as dead. */
    bool gone = q->def.has_dead_letter_exchange && (x.target_count > 0 || q->target == 0);
    emit_death(&x, slot, gone ? DEATH_GONE : DEATH_KEPT);
    queue_emit_settlement(m, d, slot);
    return true;
}

bool exchange_emit_attempted(const struct model *m, struct decision *d, uint64_t message,
                             enum dead_reason reason) {
    uint32_t slot = message_find(m->queues, message);
    const struct queue *q = queue_at(m->queues, message_at(m->queues, slot)->queue);
    struct death x;
    if (!q->def.has_dead_letter_exchange) {
        return true;
    }
    death_init(&x, m, d, q, reason);
    if (!route_message(&x, slot, 1)) {
        return false;
    }
    if (x.target_count > 0) {
        emit_death(&x, slot, DEATH_ENDS_LATER);
    }
    return true;
}

/* ---- of one that its queue refuses ---- */

/* As if it had been there: its keys and headers are those of the publishing. */
static void refused_route(struct death *x, const struct amqp_message *in) {
    x->old = (struct amqp_origin){
        .exchange = in->exchange, .routing_key = in->routing_key, .headers = in->headers};
    list_deaths(x);
    set_keys(x, in->routing_key);
    if (!x->q->def.has_dead_letter_key && in->key_count > 0) {
        memcpy(x->keys + 1, in->keys, in->key_count * sizeof *in->keys);
        x->key_count = 1 + in->key_count;
    }
    route_death(x);
    if (x->m->exchanges->headers_users == 0) {
        x->old.headers = span_of(NULL, 0); /* nobody will look at them */
    }
}

void exchange_emit_refused(const struct model *m, struct decision *d, const struct queue *q,
                           const struct amqp_message *in) {
    struct death x;
    if (!q->def.has_dead_letter_exchange) {
        return;
    }
    death_init(&x, m, d, q, DEAD_MAXLEN);
    refused_route(&x, in);
    if (x.target_count == 0 || !decision_has_ids(d, x.target_count)) {
        return;
    }
    uint64_t id = decision_id(d);
    struct fan_out f;
    fan_out_begin(&f, d);
    struct span origin = encode_origin(&x);
    for (uint32_t i = 0; i < x.target_count; i++) {
        struct fan_target target = target_of(&x, x.targets[i], in->priority);
        target.origin = origin;
        fan_out_target(&f, &target);
        if (i > 0) {
            (void)decision_id(d);
        }
    }
    struct message_payload payload =
        exchange_payload(d, in, queue_at(m->queues, x.targets[0]), x.target_count, id);
    fan_out_end(&f, &payload);
}
