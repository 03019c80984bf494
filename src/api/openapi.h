/*
 * api/openapi.h - /openapi.json (3.1), made from the tables of routes, fields and problems.
 *
 * Promise: every route of the router is in it, and nothing else.
 */
#ifndef SLUICE_API_OPENAPI_H
#define SLUICE_API_OPENAPI_H

#include "api/routes.h"
#include "base/buffer.h"

/* E_NOMEM, E_LIMIT. */
MUST_CHECK int openapi_write(const struct route *routes, size_t count, const char *version,
                             struct buffer *out);

#endif
