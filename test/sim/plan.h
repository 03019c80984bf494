/*
 * test/sim/plan.h - one run of the simulator as a value: everything that happens in it follows from this.
 *
 * Promise: plan_make(seed) is the same plan everywhere and always; a plan with fewer clients, fewer operations or
 *          fewer faults runs the same way up to where what was left out would have mattered. So a
 *          plan can be reduced (shrink.h).
 * Units:   `at` counts operations: requests of clients and ends of attempts.
 */
#ifndef SLUICE_TEST_SIM_PLAN_H
#define SLUICE_TEST_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define PLAN_FAULTS_MAX  64u
#define PLAN_CLIENTS_MAX 64u
#define PLAN_LENGTH      10000u /* operations over which faults are spread, whatever is run of them */

#define FAULT_TABLE(X)                                                                             \
    X(KILL, "kill", "the process ends, the machine goes on")                                       \
    X(DROP, "drop", "power lost: nothing unflushed arrived")                                       \
    X(TEAR, "tear", "power lost: the first sectors arrived")                                       \
    X(SCATTER, "scatter", "power lost: any sectors arrived")                                       \
    X(GARBLE, "garble", "power lost: any sectors arrived, some as rubbish")                        \
    X(IO_ERROR, "eio", "a changing operation fails with EIO")                                      \
    X(NO_SPACE, "enospc", "a changing operation fails with ENOSPC")                                \
    X(READ_ERROR, "eio-read", "a read fails with EIO")                                             \
    X(SHORT_READ, "short", "a read brings fewer bytes than there are")                             \
    X(SLOW, "slow", "operations take long")                                                        \
    X(FULL, "full", "the disk is full for a while")                                                \
    X(AHEAD, "ahead", "the wall clock jumps ahead")                                                \
    X(BACK, "back", "the wall clock jumps back")                                                   \
    X(CLOSE, "close", "the program is stopped in order and started again")                         \
    X(FLIP, "flip", "a bit of a flushed byte flips")                                               \
    X(CUT, "cut", "a file has lost its end")                                                       \
    X(MISSING, "missing", "a file is gone")                                                        \
    X(DOUBLED, "doubled", "a file is there twice")

enum fault_kind {
#define X(name, text, what) FAULT_##name,
    FAULT_TABLE(X)
#undef X
        FAULT_KINDS
};

const char *fault_name(enum fault_kind k);
const char *fault_text(enum fault_kind k);

/* FLIP and what follows: tried on a copy of the disk at the next start. */
static inline bool fault_is_damage(enum fault_kind k) {
    return k >= FAULT_FLIP;
}
/* Ends the incarnation of the process. */
static inline bool fault_is_stop(enum fault_kind k) {
    return k <= FAULT_GARBLE;
}

struct fault {
    enum fault_kind kind;
    uint32_t number; /* in the plan as it was made: names it through shrinking */
    uint32_t at;     /* operation from which on it waits for its place */
    uint32_t site;   /* SITE_ANY or a site (faults.h) */
    uint32_t nth;    /* of the operations at that site from then on */
    uint64_t amount; /* random: how long, how far, which byte */
};

struct plan {
    uint64_t seed;
    uint32_t clients;
    uint32_t operations;
    uint32_t fault_count;
    struct fault faults[PLAN_FAULTS_MAX];
    const char *import; /* borrows: data folder to start from, NULL: none */
};

void plan_make(struct plan *p, uint64_t seed, uint32_t clients, uint32_t operations);
/* Only the faults whose numbers are listed ("1,4,7", "none", "all"). False: not a list. */
bool plan_keep_faults(struct plan *p, const char *list);
/* The options that replay it exactly. */
void plan_print_options(const struct plan *p, FILE *out);
/* For people. */
void plan_print(const struct plan *p, FILE *out);

#endif
