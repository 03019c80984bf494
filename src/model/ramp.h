/*
 * model/ramp.h - a destination that was idle, or whose breaker closed again, is not hit by all at once.
 *
 * Promise: for `duration_ns` from the beginning of a ramp the rate climbs in proportion to the time passed, from
 *          a tenth of the limit to all of it; without a rate the number of calls under way climbs so.
 * Shape:   plain struct, integers only. Begun by a start after idle_ns without any, or by ramp_begin.
 */
#ifndef SLUICE_MODEL_RAMP_H
#define SLUICE_MODEL_RAMP_H

#include <stdbool.h>

#include "model/limits.h"

struct ramp_def {
    uint64_t duration_ns; /* 0: none */
    uint64_t idle_ns;     /* 0: not after idle times */
};

struct ramp {
    uint64_t from_ns;     /* 0: none yet */
    uint64_t next_ns;     /* the next start of a climbing rate */
    uint64_t last_use_ns; /* of a start or an end */
};

bool ramp_def_valid(const struct ramp_def *def);
void ramp_begin(struct ramp *r, const struct ramp_def *def, uint64_t now_ns);
/* 0, or ns to wait. */
uint64_t ramp_wait_ns(const struct ramp *r, const struct ramp_def *def, const struct limits *l,
                      uint64_t now_ns);
/* After limits_start: this start is under way already. */
void ramp_start(struct ramp *r, const struct ramp_def *def, const struct limits *l,
                uint64_t now_ns);
void ramp_end(struct ramp *r, uint64_t now_ns);
/* How long from now_ns on takes what would take work_ns at the whole rate. */
uint64_t ramp_takes_ns(const struct ramp *r, const struct ramp_def *def, uint64_t now_ns,
                       uint64_t work_ns);

#endif
