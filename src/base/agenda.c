/*
 * An agenda: a sorted front, and behind it bags that nobody has put in order yet.
 *
 *      front       | 3 4 4 7 9 |                           sorted; only what leaves soon
 *      bag 0 [10]  12 10 31 11 -31 15 ...                  -31: 31 was removed
 *      bag 1 [40]  77 40 51 ...                            [40]: nothing in it is before that, and nothing of 40 or later
 *                                                          in a bag before it
 *
 * An entry goes to the end of the last bag whose bound is not behind it, and so does a removal, as an entry with no cell.
 * The ends of all bags lie together, twelve entries each, which go to their place in the bag's page when they are complete:
 * among ten million entries that is less than 1 MiB, written again and again, so that caches, and the tables
 * that addresses are translated by, know it. What is removed is not looked for. That is the point: an entry among ten
 * million lies in memory that nobody has touched for long, and to touch it costs more than all else here.
 *
 * A bag is put in order as a whole when it is full, when a quarter of it are removals, when nothing in it is left, or when the
 * front has nearly run out and it is the first. Then a removal and its entry go. A bag that is still three quarters full is
 * cut in two, and two neighbours with a quarter between them become one; of the first bag the earliest join the front, and
 * the rest become bags of a page each, in order already. So an entry is sorted two or three times in its life, among some
 * thousand others, and nobody else is told where it stands.
 *
 * Why not a heap: ten million entries are 23 levels, nearly each a cache miss, and each entry that moves has to tell
 * its owner, another two. Why not a wheel of buckets by time: ten million that are due in one minute would meet in
 * one bucket, which then has to be loaded at once.
 *
 * I1  front < lows[0]; each entry of a bag >= its bound and < the next one, and so are the removals.
 * I2  with entries anywhere the front is not empty, so the first is known; with bags anywhere it has more than
 *     AGENDA_AHEAD, so that what is needed for those can be fetched ahead. Nothing removed is in the front.
 * I3  of one pair a bag has as many removals as entries, then it is not there, or one fewer.
 * I4  something is left in each bag, and less than a quarter and 51 are removals: what is cancelled gives its memory back.
 * I5  there is room for the bags that the first one becomes, and an end for each: a removal needs no memory.
 */
#include "base/agenda.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/agenda_order.h"
#include "base/error.h"

#define PAGE_BYTES    4096u
#define PAGE_ENTRIES  204u
#define END_ENTRIES   12u
#define BAG_PAGES     32u
#define BAG_ENTRIES   (BAG_PAGES * PAGE_ENTRIES)
#define BAG_HALF      (BAG_ENTRIES / 2)
#define BAG_MANY      (BAG_ENTRIES / 4 * 3) /* with fewer in order a full one has room enough */
#define BAG_FEW       (BAG_ENTRIES / 4)     /* so few in two neighbours: they become one */
#define FRONT_ENTRIES (2 * PAGE_ENTRIES)
#define FRONT_FEW     AGENDA_AHEAD /* then the next ones join it */
#define DESK_ENTRIES  (BAG_ENTRIES + 1)
#define LINE_BYTES    64u
#define END_NONE      UINT32_MAX

struct agenda_bag {
    uint32_t count; /* with removals */
    uint32_t removals;
    uint32_t top; /* page; only this one may have room */
    uint32_t end; /* its last count % END_ENTRIES; their place in the page is kept free */
};

struct agenda_end {
    struct agenda_entry entries[END_ENTRIES];
    uint32_t next_free;
};

struct bag_page {
    struct agenda_entry entries[PAGE_ENTRIES];
    uint32_t below; /* page, PAGE_NONE: this is the first */
};
_Static_assert(sizeof(struct bag_page) <= PAGE_BYTES, "a page has its entries and the next one");
_Static_assert(PAGE_ENTRIES % END_ENTRIES == 0, "what an end has belongs into one page");

void agenda_init(struct agenda *a) {
    *a = (struct agenda){.end_free = END_NONE};
    pages_init(&a->pages, PAGE_BYTES);
}

