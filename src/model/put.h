/*
 * model/put.h - writing keys, sized parts and snapshots without an `if` a field.
 *
 * Promise: the first failure sticks (decision.failed, saver.rc), so that an encoder reads as the layout
 *          that it writes and is checked once, at its end.
 * Shape:   inline; a `key` is one length byte and up to 255 bytes, a `sized` part is a u32 length
 *          and that many bytes, written without knowing the length before.
 */
#ifndef SLUICE_MODEL_PUT_H
#define SLUICE_MODEL_PUT_H

#include <assert.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/reader.h"
#include "model/definition.h"
#include "model/module.h"

static inline int put_key(struct buffer *b, struct span key) {
    assert(key.size <= KEY_MAX_BYTES);
    int rc = buffer_reserve(b, 1 + key.size);
    if (rc != 0) {
        return rc;
    }
    b->data[b->size] = (uint8_t)key.size;
    if (key.size > 0) {
        memcpy(b->data + b->size + 1, key.data, key.size);
    }
    b->size += 1 + key.size;
    return 0;
}

static inline struct span reader_key(struct reader *r) {
    return reader_take(r, reader_u8(r));
}

/* sized_begin leaves room for the length, sized_end fills it in. */
static inline int sized_begin(struct buffer *b, size_t *ret_at) {
    *ret_at = b->size;
    return buffer_put_u32(b, 0);
}
static inline void sized_end(struct buffer *b, size_t at) {
    size_t size = b->size - at - 4;
    assert(size <= UINT32_MAX);
    for (unsigned i = 0; i < 4; i++) {
        b->data[at + i] = (uint8_t)(size >> (8 * i));
    }
}

/* The rest of a payload's fields: decision_put_* in module.h. */
static inline void decision_put_key(struct decision *d, struct span key) {
    d->failed |= put_key(d->facts, key) != 0;
}

/* ---- a section of a snapshot ---- */

struct saver {
    struct buffer *chunk; /* borrows, as sink */
    int (*flush)(void *sink, struct buffer *chunk);
    void *sink;
    int rc;
};

static inline void save_u8(struct saver *s, uint8_t v) {
    s->rc = s->rc != 0 ? s->rc : buffer_put_u8(s->chunk, v);
}
static inline void save_u16(struct saver *s, uint16_t v) {
    s->rc = s->rc != 0 ? s->rc : buffer_put_u16(s->chunk, v);
}
static inline void save_u32(struct saver *s, uint32_t v) {
    s->rc = s->rc != 0 ? s->rc : buffer_put_u32(s->chunk, v);
}
static inline void save_u64(struct saver *s, uint64_t v) {
    s->rc = s->rc != 0 ? s->rc : buffer_put_u64(s->chunk, v);
}
static inline void save_key(struct saver *s, struct span key) {
    s->rc = s->rc != 0 ? s->rc : put_key(s->chunk, key);
}
/* After each item: hands a full chunk over. */
static inline void save_item_end(struct saver *s) {
    if (s->rc == 0 && s->chunk->size > SNAPSHOT_CHUNK_BYTES) {
        s->rc = s->flush(s->sink, s->chunk);
    }
}

#endif
