/*
 * model/balance.h - which endpoint an attempt goes to.
 *
 * Promise: only endpoints that are in are chosen. The choice is a function of the state, the key and the
 *          random numbers given; it stands in the log, and balance_started does what it changes. With
 *          BALANCE_CONSISTENT a key moves only when its endpoint leaves, or when one with a better score
 *          joins: 1/n of the keys.
 * Cost:    O(endpoints).
 */
#ifndef SLUICE_MODEL_BALANCE_H
#define SLUICE_MODEL_BALANCE_H

#include "base/rng.h"
#include "model/endpoint.h"

/* The id; 0: none is in. `key` 0: the message has none. */
uint32_t balance_choose(const struct endpoints *e, const struct balance_def *def, uint64_t key,
                        uint64_t now_ns, struct rng *random);
void balance_started(struct endpoints *e, const struct balance_def *def, uint32_t id, uint64_t key,
                     uint64_t now_ns);

#endif
