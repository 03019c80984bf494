#include "amqp/bridge_ops.h"

#include <sodium.h>
#include <stdlib.h>

#include "amqp/access.h"
#include "amqp/bridge.h"
#include "amqp/connection_state.h"
#include "amqp/message.h"
#include "base/amqp_table.h"
#include "base/error.h"

#define GOT_MESSAGE_MAX  ((size_t)1 << 30)
#define GOT_PROPERTY_MAX (4u << 20)

/* ---- what the engine's refusals are called here ---- */

static const struct {
    enum refusal refusal;
    enum amqp_code code;
} codes[] = {
    {REFUSAL_NOT_FOUND, AMQP_NOT_FOUND},           {REFUSAL_REFERENCE, AMQP_NOT_FOUND},
    {REFUSAL_INVALID, AMQP_PRECONDITION_FAILED},   {REFUSAL_PRECONDITION, AMQP_PRECONDITION_FAILED},
    {REFUSAL_CONFLICT, AMQP_PRECONDITION_FAILED},  {REFUSAL_LIMIT, AMQP_PRECONDITION_FAILED},
    {REFUSAL_TOO_LARGE, AMQP_PRECONDITION_FAILED}, {REFUSAL_LOCKED, AMQP_RESOURCE_LOCKED},
    {REFUSAL_FORBIDDEN, AMQP_ACCESS_REFUSED},      {REFUSAL_NOT_ALLOWED, AMQP_NOT_ALLOWED},
    {REFUSAL_COMMAND, AMQP_COMMAND_INVALID},       {REFUSAL_DISK_FULL, AMQP_PRECONDITION_FAILED},
    {REFUSAL_STOPPING, AMQP_CONNECTION_FORCED},
};

/* "inequivalent arg 'x-max-priority' for queue 'mail' in vhost '/'": clients know it by these words. */
static void refuse_about(struct amqp_op *op, enum amqp_code code, const struct request *r,
                         const char *what, struct span name) {
    struct span vhost = amqp_connection_vhost(op->connection);
    const char *detail = r->error_detail != NULL ? r->error_detail : refusal_name(r->refusal);
    const char *slash = strrchr(r->error_pointer, '/');
    bool argument = slash != NULL && strchr(detail, '\'') == NULL;
    if (argument)
        amqp_op_refuse(op, code, "%s '%s' for %s '%.*s' in vhost '%.*s'", detail, slash + 1, what,
                       SPAN_ARG(name), SPAN_ARG(vhost));
    else if (code == AMQP_RESOURCE_LOCKED)
        amqp_op_refuse(op, code, "%s '%.*s' in vhost '%.*s'", detail, SPAN_ARG(name),
                       SPAN_ARG(vhost));
    else
        amqp_op_refuse(op, code, "%s for %s '%.*s' in vhost '%.*s'", detail, what, SPAN_ARG(name),
                       SPAN_ARG(vhost));
}

/* In the words that clients know; `what` and `name`: what it was about. */
static void refuse(struct amqp_op *op, const struct request *r, const char *what,
                   struct span name) {
    enum amqp_code code = AMQP_INTERNAL_ERROR;
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        if (codes[i].refusal == r->refusal)
            code = codes[i].code;
    }
    struct span vhost = amqp_connection_vhost(op->connection);
    const char *detail = r->error_detail != NULL ? r->error_detail : refusal_name(r->refusal);
    if (code == AMQP_NOT_FOUND)
        amqp_op_refuse(op, code, "no %s '%.*s' in vhost '%.*s'", what, SPAN_ARG(name),
                       SPAN_ARG(vhost));
    else if (name.size > 0 && !amqp_code_closes_connection(code))
        refuse_about(op, code, r, what, name);
    else
        amqp_op_refuse(op, code, "%s", detail);
}

static void no_memory(struct amqp_op *op) {
    amqp_op_refuse(op, AMQP_INTERNAL_ERROR, "out of memory");
}

static struct request *begin(struct amqp_crossing *x, enum request_kind kind, struct span name) {
    struct request *r = &x->request.r;
    request_init(r, kind);
    r->vhost = amqp_connection_vhost(x->op->connection);
    r->session = x->route != NULL ? x->route->session : 0;
    r->name = name;
    return r;
}

/* The model will know the session from here on. */
static struct request *begin_used(struct amqp_crossing *x, enum request_kind kind,
                                  struct span name) {
    x->route->used = true;
    return begin(x, kind, name);
}

