/*
 * engine/internal.h - struct engine and what its files call of one another. Included under engine/ only.
 *
 * Locks, in the order in which they may be taken:
 *   1. engine.lock    the model, the timekeeper, the fact buffer: whoever holds it is the writer;
 *   2. held.deliver_lock, around held.lock: deliveries go out in order;
 *      held.lock      answers, deliveries and starts that wait for the disk; taken by on_durable, so never held
 *                     while calling the log;
 *   3. intake.lock    the queue of requests; held for a few instructions.
 */
#ifndef SLUICE_ENGINE_INTERNAL_H
#define SLUICE_ENGINE_INTERNAL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/memory.h"
#include "engine/timekeeper.h"

/* Facts of one record that collects many small decisions (timers, starts) stay below this. */
#define GATHER_MAX      256u
#define TIMERS_A_TURN   1024u /* a millisecond or two */
#define FACTS_MAX_BYTES (24u << 20)

/* Requests on their way in. */
struct intake {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct engine_request *first; /* link */
    struct engine_request *last;  /* link */
    bool sleeping;                /* the engine thread waits on `wake` */
    bool nudged;                  /* its plan is out of date: it must look again */
    bool urgent;                  /* somebody waits for the answer of one of them */
    bool ends_wait;               /* what is not urgent is taken at the planned time */
    bool stopping;
};

struct held_start {
    uint64_t wait_position;
    struct attempt_start start;
};

/* What waits for the disk, each in order of position. */
struct held {
    pthread_mutex_t lock;
    pthread_mutex_t
        deliver_lock; /* taken before `lock`: deliveries leave in order, by one thread at a time */
    pthread_cond_t progress; /* signalled at each durable position, for those who wait for room */
    struct engine_request *first; /* link */
    struct engine_request *last;  /* link */
    struct held_start *starts;    /* owns; ring */
    uint32_t starts_first, starts_count, starts_capacity;
    uint32_t releasing; /* threads that have taken some out, and are giving them away */
    struct delivery_batch *batches, *last_batch; /* owns */
    _Atomic bool dead; /* the log failed: nothing leaves any more. Set under the lock */
};

/* The housekeeper: snapshots, compaction, release of segments. */
struct keeper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, stopping;
    pid_t child;               /* writes a snapshot; 0: none */
    uint64_t snapshots_wanted; /* tickets given by engine_snapshot */
    uint64_t snapshots_done;   /* the highest ticket that a snapshot, good or not, has answered */
    int snapshot_result;
    /* The rest is the housekeeper's own; before it starts and after it ended, the caller's. */
    bool snapshotting, compacting;
    bool segments_wait;         /* for a newer snapshot, and nothing else, before they may go */
    uint32_t unreadable;        /* segment of which a body could not be read; said once */
    uint64_t kept_positions[2]; /* of the snapshots on disk, newest first; 0: none */
    uint64_t replayed_bytes;    /* of log when opening: a snapshot would spare them */
    uint64_t snapshot_bytes;    /* of the newest: the next one waits for as much log */
    uint64_t bytes_at_snapshot; /* log written and replayed when the last one was taken */
    uint64_t retry_at_ns;       /* monotonic: no snapshot before, after one failed */
    enum log_room room;         /* as it was told last */
    bool told_memory;           /* the same */
    uint64_t trim_at_ns;        /* monotonic: for a shortage no heap is trimmed before */
    struct memory_slack slack;
};

/* Reads, after the start, the sealed segments that the replay did not need (checker.c). */
struct checker {
    pthread_t thread;
    bool running;
    _Atomic bool stopping;
    _Atomic uint64_t damaged; /* stretches found */
    uint64_t up_to;           /* position: what is behind was read by the replay */
    uint64_t unpaused_bytes;
};

/* The audit file (auditor.c); the housekeeper's own. */
struct auditor {
    bool open, busy;
    int file;
    uint64_t size;        /* of its whole lines */
    uint64_t number;      /* of its last line */
    uint64_t retry_at_ns; /* monotonic, after it could not be written */
};

