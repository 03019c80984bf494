/*
 * model/breaker.h - the circuit breaker of one destination.
 *
 *      CLOSED --rate of bad or slow calls over the limit--> OPEN --its time is over--> HALF_OPEN
 *        ^                                                   ^                          |  |
 *        |                                                   +--- probes were bad ------+  |
 *        +------------------------------- probes were good --------------------------------+
 *      any --opened by hand--> FORCED --closed by hand--> CLOSED
 *
 * Promise: while OPEN or FORCED nothing may start; in HALF_OPEN at most `probes` calls are made, and only
 *          they decide. Each opening in a row lasts twice as long as the one before, up to open_max_ns.
 *          A call that began before the breaker opened changes nothing any more.
 * Units:   ns of the record's time; percent are whole numbers.
 * Shape:   plain struct; the ring of outcomes of a count window (a byte a call) is the only allocation.
 */
#ifndef SLUICE_MODEL_BREAKER_H
#define SLUICE_MODEL_BREAKER_H

#include <stdbool.h>

#include "model/window.h"

#define BREAKER_CALLS_MAX 1000u

/* Off when neither window is given. */
struct breaker_def {
    uint32_t window_calls;    /* the last so many calls, or ... */
    uint64_t window_ns;       /* ... all calls of the last so many ns; one of the two */
    uint32_t failure_percent; /* 50; opens at this share of bad calls; 0: bad ones do not count */
    uint64_t slow_ns;         /* 0: no call is slow */
    uint32_t slow_percent;    /* 100; opens at this share of slow calls */
    uint32_t minimum_calls;   /* 20; fewer in the window prove nothing */
    uint32_t probes;          /* 5 */
    uint64_t open_ns;         /* 10 s; the first opening */
    uint64_t open_max_ns;     /* 10 min */
};

enum breaker_state {
    BREAKER_CLOSED = 0,
    BREAKER_OPEN = 1,
    BREAKER_HALF_OPEN = 2,
    BREAKER_FORCED = 3,
};
const char *breaker_state_name(enum breaker_state s);

/* How a call ended, as far as its far side is to be judged by it. */
enum call_outcome {
    OUTCOME_NONE = 0, /* says nothing about the far side */
    OUTCOME_GOOD = 1,
    OUTCOME_BAD = 2,
};

struct breaker {
    struct breaker_def def;
    enum breaker_state state;
    uint64_t since_ns;
    uint64_t until_ns; /* OPEN: when probes may go */
    uint32_t openings; /* in a row */
    uint32_t period;   /* of probing; counts up, so that late probes of an earlier one are known */
    uint32_t probes_out, probes_done, probes_bad, probes_slow;
    struct window window;
    uint8_t *calls; /* owns; ring, def.window_calls of them: bit 0 bad, bit 1 slow */
    uint32_t calls_next, calls_count;
    struct call_count counted; /* in the ring */
};

bool breaker_def_valid(const struct breaker_def *def);
void breaker_init(struct breaker *b);
void breaker_release(struct breaker *b);
/* Another window begins empty; the state stays, but a breaker that is switched off closes. E_NOMEM. */
MUST_CHECK int breaker_define(struct breaker *b, const struct breaker_def *def);
/* 0: may start. Else ns to wait; UINT64_MAX: only an end or a person can change it. */
uint64_t breaker_wait_ns(const struct breaker *b, uint64_t now_ns);
/* What the call is to bring back to breaker_end: 0, or the period that it probes for. */
uint32_t breaker_start(struct breaker *b, uint64_t now_ns);
/* True when it has just closed after being open. */
bool breaker_end(struct breaker *b, uint32_t period, enum call_outcome outcome,
                 uint64_t duration_ns, uint64_t now_ns);
void breaker_force(struct breaker *b, bool open, uint64_t now_ns);
/* Calls of the present window. */
struct call_count breaker_counts(const struct breaker *b, uint64_t now_ns);
/* All but the definition. load: into one that was defined. E_CORRUPT. */
MUST_CHECK int breaker_save(const struct breaker *b, struct buffer *out);
MUST_CHECK int breaker_load(struct breaker *b, struct reader *in);
void breaker_check(const struct breaker *b);

#endif
