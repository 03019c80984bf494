/*
 * Mutates inputs that are one byte and then frames (4 bytes of kind, u32 length, content): facts and sections of
 * snapshots. Plain mutation breaks a length nearly each time, and all behind it is lost; here one frame's
 * content is changed and its length follows, or frames are doubled, dropped, moved and renamed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define FRAMES_MAX   256u
#define HEADER_BYTES 8u

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct frames {
    size_t at[FRAMES_MAX]; /* of the header */
    size_t size[FRAMES_MAX];
    size_t count;
    size_t end;
};

static uint32_t length_at(const uint8_t *at) {
    uint32_t length;
    memcpy(&length, at + 4, sizeof length);
    return length;
}

static void find_frames(const uint8_t *data, size_t size, struct frames *f) {
    f->count = 0;
    f->end = 1;
    while (f->count < FRAMES_MAX && size - f->end >= HEADER_BYTES &&
           length_at(data + f->end) <= size - f->end - HEADER_BYTES) {
        f->at[f->count] = f->end;
        f->size[f->count] = HEADER_BYTES + length_at(data + f->end);
        f->end += f->size[f->count++];
    }
}

/* Puts `with` in the place of [at, at + old). Returns the new size, or the old one when there is no room. */
static size_t splice(uint8_t *data, size_t size, size_t max_size, size_t at, size_t old,
                     const uint8_t *with, size_t with_size) {
    if (size - old + with_size > max_size) {
        return size;
    }
    memmove(data + at + with_size, data + at + old, size - at - old);
    if (with_size > 0) {
        memcpy(data + at, with, with_size);
    }
    return size - old + with_size;
}

static size_t mutate_content(uint8_t *data, size_t size, size_t max_size, size_t at,
                             size_t frame_size) {
    size_t room = max_size - size + frame_size;
    uint8_t *copy = malloc(room);
    if (copy == NULL) {
        return size;
    }
    memcpy(copy, data + at, frame_size);
    size_t length =
        LLVMFuzzerMutate(copy + HEADER_BYTES, frame_size - HEADER_BYTES, room - HEADER_BYTES);
    uint32_t told = (uint32_t)length;
    memcpy(copy + 4, &told, sizeof told);
    size = splice(data, size, max_size, at, frame_size, copy, HEADER_BYTES + length);
    free(copy);
    return size;
}

/* Content of another frame's kind and the other way round: both are often the same few fields. */
static void rename_frame(uint8_t *data, const struct frames *f, size_t i, struct rng *rng) {
    size_t other = rng_below(rng, (uint32_t)f->count);
    if (rng_below(rng, 2) == 0) {
        memcpy(data + f->at[i], data + f->at[other], 4);
    } else {
        data[f->at[i]] = (uint8_t)rng_below(rng, 24); /* low byte of the kind, or the module */
    }
}

static size_t copy_frame(uint8_t *data, size_t size, size_t max_size, size_t at, size_t frame_size,
                         size_t to) {
    uint8_t *copy = malloc(frame_size);
    if (copy == NULL) {
        return size;
    }
    memcpy(copy, data + at, frame_size);
    size = splice(data, size, max_size, to, 0, copy, frame_size);
    free(copy);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    struct frames f = {.count = 0};
    struct rng rng;
    rng_init(&rng, seed);
    if (size > 1) {
        find_frames(data, size, &f);
    }
    if (f.count == 0 || rng_below(&rng, 16) == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    size_t i = rng_below(&rng, (uint32_t)f.count);
    size_t at = f.at[i];
    switch (rng_below(&rng, 8)) {
    case 0:
        return copy_frame(data, size, max_size, at, f.size[i],
                          f.at[rng_below(&rng, (uint32_t)f.count)]);
    case 1:
        return splice(data, size, max_size, at, f.size[i], NULL, 0);
    case 2:
        rename_frame(data, &f, i, &rng);
        return size;
    default:
        return mutate_content(data, size, max_size, at, f.size[i]);
    }
}
