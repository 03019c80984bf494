/*
 * api/events.h - GET /v1/events: the counters four times a second, as server-sent events.
 *
 * Promise: however many watch, the engine is asked once a tick and loop at most; a viewer that does not
 *          keep up misses events (they are absolute, so it loses nothing) and, far behind, is cut off.
 */
#ifndef SLUICE_API_EVENTS_H
#define SLUICE_API_EVENTS_H

#include "api/call.h"

MUST_CHECK int events_create(struct api_loop *l, struct events **ret);
/* After its loop has ended. */
void events_free(struct events *e);
void events_subscribe(struct events *e, struct call *c);

#endif