/* ---- close ---- */

/* From here on deliveries find nobody: they are given back with all else. */
static bool begin_close(struct amqp_crossing *x) {
    bool used = x->route != NULL && x->route->used;
    if (used)
        begin(x, REQUEST_SESSION_CLOSE, span_of(NULL, 0));
    if (x->route != NULL) {
        amqp_route_remove(amqp_bridge_routes(x->bridge), x->route);
        amqp_connection_set_link(x->op->connection, NULL);
        x->route = NULL;
    }
    return used;
}

/* ---- publish ---- */

static bool begin_publish(struct amqp_crossing *x) {
    const struct amqp_publish *from = &x->op->in.publish;
    struct request *r = begin(x, REQUEST_AMQP_PUBLISH, from->exchange);
    r->in.amqp_publish.vhost = r->vhost;
    bool keys = from->properties.headers.size > 0;
    x->memory = keys ? calloc(AMQP_KEYS_MAX, sizeof(struct span)) : NULL;
    if ((keys && x->memory == NULL) ||
        amqp_message_in(from, &x->properties, x->memory, &r->in.amqp_publish.message) != 0) {
        no_memory(x->op);
        return false;
    }
    return true;
}

static void finish_publish(struct amqp_crossing *x) {
    const struct request *r = &x->request.r;
    x->op->routed = r->in.amqp_publish.routed;
    x->op->refused = r->in.amqp_publish.refused || r->refusal == REFUSAL_QUEUE_FULL ||
                     r->refusal == REFUSAL_DISK_FULL || r->refusal == REFUSAL_BUSY;
    if (r->refusal != REFUSAL_NONE && !x->op->refused)
        refuse(x->op, r, "exchange", x->op->in.publish.exchange);
}

/* ---- settle, commit ---- */

static void copy_settlements(const struct amqp_settlement *from, size_t count, struct settle *to) {
    static const enum settle_verdict verdicts[] = {
        [AMQP_VERDICT_ACK] = SETTLE_ACK,
        [AMQP_VERDICT_REQUEUE] = SETTLE_REQUEUE,
        [AMQP_VERDICT_REJECT] = SETTLE_REJECT,
        [AMQP_VERDICT_RETURN] = SETTLE_RETURN,
    };
    for (size_t i = 0; i < count; i++)
        to[i] = (struct settle){from[i].message, verdicts[from[i].verdict]};
}

static bool begin_settle(struct amqp_crossing *x) {
    const struct amqp_op *op = x->op;
    if (x->route == NULL)
        return false; /* closed: all was given back */
    size_t count = op->in.settle.count;
    struct settle *items = calloc(count, sizeof *items);
    x->memory = items;
    if (items == NULL) {
        no_memory(x->op);
        return false;
    }
    copy_settlements(op->in.settle.items, count, items);
    struct request *r = begin(x, REQUEST_SETTLE, span_of(NULL, 0));
    r->in.settle = (struct settle_list){.items = items, .count = (uint32_t)count};
    return true;
}

/* Behind the publishes their keys and properties would need room of their own: so each has it. */
struct commit_room {
    struct exchange_publish *publishes;
    struct settle *settles;
    struct buffer *properties;
    struct span (*keys)[AMQP_KEYS_MAX];
};

static bool make_commit_room(struct amqp_crossing *x, size_t publishes, size_t settles,
                             struct commit_room *ret) {
    size_t each = sizeof(*ret->publishes) + sizeof(*ret->properties) + sizeof(*ret->keys);
    uint8_t *room = calloc(1, publishes * each + settles * sizeof(*ret->settles) + 1);
    x->memory = room;
    if (room == NULL)
        return false;
    ret->publishes = (void *)room;
    ret->keys = (void *)(ret->publishes + publishes);
    ret->properties = (void *)(ret->keys + publishes);
    ret->settles = (void *)(ret->properties + publishes);
    return true;
}

static void release_commit(struct amqp_crossing *x) {
    const struct exchange_transaction *t = &x->request.r.in.amqp_transaction;
    struct buffer *properties =
        (void *)((struct span(*)[AMQP_KEYS_MAX])(t->publishes + t->publish_count) +
                 t->publish_count);
    for (uint32_t i = 0; i < t->publish_count; i++)
        buffer_release(&properties[i]);
}

