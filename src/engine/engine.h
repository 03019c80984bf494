/*
 * engine/engine.h - the sequencer: one writer at a time, one order, replies held until durable.
 *
 * Promise: requests are decided one after the other, each at a time that never goes back. What a request's
 *          facts say is one log record: applied at once, answered when its record, and everything that
 *          its decision could have seen, is durable (reads too). A dead log answers nothing.
 * Shape:   opaque. The model belongs to whoever holds the engine's lock: the engine thread, or an I/O thread
 *          whose single request found everything idle and is decided and flushed in place, which
 *          saves two thread switches when a machine has nothing else to do.
 *
 *   I/O threads --engine_submit--> [queue] --> engine thread: decide, log_append, apply --> [held replies]
 *        ^                                                         |  log_commit
 *        +------------- port.deliver <--- on_durable <--- log thread: write, fdatasync
 *
 * Attempts to start (dispatch) travel the same way: decided by the engine when pace allows, given to
 * `start_attempts` once durable.
 */
#ifndef SLUICE_ENGINE_ENGINE_H
#define SLUICE_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "log/log.h"
#include "model/model.h"

struct engine;
struct engine_request;

/*
 * Where answers go: one per I/O loop (and one for dispatch, tools, tests). A chain is in order of the
 * decisions; two chains may overtake one another.
 */
struct engine_port {
    /*
     * A chain of answered requests, linked by `next`. Runs on the log thread, the engine thread or, when
     * decided in place, on the submitting thread inside engine_submit. Must only hand over, never block.
     */
    void (*deliver)(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last);
    /* Its thread has better things to do than to wait for a flush: always handed to the engine thread. */
    bool never_in_place;
    /* Chains are decided in place too while the engine thread sleeps; the log thread flushes them. */
    bool chains_in_place;
    /*
     * Nobody waits for its answers: they may be flushed up to 5 ms later, with something else. What is lost by a
     * crash meanwhile must be such that it is found out and done again.
     */
    bool may_wait;
};

/* First what each step of its way through the engine touches: one line of the cache goes from thread to thread. */
struct engine_request {
    struct engine_request *next; /* link; chains of submit and deliver */
    struct engine_port *port;    /* borrows until delivered */
    bool may_wait;               /* as that of the port: this one */
    uint64_t wait_position;      /* engine's own: answered when this is durable */
    uint64_t submitted_ns;       /* monotonic; set by engine_submit */
    uint64_t decided_ns;         /* the log's time; what the answer says was so then */
    struct request r;
};

/* Where the housekeeper's work may be interrupted, or others' work come in between. */
#define ENGINE_STEP_TABLE(X)                                                                       \
    X(SNAPSHOT_WRITTEN, "snapshot written")                                                        \
    X(SNAPSHOT_DURABLE, "snapshot's position durable")                                             \
    X(SNAPSHOT_PUBLISHED, "snapshot published")                                                    \
    X(SNAPSHOT_PRUNED, "older snapshots removed")                                                  \
    X(SEGMENT_CHOSEN, "segment found dead")                                                        \
    X(SEGMENT_RELEASED, "segment given back")                                                      \
    X(BODIES_READ, "bodies read")                                                                  \
    X(BODIES_MOVED, "bodies moved")                                                                \
    X(AUDIT_FLUSHED, "audit file flushed")

enum engine_step {
#define X(name, text) ENGINE_STEP_##name,
    ENGINE_STEP_TABLE(X)
#undef X
        ENGINE_STEP_COUNT
};

/* Deliveries and notices for AMQP connections, in order. Freed with delivery_batch_free by whoever has it. */
struct delivery_batch {
    struct delivery_batch *next;
    uint64_t wait_position; /* engine's own */
    uint32_t count;
    struct delivery items[];
};
/* A chain; with the origins that are still in it. */
void delivery_batch_free(struct delivery_batch *first);

/* What an engine that is being opened is at. */
#define ENGINE_PROGRESS_TABLE(X)                                                                   \
    X(LOG, "opening the log")                                                                      \
    X(SNAPSHOT, "reading the snapshot")                                                            \
    X(REPLAY, "replaying the log")                                                                 \
    X(RECOVERY, "recording attempts of unknown outcome")                                           \
    X(CHECK, "checking the state")                                                                 \
    X(OPEN, "applying the configuration")

