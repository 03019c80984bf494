/*
 * api/search.h - the messages of a queue that a filter takes, stored parts included.
 *
 * Promise: bounded work: a call looks at SEARCH_STEPS_MAX * LIST_VISITS_MAX messages and SEARCH_BODIES_MAX bodies at
 *          most, then says with a place how far it came, whether it found anything or not. The engine is asked in steps
 *          of LIST_VISITS_MAX, so it stands still for no search; bodies are read here, on the caller's thread.
 */
#ifndef SLUICE_API_SEARCH_H
#define SLUICE_API_SEARCH_H

#include "engine/engine.h"

#define SEARCH_STEPS_MAX  100u
#define SEARCH_BODIES_MAX 4000u
#define SEARCH_BYTES_MAX  ((uint64_t)64 << 20) /* of bodies */

/* r: a QUEUE_MESSAGES with a filter; answered as the engine would, but for refusals of its own: BUSY, STOPPING. */
void search_run(struct engine *e, struct request *r);

/* The stored message of what a list said, wherever it is by now. E_NOT_FOUND: it is gone. Else as engine_read_message. */
MUST_CHECK int search_read(struct engine *e, const struct message_info *info, struct span queue,
                           struct buffer *bytes, struct stored_message *ret);

#endif
