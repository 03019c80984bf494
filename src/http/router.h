/*
 * http/router.h - finds the route of a path in a table of patterns.
 *
 *     static const struct http_route routes[] = {
 *         {HTTP_GET_, "/v1/queues/{queue}"},
 *         {HTTP_POST_, "/v1/queues/{queue}:pause"},
 *         {HTTP_GET_, "/v1/queues/{queue}/messages/{message}"},
 *     };
 *
 * Promise: the cost depends on the length of the path, not of the table. A literal segment wins over a
 *          capture. Captures are percent-decoded, never empty, "." or "..", valid UTF-8 without control
 *          characters and at most HTTP_NAME_BYTES long. HEAD is served by GET's route when it has none.
 * Shape:   opaque, made once from a table that it borrows, then read-only: any thread.
 *
 * A colon in the last segment always sets off a verb where the table has verbs at that place; a name
 * with a colon is sent as "%3A" there.
 */
#ifndef SLUICE_HTTP_ROUTER_H
#define SLUICE_HTTP_ROUTER_H

#include "http/server.h"

#define HTTP_NAME_BYTES  255u
#define HTTP_CAPTURES    4u
#define HTTP_ALLOW_BYTES 64u
#define HTTP_ROUTE_COUNT 1000u /* most routes in a table */

struct http_route {
    enum http_method method;
    const char *pattern;
};

struct http_router;

struct http_match {
    size_t route; /* index in the table */
    size_t capture_count;
    struct span captures[HTTP_CAPTURES]; /* in order of the pattern; borrow `names` */
    char allow[HTTP_ALLOW_BYTES];        /* with E_UNSUPPORTED: "GET, HEAD, PUT" */
    char names[HTTP_CAPTURES][HTTP_NAME_BYTES];
};

/*
 * E_INVALID: a malformed pattern, or two routes alike; *ret_bad is its index. E_LIMIT: too many
 * captures or routes. E_NOMEM.
 */
MUST_CHECK int http_router_create(const struct http_route *routes, size_t count, size_t *ret_bad,
                                  struct http_router **ret_router);
void http_router_free(struct http_router *r);

/*
 * E_NOT_FOUND -> 404. E_UNSUPPORTED -> 405 with the Allow list. E_INVALID -> 400, malformed escape or
 * name. E_TOO_LARGE -> 404, a name that long cannot exist. `path` is http_path().
 */
MUST_CHECK int http_router_match(const struct http_router *r, enum http_method method,
                                 struct span path, struct http_match *ret_match);

#endif
