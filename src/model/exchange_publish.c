/*
 * Publishing: routed, looked at queue by queue, one body for all of them. And what dies: routed again.
 *
 * A queue that takes the message gets a target in MESSAGE_FANOUT. One that is full and refuses makes the publish
 * refused (basic.nack) for all that it reached the others, as RabbitMQ has it; one that has seen the message's
 * deduplication id takes it without keeping it.
 */
#include <assert.h>
#include <stdio.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "model/dedup.h"
#include "model/exchange_state.h"
#include "model/queue_fanout.h"
#include "model/queue_tenant.h"
#include "model/unique.h"

#define DEATHS_MAX 64u

/* ---- what a queue makes of a message ---- */

static struct span value_text(const struct amqp_field *f) {
    struct span text;
    return amqp_field_text(f, &text) ? text : f->encoded;
}

static uint64_t ordering_hash(const struct queue *q, const struct amqp_message *in) {
    struct amqp_field f;
    if (q->def.ordering == KEY_OF_ROUTING_KEY) {
        return key_hash(q->index, in->routing_key);
    }
    if (q->def.ordering == KEY_OF_HEADER &&
        amqp_table_find(in->headers, q->def.ordering_header, &f)) {
        return key_hash(q->index, value_text(&f));
    }
    return 0;
}

static bool refuses(const struct queue *q, const struct amqp_message *in) {
    if (q->def.overflow == OVERFLOW_DROP_HEAD) {
        return false;
    }
    return !queue_has_room(q, in->body.size);
}

/* What a message must remember of how it was published: its dead-letter exchange routes by that. */
static struct span origin_for(struct exchanges *s, const struct queue *q,
                              const struct amqp_message *in) {
    char vhost[VHOST_MAX_BYTES + 1];
    if (!q->def.has_dead_letter_exchange || q->def.has_dead_letter_key ||
        span_equal(amqp_queue_split(span_text(q->def.name), vhost), in->routing_key)) {
        return span_of(NULL, 0);
    }
    struct saver out = {.chunk = &s->origin};
    buffer_clear(&s->origin);
    save_u64(&out, 0);
    save_u16(&out, 0);
    save_key(&out, in->exchange);
    save_key(&out, in->routing_key);
    return out.rc == 0 ? buffer_span(&s->origin) : span_of(NULL, 0);
}

static struct fan_target target_for(const struct model *m, const struct decision *d,
                                    const struct queue *q, const struct amqp_message *in) {
    uint64_t start_ns =
        in->delay_ns < UINT64_MAX - d->now_ns ? d->now_ns + in->delay_ns : UINT64_MAX;
    uint64_t ttl_ns = !in->has_ttl ? 0 : in->ttl_ns == 0 ? 1 : in->ttl_ns;
    return (struct fan_target){
        .queue = q->index,
        .due_ns = in->delay_ns == 0 ? 0 : start_ns,
        .expires_ns = queue_end_of_life(q, start_ns, ttl_ns),
        .key_hash = ordering_hash(q, in),
        .priority = in->priority < q->def.max_priority ? in->priority : q->def.max_priority,
        .origin = origin_for(m->exchanges, q, in),
    };
}

/* ---- one publish ---- */

struct taking {
    const struct model *m;
    struct decision *d;
    struct request *r;
    struct exchange_publish *p;
    uint32_t *queues;
    uint32_t count;   /* of those that take it */
    uint32_t refused; /* the last of the queues that refuse and dead-letter it; 0: none */
};

static bool is_duplicate(const struct taking *t, const struct queue *q) {
    struct receipt first;
    return unique_find(t->m, t->d->now_ns, q, unique_key_of_amqp(q, &t->p->message), &first);
}

/* The same id to the same queue, earlier in this record: no fact tells of it yet. Otherwise it is noted. */
static bool is_repeated(const struct taking *t, const struct queue *q) {
    struct exchanges *s = t->m->exchanges;
    struct span id = unique_key_of_amqp(q, &t->p->message);
    const struct seen_id *seen = (const void *)s->seen.data;
    size_t count = id.size == 0 ? 0 : s->seen.size / sizeof *seen;
    for (size_t i = 0; i < count; i++) {
        if (seen[i].queue == q->index && span_equal(seen[i].id, id)) {
            return true;
        }
    }
    struct seen_id now = {.queue = q->index, .id = id};
    t->d->failed |= id.size > 0 && buffer_append(&s->seen, &now, sizeof now) != 0;
    return false;
}

/* ---- moved in ---- */

