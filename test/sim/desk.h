/*
 * test/sim/desk.h - the desks themselves: what defines them, and the services that their slips are sent to.
 *
 * As with providers, whatever arrives is checked at once (slips.h), and an attempt's end is a call. A request for
 * several slips arrives as one, and each of them has an end of its own.
 */
#ifndef SLUICE_TEST_SIM_DESK_H
#define SLUICE_TEST_SIM_DESK_H

#include "clients.h"
#include "slips.h"

struct desk_services;
struct desk_services *desk_services_create(struct sim *s);
void desk_services_free(struct desk_services *p);

/* As clients_define. */
bool desks_define(struct sim *s);
/* Is a queue of this name a desk? */
bool desk_is_named(const char *queue);
void desk_start(struct sim *s, const struct attempt_start *a);
void desks_happen(struct sim *s);
uint64_t desks_next_ns(const struct sim *s);
void desks_restart(struct sim *s);
/* As providers_forget. */
void desks_forget(struct sim *s);

#endif
