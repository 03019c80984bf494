/*
 * model/queue_state.h - the memory of the queue module. Included by queue*.c only.
 *
 * A message is one 64-byte cell of a slab, found by id through a map, and stands in exactly one list:
 *
 *      state        list                                     timer
 *      ready        ready_set.levels[priority]               end of its time to live, if it has one
 *      blocked      key.blocked of its ordering key          the same
 *      delayed      queue.delayed, a roll without links      due time or end of life, the earlier
 *      in flight    queue.in_flight                          none: what was started may end
 *      confirming   queue.confirming                         its deadline
 *      dead         queue.dead, oldest death first           none
 *
 * What only some messages have lies in side cells: `times` (delay, time to live; but most that are delayed have nothing but their due
 * time, which then stands in the message itself: TIMES_PLAIN), `tie` (what is settled
 * at its end, its tenant), `key` (shared by all messages of an ordering key).
 *
 * Files:
 *      queue_table.c      queues, and destinations that they push to
 *      queue_message.c    what a message has besides its place: cells, body, times, what is settled at its end
 *      queue_state.c      lists, moves, ends
 *      queue_attempt.c    what attempts and deliveries do to a message
 *      queue_key.c, queue_tenant.c                         ordering keys; tenants
 *      queue_read.c, queue_list.c, queue_walk.c, queue_filter.c   what others read; lists of messages
 *      queue_apply.c, queue_fanout.c                       facts
 *      queue.c, queue_request.c, queue_change.c, queue_amqp.c   decide
 *      queue_snapshot.c, queue_check.c                     save, load; invariants
 */
#ifndef SLUICE_MODEL_QUEUE_STATE_H
#define SLUICE_MODEL_QUEUE_STATE_H

#include "base/list.h"
#include "base/map.h"
#include "base/roll.h"
#include "base/slab.h"
#include "model/message_payload.h"
#include "model/queue.h"
#include "model/roster.h"
#include "model/state.h"

#define STATES_LIVE    9u /* enum message_state; [0] and what is only in receipts unused */
#define STATE_BIT(s)   (1u << (s))
#define PURGE_MAX      1000000u /* untied messages that one fact removes: about 0.1 s */
#define PURGE_TIED_MAX 10000u   /* messages that are settled one by one in a record */
#define ID_RUN_BITS    8u
#define TIMES_PLAIN    (UINT32_C(1) << 31) /* with the high half of a due time */

struct message {
    uint64_t id;
    uint64_t address; /* of the record with the body */
    uint64_t accepted_ns;
    union {
        uint32_t next;  /* slot, in the list of its state */
        uint32_t place; /* delayed: in queue.delayed, and prev is unused */
    };
    uint32_t prev;  /* slot; with TIMES_PLAIN the low half of the due time */
    uint32_t queue; /* index */
    uint32_t body_bytes;
    uint32_t attempts;
    uint32_t key;              /* cell, 0: no ordering key */
    uint32_t times;            /* cell, 0: neither delay nor time to live; or TIMES_PLAIN */
    uint32_t tie;              /* cell, 0: nothing to settle, and no origin */
    uint32_t extra_bytes : 20; /* what the stored payload has besides the body */
    uint32_t state : 4;        /* enum message_state */
    uint32_t priority : 8;
    uint32_t outcome : 24; /* of the last attempt: status (16), error (8); held: consumer's slot */
    uint32_t dead_reason : 4;
    uint32_t outcome_unknown : 1;
    uint32_t held : 1;    /* in flight at a consumer, in whose list it stands */
    uint32_t quiet : 1;   /* no receipt is kept of its end: nobody was given its id */
    uint32_t storied : 1; /* it has a history: history.h */
};
_Static_assert(sizeof(struct message) == 64, "a queued message is one cache line");

