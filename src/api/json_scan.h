/*
 * api/json_scan.h - one pass over a JSON text: is it well formed, and what stands at one pointer?
 *
 * Promise: accepts exactly RFC 8259 texts in UTF-8 (no lone surrogates, no byte order mark) of at
 *          most JSON_DEPTH_MAX levels; allocates nothing. A member name that occurs twice on the way
 *          to the pointer is refused, since readers disagree on which of the two counts.
 * Shape:   a campaign's entry needs nothing of its body but the member, so no tree is built; bodies
 *          that are used whole are read by json_tree.h, which asks this scanner first.
 * Errors:  E_INVALID with offset and reason; E_LIMIT: nested too deep.
 */
#ifndef SLUICE_API_JSON_SCAN_H
#define SLUICE_API_JSON_SCAN_H

#include "base/compiler.h"
#include "base/span.h"

#define JSON_DEPTH_MAX         32u
#define JSON_POINTER_TOKENS    8u
#define JSON_POINTER_MAX_BYTES 255u

/* A parsed RFC 6901 pointer: plain value, tokens unescaped. */
struct json_pointer {
    char text[JSON_POINTER_MAX_BYTES];
    uint16_t start[JSON_POINTER_TOKENS + 1]; /* token i is text[start[i] .. start[i + 1]) */
    uint8_t count;                           /* 0: the whole document */
};
/* "" or "/a/b~1c/0". E_INVALID; E_LIMIT: more tokens or bytes than above. */
MUST_CHECK int json_pointer_parse(struct span text, struct json_pointer *ret);

enum json_kind {
    JSON_KIND_NONE, /* nothing stands there */
    JSON_KIND_NULL,
    JSON_KIND_BOOL,
    JSON_KIND_INTEGER, /* a number without fraction and exponent */
    JSON_KIND_REAL,
    JSON_KIND_STRING,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT,
};

struct json_found {
    enum json_kind kind;
    struct span raw; /* borrows the text: the value as written, quotes included */
};

struct json_fault {
    size_t offset;      /* of the byte that cannot stand there */
    const char *reason; /* static text for people */
};

/* pointer NULL: only the check. ret_fault is written on failure only. */
MUST_CHECK int json_scan(struct span text, const struct json_pointer *pointer,
                         struct json_found *ret_found, struct json_fault *ret_fault);

/*
 * A scanned string without quotes and escapes. `out` needs raw.size bytes; returns the length. When
 * the string has no escapes *ret_plain borrows the raw text and `out` is not written.
 */
size_t json_string_decode(struct span raw, uint8_t *out, struct span *ret_plain);

#endif
