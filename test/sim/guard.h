/*
 * test/sim/guard.h - what protects a destination besides its limits, as seen from outside.
 *
 * Promise: breaker (fuse.h); retries are at most their share of the starts of a window, or what may always be;
 *          behind a breaker that closed again starts climb no faster than the ramp; no more are under way
 *          than the adaptive ceiling; an attempt goes to an endpoint that is not known to be out; messages
 *          go by the second destination when a person said so, and only then or after so many failures.
 * Units:   the engine's time, known as from..to for each start and end.
 */
#ifndef SLUICE_TEST_SIM_GUARD_H
#define SLUICE_TEST_SIM_GUARD_H

#include "destinations.h"
#include "sim.h"

struct guard;

struct guard *guard_create(const struct destination_facts *facts);
void guard_free(struct guard *g);

/* A start at `to` of a message of `home`'s. What its end is to bring back. */
uint32_t guards_start(struct sim *s, unsigned home, unsigned to, const struct attempt_start *a);
void guards_end(struct sim *s, unsigned home, unsigned to, uint32_t ticket,
                const struct attempt_finish *f);
void guards_end_lost(struct sim *s, unsigned home, unsigned to, uint32_t ticket,
                     const struct attempt_finish *f, uint64_t order);
void guards_restart(struct sim *s);
void guard_audit(struct sim *s, unsigned destination, const struct request *get);

/*
 * By hand, and what checks say: kind is DESTINATION_OPEN, CLOSE, FAILOVER, RETURN, ENDPOINT_EJECT, RETURN or
 * CHECKED. ask: one at a time, false while another one is.
 */
bool guard_ask(struct sim *s, unsigned destination, enum request_kind kind, unsigned endpoint);
void guard_answered(struct sim *s, unsigned destination, const struct request *r, unsigned endpoint,
                    bool done);
void guard_ask_lost(struct sim *s, unsigned destination, enum request_kind kind, unsigned endpoint);

#endif
