/*
 * model/adaptive.h - how many calls a destination bears at a time, found by its answer times.
 *
 * Promise: floor <= adaptive_limit <= ceiling. While answers take as long as they usually do the limit grows
 *          by about four calls at a time; as they take longer than 1.5 times that, it shrinks in proportion,
 *          at most to half; each bad outcome takes a tenth. It grows only while it is made use of.
 * Shape:   plain struct; integers only, so that replay finds the same limit on any machine.
 *          What is usual is nearly the best that was seen: were it an average, it would follow the queue that
 *          a growing limit makes, and the limit would grow for ever.
 * Source:  the gradient of TCP Vegas as Netflix's concurrency-limits has it (Gradient2).
 */
#ifndef SLUICE_MODEL_ADAPTIVE_H
#define SLUICE_MODEL_ADAPTIVE_H

#include "model/breaker.h"

/* Off when ceiling is 0. */
struct adaptive_def {
    uint32_t floor;   /* 1 */
    uint32_t ceiling; /* 0 */
};

struct adaptive {
    uint32_t limit_milli;  /* thousandths of a call */
    uint32_t short_us;     /* the last few answers */
    uint64_t usual_us_256; /* 256ths of a us, without a queue; falls at once, rises slowly */
    uint64_t seen_ns;      /* the last answer */
};

bool adaptive_def_valid(const struct adaptive_def *def);
/* Begins at 4 times the floor, or keeps what it found when that still fits. */
void adaptive_define(struct adaptive *a, const struct adaptive_def *def);
/* Calls that may be under way; UINT32_MAX when off. */
uint32_t adaptive_limit(const struct adaptive *a, const struct adaptive_def *def);
/* `in_flight`: when the call ended, itself included. */
void adaptive_end(struct adaptive *a, const struct adaptive_def *def, uint32_t in_flight,
                  enum call_outcome outcome, uint64_t duration_us, uint64_t now_ns);

#endif
