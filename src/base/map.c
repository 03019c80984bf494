/*
 * A hash map in shards of open addressing.
 *
 * One shard is two arrays of the same length: a tag byte and a 32-bit slot for each place.
 *
 *      tags   | 00 | 7c | fe=gone | 13 | 00 | ...       0 empty, 1 gone, 2..255 from the hash
 *      slots  |    | 41 |         | 17 |    | ...
 *
 * The low bits of the hash choose the shard, the high 32 bits the place to start (multiplied onto the
 * length, so a length need not be a power of two), bits in between the tag. Look-up walks tags, which
 * share a cache line, and touches a cell only when the tag agrees: one needless touch in 250.
 *
 * I1  count + gone <= 7/8 of the length, so every walk meets an empty place.
 * I2  an entry is reachable from its start place without crossing an empty one.
 *
 * When I1 would break the shard is rebuilt at 7/12 load (which also shrinks it after many removals).
 * So the usual load is 7/12..7/8, at 5 bytes a place: 5.7 to 8.6 bytes an entry. Only one shard is
 * rebuilt at a time; with 10 million entries in 4,096 shards that is about 2,500 entries.
 */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define SHARDS_MAX   4096u
#define LENGTH_MIN   8u
#define TAG_EMPTY    0u
#define TAG_GONE     1u
#define TAG_FIRST    2u
#define TAG_VARIETY  254u
#define PLACE_MISSED UINT32_MAX

struct map_shard {
    uint32_t *slots; /* owns; the tags follow in the same allocation */
    uint32_t length;
    uint32_t count;
    uint32_t gone;
};

static inline uint8_t *shard_tags(const struct map_shard *s) {
    return (uint8_t *)(s->slots + s->length);
}

static inline uint8_t tag_of(uint64_t hash) {
    return (uint8_t)(TAG_FIRST + (((hash >> 12) & 0xffff) * TAG_VARIETY >> 16));
}

static inline uint32_t start_of(const struct map_shard *s, uint64_t hash) {
    return (uint32_t)((hash >> 32) * s->length >> 32);
}

static inline uint32_t place_after(const struct map_shard *s, uint32_t place) {
    return place + 1 == s->length ? 0 : place + 1;
}

static inline struct map_shard *shard_of(const struct map *m, uint64_t hash) {
    return &m->shards[hash & (m->shard_count - 1)];
}

int map_init(struct map *m, uint32_t shard_count, const void *owner, map_match *match,
             map_hash_of *hash_of) {
    assert(shard_count > 0 && shard_count <= SHARDS_MAX);
    assert((shard_count & (shard_count - 1)) == 0);
    struct map_shard *shards = calloc(shard_count, sizeof *shards);
    if (shards == NULL) {
        return E_NOMEM;
    }
    *m = (struct map){
        .shards = shards,
        .shard_count = shard_count,
        .owner = owner,
        .match = match,
        .hash_of = hash_of,
    };
    return 0;
}

void map_release(struct map *m) {
    for (uint32_t i = 0; m->shards != NULL && i < m->shard_count; i++) {
        free(m->shards[i].slots);
    }
    free(m->shards);
    m->shards = NULL;
    m->shard_count = 0;
    m->count = 0;
}

uint32_t map_find(const struct map *m, uint64_t hash, const void *key) {
    const struct map_shard *s = shard_of(m, hash);
    if (s->count == 0) {
        return 0;
    }
    const uint8_t *tags = shard_tags(s);
    uint8_t tag = tag_of(hash);
    for (uint32_t p = start_of(s, hash); tags[p] != TAG_EMPTY; p = place_after(s, p)) {
        if (tags[p] == tag && m->match(m->owner, s->slots[p], key)) {
            return s->slots[p];
        }
    }
    return 0;
}

/* Into the first free place of the walk; I1 holds before and after. */
static void shard_put(struct map_shard *s, uint64_t hash, uint32_t slot) {
    uint8_t *tags = shard_tags(s);
    uint32_t p = start_of(s, hash);
    while (tags[p] >= TAG_FIRST) {
        p = place_after(s, p);
    }
    if (tags[p] == TAG_GONE) {
        s->gone--;
    }
    tags[p] = tag_of(hash);
    s->slots[p] = slot;
    s->count++;
}

/* With the load for `count` entries, of which those that are there are the first. */
static int shard_rebuild(const struct map *m, struct map_shard *s, uint64_t count) {
    uint64_t length = count * 12 / 7 + 1;
    if (length < LENGTH_MIN) {
        length = LENGTH_MIN;
    }
    struct map_shard next = {.length = (uint32_t)length};
    next.slots = malloc(length * (sizeof *next.slots + 1));
    if (next.slots == NULL) {
        return E_NOMEM;
    }
    memset(shard_tags(&next), TAG_EMPTY, length);
    const uint8_t *tags = shard_tags(s);
    for (uint32_t p = 0; p < s->length; p++) {
        if (tags[p] >= TAG_FIRST) {
            shard_put(&next, m->hash_of(m->owner, s->slots[p]), s->slots[p]);
        }
    }
    assert(next.count == s->count);
    free(s->slots);
    *s = next;
    return 0;
}

int map_insert(struct map *m, uint64_t hash, uint32_t slot) {
    assert(slot != 0);
    struct map_shard *s = shard_of(m, hash);
    if (((uint64_t)s->count + s->gone + 1) * 8 > (uint64_t)s->length * 7) {
        int rc = shard_rebuild(m, s, (uint64_t)s->count + 1);
        if (rc != 0) {
            return rc;
        }
    }
    shard_put(s, hash, slot);
    m->count++;
    return 0;
}

int map_reserve(struct map *m, uint64_t count) {
    uint64_t share = count / m->shard_count;
    int rc = 0;
    for (uint32_t i = 0; i < m->shard_count && share > LENGTH_MIN && rc == 0; i++) {
        struct map_shard *s = &m->shards[i];
        if (share > s->count && share * 8 > (uint64_t)s->length * 7) {
            rc = shard_rebuild(m, s, share);
        }
    }
    return rc;
}

static uint32_t shard_place_of(const struct map_shard *s, uint64_t hash, uint32_t slot) {
    const uint8_t *tags = shard_tags(s);
    for (uint32_t p = start_of(s, hash); tags[p] != TAG_EMPTY; p = place_after(s, p)) {
        if (tags[p] >= TAG_FIRST && s->slots[p] == slot) {
            return p;
        }
    }
    return PLACE_MISSED;
}

void map_remove(struct map *m, uint64_t hash, uint32_t slot) {
    struct map_shard *s = shard_of(m, hash);
    assert(s->count > 0);
    uint32_t p = shard_place_of(s, hash, slot);
    assert(p != PLACE_MISSED);
    uint8_t *tags = shard_tags(s);
    s->count--;
    m->count--;
    if (tags[place_after(s, p)] == TAG_EMPTY) {
        tags[p] = TAG_EMPTY; /* no walk goes on past here, so I2 holds without a mark */
    } else {
        tags[p] = TAG_GONE;
        s->gone++;
    }
}

size_t map_memory_bytes(const struct map *m) {
    size_t bytes = m->shard_count * sizeof *m->shards;
    for (uint32_t i = 0; i < m->shard_count; i++) {
        bytes += m->shards[i].length * (sizeof(uint32_t) + 1);
    }
    return bytes;
}
