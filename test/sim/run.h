/*
 * test/sim/run.h - runs one plan to its end in the calling process.
 *
 * A check that fails prints to stderr, fills the result and ends the process: run it in a child of its own (pool.h).
 */
#ifndef SLUICE_TEST_SIM_RUN_H
#define SLUICE_TEST_SIM_RUN_H

#include "faults.h"
#include "plan.h"

struct result {
    bool done;         /* the run came to its end and everything was as it must be */
    char message[512]; /* else: what was not */
    uint32_t operations, requests, attempts, deliveries, turns, records;
    uint32_t restarts, refused_starts, snapshots, moved, released;
    uint32_t shares;   /* starts at which a guaranteed share was looked at, */
    uint32_t guarded;  /* ... at which a breaker was not closed, */
    uint32_t budgeted; /* ... of retries that were as many as always may be, */
    uint32_t failed_over, outcomes, entries;
    uint32_t edits, moves, twins, confirmed; /* of single messages; twins: of a unique key */
    uint32_t chores, chored;                 /* jobs that came to their end, what they did */
    uint32_t turns_of_tenants, batched;
    uint32_t audits, replays; /* comparisons of the live state with the log's */
    uint32_t damage_refused, damage_same, damage_cut, damage_salvaged;
    uint32_t happened[FAULT_KINDS];
    struct coverage coverage;
};

struct sim;

void run_plan(const struct plan *plan, struct result *ret);

/* For the files of the simulator: one turn of the engine, and what follows it. */
void run_turn(struct sim *s);

#endif
