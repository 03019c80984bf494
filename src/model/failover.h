/*
 * model/failover.h - when a destination's messages go to a second one, and when they come back.
 *
 *      HEALTHY --too many failures--> CAUTION --still so after `pending`--> CRITICAL
 *         ^  ^                           |                                     |
 *         |  +---- no longer so ---------+                                     |
 *         +---- after return_after, `probes` calls in a row went well ---------+
 *      by hand: to CRITICAL and back; then nothing returns by itself
 *
 * Promise: the status changes only by facts of its own (DESTINATION_STATUS), decided at an evaluation every
 *          `every_ns` on a fixed grid, at the end of the last probe, or for a person. While CRITICAL all
 *          messages go by the second destination, with its budget, but for the probes.
 * Shape:   plain struct, integers only.
 */
#ifndef SLUICE_MODEL_FAILOVER_H
#define SLUICE_MODEL_FAILOVER_H

#include "model/breaker.h"

/* Off when `destination` is empty: then only the status is told. Off wholly when failures is 0. */
struct failover_def {
    char *destination;        /* "" */
    char *queue;              /* "": where events go */
    uint32_t failures;        /* 0: off; more than so many in ... */
    uint64_t within_ns;       /* 1 min */
    uint64_t every_ns;        /* 30 s */
    uint64_t pending_ns;      /* 3 min */
    bool manual_return;       /* false */
    uint64_t return_after_ns; /* 5 min */
    uint32_t probes;          /* 5 */
};

enum health {
    HEALTH_HEALTHY = 0,
    HEALTH_CAUTION = 1,
    HEALTH_CRITICAL = 2,
};
const char *health_name(enum health h);

struct failover {
    enum health health;
    bool by_hand;
    uint64_t since_ns;
    uint64_t evaluate_ns; /* the armed timer, 0: none */
    uint64_t return_ns;   /* CRITICAL: when probes may go */
    uint32_t period;      /* of probing */
    uint32_t probes_out, probes_good;
    struct window failures; /* bad */
};

bool failover_def_valid(const struct failover_def *def);
void failover_define(struct failover *f, const struct failover_def *def);
/* Failures in the window. */
uint32_t failover_failures(const struct failover *f, uint64_t now_ns);
/* What an evaluation now says. */
enum health failover_evaluate(const struct failover *f, const struct failover_def *def,
                              uint64_t now_ns);
/* The status is this from now on. Arms or ends evaluating. */
void failover_set(struct failover *f, const struct failover_def *def, enum health health,
                  bool by_hand, uint64_t now_ns);
bool failover_is_over(const struct failover *f); /* to the second destination */
/* CRITICAL, and a call may try the first one. */
bool failover_may_probe(const struct failover *f, const struct failover_def *def, uint64_t now_ns);
/* A probe starts; what it is to bring back. */
uint32_t failover_probe(struct failover *f);
/* Whether this end makes the last good probe. Changes nothing. */
bool failover_would_return(const struct failover *f, const struct failover_def *def,
                           uint32_t period, enum call_outcome outcome);
/* A call of the first destination ended; period 0: no probe. */
void failover_end(struct failover *f, const struct failover_def *def, uint32_t period,
                  enum call_outcome outcome, uint64_t now_ns);
MUST_CHECK int failover_save(const struct failover *f, struct buffer *out);
MUST_CHECK int failover_load(struct failover *f, struct reader *in);

#endif
