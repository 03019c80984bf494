/*
 * An agenda: a sorted front, and behind it leaves that nobody has put in order yet.
 *
 *      front     | 3 4 4 7 9 |                                sorted; only what leaves soon
 *      range 0   [10] 12 10 11   [15] 19 15   [20] 31 24 20      leaves with the lower bound of each
 *      range 1   [40] 40 77 51   [80] ...
 *
 * An entry lies in the last leaf whose bound is not behind it, at its end: one step through the ranges, one
 * through the bounds of one range, one line of the leaf. A leaf that is full is split in the middle (found, not
 * sorted for). When the front has nearly run out the first leaf is sorted and joins it. So an entry is
 * moved about three times in its life, within 4 KiB each time, and nothing else is told where it stands.
 *
 * Why not a heap: ten million entries are 23 levels, nearly each a cache miss, and each entry that moves has to tell
 * its owner, another two. Why not a wheel of buckets by time: ten million that are due in one minute would meet in
 * one bucket, which then has to be loaded at once.
 *
 * I1  front < lows[0]; each entry of a leaf >= its bound and < the next one.
 * I2  with entries anywhere the front is not empty, so the first is known; with leaves anywhere it has more than
 *     AGENDA_AHEAD, so that what is needed for those can be fetched ahead.
 * I3  a range has leaves, a leaf behind the front has entries; lows[i] is the bound of the first leaf of range i.
 * I4  a removal that leaves less than a quarter of a leaf joins it with a neighbour, if both together fill
 *     less than half: what is cancelled gives its memory back.
 */
#include "base/agenda.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/agenda_order.h"
#include "base/error.h"

#define LEAF_ENTRIES  204u
#define LEAF_BYTES    4096u
#define LEAF_HALF     (LEAF_ENTRIES / 2)
#define LEAF_FEW      (LEAF_ENTRIES / 4)
#define RANGE_LEAVES  19u
#define RANGE_BYTES   512u
#define FRONT_ENTRIES (2 * LEAF_ENTRIES)
#define FRONT_FEW     AGENDA_AHEAD /* then the next leaf joins it */
#define LINE_BYTES    64u

/*
 * Bounds and counts apart from leaves: a search reads only them, and an insert one line of the leaf. In the
 * leaves, page by page at the same offset, the counts would also drive each other out of the caches. A range is so
 * small that it can be fetched as a whole before it is searched: with 256 leaves each step of the search was a miss.
 */
struct agenda_range {
    uint32_t count;
    uint32_t page; /* this one */
    uint16_t counts[RANGE_LEAVES];
    uint32_t leaves[RANGE_LEAVES]; /* pages */
    struct agenda_entry bounds[RANGE_LEAVES];
};
_Static_assert(sizeof(struct agenda_range) <= RANGE_BYTES, "a range is a page of its own");
_Static_assert(LEAF_ENTRIES * sizeof(struct agenda_entry) <= LEAF_BYTES, "so is a leaf");

struct place {
    uint32_t range, leaf;
};

void agenda_init(struct agenda *a) {
    *a = (struct agenda){0};
    pages_init(&a->leaves, LEAF_BYTES);
    pages_init(&a->range_pages, RANGE_BYTES);
}

void agenda_release(struct agenda *a) {
    pages_release(&a->leaves);
    pages_release(&a->range_pages);
    free(a->front);
    free(a->ranges);
    free(a->lows);
    agenda_init(a);
}

static inline struct agenda_entry *leaf_at(const struct agenda *a, uint32_t leaf) {
    return pages_at(&a->leaves, leaf);
}

static inline struct agenda_entry *entries_at(const struct agenda *a, struct place p) {
    return leaf_at(a, a->ranges[p.range]->leaves[p.leaf]);
}

/* ---- ranges and their leaves ---- */

/* The last of n > 0 sorted bounds that is not behind e, or the first; no branch that would be guessed wrong. */
static uint32_t last_not_behind(const struct agenda_entry *bounds, uint32_t n,
                                struct agenda_entry e) {
    uint32_t at = 0;
    while (n > 1) {
        uint32_t half = n / 2;
        at += agenda_before(e, bounds[at + half]) ? 0 : half;
        n -= half;
    }
    return at;
}

static bool is_in_front(const struct agenda *a, struct agenda_entry e) {
    return a->range_count == 0 || agenda_before(e, a->lows[0]);
}

