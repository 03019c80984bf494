/*
 * model/history.h - what happened to a message: its attempts, its death, and what people did to it.
 *
 * Promise: each attempt that did not succeed, each death, redrive, edit and move of a message is told here in the
 *          order in which it happened, the same after a restart, a compaction of the log and a replay.
 *          A message that succeeds at once costs nothing.
 * Shape:   opaque; bytes beside the message, found by its id. `storied` of the message says that it has some.
 * Limits:  HISTORY_BYTES_MAX a message: then its oldest entries go, and how many went is known;
 *          limits.historyBytes in all: then whole histories go, that which was longest without a change first.
 * Source:  docs/adr/0011-tools-for-messages.md (why not read from the log).
 *
 * Invariants: H1 a message that is there is storied exactly when it has a history;
 *             H2 the bytes counted are the bytes held, and at most limits.historyBytes.
 */
#ifndef SLUICE_MODEL_HISTORY_H
#define SLUICE_MODEL_HISTORY_H

#include "model/model.h"

#define HISTORY_BYTES_MAX 4096u

struct histories;
extern const struct module history_module;

MUST_CHECK int histories_create(const struct model *m, struct histories **ret);
void histories_free(struct histories *s);

/* Stands in snapshots. */
enum history_kind {
    HISTORY_ATTEMPT = 1,
    HISTORY_DIED = 2,
    HISTORY_REDRIVEN = 3,
    HISTORY_EDITED = 4,
    HISTORY_MOVED = 5,
    HISTORY_KIND_MAX = HISTORY_MOVED,
};
const char *history_kind_name(enum history_kind kind);

struct history_entry {
    enum history_kind kind;
    uint64_t time_ns;
    /* ---- of an attempt ---- */
    uint32_t attempt, duration_us, destination, endpoint; /* index; id, 0: its own address */
    uint16_t status;
    uint8_t error;
    uint8_t verdict; /* enum verdict of destination_state.h: HISTORY_RETRIED ... */
    struct span excerpt;
    /* ---- of the others ---- */
    enum dead_reason reason; /* DIED */
    uint32_t queue;          /* MOVED: index of the one that it came from */
    /* ---- as MESSAGE_GET tells it: what the numbers mean today ---- */
    struct span destination_name, endpoint_name, queue_name;
};

/* Verdicts of attempts that did not succeed. */
enum { HISTORY_RETRIED = 2, HISTORY_FAILED = 3, HISTORY_UNKNOWN = 4 };

/* Mutators, for apply. The message must be there; facts of old versions are not told. E_NOMEM. */
MUST_CHECK int history_note(struct model *m, uint64_t message, const struct history_entry *e);
/* It is gone. */
void history_forget(struct model *m, uint64_t message);

/* When the last thing happened; 0: nothing, or not remembered. */
uint64_t history_changed_ns(const struct model *m, uint64_t message);
/* For MESSAGE_GET: u32 entries that went, then the entries with their names. Nothing when there is none. */
MUST_CHECK int history_tell(const struct model *m, uint64_t message, struct buffer *out);
/* Of what history_tell wrote. False: no more, or not readable. */
bool history_next(struct reader *told, struct history_entry *ret);

#endif
