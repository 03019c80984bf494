/*
 * model/unique.h - one message per key and queue, for a window or until it is delivered.
 *
 * Promise: of the messages with one key that a queue is offered while the key stands, the first is taken, whichever way
 *          they come (HTTP, a transaction, a campaign, AMQP), and over restarts. A key stands for the queue's
 *          window, or until its message is delivered, dead or gone. Messages without a key are all taken.
 * Shape:   the keys are dedup's, each in the scope of its queue; limits.dedupKeys bounds them.
 * Source:  docs/guide/queues.md.
 */
#ifndef SLUICE_MODEL_UNIQUE_H
#define SLUICE_MODEL_UNIQUE_H

#include "model/amqp.h"
#include "model/queue_state.h"

/* The key that makes a message one of a kind in `q`; empty: none. */
struct span unique_key(const struct queue *q, const struct publish *p);
struct span unique_key_of_amqp(const struct queue *q, const struct amqp_message *in);
/* True: the key stands; the receipt of the message that has it. */
bool unique_find(const struct model *m, uint64_t now_ns, const struct queue *q, struct span key,
                 struct receipt *ret);
/* The message of `receipt` has the key from now on. Must not stand; dedup_has_room. */
void unique_emit(const struct model *m, struct decision *d, const struct queue *q, struct span key,
                 const struct receipt *receipt);

/* NONE, INVALID. */
enum refusal unique_check(struct request *r, const struct queue_def *def);

#endif
