/*
 * model/roster.h - the table of defined things of one kind: name -> index -> item.
 *
 * Promise: an index names one definition for ever: the slot in the low 20 bits may be used again, but
 *          with another generation in the high 12, so a message that was tied to a deleted stock never
 *          meets the stock that took its place. Index 0 is none.
 * Shape:   caller-owned; items are borrowed, with their name (fixed while they stand here).
 *          Facts carry the index that decide chose (roster_next_index), so replay never chooses.
 * Errors:  E_NOMEM, E_CORRUPT (an index that decide cannot have chosen).
 */
#ifndef SLUICE_MODEL_ROSTER_H
#define SLUICE_MODEL_ROSTER_H

#include "base/hash.h"
#include "base/map.h"
#include "base/reader.h"
#include "model/put.h"

#define ROSTER_SLOT_BITS   20u
#define ROSTER_SLOT(index) ((index) & ((1u << ROSTER_SLOT_BITS) - 1))
#define ROSTER_ITEMS_MAX   ((1u << ROSTER_SLOT_BITS) - 2)

struct roster_cell;

struct roster {
    struct roster_cell *cells; /* owns; cells[0] unused */
    uint32_t slots;            /* 1..slots were in use at some time */
    uint32_t capacity;
    uint32_t live;
    uint32_t low; /* every slot below it is in use */
    struct hash_key hash;
    struct map by_name;
};

void roster_init(struct roster *r, struct hash_key hash);
void roster_release(struct roster *r);
uint32_t roster_find(const struct roster *r, struct span name);
/* NULL: no such index, or it is of an earlier generation. */
void *roster_at(const struct roster *r, uint32_t index);
/* In order of slots; `index` 0 for the first, and it may be gone meanwhile. 0: none left. */
uint32_t roster_after(const struct roster *r, uint32_t index);
/* The item so many slots behind, to be fetched before a walk comes to it. NULL: none. */
void *roster_ahead(const struct roster *r, uint32_t index, uint32_t slots);
/* What the next new item is to be called. */
uint32_t roster_next_index(const struct roster *r);
MUST_CHECK int roster_put(struct roster *r, uint32_t index, void *item, const char *name);
/* The item has its name at another address now; it is the same name. */
void roster_rename(struct roster *r, uint32_t index, const char *name);
void roster_remove(struct roster *r, uint32_t index);

/* How many items and the generations; the owner saves its items, and puts them after roster_load. */
void roster_save(const struct roster *r, struct saver *s);
MUST_CHECK int roster_load(struct roster *r, struct reader *section, uint32_t *ret_items);
void roster_check(const struct roster *r);
size_t roster_memory_bytes(const struct roster *r);

#endif
