/*
 * test/sim/import.h - a data folder from outside onto the simulated disk: one that an earlier release wrote.
 */
#ifndef SLUICE_TEST_SIM_IMPORT_H
#define SLUICE_TEST_SIM_IMPORT_H

#include "sim.h"

/* Its folders log and snapshot. Fails the run when they cannot be read. */
void import_folder(struct sim *s, const char *folder);

#endif
