/*
 * Salvage gives up what cannot be read and keeps everything else where it is.
 *
 * A stretch that does not read lies between offset a (where position p should stand) and offset b
 * (where position q stands again). Each lost record took at least a header, so q - p headers fit:
 *
 *      a                                        b
 *      | p: lost | p+1: lost | ... | q-1: lost, takes the rest | q: as it was
 *
 * Records marked as lost hold no facts. Positions stay consecutive, and the address of every record
 * behind stays what it was, which snapshots rely on. The bytes behind those headers are kept.
 *
 * At the end there is no q: when it comes before what a snapshot rests on, headers stand for all positions up to that
 * one, and the segment counts as full, so that no address of before gets another record.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "log/recovery.h"

static int io_error(struct recovery *r, const char *name, int rc) {
    return recovery_error(r, E_IO, "salvage of %s/%s failed: %s", r->log->directory, name,
                          strerror(-rc));
}

/* Writes the lost records over bytes[0..size). False: they do not fit. */
static bool mark_lost(uint8_t *bytes, uint64_t size, uint32_t seed, const struct scan_end *end,
                      uint64_t count) {
    uint64_t at = 0;
    if (size / RECORD_HEADER_BYTES < count || count == 0) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t spare = size - at - (count - i) * RECORD_HEADER_BYTES;
        uint64_t take = i + 1 < count && size <= RECORD_MAX_BYTES ? 0 : spare;
        if (take > RECORD_MAX_BYTES - RECORD_HEADER_BYTES) {
            take = RECORD_MAX_BYTES - RECORD_HEADER_BYTES;
        }
        uint32_t record_bytes = (uint32_t)(RECORD_HEADER_BYTES + take);
        record_encode_lost(bytes + at, record_bytes, seed, end->position + i, end->last_time_ns);
        at += record_bytes;
    }
    return at == size;
}

static int overwrite(struct recovery *r, const struct segment *s, const struct scan_end *end,
                     uint64_t size, uint64_t count) {
    const struct file_ops *files = r->log->files;
    uint8_t *bytes = calloc(1, size > 0 ? size : 1);
    if (bytes == NULL) {
        return recovery_error(r, E_NOMEM, "out of memory in salvage");
    }
    int rc = 0;
    ssize_t got = files->read_at(files->context, s->file, bytes, size, end->offset);
    if (got < 0) {
        rc = io_error(r, s->name, (int)got);
    } else if (!mark_lost(bytes, size, s->seed, end, count)) {
        rc = recovery_error(r, E_CORRUPT,
                            "%s/%s: %" PRIu64 " records are missing at offset %" PRIu64
                            " where they cannot have stood; salvage cannot mend this file",
                            r->log->directory, s->name, count, end->offset);
    } else {
        rc = files->write_at(files->context, s->file, bytes, size, end->offset);
        if (rc == 0) {
            rc = files->flush(files->context, s->file);
        }
        rc = rc != 0 ? io_error(r, s->name, rc) : 0;
    }
    free(bytes);
    return rc;
}

int salvage_stretch(struct recovery *r, struct segment *s, struct scan *scan,
                    const struct scan_end *end, uint64_t next_position) {
    uint64_t until = scan->end;
    uint64_t position = next_position;
    struct record next;
    int rc = scan_find(scan, end->offset, end->position, &until, &next);
    if (rc == 0) {
        position = next.position;
    } else if (rc != E_END) {
        return recovery_error(r, rc, "reading %s/%s: %s", r->log->directory, s->name,
                              error_text(rc));
    }
    if (position == 0) {
        /* Nothing behind it is readable, and how much is missing nobody knows: it ends here. */
        rc = r->log->files->truncate(r->log->files->context, s->file, end->offset);
        if (rc == 0) {
            rc = r->log->files->flush(r->log->files->context, s->file);
        }
        rc = rc != 0 ? io_error(r, s->name, rc) : 0;
        scan->end = end->offset;
    } else {
        uint64_t needed = end->offset + (position - end->position) * RECORD_HEADER_BYTES;
        if (rc == E_END && until < needed && needed <= r->log->options.segment_bytes) {
            until = scan->end = needed; /* the file was cut off */
        }
        rc = overwrite(r, s, end, until - end->offset, position - end->position);
    }
    scan_forget(scan);
    if (rc == 0) {
        r->ret->dropped_bytes += until - end->offset;
        recovery_report(
            r, "gave up %" PRIu64 " bytes at offset %" PRIu64 " of %s from position %" PRIu64,
            until - end->offset, end->offset, s->name, end->position);
    }
    return rc;
}

int salvage_end(struct recovery *r, struct segment *s, struct scan *scan,
                const struct scan_end *end) {
    uint64_t count = r->log->options.flushed_position + 1 - end->position;
    uint64_t room = r->log->options.segment_bytes - end->offset, size;
    int rc = recovery_measure_rest(scan, end, &size);
    if (rc != 0) {
        return io_error(r, s->name, -EIO);
    }
    if (end->offset > r->log->options.segment_bytes || count > room / RECORD_HEADER_BYTES) {
        return recovery_error(r, E_CORRUPT,
                              "%s/%s: %" PRIu64 " records are missing behind offset %" PRIu64
                              ", more than have room there: restore the log, or move the newer "
                              "snapshots away to accept the loss",
                              r->log->directory, s->name, count, end->offset);
    }
    if (size < count * RECORD_HEADER_BYTES) {
        size = count * RECORD_HEADER_BYTES;
    }
    rc = overwrite(r, s, end, size, count);
    if (scan->end < end->offset + size) {
        scan->end = end->offset + size;
    }
    scan_forget(scan);
    if (rc != 0) {
        return rc;
    }
    r->end_given_up = true;
    r->ret->dropped_bytes += size;
    recovery_report(r,
                    "gave up %" PRIu64 " bytes at offset %" PRIu64 " of %s: the positions %" PRIu64
                    " to %" PRIu64,
                    size, end->offset, s->name, end->position, r->log->options.flushed_position);
    return 0;
}

int salvage_set_aside(struct recovery *r, const char *name) {
    struct log *log = r->log;
    char from[LOG_PATH_BYTES], aside[SEGMENT_NAME_BYTES], to[LOG_PATH_BYTES];
    snprintf(aside, sizeof aside, "%.*s.bad", SEGMENT_NAME_DIGITS, name);
    log_path(log, name, from);
    log_path(log, aside, to);
    int rc = log->files->rename(log->files->context, from, to);
    if (rc == 0) {
        rc = log->files->flush_directory(log->files->context, log->directory);
    }
    if (rc != 0) {
        return io_error(r, name, rc);
    }
    r->ret->dropped_bytes += SEGMENT_HEADER_BYTES;
    recovery_report(r, "set aside %s as %s: its header is not readable", name, aside);
    return 0;
}
