/*
 * test/sim/damage.h - a bit flips, a file is cut, gone or doubled: tried on a copy of the disk before a start.
 *
 * The rule: damage is refused, or it does not matter. An engine on the damaged copy either does not open, or has
 * the very state that the undamaged disk gives; every body that it gives out is whole; and what cannot be read stays where it is.
 * Only the end of what was written last may be cut, as a torn write is: the last batch when a bit flipped,
 * more when the file itself lost its end or is gone. Then the state is that of an earlier moment.
 */
#ifndef SLUICE_TEST_SIM_DAMAGE_H
#define SLUICE_TEST_SIM_DAMAGE_H

#include "sim.h"

struct trial;

/* A copy of the disk as it is, for the damages that wait; NULL: none do. */
struct trial *damage_prepare(struct sim *s);
/* Tries them, now that the undamaged disk is open. Frees the trial. */
void damage_try(struct sim *s, struct trial *t);
void damage_drop(struct trial *t);

#endif
