/*
 * model/destination.h - external services: their limits, what is under way, their health, totals.
 *
 * Invariants:
 *   P1 starts obey the promise of each limit (limits.h) by the times in the log, over all queues that push
 *      here and all that come here because their own destination failed over;
 *   P2 in_flight = attempts started and not finished here. (That is one per message in flight, until a
 *      message is deleted or its queue turned to another destination while an attempt is under way:
 *      the attempt still ends where it started.)
 *   P3 nothing starts before closed_until_ns, nor while paused, nor while the breaker is open.
 *   P4 retries are at most the budget's share of the starts; what is over waits (ATTEMPT_DEFERRED).
 *   P5 an attempt goes to an endpoint that is in.
 * Finish policy (decide of ATTEMPT_FINISH, in this order): success -> done; retriable and attempts and
 * age left -> retry at now + backoff (full jitter, from d->random, at least retry_after_ns); else dead.
 * 429 and 503 with Retry-After close the destination until then, a day at most; 410 pauses it, and the message waits.
 * A dead or done tied message is settled in the same record. A finish of an attempt that is not under way (any more) changes nothing.
 * Recovery: an attempt that was under way when the program ended spent its token until its timeout would
 * have been over; its message is ready again, marked.
 */
#ifndef SLUICE_MODEL_DESTINATION_H
#define SLUICE_MODEL_DESTINATION_H

#include "model/queue.h"

struct destinations;

/* Under way at once where the definition has no cap of its own: what is started and not sent waits in memory. */
#define DESTINATION_IN_FLIGHT_MAX 4096u

extern const struct module destination_module;

MUST_CHECK int destinations_create(const struct model *m, struct destinations **ret);
void destinations_free(struct destinations *d);

uint32_t destination_find(const struct model *m, struct span name);
const struct destination_def *destination_definition(const struct model *m, uint32_t destination);
/* Does the failover of any other one go to this destination, or tell this queue? NULL: not asked. */
bool destination_failover_names(const struct model *m, const char *destination, const char *queue);

/*
 * Queue `queue`, which pushes to this destination, has a ready message and is not paused (true), or has
 * none or is paused or is gone (false). Mutator, idempotent, O(1), never fails: queue calls it whenever that
 * changes, when the queue's own pace is defined anew, and for its linked queues out of
 * queue_destination_changed. destination 0: nothing happens.
 */
void destination_queue_ready(struct model *m, uint32_t destination, uint32_t queue, bool ready);
#define CONFIRM_SIGNATURE_BYTES 64u /* hexadecimal digits */
/* By which a caller without a token shows that it was called: made of the destination's secret. */
void confirm_sign(const char *secret, uint64_t message, char out[CONFIRM_SIGNATURE_BYTES + 1]);
/* Told by queue: the message is confirming no more. */
void attempt_confirming_left(struct model *m, uint64_t message);

/* It pushes here no more, or is about to be linked anew: what its lane used up is forgotten. */
void destination_queue_unlinked(struct model *m, uint32_t destination, uint32_t queue);
/* Room for so many queues that push here, before one more is linked. No such destination: nothing. E_NOMEM. */
MUST_CHECK int destination_reserve(struct model *m, uint32_t destination, uint32_t queues);

/* See model.h. */
bool destination_decide_start(const struct model *m, struct decision *d,
                              struct attempt_start *ret_start);
uint64_t destination_next_start_ns(const struct model *m, uint64_t now_ns);
bool destination_end_is_awaited(const struct model *m, uint64_t now_ns);
bool destination_decide_recovery(const struct model *m, struct decision *d);

/*
 * When a message of `queue` with `ahead` others of it before it may be sent at the present pace. See
 * destination_eta.c. queue 0: as if all before it were counted.
 */
struct eta destination_eta(const struct model *m, uint32_t destination, uint32_t queue,
                           uint64_t now_ns, uint64_t ahead);
/* How long its attempts took of late; 0: not known. */
uint64_t destination_attempt_ns(const struct model *m, uint32_t destination);
/* Encoded definition and generation, for dispatch. False: gone. */
bool destination_snapshot(const struct model *m, uint32_t destination, uint32_t *ret_generation,
                          struct buffer *out);

/* After a load: each message that waits to be confirmed has its answered attempt, without which nothing could end it. */
bool destination_knows_confirming(const struct model *m);

/* See engine_checked_destinations. */
bool destination_checked(const struct model *m, uint32_t *version, struct buffer *out);

/* Lists of statuses as in retry_statuses: "408,425,429,500-599". Empty: none. */
bool status_list_valid(const char *list);
bool status_list_has(const char *list, unsigned status);

#endif
