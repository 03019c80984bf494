/*
 * model/session.h - AMQP connections: channels, consumers, what they hold; and who is next.
 *
 * Invariants:
 *   T1 a message in flight at a consumer stands in its list, once; channel.held is the sum of those that consume;
 *   T2 held < prefetch and channel.held < limit and delivered < credit before each delivery;
 *   T3 a queue stands in the list of those with work exactly while it has ready messages, is not paused, and a
 *      consumer with room (but while its pace waits it stands in the heap);
 *   T4 a queue with a single active consumer delivers to that one only; the oldest one is next;
 *   T5 after recovery there is no session.
 * Orders: consumers of a queue by priority, then round robin; a returned message near its old place.
 */
#ifndef SLUICE_MODEL_SESSION_H
#define SLUICE_MODEL_SESSION_H

#include "model/model.h"

struct sessions;
struct queue;

extern const struct module session_module;

MUST_CHECK int sessions_create(struct model *m, struct sessions **ret);
void sessions_free(struct sessions *s);

/* See model.h. */
bool session_decide_delivery(const struct model *m, struct decision *d, struct delivery *ret);
uint64_t session_next_delivery_ns(const struct model *m, uint64_t now_ns);
bool session_take_notice(struct model *m, struct delivery *ret);
bool session_has_trim(const struct model *m);
bool session_decide_trim(const struct model *m, struct decision *d);
/* After a restart: closes one session that was open. False: none left. */
bool session_decide_recovery(const struct model *m, struct decision *d);

/* Emits SESSION_OPENED unless it is open. LIMIT. */
enum refusal session_emit_open(const struct model *m, struct decision *d, struct request *r);
/* Emits what a list of settles says; false: too few ids (decision_has_ids). */
bool session_emit_settles(const struct model *m, struct decision *d, uint64_t session,
                          const struct settle_list *list);

/* ---- mutators ---- */

/* Told by queue: its messages, pause, definition changed. O(1). */
void session_queue_changed(struct model *m, struct queue *q);
/* Told by queue: a message entered or left a consumer's list. */
void session_message_taken(struct model *m, uint32_t slot);
void session_message_left(struct model *m, uint32_t consumer);
/* The queue goes, its messages went: consumers are told, the owner forgets it. */
void session_queue_gone(struct model *m, struct queue *q);
/* E_CORRUPT: no such session. */
MUST_CHECK int session_own_queue(struct model *m, uint64_t session, struct queue *q);
/* Number of the session that a queue is exclusive to; 0: none. */
uint64_t session_owner(const struct model *m, const struct queue *q);

#endif
