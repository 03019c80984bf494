/*
 * model/bodies.h - how many bytes of each log segment are still needed, and by which messages.
 *
 * Promise: live bytes of a segment = sum over the messages whose body stands in it; derived from the
 *          messages, therefore not part of a snapshot.
 * Shape:   an array indexed by segment number - first known, each entry counts only; the
 *          messages of a segment are found by queue_segment_ids.
 */
#ifndef SLUICE_MODEL_BODIES_H
#define SLUICE_MODEL_BODIES_H

#include "base/compiler.h"
#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>

struct bodies {
    uint64_t *live_bytes; /* owns; indexed by segment - first */
    uint32_t first;
    uint32_t count;
    uint32_t capacity;
    uint32_t (*segment_of)(uint64_t address);
};

void bodies_init(struct bodies *b);
void bodies_release(struct bodies *b);
MUST_CHECK int bodies_add(struct bodies *b, uint64_t address, uint32_t bytes);
void bodies_remove(struct bodies *b, uint64_t address, uint32_t bytes);
uint64_t bodies_live(const struct bodies *b, uint32_t segment);
/* The first segment at or behind `from` that has live bytes; 0: none. */
uint32_t bodies_next_live(const struct bodies *b, uint32_t from);

#endif
