#include "log/kept.h"

#include <stdlib.h>

static struct kept_run *run_create(size_t max) {
    struct kept_run *run = calloc(1, sizeof *run);
    if (run != NULL) {
        atomic_init(&run->refs, 1);
        buffer_init(&run->bytes, max);
    }
    return run;
}

void kept_drop(struct kept_run *run) {
    if (run == NULL || atomic_fetch_sub(&run->refs, 1) > 1) {
        return;
    }
    buffer_release(&run->bytes);
    free(run);
}

/* The oldest one, when nobody reads it any more; else a new one in its place. */
static struct kept_run *vacate(struct kept *k, size_t max) {
    struct kept_run **place = &k->runs[k->next];
    if (*place == NULL || atomic_load(&(*place)->refs) > 1) {
        kept_drop(*place);
        *place = run_create(max);
    }
    k->next = (k->next + 1) % KEPT_RUNS;
    return *place;
}

void kept_add(struct kept *k, uint64_t address, struct buffer *bytes) {
    if (bytes->capacity > KEPT_RUN_MAX_BYTES) {
        if (bytes->size <= KEPT_RUN_MAX_BYTES) {
            buffer_release(bytes); /* or one large batch would keep all later ones from memory */
        }
        return;
    }
    struct kept_run *run = vacate(k, bytes->max);
    if (run == NULL) {
        return; /* then it is read from the file */
    }
    struct buffer empty = run->bytes;
    buffer_clear(&empty);
    run->bytes = *bytes;
    run->address = address;
    *bytes = empty;
}

struct kept_run *kept_find(const struct kept *k, uint64_t address) {
    for (uint32_t i = 1; i <= KEPT_RUNS; i++) {
        struct kept_run *run = k->runs[(k->next + KEPT_RUNS - i) % KEPT_RUNS];
        if (run != NULL && address >= run->address && address - run->address < run->bytes.size) {
            atomic_fetch_add(&run->refs, 1);
            return run;
        }
    }
    return NULL;
}

void kept_release(struct kept *k) {
    for (uint32_t i = 0; i < KEPT_RUNS; i++) {
        kept_drop(k->runs[i]);
        k->runs[i] = NULL;
    }
}