static struct place place_of(const struct agenda *a, struct agenda_entry e) {
    struct place p = {.range = last_not_behind(a->lows, a->range_count, e)};
    const struct agenda_range *range = a->ranges[p.range];
    p.leaf = last_not_behind(range->bounds, range->count, e);
    return p;
}

static int ranges_room(struct agenda *a) {
    if (a->range_count < a->range_capacity) {
        return 0;
    }
    uint32_t capacity = a->range_capacity == 0 ? 4 : 2 * a->range_capacity;
    struct agenda_entry *lows = realloc(a->lows, capacity * sizeof *lows);
    a->lows = lows != NULL ? lows : a->lows;
    struct agenda_range **ranges = realloc(a->ranges, capacity * sizeof(struct agenda_range *));
    a->ranges = ranges != NULL ? ranges : a->ranges;
    if (lows == NULL || ranges == NULL) {
        return E_NOMEM;
    }
    a->range_capacity = capacity;
    return 0;
}

/* At `at`; the leaves follow. */
static int range_insert(struct agenda *a, uint32_t at, struct agenda_entry low) {
    uint32_t page = 0;
    int rc = ranges_room(a);
    rc = rc != 0 ? rc : pages_take(&a->range_pages, &page);
    if (rc != 0) {
        return rc;
    }
    struct agenda_range *range = pages_at(&a->range_pages, page);
    range->count = 0;
    range->page = page;
    uint32_t behind = a->range_count++ - at;
    memmove(a->lows + at + 1, a->lows + at, behind * sizeof *a->lows);
    memmove(a->ranges + at + 1, a->ranges + at, behind * sizeof(struct agenda_range *));
    a->lows[at] = low;
    a->ranges[at] = range;
    return 0;
}

static void range_drop(struct agenda *a, uint32_t at) {
    pages_give(&a->range_pages, a->ranges[at]->page);
    uint32_t behind = --a->range_count - at;
    memmove(a->lows + at, a->lows + at + 1, behind * sizeof *a->lows);
    memmove(a->ranges + at, a->ranges + at + 1, behind * sizeof(struct agenda_range *));
}

static void copy_leaves(struct agenda_range *to, const struct agenda_range *from, uint32_t first,
                        uint32_t n) {
    memcpy(to->bounds + to->count, from->bounds + first, n * sizeof *to->bounds);
    memcpy(to->counts + to->count, from->counts + first, n * sizeof *to->counts);
    memcpy(to->leaves + to->count, from->leaves + first, n * sizeof *to->leaves);
    to->count += n;
}

/* Those from `from` on move to `to`, and the range is so much longer or shorter. */
static void range_shift(struct agenda_range *range, uint32_t from, uint32_t to) {
    uint32_t n = range->count - from;
    memmove(range->bounds + to, range->bounds + from, n * sizeof *range->bounds);
    memmove(range->counts + to, range->counts + from, n * sizeof *range->counts);
    memmove(range->leaves + to, range->leaves + from, n * sizeof *range->leaves);
    range->count = to + n;
}

/* The upper half goes into a range of its own; of the last one nothing, for times that grow leave full ranges. */
static int range_split(struct agenda *a, struct place *p, struct agenda_entry bound) {
    const uint32_t at = p->range;
    bool grows = at + 1 == a->range_count && p->leaf == RANGE_LEAVES;
    uint32_t keep = grows ? RANGE_LEAVES : RANGE_LEAVES / 2;
    int rc = range_insert(a, at + 1, grows ? bound : a->ranges[at]->bounds[keep]);
    if (rc != 0) {
        return rc;
    }
    struct agenda_range *range = a->ranges[at];
    copy_leaves(a->ranges[at + 1], range, keep, range->count - keep);
    range->count = keep;
    if (p->leaf > keep || grows) {
        *p = (struct place){.range = at + 1, .leaf = p->leaf - keep};
    }
    return 0;
}

/* A new leaf with these entries as number p.leaf of its range, or of the range where that number has moved to. */
static int leaf_insert(struct agenda *a, struct place p, struct agenda_entry bound,
                       const struct agenda_entry *entries, uint32_t n) {
    uint32_t leaf;
    int rc = pages_take(&a->leaves, &leaf);
    if (rc != 0) {
        return rc;
    }
    if (a->range_count == 0) {
        rc = range_insert(a, 0, bound);
    } else if (a->ranges[p.range]->count == RANGE_LEAVES) {
        rc = range_split(a, &p, bound);
    }
    if (rc != 0) {
        pages_give(&a->leaves, leaf);
        return rc;
    }
    struct agenda_range *range = a->ranges[p.range];
    range_shift(range, p.leaf, p.leaf + 1);
    memcpy(leaf_at(a, leaf), entries, n * sizeof *entries);
    range->bounds[p.leaf] = bound;
    range->counts[p.leaf] = (uint16_t)n;
    range->leaves[p.leaf] = leaf;
    a->lows[p.range] = range->bounds[0];
    a->leaf_count++;
    return 0;
}

