/*
 * test/model/rabbit.h - a world spoken to as an AMQP connection does: short forms of what tests ask for.
 */
#ifndef SLUICE_TEST_MODEL_RABBIT_H
#define SLUICE_TEST_MODEL_RABBIT_H

#include "base/amqp_table.h"
#include "world.h"

/* Arguments for a declaration: built with amqp_put_* between begin and end; the entries. */
struct span rabbit_arguments(struct buffer *b, struct amqp_table_out *t);

struct rabbit_queue {
    const char *vhost; /* NULL: "/" */
    uint64_t session;
    bool passive, transient, exclusive, auto_delete;
    struct span arguments;
};
enum refusal rabbit_declare(struct world *w, const char *name, struct rabbit_queue q,
                            struct queue_declared *ret);
enum refusal rabbit_exchange(struct world *w, const char *name, const char *type,
                             struct span arguments);
enum refusal rabbit_bind(struct world *w, const char *exchange, const char *queue, const char *key,
                         struct span arguments);
enum refusal rabbit_bind_exchange(struct world *w, const char *source, const char *destination,
                                  const char *key);
/* How many queues it went to; -1: refused. */
int rabbit_publish(struct world *w, const char *exchange, const char *key, const char *body);
int rabbit_publish_message(struct world *w, const struct amqp_message *message);
enum refusal rabbit_delete(struct world *w, const char *queue);

enum refusal rabbit_consume(struct world *w, uint64_t session, uint32_t consumer, const char *queue,
                            uint16_t prefetch);
enum refusal rabbit_consume_as(struct world *w, uint64_t session, const char *queue,
                               const struct consume *consume);
void rabbit_cancel(struct world *w, uint64_t session, uint32_t consumer);
void rabbit_credit(struct world *w, uint64_t session, uint32_t consumer, uint64_t credit);
/* The next delivery; false: none. The origin is freed, its size stays. */
bool rabbit_next(struct world *w, struct delivery *ret);
/* Everything that can be delivered; how many. */
uint32_t rabbit_deliver_all(struct world *w, struct delivery *ret, uint32_t max);
/* kind 0: empty. */
struct delivery rabbit_get(struct world *w, uint64_t session, const char *queue);
void rabbit_settle(struct world *w, uint64_t session, uint64_t message, enum settle_verdict v);
void rabbit_close(struct world *w, uint64_t session);
void rabbit_close_channel(struct world *w, uint64_t session, uint16_t channel);
/* As the engine does it after each request and timer. */
void rabbit_trim(struct world *w);
/* As after a restart; how many decisions. */
uint32_t rabbit_recover(struct world *w);
uint64_t rabbit_ready(struct world *w, const char *queue);
uint64_t rabbit_in_flight(struct world *w, const char *queue);

#endif
