/*
 * Publishing: routed, looked at queue by queue, one body for all of them.
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

static struct fan_target target_for(const struct model *m, struct decision *d,
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
        .origin = exchange_origin(m, d, q, in),
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

struct message_payload exchange_payload(const struct decision *d, const struct amqp_message *in,
                                        const struct queue *first, uint32_t copies, uint64_t id) {
    return (struct message_payload){
        .queue = first->index,
        .amqp = true,
        .copies = (uint16_t)(copies < UINT16_MAX ? copies : UINT16_MAX),
        .stored = {.id = id,
                   .accepted_ns = d->now_ns,
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
    struct message_payload payload =
        exchange_payload(d, &t->p->message, queue_at(t->m->queues, t->queues[0]), t->count, id);
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
        exchange_emit_refused(t->m, t->d, queue_at(t->m->queues, t->refused), &t->p->message);
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