struct engine {
    _Atomic bool short_of_memory;  /* the housekeeper's verdict */
    struct engine_options options; /* owns directory */
    char *directory;               /* owns */
    const struct file_ops *files;
    struct log *log;     /* owns */
    struct model *model; /* owns */

    pthread_mutex_t lock;
    struct timekeeper timekeeper;
    struct rng random;
    struct hash_key hash_key; /* nobody outside can guess it */
    struct buffer facts;
    struct delivery_batch *batch; /* owns; of the deliveries that are being gathered */
    uint64_t last_position;       /* of the last record appended */
    struct engine_stats stats;
    uint64_t flush_by_ns; /* monotonic: what may wait has waited long enough; 0: nothing waits */
    uint64_t planned_wake_ns; /* monotonic: when the engine thread looks again by itself */
    bool flush_due;       /* timers, starts or deliveries were appended that wait for the disk */
    bool broken;          /* apply failed after append: the process must end */
    bool recovering;      /* there may be attempts of unknown outcome: nothing starts */
    bool short_of_room;   /* timers and starts wait for room */
    bool starts_held;     /* for a stop: nothing starts any more */
    uint32_t timers_left; /* of this turn's */

    struct intake intake;
    struct held held;
    struct keeper keeper;
    struct checker checker;
    struct auditor auditor;
    pthread_t thread;
    bool thread_runs;
    _Atomic uint64_t waiting; /* submitted, not delivered */
    _Atomic uint64_t patient; /* of them, those that may wait */
    _Atomic uint64_t inside;  /* threads in engine_submit */
    _Atomic bool accepting;
};

/* For waits until a time, and for pauses. */
static inline struct timespec engine_timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SECOND),
                             .tv_nsec = (long)(ns % NS_PER_SECOND)};
}

/* Its flush may come later, with another's. */
static inline bool engine_is_patient(const struct engine_request *q) {
    return q->may_wait || q->port->may_wait;
}

/* ---- sequencer.c ---- */
/* Decides a chain and whatever else is due; lock held. Answers go to `held` or, if durable, out at once. */
void sequencer_work(struct engine *e, struct engine_request *first);
/* In manual mode: what waits is decided, and nothing flushed: the first half of engine_turn. */
void engine_decide(struct engine *e);
/* Monotonic time of the next timer or start. Lock held. */
uint64_t sequencer_next_wake_ns(struct engine *e);
/* Facts gathered in e->facts become a record; returns 0 or a negative error (fatal). Lock held. */
MUST_CHECK int sequencer_append(struct engine *e, uint64_t now_ns, uint16_t fact_count,
                                uint64_t *ret_address);
/*
 * After a restart: attempts of unknown outcome. Without room it ends early and `recovering` stays set; it goes
 * on when there is some. Lock held.
 */
MUST_CHECK int sequencer_recover(struct engine *e, uint64_t *ret_count);
uint64_t engine_now_ns(struct engine *e);
uint64_t engine_monotonic_ns(struct engine *e);
/* The state cannot be trusted any more: stops everything and tells `failed`. */
void engine_break(struct engine *e, const char *what, int error);

/* ---- replies.c ---- */
MUST_CHECK int held_init(struct held *h);
void held_release(struct held *h);
/* Adds a chain whose wait_positions do not decrease, then lets go what is durable. */
void replies_hold(struct engine *e, struct engine_request *first, struct engine_request *last);
MUST_CHECK int replies_hold_start(struct engine *e, const struct attempt_start *start,
                                  uint64_t wait_position);
