/*
 * plan.h - who clicks when: the crowd's day, drawn from a seed before it begins.
 *
 * Promise: the same options give the same plan. Every member clicks at least once. The clicks before
 *          `late_first` are sorted by time; those from there on are latecomers without a time: they
 *          trickle in for as long as vouchers may still become free.
 * Shape:   one array; 8 bytes a click.
 * Units:   ms relative to the opening; negative is before it.
 */
#ifndef SLUICE_DEMO_PLAN_H
#define SLUICE_DEMO_PLAN_H

#include <stdint.h>

#include "base/compiler.h"

struct plan_options {
    uint32_t entries; /* clicks in all; at least 1.2 for each member */
    uint32_t members;
    uint32_t early_ms; /* early birds come at most this long before the opening */
    uint32_t burst_ms; /* how long the burst lasts */
    uint64_t seed;
};

struct click {
    uint32_t member;
    int32_t due_ms;
};

struct plan {
    struct click *clicks; /* owns */
    uint32_t count;
    uint32_t late_first;
};

/* E_INVALID: too few entries for so many members; E_NOMEM. */
MUST_CHECK int plan_create(const struct plan_options *o, struct plan *ret);
void plan_release(struct plan *p);

#endif
