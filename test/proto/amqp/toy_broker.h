/*
 * test/proto/amqp/toy_broker.h - a broker of lists and loops in memory, behind amqp/broker.h: enough of one for
 * tests of the protocol. Direct (with "default") and fanout exchanges, queues, consumers with prefetch,
 * transactions. One thread; nothing is kept.
 */
#ifndef SLUICE_TEST_TOY_BROKER_H
#define SLUICE_TEST_TOY_BROKER_H

#include "amqp/broker.h"

struct toy_broker;

/* How answers and deliveries leave: amqp_connection_* or amqp_server_*. */
struct toy_outlet {
    void (*answer)(struct amqp_op *op);
    void (*deliver)(struct amqp_connection *c, const struct amqp_delivery *d);
    void (*cancelled)(struct amqp_connection *c, uint16_t channel, uint64_t consumer);
    bool (*has_room)(const struct amqp_connection *c); /* NULL: always */
};

struct toy_broker *toy_create(const struct toy_outlet *outlet);
void toy_free(struct toy_broker *b);
/* Takes the op; it is decided by toy_run. */
void toy_ask(struct toy_broker *b, struct amqp_op *op);
/* Decides all that was asked and delivers what can be. False: there was nothing to do. */
bool toy_run(struct toy_broker *b);
/* Messages of publishes that follow are refused, as by a queue that is full. */
void toy_refuse(struct toy_broker *b, bool refuse);

#endif
