/*
 * A hash map by extendible hashing: a directory of buckets, a bucket of pages, a page of places.
 *
 *      directory (depth 2)     00 -> a     01 -> b     10 -> a     11 -> c        a: depth 1; b, c: depth 2
 *      bucket b                | - | 41 7c01.. | 17 13aa.. | - | ...                1 to 3 pages of 256 places
 *
 * A place is a slot (0: free) and the high 32 bits of its hash. Of these the low ones choose the bucket, as many as the
 * directory is deep; all of them, multiplied onto the bucket's length, the place to start. Look-up compares them where
 * it walks and touches a cell only when they agree: at ten million entries one look-up in 400 does so in vain.
 * Because they are kept, growing touches no cell: it would be a cache miss an entry.
 *
 * A bucket whose depth is less than the directory's stands in it several times. It is *at home* in the first of
 * these entries; only there its count is true, all else is the same in all.
 *
 * I1  a bucket is filled to 3/4 at most, so every walk meets a free place, and soon: a look-up that finds nothing, as
 *     most of first-come members do, walks 8 places (one cache line) at that load, 32 at 7/8.
 * I2  an entry is reachable from its start place without crossing a free one: what is removed is filled
 *     with what was behind it and may stand there, so there are no marks of what has gone.
 * I3  home has the low `depth` bits of all its entries' hashes; at_depth counts the homes.
 * I4  the directory is as deep as its deepest bucket.
 *
 * A full bucket gets another page; one of three splits in two of two pages. So the usual load is 1/2..3/4, at 8 bytes
 * a place: 10.7 to 16 bytes an entry. Why not buckets of one size: those of a good hash are full at about the same time, and
 * halves of them are at 3/8. In the other direction a bucket at 1/4 gives a page back, and two halves that fill
 * half a page join.
 *
 * MAP_DEPTH_MAX bounds the directory where a hash is bad. A bucket there is filled until one place is free.
 */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define PAGE_PLACES    256u
#define PLACES_MAX     (MAP_BUCKET_PAGES * PAGE_PLACES)
#define PAGE_FULL      (PAGE_PLACES * 3 / 4)
#define PAGE_HALF      (PAGE_PLACES / 2)
#define PAGE_FEW       (PAGE_PLACES / 4)
#define PAGE_LOADED    (PAGE_PLACES * 5 / 8)
#define SLOT_EMPTY     0u
#define DIRECTORY(d)   ((size_t)1 << (d))
#define LOW_BITS(x, d) ((x) & (uint32_t)(DIRECTORY(d) - 1))

struct place {
    uint32_t slot;
    uint32_t high; /* of the hash */
};

static inline uint32_t high_of(uint64_t hash) {
    return (uint32_t)(hash >> 32);
}

static inline uint32_t length_of(const struct map_bucket *b) {
    return b->page_count * PAGE_PLACES;
}

static inline uint32_t start_of(const struct map_bucket *b, uint32_t high) {
    return (uint32_t)((uint64_t)high * length_of(b) >> 32);
}

static inline uint32_t place_after(const struct map_bucket *b, uint32_t place) {
    return place + 1 == length_of(b) ? 0 : place + 1;
}

static inline struct place *place_at(const struct map *m, const struct map_bucket *b,
                                     uint32_t place) {
    struct place *page = pages_at(&m->pages, b->pages[place / PAGE_PLACES]);
    return page + place % PAGE_PLACES;
}

static inline const struct map_bucket *bucket_of(const struct map *m, uint32_t high) {
    return &m->buckets[LOW_BITS(high, m->depth)];
}

static inline uint32_t home_of(const struct map *m, uint32_t high) {
    return LOW_BITS(high, bucket_of(m, high)->depth);
}

void map_init(struct map *m, const void *owner, map_match *match) {
    *m = (struct map){.owner = owner, .match = match};
    pages_init(&m->pages, PAGE_PLACES * sizeof(struct place));
}

void map_release(struct map *m) {
    free(m->buckets);
    pages_release(&m->pages);
    map_init(m, m->owner, m->match);
}

/* ---- look-up ---- */

