#include "model/key_text.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

static bool is_inline(const struct key_text *k) {
    return k->size <= KEY_TEXT_INLINE_BYTES;
}

static uint8_t *outside(const struct key_text *k) {
    uint8_t *data;
    memcpy(&data, k->bytes, sizeof data);
    return data;
}

int key_text_init(struct key_text *k, struct span key) {
    assert(key.size <= UINT8_MAX);
    struct key_text next = {.size = (uint8_t)key.size};
    uint8_t *target = next.bytes;
    if (!is_inline(&next)) {
        target = malloc(key.size);
        if (target == NULL) {
            return E_NOMEM;
        }
        memcpy(next.bytes, &target, sizeof target);
    }
    if (key.size > 0) {
        memcpy(target, key.data, key.size);
    }
    *k = next;
    return 0;
}

void key_text_release(struct key_text *k) {
    if (!is_inline(k)) {
        free(outside(k));
    }
    k->size = 0;
}

struct span key_text_span(const struct key_text *k) {
    return span_of(is_inline(k) ? k->bytes : outside(k), k->size);
}

size_t key_text_memory_bytes(const struct key_text *k) {
    return is_inline(k) ? 0 : k->size;
}
