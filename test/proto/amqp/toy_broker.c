#include "toy_broker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/connection.h"
#include "amqp/connection_state.h"
#include "base/list.h"

struct exchange {
    struct list_node node;
    char *name;
    bool fanout;
};

struct binding {
    struct list_node node;
    char *exchange, *queue, *key;
};

struct queue {
    struct list_node node;
    char *name;
    struct amqp_connection *exclusive;
    struct list ready; /* of struct message */
};

struct message {
    struct list_node node;
    uint64_t id;
    struct queue *queue;
    struct amqp_connection *holder; /* of one that was handed out */
    uint64_t consumer;
    bool redelivered;
    char *exchange, *key;
    struct buffer properties, body;
};

struct consumer {
    struct list_node node;
    uint64_t id;
    struct amqp_connection *connection;
    uint16_t channel;
    struct queue *queue;
    uint32_t prefetch, out;
    bool no_ack;
    uint64_t delivered, credit;
};

struct toy_broker {
    struct toy_outlet outlet;
    struct list exchanges, bindings, queues, consumers, handed_out;
    struct amqp_op *first, *last;
    uint64_t ids;
    bool refuse;
};

#define EACH(type, v, list)                                                                        \
    for (struct list_node *v##_n = list_first(list), *v##_next;                                    \
         v##_n != NULL && (v##_next = list_next(list, v##_n), true); v##_n = v##_next)             \
        for (struct type *v = CONTAINER_OF(v##_n, struct type, node); v != NULL; v = NULL)

static void *need(void *memory) {
    assert(memory != NULL);
    return memory;
}

static char *text_of(struct span s) {
    return need(span_dup(s));
}

struct toy_broker *toy_create(const struct toy_outlet *outlet) {
    struct toy_broker *b = need(calloc(1, sizeof *b));
    b->outlet = *outlet;
    struct list *lists[] = {&b->exchanges, &b->bindings, &b->queues, &b->consumers, &b->handed_out};
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++)
        list_init(lists[i]);
    return b;
}

void toy_refuse(struct toy_broker *b, bool refuse) {
    b->refuse = refuse;
}

/* ---- finding and freeing ---- */

static struct queue *find_queue(struct toy_broker *b, struct span name) {
    EACH(queue, q, &b->queues) {
        if (span_is(name, q->name))
            return q;
    }
    return NULL;
}

static struct exchange *find_exchange(struct toy_broker *b, struct span name) {
    EACH(exchange, e, &b->exchanges) {
        if (span_is(name, e->name))
            return e;
    }
    return NULL;
}

static void free_message(struct message *m) {
    list_remove(&m->node);
    free(m->exchange);
    free(m->key);
    buffer_release(&m->properties);
    buffer_release(&m->body);
    free(m);
}

static void free_binding(struct binding *g) {
    list_remove(&g->node);
    free(g->exchange);
    free(g->queue);
    free(g->key);
    free(g);
}

static void delete_queue(struct toy_broker *b, struct queue *q) {
    EACH(consumer, k, &b->consumers) {
        if (k->queue == q) {
            b->outlet.cancelled(k->connection, k->channel, k->id);
            list_remove(&k->node);
            free(k);
        }
    }
    EACH(message, m, &b->handed_out) {
        if (m->queue == q)
            free_message(m);
    }
    EACH(message, m, &q->ready) {
        free_message(m);
    }
    EACH(binding, g, &b->bindings) {
        if (strcmp(g->queue, q->name) == 0)
            free_binding(g);
    }
    list_remove(&q->node);
    free(q->name);
    free(q);
}

static void delete_exchange(struct exchange *e) {
    list_remove(&e->node);
    free(e->name);
    free(e);
}

void toy_free(struct toy_broker *b) {
    assert(b->first == NULL);
    EACH(queue, q, &b->queues) {
        delete_queue(b, q);
    }
    EACH(exchange, e, &b->exchanges) {
        delete_exchange(e);
    }
    EACH(binding, g, &b->bindings) {
        free_binding(g);
    }
    free(b);
}

/* ---- exchange.*, queue.* ---- */

static void missing(struct amqp_op *op, const char *what, struct span name) {
    amqp_op_refuse(op, AMQP_NOT_FOUND, "no %s '%.*s' in vhost '/'", what, SPAN_ARG(name));
}

static uint32_t ready_count(struct queue *q) {
    uint32_t count = 0;
    EACH(message, m, &q->ready) {
        count++;
    }
    return count;
}

static void queue_declare(struct toy_broker *b, struct amqp_op *op) {
    const struct amqp_queue_declare *d = &op->method.as.queue_declare;
    char made[32];
    snprintf(made, sizeof made, "amq.gen-%llu", (unsigned long long)++b->ids);
    struct span name = d->queue.size > 0 ? d->queue : span_text(made);
    struct queue *q = find_queue(b, name);
    if (q != NULL && q->exclusive != NULL && q->exclusive != op->connection) {
        amqp_op_refuse(op, AMQP_RESOURCE_LOCKED, "exclusive queue '%s'", q->name);
        return;
    }
    if (q == NULL && d->passive) {
        missing(op, "queue", name);
        return;
    }
    if (q == NULL) {
        q = need(calloc(1, sizeof *q));
        q->name = text_of(name);
        q->exclusive = d->exclusive ? op->connection : NULL;
        list_init(&q->ready);
        list_append(&b->queues, &q->node);
    }
    op->message_count = ready_count(q);
    EACH(consumer, k, &b->consumers) {
        op->consumer_count += k->queue == q;
    }
    int error = amqp_op_set_name(op, name);
    assert(error == 0);
}

static void exchange_declare(struct toy_broker *b, struct amqp_op *op) {
    const struct amqp_exchange_declare *d = &op->method.as.exchange_declare;
    if (find_exchange(b, d->exchange) != NULL)
        return;
    if (d->passive) {
        missing(op, "exchange", d->exchange);
        return;
    }
    struct exchange *e = need(calloc(1, sizeof *e));
    e->name = text_of(d->exchange);
    e->fanout = span_is(d->type, "fanout");
    list_append(&b->exchanges, &e->node);
}

static void queue_bind(struct toy_broker *b, struct amqp_op *op) {
    const struct amqp_queue_bind *d = &op->method.as.queue_bind;
    if (find_queue(b, d->queue) == NULL) {
        missing(op, "queue", d->queue);
    } else if (find_exchange(b, d->exchange) == NULL) {
        missing(op, "exchange", d->exchange);
    } else {
        struct binding *g = need(calloc(1, sizeof *g));
        g->exchange = text_of(d->exchange);
        g->queue = text_of(d->queue);
        g->key = text_of(d->routing_key);
        list_append(&b->bindings, &g->node);
    }
}

static void queue_empty(struct toy_broker *b, struct amqp_op *op, struct span name, bool delete) {
    struct queue *q = find_queue(b, name);
    if (q == NULL) {
        if (!delete)
            missing(op, "queue", name);
        return;
    }
    EACH(message, m, &q->ready) {
        free_message(m);
        op->message_count++;
    }
    if (delete)
        delete_queue(b, q);
}

static void method(struct toy_broker *b, struct amqp_op *op) {
    struct exchange *e;
    switch (op->method.id) {
    case AMQP_QUEUE_DECLARE:
        queue_declare(b, op);
        break;
    case AMQP_EXCHANGE_DECLARE:
        exchange_declare(b, op);
        break;
    case AMQP_EXCHANGE_DELETE:
        e = find_exchange(b, op->method.as.exchange_delete.exchange);
        if (e != NULL)
            delete_exchange(e);
        break;
    case AMQP_QUEUE_BIND:
        queue_bind(b, op);
        break;
    case AMQP_QUEUE_PURGE:
        queue_empty(b, op, op->method.as.queue_purge.queue, false);
        break;
    case AMQP_QUEUE_DELETE:
        queue_empty(b, op, op->method.as.queue_delete.queue, true);
        break;
    default:
        break;
    }
}

/* ---- messages ---- */

static void put(struct toy_broker *b, struct queue *q, const struct amqp_publish *p) {
    struct message *m = need(calloc(1, sizeof *m));
    m->id = ++b->ids;
    m->queue = q;
    m->exchange = text_of(p->exchange);
    m->key = text_of(p->routing_key);
    buffer_init(&m->properties, SIZE_MAX / 2);
    buffer_init(&m->body, SIZE_MAX / 2);
    int error = buffer_append_span(&m->properties, p->encoded);
    if (error == 0)
        error = buffer_append_span(&m->body, p->body);
    assert(error == 0);
    list_append(&q->ready, &m->node);
}

static void publish(struct toy_broker *b, struct amqp_op *op) {
    const struct amqp_publish *p = &op->in.publish;
    op->refused = b->refuse;
    if (b->refuse)
        return;
    if (p->exchange.size == 0) {
        struct queue *q = find_queue(b, p->routing_key);
        if (q != NULL)
            put(b, q, p);
        op->routed = q != NULL;
        return;
    }
    const struct exchange *e = find_exchange(b, p->exchange);
    if (e == NULL) {
        missing(op, "exchange", p->exchange);
        return;
    }
    EACH(binding, g, &b->bindings) {
        struct queue *q = find_queue(b, span_text(g->queue));
        if (q != NULL && strcmp(g->exchange, e->name) == 0 &&
            (e->fanout || span_is(p->routing_key, g->key))) {
            put(b, q, p);
            op->routed++;
        }
    }
}

static struct amqp_delivery delivery_of(const struct message *m, bool settled) {
    return (struct amqp_delivery){.consumer = m->consumer,
                                  .message = settled ? 0 : m->id,
                                  .redelivered = m->redelivered,
                                  .exchange = span_text(m->exchange),
                                  .routing_key = span_text(m->key),
                                  .encoded = buffer_span(&m->properties),
                                  .body = buffer_span(&m->body)};
}

static struct consumer *find_consumer(struct toy_broker *b, uint64_t id) {
    EACH(consumer, k, &b->consumers) {
        if (k->id == id)
            return k;
    }
    return NULL;
}

static void put_back(struct message *m) {
    list_remove(&m->node);
    m->holder = NULL;
    struct list_node *at = &m->queue->ready.head;
    EACH(message, other, &m->queue->ready) {
        if (at == &m->queue->ready.head && other->id > m->id)
            at = &other->node;
    }
    list_insert_before(at, &m->node);
}

static void settle(struct toy_broker *b, const struct amqp_settlement *s) {
    EACH(message, m, &b->handed_out) {
        if (m->id != s->message)
            continue;
        struct consumer *k = find_consumer(b, m->consumer);
        if (k != NULL)
            k->out--;
        m->redelivered = m->redelivered || s->verdict != AMQP_VERDICT_RETURN;
        if (s->verdict == AMQP_VERDICT_ACK || s->verdict == AMQP_VERDICT_REJECT)
            free_message(m);
        else
            put_back(m);
    }
}

static void free_got(struct amqp_op *op) {
    free_message(op->host);
}

/* A message that a get has settled lives until its op goes. */
static void get(struct toy_broker *b, struct amqp_op *op) {
    const struct amqp_basic_get *g = &op->method.as.basic_get;
    struct queue *q = find_queue(b, g->queue);
    if (q == NULL) {
        missing(op, "queue", g->queue);
        return;
    }
    struct list_node *n = list_pop(&q->ready);
    op->message_count = ready_count(q);
    op->found = n != NULL;
    if (n == NULL)
        return;
    struct message *m = CONTAINER_OF(n, struct message, node);
    m->consumer = 0;
    op->delivery = delivery_of(m, g->no_ack);
    m->holder = g->no_ack ? NULL : op->connection;
    list_append(&b->handed_out, &m->node);
    if (g->no_ack) {
        op->host = m;
        op->host_free = free_got;
    }
}

static void consume(struct toy_broker *b, struct amqp_op *op) {
    struct queue *q = find_queue(b, op->method.as.basic_consume.queue);
    if (q == NULL) {
        missing(op, "queue", op->method.as.basic_consume.queue);
        return;
    }
    struct consumer *k = need(calloc(1, sizeof *k));
    op->consumer = k->id = ++b->ids;
    k->connection = op->connection;
    k->channel = op->channel->number;
    k->queue = q;
    k->prefetch = op->in.consume.prefetch;
    k->no_ack = op->in.consume.no_ack;
    k->credit = 2000;
    list_append(&b->consumers, &k->node);
}

static void cancel(struct toy_broker *b, uint64_t id) {
    struct consumer *k = find_consumer(b, id);
    if (k == NULL)
        return;
    list_remove(&k->node);
    free(k);
}

static void close_session(struct toy_broker *b, const struct amqp_connection *c) {
    EACH(consumer, k, &b->consumers) {
        if (k->connection == c)
            cancel(b, k->id);
    }
    EACH(message, m, &b->handed_out) {
        if (m->holder == c) {
            m->redelivered = true;
            put_back(m);
        }
    }
    EACH(queue, q, &b->queues) {
        if (q->exclusive == c)
            delete_queue(b, q);
    }
}

static void commit(struct toy_broker *b, struct amqp_op *op) {
    for (struct amqp_op *p = op->in.commit.publishes; p != NULL && op->code == 0; p = p->next) {
        publish(b, p);
        if (p->code != 0)
            amqp_op_refuse(op, p->code, "%s", p->text);
    }
    for (size_t i = 0; op->code == 0 && i < op->in.commit.count; i++)
        settle(b, &op->in.commit.items[i]);
}

static void login(struct amqp_op *op) {
    if (!span_is(op->in.login.user, "guest") || !span_is(op->in.login.password, "guest")) {
        amqp_op_refuse(op, AMQP_ACCESS_REFUSED, "Login was refused");
        return;
    }
    int error = amqp_op_set_name(op, op->in.login.user);
    assert(error == 0);
}

static void open_vhost(struct amqp_op *op) {
    struct span name = op->method.as.connection_open.virtual_host;
    if (!span_is(name, "/"))
        amqp_op_refuse(op, AMQP_NOT_ALLOWED, "vhost %.*s not found", SPAN_ARG(name));
}

/* ---- running ---- */

static void decide(struct toy_broker *b, struct amqp_op *op) {
    struct consumer *k;
    switch (op->kind) {
    case AMQP_OP_LOGIN:
        login(op);
        break;
    case AMQP_OP_OPEN:
        open_vhost(op);
        break;
    case AMQP_OP_METHOD:
        method(b, op);
        break;
    case AMQP_OP_PUBLISH:
        publish(b, op);
        break;
    case AMQP_OP_CONSUME:
        consume(b, op);
        break;
    case AMQP_OP_CANCEL:
        cancel(b, op->in.credit.consumer);
        break;
    case AMQP_OP_CREDIT:
        k = find_consumer(b, op->in.credit.consumer);
        if (k != NULL)
            k->credit = op->in.credit.credit;
        break;
    case AMQP_OP_GET:
        get(b, op);
        break;
    case AMQP_OP_SETTLE:
        for (size_t i = 0; i < op->in.settle.count; i++)
            settle(b, &op->in.settle.items[i]);
        break;
    case AMQP_OP_COMMIT:
        commit(b, op);
        break;
    case AMQP_OP_CLOSE:
        close_session(b, op->connection);
        break;
    default:
        break;
    }
}

static bool deliver_one(struct toy_broker *b, struct consumer *k) {
    if (b->outlet.has_room != NULL && !b->outlet.has_room(k->connection))
        return false;
    if ((k->prefetch == 0 && k->delivered == k->credit) ||
        (k->prefetch != 0 && k->out >= k->prefetch))
        return false;
    struct list_node *n = list_pop(&k->queue->ready);
    if (n == NULL)
        return false;
    struct message *m = CONTAINER_OF(n, struct message, node);
    k->delivered++;
    m->holder = k->connection;
    m->consumer = k->id;
    struct amqp_delivery d = delivery_of(m, false);
    d.channel = k->channel;
    list_append(&b->handed_out, &m->node);
    k->out++;
    b->outlet.deliver(k->connection, &d);
    return true;
}

static bool deliver(struct toy_broker *b) {
    bool any = false, more = true;
    while (more) {
        more = false;
        EACH(consumer, k, &b->consumers) {
            more = deliver_one(b, k) || more;
        }
        any = any || more;
    }
    return any;
}

void toy_ask(struct toy_broker *b, struct amqp_op *op) {
    struct amqp_op *link = op;
    link->host = NULL;
    if (b->first == NULL)
        b->first = op;
    else
        b->last->host = op;
    b->last = op;
}

bool toy_run(struct toy_broker *b) {
    bool any = b->first != NULL;
    while (b->first != NULL) {
        struct amqp_op *op = b->first;
        b->first = op->host;
        op->host = NULL;
        decide(b, op);
        b->outlet.answer(op);
    }
    return deliver(b) || any;
}