static inline uint16_t message_status(const struct message *g) {
    return g->held ? 0 : (uint16_t)(g->outcome >> 8);
}
static inline uint8_t message_error(const struct message *g) {
    return g->held ? 0 : (uint8_t)g->outcome;
}
static inline void message_set_outcome(struct message *g, uint16_t status, uint8_t error) {
    g->outcome = ((uint32_t)status << 8 | error) & 0xffffffu;
}

struct message_times {
    uint64_t due_ns;                /* delayed until; 0: not delayed */
    uint64_t expires_ns;            /* 0: never */
    uint64_t timer_ns;              /* which of them its timer is set for; 0: none */
    uint64_t first_attempt_ns : 63; /* kept only when the queue limits the age */
    uint64_t by_deadline : 1;       /* its end of life is its dispatch deadline */
};
_Static_assert(sizeof(struct message_times) == 32, "half a cache line");

/* What is settled at its end, and where it has been. Either may be missing. */
struct message_tie {
    uint32_t campaign, stock;
    uint8_t *purchase; /* owns: length byte and text; NULL: the receipt text of the message id */
    uint8_t *
        origin; /* owns: see model/amqp.c; NULL: it is where it was published, and has its own body */
    uint32_t origin_size;
    uint32_t tenant; /* cell, 0: none */
};

/* A list of slots. Nodes are messages (or keys), linked by their own next and prev. */
struct slot_list {
    uint32_t first, last, count;
};

/* By priority. */
struct ready_levels {
    uint64_t bits[4]; /* which have messages */
    struct slot_list lists[];
};

/* Ready messages that leave by priority and arrival. */
struct ready_set {
    struct ready_levels *levels; /* owns; NULL: there never was one */
    uint32_t level_count;
    uint32_t messages;
};

/* Of one queue; it is there as long as a message refers to it. See queue_tenant.h. */
struct tenant {
    struct ready_set ready; /* the queue's own set is served by a cell whose `own` is set */
    uint64_t hash;          /* of queue and name, the same on every machine; 0: the own set's */
    uint32_t queue;
    uint32_t refs;
    uint32_t weight;     /* as of `version` */
    uint32_t version;    /* of the queue's weights */
    uint32_t next, prev; /* slots, in the round */
    bool in_round;
};

/* What a queue with tenants has besides. */
struct fair {
    struct slot_list round;
    uint64_t weights; /* of those in the round */
    uint32_t left;    /* turns of the first */
    uint32_t own;     /* the cell of the queue's own set */
    uint32_t tenants; /* besides that one */
    uint32_t version;
};

struct message_key {
    uint64_t hash; /* of queue and key, the same on every machine */
    uint32_t queue;
    uint32_t holder; /* message that is ready, in flight or waits for a retry; 0: none */
    struct slot_list blocked;
    uint32_t refs;       /* messages of this key, dead ones too */
    uint32_t next, prev; /* in queue.keys while some are blocked */
};

/* A destination as queues name it, whether it exists or not. */
struct target {
    char *name;           /* owns */
    uint32_t destination; /* index, 0: not defined */
    uint32_t refs;        /* queues that name it */
    struct list queues;   /* of struct queue.in_target */
};

/* What a policy can set: see model/policy.h. */
struct queue_rules {
    uint64_t message_ttl_ns, expires_ns, max_messages, max_bytes;
    enum queue_overflow overflow;
    uint32_t delivery_limit;
    bool has_dead_letter_exchange, has_dead_letter_key;
    char *dead_letter_exchange, *dead_letter_key; /* borrow: of the definition or a policy */
};

