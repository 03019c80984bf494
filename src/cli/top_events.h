/*
 * cli/top_events.h - takes a stream of server-sent events apart (HTML standard, section 9.2).
 *
 * Promise: bytes may come in any pieces; `event` is called once per event that has data, with its lines
 *          joined. Comments, `id` and `retry` are passed over. An event above the limit is dropped.
 * Shape:   plain struct, caller-owned.
 */
#ifndef SLUICE_CLI_TOP_EVENTS_H
#define SLUICE_CLI_TOP_EVENTS_H

#include "base/buffer.h"

#define TOP_EVENT_MAX (1u << 20)

struct top_events {
    struct buffer line, data;
    char name[32];
    bool overflow; /* this event is too large: dropped at its end */
    void (*event)(void *context, const char *name, struct span data);
    void *context; /* borrows */
};

void top_events_init(struct top_events *e,
                     void (*event)(void *context, const char *name, struct span data),
                     void *context);
void top_events_release(struct top_events *e);
/* A new connection: what was half read is forgotten. */
void top_events_clear(struct top_events *e);
void top_events_feed(struct top_events *e, struct span bytes);

#endif
