#include "rabbit.h"

#include <assert.h>
#include <stdlib.h>

static struct request ask_for(enum request_kind kind) {
    struct request r;
    request_init(&r, kind);
    r.vhost = span_text("/");
    return r;
}

static enum refusal ask(struct world *w, struct request *r) {
    enum refusal refusal = world_ask(w, r);
    rabbit_trim(w);
    request_release(r);
    return refusal;
}

struct span rabbit_arguments(struct buffer *b, struct amqp_table_out *t) {
    int rc = amqp_table_end(t);
    assert(rc == 0);
    return span_of(b->data + 4, b->size - 4);
}

enum refusal rabbit_declare(struct world *w, const char *name, struct rabbit_queue q,
                            struct queue_declared *ret) {
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DECLARE);
    r.name = span_text(name);
    if (q.vhost != NULL) {
        r.vhost = span_text(q.vhost);
    }
    r.session = q.session;
    r.in.queue_declare = (struct queue_declare){.arguments = q.arguments,
                                                .passive = q.passive,
                                                .durable = !q.transient,
                                                .exclusive = q.exclusive,
                                                .auto_delete = q.auto_delete};
    enum refusal refusal = ask(w, &r);
    if (ret != NULL) {
        *ret = r.out.declared;
    }
    return refusal;
}

enum refusal rabbit_exchange(struct world *w, const char *name, const char *type,
                             struct span arguments) {
    struct request r = ask_for(REQUEST_EXCHANGE_DECLARE);
    r.name = span_text(name);
    r.in.exchange =
        (struct exchange_declare){.type = span_text(type), .arguments = arguments, .durable = true};
    return ask(w, &r);
}

static enum refusal bind(struct world *w, const char *exchange, const char *destination,
                         bool to_exchange, const char *key, struct span arguments) {
    struct request r = ask_for(REQUEST_AMQP_BIND);
    r.in.binding = (struct binding){.source = span_text(exchange),
                                    .destination = span_text(destination),
                                    .to_exchange = to_exchange,
                                    .routing_key = span_text(key),
                                    .arguments = arguments};
    return ask(w, &r);
}

enum refusal rabbit_bind(struct world *w, const char *exchange, const char *queue, const char *key,
                         struct span arguments) {
    return bind(w, exchange, queue, false, key, arguments);
}

enum refusal rabbit_bind_exchange(struct world *w, const char *source, const char *destination,
                                  const char *key) {
    return bind(w, source, destination, true, key, span_of(NULL, 0));
}

int rabbit_publish_message(struct world *w, const struct amqp_message *message) {
    struct request r = ask_for(REQUEST_AMQP_PUBLISH);
    r.in.amqp_publish = (struct exchange_publish){.vhost = span_text("/"), .message = *message};
    enum refusal refusal = world_ask(w, &r);
    rabbit_trim(w);
    int routed =
        refusal == REFUSAL_NONE && !r.in.amqp_publish.refused ? (int)r.in.amqp_publish.routed : -1;
    request_release(&r);
    return routed;
}

int rabbit_publish(struct world *w, const char *exchange, const char *key, const char *body) {
    struct amqp_message message = {.exchange = span_text(exchange),
                                   .routing_key = span_text(key),
                                   .properties = span_of("\0", 2),
                                   .body = span_text(body)};
    return rabbit_publish_message(w, &message);
}

enum refusal rabbit_delete(struct world *w, const char *queue) {
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DELETE);
    r.name = span_text(queue);
    return ask(w, &r);
}

enum refusal rabbit_consume_as(struct world *w, uint64_t session, const char *queue,
                               const struct consume *consume) {
    struct request r = ask_for(REQUEST_CONSUME);
    r.name = span_text(queue);
    r.session = session;
    r.in.consume = *consume;
    return ask(w, &r);
}

enum refusal rabbit_consume(struct world *w, uint64_t session, uint32_t consumer, const char *queue,
                            uint16_t prefetch) {
    struct consume c = {
        .consumer = consumer, .channel = 1, .prefetch = prefetch, .tag = span_text("tag")};
    return rabbit_consume_as(w, session, queue, &c);
}

static void to_consumer(struct world *w, enum request_kind kind, uint64_t session,
                        struct consume in) {
    struct request r = ask_for(kind);
    r.session = session;
    r.in.consume = in;
    enum refusal refusal = ask(w, &r);
    assert(refusal == REFUSAL_NONE);
}

void rabbit_cancel(struct world *w, uint64_t session, uint32_t consumer) {
    to_consumer(w, REQUEST_CONSUMER_CANCEL, session, (struct consume){.consumer = consumer});
}

void rabbit_credit(struct world *w, uint64_t session, uint32_t consumer, uint64_t credit) {
    to_consumer(w, REQUEST_CONSUMER_CREDIT, session,
                (struct consume){.consumer = consumer, .credit = credit});
}

bool rabbit_next(struct world *w, struct delivery *ret) {
    struct decision d = world_begin(w);
    if (!model_decide_delivery(w->model, &d, ret)) {
        return false;
    }
    world_commit(w, &d);
    free(ret->origin);
    ret->origin = NULL;
    return true;
}

uint32_t rabbit_deliver_all(struct world *w, struct delivery *ret, uint32_t max) {
    uint32_t n = 0;
    while (n < max && rabbit_next(w, &ret[n])) {
        n++;
    }
    return n;
}

struct delivery rabbit_get(struct world *w, uint64_t session, const char *queue) {
    struct request r = ask_for(REQUEST_BASIC_GET);
    r.name = span_text(queue);
    r.session = session;
    r.in.get.channel = 1;
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    struct delivery got = r.out.delivery;
    free(got.origin);
    got.origin = NULL;
    request_release(&r);
    return got;
}

void rabbit_settle(struct world *w, uint64_t session, uint64_t message, enum settle_verdict v) {
    struct settle item = {.message = message, .verdict = v};
    struct request r = ask_for(REQUEST_SETTLE);
    r.session = session;
    r.in.settle = (struct settle_list){.items = &item, .count = 1};
    enum refusal refusal = ask(w, &r);
    assert(refusal == REFUSAL_NONE);
}

void rabbit_close(struct world *w, uint64_t session) {
    to_consumer(w, REQUEST_SESSION_CLOSE, session, (struct consume){.consumer = 0});
}

void rabbit_close_channel(struct world *w, uint64_t session, uint16_t channel) {
    to_consumer(w, REQUEST_CHANNEL_CLOSE, session, (struct consume){.channel = channel});
}

void rabbit_trim(struct world *w) {
    while (model_has_trim(w->model)) {
        struct decision d = world_begin(w);
        bool any = model_decide_trim(w->model, &d);
        assert(any && d.ids_wanted == 0);
        world_commit(w, &d);
    }
}

uint32_t rabbit_recover(struct world *w) {
    for (uint32_t count = 0;; count++) {
        struct decision d = world_begin(w);
        if (!model_decide_recovery(w->model, &d)) {
            return count;
        }
        world_commit(w, &d);
    }
}

static struct queue_info info(struct world *w, const char *queue) {
    struct request r = ask_for(REQUEST_QUEUE_GET);
    r.name = span_text(queue);
    enum refusal refusal = world_ask(w, &r);
    assert(refusal == REFUSAL_NONE);
    struct queue_info found = r.out.queue;
    request_release(&r);
    return found;
}

uint64_t rabbit_ready(struct world *w, const char *queue) {
    return info(w, queue).ready;
}

uint64_t rabbit_in_flight(struct world *w, const char *queue) {
    return info(w, queue).in_flight;
}
