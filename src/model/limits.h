/*
 * model/limits.h - several paces at once: 500 a second and 20,000 an hour and 8 at a time.
 *
 * Promise: a start takes a token of each, so each holds as if it were alone (see pace.h); what one
 *          refuses costs the others nothing.
 * Memory:  a smooth limit is a hundred bytes whatever its period; a strict one has a ring of 8 bytes
 *          for each of its tokens, allocated once: 160 KB for 20,000 an hour, 8 MB at PACE_COUNT_MAX.
 * Shape:   plain struct, owned paces, no clock.
 */
#ifndef SLUICE_MODEL_LIMITS_H
#define SLUICE_MODEL_LIMITS_H

#include "model/pace.h"

#define LIMITS_MAX 8u

struct limits {
    struct pace *paces; /* owns; at least one from limits_define on */
    uint32_t count;
};

void limits_init(struct limits *l);
void limits_release(struct limits *l);
/*
 * New limits while running, 1..LIMITS_MAX of them. Each goes on from the old one with its period, else from an
 * old one that has no successor; one that is quite new has its burst still to earn (`now_ns` not 0), since what
 * was started before is not known for it. E_NOMEM: as before.
 */
MUST_CHECK int limits_define(struct limits *l, const struct pace_def *defs, uint32_t count,
                             uint64_t now_ns);
/* As pace_wait_ns, of the one that makes wait longest. */
uint64_t limits_wait_ns(const struct limits *l, uint64_t now_ns);
void limits_start(struct limits *l, uint64_t now_ns);
void limits_end(struct limits *l, uint64_t end_ns);
uint32_t limits_in_flight(const struct limits *l);
/* The time between two starts by the fastest of the rates, 0 without a rate. */
uint64_t limits_interval_ns(const struct limits *l);
/*
 * How long a start may be put off past its time, so that the next ones go with it, without any being lost: less than
 * what the burst makes up for. 0: not at all.
 */
uint64_t limits_gather_ns(const struct limits *l);
/* Whether each rate goes by turns (pace.h), and there is one. */
bool limits_by_turns(const struct limits *l);
/* As pace_turn_ns, of the one whose turn comes last: at that time none makes wait. */
uint64_t limits_turn_ns(const struct limits *l, uint64_t now_ns);
/* From the turn of that one's next start to its next but one. */
uint64_t limits_gap_ns(const struct limits *l);
/* The smallest cap on starts under way, UINT32_MAX without. */
uint32_t limits_concurrency(const struct limits *l);
uint64_t limits_memory_bytes(const struct limits *l);
MUST_CHECK int limits_save(const struct limits *l, struct buffer *out);
/* Into an initialised one. E_CORRUPT, E_NOMEM. */
MUST_CHECK int limits_load(struct limits *l, struct reader *in);
void limits_check(const struct limits *l);

#endif