/* It goes with the start of its lead. E_NOMEM. */
MUST_CHECK int replies_join_start(struct engine *e, const struct attempt_start *start);
/* Takes it over. */
void replies_hold_batch(struct engine *e, struct delivery_batch *b);
void replies_release(struct engine *e, uint64_t durable_position);
/* Takes back a request that waits; only after the log died. False: it does not wait here (yet). */
bool replies_withdraw(struct engine *e, struct engine_request *q);
/* Whether there are starts that start_attempts has not got yet, and may still get. */
bool replies_starts_wait(struct engine *e);
/* Hands a chain to its ports, runs of the same port in one call. */
void replies_deliver(struct engine *e, struct engine_request *first);
/* For log_options. */
void replies_on_durable(void *engine, uint64_t position);
void replies_on_failed(void *engine, const char *message);
/* Waits until more is durable than `position`, or the log is dead, or some ms passed. */
void replies_wait_progress(struct engine *e, uint64_t position);

/* ---- snapshot.c ---- */
/* Writes the model's state as of `position` to <directory>/snapshot/<position>.tmp and flushes it. */
MUST_CHECK int snapshot_write(const struct engine *e, uint64_t position, uint64_t time_ns,
                              uint64_t pause_per_mib_ns);
/* .tmp -> .snap, directory flushed; the position must be durable in the log. */
MUST_CHECK int snapshot_publish(const struct engine *e, uint64_t position);
/* How large a published one is; 0: not known. */
uint64_t snapshot_bytes(const struct engine *e, uint64_t position);
/* One that was not published: gone. */
void snapshot_discard(const struct engine *e, uint64_t position);
/*
 * Removes all but the two newest that are not newer than `newest` (those were not readable, or they would
 * be in use); fills kept (newest first).
 */
void snapshot_prune(const struct engine *e, uint64_t newest, uint64_t ret_kept[2]);
/* Loads the newest good one into e->model; 0 and position 0 when there is none. */
MUST_CHECK int snapshot_load(struct engine *e, uint64_t *ret_position, uint64_t *ret_time_ns,
                             char error_text[512]);

/*
 * One module's part of the newest good snapshot of a folder, into a fresh model; for tools, no engine is
 * needed. 0 and position 0 when there is no snapshot. E_NOT_FOUND: no such folder.
 */
MUST_CHECK int snapshot_load_module(const char *directory, const struct file_ops *files,
                                    unsigned module, struct model *m, uint64_t *ret_position);

/* ---- restore.c ---- */
/* Log, snapshot, replay; fills what the recovery tells of them. */
MUST_CHECK int restore_engine(struct engine *e, struct engine_recovery *recovery,
                              char error_text[512]);

/* ---- keeper.c ---- */
MUST_CHECK int keeper_start(struct engine *e);
void keeper_stop(struct engine *e);
/* One snapshot now, in a forked child if `forked`. Nothing to do when nothing happened since the last. */
MUST_CHECK int keeper_snapshot(struct engine *e, bool forked);
/* A snapshot if one is due, then one round of releasing and copying forward. */
void keeper_turn(struct engine *e, bool forked);
/* In manual mode: what else would happen meanwhile. No lock held. */
void keeper_between(struct engine *e, enum engine_step step);
/* One round of releasing and copying forward. */
void keeper_compact(struct engine *e);

/* Waits, and makes the log write. E_IO: it is dead. */
MUST_CHECK int keeper_wait_durable(struct engine *e, uint64_t position);

/* ---- auditor.c ---- */
/* Writes to the audit file what it does not have yet. */
void auditor_turn(struct engine *e);
/* The same for the last time, if `write`, when nothing else is decided any more. */
void auditor_close(struct engine *e, bool write);
/* As engine_call, by whoever closes the engine, when all its threads but the log's have stopped. */
MUST_CHECK int engine_call_at_end(struct engine *e, struct request *r);

/* ---- checker.c ---- */
/* Up to what the loaded snapshot covers; nothing happens when there was none. */
MUST_CHECK int checker_start(struct engine *e);
void checker_stop(struct engine *e);
/* The work of its thread. */
void checker_run(struct engine *e);
/* Says which segments with bodies in use are not there. At the start, before there are threads. */
void checker_miss_segments(struct engine *e);
/* The first damage at or behind `from`, as one line with file and offset. False: there is none to be seen. */
bool checker_describe(struct engine *e, uint64_t from, char text[512]);

void engine_note(struct engine *e, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
