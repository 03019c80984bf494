/*
 * base/slab.h - fixed-size cells named by a 32-bit slot.
 *
 * Promise: cells never move and growing never copies: memory grows by chunks of 4,096
 *          cells, and behind the first of them by regions of a huge page that hold several. Slot 0
 *          is never handed out, so 0 can mean "none". A freed slot is reused (last freed, first
 *          reused), zeroed when handed out.
 * Errors:  E_NOMEM; E_LIMIT above `max_cells`.
 */
#ifndef SLUICE_BASE_SLAB_H
#define SLUICE_BASE_SLAB_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#ifndef SLAB_CHUNK_CELLS /* fuzzing makes a model a thousand times a second: fewer there */
#define SLAB_CHUNK_CELLS 4096u
#endif

struct slab {
    uint8_t **chunks; /* owns the array and what it points into */
    size_t chunk_count;
    size_t cell_bytes;   /* >= 4, rounded up to 8 */
    uint32_t used_limit; /* slots 1..used_limit-1 were handed out at some time */
    uint32_t free_head;  /* first free slot, 0 none; chained through the first 4 bytes */
    uint32_t live;
    uint32_t max_cells;
};

void slab_init(struct slab *s, size_t cell_bytes, uint32_t max_cells);
void slab_release(struct slab *s);
MUST_CHECK int slab_take(struct slab *s, uint32_t *ret_slot);
void slab_give(struct slab *s, uint32_t slot);
static inline void *slab_at(const struct slab *s, uint32_t slot) {
    assert(slot != 0 && slot < s->used_limit);
    return s->chunks[slot / SLAB_CHUNK_CELLS] + (size_t)(slot % SLAB_CHUNK_CELLS) * s->cell_bytes;
}
/* Of slots that were handed out and given back. */
size_t slab_reusable_bytes(const struct slab *s);
size_t slab_memory_bytes(const struct slab *s);

#endif