uint32_t map_find(const struct map *m, uint64_t hash, const void *key) {
    if (m->count == 0) {
        return 0;
    }
    uint32_t high = high_of(hash);
    const struct map_bucket *b = bucket_of(m, high);
    const struct place *at;
    for (uint32_t p = start_of(b, high); (at = place_at(m, b, p))->slot != SLOT_EMPTY;
         p = place_after(b, p)) {
        if (at->high == high && m->match(m->owner, at->slot, key)) {
            return at->slot;
        }
    }
    return 0;
}

void map_prefetch(const struct map *m, uint64_t hash) {
    if (m->count > 0) {
        const struct map_bucket *b = bucket_of(m, high_of(hash));
        __builtin_prefetch(place_at(m, b, start_of(b, high_of(hash))), 1);
    }
}

uint32_t map_likely(const struct map *m, uint64_t hash) {
    if (m->count == 0) {
        return 0;
    }
    uint32_t high = high_of(hash);
    const struct map_bucket *b = bucket_of(m, high);
    uint32_t p = start_of(b, high);
    const struct place *at = place_at(m, b, p);
    while (at->slot != SLOT_EMPTY && at->high != high) {
        p = place_after(b, p);
        at = place_at(m, b, p);
    }
    return at->slot;
}

/* ---- places of one bucket ---- */

/* Into the first free place of the walk. */
static void place_put(struct map *m, const struct map_bucket *b, struct place entry) {
    uint32_t p = start_of(b, entry.high);
    while (place_at(m, b, p)->slot != SLOT_EMPTY) {
        p = place_after(b, p);
    }
    *place_at(m, b, p) = entry;
}

static uint32_t walked(const struct map_bucket *b, uint32_t from, uint32_t to) {
    return to >= from ? to - from : to + length_of(b) - from;
}

/* What stands behind moves up, unless it would stand before its start. */
static void place_clear(struct map *m, const struct map_bucket *b, uint32_t hole) {
    for (uint32_t p = place_after(b, hole);; p = place_after(b, p)) {
        const struct place *at = place_at(m, b, p);
        if (at->slot == SLOT_EMPTY) {
            break;
        }
        if (walked(b, start_of(b, at->high), p) >= walked(b, hole, p)) {
            *place_at(m, b, hole) = *at;
            hole = p;
        }
    }
    *place_at(m, b, hole) = (struct place){.slot = SLOT_EMPTY};
}

/* Those of the bucket, in any order; how many. */
static uint32_t bucket_read(const struct map *m, const struct map_bucket *b, struct place *ret) {
    uint32_t n = 0;
    for (uint32_t p = 0; p < length_of(b); p++) {
        const struct place *at = place_at(m, b, p);
        if (at->slot != SLOT_EMPTY) {
            ret[n++] = *at;
        }
    }
    return n;
}

/* Only these are in it from now on. */
static void bucket_fill(struct map *m, struct map_bucket *b, const struct place *entries,
                        uint32_t n) {
    for (uint32_t i = 0; i < b->page_count; i++) {
        memset(pages_at(&m->pages, b->pages[i]), 0, PAGE_PLACES * sizeof *entries);
    }
    for (uint32_t i = 0; i < n; i++) {
        place_put(m, b, entries[i]);
    }
    b->count = (uint16_t)n;
}

static void bucket_shrink(struct map *m, struct map_bucket *b, uint32_t page_count) {
    while (b->page_count > page_count) {
        pages_give(&m->pages, b->pages[--b->page_count]);
    }
}

static int bucket_grow(struct map *m, struct map_bucket *b, uint32_t page_count) {
    const uint32_t before = b->page_count;
    while (b->page_count < page_count) {
        int rc = pages_take(&m->pages, &b->pages[b->page_count]);
        if (rc != 0) {
            bucket_shrink(m, b, before);
            return rc;
        }
        b->page_count++;
    }
    return 0;
}

/* ---- the directory ---- */

/* Wherever the bucket that is at home here stands. */
static void bucket_store(struct map *m, uint32_t home, struct map_bucket b) {
    for (size_t i = home; i < DIRECTORY(m->depth); i += DIRECTORY(b.depth)) {
        m->buckets[i] = b;
    }
}

