#include "model/roster.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

#define GENERATION_MASK ((1u << (32 - ROSTER_SLOT_BITS)) - 1)
#define FIRST_CAPACITY  8u

struct roster_cell {
    void *item;          /* borrows; NULL: free */
    const char *name;    /* borrows from the item */
    uint16_t generation; /* of the item, or of the next one when free */
};

static uint32_t index_of(const struct roster *r, uint32_t slot) {
    return (uint32_t)r->cells[slot].generation << ROSTER_SLOT_BITS | slot;
}

static bool name_matches(const void *owner, uint32_t slot, const void *key) {
    const struct roster *r = owner;
    const struct span *name = key;
    return span_is(*name, r->cells[slot].name);
}

static uint64_t name_hash(const void *owner, uint32_t slot) {
    const struct roster *r = owner;
    return hash_bytes(r->hash, span_text(r->cells[slot].name));
}

void roster_init(struct roster *r, struct hash_key hash) {
    *r = (struct roster){.hash = hash, .low = 1};
    map_init(&r->by_name, r, name_matches);
}

void roster_release(struct roster *r) {
    map_release(&r->by_name);
    free(r->cells);
    *r = (struct roster){.slots = 0};
}

uint32_t roster_find(const struct roster *r, struct span name) {
    uint32_t slot = map_find(&r->by_name, hash_bytes(r->hash, name), &name);
    return slot == 0 ? 0 : index_of(r, slot);
}

void *roster_at(const struct roster *r, uint32_t index) {
    uint32_t slot = ROSTER_SLOT(index);
    if (slot == 0 || slot > r->slots || index_of(r, slot) != index) {
        return NULL;
    }
    return r->cells[slot].item;
}

uint32_t roster_after(const struct roster *r, uint32_t index) {
    for (uint32_t slot = ROSTER_SLOT(index) + 1; slot <= r->slots; slot++) {
        if (r->cells[slot].item != NULL) {
            return index_of(r, slot);
        }
    }
    return 0;
}

void *roster_ahead(const struct roster *r, uint32_t index, uint32_t slots) {
    uint32_t slot = ROSTER_SLOT(index) + slots;
    return slot <= r->slots ? r->cells[slot].item : NULL;
}

/* The smallest free slot: a walk, but from where the last one ended. */
uint32_t roster_next_index(const struct roster *r) {
    for (uint32_t slot = r->low; slot <= r->slots && r->live < r->slots; slot++) {
        if (r->cells[slot].item == NULL) {
            return index_of(r, slot);
        }
    }
    return r->slots + 1;
}

/* So many slots, the new ones free and of generation 0. */
static int grow_to(struct roster *r, uint32_t slots) {
    if (slots >= r->capacity) {
        uint32_t capacity = r->capacity == 0 ? FIRST_CAPACITY : r->capacity;
        while (capacity <= slots) {
            capacity *= 2;
        }
        struct roster_cell *cells = realloc(r->cells, capacity * sizeof *cells);
        if (cells == NULL) {
            return E_NOMEM;
        }
        r->cells = cells;
        r->capacity = capacity;
    }
    memset(r->cells + r->slots + 1, 0, (slots - r->slots) * sizeof *r->cells);
    r->slots = slots;
    return 0;
}

int roster_put(struct roster *r, uint32_t index, void *item, const char *name) {
    uint32_t slot = ROSTER_SLOT(index);
    if (slot == 0 || slot > r->slots + 1 || roster_find(r, span_text(name)) != 0) {
        return E_CORRUPT;
    }
    if (slot <= r->slots && r->cells[slot].item != NULL) {
        return E_CORRUPT;
    }
    int rc = slot > r->slots ? grow_to(r, slot) : 0;
    if (rc != 0) {
        return rc;
    }
    uint16_t generation = (uint16_t)(index >> ROSTER_SLOT_BITS);
    r->cells[slot] = (struct roster_cell){.item = item, .name = name, .generation = generation};
    rc = map_insert(&r->by_name, hash_bytes(r->hash, span_text(name)), slot);
    if (rc != 0) {
        r->cells[slot].item = NULL;
        return rc;
    }
    r->live++;
    while (r->low <= r->slots && r->cells[r->low].item != NULL) {
        r->low++;
    }
    return 0;
}

void roster_rename(struct roster *r, uint32_t index, const char *name) {
    struct roster_cell *cell = &r->cells[ROSTER_SLOT(index)];
    assert(roster_at(r, index) != NULL && strcmp(cell->name, name) == 0);
    cell->name = name;
}

void roster_remove(struct roster *r, uint32_t index) {
    assert(roster_at(r, index) != NULL);
    uint32_t slot = ROSTER_SLOT(index);
    map_remove(&r->by_name, name_hash(r, slot), slot);
    struct roster_cell *cell = &r->cells[slot];
    *cell = (struct roster_cell){.generation = (cell->generation + 1) & GENERATION_MASK};
    r->low = slot < r->low ? slot : r->low;
    r->live--;
}

void roster_save(const struct roster *r, struct saver *s) {
    save_u32(s, r->live);
    save_u32(s, r->slots);
    for (uint32_t slot = 1; slot <= r->slots; slot++) {
        save_u16(s, r->cells[slot].generation);
        save_item_end(s);
    }
}

int roster_load(struct roster *r, struct reader *section, uint32_t *ret_items) {
    assert(r->slots == 0);
    uint32_t items = reader_u32(section);
    uint32_t slots = reader_u32(section);
    if (slots > ROSTER_ITEMS_MAX || slots > section->left / 2 || items > slots) {
        return E_CORRUPT;
    }
    int rc = grow_to(r, slots);
    for (uint32_t slot = 1; rc == 0 && slot <= slots; slot++) {
        r->cells[slot].generation = reader_u16(section);
    }
    if (rc == 0) {
        *ret_items = items;
    }
    return rc;
}

void roster_check(const struct roster *r) {
    uint32_t live = 0;
    for (uint32_t slot = 1; slot <= r->slots; slot++) {
        if (r->cells[slot].item != NULL) {
            assert(roster_find(r, span_text(r->cells[slot].name)) == index_of(r, slot));
            live++;
        }
    }
    assert(live == r->live && live == r->by_name.count);
}

size_t roster_memory_bytes(const struct roster *r) {
    return r->slots * sizeof *r->cells + map_memory_bytes(&r->by_name);
}
