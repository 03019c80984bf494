/*
 * base/agenda_order.h - the order of an agenda's entries: by time, then by key; and putting a leaf of them in it.
 *
 * Shape: plain functions for base/agenda.c; nothing is allocated. Each pair of time and key is there once at most.
 */
#ifndef SLUICE_BASE_AGENDA_ORDER_H
#define SLUICE_BASE_AGENDA_ORDER_H

#include "base/agenda.h"

static inline bool agenda_before(struct agenda_entry a, struct agenda_entry b) {
    return a.due_ns < b.due_ns || (a.due_ns == b.due_ns && a.key < b.key);
}

static inline bool agenda_same(struct agenda_entry a, struct agenda_entry b) {
    return a.due_ns == b.due_ns && a.key == b.key;
}

/* Made for a leaf: there even the worst order of its entries costs only 0.1 ms. */
void agenda_sort(struct agenda_entry *e, uint32_t n);
/* The first k are not behind the others, and the k-th from 0 is the first of those; k < n. */
void agenda_put_in_place(struct agenda_entry *e, uint32_t n, uint32_t k);

#endif