static bool begin_commit(struct amqp_crossing *x) {
    struct amqp_op *op = x->op;
    struct commit_room room;
    size_t count = op->in.commit.publish_count, i = 0;
    if (!make_commit_room(x, count, op->in.commit.count, &room)) {
        no_memory(op);
        return false;
    }
    struct request *r = begin_used(x, REQUEST_AMQP_TRANSACTION, span_of(NULL, 0));
    for (const struct amqp_op *p = op->in.commit.publishes; p != NULL; p = p->next, i++) {
        room.publishes[i].vhost = r->vhost;
        buffer_init(&room.properties[i], GOT_PROPERTY_MAX);
        if (amqp_message_in(&p->in.publish, &room.properties[i], room.keys[i],
                            &room.publishes[i].message) != 0)
            no_memory(op);
    }
    copy_settlements(op->in.commit.items, op->in.commit.count, room.settles);
    r->in.amqp_transaction = (struct exchange_transaction){
        .publishes = room.publishes,
        .publish_count = (uint32_t)count,
        .settles = {.items = room.settles, .count = (uint32_t)op->in.commit.count}};
    if (op->code != 0)
        release_commit(x);
    return op->code == 0;
}

static void finish_commit(struct amqp_crossing *x) {
    const struct request *r = &x->request.r;
    const struct exchange_publish *from = r->in.amqp_transaction.publishes;
    if (r->refusal != REFUSAL_NONE)
        refuse(x->op, r, "exchange", r->name);
    for (struct amqp_op *p = x->op->in.commit.publishes; p != NULL; p = p->next, from++) {
        p->routed = from->routed;
        p->refused = from->refused;
    }
    release_commit(x);
}

/* ---- consumers ---- */

