/*
 * model/outcome.h - what is told of a message's end: a message of its own, in the queue that wants it.
 *
 * Promise: a message of a queue with onSuccess or onFailure that ends done or dead leaves one message in that
 *          queue, put in the same record as the end: there is never one without the other. What a person
 *          deletes or purges leaves none. A queue that has gone meanwhile is told nothing.
 * Shape:   the body is JSON, described in docs/http-api.md. The ordering key and the correlation id of the
 *          original are those of the outcome, too, when the end knows them (a message that expires is not
 *          read again: it tells neither).
 * Limits:  it is put whatever the limits of the target say: the end happened already.
 */
#ifndef SLUICE_MODEL_OUTCOME_H
#define SLUICE_MODEL_OUTCOME_H

#include "model/queue.h"

#define OUTCOME_CHAIN_MAX 8u /* outcomes of outcomes of ... */

struct outcome {
    uint64_t message;
    uint32_t queue; /* index */
    bool success;
    enum dead_reason reason; /* unless success */
    uint16_t status;         /* of the last attempt, 0: no response */
    uint8_t error;           /* enum attempt_error */
    uint32_t attempts;
    struct span excerpt, ordering_key, correlation_id;
};

/* In decide, behind the fact of the end. */
void outcome_emit(const struct model *m, struct decision *d, const struct outcome *o);

/* NONE, or REFERENCE (no such queue), INVALID (outcomes would come back to it, or go too far). */
enum refusal outcome_check(const struct model *m, struct request *r,
                           const struct queue_def *wanted);
/* Does the outcome of any other queue go to this one? */
bool outcome_wants(const struct model *m, const char *queue);

#endif
