/*
 * log/recovery.h - what opening does with the files it finds, in three steps of their own files:
 * recovery.c lists and judges, salvage.c repairs where it was told to.
 */
#ifndef SLUICE_LOG_RECOVERY_H
#define SLUICE_LOG_RECOVERY_H

#include "log/internal.h"
#include "log/scan.h"

struct recovery {
    struct log *log;          /* borrows: its table is filled */
    struct log_recovery *ret; /* borrows */
    char *error_text;         /* borrows, ERROR_TEXT_BYTES */
    struct segment_names names;
    int rc;            /* the first error while listing */
    bool end_given_up; /* by salvage_end */
};

/* One line into error_text; returns `rc`. */
int PRINTF_LIKE(3, 4) recovery_error(struct recovery *r, int rc, const char *format, ...);
/* Appends to the report, as far as it fits. */
void PRINTF_LIKE(2, 3) recovery_report(struct recovery *r, const char *format, ...);

/* The bytes behind the end up to the last that is not zero. E_IO. */
MUST_CHECK int recovery_measure_rest(struct scan *scan, const struct scan_end *end,
                                     uint64_t *ret_bytes);

/*
 * The run of records in `s` breaks at `end`. Gives up the stretch up to the next readable record, or
 * up to `next_position` (0: not known) at the end of the segment, by records marked as lost, so that
 * positions and addresses behind stay as they were. Then the caller scans on. E_CORRUPT: cannot be
 * repaired in place; E_IO, E_NOMEM.
 */
MUST_CHECK int salvage_stretch(struct recovery *r, struct segment *s, struct scan *scan,
                               const struct scan_end *end, uint64_t next_position);
/*
 * The same for an end that comes before log_options.flushed_position, with nothing readable behind it: records marked as
 * lost stand for all up to that position. E_CORRUPT: they do not fit into the segment; E_IO, E_NOMEM.
 */
MUST_CHECK int salvage_end(struct recovery *r, struct segment *s, struct scan *scan,
                           const struct scan_end *end);
/* A segment whose header cannot be read: out of the way, under "<name>.bad". E_IO. */
MUST_CHECK int salvage_set_aside(struct recovery *r, const char *name);

#endif
