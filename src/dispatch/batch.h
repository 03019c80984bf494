/*
 * dispatch/batch.h - several messages in the request of one call.
 *
 * Promise: each message's attempt ends once, with its own result when the destination says where results stand in the
 *          answer, else with the answer's status. What cannot be sent (no JSON, a lost body) ends by itself and
 *          is not in the request. The first one, which has the token and the place of all, ends last and not before the
 *          request, whatever becomes of itself, and says how the request fared: as it was answered, or, where all
 *          results are to be tried again, as the first of them.
 *          The Idempotency-Key is a function of the messages that are in it, in their order.
 * Shape:   owned by the call; item 0 is the call's own message.
 */
#ifndef SLUICE_DISPATCH_BATCH_H
#define SLUICE_DISPATCH_BATCH_H

#include "dispatch/internal.h"

struct batch_item {
    struct report *report; /* owns until it is lined up */
    bool ended;            /* the report is filled, or there is none */
    struct attempt_start start;
    struct buffer record;
    struct stored_message stored; /* borrows `record` */
};

struct batch {
    struct buffer answer; /* as much of it as a destination's maxResponseBytes */
    struct batch_item *items;
    uint32_t count;
};

/* Of the start's messages; takes over its list. NULL: no memory, nothing was taken. */
struct batch *batch_create(struct dispatch *d, const struct attempt_start *start,
                           struct report *first);
void batch_free(struct batch *b);
/* Ends those that joined a start that is not sent, as its own message ended; frees its list. */
void batch_end_joined(struct dispatch *d, const struct attempt_start *start,
                      const struct attempt_finish *f);
/* Makes the body and the key of what can be sent. Others end. How many there are. */
uint32_t batch_make(struct call *c);
/* All that have not ended, by the answer or by `f` alone. */
void batch_end(struct call *c, const struct attempt_finish *f);
void batch_abandon(struct call *c);

#endif
