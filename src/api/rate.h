/*
 * api/rate.h - how many requests each client may make, so that one cannot take the server from the others.
 *
 * Promise: in any t seconds at most burst + rate * t requests of a client are let in; one that keeps to the rate is
 *          never refused.
 * Shape:   one moment for each of RATE_BUCKETS buckets, made at the start: when its client will have used nothing. A client
 *          is a keyed hash, so two of 65,536 may by chance share a bucket, and nobody can choose with whom.
 *          No clock; monotonic ns are passed in.
 * Threads: any; a bucket is changed by compare and swap.
 * Source:  the generic cell rate algorithm (ITU-T I.371), in integers.
 */
#ifndef SLUICE_API_RATE_H
#define SLUICE_API_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

#define RATE_BUCKETS   65536u
#define RATE_MAX       1000000u
#define RATE_TEXT_SIZE 64u

struct rate;

/* per_second: 1 to RATE_MAX; burst: at once, 0: as many as in a second. E_NOMEM. */
MUST_CHECK int rate_create(uint32_t per_second, uint32_t burst, struct rate **ret);
void rate_free(struct rate *r);

/* Who asks: a token by its label, or else the address of "127.0.0.1:51234" (of IPv6 its /64). */
uint64_t rate_client_of_token(const struct rate *r, const char *label);
uint64_t rate_client_of_peer(const struct rate *r, struct span peer);

struct rate_state {
    uint32_t remaining; /* requests that would be let in right now */
    uint64_t wait_ns;   /* until the next one; 0: now */
    uint64_t reset_ns;  /* until all of the burst is there again */
};
/* One request. True: let in, and counted. */
MUST_CHECK bool rate_take(struct rate *r, uint64_t client, uint64_t now_ns, struct rate_state *ret);

/* "\"client\";q=50;w=5": of RateLimit-Policy. */
const char *rate_policy(const struct rate *r);
/* "\"client\";r=49;t=1": of RateLimit. */
void rate_text(const struct rate_state *s, char ret[RATE_TEXT_SIZE]);

#endif
