/*
 * api/clerk.h - one thread for what is long and in no hurry: searches through queues, and jobs.
 *
 * Promise: neither an I/O loop nor the engine waits for it. Searches are done one after the other, in the order in
 *          which they came; CLERK_WAITING_MAX may wait; between two of them a job makes one step. What it takes it
 *          answers, also when it is stopped meanwhile.
 */
#ifndef SLUICE_API_CLERK_H
#define SLUICE_API_CLERK_H

#include "engine/engine.h"

#define CLERK_WAITING_MAX 64u

struct clerk;

/* Starts the thread. E_NOMEM. */
MUST_CHECK int clerk_create(struct engine *engine, struct clerk **ret);
/* Ends the search under way, answers STOPPING to what waits and comes; ends the thread. The engine must still run. */
void clerk_stop(struct clerk *k);
/* After clerk_stop; NULL: nothing. */
void clerk_free(struct clerk *k);

/* A QUEUE_MESSAGES with a filter; delivered to its port from the clerk's thread. E_BUSY, E_CLOSED. */
MUST_CHECK int clerk_search(struct clerk *k, struct engine_request *q);

/* A job was started. Any thread. */
void clerk_wake(struct clerk *k);

#endif
