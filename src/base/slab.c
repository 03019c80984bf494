#include "base/slab.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void slab_init(struct slab *s, size_t cell_bytes, uint32_t max_cells) {
    assert(cell_bytes >= sizeof(uint32_t));
    assert(max_cells < UINT32_MAX); /* slots are 1..max_cells, and used_limit is one more */
    *s = (struct slab){
        .cell_bytes = (cell_bytes + 7) & ~(size_t)7,
        .used_limit = 1,
        .max_cells = max_cells,
    };
}

void slab_release(struct slab *s) {
    for (size_t i = 0; i < s->chunk_count; i++) {
        free(s->chunks[i]);
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
    uint8_t *chunk = malloc(SLAB_CHUNK_CELLS * s->cell_bytes);
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

size_t slab_memory_bytes(const struct slab *s) {
    return s->chunk_count * (sizeof *s->chunks + SLAB_CHUNK_CELLS * s->cell_bytes);
}
