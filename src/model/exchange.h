/*
 * model/exchange.h - vhosts, exchanges, bindings, policies: where what AMQP publishes goes.
 *
 * Invariants:
 *   X1 a binding (source, destination, key, arguments) stands once; its ends exist;
 *   X2 a message reaches each queue once, however many ways lead there;
 *   X3 the trie of a topic exchange has no node without a binding at or below it;
 *   X4 the default exchange is the queues themselves: it has no bindings and no cell.
 * Cost: direct and default: one look-up a key; topic: as many steps as the key has words, more only for '#' in
 *       bindings; fanout, headers and consistent hash: their bindings.
 */
#ifndef SLUICE_MODEL_EXCHANGE_H
#define SLUICE_MODEL_EXCHANGE_H

#include "model/model.h"

struct exchanges;
struct queue;

extern const struct module exchange_module;

MUST_CHECK int exchanges_create(struct model *m, struct exchanges **ret);
void exchanges_free(struct exchanges *s);

bool exchange_vhost_exists(const struct model *m, struct span vhost);
/* How many queues a message would go to; their indices borrowed until the next routing. NULL exchange: default. */
struct route_request {
    struct span vhost, exchange;
    const struct span *keys; /* the first is the routing key */
    uint32_t key_count;
    struct span headers;
};
/* NOT_FOUND. */
enum refusal exchange_route(const struct model *m, const struct route_request *in,
                            const uint32_t **ret_queues, uint32_t *ret_count);

/*
 * Emits the end of a message: into the dead-letter exchange of its queue, if it has one, or just gone. False: too
 * few ids (decision_has_ids): nothing was emitted.
 */
bool exchange_emit_death(const struct model *m, struct decision *d, uint32_t slot,
                         enum dead_reason reason);
/*
 * Emits that a message whose attempts have ended goes into that exchange, if there is one and it leads to a queue;
 * the caller then emits what ends it. False: too few ids, one more counted, which that may need.
 */
bool exchange_emit_attempted(const struct model *m, struct decision *d, uint64_t message,
                             enum dead_reason reason);
/* Emits the declaration of a vhost that is not there. */
void exchange_emit_vhost(struct decision *d, const struct model *m, struct span name);
/* A non-durable exchange goes after a restart. False: none left. */
bool exchange_decide_recovery(const struct model *m, struct decision *d);

/* ---- mutators ---- */

/* The queue goes: so do the bindings that lead to it, and exchanges that lived for those. */
void exchange_queue_gone(struct model *m, struct queue *q);

#endif