static int32_t priority_of(struct span arguments) {
    struct amqp_field f;
    int64_t v;
    if (!amqp_table_find(arguments, "x-priority", &f) || !amqp_field_integer(&f, &v))
        return 0;
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

static bool begin_consume(struct amqp_crossing *x) {
    const struct amqp_op *op = x->op;
    const struct amqp_basic_consume *c = &op->method.as.basic_consume;
    struct request *r = begin_used(x, REQUEST_CONSUME, c->queue);
    r->in.consume = (struct consume){.consumer = op->in.consume.number,
                                     .channel = op->channel->number,
                                     .prefetch = op->in.consume.prefetch,
                                     .exclusive = c->exclusive,
                                     .no_ack = c->no_ack,
                                     .priority = priority_of(c->arguments),
                                     .tag = c->consumer_tag};
    return true;
}

/* CANCEL, CREDIT. Consumer 0: one that there never was. */
static bool begin_consumer(struct amqp_crossing *x, enum request_kind kind) {
    if (x->route == NULL || x->op->in.credit.consumer == 0)
        return false;
    struct request *r = begin(x, kind, span_of(NULL, 0));
    r->in.consume.consumer = (uint32_t)x->op->in.credit.consumer;
    r->in.consume.channel = x->op->channel != NULL ? x->op->channel->number : 0;
    r->in.consume.credit = x->op->in.credit.credit;
    return true;
}

static bool begin_qos(struct amqp_crossing *x) {
    struct request *r = begin_used(x, REQUEST_QOS, span_of(NULL, 0));
    r->in.consume.channel = x->op->channel->number;
    r->in.consume.prefetch = x->op->in.prefetch;
    r->in.consume.channel_wide = true;
    return true;
}

/* ---- get ---- */

/* What a got message's spans point to, until its op goes. */
struct got {
    struct buffer message, properties;
    uint8_t *origin; /* owns */
};

static void free_got(struct amqp_op *op) {
    struct got *g = op->host;
    buffer_release(&g->message);
    buffer_release(&g->properties);
    free(g->origin);
    free(g);
}

static bool begin_get(struct amqp_crossing *x) {
    struct request *r = begin_used(x, REQUEST_BASIC_GET, x->op->method.as.basic_get.queue);
    r->in.get.channel = x->op->channel->number;
    return true;
}

static int read_got(struct amqp_crossing *x, struct got *g) {
    const struct delivery *d = &x->request.r.out.delivery;
    struct stored_message stored;
    buffer_init(&g->message, GOT_MESSAGE_MAX);
    buffer_init(&g->properties, GOT_PROPERTY_MAX);
    int error = engine_read_message(amqp_bridge_engine(x->bridge), d->stored_id, d->address,
                                    &g->message, &stored);
    g->origin = d->origin; /* what is made here may borrow from it */
    return error != 0 ? error : amqp_message_out(&stored, d, &g->properties, &x->op->delivery);
}

/* It is a dead letter, before the connection's end gives back what it held: else it would end the next one too. */
static void refuse_unreadable(struct amqp_op *op, uint64_t message) {
    amqp_settle(op->connection, message, AMQP_VERDICT_REJECT);
    amqp_settle_now(op->connection);
    amqp_op_refuse(op, AMQP_INTERNAL_ERROR, "the message cannot be read");
}

static void finish_get(struct amqp_crossing *x) {
    struct request *r = &x->request.r;
    struct amqp_op *op = x->op;
    if (r->refusal != REFUSAL_NONE) {
        refuse(op, r, "queue", r->name);
        return;
    }
    op->message_count = (uint32_t)(r->count < UINT32_MAX ? r->count : UINT32_MAX);
    op->found = r->out.delivery.kind == DELIVERY_MESSAGE;
    if (!op->found)
        return;
    struct got *g = calloc(1, sizeof *g);
    if (g == NULL) {
        free(r->out.delivery.origin);
        no_memory(op);
    } else {
        op->host = g;
        op->host_free = free_got;
        if (read_got(x, g) != 0)
            refuse_unreadable(op, r->out.delivery.message);
    }
}

/* ---- exchange.*, queue.* ---- */

static bool begin_exchange_declare(struct amqp_crossing *x) {
    const struct amqp_exchange_declare *d = &x->op->method.as.exchange_declare;
    struct request *r = begin(x, REQUEST_EXCHANGE_DECLARE, d->exchange);
    r->in.exchange = (struct exchange_declare){.type = d->type,
                                               .arguments = d->arguments,
                                               .passive = d->passive,
                                               .durable = d->durable,
                                               .auto_delete = d->auto_delete,
                                               .internal = d->internal};
    return true;
}

static bool begin_queue_declare(struct amqp_crossing *x) {
    const struct amqp_queue_declare *d = &x->op->method.as.queue_declare;
    struct request *r = d->exclusive ? begin_used(x, REQUEST_AMQP_QUEUE_DECLARE, d->queue)
                                     : begin(x, REQUEST_AMQP_QUEUE_DECLARE, d->queue);
    r->in.queue_declare = (struct queue_declare){.arguments = d->arguments,
                                                 .passive = d->passive,
                                                 .durable = d->durable,
                                                 .exclusive = d->exclusive,
                                                 .auto_delete = d->auto_delete};
    return true;
}

static bool begin_bind(struct amqp_crossing *x, enum request_kind kind, struct binding b) {
    struct request *r = begin(x, kind, b.destination);
    r->in.binding = b;
    return true;
}

static bool begin_method(struct amqp_crossing *x) {
    const struct amqp_method *m = &x->op->method;
    switch (m->id) {
    case AMQP_EXCHANGE_DECLARE:
        return begin_exchange_declare(x);
    case AMQP_EXCHANGE_DELETE:
        begin(x, REQUEST_EXCHANGE_DELETE, m->as.exchange_delete.exchange)->in.remove.if_unused =
            m->as.exchange_delete.if_unused;
        return true;
    case AMQP_EXCHANGE_BIND:
        return begin_bind(
            x, REQUEST_AMQP_BIND,
            (struct binding){m->as.exchange_bind.source, m->as.exchange_bind.destination, true,
                             m->as.exchange_bind.routing_key, m->as.exchange_bind.arguments});
    case AMQP_EXCHANGE_UNBIND:
        return begin_bind(
            x, REQUEST_AMQP_UNBIND,
            (struct binding){m->as.exchange_unbind.source, m->as.exchange_unbind.destination, true,
                             m->as.exchange_unbind.routing_key, m->as.exchange_unbind.arguments});
    case AMQP_QUEUE_DECLARE:
        return begin_queue_declare(x);
    case AMQP_QUEUE_BIND:
        return begin_bind(x, REQUEST_AMQP_BIND,
                          (struct binding){m->as.queue_bind.exchange, m->as.queue_bind.queue, false,
                                           m->as.queue_bind.routing_key,
                                           m->as.queue_bind.arguments});
    case AMQP_QUEUE_UNBIND:
        return begin_bind(x, REQUEST_AMQP_UNBIND,
                          (struct binding){m->as.queue_unbind.exchange, m->as.queue_unbind.queue,
                                           false, m->as.queue_unbind.routing_key,
                                           m->as.queue_unbind.arguments});
    case AMQP_QUEUE_PURGE:
        begin(x, REQUEST_AMQP_QUEUE_PURGE, m->as.queue_purge.queue);
        return true;
    default:
        begin(x, REQUEST_AMQP_QUEUE_DELETE, m->as.queue_delete.queue)->in.remove =
            (struct queue_remove){m->as.queue_delete.if_unused, m->as.queue_delete.if_empty};
        return true;
    }
}

static uint32_t at_most_u32(uint64_t v) {
    return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

static void finish_method(struct amqp_crossing *x) {
    struct request *r = &x->request.r;
    bool exchange = amqp_class_of(x->op->method.id) == AMQP_CLASS_EXCHANGE;
    if (r->refusal != REFUSAL_NONE) {
        bool source = r->refusal == REFUSAL_REFERENCE && r->in.binding.source.size > 0;
        refuse(x->op, r, exchange || source ? "exchange" : "queue",
               source ? r->in.binding.source : r->name);
        return;
    }
    x->op->message_count = at_most_u32(r->count);
    if (x->op->method.id != AMQP_QUEUE_DECLARE)
        return;
    x->op->message_count = at_most_u32(r->out.declared.messages);
    x->op->consumer_count = r->out.declared.consumers;
    if (amqp_op_set_name(x->op, buffer_span(&r->out_bytes)) != 0)
        no_memory(x->op);
}

/* ---- all of them ---- */

bool amqp_crossing_begin(struct amqp_crossing *x) {
    if (x->route != NULL && !amqp_access_check(x->route->access, x->op))
        return false;
    switch (x->op->kind) {
    case AMQP_OP_LOGIN:
        return amqp_login_begin(x);
    case AMQP_OP_OPEN:
        return amqp_open_begin(x);
    case AMQP_OP_METHOD:
        return begin_method(x);
    case AMQP_OP_PUBLISH:
        return begin_publish(x);
    case AMQP_OP_CONSUME:
        return begin_consume(x);
    case AMQP_OP_CANCEL:
        return begin_consumer(x, REQUEST_CONSUMER_CANCEL);
    case AMQP_OP_CREDIT:
        return begin_consumer(x, REQUEST_CONSUMER_CREDIT);
    case AMQP_OP_QOS:
        return begin_qos(x);
    case AMQP_OP_GET:
        return begin_get(x);
    case AMQP_OP_SETTLE:
        return begin_settle(x);
    case AMQP_OP_COMMIT:
        return begin_commit(x);
    case AMQP_OP_CLOSE:
        return begin_close(x);
    default:
        return false;
    }
}

bool amqp_crossing_finish(struct amqp_crossing *x) {
    struct request *r = &x->request.r;
    if (x->op == NULL) { /* while the engine takes nothing, what was known holds */
        if (r->refusal == REFUSAL_NONE || r->refusal == REFUSAL_NOT_FOUND)
            amqp_access_learn(x);
        return true;
    }
    switch (x->op->kind) {
    case AMQP_OP_LOGIN:
        return amqp_login_finish(x);
    case AMQP_OP_OPEN:
        amqp_open_finish(x);
        break;
    case AMQP_OP_METHOD:
        finish_method(x);
        break;
    case AMQP_OP_PUBLISH:
        finish_publish(x);
        break;
    case AMQP_OP_CONSUME:
        x->op->consumer = x->op->in.consume.number;
        if (r->refusal != REFUSAL_NONE)
            refuse(x->op, r, "queue", r->name);
        break;
    case AMQP_OP_GET:
        finish_get(x);
        break;
    case AMQP_OP_COMMIT:
        finish_commit(x);
        break;
    case AMQP_OP_SETTLE:
        if (r->refusal != REFUSAL_NONE)
            refuse(x->op, r, "message", span_of(NULL, 0));
        break;
    default: /* what ends, or only helps, has no answer that a client could use */
        break;
    }
    return true;
}

void amqp_crossing_clear(struct amqp_crossing *x) {
    free(x->memory);
    x->memory = NULL;
    buffer_release(&x->properties);
    sodium_memzero(x->hash, sizeof x->hash);
    amqp_access_unref(x->access);
    x->access = NULL;
    x->op = NULL;
    x->route = NULL;
}