enum engine_progress_step {
#define X(name, text) ENGINE_PROGRESS_##name,
    ENGINE_PROGRESS_TABLE(X)
#undef X
};

/* Any thread may look. */
struct engine_progress {
    _Atomic unsigned step;
    _Atomic uint64_t done, of; /* records that are replayed; 0 before */
};
const char *engine_progress_text(const struct engine_progress *p);

struct engine_options {
    const char *directory;        /* data folder: <directory>/log, <directory>/snapshot */
    const struct file_ops *files; /* NULL: file_ops_system */
    uint64_t segment_bytes;       /* 0: log's default */
    uint64_t min_free_bytes;
    uint64_t memory_max_bytes; /* 0: no limit; see engine/memory.h */
    bool keep_snapshot_room;   /* never less free than a snapshot and two segments need */
    uint64_t prepared_bytes;   /* of log_options */
    bool salvage;
    struct model_limits limits;
    uint32_t queue_max; /* requests submitted and not answered; 0: 65,536; beyond it E_BUSY */
    /* Of log since the last snapshot; at least as much as that one is large. 0: 256 MiB */
    uint64_t snapshot_every_bytes;
    double compact_live_share; /* segments with less live than this are copied forward; 0: 0.3 */
    bool paranoid;             /* model_check after every record: slow */
    bool in_place;             /* decide in the submitting thread when all is idle */
    uint32_t timers_a_turn;    /* so many at most; 0: as many as take a millisecond or two */
    /*
     * For tests and the simulator: no thread and no fork; engine_turn does all the work, and both clocks
     * are asked here. NULL: the system's.
     */
    bool manual;
    uint64_t (*real_ns)(void *context);
    uint64_t (*monotonic_ns)(void *context);
    void *context;                    /* borrows: for the callbacks */
    struct engine_progress *progress; /* borrows, until it is open; NULL: nobody looks */
    /* With `manual`: after each step of the housekeeper, as other threads would run then. It may submit and turn. */
    void (*between)(void *context, enum engine_step step);
    /* Durable starts. Runs on the log thread; must only hand over. NULL: nothing is ever started. */
    void (*start_attempts)(void *context, const struct attempt_start *starts, size_t count);
    /*
     * Durable deliveries, a chain, oldest first; the taker owns it. They are of all sessions: it hands each to
     * its connection. One call at a time, on whichever thread flushed; a CONSUME's answer may come after a
     * delivery. Must only hand over. NULL: nothing is delivered.
     */
    void (*deliver)(void *context, struct delivery_batch *first);
    /*
     * Room on the disk or memory ended or came back: connection.blocked. Any thread, no lock held. NULL: nobody
     * asks.
     */
    void (*room_changed)(void *context, enum log_room room, bool short_of_memory);
    /*
     * The log failed. One line for a person; called once. The process must end with a non-zero code. May run
     * on any thread and with the engine's lock held: must not call the engine.
     */
    void (*failed)(void *context, const char *message);
    /* What a person should look at (damage, a failed snapshot, room that ends or comes back): one line each. */
    void (*note)(void *context, const char *message);
};

struct engine_recovery {
    struct log_recovery log;
    uint64_t snapshot_position; /* 0: none was used */
    uint64_t replayed_records;
    uint64_t unknown_attempts; /* under way when the program ended */
    uint64_t duration_ns;      /* of the whole; of it: */
    uint64_t log_ns, snapshot_ns, replay_ns;
};

/*
 * Opens the log, loads the newest good snapshot, replays what came after, records attempts of unknown outcome, starts
 * the threads. Errors as log_open; error_text says what to do.
 */
MUST_CHECK int engine_open(const struct engine_options *options,
                           struct engine_recovery *ret_recovery, char error_text[512],
                           struct engine **ret_engine);
/*
 * Takes no more requests (E_CLOSED), answers those it has, flushes, snapshots (unless told not to). The ports must still
 * be able to take deliveries until it returns; there are none afterwards. Other threads may go on to call what they call:
 * what asks for a request is refused, what only looks sees the last state.
 */
