/*
 * log/segment.h - one segment of the log, and the table of those that are kept.
 *
 *      0      64                      durable_end        end                 capacity
 *      | header | flushed records       | in a batch      | allocated, unused   |
 *
 * A segment is made from a prepared file under a spare name. It gets its own name, and the directory
 * is flushed, only after its header and first records were flushed:
 *
 * I1  a file "*.seg" has a whole header and, but for the first of a new log, at least one record.
 * I2  every record of a segment was flushed before the next segment got its name.
 *
 * Shape:   plain structs under the lock of the log; the file work is the callers'.
 * Life:    in the table until released; then until the last reference is given back.
 */
#ifndef SLUICE_LOG_SEGMENT_H
#define SLUICE_LOG_SEGMENT_H

#include <stdbool.h>

#include "log/file_ops.h"
#include "log/format.h"

#define SEGMENT_NAME_BYTES  32u
#define SEGMENT_NAME_DIGITS 16

struct segment {
    struct segment *next_released; /* link: waiting to be recycled or deleted */
    uint32_t number;
    uint32_t seed;
    uint64_t first_position;
    uint64_t last_position; /* first_position - 1 when empty */
    uint64_t durable_end;
    uint64_t end;
    uint64_t capacity;
    int file; /* -1: not open */
    uint32_t refs;
    bool sealed;
    bool named;
    bool released;
    char name[SEGMENT_NAME_BYTES]; /* present name in the folder */
};

/* "<16 hex digits>.seg" */
void segment_name(char out[SEGMENT_NAME_BYTES], uint64_t first_position);
/* "<8 hex digits>.spare" */
void spare_name(char out[SEGMENT_NAME_BYTES], uint32_t serial);
bool segment_name_parse(const char *name, uint64_t *ret_first_position);
bool spare_name_parse(const char *name, uint32_t *ret_serial);

/* The segment files of a folder, as first positions. */
struct segment_names {
    uint64_t *positions; /* owns */
    size_t count;
    size_t capacity;
};

/* Adds `name` if it is a segment's. E_NOMEM. */
MUST_CHECK int segment_names_add(struct segment_names *n, const char *name);
void segment_names_sort(struct segment_names *n);
void segment_names_release(struct segment_names *n);

/* NULL: out of memory. `file` becomes the segment's. */
struct segment *segment_create(const struct segment_header *h, int file, const char *name);
/* Closes the file if it is open. */
void segment_free(struct segment *s, const struct file_ops *files);

struct segment_table {
    struct segment **items; /* owns; by rising number */
    size_t count;
    size_t capacity;
};

void segment_table_release(struct segment_table *t, const struct file_ops *files);
/* Higher number than all. E_NOMEM. */
MUST_CHECK int segment_table_add(struct segment_table *t, struct segment *s);
void segment_table_remove(struct segment_table *t, struct segment *s);
struct segment *segment_table_find(const struct segment_table *t, uint32_t number);
/* The first one with a number above; NULL. */
struct segment *segment_table_after(const struct segment_table *t, uint32_t number);
/* The one that has, or would have, this position; the first when it is older. NULL when empty. */
struct segment *segment_table_at(const struct segment_table *t, uint64_t position);

#endif