/* What lay between its bound and the next is then that of the leaf before, or of the front. */
static uint32_t leaf_take(struct agenda *a, struct place p) {
    struct agenda_range *range = a->ranges[p.range];
    uint32_t leaf = range->leaves[p.leaf];
    range_shift(range, p.leaf + 1, p.leaf);
    a->leaf_count--;
    if (range->count == 0) {
        range_drop(a, p.range);
    } else {
        a->lows[p.range] = range->bounds[0];
    }
    return leaf;
}

/* ---- leaves behind the front ---- */

static bool is_last_of_all(const struct agenda *a, struct place p) {
    return p.range + 1 == a->range_count && p.leaf + 1 == a->ranges[p.range]->count;
}

static bool is_behind_all(const struct agenda_entry *entries, struct agenda_entry e) {
    for (uint32_t i = 0; i < LEAF_ENTRIES; i++) {
        if (agenda_before(e, entries[i])) {
            return false;
        }
    }
    return true;
}

/*
 * A full leaf gives its upper half away. Delays that are all the same come in order: they find the last leaf
 * full and begin another, so that they leave full leaves behind.
 */
static int leaf_split(struct agenda *a, struct place p, struct agenda_entry e) {
    struct agenda_range *range = a->ranges[p.range];
    struct agenda_entry *entries = entries_at(a, p);
    struct place next = {p.range, p.leaf + 1};
    if (is_last_of_all(a, p) && is_behind_all(entries, e)) {
        return leaf_insert(a, next, e, entries, 0);
    }
    agenda_put_in_place(entries, LEAF_ENTRIES, LEAF_HALF);
    uint16_t *count = &range->counts[p.leaf];
    *count = LEAF_HALF;
    int rc = leaf_insert(a, next, entries[LEAF_HALF], entries + LEAF_HALF, LEAF_HALF);
    if (rc != 0) {
        *count = LEAF_ENTRIES;
    }
    return rc;
}

static int insert_behind(struct agenda *a, struct agenda_entry e) {
    struct place p = place_of(a, e);
    if (a->ranges[p.range]->counts[p.leaf] == LEAF_ENTRIES) {
        int rc = leaf_split(a, p, e);
        if (rc != 0) {
            return rc;
        }
        p = place_of(a, e);
    }
    struct agenda_range *range = a->ranges[p.range];
    entries_at(a, p)[range->counts[p.leaf]++] = e;
    return 0;
}

/* Joins the leaf with the one after it if I4 says so. */
static bool leaf_join(struct agenda *a, struct place p) {
    bool last = p.leaf + 1 == a->ranges[p.range]->count;
    struct place next = {last ? p.range + 1 : p.range, last ? 0 : p.leaf + 1};
    if (next.range == a->range_count) {
        return false;
    }
    uint16_t *count = &a->ranges[p.range]->counts[p.leaf];
    uint32_t more = a->ranges[next.range]->counts[next.leaf];
    if (*count + more > LEAF_HALF) {
        return false;
    }
    memcpy(entries_at(a, p) + *count, entries_at(a, next), more * sizeof(struct agenda_entry));
    *count = (uint16_t)(*count + more);
    pages_give(&a->leaves, leaf_take(a, next));
    return true;
}

/* The same with the one before it. */
static void leaf_join_before(struct agenda *a, struct place p) {
    if (p.leaf > 0) {
        p.leaf--;
    } else if (p.range > 0) {
        p.range--;
        p.leaf = a->ranges[p.range]->count - 1;
    } else {
        return;
    }
    (void)leaf_join(a, p);
}

/* From the end: what came last is cancelled soonest. LEAF_ENTRIES: it is not there. */
static uint32_t leaf_find(const struct agenda *a, struct place p, struct agenda_entry e) {
    const struct agenda_entry *entries = entries_at(a, p);
    uint32_t at = a->ranges[p.range]->counts[p.leaf];
    while (at > 0) {
        if (agenda_same(entries[--at], e)) {
            return at;
        }
    }
    return LEAF_ENTRIES;
}

