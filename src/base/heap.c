#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

#define HEAP_FIRST_CAPACITY 16u

void heap_init(struct heap *h, void *owner, heap_moved *moved) {
    assert(moved != NULL);
    *h = (struct heap){.owner = owner, .moved = moved};
}

void heap_release(struct heap *h) {
    free(h->entries);
    heap_init(h, h->owner, h->moved);
}

static void heap_place(struct heap *h, uint32_t index, struct heap_entry e) {
    h->entries[index] = e;
    h->moved(h->owner, &h->entries[index], index);
}

/* Finds the place of `e` at or above the hole at `index`. */
static void heap_rise(struct heap *h, uint32_t index, struct heap_entry e) {
    while (index > 1 && e.due_ns < h->entries[index / 2].due_ns) {
        heap_place(h, index, h->entries[index / 2]);
        index /= 2;
    }
    heap_place(h, index, e);
}

/* Finds the place of `e` at or below the hole at `index`. */
static void heap_sink(struct heap *h, uint32_t index, struct heap_entry e) {
    for (;;) {
        uint64_t child = 2 * (uint64_t)index;
        if (child > h->count) {
            break;
        }
        if (child < h->count && h->entries[child + 1].due_ns < h->entries[child].due_ns) {
            child++;
        }
        if (e.due_ns <= h->entries[child].due_ns) {
            break;
        }
        heap_place(h, index, h->entries[child]);
        index = (uint32_t)child;
    }
    heap_place(h, index, e);
}

static int heap_grow(struct heap *h) {
    uint64_t capacity = h->capacity == 0 ? HEAP_FIRST_CAPACITY : 2 * (uint64_t)h->capacity;
    if (capacity > UINT32_MAX) {
        return E_NOMEM;
    }
    struct heap_entry *entries = realloc(h->entries, capacity * sizeof *entries);
    if (entries == NULL) {
        return E_NOMEM;
    }
    h->entries = entries;
    h->capacity = (uint32_t)capacity;
    return 0;
}

int heap_reserve(struct heap *h, uint32_t count) {
    int rc = 0;
    while (rc == 0 && count >= h->capacity) {
        rc = heap_grow(h);
    }
    return rc;
}

int heap_insert(struct heap *h, struct heap_entry e) {
    if (h->count + 1 >= h->capacity) {
        int rc = heap_grow(h);
        if (rc != 0) {
            return rc;
        }
    }
    heap_rise(h, ++h->count, e);
    return 0;
}

void heap_remove(struct heap *h, uint32_t index) {
    assert(index >= 1 && index <= h->count);
    struct heap_entry gone = h->entries[index];
    struct heap_entry last = h->entries[h->count--];
    h->moved(h->owner, &gone, 0);
    if (index > h->count) {
        return; /* it was the last one */
    }
    if (index > 1 && last.due_ns < h->entries[index / 2].due_ns) {
        heap_rise(h, index, last);
    } else {
        heap_sink(h, index, last);
    }
}

void heap_check(const struct heap *h) {
    assert(h->count == 0 || h->count < h->capacity);
    for (uint32_t i = 2; i <= h->count; i++) {
        assert(h->entries[i / 2].due_ns <= h->entries[i].due_ns);
    }
}
