/*
 * dispatch/lookup.h - how often a name is asked for whose servers keep silent.
 *
 * curl asks on a thread of its own. A request that is given up leaves the thread behind (CURLOPT_QUICK_EXIT), which lives until
 * the system's resolver gives up, 10 s and more: to wait for it would hold up the loop, and with it every destination.
 *
 * Promise: a name of which a lookup was left behind is asked for once a second until one is answered, and of all such names
 *          together at most LOOKUPS_LEFT_MAX are asked for in LOOKUP_LIFE_NS, so threads cannot pile up. Who wanted one that
 *          is not asked for fails as if it did not exist.
 * Shape:   plain structs, caller-owned; all zero is the beginning. Monotonic ns; no allocation.
 */
#ifndef SLUICE_DISPATCH_LOOKUP_H
#define SLUICE_DISPATCH_LOOKUP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

#define LOOKUPS_LEFT_MAX 256u
#define LOOKUP_LIFE_NS   (30 * NS_PER_SECOND)
#define LOOKUP_AGAIN_NS  NS_PER_SECOND

/* Of the whole program. */
struct lookups {
    uint64_t left_ns[LOOKUPS_LEFT_MAX]; /* ring: when the last ones were left behind */
    uint32_t next;
};

/* What is known of the name of an endpoint, or of a health check. */
struct lookup_name {
    uint64_t again_ns;
    bool silent;
};

/* Of a curl handle. */
struct lookup {
    struct lookups *all;      /* borrows */
    struct lookup_name *name; /* borrows */
    bool asks;                /* since lookup_done */
};

/* Also that nothing is waited for. `l` stays as long as `h`. */
MUST_CHECK CURLcode lookup_set(CURL *h, struct lookup *l);
/* What the handle was to do ended so. */
void lookup_done(struct lookup *l, CURL *h, CURLcode result);

/* It was given up before, when it was `answered` or not yet. */
void lookup_withdrawn(struct lookup *l, bool answered);

/* Whether the name may be asked for now. */
MUST_CHECK bool lookup_may(struct lookup_name *name, const struct lookups *all, uint64_t now_ns);
/* Time was over before an answer came. */
void lookup_left(struct lookup_name *name, struct lookups *all, uint64_t now_ns);
/* Also that there is no such name. */
void lookup_answered(struct lookup_name *name);

#endif
