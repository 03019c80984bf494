/*
 * base/reader.h - bounded little-endian decoding of a span.
 *
 * Promise: never reads beyond the span. The first short read sets `failed` and every later get
 *          returns 0 or an empty span, so a decoder checks once, at its end.
 */
#ifndef SLUICE_BASE_READER_H
#define SLUICE_BASE_READER_H

#include "base/span.h"

struct reader {
    const uint8_t *next; /* borrows the span's bytes */
    size_t left;
    bool failed;
};

static inline void reader_init(struct reader *r, struct span s) {
    r->next = s.data;
    r->left = s.size;
    r->failed = false;
}

uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* `size` raw bytes, borrowed from the span. */
struct span reader_take(struct reader *r, size_t size);
/* u32 length, then the bytes, borrowed from the span. */
struct span reader_bytes(struct reader *r);
/* Everything read, nothing missing. */
static inline bool reader_done(const struct reader *r) {
    return !r->failed && r->left == 0;
}

#endif
