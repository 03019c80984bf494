/*
 * base/agenda_order.h - the order of an agenda's entries: by time, then by key; and putting many of them in it.
 *
 * Shape: plain functions for base/agenda.c; nothing is allocated.
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

/* `room` is as long. Whatever their order is, in n log n steps: clients choose the times. */
void agenda_sort(struct agenda_entry *e, struct agenda_entry *room, uint32_t n);

#endif
