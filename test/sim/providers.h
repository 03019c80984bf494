/*
 * test/sim/providers.h - the services behind the destinations: when they see a request, what they answer, what they hold against us.
 *
 *      started --latency--> seen by the provider --service--> its answer --> end of the attempt (an operation)
 *            '----------- timeout ---------------------------------------^
 *
 * Promise: whatever a provider sees is checked at once: the body is a letter that was accepted, its key's turn
 *          has come, and the pace holds.
 *            strict: by the provider's own clock (monotonic, never stopped by a crash) no window of one
 *                    period has more than `count` requests;
 *            smooth: starts in any window of t are at most burst + t * count / period (and one that was
 *                    under way in each of the moments that bound it).
 *          A request that was on its way when the process died may still arrive.
 */
#ifndef SLUICE_TEST_SIM_PROVIDERS_H
#define SLUICE_TEST_SIM_PROVIDERS_H

#include "clients.h"
#include "sim.h"

#define DESTINATIONS 3u

enum { DESTINATION_SMOOTH, DESTINATION_STRICT, DESTINATION_CAPPED };

struct providers *providers_create(struct sim *s);
void providers_free(struct providers *p);

const struct pace_def *provider_pace(const struct sim *s, unsigned destination);
uint64_t provider_timeout_ns(const struct sim *s, unsigned destination);
/* engine_options.start_attempts */
void providers_start(void *sim, const struct attempt_start *starts, size_t count);
/* What is due now happens; ends are queued as calls. */
void providers_happen(struct sim *s);
uint64_t providers_next_ns(const struct sim *s);
/* An ATTEMPT_FINISH was answered, or will never be. */
void provider_finish_answered(struct sim *s, struct call *c);
void provider_finish_lost(struct sim *s, struct call *c);
/* The process is gone; what is on the wire arrives. */
void providers_restart(struct sim *s);
/* What was seen before is no measure any more (the wall clock jumped while nobody looked). */
void providers_forget(struct sim *s);
/* What clients know of a destination. */
void provider_paused(struct sim *s, unsigned destination, bool paused, bool certain);
void provider_audit(struct sim *s, unsigned destination, bool paused);
bool provider_is_paused(const struct sim *s, unsigned destination);
/* A new pace is asked for (`asked`), or holds. */
void provider_pace_defined(struct sim *s, unsigned destination, const struct pace_def *pace,
                           bool asked);

#endif