struct queue {
    uint32_t index;
    uint32_t target;         /* slot, 0: not pushed */
    struct queue_def def;    /* with what its policies set; else queue_own_definition */
    struct queue_rules *own; /* owns; what it has of its own there, NULL: no policy applies */
    uint64_t file_hash;
    struct pace pace;
    struct list_node in_target; /* link */
    struct ready_set ready;     /* of those without a tenant */
    struct fair *fair;          /* owns; NULL: it never was */
    struct roll delayed;        /* there may be millions: who leaves should touch nobody else */
    struct slot_list in_flight, confirming, dead;
    struct slot_list keys; /* those with blocked messages */
    struct slot_list
        holders; /* consumers, those that left and hold something too: see session_state.h */
    struct slot_list open; /* of them, those with room: higher priority first, then in turn */
    struct list_node work; /* link: there are messages and consumers with room for them */
    struct list_node trim; /* link: it is too long, and drops its head */
    uint32_t parked;       /* its pace waits: index in the heap of sessions, 0: it does not */
    bool told_ready;       /* what the destination was told last */
    uint64_t expiry_ns;    /* its timer; 0: none */
    uint32_t consumers;    /* holders that consume */
    uint32_t active;       /* the single active one, 0: none, or all are */
    uint32_t owner;        /* session to which it is exclusive, 0: none */
    uint32_t owned_next, owned_prev;  /* indices, in the list of that session */
    uint32_t policy, operator_policy; /* indices, 0: none */
    struct slot_list bindings;        /* of exchanges, that lead here */
    uint64_t used_ns;                 /* when it was last declared, or asked for a message */
    uint64_t routed;                  /* last routing that came by: each queue once per message */
    uint64_t ready_bytes;             /* bodies of those ready */
    uint32_t counts[STATES_LIVE];     /* of slots, as all messages together */
    uint32_t tied[STATES_LIVE];       /* of them, those with something to settle */
    uint64_t bytes;                   /* bodies of all but the dead */
    uint64_t published, completed, died, expired, deleted, attempts;
};

/* Segments of the bodies in one slab chunk, never too narrow: where compaction need not look. */
struct chunk_segments {
    uint32_t low, high; /* low > high: none */
};

struct queues {
    uint32_t transient; /* queues that are not durable */
    uint32_t storied;   /* messages that have a history */
    struct roster roster;
    struct slab messages, times, ties, keys, targets, tenants;
    struct rolls delayed;
    struct map by_id, by_key, by_target, by_tenant;
    struct hash_key hash;
    struct chunk_segments *chunks; /* owns */
    size_t chunk_count;
};

static inline struct message *message_at(const struct queues *s, uint32_t slot) {
    return slab_at(&s->messages, slot);
}
static inline struct message_times *times_at(const struct queues *s, uint32_t slot) {
    return slab_at(&s->times, slot);
}
static inline struct message_tie *tie_at(const struct queues *s, uint32_t slot) {
    return slab_at(&s->ties, slot);
}
static inline struct message_key *key_at(const struct queues *s, uint32_t slot) {
    return slab_at(&s->keys, slot);
}
static inline struct tenant *tenant_at(const struct queues *s, uint32_t slot) {
    return slab_at(&s->tenants, slot);
}
static inline struct target *target_at(const struct queues *s, uint32_t slot) {
    return slab_at(&s->targets, slot);
}
static inline struct queue *queue_at(const struct queues *s, uint32_t index) {
    return roster_at(&s->roster, index);
}
/* Delayed, and nothing else of its times is to be known: a cell less to touch. */
static inline bool message_is_plain(const struct message *g) {
    return (g->times & TIMES_PLAIN) != 0;
}
/* The timer of a plain one is set for its due time as long as it is delayed. */
static inline struct message_times message_times_of(const struct queues *s,
                                                    const struct message *g) {
    if (message_is_plain(g)) {
        uint64_t due_ns = (uint64_t)(g->times & ~TIMES_PLAIN) << 32 | g->prev;
        return (struct message_times){.due_ns = due_ns, .timer_ns = due_ns};
    }
    return g->times == 0 ? (struct message_times){0} : *times_at(s, g->times);
}
/* Is something settled when it ends? */
static inline bool message_is_tied(const struct queues *s, const struct message *g) {
    return g->tie != 0 && (tie_at(s, g->tie)->campaign != 0 || tie_at(s, g->tie)->stock != 0);
}
static inline struct span message_origin(const struct queues *s, const struct message *g) {
    return g->tie == 0 ? span_of(NULL, 0)
                       : span_of(tie_at(s, g->tie)->origin, tie_at(s, g->tie)->origin_size);
}
static inline uint32_t stored_bytes(const struct message *g) {
    return g->body_bytes + g->extra_bytes;
}

