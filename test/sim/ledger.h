/*
 * test/sim/ledger.h - the audit: what clients with rights did, against the entries that tell of it.
 *
 * Promise: L1 an action that was answered and changed something has its entry, from then on and for ever;
 *          L2 one that was refused, or that nobody asked for, has none; none has two;
 *          L3 an entry that was seen stays as it was, under its number;
 *          L4 the file holds, in a chain of hashes without a gap, at least what the log calls written; what it
 *             does not hold the log still has, and both together end in the chain's head.
 */
#ifndef SLUICE_TEST_SIM_LEDGER_H
#define SLUICE_TEST_SIM_LEDGER_H

#include "clients.h"
#include "sim.h"

struct ledger *ledger_create(void);
void ledger_free(struct ledger *l);

/* A client's call, before it is asked: perhaps it says who asks. */
void ledger_sign(struct sim *s, struct call *c);
/* It was answered. */
void ledger_answered(struct sim *s, const struct call *c);
/* The answer of an AUDIT_LIST of the latest entries; the file is read as well. */
void ledger_audit(struct sim *s, const struct request *list);
/* At the end, when all was written: the file alone has everything and nothing else. */
void ledger_finish(struct sim *s);

#endif
