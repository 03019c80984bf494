/*
 * base/wire.h - elementary types of network protocols: big-endian integers and strings with their length before.
 *
 * Promise: a get never reads beyond the reader's span; like base/reader.h the first short read sets
 *          `failed`, and later gets return zeros. A put writes where the caller has made room, and
 *          returns the place behind.
 */
#ifndef SLUICE_BASE_WIRE_H
#define SLUICE_BASE_WIRE_H

#include "base/reader.h"

/* The next `size` bytes, or NULL. */
static inline const uint8_t *wire_take(struct reader *r, size_t size) {
    if (r->failed || size > r->left) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->next;
    r->next += size;
    r->left -= size;
    return at;
}

static inline uint16_t wire_load_u16(const uint8_t *at) {
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t wire_load_u32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(v) : v;
}

static inline uint64_t wire_load_u64(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(v) : v;
}

static inline uint8_t wire_get_u8(struct reader *r) {
    const uint8_t *at = wire_take(r, 1);
    return at != NULL ? at[0] : 0;
}

static inline uint16_t wire_get_u16(struct reader *r) {
    const uint8_t *at = wire_take(r, 2);
    return at != NULL ? wire_load_u16(at) : 0;
}

static inline uint32_t wire_get_u32(struct reader *r) {
    const uint8_t *at = wire_take(r, 4);
    return at != NULL ? wire_load_u32(at) : 0;
}

static inline uint64_t wire_get_u64(struct reader *r) {
    const uint8_t *at = wire_take(r, 8);
    return at != NULL ? wire_load_u64(at) : 0;
}

static inline struct span wire_get_span(struct reader *r, size_t size) {
    const uint8_t *at = wire_take(r, size);
    return span_of(at, at != NULL ? size : 0);
}

static inline struct span wire_get_shortstr(struct reader *r) {
    size_t size = wire_get_u8(r);
    return wire_get_span(r, size);
}

static inline struct span wire_get_longstr(struct reader *r) {
    size_t size = wire_get_u32(r);
    return wire_get_span(r, size);
}

static inline uint8_t *wire_put_u8(uint8_t *to, uint8_t v) {
    *to = v;
    return to + 1;
}

static inline uint8_t *wire_put_u16(uint8_t *to, uint16_t v) {
    to[0] = (uint8_t)(v >> 8);
    to[1] = (uint8_t)v;
    return to + 2;
}

static inline uint8_t *wire_put_u32(uint8_t *to, uint32_t v) {
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(v) : v;
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static inline uint8_t *wire_put_u64(uint8_t *to, uint64_t v) {
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(v) : v;
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static inline uint8_t *wire_put_zeros(uint8_t *to, size_t size) {
    memset(to, 0, size);
    return to + size;
}

static inline uint8_t *wire_put_span(uint8_t *to, struct span s) {
    if (s.size > 0)
        memcpy(to, s.data, s.size);
    return to + s.size;
}

/* At most 255 bytes. */
static inline uint8_t *wire_put_shortstr(uint8_t *to, struct span s) {
    return wire_put_span(wire_put_u8(to, (uint8_t)s.size), s);
}

static inline uint8_t *wire_put_longstr(uint8_t *to, struct span s) {
    return wire_put_span(wire_put_u32(to, (uint32_t)s.size), s);
}

#endif
