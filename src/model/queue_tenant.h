/*
 * model/queue_tenant.h - ready messages by tenant: whose turn it is.
 *
 * Promise: while the same tenants have ready messages, a round gives each as many turns as its weight, so whoever
 *          comes waits for one round at most, however many messages the others have. Within a tenant priority
 *          and arrival count as ever. A turn costs O(1).
 * Shape:   a queue's ready messages stand in sets: its own (who has no tenant), and one a tenant that has messages.
 *          The sets with messages stand in the round, the first is served; `left` is what it may still have of
 *          this turn. A queue that never was fair has no round, only its own set.
 * Limits:  limits.tenants for each queue, in decide; beyond it messages share the queue's own set.
 * Source:  docs/guide/queues.md.
 */
#ifndef SLUICE_MODEL_QUEUE_TENANT_H
#define SLUICE_MODEL_QUEUE_TENANT_H

#include "model/queue_state.h"

/* Its tenant in `q`, as it stands in the fact; 0: none, or the queue is not fair. */
uint64_t tenant_hash(const struct queue *q, struct span name);
uint64_t tenant_of_publish(const struct queue *q, const struct publish *p);
/* Emits MESSAGE_TENANT for the message that was just put, if it has a tenant and there is room for one. */
void tenant_emit(const struct model *m, struct decision *d, const struct queue *q, uint64_t id,
                 uint64_t hash);
/* The message is this tenant's from now on; in any state. E_NOMEM, E_CORRUPT: it has one. */
MUST_CHECK int tenant_join(struct model *m, uint32_t slot, uint64_t hash);
/* Its last use by this message, which stands in no list any more. */
void tenant_part(struct model *m, uint32_t slot);
/* 0: none. */
uint64_t tenant_of(const struct queues *s, const struct message *g);

/* ---- sets ---- */

/* The one in which a message of `q` stands when it is ready. */
struct ready_set *tenant_set(const struct queues *s, struct queue *q, const struct message *g);
/* The one that is served. */
const struct ready_set *tenant_first_set(const struct queues *s, const struct queue *q);
/* The place of the message's set (NULL: of the queue's own) for tenant_next_set to go on behind. */
uint32_t tenant_round_place(const struct queues *s, const struct queue *q, const struct message *g);
/* All with messages, in order of the round; *at is 0 before the first. NULL: no more. */
struct ready_set *tenant_next_set(const struct queues *s, const struct queue *q, uint32_t *at);
/* A message came to its set, or left it: joins or leaves the round. */
void tenant_set_grew(struct model *m, struct queue *q, const struct message *g);
void tenant_set_shrank(struct model *m, struct queue *q, const struct message *g);
/* A message of this set was sent: asked for before it leaves the set, and told behind. */
uint32_t tenant_served(const struct queues *s, const struct queue *q, const struct message *g);
void tenant_turn(struct model *m, struct queue *q, uint32_t served);
/* The served set goes to the end of the round, when there is one. */
void tenant_rotate(struct model *m, struct queue *q);
uint32_t tenant_round_count(const struct queue *q);

/* Of those of hash `tenant`, a new one of this priority: how many leave before it. */
uint64_t tenant_ahead_new(const struct model *m, const struct queue *q, uint64_t tenant,
                          uint8_t priority);
/* How many leave before one that has so many of its own set before it. */
uint64_t tenant_ahead(const struct model *m, const struct queue *q, const struct message *g,
                      uint64_t own);

/* ---- its part of the queue ---- */

/* The definition has changed. E_NOMEM. */
MUST_CHECK int tenant_define(struct model *m, struct queue *q);
void tenant_release(struct queues *s, struct queue *q);
uint32_t tenant_count(const struct queue *q);
/* Of a snapshot: 0 when there are no tenants. load: behind the messages. */
uint32_t tenant_left(const struct queue *q);
MUST_CHECK int tenant_load_left(struct queue *q, uint32_t left);
void tenant_check(const struct model *m, const struct queue *q);
uint64_t tenant_memory_bytes(const struct queues *s, const struct queue *q);
void tenants_init(struct queues *s);

#endif
