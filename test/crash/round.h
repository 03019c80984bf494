/*
 * test/crash/round.h - which round of a crash test this is.
 *
 * `make test` runs round 0. `make crash` goes on with 1, 2, ... by SLUICE_CRASH_ROUND until its time is over: each
 * round has seeds of its own, so other workloads are broken at other places.
 */
#ifndef SLUICE_TEST_CRASH_ROUND_H
#define SLUICE_TEST_CRASH_ROUND_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t crash_round(void) {
    const char *text = getenv("SLUICE_CRASH_ROUND");
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

/* The seed of this round that stands for `seed` in round 0. */
static inline uint64_t crash_seed(uint64_t seed) {
    return seed + crash_round() * 1000003u;
}

#endif