static int directory_begin(struct map *m) {
    struct map_bucket b = {0};
    struct map_bucket *buckets = malloc(sizeof *buckets);
    if (buckets == NULL || bucket_grow(m, &b, 1) != 0) {
        free(buckets);
        return E_NOMEM;
    }
    bucket_fill(m, &b, NULL, 0);
    *buckets = b;
    m->buckets = buckets;
    m->at_depth[0] = 1;
    return 0;
}

static int directory_double(struct map *m) {
    size_t size = DIRECTORY(m->depth);
    struct map_bucket *buckets = realloc(m->buckets, 2 * size * sizeof *buckets);
    if (buckets == NULL) {
        return E_NOMEM;
    }
    memcpy(buckets + size, buckets, size * sizeof *buckets);
    m->buckets = buckets;
    m->depth++;
    return 0;
}

/* Down to the deepest bucket: I4. */
static void directory_trim(struct map *m) {
    uint32_t before = m->depth;
    while (m->depth > 0 && m->at_depth[m->depth] == 0) {
        m->depth--;
    }
    if (m->depth < before) {
        struct map_bucket *buckets = realloc(m->buckets, DIRECTORY(m->depth) * sizeof *buckets);
        m->buckets = buckets != NULL ? buckets : m->buckets;
    }
}

/* ---- buckets that grow and shrink ---- */

static uint32_t pages_for(uint32_t count) {
    uint32_t pages = (count + PAGE_LOADED - 1) / PAGE_LOADED;
    return pages == 0 ? 1 : pages < MAP_BUCKET_PAGES ? pages : MAP_BUCKET_PAGES;
}

/* Of `entries` those come first whose bit `depth` is clear; how many they are. */
static uint32_t divide(struct place *entries, uint32_t n, uint32_t depth) {
    uint32_t low = 0;
    for (uint32_t i = 0; i < n; i++) {
        if ((entries[i].high >> depth & 1) == 0) {
            struct place moved = entries[low];
            entries[low++] = entries[i];
            entries[i] = moved;
        }
    }
    return low;
}

static int bucket_split(struct map *m, uint32_t home) {
    if (m->buckets[home].depth == m->depth && directory_double(m) != 0) {
        return E_NOMEM;
    }
    struct map_bucket low = m->buckets[home], high = {0};
    struct place entries[PLACES_MAX];
    uint32_t n = bucket_read(m, &low, entries), n_low = divide(entries, n, low.depth);
    int rc = bucket_grow(m, &high, pages_for(n - n_low));
    if (rc != 0) {
        return rc; /* the directory may be deeper than it need be: a later removal trims it */
    }
    m->at_depth[low.depth]--;
    high.depth = ++low.depth;
    m->at_depth[low.depth] += 2;
    bucket_shrink(m, &low, pages_for(n_low));
    bucket_fill(m, &low, entries, n_low);
    bucket_fill(m, &high, entries + n_low, n - n_low);
    bucket_store(m, home, low);
    bucket_store(m, home | (uint32_t)DIRECTORY(low.depth - 1), high);
    return 0;
}

/* With as many entries in so many pages. */
static int bucket_refit(struct map *m, uint32_t home, uint32_t page_count) {
    struct map_bucket b = m->buckets[home];
    struct place entries[PLACES_MAX];
    uint32_t n = bucket_read(m, &b, entries);
    int rc = bucket_grow(m, &b, page_count);
    if (rc != 0) {
        return rc;
    }
    bucket_shrink(m, &b, page_count);
    bucket_fill(m, &b, entries, n);
    bucket_store(m, home, b);
    return 0;
}

/* Two that differ in the last bit only, and are one page each. */
static void buckets_join(struct map *m, uint32_t home, uint32_t other) {
    struct map_bucket low = m->buckets[home], high = m->buckets[other];
    struct place entries[PAGE_PLACES];
    uint32_t n = bucket_read(m, &low, entries);
    n += bucket_read(m, &high, entries + n);
    bucket_shrink(m, &high, 0);
    m->at_depth[low.depth] -= 2;
    low.depth--;
    m->at_depth[low.depth]++;
    bucket_fill(m, &low, entries, n);
    bucket_store(m, home, low);
}

static bool is_full(const struct map_bucket *b) {
    bool last = b->depth == MAP_DEPTH_MAX && b->page_count == MAP_BUCKET_PAGES;
    return b->count >= (last ? PLACES_MAX - 1 : b->page_count * PAGE_FULL);
}

