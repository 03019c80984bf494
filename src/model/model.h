/*
 * model/model.h - the whole state of Sluice and the five functions over it.
 *
 * Promise: a pure state machine. The same facts in the same order give the same state, byte for byte
 *          in model_save, whatever machine or time it runs at.
 * Shape:   opaque to all but model/ (see model/state.h). Not thread-safe: the engine's lock guards it.
 */
#ifndef SLUICE_MODEL_MODEL_H
#define SLUICE_MODEL_MODEL_H

#include "base/span.h"
#include "model/module.h"
#include "model/request.h"

struct model;

/* The limits table: everything that a client can make grow. 0 in a field means its default. */
struct model_limits {
    uint32_t queues;           /* 100,000 */
    uint32_t messages;         /* 50,000,000 in all queues */
    uint32_t stocks;           /* 10,000 */
    uint32_t purchases;        /* 20,000,000 in all stocks, tombstones included */
    uint32_t campaigns;        /* 10,000 */
    uint32_t entries;          /* 20,000,000 in all campaigns */
    uint32_t dedup_keys;       /* 20,000,000 */
    uint64_t dedup_ttl_ns;     /* 24 h */
    uint32_t tenants;          /* 10,000 of a queue; more share one turn */
    uint32_t destinations;     /* 10,000 */
    uint32_t receipts;         /* 1,000,000 finished ones remembered */
    uint64_t receipt_ttl_ns;   /* 24 h */
    uint64_t tombstone_ttl_ns; /* 24 h */
    uint32_t vhosts;           /* 1,000 */
    uint32_t exchanges;        /* 100,000 */
    uint32_t bindings;         /* 10,000,000 */
    uint32_t consumers;        /* 1,000,000 */
    uint32_t sessions;         /* 100,000 */
    uint32_t users;            /* 10,000; permissions: a hundred times as many */
    uint64_t history_bytes;    /* 256 MiB of what happened to messages (history.h) */
    uint32_t list_looks;       /* 5,000 messages that a page of a list looks at (queue_list.c) */
};

/* E_NOMEM. `hash` keys the hash maps (attack protection); the state does not depend on it. */
MUST_CHECK int model_create(const struct model_limits *limits, struct hash_key hash,
                            struct model **ret_model);
void model_free(struct model *m);

/*
 * One request: idempotency key first, then the module, then (if it made a receipt) the key's fact.
 * On refusal d->facts is as it was. May emit no facts (reads, replayed answers).
 */
enum refusal model_decide(const struct model *m, struct decision *d, struct request *r);

/*
 * To be called for a run of requests before their decides, for all of them with step 0, then with 1 and so on: their
 * look-ups miss the cache together instead of one after the other. Changes nothing.
 */
#define PREFETCH_STEPS 2u
void model_prefetch(const struct model *m, const struct request *r, unsigned step);

/* All facts of one record. E_CORRUPT, E_VERSION, E_NOMEM: the state is then not usable any more. */
MUST_CHECK int model_apply(struct model *m, const struct applied *where, struct span facts);

/* What is held ready for messages and timers to come: of the memory, but not in use. */
uint64_t model_reusable_bytes(const struct model *m);

/* Earliest timer, UINT64_MAX when there is none. */
uint64_t model_next_due_ns(const struct model *m);
/* Emits the facts of the earliest timer when it is due. False: none was due, nothing emitted. */
bool model_decide_timer(const struct model *m, struct decision *d);

/*
 * The next attempt that pace, concurrency and order allow at d->now_ns: emits its facts and describes it. Timers may be due:
 * nothing leaves whose life is over.
 * False: nothing may start now. Call, apply, call again.
 */
struct attempt_start;
bool model_decide_start(const struct model *m, struct decision *d, struct attempt_start *ret_start);

/*
 * The next message for a consumer, if there is one that has room: emits its fact and describes it. False: none
 * now. Call, apply, call again. model_next_delivery_ns as model_next_start_ns.
 */
struct delivery;
bool model_decide_delivery(const struct model *m, struct decision *d, struct delivery *ret);
uint64_t model_next_delivery_ns(const struct model *m, uint64_t now_ns);
/* What consumers must be told because of facts applied since: false: nothing more. */
bool model_take_notice(struct model *m, struct delivery *ret);
/* Drops one message from the head of a queue that is too long. False: none is. To be called until then. */
bool model_has_trim(const struct model *m);
bool model_decide_trim(const struct model *m, struct decision *d);

/*
 * When model_decide_start may next return true without any further request: a time, now_ns or earlier
 * if at once, UINT64_MAX if only a request can change it. O(destinations with waiting work).
 */
uint64_t model_next_start_ns(const struct model *m, uint64_t now_ns);
/* Whether the end of an attempt might let one begin before that. */
bool model_end_is_awaited(const struct model *m, uint64_t now_ns);

/* After a restart: emits "outcome unknown" for one attempt that was under way. False: none left. */
bool model_decide_recovery(const struct model *m, struct decision *d);

/*
 * Compaction. The live bodies in a segment: up to `max` ids whose body stands in it, or 0. The engine
 * reads each body back and asks for a MOVED fact by REQUEST_MESSAGE_MOVE.
 */
uint64_t model_segment_live_bytes(const struct model *m, uint32_t segment);
/* The first segment at or behind `from` with live bytes; 0: none. */
uint32_t model_next_live_segment(const struct model *m, uint32_t from);
struct live_body {
    uint64_t id, stored_id, address; /* stored_id: by which the body is found in its record */
};
size_t model_segment_live_ids(const struct model *m, uint32_t segment, struct live_body *ret_bodies,
                              size_t max);
/* What model_segment_live_bytes counts by: log_segment_of. Set once after create. */
void model_set_segment_of(struct model *m, uint32_t (*segment_of)(uint64_t address));

/* Snapshot of everything. Same chunk protocol as struct module's save. */
MUST_CHECK int model_save(const struct model *m, int (*write)(void *sink, struct span bytes),
                          void *sink);
/* Into a fresh model. `bytes` is the whole content (mapped). E_CORRUPT, E_VERSION, E_NOMEM. */
MUST_CHECK int model_load(struct model *m, struct span bytes);

/* One module's part of it, for tools; the module must not lean on others. Nothing when it has none there. */
MUST_CHECK int model_load_module(struct model *m, struct span bytes, unsigned module);

/* Asserts every invariant. O(state). */
void model_check(const struct model *m);

/* Bytes of memory held, by a count of its own (not malloc's). */
uint64_t model_memory_bytes(const struct model *m);

#endif
