/*
 * model/queue.h - messages: ready, delayed, in flight, blocked by their ordering key, dead.
 *
 * Invariants (model_check asserts them by number):
 *   Q1 every message is in exactly one state, and in the list or timer that belongs to that state;
 *   Q2 the counters and bytes of a queue equal what its lists hold;
 *   Q3 an ordering key has at most one message that is ready, delayed by a retry, or in flight; the others
 *      are blocked, in order of arrival;
 *   Q4 a message leaves in order of priority, then arrival (a returned one: its old place or near);
 *   Q5 bodies_live of a segment = the sum over messages whose body stands there.
 * Size: struct message is 64 bytes; with map and list at most 96 bytes a queued message in all.
 *
 * Below: what the other modules use. All else is in queue.c and its neighbours.
 */
#ifndef SLUICE_MODEL_QUEUE_H
#define SLUICE_MODEL_QUEUE_H

#include "model/model.h"

struct queues;

extern const struct module queue_module;

MUST_CHECK int queues_create(const struct model *m, struct queues **ret);
void queues_free(struct queues *q);

/* Index of a queue, stable until it is deleted; 0: there is none. */
uint32_t queue_find(const struct model *m, struct span name);
const struct queue_def *queue_definition(const struct model *m, uint32_t queue);

/* ---- publishing as part of a composite decide ---- */

/* What is settled when a message ends. Zero: nothing. `purchase` is copied by the fact. */
struct tie {
    uint32_t campaign; /* index, 0: none */
    uint32_t stock;    /* index, 0: none: release `purchase` when the message dies */
    struct span purchase;
};

/* NOT_FOUND/REFERENCE, QUEUE_FULL, DISK_FULL, INVALID (priority, ttl, sizes). Reads only. */
enum refusal queue_check_publish(const struct model *m, const struct decision *d,
                                 const struct publish *p, struct request *r, uint32_t *ret_queue);
/* Emits MESSAGE_PUT with id = id_make(d->position, d->operation++), fills the receipt (with eta). */
void queue_emit_put(const struct model *m, struct decision *d, uint32_t queue,
                    const struct publish *p, const struct tie *tie, struct receipt *ret);

/* ---- for destination's decide ---- */

struct message_view {
    uint64_t id, address, accepted_ns_hint, due_ns, expires_ns;
    uint64_t first_attempt_ns; /* 0: none yet, or the queue has no retry.max_duration_ns */
    uint32_t queue, attempts, body_bytes;
    enum message_state state;
    enum dead_reason dead_reason;
    uint16_t last_status;
    bool outcome_unknown;
    uint64_t key_hash;    /* of its queue and ordering key; 0: it has no ordering key */
    uint64_t tenant_hash; /* of its queue and tenant; 0: it has no tenant */
    struct tie tie;       /* purchase borrowed until the next apply; may point into purchase_text */
    char purchase_text[18]; /* so do not copy the struct */
};
/* False: no such message. */
bool queue_message_view(const struct model *m, uint64_t id, struct message_view *ret);
/* Messages of all queues that wait for what is told from outside. */
uint64_t queue_confirming(const struct model *m);
/* Does the place (in.list.after) of a list of messages mean the same after a restart? */
bool queue_place_lasts(uint64_t after);
/* The same as MESSAGE_GET answers it, and in which queue it is. */
bool queue_message_info(const struct model *m, uint64_t id, uint64_t now_ns,
                        struct message_info *ret, uint32_t *ret_queue);
/*
 * The message that would leave `queue` next: ready, not paused. False: none, or its life is over, which its timer will
 * tell. Pace is not asked.
 */
bool queue_peek(const struct model *m, uint32_t queue, uint64_t now_ns, struct message_view *ret);
/* Indices of the queues that push to a destination by this name, in ring order from `after`. 0: none. */
uint32_t queue_next_of_destination(const struct model *m, uint32_t destination, uint32_t after);
/* How many push to a destination by this name, whether there is one or not. */
uint32_t queue_count_naming(const struct model *m, const char *destination);
/* Of the cells that messages left. */
uint64_t queue_reusable_bytes(const struct model *m);
/* Messages that are ready now, for the numbers of a destination. */
uint64_t queue_ready_count(const struct model *m, uint32_t queue);
/* Of their bodies. */
uint64_t queue_ready_bytes(const struct model *m, uint32_t queue);
/* The queue's own pace, to be asked and told beside the destination's. */
struct pace *queue_pace(struct model *m, uint32_t queue);
/* It is the only one that names its destination, without tenants, and what is ready is of one priority. */
bool queue_is_all_there_is(const struct model *m, uint32_t queue);
/* Messages wait for an earlier one of their ordering key. */
bool queue_has_blocked(const struct model *m, uint32_t queue);
const struct pace *queue_pace_view(const struct model *m, uint32_t queue);

/* For model_segment_live_ids. */
size_t queue_segment_ids(const struct model *m, uint32_t segment, struct live_body *ret,
                         size_t max);

/* Told by history: the message has one now, or no more. False: there is no such message. */
bool queue_message_storied(struct model *m, uint64_t id, bool storied);
uint32_t queue_storied_count(const struct model *m);

/* ---- mutators, for the apply of ATTEMPT_* facts ---- */
MUST_CHECK int queue_message_take(struct model *m, const struct applied *w, uint64_t id,
                                  uint32_t attempt);
/* In flight -> done. */
MUST_CHECK int queue_message_done(struct model *m, const struct applied *w, uint64_t id,
                                  uint16_t status);
/* In flight -> confirming, until somebody tells or the deadline. */
MUST_CHECK int queue_message_confirming(struct model *m, uint64_t id, uint64_t deadline_ns,
                                        uint16_t status);
/* In flight -> delayed until due_ns (retry); outcome_unknown: due at once, marked. */
MUST_CHECK int queue_message_retry(struct model *m, const struct applied *w, uint64_t id,
                                   uint64_t due_ns, uint16_t status, uint8_t error,
                                   bool outcome_unknown);
/* Ready -> delayed until due_ns: a retry that the destination does not want yet. */
MUST_CHECK int queue_message_defer(struct model *m, uint64_t id, uint64_t due_ns);
/* In flight -> dead (or dropped when the queue keeps no dead letters). */
MUST_CHECK int queue_message_bury(struct model *m, const struct applied *w, uint64_t id,
                                  enum dead_reason reason, uint16_t status, uint8_t error);

/* After a restart: a queue that is not durable goes. False: none left. */
bool queue_decide_recovery(const struct model *m, struct decision *d);

/* Told by destination when one is defined or deleted, so that queues find it by index. */
void queue_destination_changed(struct model *m, const char *name, uint32_t destination);
/* Told by queue when a message becomes ready, so that idle destinations cost nothing. See destination.h. */

#endif
