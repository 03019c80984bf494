/*
 * base/roll.h - lists of numbers whose members leave without being touched, nor their neighbours, nor their place.
 *
 *     place:   uint32_t place;  roll_append(&rolls, &roll, member, &place)      the owner of the member keeps it
 *     leave:   roll_leave(&rolls, &roll, place)
 *     walk:    for (uint32_t p = 0; (p = roll_after(&rolls, &roll, p)) != 0;)
 *                  if (the owner of roll_at(&rolls, p) is in the list, and its place is p) ...
 *
 * Promise: a list keeps the order in which members came. Who leaves counts down a byte of its sheet of ROLL_SHEET places, and these bytes
 *          lie close together: ten million members have 700 KB of them. What stands at a place is still there when its member
 *          has left, until all of the sheet have: who walks asks the member where it is. Between two members a walk
 *          passes over 2 * ROLL_SHEET - 2 places at most. 4.7 bytes a member, 65 at most.
 * Shape:   `rolls` are of many owners, `roll` of one; both caller-owned. A place is never 0.
 * Errors:  E_NOMEM, or E_LIMIT at 2^28 sheets, and nothing has changed.
 */
#ifndef SLUICE_BASE_ROLL_H
#define SLUICE_BASE_ROLL_H

#include "base/slab.h"

#define ROLL_SHEET 14u

struct rolls {
    struct slab sheets;
    uint8_t *members; /* owns; of each sheet, how many have not left */
    uint32_t capacity;
};

struct roll {
    uint32_t first; /* sheet, 0: empty */
    uint32_t last;  /* place that was given last, in the last sheet; 0: empty */
    uint32_t count;
    uint32_t sheets;
};

/* Of members, and of those that have left. */
static inline uint64_t roll_places(const struct roll *l) {
    return (uint64_t)l->sheets * ROLL_SHEET;
}

void rolls_init(struct rolls *r);
void rolls_release(struct rolls *r);
MUST_CHECK int roll_append(struct rolls *r, struct roll *l, uint32_t member, uint32_t *ret_place);
/* The member at this place, which must not have left. */
void roll_leave(struct rolls *r, struct roll *l, uint32_t place);
/* The next place, of a member or of one that has left; behind 0 the first one; 0: that was the last. Since the walk was at
 * a member nobody may have left. */
uint32_t roll_after(const struct rolls *r, const struct roll *l, uint32_t place);
/* The same towards the front. */
uint32_t roll_before(const struct rolls *r, const struct roll *l, uint32_t place);
/* From a place to one of the same sheet behind it, or of the next one. */
uint32_t roll_distance(uint32_t from, uint32_t to);
/* Who is there, or was. */
uint32_t roll_at(const struct rolls *r, uint32_t place);
/* Starts to bring what leaving needs into the cache. */
void roll_prefetch(const struct rolls *r, uint32_t place);
size_t rolls_memory_bytes(const struct rolls *r);
/* Of sheets that nobody stands in. */
size_t rolls_reusable_bytes(const struct rolls *r);
/* Asserts I1..I3; members are not known here. */
void roll_check(const struct rolls *r, const struct roll *l);

#endif