/*
 * Ids come from the log, not from clients, so their hash need not be secret. Runs of
 * neighbours lie together: what is published, started and finished together then shares cache lines,
 * however many millions wait behind it.
 */
static inline uint64_t id_hash(uint64_t id) {
    return map_hash_in_run(hash_u64(id), id_position(id) >> ID_RUN_BITS);
}

/* The hash in a key cell is known to whoever knows the key, so the secret of the maps is mixed in. */
static inline uint64_t key_map_hash(const struct queues *s, uint64_t hash) {
    return hash_u64(hash ^ s->hash.k0);
}

/* ---- queue_table.c ---- */

/* Makes or replaces; takes over `def`, also on failure. E_NOMEM, E_CORRUPT (index, name). */
MUST_CHECK int queue_put(struct model *m, uint32_t index, struct queue_def *def, uint64_t file_hash,
                         struct queue **ret);
/* Must be empty. */
void queue_drop(struct model *m, struct queue *q);
/* With all that is in it: its consumers are told, its bindings go too. */
MUST_CHECK int queue_remove(struct model *m, const struct applied *w, struct queue *q);
/* It was used, or its consumers came or went: its time to expire. */
void queue_use_changed(struct model *m, struct queue *q);
/* The queue that AMQP names, if this session may use it: NOT_FOUND, LOCKED. */
enum refusal queue_for_amqp(const struct model *m, struct request *r, struct span name,
                            struct queue **ret);
/* Its policies or what they say has changed. E_NOMEM. */
MUST_CHECK int queue_policies_changed(struct model *m, struct queue *q);
/* As declared; texts stay those of the queue, so this is not to be released. */
struct queue_def queue_own_definition(const struct queue *q);
/* When it can expire: it was asked for. */
void queue_emit_touched(struct decision *d, const struct queue *q);
/* It drops its head, and is longer than it may be. */
bool queue_is_too_long(const struct queue *q);
/* After anything that may change whether there is something to start: tells the destination. */
void queue_ready_changed(struct model *m, struct queue *q);

/* ---- queue_message.c ---- */

uint32_t message_find(const struct queues *s, uint64_t id);
/* The same for one whose time comes, likely: its timer is the first and knows where it is. */
uint32_t message_due(const struct model *m, uint64_t id);
/* A new message in no list yet: cell and map entry. */
MUST_CHECK int message_create(struct model *m, uint64_t id, uint32_t *ret_slot);
/* In no list any more: all its cells. */
void message_free(struct model *m, uint32_t slot);
/* The record of its body, which is counted there; 0: none. E_NOMEM. */
MUST_CHECK int message_set_address(struct model *m, uint32_t slot, uint64_t address);
/* A cell for its times, if it has none; it is not delayed. E_NOMEM. */
MUST_CHECK int message_need_times(struct queues *s, struct message *g);
MUST_CHECK int message_set_times(struct model *m, uint32_t slot, uint64_t due_ns,
                                 uint64_t expires_ns);
/* A cell that says nothing any more is given back. */
void message_trim_times(struct queues *s, struct message *g);
/* Of one that is delayed from now on: a cell that says nothing but when it is due is given back too. */
void message_fold_times(struct queues *s, struct message *g);
/* Out of a snapshot. */
MUST_CHECK int message_load_times(struct model *m, uint32_t slot, uint64_t due_ns,
                                  uint64_t expires_ns, uint64_t first_attempt_ns);
