/*
 * test/sim/chance.h - what is random to the code under test comes from the seed: see chance.c.
 */
#ifndef SLUICE_TEST_SIM_CHANCE_H
#define SLUICE_TEST_SIM_CHANCE_H

#include <stdint.h>

void chance_seed(uint64_t seed);

#endif