void agenda_release(struct agenda *a) {
    pages_release(&a->pages);
    free(a->front);
    free(a->bags);
    free(a->ends);
    free(a->lows);
    free(a->desk);
    agenda_init(a);
}

static inline struct bag_page *page_at(const struct agenda *a, uint32_t page) {
    return pages_at(&a->pages, page);
}

static bool is_removal(const struct agenda_entry *e) {
    return e->cell == AGENDA_NO_CELL;
}

/* ---- bags, by their bounds ---- */

/* There is one, and the first is not behind e. No branch that would be guessed wrong. */
static uint32_t bag_of(const struct agenda *a, struct agenda_entry e) {
    uint32_t at = 0;
    for (uint32_t n = a->bag_count; n > 1;) {
        uint32_t half = n / 2;
        at += agenda_before(e, a->lows[at + half]) ? 0 : half;
        n -= half;
    }
    return at;
}

static bool is_in_front(const struct agenda *a, struct agenda_entry e) {
    return a->bag_count == 0 || agenda_before(e, a->lows[0]);
}

static uint32_t end_take(struct agenda *a) {
    uint32_t end = a->end_free;
    assert(end != END_NONE); /* there are as many as there is room for bags */
    a->end_free = a->ends[end].next_free;
    return end;
}

static void end_give(struct agenda *a, uint32_t end) {
    a->ends[end].next_free = a->end_free;
    a->end_free = end;
}

/* For one more, and then for what the first becomes: I5. */
static int bags_room(struct agenda *a) {
    uint32_t wanted = a->bag_count + 1 + BAG_PAGES;
    if (a->desk == NULL) {
        a->desk = malloc(2 * (size_t)DESK_ENTRIES * sizeof *a->desk);
    }
    if (wanted <= a->bag_capacity || a->desk == NULL) {
        return a->desk == NULL ? E_NOMEM : 0;
    }
    uint32_t capacity = 2 * wanted;
    struct agenda_entry *lows = realloc(a->lows, capacity * sizeof *lows);
    a->lows = lows != NULL ? lows : a->lows;
    struct agenda_bag *bags = realloc(a->bags, capacity * sizeof *bags);
    a->bags = bags != NULL ? bags : a->bags;
    struct agenda_end *ends = realloc(a->ends, capacity * sizeof *ends);
    a->ends = ends != NULL ? ends : a->ends;
    if (lows == NULL || bags == NULL || ends == NULL) {
        return E_NOMEM;
    }
    for (uint32_t end = a->bag_capacity; end < capacity; end++) {
        end_give(a, end);
    }
    a->bag_capacity = capacity;
    return 0;
}

/* Those from `from` on move to `to`; what stands between has no end. */
static void bags_shift(struct agenda *a, uint32_t from, uint32_t to) {
    uint32_t n = a->bag_count - from;
    assert(to + n <= a->bag_capacity);
    memmove(a->lows + to, a->lows + from, n * sizeof *a->lows);
    memmove(a->bags + to, a->bags + from, n * sizeof *a->bags);
    a->bag_count = to + n;
}

/* ---- what is in a bag ---- */

static struct agenda_bag bag_new(struct agenda *a) {
    return (struct agenda_bag){.top = PAGE_NONE, .end = end_take(a)};
}

/* Its page out of `spare` ones, or a new one. */
static int bag_add(struct agenda *a, struct agenda_bag *b, struct agenda_entry e, uint32_t *spare) {
    if (b->count % PAGE_ENTRIES == 0) {
        uint32_t page = *spare;
        if (page != PAGE_NONE) {
            *spare = page_at(a, page)->below;
        } else if (pages_take(&a->pages, &page) != 0) {
            return E_NOMEM;
        }
        page_at(a, page)->below = b->top;
        b->top = page;
    }
    struct agenda_entry *end = a->ends[b->end].entries;
    end[b->count++ % END_ENTRIES] = e;
    if (b->count % END_ENTRIES == 0) {
        uint32_t at = (b->count - END_ENTRIES) % PAGE_ENTRIES;
        memcpy(page_at(a, b->top)->entries + at, end, END_ENTRIES * sizeof e);
    }
    b->removals += is_removal(&e);
    return 0;
}

