/*
 * http/gate.h - lets only strictly formed heads through, a byte at a time.
 *
 * Promise: what passes is `method SP target SP HTTP/d.d CRLF *(name ":" value CRLF) CRLF` with token
 *          names, no bare CR or LF, no folded lines, no control characters and no space before a
 *          colon, within the limits. The verdict does not depend on how the bytes were cut.
 * Shape:   plain struct, no allocation, keeps no bytes.
 *
 * It exists because http-parser as Debian ships it is built without its strict mode: it takes bare LF,
 * spaces in names and any two bytes after a chunk, each of which has carried a smuggled request.
 */
#ifndef SLUICE_HTTP_GATE_H
#define SLUICE_HTTP_GATE_H

#include "base/span.h"
#include "http/server.h"

enum gate_state {
    GATE_METHOD,
    GATE_TARGET,
    GATE_VERSION,
    GATE_LINE_LF,
    GATE_FIELD, /* first byte of a line */
    GATE_NAME,
    GATE_VALUE,
    GATE_FIELD_LF,
    GATE_END_LF,
    GATE_DONE,
    GATE_BAD,
};

struct gate {
    enum gate_state state;
    uint32_t line_bytes;  /* of the request line */
    uint32_t field_bytes; /* of all fields, line ends included */
    uint32_t field_count;
    uint32_t part_bytes; /* of the method, target, version or name under way */
    int status;          /* GATE_BAD: 400, 414, 431 */
    const char *detail;  /* GATE_BAD: static text */
};

void gate_init(struct gate *g);
/* For the fields after a chunked body. */
void gate_init_trailer(struct gate *g);
/* Returns how many bytes were taken: all, or up to the end of the head (GATE_DONE) or the fault. */
size_t gate_take(struct gate *g, const struct http_limits *limits, struct span bytes);

/* RFC 9110 tchar. */
static inline bool gate_is_token(uint8_t c) {
    static const uint64_t bits[2] = {0x03ff6cfa00000000, 0x57ffffffc7fffffe};
    return c < 128 && (bits[c >> 6] >> (c & 63) & 1) != 0;
}
/* Visible, space, tab or above ASCII. */
static inline bool gate_is_value(uint8_t c) {
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

#endif
