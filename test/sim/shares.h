/*
 * test/sim/shares.h - lanes: what each queue of a destination gets of its starts while it has messages.
 *
 * Promise: over a stretch in which a queue has, by the answers, a message that nothing holds back: its guaranteed
 *          share of the destination's starts, two turns at most missing; two such queues without
 *          guarantees are apart by their weights, four turns of each at most. A restart begins anew.
 */
#ifndef SLUICE_TEST_SIM_SHARES_H
#define SLUICE_TEST_SIM_SHARES_H

#include "sim.h"

struct shares *shares_create(void);
void shares_free(struct shares *h);
/* A start of a message of `queue` at a destination that has lanes. Before letter_begins. */
void shares_start(struct sim *s, unsigned queue);
void shares_restart(struct sim *s);

#endif
