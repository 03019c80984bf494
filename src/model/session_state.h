/*
 * model/session_state.h - the memory of the session module. Included under model/ only.
 *
 *      session ── channels ── consumers ── held: messages in flight
 *                                │
 *      queue ── holders ─────────┘  all that consume or hold something of it, in order of creation
 *        └───── open                of them, those with room: higher priority first, then in turn
 *
 * A consumer cell lives while it consumes or holds a message: after a cancel until what it holds is settled.
 * BASIC_GET holds by a cell too, one per channel and queue (`getter`), which never consumes.
 *
 * Derived, and therefore no part of a snapshot: open lists, the list of queues with work, parked queues: after a
 * restart turns begin anew, which changes who is next, never what is allowed.
 */
#ifndef SLUICE_MODEL_SESSION_STATE_H
#define SLUICE_MODEL_SESSION_STATE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slab.h"
#include "model/queue_state.h"
#include "model/session.h"
#include "model/state.h"

struct slot_link {
    uint32_t next, prev;
};

struct consumer {
    uint64_t delivered, credit;
    uint32_t session, channel; /* slots */
    uint32_t queue;            /* index */
    uint32_t number;           /* the connection's; 0: a getter */
    struct slot_link all, of_channel, of_queue, in_turn;
    struct slot_list held; /* messages, oldest delivery first */
    int32_t priority;
    uint16_t prefetch;
    bool getter : 1, exclusive : 1, no_ack : 1;
    bool gone : 1;    /* cancelled: stays while it holds something */
    bool open : 1;    /* stands in queue.open */
    bool closing : 1; /* its end is under way: whoever ends it frees the cell */
    char *tag;        /* owns; NULL: empty */
};

struct channel {
    struct slot_link of_session;
    struct slot_list consumers;
    uint32_t session;
    uint32_t held; /* messages, of all its consumers; what was got is nobody's prefetch */
    uint16_t number;
    uint16_t limit; /* of held; 0: none */
};

struct session {
    uint64_t id;
    struct slot_link all;
    struct slot_list channels;
    struct slot_list owned; /* indices of exclusive queues */
};

struct sessions {
    struct slab consumers, channels, sessions;
    struct map by_id;     /* sessions */
    struct map by_number; /* consumers, by session and number */
    struct slot_list all, consumers_all;
    struct hash_key hash;
    struct list work;         /* struct queue.work: may be asked for a delivery */
    struct heap parked;       /* queues whose pace waits, by the time when it may go on */
    struct list trim;         /* struct queue.trim */
    struct delivery *notices; /* owns: to be told, not taken yet */
    uint32_t notice_count, notice_capacity, notice_first;
};

static inline struct consumer *consumer_at(const struct sessions *s, uint32_t slot) {
    return slab_at(&s->consumers, slot);
}
static inline struct channel *channel_at(const struct sessions *s, uint32_t slot) {
    return slab_at(&s->channels, slot);
}
static inline struct session *session_at(const struct sessions *s, uint32_t slot) {
    return slab_at(&s->sessions, slot);
}

/* ---- session_state.c ---- */

uint32_t session_find(const struct sessions *s, uint64_t id);
uint32_t session_channel(const struct sessions *s, uint32_t session, uint16_t number);
uint32_t session_consumer(const struct sessions *s, uint64_t session, uint32_t number);
uint32_t session_getter(const struct sessions *s, uint32_t channel, uint32_t queue);
/* 0, E_NOMEM, E_CORRUPT (it is there). */
MUST_CHECK int session_open(struct model *m, uint64_t id, uint32_t *ret_slot);
MUST_CHECK int session_need_channel(struct model *m, uint32_t session, uint16_t number,
                                    uint32_t *ret_slot);
MUST_CHECK int session_need_getter(struct model *m, uint32_t channel, uint32_t queue,
                                   uint32_t *ret_slot);
/* `values` has session (slot), channel (slot), queue, number, priority, prefetch, flags; takes over the tag. */
MUST_CHECK int consumer_add(struct model *m, const struct consumer *values, uint32_t *ret_slot);
/* It consumes no more; freed when it holds nothing. Does not look after the queue's auto-delete. */
void consumer_leave(struct model *m, uint32_t slot);
/* All it holds back to ready, then the cell goes. */
MUST_CHECK int consumer_close(struct model *m, uint32_t slot);
void channel_free(struct model *m, uint32_t slot);
void session_free(struct model *m, uint32_t slot);
/* After a delivery: behind the others of its priority, if it still has room. */
void consumer_rotate(struct model *m, uint32_t slot);
/* After anything that changes whether it may get a message. */
void consumer_update(struct model *m, uint32_t slot);
void channel_update(struct model *m, uint32_t slot);
/* It is the last one, so the queue goes if it is auto-delete. `q` may be gone afterwards. */
MUST_CHECK int session_queue_left(struct model *m, const struct applied *w, uint32_t queue);
/* Puts the queue where its pace says, after a delivery. */
void session_queue_turn(struct model *m, struct queue *q, uint64_t now_ns);

/* ---- session_apply.c ---- */

/* Of CONSUMER_ADDED. */
enum consumer_flag { CONSUMER_EXCLUSIVE = 1, CONSUMER_NO_ACK = 2 };
int session_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                  struct reader *in);

/* ---- session_snapshot.c ---- */

int session_save(const struct model *m, struct buffer *chunk,
                 int (*flush)(void *sink, struct buffer *chunk), void *sink);
int session_load(struct model *m, struct reader *section);
void session_check(const struct model *m);

/* ---- links: lists of slots in cells of one slab ---- */

struct slot_chain {
    const struct slab *slab;
    size_t offset; /* of the struct slot_link */
};
void chain_insert(struct slot_chain c, struct slot_list *l, uint32_t before, uint32_t slot);
void chain_remove(struct slot_chain c, struct slot_list *l, uint32_t slot);

#endif
