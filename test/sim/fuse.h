/*
 * test/sim/fuse.h - what a circuit breaker must do, by the ends of attempts that were answered.
 *
 * Promise: while it must be open by them, or was opened by hand, nothing starts; half open, at most so many
 *          probes do; the audit finds the state, and the counts in its window, that they lead to. Ends whose
 *          answers a crash took count from the first on, as many as explain what is found.
 * Shape:   a twin of the documented state machine, with a plain array; knows times as the engine's, from below.
 */
#ifndef SLUICE_TEST_SIM_FUSE_H
#define SLUICE_TEST_SIM_FUSE_H

#include "sim.h"

#define FUSE_LOST_MAX 256u

struct fuse_state {
    enum breaker_state state;
    uint64_t until_ns; /* OPEN: not before */
    uint32_t openings; /* in a row */
    uint32_t period;   /* of probing */
    uint32_t out, done, bad, slow;
    uint32_t count; /* of calls in the window, the oldest first; bit 0 bad, bit 1 slow */
    uint8_t calls[BREAKER_CALLS_MAX];
};

struct fuse_end {
    uint32_t period; /* as fuse_start gave it */
    enum call_outcome outcome;
    uint64_t duration_ns;
};

struct fuse {
    struct breaker_def def;
    struct fuse_state now;
    bool sure;        /* what `now` says must be so */
    bool sure_before; /* an opening or closing by hand was asked for */
    struct fuse_end lost[FUSE_LOST_MAX];
    uint64_t lost_order[FUSE_LOST_MAX];
    uint32_t lost_count;
    bool act_lost; /* an opening or closing by hand may have happened, and no start was since */
};

void fuse_init(struct fuse *f, const struct breaker_def *def);
/* A start is reported. What its end is to bring back. */
uint32_t fuse_start(struct sim *s, struct fuse *f, const char *name);
/* An end was answered. True: it closed, for certain. */
bool fuse_end(const struct sim *s, struct fuse *f, const struct fuse_end *e);
/* It was asked in this order, and there will be no answer. */
void fuse_end_lost(struct fuse *f, const struct fuse_end *e, uint64_t order);
/* By hand: asked, answered, never answered. The answer is true when it closed an open one for certain. */
void fuse_ask(struct fuse *f);
bool fuse_forced(struct fuse *f, bool open);
void fuse_not_forced(struct fuse *f);
void fuse_ask_lost(struct fuse *f);
/* Nothing is known of it but what an audit finds. */
void fuse_doubt(struct fuse *f);
/* What a DESTINATION_GET says; `fresh`: the first one of this life, when nothing is under way. */
void fuse_audit(struct sim *s, struct fuse *f, const char *name,
                const struct destination_info *info, bool fresh);

#endif
