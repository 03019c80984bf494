/*
 * log/verify.h - reads a log folder without opening it for writing: verify, dump, stat.
 *
 * Promise: changes nothing, needs no lock, works beside a running server (the open tail is then
 *          reported as such, not as damage).
 */
#ifndef SLUICE_LOG_VERIFY_H
#define SLUICE_LOG_VERIFY_H

#include "log/file_ops.h"
#include "log/format.h"

enum log_finding_kind {
    LOG_FINDING_TORN_TAIL, /* the last write did not finish: cut off at start, nothing acknowledged is lost */
    LOG_FINDING_CORRUPT,    /* a flushed record is not what was written */
    LOG_FINDING_GAP,        /* positions or segment numbers are missing */
    LOG_FINDING_BAD_HEADER, /* a segment header is not readable or of another folder */
};

struct log_finding {
    enum log_finding_kind kind;
    const char *file; /* name within the folder; borrowed during the call */
    uint64_t offset;
    uint64_t position; /* expected there */
    char text[256];
};

struct log_scan_summary {
    uint32_t segments;
    uint64_t records, facts, bytes;       /* of records also those given up */
    uint64_t lost, lost_first, lost_last; /* given up by salvage: how many, and positions */
    uint64_t first_position, last_position;
    uint64_t next_position; /* behind the last segment, whether or not it has records */
    uint64_t first_time_ns, last_time_ns;
    uint32_t torn, corrupt; /* findings by weight */
};

struct log_visitor {
    void *context; /* borrows */
    /* NULL: not wanted. Non-zero from `record` ends the scan. */
    int (*record)(void *context, const char *file, uint64_t offset, const struct record *r);
    void (*finding)(void *context, const struct log_finding *f);
};

/* 0 also when findings were reported. E_NOT_FOUND: no log there; E_IO; E_NOMEM. */
MUST_CHECK int log_scan(const char *directory, const struct file_ops *files, uint64_t from_position,
                        const struct log_visitor *visitor, struct log_scan_summary *ret_summary);

#endif
