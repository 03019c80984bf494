/*
 * model/lane.h - which of several queues is next: shares by guarantee and by weight.
 *
 * Promise: of the turns given while the same lanes have work, a lane gets its guaranteed percentage, and of
 *          what the guarantees of those with work leave, its weight's part among them. Guarantees together
 *          at most 100 %: no lane is ever more than one turn behind its guarantee; one without lags at most
 *          one of the turns that are left to weights. A lane that had no work and whose share is not used
 *          up is next, but for those that are late already.
 * Shape:   struct lane: one for each slot, in an array that its owner has; struct lanes: those that share.
 *          Room for all is reserved before they join, so that nothing here can fail. All derived: no
 *          part of a snapshot. Cost of a turn: O(log lanes), and a walk over those with a guarantee.
 * Units:   turns.
 */
#ifndef SLUICE_MODEL_LANE_H
#define SLUICE_MODEL_LANE_H

#include <stdbool.h>

#include "base/heap.h"

#define LANE_WEIGHT_MAX 1000u

enum lane_place { LANE_OUT = 0, LANE_READY, LANE_EARLY };

struct lane {
    uint64_t begins;     /* virtual time at which its next turn may come */
    uint64_t due_turn;   /* its guarantee's next turn is not before this one */
    uint32_t ref;        /* whose it is; its slot is the owner's business */
    uint32_t weight;     /* 1..LANE_WEIGHT_MAX */
    uint32_t percent;    /* guaranteed, 0..100 */
    uint32_t rest;       /* of begins: this many weight-ths more */
    uint32_t due_rest;   /* of due_turn: this many percent-ths more */
    uint32_t index;      /* in the heap it stands in */
    uint32_t next, prev; /* slots, among those that are in and have a guarantee */
    bool in;             /* it has work */
    enum lane_place place;
};

struct lanes {
    struct lane *table;  /* borrows; by slot */
    struct heap ready;   /* by when they ought to be done */
    struct heap early;   /* had more than their share: by begins; some without work any more */
    uint64_t now;        /* virtual time: it moves by one turn's part of all weights */
    uint64_t turns;      /* given */
    uint64_t weights;    /* sum over those in the two heaps */
    uint32_t count;      /* of those that are in */
    uint32_t guaranteed; /* first slot, 0: none */
};

void lanes_init(struct lanes *g, struct lane *table);
void lanes_release(struct lanes *g);
/* Room for so many lanes. E_NOMEM. */
MUST_CHECK int lanes_reserve(struct lanes *g, uint32_t count);

/* Slots from 1. Zeroed, or as it was when it left. Must not be in; lanes_reserve made room. */
void lanes_join(struct lanes *g, uint32_t slot, uint32_t ref, uint32_t weight, uint32_t percent);
/* Must be in. What it used up stays used up. */
void lanes_leave(struct lanes *g, uint32_t slot);
/* Not in, and it does not come back here: zeroes the lane. */
void lanes_forget(struct lanes *g, uint32_t slot);
/* The lane had a turn; whether it is still in does not matter. */
void lanes_turn(struct lanes *g, uint32_t slot);

typedef bool lane_can(void *asker, uint32_t ref);
/* Slot of the first one in order that can go, 0: none. A lane may be asked twice. */
uint32_t lanes_pick(const struct lanes *g, lane_can *can, void *asker);
/* Messages that wait for `ref`. */
typedef uint64_t lane_backlog(const void *asker, uint32_t ref);
#define LANES_LOOKED_AT 64u
/*
 * Turns of anybody before the turn behind `own` turns of the lane at `slot` (0: one that was never in): those, and
 * what the others have meanwhile, as far as they have messages. At most 2 * LANES_LOOKED_AT others are looked at.
 */
uint64_t lanes_before(const struct lanes *g, uint32_t slot, uint32_t weight, uint32_t percent,
                      uint64_t own, lane_backlog *backlog, const void *asker);
/* Slot of the only one that is in; 0: none or several are. */
uint32_t lanes_only(const struct lanes *g);
void lanes_check(const struct lanes *g);

#endif
