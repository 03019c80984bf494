#include "base/buffer.h"

#include <assert.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

#define BUFFER_FIRST_BYTES 64u

void buffer_init(struct buffer *b, size_t max) {
    *b = (struct buffer){.max = max};
}

void buffer_release(struct buffer *b) {
    free(b->data);
    *b = (struct buffer){.max = b->max};
}

/* Doubles, so that n appends copy O(n) bytes, but never past max. */
static int buffer_grow(struct buffer *b, size_t needed) {
    size_t capacity = b->capacity < BUFFER_FIRST_BYTES ? BUFFER_FIRST_BYTES : b->capacity;
    while (capacity < needed) {
        capacity = capacity > b->max / 2 ? b->max : capacity * 2;
    }
    if (capacity > b->max) {
        capacity = b->max;
    }
    uint8_t *data = realloc(b->data, capacity);
    if (data == NULL) {
        return E_NOMEM;
    }
    b->data = data;
    b->capacity = capacity;
    return 0;
}

int buffer_reserve(struct buffer *b, size_t more) {
    assert(b->size <= b->capacity && b->capacity <= b->max);
    if (LIKELY(more <= b->capacity - b->size)) {
        return 0;
    }
    if (more > b->max - b->size) {
        return E_LIMIT;
    }
    return buffer_grow(b, b->size + more);
}

int buffer_append(struct buffer *b, const void *data, size_t size) {
    int rc = buffer_reserve(b, size);
    if (rc != 0) {
        return rc;
    }
    if (size > 0) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
    }
    return 0;
}

int buffer_append_span(struct buffer *b, struct span s) {
    return buffer_append(b, s.data, s.size);
}

int buffer_append_text(struct buffer *b, const char *text) {
    return buffer_append(b, text, strlen(text));
}

int buffer_printf(struct buffer *b, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    int rc = length < 0 ? E_INVALID : 0;
    if (rc == 0) {
        rc = buffer_reserve(b, (size_t)length + 1); /* vsnprintf writes a terminator too */
    }
    if (rc == 0) {
        vsnprintf((char *)b->data + b->size, (size_t)length + 1, format, again);
        b->size += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
    return rc;
}

int buffer_put_u8(struct buffer *b, uint8_t v) {
    return buffer_append(b, &v, sizeof v);
}

int buffer_put_u16(struct buffer *b, uint16_t v) {
    v = htole16(v);
    return buffer_append(b, &v, sizeof v);
}

int buffer_put_u32(struct buffer *b, uint32_t v) {
    v = htole32(v);
    return buffer_append(b, &v, sizeof v);
}

int buffer_put_u64(struct buffer *b, uint64_t v) {
    v = htole64(v);
    return buffer_append(b, &v, sizeof v);
}

int buffer_put_bytes(struct buffer *b, struct span s) {
    if (s.size > UINT32_MAX) {
        return E_LIMIT;
    }
    int rc = buffer_reserve(b, sizeof(uint32_t) + s.size); /* both or neither */
    if (rc == 0) {
        rc = buffer_put_u32(b, (uint32_t)s.size);
    }
    return rc != 0 ? rc : buffer_append_span(b, s);
}

void buffer_consume(struct buffer *b, size_t count) {
    assert(count <= b->size);
    if (count > 0) {
        memmove(b->data, b->data + count, b->size - count);
        b->size -= count;
    }
}