static void remove_behind(struct agenda *a, struct agenda_entry e) {
    struct place p = place_of(a, e);
    uint32_t at = leaf_find(a, p, e);
    assert(at < LEAF_ENTRIES);
    struct agenda_entry *entries = entries_at(a, p);
    uint32_t count = --a->ranges[p.range]->counts[p.leaf];
    entries[at] = entries[count];
    if (count == 0) {
        pages_give(&a->leaves, leaf_take(a, p));
    } else if (count < LEAF_FEW && !leaf_join(a, p)) {
        leaf_join_before(a, p);
    }
}

/* ---- the front ---- */

static uint32_t front_end(const struct agenda *a) {
    return a->front_first + a->front_count;
}

/* The first that is not before e, or the end. */
static uint32_t front_find(const struct agenda *a, struct agenda_entry e) {
    uint32_t at = a->front_first, left = a->front_count;
    while (left > 0) {
        uint32_t half = left / 2;
        bool behind = agenda_before(a->front[at + half], e);
        at += behind ? half + 1 : 0;
        left = behind ? left - half - 1 : half;
    }
    return at;
}

/* A full front gives its upper half away. */
static int front_split(struct agenda *a) {
    const struct agenda_entry *upper = a->front + FRONT_ENTRIES - LEAF_ENTRIES;
    int rc = leaf_insert(a, (struct place){0, 0}, *upper, upper, LEAF_ENTRIES);
    if (rc == 0) {
        a->front_count = FRONT_ENTRIES - LEAF_ENTRIES;
    }
    return rc;
}

static void insert_in_front(struct agenda *a, struct agenda_entry e) {
    struct agenda_entry *entries = a->front;
    if (front_end(a) == FRONT_ENTRIES) {
        memmove(entries, entries + a->front_first, a->front_count * sizeof e);
        a->front_first = 0;
    }
    uint32_t at = front_find(a, e);
    memmove(entries + at + 1, entries + at, (front_end(a) - at) * sizeof e);
    entries[at] = e;
    a->front_count++;
}

/* All of the leaf that joins the front next. */
static void prefetch_first_leaf(const struct agenda *a) {
    const uint8_t *leaf = pages_at(&a->leaves, a->ranges[0]->leaves[0]);
    size_t bytes = a->ranges[0]->counts[0] * sizeof(struct agenda_entry);
    for (size_t at = 0; at < bytes; at += LINE_BYTES) {
        __builtin_prefetch(leaf + at);
    }
}

/* What is left of the front stands before all of the first leaf. */
static void front_refill(struct agenda *a) {
    memmove(a->front, a->front + a->front_first, a->front_count * sizeof *a->front);
    uint32_t more = a->ranges[0]->counts[0], leaf = leaf_take(a, (struct place){0, 0});
    memcpy(a->front + a->front_count, leaf_at(a, leaf), more * sizeof *a->front);
    agenda_sort(a->front + a->front_count, more);
    a->front_first = 0;
    a->front_count += more;
    pages_give(&a->leaves, leaf);
}

static void remove_in_front(struct agenda *a, struct agenda_entry e) {
    struct agenda_entry *entries = a->front;
    bool is_first = a->front_count > 0 && agenda_same(entries[a->front_first], e);
    uint32_t at = is_first ? a->front_first : front_find(a, e), end = front_end(a);
    assert(at < end && agenda_same(entries[at], e));
    if (at == a->front_first) {
        a->front_first++;
    } else {
        memmove(entries + at, entries + at + 1, (end - at - 1) * sizeof e);
    }
    a->front_count--;
    if (a->front_count <= FRONT_FEW && a->range_count > 0) {
        front_refill(a);
    } else if (a->front_count == 2 * FRONT_FEW && a->range_count > 0) {
        prefetch_first_leaf(a);
    }
}

/* ---- the whole ---- */

int agenda_insert(struct agenda *a, struct agenda_entry e) {
    int rc = 0;
    if (a->front == NULL) {
        a->front = malloc(FRONT_ENTRIES * sizeof *a->front);
        rc = a->front == NULL ? E_NOMEM : 0;
    } else if (is_in_front(a, e) && a->front_count == FRONT_ENTRIES) {
        rc = front_split(a);
    }
    if (rc != 0) {
        return rc;
    }
    if (is_in_front(a, e)) {
        insert_in_front(a, e);
    } else {
        rc = insert_behind(a, e);
    }
    a->count += rc == 0;
    return rc;
}

