/*
 * test/sim/outcomes.h - what is told of the ends of messages, to the queue that wants to know.
 *
 * Promise: in any moment each letter of QUEUE_TOLD that is done or dead has had exactly one message in the queue
 *          of ends, which says the same, and one that is not ended has none. (Nobody deletes, purges or
 *          redrives those letters.) Read and deleted by the audits.
 */
#ifndef SLUICE_TEST_SIM_OUTCOMES_H
#define SLUICE_TEST_SIM_OUTCOMES_H

#include "sim.h"

#define ENDS_NAME "sim-ends"

struct outcomes *outcomes_create(void);
void outcomes_free(struct outcomes *o);
/* The answer of a QUEUE_MESSAGES of the queue of ends, after the letters were looked at. */
void outcomes_audit(struct sim *s, const struct request *list);
/* What was seen is deleted. False: the engine died. */
bool outcomes_delete(struct sim *s);

#endif
