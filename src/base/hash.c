/*
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): two rounds for each
 * 8-byte word, four at the end; the last word carries the length in its top byte.
 */
#include "base/hash.h"

#include <endian.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t x, int bits) {
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(struct sip *s) {
    s->v0 += s->v1;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word) {
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

uint64_t hash_bytes(struct hash_key key, struct span in) {
    struct sip s = {
        .v0 = key.k0 ^ 0x736f6d6570736575ull,
        .v1 = key.k1 ^ 0x646f72616e646f6dull,
        .v2 = key.k0 ^ 0x6c7967656e657261ull,
        .v3 = key.k1 ^ 0x7465646279746573ull,
    };
    size_t whole = in.size & ~(size_t)7;
    uint64_t word;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, in.data + i, 8);
        sip_word(&s, le64toh(word));
    }
    uint64_t last = (uint64_t)in.size << 56;
    for (size_t i = whole; i < in.size; i++) {
        last |= (uint64_t)in.data[i] << (8 * (i - whole));
    }
    sip_word(&s, last);
    s.v2 ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(&s);
    }
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
