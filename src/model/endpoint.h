/*
 * model/endpoint.h - the endpoints of one destination: how they do, and which of them may be called.
 *
 *      in --consecutive errors, success rate--> ejected --its time is over--> in (slow start)
 *      in --checks fail--> down --checks succeed--> in (slow start)
 *      in --by hand--> out --by hand--> in (slow start)
 *
 * Promise: at most eject_max_percent of the endpoints are ejected by their errors at a time. Each ejection in
 *          a row lasts eject_ns longer. What a check or a person says stays until the same says otherwise.
 * Shape:   one array in the order of the definition; an endpoint is known by the hash of its name, so what
 *          was learned of it survives another definition. Integers only.
 */
#ifndef SLUICE_MODEL_ENDPOINT_H
#define SLUICE_MODEL_ENDPOINT_H

#include "base/span.h"
#include "model/breaker.h"

#define ENDPOINTS_MAX       64u
#define ENDPOINT_WEIGHT_MAX 1000u

enum balance_policy {
    BALANCE_ROUND_ROBIN = 0,
    BALANCE_WEIGHTED = 1,    /* smooth: 5 1 1 goes a a b a c a a */
    BALANCE_DYNAMIC = 2,     /* weighted by measured latency and errors as well */
    BALANCE_LEAST_CALLS = 3, /* fewest under way, by weight */
    BALANCE_CONSISTENT = 4,  /* by the key: weighted rendezvous hashing */
    BALANCE_LEAST_TIME = 5,  /* peak EWMA of answer times, times calls under way */
    BALANCE_TWO_CHOICES = 6, /* the less busy of two that chance names */
};

enum balance_key {
    BALANCE_KEY_NONE = 0,
    BALANCE_KEY_ORDERING = 1, /* the message's ordering key */
    BALANCE_KEY_MEMBER = 2,   /* the member of the campaign entry, else the ordering key */
    BALANCE_KEY_TENANT = 3,   /* what the queue's tenant_header names, else the ordering key */
};

struct balance_def {
    enum balance_policy policy;
    enum balance_key key;
    uint64_t pin_ns;                /* 0: no pinning; else a key stays where it was for so long */
    uint32_t eject_errors;          /* 5; in a row; 0: never for that */
    uint32_t eject_success_percent; /* 0: never for that */
    uint32_t eject_minimum;         /* 20 calls in 10 s before a success rate counts */
    uint64_t eject_ns;              /* 30 s */
    uint32_t eject_max_percent;     /* 50 */
    uint64_t slow_start_ns;         /* 0 */
};

struct endpoint {
    uint32_t id; /* endpoint_id of its name */
    uint32_t weight;
    uint32_t in_flight;
    int64_t turn;        /* smooth weighted: who is furthest behind goes next */
    uint64_t average_us; /* peak EWMA; 0: no answer yet */
    uint64_t answered_ns;
    uint32_t errors;    /* in a row */
    uint32_t ejections; /* in a row */
    uint64_t ejected_until_ns;
    uint64_t returned_ns; /* beginning of its slow start */
    bool down, out;
    struct window calls;
    uint64_t started, succeeded, failed;
};

/* A key that keeps its endpoint. */
struct pin {
    uint64_t key; /* 0: free */
    uint64_t until_ns;
    uint32_t endpoint;
};

struct endpoints {
    struct endpoint *items; /* owns */
    uint32_t count;
    struct pin *pins; /* owns; PIN_SETS * PIN_WAYS, NULL when there is no pinning */
};

struct endpoint_def;

bool balance_def_valid(const struct balance_def *def);
/* Never 0, the same on every machine. */
uint32_t endpoint_id(struct span name);
void endpoints_init(struct endpoints *e);
void endpoints_release(struct endpoints *e);
MUST_CHECK int endpoints_define(struct endpoints *e, const struct endpoint_def *defs,
                                uint32_t count, const struct balance_def *balance);
/* NULL: gone. */
struct endpoint *endpoint_find(const struct endpoints *e, uint32_t id);
/* May be called; else *ret_at_ns (may be NULL) says when, UINT64_MAX: only a person or a check knows. */
bool endpoint_is_in(const struct endpoint *n, uint64_t now_ns, uint64_t *ret_at_ns);
/* Weight in thousandths, less during the slow start. */
uint64_t endpoint_weight(const struct endpoint *n, const struct balance_def *def, uint64_t now_ns);
/* Percent of the calls of the last 10 s that went well; 100 without any. */
uint32_t endpoint_success_percent(const struct endpoint *n, uint64_t now_ns);
/* One of them may be called. *ret_at_ns as above. */
bool endpoints_any_in(const struct endpoints *e, uint64_t now_ns, uint64_t *ret_at_ns);
void endpoint_end(struct endpoints *e, const struct balance_def *def, uint32_t id,
                  enum call_outcome outcome, uint64_t duration_us, uint64_t now_ns);

enum endpoint_change {
    ENDPOINT_OUT = 1,  /* by hand */
    ENDPOINT_IN = 2,   /* by hand; ends an ejection too */
    ENDPOINT_DOWN = 3, /* says the check */
    ENDPOINT_UP = 4,
};
/* Whether the change would change anything. */
bool endpoint_changes(const struct endpoint *n, enum endpoint_change change, uint64_t now_ns);
void endpoint_change(struct endpoint *n, enum endpoint_change change, uint64_t now_ns);

MUST_CHECK int endpoints_save(const struct endpoints *e, struct buffer *out);
/* Into defined ones. E_CORRUPT. */
MUST_CHECK int endpoints_load(struct endpoints *e, struct reader *in);
uint64_t endpoints_memory_bytes(const struct endpoints *e);
void endpoints_check(const struct endpoints *e);

/* ---- pins ---- */

/* The endpoint that keeps this key, 0: none. */
uint32_t pin_find(const struct endpoints *e, uint64_t key, uint64_t now_ns);
/* Lasts pin_ns from now. Of those with the same few places the one that ends first goes. */
void pin_set(struct endpoints *e, uint64_t key, uint32_t endpoint, uint64_t until_ns);

#endif
