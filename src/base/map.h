/*
 * base/map.h - hash map from a 64-bit hash to 32-bit slots, in buckets that split one at a time.
 *
 * Promise: extendible hashing. A look-up reads one line of a small directory and then the place, in huge pages; growing
 *          moves a bucket (576 entries at most, a few microseconds) and, each time the map has doubled, copies the
 *          directory (0.5 MB at ten million entries). 10.7 to 16 bytes an entry, and what is removed gives
 *          its memory back to the map. Holds slots and hash bits: the key lives in the cell that the slot names; the
 *          caller's `match` compares it.
 * Errors:  E_NOMEM, and nothing has changed.
 */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pages.h"

#define MAP_BUCKET_PAGES 3u
#define MAP_DEPTH_MAX    20u /* of the directory: room for 400 million entries */

typedef bool map_match(const void *owner, uint32_t slot, const void *key);

struct map_bucket {
    uint32_t pages[MAP_BUCKET_PAGES];
    uint16_t count; /* true only where the bucket is at home: map.c */
    uint8_t depth;
    uint8_t page_count;
};

struct map {
    struct map_bucket *buckets; /* owns: 1 << depth of them; NULL: nothing was put in yet */
    uint32_t depth;
    struct pages pages;
    uint32_t at_depth[MAP_DEPTH_MAX + 1]; /* buckets of each depth */
    uint64_t count;
    const void *owner; /* borrows: passed to match */
    map_match *match;
};

void map_init(struct map *m, const void *owner, map_match *match);
void map_release(struct map *m);
/* The slot whose cell matches, or 0. */
uint32_t map_find(const struct map *m, uint64_t hash, const void *key);
/* Starts to bring the place of a hash into the cache; worth it some hundred instructions ahead. */
void map_prefetch(const struct map *m, uint64_t hash);
/* What map_find would answer if no two hashes shared their high 32 bits; touches no cell. 0: it is not there. */
uint32_t map_likely(const struct map *m, uint64_t hash);
/* The key must not be there yet. */
MUST_CHECK int map_insert(struct map *m, uint64_t hash, uint32_t slot);
/* The slot must be there. */
void map_remove(struct map *m, uint64_t hash, uint32_t slot);
/* Asserts I1..I4; for tests. */
void map_check(const struct map *m);
size_t map_memory_bytes(const struct map *m);

/*
 * For keys that come and go in runs: those of a run share a few pages, so that its look-ups stay in the cache,
 * however large the map is. 4,096 runs that follow one another lie apart.
 */
static inline uint64_t map_hash_in_run(uint64_t hash, uint64_t run) {
    const uint64_t mask = UINT64_C(0xfff) << 32;
    return (hash & ~mask) | (run << 32 & mask);
}

#endif
