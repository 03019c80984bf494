/*
 * dispatch/check.h - active health checks: GET a path at each endpoint of the destinations that want it.
 *
 * Promise: an endpoint is asked every interval, one check of it at a time. `rise` good or `fall` bad checks in a
 *          row make a verdict; a verdict that is another than the one told last is told to the engine, as a
 *          request (ENDPOINT_CHECKED), which becomes a fact only if it changes something. Checks draw on
 *          no limit: they are few, and must work while the limits are used up.
 * Shape:   all on the loop's thread. What there is to check is asked of the engine once a second; without
 *          such destinations that is all it costs.
 */
#ifndef SLUICE_DISPATCH_CHECK_H
#define SLUICE_DISPATCH_CHECK_H

#include <curl/curl.h>
#include <uv.h>

#include "base/list.h"

struct dispatch;
struct check;

struct checks {
    struct dispatch *owner; /* borrows */
    uv_timer_t tick;
    struct list all; /* of struct check, owned */
    uint32_t version;
    uint64_t next_look_ns;
};

void checks_init(struct checks *c, struct dispatch *owner);
/* From now on; on the loop's thread or before it runs. */
void checks_start(struct checks *c);
/* Ends all; the loop must run once more to end the timer. */
void checks_stop(struct checks *c);
/* The transfer of a check is over. */
void check_done(struct check *c, CURLcode result);

#endif
