/*
 * test/sim/audit.h - asks the engine for everything at one moment and compares it with what the clients know.
 *
 *   A1 what was acknowledged is there: letters, entries, purchases, totals, pauses;
 *   A2 what had no answer is wholly there or wholly not, and from now on it is known which;
 *   A3 nothing is there that nobody asked for, or that was refused;
 *   A4 counters are what the lists hold; units in use have numbers of their own and are as many as the stock says;
 *   A5 what is tied is in step: a dead letter's unit is free (or kept, by policy), a live one's is taken.
 */
#ifndef SLUICE_TEST_SIM_AUDIT_H
#define SLUICE_TEST_SIM_AUDIT_H

#include "sim.h"

/* False: the engine died meanwhile. */
bool audit_run(struct sim *s);

#endif
