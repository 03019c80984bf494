/*
 * model/pace.h - how fast something may be started: rate (smooth or strict) and concurrency.
 *
 * Promise: smooth: GCRA; starts in any window of t ns <= burst + t * count / period_ns.
 *          strict: at most `count` starts of which any two that share a token are at least period_ns
 *          apart, counted from the *end* of the earlier to the start of the later. So the far side,
 *          which sees a request some time between its start and its end, never sees more than `count`
 *          in any window of period_ns by its own clock. Starts are also spread by GCRA.
 *          Both: never more than `concurrency` started and not ended.
 * Units:   ns of the record's time; of a start that was decided ahead, its turn's. count 0: no rate limit. concurrency 0: no cap.
 * Shape:   plain struct; integers only; time is passed in and never goes back; the ring of strict
 *          mode (count entries, more for a while after `count` sank) is the only allocation.
 * Source:  docs/adr/0004-pacing.md.
 */
#ifndef SLUICE_MODEL_PACE_H
#define SLUICE_MODEL_PACE_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/reader.h"

enum pace_mode { PACE_SMOOTH = 0, PACE_STRICT = 1 };

#define PACE_COUNT_MAX    1000000u
#define PACE_WAIT_FOR_END UINT64_MAX
#define PACE_TAKES_MAX_NS (UINT64_C(100) * 365 * 86400 * 1000000000)

struct pace_def {
    enum pace_mode mode;
    uint32_t count;       /* per period; 0: unlimited */
    uint64_t period_ns;   /* 1 s unless the rate is a fraction */
    uint32_t burst;       /* GCRA allowance in requests; 0: nobody asked for one, see pace_burst */
    uint32_t concurrency; /* 0: unlimited */
};

struct pace {
    struct pace_def def;
    uint64_t theoretical_ns;   /* GCRA: theoretical arrival time of the next, ... */
    uint32_t theoretical_rest; /* ... and this many count-ths of a ns, < count */
    uint32_t in_flight;
    uint64_t forgotten_ns; /* latest end that is not in the ring; 0: there is none */
    uint64_t *ends;        /* owns; strict: ring of the end times of spent tokens, ascending */
    uint32_t ends_first;   /* index of the oldest */
    uint32_t ends_count;
    uint32_t ends_capacity;
};

/* count, period and burst in their ranges: what pace_define may be given. */
bool pace_def_valid(const struct pace_def *def);
/*
 * The burst that holds: the one asked for, or what 16 ms (smooth) or 100 ms (strict) let pass, at least 1. Replay relies on
 * it: another rule needs another version of the definitions of queues and destinations.
 */
uint32_t pace_burst(const struct pace_def *def);
/* Older programs kept the one that held, whoever chose it: one that is as we would choose it was not asked for. */
void pace_forget_chosen(struct pace_def *def);

void pace_init(struct pace *p);
void pace_release(struct pace *p);
/* New limits while running: no burst arises from it; what was spent stays spent. E_NOMEM. */
MUST_CHECK int pace_define(struct pace *p, const struct pace_def *def);
/* 0: may start now. Else ns to wait; PACE_WAIT_FOR_END: only an end can free a place. Changes nothing. */
uint64_t pace_wait_ns(const struct pace *p, uint64_t now_ns);
/*
 * Whether starts have turns on an even grid: smooth, and nobody asked for a burst. Whoever did gets it at
 * once, and strict goes by ends. A start with a turn may be decided before it: pace_start then counts it at its turn.
 */
bool pace_by_turns(const struct pace *p);
/* The turn of the next start, now_ns when it has come. Without turns: now_ns. */
uint64_t pace_turn_ns(const struct pace *p, uint64_t now_ns);
/* Starts that may follow at once, for people to see: by burst, tokens and concurrency. UINT64_MAX: no limit. */
uint64_t pace_left(const struct pace *p, uint64_t now_ns);
/* ns until so many starts and one more have been made, if each is made as soon as count and period let it. */
uint64_t pace_takes_ns(const struct pace *p, uint64_t now_ns, uint64_t starts);
/* pace_wait_ns must have been 0. The time may lie ahead: the turn of a start that leaves then. */
void pace_start(struct pace *p, uint64_t now_ns);
/* `end_ns` may lie in the future (outcome unknown: the timeout's end). */
void pace_end(struct pace *p, uint64_t end_ns);
/* State as bytes, the definition included, for snapshots. load: into an initialised pace; E_CORRUPT, E_NOMEM. */
MUST_CHECK int pace_save(const struct pace *p, struct buffer *out);
MUST_CHECK int pace_load(struct pace *p, struct reader *in);
void pace_check(const struct pace *p);

#endif
