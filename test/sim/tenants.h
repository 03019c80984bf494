/*
 * test/sim/tenants.h - the turns of tenants in the fair desk, as its provider sees them.
 *
 * Promise: while two tenants both have messages that could leave at once, their starts are as their weights, but for a
 *          turn or two of each. So none starves.
 */
#ifndef SLUICE_TEST_SIM_TENANTS_H
#define SLUICE_TEST_SIM_TENANTS_H

#include "slips.h"

struct tenants;
struct tenants *tenants_create(void);
void tenants_free(struct tenants *t);

/* NULL: of nobody. */
extern const char *const tenant_names[TENANTS];
uint32_t tenant_weight(const struct sim *s, unsigned tenant);
/* A start of this tenant's. */
void tenants_start(struct sim *s, unsigned tenant);
void tenants_restart(struct sim *s);

#endif
