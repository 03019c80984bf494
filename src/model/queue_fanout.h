/*
 * model/queue_fanout.h - one body in several queues, and what takes the place of a message that dies.
 *
 * MESSAGE_FANOUT
 *        0    4  length of the entries
 *        4    .  per queue: queue index (4), due ns or 0 (8), expires ns or 0 (8), hash of its ordering key or 0 (8),
 *                priority (1), origin (u32 length, u16 in version 1, bytes: model/amqp.c; its headers may be those of
 *                the body). Since version 3 the length 0xffffffff stands for the bytes of the last origin that had any
 *        .    .  the payload as of MESSAGE_PUT; the messages have consecutive ids from its own on
 * MESSAGE_DEAD_LETTERED
 *        0    8  message
 *        8    1  reason (enum dead_reason)
 *        9    1  enum death_end; 1: it is gone; 2: another fact of the record ends it, and then it is gone; else its
 *                queue decides whether to keep it as dead
 *       10    4  origin of those that take its place (u32 length, bytes; since version 2 its headers may be those of this
 *                message), then
 *        .    .  per queue: queue index (4), id (8), expires (8), hash of its ordering key (8), priority (1)
 * MESSAGE_RELOCATED
 *        0    4  length of the ids, then 8 bytes each: whose body stands in this record from now on
 *        .    .  the payload, as of MESSAGE_MOVED
 */
#ifndef SLUICE_MODEL_QUEUE_FANOUT_H
#define SLUICE_MODEL_QUEUE_FANOUT_H

#include "model/message_payload.h"
#include "model/queue_state.h"

struct fan_target {
    uint32_t queue;
    uint64_t id; /* of a death; a fan-out's follow from its payload's */
    uint64_t due_ns, expires_ns, key_hash;
    uint8_t priority;
    struct span origin; /* of a fan-out */
};

/* begin, one target after the other, then the payload. */
struct fan_out {
    struct decision *d;
    size_t begun, length_at;
    size_t origin_at, origin_bytes; /* of the last that was written, among the facts */
};
void fan_out_begin(struct fan_out *f, struct decision *d);
void fan_out_target(struct fan_out *f, const struct fan_target *t);
void fan_out_end(struct fan_out *f, const struct message_payload *p);

/* What becomes of the message itself. */
enum death_end {
    DEATH_KEPT = 0, /* if its queue keeps its dead */
    DEATH_GONE = 1,
    DEATH_ENDS_LATER = 2, /* by the end of its attempt, which is the next fact about it */
};

/* The same for a death: begin, targets (with id), end. */
void death_begin(struct fan_out *f, struct decision *d, uint64_t id, enum dead_reason reason,
                 enum death_end end, struct span origin);
void death_target(struct fan_out *f, const struct fan_target *t);
void death_end(struct fan_out *f);

int queue_apply_fanout(struct model *m, const struct applied *w, uint16_t version,
                       struct reader *in);
int queue_apply_dead_lettered(struct model *m, const struct applied *w, struct reader *in);
int queue_apply_relocated(struct model *m, const struct applied *w, struct reader *in);

#endif
