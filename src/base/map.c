/*
 * A hash map in shards of open addressing.
 *
 * One shard is an array of places, each a slot (0: free) and the high 32 bits of its hash:
 *
 *      | - | 41 7c01.. | gone | 17 13aa.. | - | ...
 *
 * The low bits of the hash choose the shard, the high 32 bits the place to start (multiplied onto the
 * length, so a length need not be a power of two). Look-up compares the high bits where it walks and
 * touches a cell only when they agree: one needless touch in four thousand million.
 *
 * Why the hash bits are kept: without them a rebuild asks the owner for each hash again, a cache
 * miss in a cell per entry, and growing cost more than all look-ups of a first-come entry together.
 *
 * I1  count + gone <= 3/4 of the length, so every walk meets an empty place, and soon: a look-up that
 *     finds nothing, as most of first-come members do, walks 8 places (one cache line) at that load, 32 at 7/8.
 * I2  an entry is reachable from its start place without crossing an empty one.
 *
 * When I1 would break the shard is rebuilt at 1/2 load (which also shrinks it after many removals).
 * So the usual load is 1/2..3/4, at 8 bytes a place: 10.7 to 16 bytes an entry. Only one shard is
 * rebuilt at a time; with 10 million entries in 4,096 shards that is about 2,500 entries.
 */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define SHARDS_MAX   4096u
#define LENGTH_MIN   8u
#define SLOT_EMPTY   0u
#define SLOT_GONE    UINT32_MAX
#define PLACE_MISSED UINT32_MAX

struct place {
    uint32_t slot;
    uint32_t high; /* of the hash */
};

struct map_shard {
    struct place *places; /* owns */
    uint32_t length;
    uint32_t count;
    uint32_t gone;
};

static inline uint32_t high_of(uint64_t hash) {
    return (uint32_t)(hash >> 32);
}

static inline uint32_t start_of(const struct map_shard *s, uint32_t high) {
    return (uint32_t)((uint64_t)high * s->length >> 32);
}

static inline uint32_t place_after(const struct map_shard *s, uint32_t place) {
    return place + 1 == s->length ? 0 : place + 1;
}

static inline struct map_shard *shard_of(const struct map *m, uint64_t hash) {
    return &m->shards[hash & (m->shard_count - 1)];
}

int map_init(struct map *m, uint32_t shard_count, const void *owner, map_match *match) {
    assert(shard_count > 0 && shard_count <= SHARDS_MAX);
    assert((shard_count & (shard_count - 1)) == 0);
#ifdef MAP_SHARDS_MAX /* fuzzing makes a model a thousand times a second */
    shard_count = shard_count < MAP_SHARDS_MAX ? shard_count : MAP_SHARDS_MAX;
#endif
    struct map_shard *shards = calloc(shard_count, sizeof *shards);
    if (shards == NULL) {
        return E_NOMEM;
    }
    *m = (struct map){
        .shards = shards,
        .shard_count = shard_count,
        .owner = owner,
        .match = match,
    };
    return 0;
}

void map_release(struct map *m) {
    for (uint32_t i = 0; m->shards != NULL && i < m->shard_count; i++) {
        free(m->shards[i].places);
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
    const struct place *places = s->places;
    uint32_t high = high_of(hash);
    for (uint32_t p = start_of(s, high); places[p].slot != SLOT_EMPTY; p = place_after(s, p)) {
        if (places[p].high == high && places[p].slot != SLOT_GONE &&
            m->match(m->owner, places[p].slot, key)) {
            return places[p].slot;
        }
    }
    return 0;
}

void map_prefetch(const struct map *m, uint64_t hash) {
    const struct map_shard *s = shard_of(m, hash);
    if (s->count > 0) {
        __builtin_prefetch(&s->places[start_of(s, high_of(hash))]);
    }
}

uint32_t map_likely(const struct map *m, uint64_t hash) {
    const struct map_shard *s = shard_of(m, hash);
    uint32_t high = high_of(hash), p = s->count == 0 ? 0 : start_of(s, high);
    while (s->count > 0 && s->places[p].slot != SLOT_EMPTY) {
        if (s->places[p].high == high && s->places[p].slot != SLOT_GONE) {
            return s->places[p].slot;
        }
        p = place_after(s, p);
    }
    return 0;
}

static inline bool place_taken(const struct place *p) {
    return p->slot != SLOT_EMPTY && p->slot != SLOT_GONE;
}

/* Into the first free place of the walk; I1 holds before and after. */
static void shard_put(struct map_shard *s, uint32_t high, uint32_t slot) {
    uint32_t p = start_of(s, high);
    while (place_taken(&s->places[p])) {
        p = place_after(s, p);
    }
    if (s->places[p].slot == SLOT_GONE) {
        s->gone--;
    }
    s->places[p] = (struct place){.slot = slot, .high = high};
    s->count++;
}

/* With the load for `count` entries, of which those that are there are the first. */
static int shard_rebuild(struct map_shard *s, uint64_t count) {
    uint64_t length = count * 2 + 1;
    if (length < LENGTH_MIN) {
        length = LENGTH_MIN;
    }
    struct map_shard next = {.length = (uint32_t)length};
    next.places = calloc(length, sizeof *next.places);
    if (next.places == NULL) {
        return E_NOMEM;
    }
    for (uint32_t p = 0; p < s->length; p++) {
        if (place_taken(&s->places[p])) {
            shard_put(&next, s->places[p].high, s->places[p].slot);
        }
    }
    assert(next.count == s->count);
    free(s->places);
    *s = next;
    return 0;
}

int map_insert(struct map *m, uint64_t hash, uint32_t slot) {
    assert(slot != SLOT_EMPTY && slot != SLOT_GONE);
    struct map_shard *s = shard_of(m, hash);
    if (((uint64_t)s->count + s->gone + 1) * 4 > (uint64_t)s->length * 3) {
        int rc = shard_rebuild(s, (uint64_t)s->count + 1);
        if (rc != 0) {
            return rc;
        }
    }
    shard_put(s, high_of(hash), slot);
    m->count++;
    return 0;
}

int map_reserve(struct map *m, uint64_t count) {
    uint64_t share = count / m->shard_count;
    int rc = 0;
    for (uint32_t i = 0; i < m->shard_count && share > LENGTH_MIN && rc == 0; i++) {
        struct map_shard *s = &m->shards[i];
        if (share > s->count && share * 4 > (uint64_t)s->length * 3) {
            rc = shard_rebuild(s, share);
        }
    }
    return rc;
}

static uint32_t shard_place_of(const struct map_shard *s, uint64_t hash, uint32_t slot) {
    for (uint32_t p = start_of(s, high_of(hash)); s->places[p].slot != SLOT_EMPTY;
         p = place_after(s, p)) {
        if (s->places[p].slot == slot) {
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
    s->count--;
    m->count--;
    if (s->places[place_after(s, p)].slot == SLOT_EMPTY) {
        s->places[p].slot = SLOT_EMPTY; /* no walk goes on past here, so I2 holds without a mark */
    } else {
        s->places[p].slot = SLOT_GONE;
        s->gone++;
    }
}

size_t map_memory_bytes(const struct map *m) {
    size_t bytes = m->shard_count * sizeof *m->shards;
    for (uint32_t i = 0; i < m->shard_count; i++) {
        bytes += m->shards[i].length * sizeof(struct place);
    }
    return bytes;
}
