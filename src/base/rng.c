/*
 * xoshiro256** by Blackman and Vigna ("Scrambled linear pseudorandom number generators", 2018),
 * seeded by splitmix64 as the authors advise, so that near seeds give unrelated streams.
 */
#include "base/rng.h"

#include <assert.h>

#include "base/hash.h"

__extension__ typedef unsigned __int128 uint128;

static inline uint64_t rotate_left(uint64_t x, int bits) {
    return (x << bits) | (x >> (64 - bits));
}

void rng_init(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ull;
        r->s[i] = hash_u64(seed);
    }
}

uint64_t rng_next(struct rng *r) {
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire's multiply-and-reject: no modulo bias, nearly always one draw. */
uint64_t rng_below(struct rng *r, uint64_t bound) {
    assert(bound > 0);
    uint128 m = (uint128)rng_next(r) * bound;
    if ((uint64_t)m < bound) {
        uint64_t reject_below = -bound % bound;
        while ((uint64_t)m < reject_below) {
            m = (uint128)rng_next(r) * bound;
        }
    }
    return (uint64_t)(m >> 64);
}
