#include "api/rate.h"

#include <assert.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "net/peers.h"

struct rate {
    struct hash_key key;
    uint64_t interval_ns; /* of one request */
    uint64_t burst;
    char policy[RATE_TEXT_SIZE];
    _Atomic uint64_t empty_at[RATE_BUCKETS]; /* when nothing of it will be used; in the past: now */
};

static uint64_t seconds_up(uint64_t ns) {
    return (ns + NS_PER_SECOND - 1) / NS_PER_SECOND;
}

int rate_create(uint32_t per_second, uint32_t burst, struct rate **ret) {
    assert(per_second > 0 && per_second <= RATE_MAX && burst <= RATE_MAX);
    struct rate *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return E_NOMEM;
    }
    randombytes_buf(&r->key, sizeof r->key);
    r->interval_ns = NS_PER_SECOND / per_second;
    r->burst = burst != 0 ? burst : per_second;
    snprintf(r->policy, sizeof r->policy, "\"client\";q=%llu;w=%llu", (unsigned long long)r->burst,
             (unsigned long long)seconds_up(r->burst * r->interval_ns));
    *ret = r;
    return 0;
}

void rate_free(struct rate *r) {
    free(r);
}

uint64_t rate_client_of_token(const struct rate *r, const char *label) {
    return hash_bytes(r->key, span_text(label));
}

uint64_t rate_client_of_peer(const struct rate *r, struct span peer) {
    return peers_hash(r->key, peer);
}

bool rate_take(struct rate *r, uint64_t client, uint64_t now_ns, struct rate_state *ret) {
    const uint64_t all_ns = r->burst * r->interval_ns;
    _Atomic uint64_t *bucket = &r->empty_at[client % RATE_BUCKETS];
    uint64_t seen = atomic_load_explicit(bucket, memory_order_relaxed), used_ns;
    bool let_in;
    do {
        used_ns = seen > now_ns ? seen - now_ns : 0;
        let_in = used_ns + r->interval_ns <= all_ns;
    } while (let_in && !atomic_compare_exchange_weak_explicit(
                           bucket, &seen, now_ns + used_ns + r->interval_ns, memory_order_relaxed,
                           memory_order_relaxed));
    ret->wait_ns = let_in ? 0 : used_ns + r->interval_ns - all_ns;
    ret->reset_ns = used_ns + (let_in ? r->interval_ns : 0);
    ret->remaining =
        (uint32_t)((all_ns - (ret->reset_ns < all_ns ? ret->reset_ns : all_ns)) / r->interval_ns);
    return let_in;
}

const char *rate_policy(const struct rate *r) {
    return r->policy;
}

void rate_text(const struct rate_state *s, char ret[RATE_TEXT_SIZE]) {
    snprintf(ret, RATE_TEXT_SIZE, "\"client\";r=%u;t=%llu", s->remaining,
             (unsigned long long)seconds_up(s->reset_ns));
}
