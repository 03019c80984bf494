/*
 * Lists in sheets of a cache line each, and beside them how many members each sheet has.
 *
 *      sheet 5   | a b c d e f g h i j k l m n | prev 0, next 9 |      members[5] = 3: most have left, nobody knows here which
 *      sheet 9   | o p q - - - ...             | prev 5, next 0 |      members[9] = 3
 *
 *      place = sheet << 4 | index
 *
 * Why: in a doubly linked list who leaves writes into both neighbours. Among ten million these are two lines, in two pages of memory, that nobody
 * has touched for long, and that is most of what leaving costs. Here it is one byte among some that are written all the time. What is paid
 * for it: a walk meets places whose members have left, and has to look at where these are now.
 *
 * I1  members[sheet] > 0 for each sheet of a list: one that nobody stands in is given back at once.
 * I2  all places of a sheet were given, but for those behind `last` in the last one.
 * I3  the members of all sheets of a list are its count, and the sheets are counted, too.
 *
 * The worst that can be done to it is to let one of each 14 stay: 64 bytes for each that does.
 */
#include "base/roll.h"

#include <stdlib.h>

#include "base/error.h"

#define INDEX_BITS 4u
#define SHEETS_MAX ((UINT32_C(1) << (32 - INDEX_BITS)) - 1)
#define SHEETS_FEW 64u
#define INDEX_LAST (ROLL_SHEET - 1)

struct sheet {
    uint32_t members[ROLL_SHEET];
    uint32_t next, prev; /* sheets */
};
_Static_assert(sizeof(struct sheet) == 64, "a sheet is one cache line");
_Static_assert(ROLL_SHEET <= 1u << INDEX_BITS, "an index fits into a place");

static inline struct sheet *sheet_at(const struct rolls *r, uint32_t sheet) {
    return slab_at(&r->sheets, sheet);
}

static inline uint32_t sheet_of(uint32_t place) {
    return place >> INDEX_BITS;
}

static inline uint32_t index_of(uint32_t place) {
    return place & ((1u << INDEX_BITS) - 1);
}

static inline uint32_t place_of(uint32_t sheet, uint32_t index) {
    return sheet << INDEX_BITS | index;
}

void rolls_init(struct rolls *r) {
    *r = (struct rolls){0};
    slab_init(&r->sheets, sizeof(struct sheet), SHEETS_MAX);
}

void rolls_release(struct rolls *r) {
    slab_release(&r->sheets);
    free(r->members);
    rolls_init(r);
}

static int members_cover(struct rolls *r, uint32_t sheet) {
    if (sheet < r->capacity) {
        return 0;
    }
    uint32_t capacity = sheet < SHEETS_FEW ? SHEETS_FEW : 2 * sheet;
    uint8_t *members = realloc(r->members, capacity);
    if (members == NULL) {
        return E_NOMEM;
    }
    r->members = members;
    r->capacity = capacity;
    return 0;
}

/* An empty one behind the last. */
static int sheet_add(struct rolls *r, struct roll *l, uint32_t *ret_sheet) {
    uint32_t sheet;
    int rc = slab_take(&r->sheets, &sheet);
    if (rc != 0) {
        return rc;
    }
    rc = members_cover(r, sheet);
    if (rc != 0) {
        slab_give(&r->sheets, sheet);
        return rc;
    }
    uint32_t before = sheet_of(l->last);
    r->members[sheet] = 0;
    sheet_at(r, sheet)->prev = before;
    *(before != 0 ? &sheet_at(r, before)->next : &l->first) = sheet;
    l->sheets++;
    *ret_sheet = sheet;
    return 0;
}

int roll_append(struct rolls *r, struct roll *l, uint32_t member, uint32_t *ret_place) {
    uint32_t sheet = sheet_of(l->last), index = index_of(l->last) + 1;
    if (l->last == 0 || index == ROLL_SHEET) {
        int rc = sheet_add(r, l, &sheet);
        if (rc != 0) {
            return rc;
        }
        index = 0;
    }
    sheet_at(r, sheet)->members[index] = member;
    r->members[sheet]++;
    l->last = place_of(sheet, index);
    l->count++;
    *ret_place = l->last;
    return 0;
}

static void sheet_remove(struct rolls *r, struct roll *l, uint32_t sheet) {
    const struct sheet *s = sheet_at(r, sheet);
    *(s->prev != 0 ? &sheet_at(r, s->prev)->next : &l->first) = s->next;
    if (s->next != 0) {
        sheet_at(r, s->next)->prev = s->prev;
    } else {
        l->last = s->prev != 0 ? place_of(s->prev, INDEX_LAST) : 0; /* I2 */
    }
    slab_give(&r->sheets, sheet);
    l->sheets--;
}

void roll_leave(struct rolls *r, struct roll *l, uint32_t place) {
    uint32_t sheet = sheet_of(place);
    assert(sheet < r->capacity && r->members[sheet] > 0 && l->count > 0); /* I1 */
    l->count--;
    if (--r->members[sheet] == 0) {
        sheet_remove(r, l, sheet);
    }
}

uint32_t roll_after(const struct rolls *r, const struct roll *l, uint32_t place) {
    if (place == l->last) {
        return 0;
    }
    if (place != 0 && index_of(place) < INDEX_LAST) {
        return place + 1;
    }
    return place_of(place == 0 ? l->first : sheet_at(r, sheet_of(place))->next, 0);
}

uint32_t roll_before(const struct rolls *r, const struct roll *l, uint32_t place) {
    if (place == 0) {
        return l->last;
    }
    if (index_of(place) > 0) {
        return place - 1;
    }
    uint32_t before = sheet_at(r, sheet_of(place))->prev;
    return before == 0 ? 0 : place_of(before, INDEX_LAST);
}

uint32_t roll_distance(uint32_t from, uint32_t to) {
    uint32_t sheet = sheet_of(from) == sheet_of(to) ? 0 : ROLL_SHEET;
    return sheet + index_of(to) - index_of(from);
}

uint32_t roll_at(const struct rolls *r, uint32_t place) {
    return sheet_at(r, sheet_of(place))->members[index_of(place)];
}

void roll_prefetch(const struct rolls *r, uint32_t place) {
    __builtin_prefetch(&r->members[sheet_of(place)], 1);
}

size_t rolls_memory_bytes(const struct rolls *r) {
    return slab_memory_bytes(&r->sheets) + r->capacity;
}

size_t rolls_reusable_bytes(const struct rolls *r) {
    return slab_reusable_bytes(&r->sheets);
}

void roll_check(const struct rolls *r, const struct roll *l) {
    uint32_t count = 0, sheets = 0, before = 0;
    for (uint32_t at = l->first; at != 0; at = sheet_at(r, at)->next) {
        assert(sheet_at(r, at)->prev == before);
        assert(r->members[at] > 0 && r->members[at] <= ROLL_SHEET); /* I1 */
        count += r->members[at];
        sheets++;
        before = at;
    }
    assert(sheet_of(l->last) == before && (l->last == 0) == (l->first == 0));
    assert(l->last == 0 || r->members[before] <= index_of(l->last) + 1); /* I2 */
    assert(count == l->count && sheets == l->sheets);                    /* I3 */
}