#define IMPORT_SCOPE UINT64_C(0x616d71702e696d70) /* stands in the log */

static struct idempotency import_key(const struct queue *q, struct span id) {
    return (struct idempotency){.key = id, .scope = IMPORT_SCOPE ^ hash_u64(q->index)};
}

static bool was_imported(const struct taking *t, const struct queue *q) {
    const struct amqp_message *in = &t->p->message;
    struct idempotency k = import_key(q, in->import_id);
    struct receipt first;
    uint64_t fingerprint;
    return in->import_again && in->import_id.size > 0 &&
           dedup_find(t->m, t->d->now_ns, &k, &fingerprint, &first);
}

static void emit_import(const struct taking *t, const struct queue *q, uint64_t id) {
    struct idempotency k = import_key(q, t->p->message.import_id);
    struct receipt receipt = {.id = id, .accepted_ns = t->d->now_ns}, first;
    uint64_t fingerprint;
    if (k.key.size > 0 && !dedup_find(t->m, t->d->now_ns, &k, &fingerprint, &first)) {
        dedup_emit(t->m, t->d, &k, &receipt, 0);
    }
}

/* Leaves in `queues` those that are to get it. */
static void choose(struct taking *t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct queue *q = queue_at(t->m->queues, t->queues[i]);
        if (q->def.dedup != DEDUP_NONE && (is_duplicate(t, q) || is_repeated(t, q))) {
            continue;
        }
        if (was_imported(t, q)) {
            continue;
        }
        if (refuses(q, &t->p->message)) {
            t->p->refused = true;
            t->refused = q->def.overflow == OVERFLOW_REFUSE_DLX ? q->index : t->refused;
            continue;
        }
        t->queues[kept++] = t->queues[i];
    }
    t->count = kept;
}

static void emit_dedup(const struct taking *t, const struct queue *q, uint64_t id) {
    struct span key = unique_key_of_amqp(q, &t->p->message);
    if (key.size > 0) {
        struct receipt receipt = {.id = id, .accepted_ns = t->d->now_ns};
        unique_emit(t->m, t->d, q, key, &receipt);
    }
}

static uint64_t tenant_of_amqp(const struct queue *q, const struct amqp_message *in) {
    struct amqp_field f;
    return amqp_table_find(in->headers, q->def.tenant_header, &f) ? tenant_hash(q, value_text(&f))
                                                                  : 0;
}

static struct message_payload payload_of(const struct taking *t, uint64_t id) {
    const struct amqp_message *in = &t->p->message;
    const struct queue *first = queue_at(t->m->queues, t->queues[0]);
    return (struct message_payload){
        .queue = first->index,
        .amqp = true,
        .copies = (uint16_t)(t->count < UINT16_MAX ? t->count : UINT16_MAX),
        .stored = {.id = id,
                   .accepted_ns = t->d->now_ns,
                   .queue = queue_stored_name(first),
                   .priority = in->priority,
                   .exchange = in->exchange,
                   .routing_key = in->routing_key,
                   .properties = in->properties,
                   .envelope = {.body = in->body}},
    };
}

static void emit_fanout(struct taking *t) {
    struct decision *d = t->d;
    if (t->count == 0 || !decision_has_ids(d, t->count)) {
        return;
    }
    uint64_t id = decision_id(d);
    for (uint32_t i = 1; i < t->count; i++) {
        (void)decision_id(d);
    }
    struct fan_out f;
    fan_out_begin(&f, d);
    for (uint32_t i = 0; i < t->count; i++) {
        struct fan_target target =
            target_for(t->m, d, queue_at(t->m->queues, t->queues[i]), &t->p->message);
        fan_out_target(&f, &target);
    }
    struct message_payload payload = payload_of(t, id);
    fan_out_end(&f, &payload);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct queue *q = queue_at(t->m->queues, t->queues[i]);
        if (q->def.dedup != DEDUP_NONE) {
            emit_dedup(t, q, id + i);
        }
        if (q->def.tenant_header[0] != '\0') {
            tenant_emit(t->m, d, q, id + i, tenant_of_amqp(q, &t->p->message));
        }
        emit_import(t, q, id + i);
    }
}

