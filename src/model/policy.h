/*
 * model/policy.h - policies: settings of queues and exchanges by the pattern of their name.
 *
 * A policy of a vhost says for which names (pattern), for what (queues, exchanges, all) and what. Of those that
 * match, the one of highest priority applies, of equal ones the oldest; besides it one operator policy, found in the
 * same way. Which policy applies is decided when a policy, a queue or an exchange is made, and is a fact
 * (POLICY_APPLIED): no replay matches a pattern.
 *
 *      setting                                        what holds
 *      message-ttl, expires, max-length(-bytes),      the smallest of the queue's own, the policy's and the
 *      delivery-limit (quorum queues)                 operator policy's
 *      overflow, dead-letter-exchange, its key,       the own one, else the policy's, else the operator policy's
 *      alternate-exchange
 *
 * Invariants:
 *   O1 what a queue or exchange names as its policy exists and is of its vhost;
 *   O2 a queue's definition in force is what its own and the two policies come to.
 * Limits: POLICIES_MAX in all; what a pattern may cost: base/pattern.h.
 */
#ifndef SLUICE_MODEL_POLICY_H
#define SLUICE_MODEL_POLICY_H

#include "model/exchange.h"
#include "model/put.h"

#define POLICIES_MAX            1000u
#define POLICY_DEFINITION_BYTES (64u << 10)

struct exchange;
struct exchanges;
struct queue_rules;

/* POLICY_DEFINE, POLICY_DELETE, POLICY_LIST. */
enum refusal policy_decide(const struct model *m, struct decision *d, struct request *r);
MUST_CHECK int policy_apply(struct model *m, uint16_t kind, struct reader *in);

/* Emits which policies apply to what has just been emitted under this index; nothing if none do. */
void policy_emit_queue(const struct model *m, struct decision *d, uint32_t index, struct span name);
void policy_emit_exchange(const struct model *m, struct decision *d, uint32_t index,
                          struct span full);

/* Adds to the queue's own rules what its policies say, texts borrowed of them. False: it has none. */
struct queue;
bool policy_merge(const struct model *m, const struct queue *q, struct queue_rules *rules);
/* Full name of the alternate that holds of the exchange; NULL: none. */
const char *policy_alternate(const struct exchanges *s, const struct exchange *x);

/* The vhost goes, and all in it has gone already. */
void policy_vhost_gone(struct model *m, const char *vhost);
void policies_free(struct exchanges *s);
void policy_save(const struct model *m, struct saver *out);
MUST_CHECK int policy_load(struct model *m, struct reader *in);
void policy_check(const struct model *m);

#endif
