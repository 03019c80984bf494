/*
 * http/parser.h - the shim over http-parser: takes a complete head apart.
 *
 * Promise: every span of the result borrows the head; values are without the space around them.
 *          Nothing outside parser.c knows which parser it is.
 * Errors:  E_INVALID, with a static text saying why; E_LIMIT: more fields than room.
 */
#ifndef SLUICE_HTTP_PARSER_H
#define SLUICE_HTTP_PARSER_H

#include "http/server.h"

struct parsed_head {
    struct span method;
    struct span target;
    unsigned major, minor;
    bool keep_alive; /* by version and Connection fields */
    bool chunked;    /* as the parser understood Transfer-Encoding */
    bool has_length;
    uint64_t length;             /* as the parser understood Content-Length */
    struct http_header *headers; /* borrows: the caller's room */
    size_t header_count;
    size_t header_room;
};

/* `ret_head->headers` and `header_room` are set by the caller. */
MUST_CHECK int parser_parse_head(struct span head, struct parsed_head *ret_head,
                                 const char **ret_detail);

#endif
