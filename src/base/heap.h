/*
 * base/heap.h - min-heap of (due time, reference), with removal from the middle.
 *
 * Promise: insert, remove, pop in O(log n); which of two equal times leaves first is fixed by the history of calls.
 *          Each move of an entry is told to `moved`, so that its owner can find it again.
 * Errors:  E_NOMEM.
 */
#ifndef SLUICE_BASE_HEAP_H
#define SLUICE_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct heap_entry {
    uint64_t due_ns;
    uint32_t ref;  /* the owner's slot */
    uint32_t kind; /* whose slot it is */
};

/* `index` is where the entry now stands, from 1; 0 says that it left the heap. */
typedef void heap_moved(void *owner, const struct heap_entry *e, uint32_t index);

struct heap {
    struct heap_entry *entries; /* owns; entries[0] unused */
    uint32_t count;
    uint32_t capacity;
    void *owner; /* borrows */
    heap_moved *moved;
};

void heap_init(struct heap *h, void *owner, heap_moved *moved);
void heap_release(struct heap *h);
/* Room for `count` entries in all: until there are so many, heap_insert cannot fail. */
MUST_CHECK int heap_reserve(struct heap *h, uint32_t count);
MUST_CHECK int heap_insert(struct heap *h, struct heap_entry e);
/* index as last told to `moved`. */
void heap_remove(struct heap *h, uint32_t index);
/* The earliest entry, or NULL. Borrowed until the heap changes. */
static inline const struct heap_entry *heap_first(const struct heap *h) {
    return h->count == 0 ? NULL : &h->entries[1];
}
/* Asserts the heap order; for tests and --paranoid. */
void heap_check(const struct heap *h);

#endif
