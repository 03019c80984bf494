/*
 * http/head.h - what a well-formed head means: method, target, Host, length of the body, Expect.
 *
 * Promise: exactly one reading, or a refusal. The body's length is worked out here from the fields
 *          and must be what the parser made of them: two opinions that differ are a smuggled request.
 * Source:  RFC 9112 sections 3.2 (target, Host), 6.1 to 6.3 (length); RFC 9110 section 10.1.1 (Expect).
 */
#ifndef SLUICE_HTTP_HEAD_H
#define SLUICE_HTTP_HEAD_H

#include "http/parser.h"

struct head_facts {
    enum http_method method;
    struct span path; /* borrows the head or is static */
    struct span query;
    bool chunked;
    bool wants_continue;
    uint64_t length;
    const char *detail; /* static text, when refused */
};

/* 0, or the status to refuse with: 400, 405, 417, 501, 505. `parsed` brings room for the headers. */
MUST_CHECK int head_understand(struct span head, struct parsed_head *parsed,
                               struct head_facts *ret_facts);

#endif