void engine_stop(struct engine *e, bool snapshot);
/* No attempt is started any more; each that was has been given to start_attempts when this returns (unless the log is dead). */
void engine_hold_starts(struct engine *e);
/* After engine_stop, when nobody is left who knows it. */
void engine_free(struct engine *e);
/* Both. */
void engine_close(struct engine *e, bool snapshot);

/*
 * Up to which position a folder's log was flushed at least, by its newest snapshot's name; 0: none. Without an engine.
 * E_IO: the folder of snapshots cannot be listed; error_text says so and what to do.
 */
MUST_CHECK int engine_newest_snapshot(const char *directory, const struct file_ops *files,
                                      char error_text[512], uint64_t *ret_position);

/*
 * A chain of `count` requests in order, from any thread. On success all will be delivered to their ports. E_BUSY: too
 * many are waiting, or more than queue_max at once, none was taken; E_CLOSED: stopping; E_IO: the log is dead.
 */
MUST_CHECK int engine_submit(struct engine *e, struct engine_request *first,
                             struct engine_request *last, uint32_t count);

/* With options.manual: one turn of the engine, the log and the housekeeper. */
void engine_turn(struct engine *e);

/*
 * For command line, start-up and tests: submits one and waits for its answer. Errors of engine_submit; E_IO
 * also when the log dies meanwhile: whether it happened is then not known.
 */
MUST_CHECK int engine_call(struct engine *e, struct request *r);

/* A stored message by id and address (request outputs): reads the log and checks it. `ret` borrows `bytes`. */
MUST_CHECK int engine_read_message(struct engine *e, uint64_t id, uint64_t address,
                                   struct buffer *bytes, struct stored_message *ret);

/* The same for one who reads many in a row (log_read_ahead); `ret` borrows `ahead`. */
MUST_CHECK int engine_read_message_ahead(struct engine *e, uint64_t id, uint64_t address,
                                         struct log_ahead *ahead, struct stored_message *ret);
/* The same for one who keeps what it read while it reads on; `ret` borrows `bytes`. */
MUST_CHECK int engine_copy_message_ahead(struct engine *e, uint64_t id, uint64_t address,
                                         struct log_ahead *ahead, struct buffer *bytes,
                                         struct stored_message *ret);

/* Encoded definition of a destination by index. E_NOT_FOUND. */
MUST_CHECK int engine_destination(struct engine *e, uint32_t destination, uint32_t *ret_generation,
                                  struct buffer *ret_definition);

/*
 * The destinations that want health checks, if any definition changed since *version (0 at first): true, and
 * for each its index (u32) and the sized encoded definition. False: as before.
 */
bool engine_checked_destinations(struct engine *e, uint32_t *version, struct buffer *ret);

/* Of the data folder: makes what is told to others unique beyond this history. */
uint64_t engine_folder_id(const struct engine *e);

enum log_room engine_room(const struct engine *e);
/* What would grow is refused (BUSY) until messages leave. Any thread. */
bool engine_is_short_of_memory(const struct engine *e);

/* Changes with each change of a user or permission, for those who remember what ACCESS_GET said. Any thread. */
uint64_t engine_access_generation(const struct engine *e);

/*
 * A snapshot of now or later stands on disk when this returns. E_IO, E_FULL, E_NOMEM; E_CLOSED: the engine
 * stops before.
 */
MUST_CHECK int engine_snapshot(struct engine *e);

struct engine_stats {
    uint64_t requests, records, in_place;
    uint64_t refused[REFUSAL_COUNT];
    uint64_t answered; /* by kind of refusal NONE */
    uint64_t waiting;  /* submitted, not answered */
    uint64_t snapshots, snapshot_ns_last, snapshot_fork_ns_last, snapshot_position;
    uint64_t moved_messages, released_segments;
    uint64_t damaged; /* stretches of the log that the check after the start could not read */
    uint64_t memory_bytes;
    uint64_t next_position, durable_position;
    struct log_stats log;
};
void engine_stats(struct engine *e, struct engine_stats *ret);

#endif
