/*
 * test/sim/flights.h - requests on their way to services and back: numbers for them, and what happens to them when.
 *
 * Promise: what is due comes in the order of its time, and at one moment always in the same order.
 */
#ifndef SLUICE_TEST_SIM_FLIGHTS_H
#define SLUICE_TEST_SIM_FLIGHTS_H

#include <stdbool.h>

#include "base/heap.h"

#define FLIGHTS_MAX 8192u

enum flight_event { FLIGHT_ARRIVES = 1, FLIGHT_ENDS = 2 };

struct flights {
    struct heap events;
    uint32_t used, free; /* 0: none */
    uint32_t next_free[FLIGHTS_MAX];
};

void flights_init(struct flights *f);
void flights_release(struct flights *f);
/* A number from 1, below FLIGHTS_MAX. */
uint32_t flights_take(struct flights *f);
void flights_give(struct flights *f, uint32_t flight);
void flights_later(struct flights *f, uint32_t flight, enum flight_event event, uint64_t at_ns);
/* The next that is due, taken out: `ref` the flight, `kind` what happens. False: none is. */
bool flights_next(struct flights *f, uint64_t now_ns, struct heap_entry *ret);
/* When the next is; UINT64_MAX: never. */
uint64_t flights_due_ns(const struct flights *f);

#endif
