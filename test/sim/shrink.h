/*
 * test/sim/shrink.h - makes a failing plan smaller for as long as it fails: fewer faults, operations, clients.
 */
#ifndef SLUICE_TEST_SIM_SHRINK_H
#define SLUICE_TEST_SIM_SHRINK_H

#include "pool.h"

/* *plan fails; afterwards it is the smallest that was found to. *ret: how that one failed. */
void shrink(struct pool *p, struct plan *plan, const struct outcome **ret);

#endif