/* How many. */
static uint32_t bag_read(const struct agenda *a, const struct agenda_bag *b,
                         struct agenda_entry *ret) {
    const struct bag_page *page;
    for (uint32_t left = b->count, at = b->top; left > 0; at = page->below) {
        page = page_at(a, at);
        uint32_t here = (left - 1) % PAGE_ENTRIES + 1;
        left -= here;
        memcpy(ret + left, page->entries, here * sizeof *ret);
    }
    uint32_t open = b->count % END_ENTRIES;
    memcpy(ret + b->count - open, a->ends[b->end].entries, open * sizeof *ret);
    return b->count;
}

/* Of n in order: removals and what they remove go. How many are left. */
static uint32_t strike_out(struct agenda_entry *e, uint32_t n) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < n;) {
        struct agenda_entry one = e[i];
        uint32_t entries = 0, removals = 0;
        for (; i < n && agenda_same(e[i], one); i++) {
            bool removal = is_removal(&e[i]);
            removals += removal;
            entries += !removal;
            one.cell = removal ? one.cell : e[i].cell;
        }
        assert(entries == removals || entries == removals + 1); /* I3 */
        e[left] = one;
        left += entries - removals;
    }
    return left;
}

/* Of the first n on the desk. */
static uint32_t desk_order(struct agenda *a, uint32_t n) {
    agenda_sort(a->desk, a->desk + DESK_ENTRIES, n);
    return strike_out(a->desk, n);
}

/* What is in the bag, and in the pages that go on from it, is these from now on: in bags of so many each. */
static void lay_out(struct agenda *a, uint32_t at, const struct agenda_entry *e, uint32_t n,
                    uint32_t each) {
    uint32_t spare = a->bags[at].top;
    end_give(a, a->bags[at].end);
    bags_shift(a, at + 1, at + (n + each - 1) / each);
    for (; n > 0; at++) {
        uint32_t here = n < each ? n : each;
        struct agenda_bag b = bag_new(a);
        for (uint32_t i = 0; i < here; i++) {
            int rc = bag_add(a, &b, e[i], &spare);
            assert(rc == 0 &&
                   !is_removal(&e[i])); /* there are pages: they are not more than before */
        }
        a->bags[at] = b;
        a->lows[at] = *e;
        e += here;
        n -= here;
    }
    while (spare != PAGE_NONE) {
        uint32_t page = spare;
        spare = page_at(a, page)->below;
        pages_give(&a->pages, page);
    }
}

/* Joins the bag with the one behind it, if both are small. */
static void bag_join(struct agenda *a, uint32_t at) {
    if (at + 1 >= a->bag_count || a->bags[at].count + a->bags[at + 1].count > BAG_FEW) {
        return;
    }
    uint32_t n = bag_read(a, &a->bags[at], a->desk);
    n += bag_read(a, &a->bags[at + 1], a->desk + n);
    struct bag_page *last = page_at(a, a->bags[at].top);
    while (last->below != PAGE_NONE) {
        last = page_at(a, last->below);
    }
    last->below = a->bags[at + 1].top;
    end_give(a, a->bags[at + 1].end);
    bags_shift(a, at + 2, at + 1);
    n = desk_order(a, n);
    lay_out(a, at, a->desk, n, BAG_ENTRIES);
}

/* Puts the bag in order, with one more removal if that is given, which may find no room in it. */
static void bag_settle(struct agenda *a, uint32_t at, const struct agenda_entry *removal) {
    uint32_t n = bag_read(a, &a->bags[at], a->desk);
    if (removal != NULL) {
        a->desk[n++] = *removal;
    }
    n = desk_order(a, n);
    bool is_cut = n > BAG_MANY && bags_room(a) == 0;
    lay_out(a, at, a->desk, n, is_cut ? BAG_HALF : BAG_ENTRIES);
    if (n > 0) {
        bag_join(a, at);
    }
    if (at > 0) {
        bag_join(a, at - 1);
    }
}

