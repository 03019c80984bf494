/*
 * http/query.h - parameters of a query string, "page_size=20&filter=a%20b".
 *
 *     struct query_walk w;
 *     query_walk_init(&w, http_query(x));
 *     struct query_parameter p;
 *     while ((rc = query_next(&w, &p)) == 0)                 E_END after the last
 *         ... p.name, p.value, valid until the next call ...
 *
 * Promise: names and values are percent-decoded ('+' is a space), valid UTF-8 and bounded.
 * Errors:  E_INVALID: encoding, or an empty name; E_TOO_LARGE: name or value over its limit.
 */
#ifndef SLUICE_HTTP_QUERY_H
#define SLUICE_HTTP_QUERY_H

#include "base/compiler.h"
#include "base/span.h"

#define QUERY_NAME_BYTES  64u
#define QUERY_VALUE_BYTES 2048u

struct query_walk {
    struct span left; /* borrows the query string */
    char name[QUERY_NAME_BYTES];
    char value[QUERY_VALUE_BYTES];
};

struct query_parameter {
    struct span name, value; /* borrow the walk */
};

void query_walk_init(struct query_walk *w, struct span query);
/* E_END when there is no more. Empty pieces ("a=1&&b=2") are skipped. */
MUST_CHECK int query_next(struct query_walk *w, struct query_parameter *ret_parameter);

/*
 * The one value of `name` (as it reads when decoded) into out[0..size). E_NOT_FOUND; E_EXISTS: given
 * twice; and the errors above, also when they are in another parameter.
 */
MUST_CHECK int query_find(struct span query, const char *name, char *out, size_t size,
                          struct span *ret_value);

#endif
