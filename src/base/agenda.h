/*
 * base/agenda.h - what is due when: few entries or many millions, the earliest at hand.
 *
 * Promise: entries leave by (due_ns, key), whatever came in between; the first is known without a search. Insert and remove
 *          touch some lines that few millions of entries share, whichever of them it is: nothing is looked for among them. No
 *          call does work for more than a bag and a half (a bag of 6,528 entries: some 0.3 ms, once for a thousand calls or
 *          more). 20 to 41 bytes an entry, and 280 KB once there were more than some hundred.
 * Shape:   caller-owned; an owner remembers what it has entered (due_ns and key), not where it stands. A pair is
 *          there once at most; one that comes again has the cell it had.
 * Errors:  E_NOMEM, and nothing has changed.
 */
#ifndef SLUICE_BASE_AGENDA_H
#define SLUICE_BASE_AGENDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pages.h"

struct agenda_entry {
    uint64_t due_ns;
    uint64_t key;
    uint32_t cell; /* where its owner is, so that nobody has to look; no part of the order */
} __attribute__((packed, aligned(4))); /* 20 bytes: they are read and moved by the thousand */

#define AGENDA_NO_CELL UINT32_MAX /* no owner has this one */

struct agenda_bag;
struct agenda_end;

struct agenda {
    struct agenda_entry
        *front;           /* sorted: all that is due before lows[0]; NULL: there never was one */
    uint32_t front_first; /* how many have left before those that are there */
    uint32_t front_count;
    struct agenda_entry *lows; /* owns; where each bag begins */
    struct agenda_bag *bags;   /* owns */
    uint32_t bag_count, bag_capacity;
    struct agenda_end *ends;   /* owns; as many as there is room for bags */
    uint32_t end_free;         /* the first that no bag has */
    struct agenda_entry *desk; /* owns; where a bag is put in order; NULL: there never was one */
    struct pages pages;        /* owns; what bags are made of */
    uint64_t count;            /* entries */
};

void agenda_init(struct agenda *a);
void agenda_release(struct agenda *a);
MUST_CHECK int agenda_insert(struct agenda *a, struct agenda_entry e);
/* It must be there; its cell is not asked for. */
void agenda_remove(struct agenda *a, struct agenda_entry e);
/* The earliest, or NULL. Borrowed until the agenda changes. */
const struct agenda_entry *agenda_first(const struct agenda *a);
/* The one that leaves after `ahead` others, or NULL if there is none: known up to AGENDA_AHEAD. To fetch what it needs. */
#define AGENDA_AHEAD 32u
const struct agenda_entry *agenda_ahead(const struct agenda *a, uint32_t ahead);
/* Have AGENDA_RUN entries left since it last said so? Then it is time to fetch what those need that come later. */
#define AGENDA_RUN 8u
bool agenda_begins_run(const struct agenda *a);
/* Starts to bring the place of an entry that is to be inserted into the cache. */
void agenda_prefetch(const struct agenda *a, struct agenda_entry e);
/* With this cell. Searches; for tests and --paranoid. */
bool agenda_has(const struct agenda *a, struct agenda_entry e);
/* Asserts I1..I4; for tests and --paranoid. */
void agenda_check(const struct agenda *a);
size_t agenda_memory_bytes(const struct agenda *a);
/* Of them, pages that nothing is in: they wait for entries to come, and go to nobody else. */
size_t agenda_reusable_bytes(const struct agenda *a);

#endif
