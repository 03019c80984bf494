/*
 * test/sim/watch.h - one limit of a destination, as those behind it see it kept, over redefinitions as well.
 *
 * Promise: strict: no window of one period of the provider's own clock has more than `count` requests;
 *          smooth: starts in any window of t are at most burst + t * count / period, before one that has a turn
 *          1 + t * count / period (and one that was
 *                  under way in each of the moments that bound it).
 *          What was started under another count is part of the window: a limit that is lowered holds for the
 *          first start behind it. Of a limit that is quite new nothing before it counts. Where the wall clock
 *          jumped ahead, one with a longer period than the hold that follows may see the jump as time that passed.
 * Units:   ns of a clock that crashes do not stop.
 */
#ifndef SLUICE_TEST_SIM_WATCH_H
#define SLUICE_TEST_SIM_WATCH_H

#include "sim.h"

#define WATCH_RING 1024u

/* What a limit allowed when a request left. Eras count what is asked, answered and found out of definitions. */
struct allowance {
    uint32_t count; /* 0: anything */
    uint32_t era;
};

struct watch_event {
    uint64_t from_ns, to_ns; /* it happened in between */
    uint64_t jumped_ns;      /* by the wall clock, before it */
    struct allowance allowed;
};

struct watch {
    struct pace_def def;  /* its count is what holds; 0: there is no such limit now */
    uint32_t asked_count; /* by a redefinition that has no answer */
    uint32_t era;
    bool asked;
    struct watch_event events[WATCH_RING]; /* ring */
    uint64_t event_count;
    uint64_t first; /* before it nothing is known */
};

/* A redefinition is under way, or was answered, or was found to hold. */
void watch_ask(struct watch *w, uint32_t count);
void watch_settle(struct watch *w, uint32_t count);
/* What was seen before is no measure any more. */
void watch_forget(struct watch *w);
/* What holds now, or may hold. */
struct allowance watch_allows(const struct watch *w);
/* Strict: a request that left when `allowed` held reached its provider. */
void watch_arrival(struct sim *s, struct watch *w, const char *name, struct allowance allowed,
                   uint64_t now);
/*
 * Smooth: a start is reported; it was decided since the turn began, and leaves so long after that. By turns it has no part
 * in a burst.
 */
void watch_start(struct sim *s, struct watch *w, const char *name, uint64_t ahead_ns,
                 bool by_turns);

#endif