/* As if it had just been published: its attempts count anew. */
void message_renew(struct model *m, uint32_t slot);
/* A cell for what is settled at its end, if it has none. E_NOMEM. */
MUST_CHECK int message_need_tie(struct queues *s, struct message *g);
MUST_CHECK int message_set_tie(struct model *m, uint32_t slot, const struct message_payload *p);
/* Copies the origin of a fact, which may borrow `headers`; empty: none. Once only. */
MUST_CHECK int message_set_origin(struct model *m, uint32_t slot, struct span origin,
                                  struct span headers);
/* Of one that may stand in no list yet, when loading or applying fails: frees what no list leads to. */
void message_forget_tie(struct model *m, uint32_t slot);

/* ---- queue_attempt.c ---- */

/* For the apply of deliveries and settles, by consumer's slot. The message must be ready (held by it). */
MUST_CHECK int message_deliver(struct model *m, const struct applied *w, uint32_t slot,
                               uint32_t consumer);
MUST_CHECK int message_requeue(struct model *m, uint32_t slot, bool counts);

/* ---- queue_state.c ---- */

enum place { PLACE_TAIL, PLACE_BY_AGE };

/* First slot of the highest level that has one, 0: none ready. */
uint32_t ready_set_first(const struct ready_set *set);
size_t ready_set_bytes(const struct ready_set *set);
/* The one that leaves next; 0: none ready. */
uint32_t queue_first_ready(const struct queues *s, const struct queue *q);
/* Of one that stands in a list: the one behind it there, the one before it; 0: it is the last, the first. */
uint32_t message_next(const struct queues *s, uint32_t slot);
uint32_t message_prev(const struct queues *s, uint32_t slot);
/* 0: none is delayed. */
uint32_t delayed_first(const struct queues *s, const struct queue *q);
/* See struct module. */
void queue_prefetch(const struct model *m, const struct request *r, unsigned step);
/* Starts to bring what its end touches into the cache: worth it if the end is decided now and applied later. */
void message_prefetch_end(const struct model *m, const struct message *g);
/* The only writer of message.state: list, counters, timer and state move together. */
MUST_CHECK int message_move(struct model *m, uint32_t slot, enum message_state to,
                            enum place place);
/* To ready, or behind the message that holds its key. */
MUST_CHECK int message_arrive(struct model *m, uint32_t slot, enum place place);
/* To dead, or gone when the queue keeps no dead letters. */
MUST_CHECK int message_die(struct model *m, const struct applied *w, uint32_t slot,
                           enum dead_reason reason);
/* Gone for good, with a receipt. */
MUST_CHECK int message_end(struct model *m, const struct applied *w, uint32_t slot,
                           enum message_state state, enum dead_reason reason);
/* A tenant's cell, of which the message is one more reference. E_NOMEM. */
MUST_CHECK int message_set_tenant(struct model *m, uint32_t slot, uint32_t tenant);
/* What people change; see queue_change.c. */
MUST_CHECK int message_set_body(struct model *m, uint32_t slot, uint64_t address,
                                uint64_t payload_bytes, uint64_t body_bytes);
MUST_CHECK int message_set_priority(struct model *m, uint32_t slot, uint8_t priority);
MUST_CHECK int message_rehouse(struct model *m, uint32_t slot, struct queue *to, uint8_t priority,
                               uint64_t expires_ns, uint64_t key);

/* ---- the same for a message out of a snapshot ---- */

/* What the queue has in flight is this consumer's. E_CORRUPT. */
MUST_CHECK int message_load_held(struct model *m, uint32_t slot, uint32_t consumer);
/* To the tail of the list of its state; last of all. E_CORRUPT: the state cannot be. */
MUST_CHECK int message_load_state(struct model *m, uint32_t slot, enum message_state state);
/* When its timer should go off; 0: it has none. */
uint64_t message_timer_due(const struct queues *s, const struct message *g);
/* Over max_dead the oldest go. */
MUST_CHECK int queue_trim_dead(struct model *m, const struct applied *w, struct queue *q);

/* ---- queue_eta.c ---- */

