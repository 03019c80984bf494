#include "base/reader.h"

#include <endian.h>

/* The next `size` bytes, or NULL when they are not there. */
static const uint8_t *reader_advance(struct reader *r, size_t size) {
    if (r->failed || size > r->left) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->next;
    if (size > 0) {
        r->next += size;
        r->left -= size;
    }
    return at;
}

uint8_t reader_u8(struct reader *r) {
    const uint8_t *at = reader_advance(r, 1);
    return at == NULL ? 0 : *at;
}

uint16_t reader_u16(struct reader *r) {
    uint16_t v = 0;
    const uint8_t *at = reader_advance(r, sizeof v);
    if (at != NULL) {
        memcpy(&v, at, sizeof v);
    }
    return le16toh(v);
}

uint32_t reader_u32(struct reader *r) {
    uint32_t v = 0;
    const uint8_t *at = reader_advance(r, sizeof v);
    if (at != NULL) {
        memcpy(&v, at, sizeof v);
    }
    return le32toh(v);
}

uint64_t reader_u64(struct reader *r) {
    uint64_t v = 0;
    const uint8_t *at = reader_advance(r, sizeof v);
    if (at != NULL) {
        memcpy(&v, at, sizeof v);
    }
    return le64toh(v);
}

struct span reader_take(struct reader *r, size_t size) {
    const uint8_t *at = reader_advance(r, size);
    return at == NULL ? span_of(NULL, 0) : span_of(at, size);
}

struct span reader_bytes(struct reader *r) {
    uint32_t size = reader_u32(r);
    return reader_take(r, size);
}
