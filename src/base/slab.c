#include "base/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/huge.h"

void slab_init(struct slab *s, size_t cell_bytes, uint32_t max_cells) {
    assert(cell_bytes >= sizeof(uint32_t));
    assert(max_cells < UINT32_MAX); /* slots are 1..max_cells, and used_limit is one more */
    *s = (struct slab){
        .cell_bytes = (cell_bytes + 7) & ~(size_t)7,
        .used_limit = 1,
        .max_cells = max_cells,
    };
}

static size_t chunk_bytes(const struct slab *s) {
    return SLAB_CHUNK_CELLS * s->cell_bytes;
}

/* Chunks that share a region; the first chunk stands alone, so that a small slab stays small. */
static size_t chunks_in_region(const struct slab *s) {
    return chunk_bytes(s) < HUGE_BYTES ? HUGE_BYTES / chunk_bytes(s) : 1;
}

static size_t region_bytes(const struct slab *s) {
    size_t bytes = chunks_in_region(s) * chunk_bytes(s);
    return (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
}

static bool begins_region(const struct slab *s, size_t chunk) {
    return chunk > 0 && (chunk - 1) % chunks_in_region(s) == 0;
}

void slab_release(struct slab *s) {
    free(s->chunk_count > 0 ? s->chunks[0] : NULL);
    for (size_t i = 1; i < s->chunk_count; i++) {
        if (begins_region(s, i)) {
            huge_give(s->chunks[i], region_bytes(s));
        }
    }
    free(s->chunks);
    slab_init(s, s->cell_bytes, s->max_cells);
}

static int slab_add_chunk(struct slab *s) {
    uint8_t **chunks = realloc(s->chunks, (s->chunk_count + 1) * sizeof *chunks);
    if (chunks == NULL) {
        return E_NOMEM;
    }
    s->chunks = chunks;
    size_t n = s->chunk_count;
    uint8_t *chunk = n == 0                ? malloc(chunk_bytes(s))
                     : begins_region(s, n) ? huge_take(region_bytes(s))
                                           : chunks[n - 1] + chunk_bytes(s);
    if (chunk == NULL) {
        return E_NOMEM;
    }
    chunks[s->chunk_count++] = chunk;
    return 0;
}

int slab_take(struct slab *s, uint32_t *ret_slot) {
    if (s->live >= s->max_cells) {
        return E_LIMIT;
    }
    uint32_t slot = s->free_head;
    if (slot != 0) {
        memcpy(&s->free_head, slab_at(s, slot), sizeof s->free_head);
        if (s->free_head != 0) {
            __builtin_prefetch(slab_at(s, s->free_head), 1); /* given back long ago, likely */
        }
    } else {
        slot = s->used_limit;
        if (slot / SLAB_CHUNK_CELLS >= s->chunk_count) {
            int rc = slab_add_chunk(s);
            if (rc != 0) {
                return rc;
            }
        }
        s->used_limit++;
    }
    memset(slab_at(s, slot), 0, s->cell_bytes);
    s->live++;
    *ret_slot = slot;
    return 0;
}

void slab_give(struct slab *s, uint32_t slot) {
    assert(s->live > 0);
    memcpy(slab_at(s, slot), &s->free_head, sizeof s->free_head);
    s->free_head = slot;
    s->live--;
}

size_t slab_reusable_bytes(const struct slab *s) {
    size_t once = s->used_limit > 0 ? s->used_limit - 1 : 0;
    return (once - s->live) * s->cell_bytes;
}

size_t slab_memory_bytes(const struct slab *s) {
    size_t bytes = s->chunk_count * sizeof *s->chunks;
    bytes += s->chunk_count > 0 ? chunk_bytes(s) : 0;
    size_t in_regions = s->chunk_count > 0 ? s->chunk_count - 1 : 0;
    size_t regions = (in_regions + chunks_in_region(s) - 1) / chunks_in_region(s);
    return bytes + regions * region_bytes(s);
}
