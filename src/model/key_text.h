/*
 * model/key_text.h - a key of 0..255 bytes kept in 24.
 *
 * Promise: up to 23 bytes (receipt ids, phone and account numbers) stand in the cell itself; a longer
 *          key is one allocation. Keys are bytes: no terminator, any content.
 * Shape:   plain struct inside the caller's cell; a zeroed one is the empty key.
 * Errors:  E_NOMEM.
 */
#ifndef SLUICE_MODEL_KEY_TEXT_H
#define SLUICE_MODEL_KEY_TEXT_H

#include "base/compiler.h"
#include "base/span.h"

#define KEY_TEXT_INLINE_BYTES 23u

struct key_text {
    uint8_t size;
    uint8_t bytes[KEY_TEXT_INLINE_BYTES]; /* the key, or the (unaligned) pointer to it, owned */
};

/* `k` is zeroed or released before. key.size <= 255. */
MUST_CHECK int key_text_init(struct key_text *k, struct span key);
void key_text_release(struct key_text *k);
/* Borrowed until the cell is released. */
struct span key_text_span(const struct key_text *k);
/* Bytes outside of the cell. */
size_t key_text_memory_bytes(const struct key_text *k);

#endif
