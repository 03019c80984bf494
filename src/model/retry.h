/*
 * model/retry.h - when and whether an attempt that failed is made again.
 *
 * Promise: the wait before the next attempt is the one of the list that stands at its number (the last one from
 *          there on), exactly; without a list it is drawn from 0 to a backoff that grows as in Cloud Tasks.
 * Shape:   an override is what a message says instead of its queue: some members of struct retry_def, as bytes that
 *          are stored with the message and come back with the end of each attempt.
 *
 *            offset  size  what
 *                 0     1  which members follow, bit n: member n of this table
 *                 .     4  0 maxAttempts
 *                 .     8  1 minBackoff, ns
 *                 .     8  2 maxBackoff, ns
 *                 .     4  3 maxDoublings
 *                 .     8  4 maxRetryDuration, ns
 *                 .   1+.  5 backoffs: how many, 4 bytes each: ms
 *                 .     4  6 retryErrors
 *                 .   2+.  7 retryStatuses: length, text, 0
 */
#ifndef SLUICE_MODEL_RETRY_H
#define SLUICE_MODEL_RETRY_H

#include "model/definition.h"

#define RETRY_OVERRIDE_MAX_BYTES 128u
#define RETRY_STATUSES_MAX_BYTES 64u /* with all other members it just fits */

enum retry_member {
    RETRY_MAX_ATTEMPTS,
    RETRY_MIN_BACKOFF,
    RETRY_MAX_BACKOFF,
    RETRY_MAX_DOUBLINGS,
    RETRY_MAX_DURATION,
    RETRY_BACKOFFS,
    RETRY_ERRORS,
    RETRY_STATUSES,
    RETRY_MEMBERS
};

/* The members of `d` whose bits are set. E_NOMEM. */
MUST_CHECK int retry_override_encode(const struct retry_def *d, uint8_t members,
                                     struct buffer *out);
/* Lays an override over `d`, which borrows its texts. Empty: nothing. E_CORRUPT: d is as before. */
MUST_CHECK int retry_override_apply(struct span bytes, struct retry_def *d);

/* The longest wait before the attempt behind number `attempt`. */
uint64_t retry_backoff_ns(const struct retry_def *d, uint32_t attempt);
/* Is it exactly that, or anything up to it? */
static inline bool retry_is_exact(const struct retry_def *d) {
    return d->backoffs.count > 0;
}
/* May an attempt that ended with this enum attempt_error be made again? */
bool retry_takes_error(const struct retry_def *d, uint8_t error);
/* After an answer with this status? `usual`: as its destination has it, which counts unless the queue or the message has a list. */
bool retry_takes_status(const struct retry_def *d, const char *usual, uint16_t status);

#endif
