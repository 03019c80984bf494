/*
 * dispatch/answer.h - reads one HTTP/1.1 response.
 *
 *      AWAITED --bytes--> AWAITED | WHOLE | ENOUGH | BAD
 *
 * Promise: `body` gets the body without its framing, in order, whatever the pieces it came in. WHOLE is said with the
 *          last byte of the answer and not before; an answer that only the end of the connection ends is WHOLE then.
 *          Interim answers (1xx) are passed over; 101, which nobody asked for, is BAD. `lives` is true only if
 *          the far side said where the answer ends, in one way, wants to go on, and sent not a byte more.
 * Shape:   plain struct, no allocation; heads are limited to ANSWER_HEADS_MAX_BYTES, bodies by whoever takes them.
 * Source:  RFC 9112, sections 6 and 7; http-parser does the reading.
 */
#ifndef SLUICE_DISPATCH_ANSWER_H
#define SLUICE_DISPATCH_ANSWER_H

#include <http_parser.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define ANSWER_HEADS_MAX_BYTES (256u << 10) /* of all interim ones and the last */

enum answer_state {
    ANSWER_AWAITED,
    ANSWER_WHOLE,
    ANSWER_ENOUGH, /* `body` wanted no more */
    ANSWER_BAD,    /* not_understood, or ended too soon */
};

/* False: no more of it. */
typedef bool answer_body(void *context, struct span bytes);

struct answer {
    struct http_parser parser;
    enum answer_state state;
    answer_body *body;
    void *context; /* borrows */
    bool to_head;  /* of a HEAD request: there is no body */
    bool begun;    /* a byte came */
    bool has_head; /* the last one, not an interim one */
    bool two_lengths;
    bool lives; /* WHOLE: its connection may be used again */
    bool not_understood;
    uint16_t status; /* of that head; 0: none yet */
    uint32_t head_bytes;
    uint32_t name_size; /* of the field being read */
    bool in_value;
    char name[12];
    uint8_t retry_after_size;
    char retry_after[64]; /* full: it was longer */
};

void answer_init(struct answer *a, bool to_head, answer_body *body, void *context);
enum answer_state answer_take(struct answer *a, struct span bytes);
/* The far side sends no more. */
enum answer_state answer_end(struct answer *a);
/* What Retry-After says, in seconds or as a date; 0: nothing, or a time that is over. */
uint64_t answer_retry_after_s(const struct answer *a, uint64_t now_s);

#endif
