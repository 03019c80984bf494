#include "model/bodies.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define BODIES_FIRST_CAPACITY 64u
/* Between the oldest and the newest; 256 TiB of log. An address beyond it is none that we gave. */
#ifndef BODIES_SEGMENTS_MAX /* fuzzing has less: memory for so many takes time */
#define BODIES_SEGMENTS_MAX (1u << 22)
#endif

/* Until the engine says how the log groups addresses: all in one. */
static uint32_t one_segment(uint64_t address) {
    return 0;
}

void bodies_init(struct bodies *b) {
    *b = (struct bodies){.segment_of = one_segment};
}

void bodies_release(struct bodies *b) {
    free(b->live_bytes);
    *b = (struct bodies){.segment_of = b->segment_of};
}

/* Segments wholly dead at the front are forgotten, so the array stays as long as the log. */
static void bodies_trim(struct bodies *b) {
    uint32_t dead = 0;
    while (dead < b->count && b->live_bytes[dead] == 0) {
        dead++;
    }
    if (dead > 0) {
        memmove(b->live_bytes, b->live_bytes + dead, (b->count - dead) * sizeof *b->live_bytes);
        b->first += dead;
        b->count -= dead;
    }
}

static int bodies_room(struct bodies *b, uint64_t count) {
    if (count <= b->capacity) {
        return 0;
    }
    uint64_t capacity = b->capacity == 0 ? BODIES_FIRST_CAPACITY : b->capacity;
    while (capacity < count) {
        capacity *= 2;
    }
    uint64_t *grown = realloc(b->live_bytes, capacity * sizeof *grown);
    if (grown == NULL || capacity > UINT32_MAX) {
        b->live_bytes = grown != NULL ? grown : b->live_bytes;
        return E_NOMEM;
    }
    b->live_bytes = grown;
    b->capacity = (uint32_t)capacity;
    return 0;
}

/* Makes an entry for `segment`, which may lie before the first known (a snapshot has any order). */
static int bodies_cover(struct bodies *b, uint32_t segment) {
    if (b->count > 0 && segment >= b->first && segment - b->first < b->count) {
        return 0;
    }
    if (b->count > 0) {
        bodies_trim(b);
    }
    if (b->count == 0) {
        b->first = segment;
    }
    uint32_t first = segment < b->first ? segment : b->first;
    uint32_t before = b->first - first;
    uint64_t end = (uint64_t)b->first + b->count;
    end = segment >= end ? (uint64_t)segment + 1 : end;
    if (end - first > BODIES_SEGMENTS_MAX) {
        return E_CORRUPT;
    }
    int rc = bodies_room(b, end - first);
    if (rc != 0) {
        return rc;
    }
    if (before > 0) {
        memmove(b->live_bytes + before, b->live_bytes, b->count * sizeof *b->live_bytes);
        memset(b->live_bytes, 0, before * sizeof *b->live_bytes);
    }
    uint32_t known = before + b->count;
    memset(b->live_bytes + known, 0, (end - first - known) * sizeof *b->live_bytes);
    b->first = first;
    b->count = (uint32_t)(end - first);
    return 0;
}

int bodies_add(struct bodies *b, uint64_t address, uint32_t bytes) {
    if (address == 0) {
        return 0; /* nothing stored */
    }
    uint32_t segment = b->segment_of(address);
    int rc = bodies_cover(b, segment);
    if (rc == 0) {
        b->live_bytes[segment - b->first] += bytes;
    }
    return rc;
}

void bodies_remove(struct bodies *b, uint64_t address, uint32_t bytes) {
    if (address == 0) {
        return;
    }
    uint32_t segment = b->segment_of(address);
    assert(segment >= b->first && segment - b->first < b->count);
    assert(b->live_bytes[segment - b->first] >= bytes);
    b->live_bytes[segment - b->first] -= bytes;
}

uint64_t bodies_live(const struct bodies *b, uint32_t segment) {
    bool known = segment >= b->first && segment - b->first < b->count;
    return known ? b->live_bytes[segment - b->first] : 0;
}

uint32_t bodies_next_live(const struct bodies *b, uint32_t from) {
    for (uint32_t i = from > b->first ? from - b->first : 0; i < b->count; i++) {
        if (b->live_bytes[i] > 0) {
            return b->first + i;
        }
    }
    return 0;
}
