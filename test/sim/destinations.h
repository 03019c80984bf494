/*
 * test/sim/destinations.h - the destinations of every run: names, definitions, who pushes to them.
 */
#ifndef SLUICE_TEST_SIM_DESTINATIONS_H
#define SLUICE_TEST_SIM_DESTINATIONS_H

#include "sim.h"
#include "watch.h"

#define DESTINATIONS   6u
#define LIMITS_EACH    3u
#define ENDPOINTS_EACH 3u

enum {
    DESTINATION_SMOOTH,
    DESTINATION_STRICT,
    DESTINATION_CAPPED,
    DESTINATION_MANY,    /* several limits, lanes */
    DESTINATION_GUARDED, /* breaker, budget, ramp, endpoints, adaptive limit, a second destination: */
    DESTINATION_SECOND,
};

/* Drawn from the seed; the counts of `limits` change as definitions do. */
struct destination_facts {
    struct watch limits[LIMITS_EACH]; /* the first one is the definition's pace */
    unsigned limit_count;
    uint32_t concurrency;
    uint64_t timeout_ns;
    struct breaker_def breaker;
    struct budget_def budget;
    struct ramp_def ramp;
    struct adaptive_def adaptive;
    struct balance_def balance;
    unsigned endpoint_count;
    bool fails_over;              /* to DESTINATION_SECOND, */
    struct failover_def failover; /* by these numbers */
};

extern const char *const destination_names[DESTINATIONS], *const endpoint_names[ENDPOINTS_EACH];
/* Where a queue pushes to; -1: nowhere. */
int queue_destination(unsigned queue);

void destination_draw(const struct sim *s, unsigned destination, struct destination_facts *ret);
/* An uninitialised definition. counts: one for each limit, 0: left out; NULL: as they are. */
void destination_fill(const struct destination_facts *facts, unsigned destination,
                      const uint32_t *counts, struct destination_def *ret);
/* The counts in a definition, in the same order. */
void destination_counts(const struct destination_facts *facts, const struct destination_def *def,
                        uint32_t ret_counts[LIMITS_EACH]);

#endif