/* What is known of a message that is not ready. */
struct eta_asked {
    uint64_t tenant;       /* hash */
    uint64_t of_key;       /* messages of its ordering key that must end before it, ... */
    uint64_t key_until_ns; /* ... and when the first may be tried again; 0: it need not wait */
    uint8_t priority;
};
struct eta_asked queue_eta_asked(const struct model *m, const struct queue *q,
                                 const struct publish *p);
/* When it would leave if it came now, at schedule_ns or later; 0: not known. */
uint64_t queue_eta_new_ns(const struct model *m, const struct queue *q, uint64_t now_ns,
                          uint64_t schedule_ns, const struct eta_asked *of);
struct eta message_eta(const struct model *m, const struct message *g, uint64_t now_ns);
/* NONE, or DEADLINE: it cannot be met. */
enum refusal queue_check_deadline(const struct model *m, const struct decision *d,
                                  struct request *r, const struct queue *q,
                                  const struct publish *p);
void queue_set_deadline(const struct publish *p, struct message_payload *payload);

/* ---- queue_key.c ---- */

/* Not keyed by model.hash: it stands in snapshots. Two keys of one hash only wait for each other. */
uint64_t key_hash(uint32_t queue, struct span key);
/* The message joins the key of this hash. E_NOMEM. */
MUST_CHECK int key_join(struct model *m, uint32_t slot, uint64_t hash);
/* True: the message has no key, or holds it now. */
bool key_claim(struct model *m, uint32_t slot);
/* 0: no message has it. */
uint32_t key_find(const struct queues *s, uint64_t hash);
/* It holds its key no more, and the next one may go. */
MUST_CHECK int key_yield(struct model *m, uint32_t slot);
/* Its last use by this message. */
void key_part(struct model *m, uint32_t slot);
/* Keeps queue.keys: called before a message joins key.blocked, and after one left it. */
void key_block(struct model *m, uint32_t slot);
void key_unblock(struct model *m, uint32_t slot);

/* ---- queue_read.c ---- */

void queue_describe(const struct model *m, const struct queue *q, struct queue_info *ret);
void message_describe(const struct model *m, const struct message *g, struct message_info *ret);
/* By which its body is found in the record. */
uint64_t message_stored_id(const struct queues *s, const struct message *g);
void message_view_fill(const struct queues *s, uint32_t slot, struct message_view *ret);

/* ---- queue_filter.c ---- */

/* The last thing that happened to it, or its acceptance. */
uint64_t message_changed_ns(const struct model *m, const struct message *g);
/* Of the filter's ordering key in this queue, for queue_filter_takes; 0: any. */
uint64_t queue_filter_hash(const struct message_filter *f, uint32_t queue);
/* As far as memory tells. */
bool queue_filter_takes(const struct model *m, const struct message_filter *f, uint64_t hash,
                        const struct message *g);

/* ---- queue_walk.c ---- */

/* To all messages in this state, in the order of their lists, until one answers false; false then. Nothing may change meanwhile. */
bool queue_each(const struct model *m, const struct queue *q, unsigned state,
                bool (*visit)(void *arg, uint32_t slot), void *arg);
/* At how many messages, places and lists that looks. */
uint64_t queue_each_cost(const struct queue *q, unsigned state);
/* A page of a job; see in.list.in_order. */
enum refusal queue_decide_walk(const struct model *m, struct decision *d, struct request *r,
                               struct queue *q);

/* The place in front of this message; 0: the beginning of all. */
uint64_t queue_cursor_at(const struct model *m, uint32_t slot);
/*
 * The last place up to `cursor` that stays when `leaving` leave, which stand in the order of the list: all in front of
 * it was looked at. In the worst case the beginning of the section.
 */
uint64_t queue_cursor_before(const struct model *m, const struct queue *q, uint64_t cursor,
                             const uint32_t *leaving, uint32_t count);

/* ---- queue.c, queue_list.c, queue_request.c: decide ---- */

