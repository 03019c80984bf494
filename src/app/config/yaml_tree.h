/*
 * app/config/yaml_tree.h - a YAML file as a JSON tree, in which every value knows its place.
 *
 * Promise: one document; plain scalars are null, true, false, numbers (YAML 1.2 core schema) or text;
 *          quoted ones are text. Aliases, tags, merge keys, keys that stand twice and nesting beyond
 *          YAML_DEPTH_MAX are refused.
 * Shape:   the tree is jansson's, the places are found by JSON pointer.
 * Errors:  E_INVALID: *ret_fault says where and why; E_NOMEM.
 */
#ifndef SLUICE_APP_CONFIG_YAML_TREE_H
#define SLUICE_APP_CONFIG_YAML_TREE_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/span.h"

#define YAML_DEPTH_MAX 32u
#define YAML_MAX_BYTES (16u << 20)

struct yaml_place {
    uint32_t line, column; /* from 1 */
};

struct yaml_fault {
    struct yaml_place place;
    char reason[192];
};

struct yaml_tree {
    json_t *tree;            /* owns; an object, empty for an empty file */
    struct yaml_mark *marks; /* owns: place by pointer */
    size_t mark_count, mark_capacity;
};

MUST_CHECK int yaml_tree_read(struct span text, struct yaml_tree *ret,
                              struct yaml_fault *ret_fault);
/* The whole file, to be freed by the caller. E_IO: errno says why; E_TOO_LARGE, E_NOMEM. */
MUST_CHECK int yaml_tree_load_file(const char *path, char **ret_text, size_t *ret_size);
/* Of the value (its key, in an object); else of the nearest thing around it. */
struct yaml_place yaml_tree_find(const struct yaml_tree *y, const char *pointer);
void yaml_tree_release(struct yaml_tree *y);

#endif