static int bucket_relieve(struct map *m, uint32_t home) {
    const struct map_bucket *b = &m->buckets[home];
    if (b->page_count < MAP_BUCKET_PAGES) {
        return bucket_refit(m, home, b->page_count + 1);
    }
    return b->depth < MAP_DEPTH_MAX ? bucket_split(m, home) : E_NOMEM;
}

int map_insert(struct map *m, uint64_t hash, uint32_t slot) {
    assert(slot != SLOT_EMPTY);
    struct place entry = {.slot = slot, .high = high_of(hash)};
    int rc = m->buckets == NULL ? directory_begin(m) : 0;
    while (rc == 0 && is_full(&m->buckets[home_of(m, entry.high)])) {
        rc = bucket_relieve(m, home_of(m, entry.high));
    }
    if (rc != 0) {
        return rc;
    }
    struct map_bucket *b = &m->buckets[home_of(m, entry.high)];
    place_put(m, b, entry);
    b->count++;
    m->count++;
    return 0;
}

/* It may be joined with its other half, which then may be again. */
static void bucket_thin(struct map *m, uint32_t home) {
    const struct map_bucket *b = &m->buckets[home];
    if (b->page_count > 1) {
        (void)bucket_refit(m, home, b->page_count - 1); /* what shrinks needs nothing */
        return;
    }
    while (b->depth > 0) {
        uint32_t bit = (uint32_t)DIRECTORY(b->depth - 1), other = home ^ bit;
        const struct map_bucket *o = &m->buckets[other];
        if (o->depth != b->depth || o->page_count > 1 || b->count + o->count > PAGE_HALF) {
            break;
        }
        buckets_join(m, home & ~bit, home | bit);
        home &= ~bit;
        b = &m->buckets[home];
    }
    directory_trim(m);
}

void map_remove(struct map *m, uint64_t hash, uint32_t slot) {
    assert(m->count > 0);
    uint32_t high = high_of(hash), home = home_of(m, high);
    struct map_bucket *b = &m->buckets[home];
    uint32_t p = start_of(b, high);
    for (; place_at(m, b, p)->slot != slot; p = place_after(b, p)) {
        assert(place_at(m, b, p)->slot != SLOT_EMPTY);
    }
    place_clear(m, b, p);
    b->count--;
    m->count--;
    if (b->count <= b->page_count * PAGE_FEW) {
        bucket_thin(m, home);
    }
}

/* ---- the whole ---- */

static void check_bucket(const struct map *m, uint32_t home) {
    const struct map_bucket *b = &m->buckets[home];
    uint32_t n = 0;
    for (uint32_t p = 0; p < length_of(b); p++) {
        const struct place *at = place_at(m, b, p);
        n += at->slot != SLOT_EMPTY;
        assert(at->slot == SLOT_EMPTY || LOW_BITS(at->high, b->depth) == home); /* I3 */
        for (uint32_t q = start_of(b, at->high); at->slot != SLOT_EMPTY && q != p;
             q = place_after(b, q)) {
            assert(place_at(m, b, q)->slot != SLOT_EMPTY); /* I2 */
        }
    }
    assert(n == b->count && n < length_of(b)); /* I1 */
}

void map_check(const struct map *m) {
    uint64_t count = 0;
    uint32_t at_depth[MAP_DEPTH_MAX + 1] = {0};
    for (uint32_t i = 0; m->buckets != NULL && i < DIRECTORY(m->depth); i++) {
        const struct map_bucket *b = &m->buckets[i], *home = &m->buckets[LOW_BITS(i, b->depth)];
        assert(b->depth == home->depth && b->page_count == home->page_count);
        assert(memcmp(b->pages, home->pages, b->page_count * sizeof *b->pages) == 0);
        if (b == home) {
            check_bucket(m, i);
            count += b->count;
            at_depth[b->depth]++;
        }
    }
    assert(count == m->count);
    assert(memcmp(at_depth, m->at_depth, sizeof at_depth) == 0); /* I3 */
}

size_t map_memory_bytes(const struct map *m) {
    size_t directory = m->buckets == NULL ? 0 : DIRECTORY(m->depth) * sizeof *m->buckets;
    return directory + pages_memory_bytes(&m->pages);
}