/* MESSAGE_DUE, MESSAGE_EXPIRED, MESSAGE_DELETED. */
void message_emit(struct decision *d, uint16_t kind, uint64_t id);
enum refusal queue_decide_messages(const struct model *m, struct decision *d, struct request *r,
                                   struct queue *q);
enum refusal queue_decide_purge(const struct model *m, struct decision *d, struct request *r,
                                struct queue *q);
enum refusal queue_decide_redrive(const struct model *m, struct decision *d, struct request *r,
                                  struct queue *q);
enum refusal queue_decide_delete(const struct model *m, struct decision *d, struct request *r);
enum refusal queue_decide_move(const struct model *m, struct decision *d, struct request *r);
/* Purges what is in the states of `mask`, untied ones at most `max`; r->count and r->next. */
void queue_emit_purge(const struct model *m, struct decision *d, struct request *r,
                      const struct queue *q, unsigned mask, uint32_t max);
/* When a message put at start_ns ends; 0: never. */
uint64_t queue_end_of_life(const struct queue *q, uint64_t start_ns, uint64_t ttl_ns);
/* For one more of so many bytes; for so many of so many bytes together; for those there are, so much larger. */
bool queue_has_room(const struct queue *q, uint64_t body_bytes);
bool queue_has_room_for(const struct queue *q, uint64_t messages, uint64_t body_bytes);
bool queue_has_bytes_for(const struct queue *q, uint64_t body_bytes);
/* INVALID: too long. */
enum refusal queue_check_envelope(struct request *r, const struct envelope *e);
/* Its name, or what of it fits into a payload. */
struct span queue_stored_name(const struct queue *q);

/* ---- queue_change.c ---- */

enum refusal queue_decide_edit(const struct model *m, struct decision *d, struct request *r);
enum refusal queue_decide_transfer(const struct model *m, struct decision *d, struct request *r);
int queue_apply_edited(struct model *m, const struct applied *w, struct span payload);
int queue_apply_transferred(struct model *m, const struct applied *w, struct reader *in);
bool message_is_as_seen(const struct message *g, const struct message_seen *seen);
/* The queue that messages of `from` may be moved to. REFERENCE, INVALID, CONFLICT, about "/to". */
enum refusal queue_find_target(const struct model *m, struct request *r, struct span name,
                               const struct queue *from, const struct queue **ret);
/* Of a message that is not under way, with room for it made sure of. Refused: its unit is gone. */
enum refusal queue_emit_transfer(const struct model *m, struct decision *d, uint32_t slot,
                                 const struct queue *to, const struct stored_message *stored);
/* The same for sending it again; it must be dead. */
enum refusal queue_emit_redrive(const struct model *m, struct decision *d, const struct queue *q,
                                uint32_t slot);

/* ---- queue_amqp.c ---- */

enum refusal queue_decide_amqp_declare(const struct model *m, struct decision *d,
                                       struct request *r);
enum refusal queue_decide_amqp_delete(const struct model *m, struct decision *d, struct request *r);
enum refusal queue_decide_amqp_purge(const struct model *m, struct decision *d, struct request *r);
void queue_on_expiry(const struct model *m, struct decision *d, uint32_t index);
/* The end of a message that is tied, when it was not settled before. */
void queue_emit_settlement(const struct model *m, struct decision *d, uint32_t slot);

/* ---- queue_apply.c, queue_snapshot.c, queue_check.c: see struct module ---- */

int queue_apply(struct model *m, const struct applied *where, uint16_t kind, uint16_t version,
                struct reader *payload);
int queue_save(const struct model *m, struct buffer *chunk,
               int (*flush)(void *sink, struct buffer *chunk), void *sink);
int queue_load(struct model *m, struct reader *section);
void queue_check(const struct model *m);
/* Removes up to `max` untied messages in the states of `mask`. */
MUST_CHECK int queue_purge(struct model *m, const struct applied *w, struct queue *q, unsigned mask,
                           uint32_t max);
#endif
