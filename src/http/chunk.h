/*
 * http/chunk.h - takes the framing off a chunked body, strictly.
 *
 * Promise: sizes are 1 to 8 hex digits, every line ends with CRLF, each chunk's data is followed by
 *          CRLF and nothing else; extensions are well-formed, and skipped (at most CHUNK_EXTENSION_BYTES in a
 *          body).
 * Shape:   plain struct, no allocation. The trailer after the last chunk is the caller's (gate.h).
 */
#ifndef SLUICE_HTTP_CHUNK_H
#define SLUICE_HTTP_CHUNK_H

#include "base/span.h"

#define CHUNK_EXTENSION_BYTES 1024u

enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_LAST, /* after the line of the last chunk */
    CHUNK_BAD,
};

/* RFC 9112 section 7.1.1: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) */
enum chunk_extension {
    EXTENSION_BEFORE_NAME,
    EXTENSION_NAME,
    EXTENSION_AFTER_NAME,
    EXTENSION_BEFORE_VALUE,
    EXTENSION_VALUE,
    EXTENSION_QUOTED,
    EXTENSION_ESCAPED,
    EXTENSION_AFTER_VALUE,
    EXTENSION_BAD,
};

struct chunk {
    enum chunk_state state;
    enum chunk_extension extension;
    uint32_t left;   /* of the size being read, or of the data to come */
    uint32_t digits; /* of the size so far */
    uint32_t extension_bytes;
};

void chunk_init(struct chunk *c);
/* Takes framing and at most one run of data, which *ret_data borrows. Returns the bytes taken. */
size_t chunk_take(struct chunk *c, struct span bytes, struct span *ret_data);

#endif
