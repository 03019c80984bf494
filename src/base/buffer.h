/*
 * base/buffer.h - a byte buffer that grows up to a maximum named at init.
 *
 *      data            data+size          data+capacity        <= max
 *       | written bytes |  reserved room   |
 *
 * Promise: never larger than `max` bytes; a failed append leaves the content as it was and returns
 *          E_NOMEM or E_LIMIT. Integers are written little-endian whatever the machine.
 * Shape:   plain struct, caller-owned; `data` owned by the buffer.
 */
#ifndef SLUICE_BASE_BUFFER_H
#define SLUICE_BASE_BUFFER_H

#include "base/compiler.h"
#include "base/span.h"

struct buffer {
    uint8_t *data; /* owns */
    size_t size;
    size_t capacity;
    size_t max;
};

void buffer_init(struct buffer *b, size_t max);
void buffer_release(struct buffer *b);
/* Empty, memory kept. */
static inline void buffer_clear(struct buffer *b) {
    b->size = 0;
}
static inline struct span buffer_span(const struct buffer *b) {
    return span_of(b->data, b->size);
}

/* Room for `more` further bytes at data+size. E_NOMEM, E_LIMIT. */
MUST_CHECK int buffer_reserve(struct buffer *b, size_t more);
MUST_CHECK int buffer_append(struct buffer *b, const void *data, size_t size);
MUST_CHECK int buffer_append_span(struct buffer *b, struct span s);
MUST_CHECK int buffer_append_text(struct buffer *b, const char *text);
MUST_CHECK int buffer_printf(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);
MUST_CHECK int buffer_put_u8(struct buffer *b, uint8_t v);
MUST_CHECK int buffer_put_u16(struct buffer *b, uint16_t v);
MUST_CHECK int buffer_put_u32(struct buffer *b, uint32_t v);
MUST_CHECK int buffer_put_u64(struct buffer *b, uint64_t v);
/* u32 length, then the bytes. */
MUST_CHECK int buffer_put_bytes(struct buffer *b, struct span s);
/* Drop the first `count` bytes (memmove). */
void buffer_consume(struct buffer *b, size_t count);

#endif
