/*
 * amqp/bridge_ops.h - what each op asks of the engine, and what the engine's answer means. Internal to amqp/.
 */
#ifndef SLUICE_AMQP_BRIDGE_OPS_H
#define SLUICE_AMQP_BRIDGE_OPS_H

#include "amqp/broker.h"
#include "engine/engine.h"
#include "net/loop.h"

struct amqp_bridge;

struct amqp_crossing {
    struct engine_request request;
    struct net_item item;       /* carries an answered chain to the loop */
    struct amqp_crossing *next; /* link */
    struct amqp_bridge *bridge; /* borrows */
    struct amqp_op *op;         /* borrows: from ask to answer */
    uint32_t step;
    struct queue_def queue; /* of a declare; owned when has_queue */
    bool has_queue;
    char name[UINT8_MAX + 1]; /* of a queue that was made one up for */
};

/* Fills the request. False: the op is answered already, without the engine. */
bool amqp_crossing_begin(struct amqp_crossing *x);
/* The request is answered. False: there is another one to send. */
bool amqp_crossing_finish(struct amqp_crossing *x);
/* What begin took goes. */
void amqp_crossing_clear(struct amqp_crossing *x);

/* bridge.c: into the chain of this turn. */
void amqp_bridge_send(struct amqp_crossing *x);

#endif
