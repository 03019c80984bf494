#include "fates.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/map.h"

/* Both are fixed: a refusal must outlive a restart of the provider. */
static const struct hash_key PLACE_KEY = {0x736c75696365, 1};
static const struct hash_key REFUSAL_KEY = {0x736c75696365, 2};

struct fates {
    struct map map;
    struct fate *cells; /* owns; slot 0 is never used, as the map wants */
    uint32_t count, capacity;
};

static bool fate_matches(const void *owner, uint32_t slot, const void *key) {
    const struct fates *f = owner;
    const struct span *wanted = key;
    return span_equal(span_of(f->cells[slot].key, f->cells[slot].key_size), *wanted);
}

int fates_create(struct fates **ret) {
    struct fates *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return E_NOMEM;
    f->count = 1;
    map_init(&f->map, f, fate_matches);
    *ret = f;
    return 0;
}

void fates_free(struct fates *f) {
    if (f == NULL)
        return;
    for (uint32_t i = 1; i < f->count; i++)
        free(f->cells[i].key);
    free(f->cells);
    map_release(&f->map);
    free(f);
}

static int fates_reserve(struct fates *f) {
    if (f->count < f->capacity)
        return 0;
    if (f->capacity >= FATES_MAX)
        return E_LIMIT;
    uint32_t capacity = f->capacity == 0 ? 1024 : f->capacity * 2;
    struct fate *cells = realloc(f->cells, capacity * sizeof(*cells));
    if (cells == NULL)
        return E_NOMEM;
    f->cells = cells;
    f->capacity = capacity;
    return 0;
}

static int fate_add(struct fates *f, struct span key, uint64_t hash, struct fate **ret) {
    int rc = fates_reserve(f);
    if (rc != 0)
        return rc;
    char *copy = malloc(key.size + 1);
    if (copy == NULL)
        return E_NOMEM;
    memcpy(copy, key.data, key.size);
    copy[key.size] = '\0';
    f->cells[f->count] = (struct fate){.key = copy, .key_size = (uint32_t)key.size};
    rc = map_insert(&f->map, hash, f->count);
    if (rc != 0) {
        free(copy);
        return rc;
    }
    *ret = &f->cells[f->count++];
    return 0;
}

int fates_get(struct fates *f, struct span key, struct fate **ret) {
    uint64_t hash = hash_bytes(PLACE_KEY, key);
    uint32_t slot = map_find(&f->map, hash, &key);
    if (slot == 0)
        return fate_add(f, key, hash, ret);
    *ret = &f->cells[slot];
    return 0;
}

bool fate_refused(struct span key, double share) {
    return (double)(hash_bytes(REFUSAL_KEY, key) >> 11) * 0x1p-53 < share;
}
