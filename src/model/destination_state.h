/*
 * model/destination_state.h - the state of destinations and of the attempts under way. Included by the
 * files of the destination module only:
 *
 *      destination.c        the module table, definitions, what is asked about destinations
 *      destination_valid.c  what a definition may say
 *      destination_gate.c   whether one may be called now, and by which way
 *      destination_ready.c  which destination and queue is next
 *      destination_act.c    what people, checks and evaluations change
 *      destination_save.c   snapshot, load, check
 *      attempt.c            start
 *      attempt_finish.c     finish, recovery
 */
#ifndef SLUICE_MODEL_DESTINATION_STATE_H
#define SLUICE_MODEL_DESTINATION_STATE_H

#include "base/list.h"
#include "base/map.h"
#include "base/slab.h"
#include "model/key_text.h"
#include "model/destination.h"
#include "model/fact.h"
#include "model/lane.h"
#include "model/roster.h"
#include "model/state.h"

#define QUEUE_SLOT(queue)         ROSTER_SLOT(queue)
#define DESTINATION_DEF_MAX_BYTES (64u << 10) /* of an encoded definition */

struct destination {
    uint32_t index;             /* with the generation of its slot: see roster.h */
    uint32_t generation;        /* of the definition: another one each time it is defined */
    char *name;                 /* owns; the roster's, def.name changes its place */
    struct destination_def def; /* owns */
    uint64_t file_hash;         /* what the file said last; 0: it was never in a file */
    bool paused;
    enum pause_reason pause_reason;
    uint64_t closed_until_ns;
    uint64_t started, succeeded, failed, deferred;
    struct limits limits;
    struct adaptive adaptive;
    struct ramp ramp;
    struct budget budget;
    struct breaker breaker;
    struct endpoints endpoints;
    struct failover failover;
    uint32_t confirming;  /* messages that wait for what became of them, ... */
    uint32_t held_places; /* ... of them, those that count as under way */
    uint64_t timer_ns;    /* failover.evaluate_ns as its timer has it; 0: none is set */
    /* From here on derived: which of its queues have work. See destination_ready.c. */
    struct list_node active;
    uint64_t lent_until_ns; /* till then another one's queues take turns with its own */
    uint64_t average_us;    /* of attempts since the program began, the latest weigh most */
    struct lanes lanes;     /* queues that may be asked */
    struct heap parked;     /* queues whose own pace waits, by the time when it may go on */
};

enum ready_place {
    READY_NONE = 0, /* nothing to send, or not known to us */
    READY_LANE,     /* may be asked */
    READY_PARKED,   /* its own pace waits for a time */
    READY_BLOCKED,  /* its own pace waits for an end */
};

/* One for each queue index. */
struct ready_node {
    uint32_t destination;
    uint32_t lanes_of; /* destination whose turns its lane counts */
    uint32_t heap_index;
    enum ready_place place;
};

/* A request that more messages may join, as long as the record is the same. */
struct batch_open {
    uint64_t position; /* of that record */
    uint64_t lead;     /* message */
    uint32_t destination, home, queue, endpoint;
    uint32_t left;       /* messages */
    uint64_t left_bytes; /* of bodies */
};

/* Stands in the log. */
enum verdict {
    VERDICT_DONE = 1,
    VERDICT_RETRY = 2,
    VERDICT_DEAD = 3,
    VERDICT_UNKNOWN = 4,
    VERDICT_GONE = 5,
    VERDICT_CONFIRMING = 6,
};

/* One attempt under way, or one that has ended and whose message is confirming. */
struct attempt {
    struct list_node node; /* in order of start */
    uint64_t message;
    uint64_t started_ns; /* its turn, when it was decided ahead */
    uint64_t timeout_ns;
    uint32_t attempt;
    uint32_t destination; /* that it went to */
    uint32_t home;        /* that its queue pushes to; 0: begun by a program that learned nothing */
    uint32_t endpoint;    /* id, 0: none */
    uint32_t breaker_probe; /* what breaker_end and failover_end are to get back */
    uint32_t failover_probe;
    uint64_t lead;        /* message with which it shares its request; 0: it has its own */
    bool shares_token;    /* that one's token is its own */
    bool confirming;      /* it has ended */
    bool holds_place;     /* and counts as under way for the concurrency */
    uint8_t confirmed;    /* enum confirm_outcome that was told before its end */
    struct key_text note; /* what was said with it */
};

struct destinations {
    struct roster roster;     /* of struct destination, owned */
    uint32_t generation;      /* last one given */
    uint32_t changes;         /* of definitions since this program started; no part of a snapshot */
    struct list active;       /* destinations with queues in lanes or parked */
    struct ready_node *ready; /* owns; by slot of the queue's index */
    struct lane *lanes;       /* owns; as many, by the same slot */
    uint32_t ready_slots;
    struct slab attempt_cells;
    struct map attempts;     /* by message */
    struct batch_open batch; /* of the record that is being applied; no part of a snapshot */
    struct list started;     /* struct attempt, oldest first */
    struct list confirming;  /* the same, those that have ended and are not settled */
};

static inline struct destination *destination_at(const struct model *m, uint32_t index) {
    return roster_at(&m->destinations->roster, index);
}

/* ---- destination.c ---- */

/* Takes over `def` (zeroed after, also on failure) under a new index, its name known. E_NOMEM, E_CORRUPT. */
MUST_CHECK int destination_make(struct model *m, uint32_t index, struct destination_def *def,
                                uint64_t now_ns, struct destination **ret);
