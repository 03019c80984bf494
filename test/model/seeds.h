/*
 * test/model/seeds.h - which seeds a test of random runs goes through: 1 to `count`, or the one that SEED names, so that
 * a run that failed is repeated alone.
 */
#ifndef SLUICE_TEST_MODEL_SEEDS_H
#define SLUICE_TEST_MODEL_SEEDS_H

#include <stdint.h>
#include <stdlib.h>

struct seeds {
    uint64_t first, last;
};

static inline struct seeds seeds_to_run(uint64_t count) {
    const char *only = getenv("SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    return (struct seeds){.first = first, .last = only != NULL ? first : count};
}

#endif
