/*
 * base/map.h - hash map from a 64-bit hash to 32-bit slots, sharded so that growing never stalls.
 *
 * Promise: open addressing in up to 4,096 small shards which grow one at a time (a few microseconds),
 *          11 to 16 bytes per entry. Holds slots and hash bits: the key lives in the cell that the
 *          slot names; the caller's `match` compares it.
 * Errors:  E_NOMEM.
 */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

typedef bool map_match(const void *owner, uint32_t slot, const void *key);

struct map_shard;

struct map {
    struct map_shard *shards; /* owns */
    uint32_t shard_count;     /* power of two */
    uint64_t count;
    const void *owner; /* borrows: passed to match */
    map_match *match;
};

/* shard_count: a power of two up to 4096; 1 suits a map of a few thousand entries. */
MUST_CHECK int map_init(struct map *m, uint32_t shard_count, const void *owner, map_match *match);
void map_release(struct map *m);
/* The slot whose cell matches, or 0. */
uint32_t map_find(const struct map *m, uint64_t hash, const void *key);
/* Starts to bring the place of a hash into the cache; worth it some hundred instructions ahead. */
void map_prefetch(const struct map *m, uint64_t hash);
/* What map_find would answer if no two hashes shared their high 32 bits; touches no cell. 0: it is not there. */
uint32_t map_likely(const struct map *m, uint64_t hash);
/* The key must not be there yet. */
MUST_CHECK int map_insert(struct map *m, uint64_t hash, uint32_t slot);
/* Room for `count` entries in all, spread evenly: loading them then rebuilds little. E_NOMEM. */
MUST_CHECK int map_reserve(struct map *m, uint64_t count);
/* The slot must be there. */
void map_remove(struct map *m, uint64_t hash, uint32_t slot);
size_t map_memory_bytes(const struct map *m);

#endif