void destination_free(struct destination *t);
/* Returns the bytes of it that are filled. */
size_t destination_describe(const struct model *m, const struct destination *t, uint64_t now_ns,
                            struct destination_detail *ret);

/* ---- destination_valid.c ---- */

/* NULL: fine. Else what is wrong, and ret_pointer names the field as the API calls it. */
const char *making_problem(const struct destination_def *def,
                           const char **ret_pointer); /* destination_making.c */
const char *destination_def_problem(const struct destination_def *def, const char **ret_pointer);

/* ---- destination_gate.c ---- */

/* A way out, and when it may be taken. */
struct way {
    const struct destination *to;
    uint64_t
        wait_ns; /* 0: a start may be decided now; PACE_WAIT_FOR_END: it waits for something else than time */
    bool
        by_turns; /* as destination_by_turns; then a start is one whose turn comes within the horizon */
};

struct way destination_way(const struct model *m, const struct destination *t, uint64_t now_ns,
                           uint64_t horizon_ns);
/* Where the messages of `home` go now. */
struct way destination_route(const struct model *m, const struct destination *home, uint64_t now_ns,
                             uint64_t horizon_ns);
/* What the endpoints are chosen by; 0: the message has no such key. */
uint64_t destination_key(const struct model *m, const struct destination *t,
                         const struct message_view *v);

/* ---- destination_act.c ---- */

enum refusal destination_act(const struct model *m, struct decision *d, struct request *r,
                             const struct destination *t);
enum refusal destination_decide_checked(const struct model *m, struct decision *d,
                                        struct request *r);
/* Emits the status and, where one is wanted, the message that tells it. */
void destination_emit_status(const struct model *m, struct decision *d, const struct destination *t,
                             enum health to, bool by_hand);
void destination_on_timer(const struct model *m, struct decision *d, uint32_t timer_kind,
                          uint64_t ref);
MUST_CHECK int destination_apply_status(struct model *m, const struct applied *w,
                                        struct reader *in);
MUST_CHECK int destination_apply_breaker(struct model *m, const struct applied *w, uint16_t version,
                                         struct reader *in);
MUST_CHECK int destination_apply_endpoint(struct model *m, const struct applied *w,
                                          struct reader *in);
/* After anything that may change failover.evaluate_ns. E_NOMEM. */
MUST_CHECK int destination_set_timer(struct model *m, struct destination *t);

/* ---- destination_ready.c ---- */

void destination_ready_init(struct destinations *s, struct destination *t);
void destination_ready_release(struct destination *t);
/* Room for so many queues. E_NOMEM. */
MUST_CHECK int destination_ready_reserve(struct destination *t, uint32_t queues);
/* The queue to start from at now_ns, and its next message. 0: none; then ret_next_ns says when. */
uint32_t destination_pick(const struct model *m, const struct destination *t, uint64_t now_ns,
                          struct message_view *ret_view, uint64_t *ret_next_ns);
/* `queue` had its turn, or one of its attempts ended: put it where its pace says. */
void destination_ready_turn(struct model *m, struct destination *t, uint32_t queue,
                            uint64_t now_ns);
void destination_ready_ended(struct model *m, uint32_t queue, uint64_t now_ns);
/* A start whose turn is so near is decided, so that it is durable when that comes, ... */
#define TURN_NEAR_NS (8 * NS_PER_MS)
/* ... and those behind it, in the same record, whose turns are not farther. docs/guide/provider-with-500-tps.md says it. */
#define TURN_AHEAD_NS (56 * NS_PER_MS)

/*
 * Whether starts towards `t` are decided before their turns, several at once, since a turn of engine and disk costs more than
 * a start. Only for a queue that is alone: where something more urgent might come in between, starts are decided
 * shortly before they leave.
 */
bool destination_by_turns(const struct model *m, const struct destination *t, uint64_t now_ns);
/* Until a start that leaves when it is decided would not be too early on the even grid; 0 by turns. */
uint64_t destination_early_ns(const struct model *m, const struct way *way, uint64_t now_ns);
void destination_ready_check(const struct model *m);

/* ---- destination_save.c ---- */

int destination_save(const struct model *m, struct buffer *chunk,
                     int (*flush)(void *sink, struct buffer *chunk), void *sink);
int destination_load(struct model *m, struct reader *section);
void destination_check(const struct model *m);

/* ---- attempt.c ---- */

int attempt_apply_started(struct model *m, const struct applied *w, uint16_t version,
                          struct reader *in);
int attempt_apply_deferred(struct model *m, struct reader *in);
void attempts_init(struct destinations *s);
void attempts_release(struct destinations *s);
MUST_CHECK int attempt_add(struct destinations *s, const struct attempt *values);
/* NULL: this message has none under way. */
struct attempt *attempt_find(const struct destinations *s, uint64_t message);
void attempt_remove(struct destinations *s, struct attempt *a);

/* ---- attempt_finish.c ---- */

enum refusal attempt_decide_finish(const struct model *m, struct decision *d, struct request *r);
int attempt_apply_finished(struct model *m, const struct applied *w, struct reader *in);
/* When the message of `a` is tried again, by its queue or by what it says itself; false: it is not. */
bool attempt_retry_at(const struct model *m, struct decision *d, const struct attempt *a,
                      const struct message_view *v, struct span override, uint64_t *ret_ns);

#endif
