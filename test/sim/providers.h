/*
 * test/sim/providers.h - the services behind the destinations: when they see a request, what they answer, what they hold against us.
 *
 *      started --latency--> seen by the provider --service--> its answer --> end of the attempt (an operation)
 *            '----------- timeout ---------------------------------------^
 *
 * Promise: whatever a provider sees is checked at once: the body is a letter that was accepted, its key's turn
 *          has come, all limits hold (watch.h), the queues have their shares (shares.h).
 *          A request that was on its way when the process died may still arrive.
 */
#ifndef SLUICE_TEST_SIM_PROVIDERS_H
#define SLUICE_TEST_SIM_PROVIDERS_H

#include "clients.h"
#include "destinations.h"
#include "sim.h"

struct providers *providers_create(struct sim *s);
void providers_free(struct providers *p);

struct destination_facts *provider_facts(const struct sim *s, unsigned destination);
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
/* The answer of a DESTINATION_GET. */
void provider_audit(struct sim *s, unsigned destination, const struct request *get);
bool provider_is_paused(const struct sim *s, unsigned destination);
struct guard *provider_guard(const struct sim *s, unsigned destination);
/* The engine's index of a destination; UINT32_MAX: not known yet. */
uint32_t provider_index(const struct sim *s, unsigned destination);
/* Somebody asks, or was answered, that it is closed no longer, whatever it asked for. */
void provider_reopens(struct sim *s, unsigned destination, bool answered);
/* A redefinition is asked for: one at a time, false while another one is. */
bool provider_redefine(struct sim *s, unsigned destination, const uint32_t counts[LIMITS_EACH]);
/* It holds, or another one does. */
void provider_redefined(struct sim *s, unsigned destination, const uint32_t counts[LIMITS_EACH]);
/* It was refused. */
void provider_not_redefined(struct sim *s, unsigned destination);

#endif