static int insert_behind(struct agenda *a, struct agenda_entry e) {
    int rc = bags_room(a);
    if (rc != 0) {
        return rc;
    }
    uint32_t at = bag_of(a, e), none = PAGE_NONE;
    if (a->bags[at].count == BAG_ENTRIES) {
        bag_settle(a, at, NULL);
        at = bag_of(a, e);
    }
    return bag_add(a, &a->bags[at], e, &none);
}

/* One that is small may be so worn when it has grown: then the next removal tells. */
static bool is_worn(const struct agenda_bag *b) {
    return b->count == 2 * b->removals || (b->count > PAGE_ENTRIES && 4 * b->removals >= b->count);
}

static void remove_behind(struct agenda *a, struct agenda_entry e) {
    uint32_t at = bag_of(a, e), none = PAGE_NONE;
    e.cell = AGENDA_NO_CELL;
    if (a->bags[at].count == BAG_ENTRIES || bag_add(a, &a->bags[at], e, &none) != 0) {
        bag_settle(a, at, &e);
    } else if (is_worn(&a->bags[at])) {
        bag_settle(a, at, NULL);
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

/* A full front gives its upper half away: as many as a page, so one is all that may be needed. */
static int front_split(struct agenda *a) {
    const struct agenda_entry *upper = a->front + FRONT_ENTRIES - PAGE_ENTRIES;
    uint32_t spare;
    int rc = bags_room(a);
    if (rc == 0) {
        rc = pages_take(&a->pages, &spare);
    }
    if (rc != 0) {
        return rc;
    }
    page_at(a, spare)->below = PAGE_NONE;
    if (a->bag_count == 0 || a->bags[0].count + PAGE_ENTRIES > BAG_FEW) {
        bags_shift(a, 0, 1);
        a->bags[0] = bag_new(a);
    }
    for (uint32_t i = 0; i < PAGE_ENTRIES; i++) {
        rc = bag_add(a, &a->bags[0], upper[i], &spare);
        assert(rc == 0);
    }
    a->lows[0] = *upper;
    a->front_count -= PAGE_ENTRIES;
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

/* What is left of the front stands before all of the first bag, whose earliest now join it. */
static void front_refill(struct agenda *a) {
    memmove(a->front, a->front + a->front_first, a->front_count * sizeof *a->front);
    a->front_first = 0;
    uint32_t n = desk_order(a, bag_read(a, &a->bags[0], a->desk));
    uint32_t more = n < PAGE_ENTRIES ? n : PAGE_ENTRIES;
    memcpy(a->front + a->front_count, a->desk, more * sizeof *a->front);
    a->front_count += more;
    lay_out(a, 0, a->desk + more, n - more, PAGE_ENTRIES);
}

/* All of the page that joins the front next. */
static void prefetch_first_page(const struct agenda *a) {
    const uint8_t *page = pages_at(&a->pages, a->bags[0].top);
    for (size_t at = 0; a->bags[0].count <= PAGE_ENTRIES && at < PAGE_BYTES; at += LINE_BYTES) {
        __builtin_prefetch(page + at);
    }
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
    if (a->front_count == 2 * FRONT_FEW && a->bag_count > 0) {
        prefetch_first_page(a);
    }
    while (a->front_count <= FRONT_FEW && a->bag_count > 0) {
        front_refill(a);
    }
}

/* ---- the whole ---- */

int agenda_insert(struct agenda *a, struct agenda_entry e) {
    int rc = 0;
    assert(!is_removal(&e));
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

void agenda_prefetch(const struct agenda *a, struct agenda_entry e) {
    if (!is_in_front(a, e)) {
        const struct agenda_bag *b = &a->bags[bag_of(a, e)];
        __builtin_prefetch(&a->ends[b->end].entries[b->count % END_ENTRIES], 1);
    }
}

size_t agenda_reusable_bytes(const struct agenda *a) {
    return pages_reusable_bytes(&a->pages);
}

size_t agenda_memory_bytes(const struct agenda *a) {
    return pages_memory_bytes(&a->pages) +
           (a->front == NULL ? 0 : FRONT_ENTRIES * sizeof *a->front) +
           (a->desk == NULL ? 0 : 2 * DESK_ENTRIES * sizeof *a->desk) +
           a->bag_capacity * (sizeof *a->lows + sizeof *a->bags + sizeof *a->ends);
}

/* ---- check ---- */

/* Where it stands: --paranoid asks this of each message, and a copy of the bag would be most of that. */
static bool bag_has(const struct agenda *a, const struct agenda_bag *b, struct agenda_entry e) {
    const struct agenda_entry *end = a->ends[b->end].entries;
    const struct bag_page *page = page_at(a, b->top);
    uint32_t entries = 0, removals = 0, whole = b->count - b->count % END_ENTRIES;
    for (uint32_t i = b->count; i-- > 0;) {
        const struct agenda_entry *one =
            i >= whole ? &end[i % END_ENTRIES] : &page->entries[i % PAGE_ENTRIES];
        bool same = agenda_same(*one, e);
        removals += same && is_removal(one);
        entries += same && one->cell == e.cell;
        if (i % PAGE_ENTRIES == 0 && i > 0) {
            page = page_at(a, page->below);
        }
    }
    return entries == removals + 1;
}

bool agenda_has(const struct agenda *a, struct agenda_entry e) {
    if (a->count == 0) {
        return false;
    }
    if (is_in_front(a, e)) {
        uint32_t at = front_find(a, e);
        return at < front_end(a) && agenda_same(a->front[at], e) && a->front[at].cell == e.cell;
    }
    return bag_has(a, &a->bags[bag_of(a, e)], e);
}

/* How many entries are in it. */
static uint32_t check_bag(const struct agenda *a, uint32_t at) {
    const struct agenda_bag *b = &a->bags[at];
    struct agenda_entry *all = malloc(2 * (size_t)b->count * sizeof *all);
    assert(all != NULL && b->count <= BAG_ENTRIES);
    assert(b->count > 2 * b->removals && 4 * b->removals < b->count + PAGE_ENTRIES); /* I4 */
    uint32_t removals = 0;
    bag_read(a, b, all);
    for (uint32_t i = 0; i < b->count; i++) {
        assert(!agenda_before(all[i], a->lows[at])); /* I1 */
        assert(at + 1 == a->bag_count || agenda_before(all[i], a->lows[at + 1]));
        removals += is_removal(&all[i]);
    }
    assert(removals == b->removals);
    agenda_sort(all, all + b->count, b->count);
    uint32_t n = strike_out(all, b->count);
    assert(n == b->count - 2 * removals); /* I3 */
    free(all);
    return n;
}

static void check_front(const struct agenda *a) {
    assert(front_end(a) <= FRONT_ENTRIES);
    assert(a->bag_count == 0 || a->front_count > FRONT_FEW); /* I2 */
    for (uint32_t i = a->front_first + 1; i < front_end(a); i++) {
        assert(agenda_before(a->front[i - 1], a->front[i]));
    }
    if (a->front_count > 0 && a->bag_count > 0) {
        assert(agenda_before(a->front[front_end(a) - 1], a->lows[0])); /* I1 */
    }
}

/* Each is a bag's or free. */
static void check_ends(const struct agenda *a) {
    uint32_t ends = a->bag_count;
    for (uint32_t end = a->end_free; end != END_NONE; end = a->ends[end].next_free) {
        ends++;
    }
    assert(ends == a->bag_capacity); /* I5 */
}

void agenda_check(const struct agenda *a) {
    check_front(a);
    check_ends(a);
    uint64_t entries = a->front_count;
    for (uint32_t i = 0; i < a->bag_count; i++) {
        entries += check_bag(a, i);
    }
    assert(entries == a->count);
}
