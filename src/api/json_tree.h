/*
 * api/json_tree.h - a whole JSON body as a tree, for requests that are not on the hot path.
 *
 * Promise: what json_scan refuses is refused (grammar, depth), and member names that occur twice too.
 * Errors:  E_INVALID and a reason with the offset; E_NOMEM.
 */
#ifndef SLUICE_API_JSON_TREE_H
#define SLUICE_API_JSON_TREE_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/span.h"

#define JSON_REASON_BYTES 192u

/* The caller owns *ret_tree (json_decref). */
MUST_CHECK int json_tree_read(struct span text, char reason[JSON_REASON_BYTES], json_t **ret_tree);

#endif