void agenda_remove(struct agenda *a, struct agenda_entry e) {
    assert(a->count > 0);
    a->count--;
    if (is_in_front(a, e)) {
        remove_in_front(a, e);
    } else {
        remove_behind(a, e);
    }
}

const struct agenda_entry *agenda_first(const struct agenda *a) {
    return agenda_ahead(a, 0);
}

const struct agenda_entry *agenda_ahead(const struct agenda *a, uint32_t ahead) {
    return ahead < a->front_count ? &a->front[a->front_first + ahead] : NULL;
}

bool agenda_begins_run(const struct agenda *a) {
    return a->front_first % AGENDA_RUN == 0;
}

static void prefetch_range(const struct agenda *a, struct agenda_entry e) {
    const uint8_t *range = (const uint8_t *)a->ranges[last_not_behind(a->lows, a->range_count, e)];
    for (size_t at = 0; at < sizeof(struct agenda_range); at += LINE_BYTES) {
        __builtin_prefetch(range + at);
    }
}

void agenda_prefetch(const struct agenda *a, struct agenda_entry e, unsigned step) {
    if (is_in_front(a, e)) {
        return;
    }
    if (step == 0) {
        prefetch_range(a, e);
    } else {
        struct place p = place_of(a, e);
        __builtin_prefetch(&entries_at(a, p)[a->ranges[p.range]->counts[p.leaf]], 1);
    }
}

bool agenda_has(const struct agenda *a, struct agenda_entry e) {
    if (a->count == 0) {
        return false;
    }
    if (is_in_front(a, e)) {
        uint32_t at = front_find(a, e);
        return at < front_end(a) && agenda_same(a->front[at], e) && a->front[at].cell == e.cell;
    }
    struct place p = place_of(a, e);
    uint32_t at = leaf_find(a, p, e);
    return at < LEAF_ENTRIES && entries_at(a, p)[at].cell == e.cell;
}

size_t agenda_reusable_bytes(const struct agenda *a) {
    return pages_reusable_bytes(&a->leaves);
}

size_t agenda_memory_bytes(const struct agenda *a) {
    return pages_memory_bytes(&a->leaves) + pages_memory_bytes(&a->range_pages) +
           (a->front == NULL ? 0 : FRONT_ENTRIES * sizeof *a->front) +
           a->range_capacity * (sizeof *a->lows + sizeof *a->ranges);
}

/* ---- check ---- */

static void check_leaf(const struct agenda *a, const struct agenda_range *range, uint32_t at,
                       const struct agenda_entry *next) {
    assert(range->counts[at] > 0 && range->counts[at] <= LEAF_ENTRIES); /* I3 */
    for (uint32_t i = 0; i < range->counts[at]; i++) {
        struct agenda_entry e = leaf_at(a, range->leaves[at])[i];
        assert(!agenda_before(e, range->bounds[at]) &&
               (next == NULL || agenda_before(e, *next))); /* I1 */
    }
}

static void check_range(const struct agenda *a, uint32_t at, uint64_t *entries) {
    const struct agenda_range *range = a->ranges[at];
    assert(range->count > 0 && agenda_same(a->lows[at], range->bounds[0])); /* I3 */
    for (uint32_t i = 0; i < range->count; i++) {
        const struct agenda_entry *next = i + 1 < range->count      ? &range->bounds[i + 1]
                                          : at + 1 < a->range_count ? &a->lows[at + 1]
                                                                    : NULL;
        check_leaf(a, range, i, next);
        *entries += range->counts[i];
    }
}

static void check_front(const struct agenda *a) {
    assert(front_end(a) <= FRONT_ENTRIES);
    assert(a->range_count == 0 || a->front_count > FRONT_FEW); /* I2 */
    for (uint32_t i = a->front_first + 1; i < front_end(a); i++) {
        assert(agenda_before(a->front[i - 1], a->front[i]));
    }
    if (a->front_count > 0 && a->range_count > 0) {
        assert(agenda_before(a->front[front_end(a) - 1], a->lows[0])); /* I1 */
    }
}

void agenda_check(const struct agenda *a) {
    check_front(a);
    uint64_t entries = a->front_count, leaves = 0;
    for (uint32_t i = 0; i < a->range_count; i++) {
        check_range(a, i, &entries);
        leaves += a->ranges[i]->count;
    }
    assert(entries == a->count && leaves == a->leaf_count);
}
