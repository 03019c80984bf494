/*
 * log/scan.h - reads the records of one segment file, at known offsets or by searching.
 *
 * Promise: reads by windows of 256 KiB (larger for a larger record), never beyond `end`; hands out
 *          only records whose CRC holds.
 * Shape:   plain struct, caller-owned; the file stays the caller's. Spans of a record are borrowed
 *          until the next call.
 * Errors:  E_IO, E_NOMEM, and those of record_decode.
 */
#ifndef SLUICE_LOG_SCAN_H
#define SLUICE_LOG_SCAN_H

#include "log/file_ops.h"
#include "log/format.h"

struct scan {
    const struct file_ops *files; /* borrows */
    int file;                     /* borrows */
    uint32_t seed;
    uint64_t end;         /* offset behind the last byte that may be read; may grow */
    struct buffer window; /* bytes from window_at on */
    uint64_t window_at;
};

void scan_init(struct scan *s, const struct file_ops *files, int file, uint32_t seed, uint64_t end);
void scan_release(struct scan *s);
/* Drops the window: what is read next is read afresh. */
void scan_forget(struct scan *s);

/* The record at `offset`. E_END, E_TORN, E_CORRUPT, E_IO, E_NOMEM. */
MUST_CHECK int scan_record(struct scan *s, uint64_t offset, struct record *ret);

/*
 * The next readable record behind `offset`, where the one with `position` should stand but does not:
 * its position is higher, by no more than fit between. E_END: there is none.
 */
MUST_CHECK int scan_find(struct scan *s, uint64_t offset, uint64_t position, uint64_t *ret_offset,
                         struct record *ret);

/* Where an unbroken run of records ends, and why. */
struct scan_end {
    uint64_t offset;
    uint64_t position;     /* expected there */
    uint64_t last_time_ns; /* of the last record of the run */
    uint64_t batch_offset; /* where the last batch of the run begins; 0: the run is empty */
    int reason;            /* E_END, E_TORN or E_CORRUPT */
};

/* Follows the run that begins at `end->offset` with `end->position`; updates `*end`. E_IO, E_NOMEM. */
MUST_CHECK int scan_run(struct scan *s, struct scan_end *end);

enum scan_behind {
    SCAN_NOTHING,  /* no readable record behind the end */
    SCAN_LEFTOVER, /* records of the batch that was being written: remains of a torn write */
    SCAN_WITNESS,  /* a record of a later batch: what stood at the end had been flushed */
};

/* What stands behind the end of a run (format.h, "Why the index in the batch"). E_IO, E_NOMEM. */
MUST_CHECK int scan_look_behind(struct scan *s, const struct scan_end *end,
                                enum scan_behind *ret_behind);

#endif