static enum refusal check_message(const struct taking *t) {
    const struct amqp_message *in = &t->p->message;
    if (in->routing_key.size > UINT8_MAX || in->exchange.size > UINT8_MAX ||
        in->key_count > AMQP_KEYS_MAX) {
        return request_invalid(t->r, "/routingKey", "at most 255 bytes, and 256 in CC and BCC");
    }
    if (in->properties.size > EXTRA_BYTES_MAX / 2) {
        return request_invalid(t->r, "/properties", "at most 512 KiB");
    }
    if (!t->d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    if (t->m->queues->by_id.count + t->count + t->d->operation >= t->m->limits.messages) {
        return request_refuse(t->r, REFUSAL_LIMIT, "no more messages: limits.messages is reached");
    }
    return dedup_has_room(t->m, t->d->now_ns)
               ? REFUSAL_NONE
               : request_refuse(t->r, REFUSAL_LIMIT, "no more deduplication ids: limits.dedupKeys");
}

static enum refusal route_publish(struct taking *t) {
    const struct amqp_message *in = &t->p->message;
    struct span keys[AMQP_KEYS_MAX + 1];
    struct route_request route = {.vhost = t->p->vhost,
                                  .exchange = in->exchange,
                                  .keys = &in->routing_key,
                                  .key_count = 1,
                                  .headers = in->headers};
    if (in->key_count > 0) {
        keys[0] = in->routing_key;
        memcpy(keys + 1, in->keys, in->key_count * sizeof *keys);
        route.keys = keys;
        route.key_count = in->key_count + 1;
    }
    if (in->to_queue.size > 0) {
        route.exchange = span_of(NULL, 0);
        route.keys = &in->to_queue;
    }
    const struct exchange *x =
        route.exchange.size == 0 ? NULL : exchange_find(t->m, t->p->vhost, route.exchange);
    if (route.exchange.size > 0 && x == NULL) {
        return request_refuse(t->r, REFUSAL_NOT_FOUND, "no exchange");
    }
    if (x != NULL && x->internal) {
        return request_refuse(t->r, REFUSAL_FORBIDDEN, "cannot publish to internal exchange");
    }
    const uint32_t *queues;
    enum refusal refusal = exchange_route(t->m, &route, &queues, &t->count);
    t->queues = t->m->exchanges->queues;
    return refusal;
}

static void emit_refused_death(struct taking *t);

static enum refusal publish_one(struct taking *t) {
    t->p->routed = 0;
    t->p->refused = false;
    t->refused = 0;
    t->count = 0;
    enum refusal refusal = check_message(t);
    if (refusal == REFUSAL_NONE) {
        refusal = route_publish(t);
    }
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    t->p->routed = t->count;
    choose(t);
    emit_fanout(t);
    if (t->refused != 0) {
        emit_refused_death(t);
    }
    return REFUSAL_NONE;
}

enum refusal exchange_decide_publish(const struct model *m, struct decision *d, struct request *r) {
    struct taking t = {.m = m, .d = d, .r = r, .p = &r->in.amqp_publish};
    uint16_t facts = d->fact_count;
    buffer_clear(&m->exchanges->seen);
    enum refusal refusal = publish_one(&t);
    if (refusal == REFUSAL_NONE && t.p->refused && d->fact_count == facts && d->ids_wanted == 0) {
        return request_refuse(r, REFUSAL_QUEUE_FULL, "the queue is full");
    }
    return refusal;
}

enum refusal exchange_decide_transaction(const struct model *m, struct decision *d,
                                         struct request *r) {
    struct exchange_transaction *in = &r->in.amqp_transaction;
    buffer_clear(&m->exchanges->seen);
    for (uint32_t i = 0; i < in->publish_count; i++) {
        struct taking t = {.m = m, .d = d, .r = r, .p = &in->publishes[i]};
        enum refusal refusal = publish_one(&t);
        if (refusal != REFUSAL_NONE) {
            snprintf(r->error_pointer, sizeof r->error_pointer, "/publishes/%u", i);
            return refusal;
        }
    }
    (void)session_emit_settles(m, d, r->session, &in->settles);
    return REFUSAL_NONE;
}

/* ---- deaths ---- */

struct death {
    const struct model *m;
    struct decision *d;
    const struct queue *q;
    char vhost[VHOST_MAX_BYTES + 1];
    struct span queue_name;    /* as AMQP knows it */
    struct span exchange, key; /* it goes to */
    uint8_t reason;
    struct amqp_origin old;
    struct amqp_death deaths[DEATHS_MAX]; /* the new list */
    uint32_t count;
    const uint32_t *targets;
    uint32_t target_count;
};

static bool is_rejection(uint8_t reason) {
    return reason == DEAD_REJECTED || reason == DEAD_REFUSED;
}

/* The same queue and reason again: counted, and first in the list now. */
static void list_deaths(struct death *x, uint64_t stored_id, struct span origin) {
    struct amqp_death now = {.reason = x->reason,
                             .first = true,
                             .queue = x->queue_name,
                             .time_ns = x->d->now_ns,
                             .count = 1};
    if (origin.size == 0 || amqp_origin_read(origin, &x->old) != 0) {
        x->old = (struct amqp_origin){.stored_id = 0};
    }
    x->old.stored_id = x->old.stored_id != 0 ? x->old.stored_id : stored_id;
    now.first = x->old.death_count == 0;
    now.exchange = x->old.exchange;
    now.routing_key = x->old.routing_key;
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

static struct span encode_origin(const struct death *x) {
    struct buffer *b = &x->m->exchanges->origin;
    struct saver out = {.chunk = b};
    buffer_clear(b);
    save_u64(&out, x->old.stored_id);
    save_u16(&out, (uint16_t)x->count);
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
    x->d->failed |= out.rc != 0;
    return out.rc == 0 ? buffer_span(b) : span_of(NULL, 0);
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

static void route_death(struct death *x) {
    struct route_request route = {
        .vhost = span_text(x->vhost), .exchange = x->exchange, .keys = &x->key, .key_count = 1};
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
}

static struct fan_target death_target_for(const struct death *x, uint32_t index, uint8_t priority) {
    const struct queue *q = queue_at(x->m->queues, index);
    return (struct fan_target){
        .queue = index,
        .expires_ns = queue_end_of_life(q, x->d->now_ns, 0),
        .key_hash = q->def.ordering == KEY_OF_ROUTING_KEY ? key_hash(index, x->key) : 0,
        .priority = priority < q->def.max_priority ? priority : q->def.max_priority,
    };
}

static void emit_death(const struct model *m, struct decision *d, uint32_t slot, struct death *x,
                       bool gone) {
    const struct message *g = message_at(m->queues, slot);
    struct fan_out f;
    death_begin(&f, d, g->id, (enum dead_reason)x->reason, gone,
                gone && x->target_count > 0 ? encode_origin(x) : span_of(NULL, 0));
    for (uint32_t i = 0; i < x->target_count; i++) {
        struct fan_target t = death_target_for(x, x->targets[i], (uint8_t)g->priority);
        t.id = decision_id(d);
        death_target(&f, &t);
    }
    death_end(&f);
    queue_emit_settlement(m, d, slot);
}

bool exchange_emit_death(const struct model *m, struct decision *d, uint32_t slot,
                         enum dead_reason reason) {
    const struct message *g = message_at(m->queues, slot);
    const struct queue *q = queue_at(m->queues, g->queue);
    struct death x;
    death_init(&x, m, d, q, reason);
    x.target_count = 0;
    if (q->def.has_dead_letter_exchange) {
        list_deaths(&x, g->id, message_origin(m->queues, g));
        bool published = message_origin(m->queues, g).size > 0;
        x.key = q->def.has_dead_letter_key ? span_text(q->def.dead_letter_key)
                : published                ? x.old.routing_key
                                           : x.queue_name;
        route_death(&x);
        if (x.target_count > 0 && !decision_has_ids(d, x.target_count)) {
            return false;
        }
    }
    emit_death(m, d, slot, &x, q->def.has_dead_letter_exchange);
    return true;
}

/* The queue refuses what is published and has it dead-lettered: a message of its own, with the body again. */
static void emit_refused_death(struct taking *t) {
    struct death x;
    const struct queue *q = queue_at(t->m->queues, t->refused);
    if (!q->def.has_dead_letter_exchange) {
        return;
    }
    death_init(&x, t->m, t->d, q, DEAD_MAXLEN);
    list_deaths(&x, 0, span_of(NULL, 0));
    x.key =
        q->def.has_dead_letter_key ? span_text(q->def.dead_letter_key) : t->p->message.routing_key;
    route_death(&x);
    if (x.target_count == 0 || !decision_has_ids(t->d, x.target_count)) {
        return;
    }
    t->queues = t->m->exchanges->queues;
    t->count = x.target_count;
    uint64_t id = decision_id(t->d);
    struct fan_out f;
    fan_out_begin(&f, t->d);
    for (uint32_t i = 0; i < x.target_count; i++) {
        struct fan_target target = death_target_for(&x, x.targets[i], t->p->message.priority);
        target.origin = encode_origin(&x);
        fan_out_target(&f, &target);
        if (i > 0) {
            (void)decision_id(t->d);
        }
    }
    struct message_payload payload = payload_of(t, id);
    fan_out_end(&f, &payload);
}
