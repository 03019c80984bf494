/*
 * Opening: which bytes on disk are the log.
 *
 * R1  Every "*.seg" has a readable header whose first position is its name, of this folder, with a
 *     higher number than the one before. It got its name after its first records were flushed, so
 *     anything else is corruption.
 * R2  A segment with a successor is whole: its records run without a break to the first position of
 *     the successor (when their numbers are neighbours; else segments between were released).
 * R3  In the last segment the run ends at a length of 0, at the end of the file, or at bytes that are
 *     no record. Behind that end may stand:
 *       nothing readable             the end, or a torn first record: cut
 *       records of the same batch    the torn write of a batch whose flush never ended: cut
 *       records of a later batch     that batch was written after the one at the end was flushed, so
 *                                    what does not read there had been durable: corruption, refuse
 *     A damaged last batch looks like a torn one; only what was written last can be cut by mistake, and not even that
 *     where a snapshot rests on it: an end at or before log_options.flushed_position is corruption, too.
 * R4  What is cut is cut from the file too: else a stale record of the torn batch could follow
 *     straight behind a new one of the same length, with the position expected there.
 * R5  What survived in the page cache only (the process died, the machine did not) becomes durable
 *     here: the last segment and the directory are flushed before anything is answered from them. And
 *     when the process ended because a flush failed, the kernel holds the pages of that flush as clean
 *     though they never arrived: so the last batch, with its end mark, is written again
 *     before it is flushed.
 * R6  Behind the last record of the last segment stand zeros, as many as an end mark at least: room is reserved before it
 *     gets its name, and each batch brings an end mark. A file that ends before that is a copy that was cut off, or
 *     was cut by R4 just before the program ended or on a full disk: it is used, and that is said.
 */
#include "log/recovery.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/error.h"

#define COPY_BYTES 4096u
#define ADVICE     "run `sluice log verify`; `--salvage` gives up what cannot be read"

int recovery_error(struct recovery *r, int rc, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->error_text, ERROR_TEXT_BYTES, format, arguments);
    va_end(arguments);
    return rc;
}

void recovery_report(struct recovery *r, const char *format, ...) {
    size_t used = strlen(r->ret->report);
    size_t left = sizeof r->ret->report - used;
    if (left < 8) {
        return;
    }
    char *at = r->ret->report + used;
    va_list arguments;
    va_start(arguments, format);
    if (used > 0) {
        at += snprintf(at, left, "; ");
        left -= 2;
    }
    vsnprintf(at, left, format, arguments);
    va_end(arguments);
}

static int file_error(struct recovery *r, const char *what, const char *name, int rc) {
    int code = rc == -ENOSPC || rc == -EDQUOT ? E_FULL : E_IO;
    return recovery_error(r, code, "%s of %s/%s failed: %s", what, r->log->directory, name,
                          strerror(-rc));
}

static int no_memory(struct recovery *r) {
    return recovery_error(r, E_NOMEM, "out of memory while opening the log");
}

/* ---- listing ---- */

static void adopt_spare(struct recovery *r, const char *name, uint32_t serial) {
    struct log *log = r->log;
    if (serial >= log->spare_serial) {
        log->spare_serial = serial + 1;
    }
    if (log->spare_count < SPARES_MAX) {
        log->spares[log->spare_count++] = serial;
    } else {
        char path[LOG_PATH_BYTES];
        log_path(log, name, path);
        log->files->unlink(log->files->context, path);
    }
}

static void list_entry(void *argument, const char *name) {
    struct recovery *r = argument;
    uint32_t serial;
    if (spare_name_parse(name, &serial)) {
        adopt_spare(r, name, serial);
    }
    int rc = segment_names_add(&r->names, name);
    r->rc = r->rc == 0 ? rc : r->rc;
}

static int list_folder(struct recovery *r) {
    struct log *log = r->log;
    int rc = log->files->list(log->files->context, log->directory, list_entry, r);
    if (rc != 0) {
        return file_error(r, "listing", "", rc);
    }
    if (r->rc != 0) {
        return no_memory(r);
    }
    segment_names_sort(&r->names);
    /* R5; and the names of spares must be durable before their content is overwritten. */
    rc = log->files->flush_directory(log->files->context, log->directory);
    return rc != 0 ? file_error(r, "flush", "", rc) : 0;
}

/* ---- headers: R1 ---- */

static int read_header(struct recovery *r, int file, const char *name, struct segment_header *ret) {
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    const struct file_ops *files = r->log->files;
    ssize_t got = files->read_at(files->context, file, bytes, sizeof bytes, 0);
    if (got < 0) {
        return file_error(r, "reading the header", name, (int)got);
    }
    int rc = segment_header_decode(span_of(bytes, (size_t)got), ret);
    if (rc == E_VERSION) {
        return recovery_error(r, rc, "%s/%s was written by a newer version of the program",
                              r->log->directory, name);
    }
    if (rc != 0) {
        return recovery_error(r, E_CORRUPT,
                              "%s/%s: the header at offset 0 is not readable; " ADVICE,
                              r->log->directory, name);
    }
    return 0;
}

static int check_header(struct recovery *r, const char *name, uint64_t first_position,
                        const struct segment_header *h) {
    const struct segment_table *t = &r->log->segments;
    const char *wrong = NULL;
    if (h->first_position != first_position) {
        wrong = "its header names another position";
    } else if (t->count > 0 && h->folder_id != r->log->folder_id) {
        wrong = "it belongs to another data folder";
    } else if (t->count > 0 && h->number <= t->items[t->count - 1]->number) {
        wrong = "its number does not follow the one before";
    }
    if (wrong == NULL) {
        return 0;
    }
    return recovery_error(r, E_CORRUPT, "%s/%s: %s (header at offset 0); " ADVICE,
                          r->log->directory, name, wrong);
}

/* Into the table; NULL: no memory, and the file is closed. */
static struct segment *add_segment(struct recovery *r, int file, const char *name,
                                   const struct segment_header *h) {
    struct log *log = r->log;
    struct segment *s = segment_create(h, file, name);
    if (s == NULL || segment_table_add(&log->segments, s) != 0) {
        log->files->close(log->files->context, file);
        free(s);
        return NULL;
    }
    s->named = true;
    log->folder_id = h->folder_id;
    log->open_files++;
    return s;
}

/* Opened, its header checked, in the table; E_CORRUPT when salvage could set it aside. */
static int take_segment(struct recovery *r, uint64_t first_position, const char *name) {
    struct log *log = r->log;
    char path[LOG_PATH_BYTES];
    log_path(log, name, path);
    int file = log->files->open(log->files->context, path, O_RDWR, 0);
    if (file < 0) {
        return file_error(r, "opening", name, file);
    }
    uint64_t size = 0;
    struct segment_header h;
    int rc = log->files->size(log->files->context, file, &size);
    rc = rc != 0 ? file_error(r, "size", name, rc) : read_header(r, file, name, &h);
    if (rc == 0) {
        rc = check_header(r, name, first_position, &h);
    }
    if (rc != 0) {
        log->files->close(log->files->context, file);
        return rc;
    }
    struct segment *s = add_segment(r, file, name, &h);
    if (s == NULL) {
        return no_memory(r);
    }
    s->capacity = size;
    s->durable_end = s->end = size;
    log->last_time_ns = h.created_ns > log->last_time_ns ? h.created_ns : log->last_time_ns;
    return 0;
}

static int take_all_segments(struct recovery *r) {
    for (size_t i = 0; i < r->names.count; i++) {
        char name[SEGMENT_NAME_BYTES];
        segment_name(name, r->names.positions[i]);
        int rc = take_segment(r, r->names.positions[i], name);
        if (rc == E_CORRUPT && r->log->options.salvage) {
            rc = salvage_set_aside(r, name);
        }
        if (rc != 0) {
            return rc;
        }
        /* All but the last are opened again when they are read. */
        struct segment_table *t = &r->log->segments;
        struct segment *before = t->count > 1 ? t->items[t->count - 2] : NULL;
        if (before != NULL && before->file >= 0 && r->log->open_files >= OPEN_FILES_MAX) {
            r->log->files->close(r->log->files->context, before->file);
            before->file = -1;
            r->log->open_files--;
        }
    }
    return 0;
}

/* ---- records ---- */

static int corrupt_at(struct recovery *r, const struct segment *s, const struct scan_end *end) {
    return recovery_error(r, E_CORRUPT,
                          "%s/%s: the record at offset %" PRIu64 " (position %" PRIu64
                          ") is not what was written; " ADVICE,
                          r->log->directory, s->name, end->offset, end->position);
}

/* R3: a snapshot was published behind the end, so at least those records had been flushed. */
static int ends_too_early(struct recovery *r, const struct segment *s, const struct scan_end *end) {
    return recovery_error(r, E_CORRUPT,
                          "%s/%s: the record at offset %" PRIu64 " (position %" PRIu64
                          ") is damaged or missing, and nothing behind it is readable, but a "
                          "snapshot rests on position %" PRIu64 "; " ADVICE,
                          r->log->directory, s->name, end->offset, end->position,
                          r->log->options.flushed_position);
}

static struct scan_end run_start(const struct segment *s) {
    return (struct scan_end){
        .offset = SEGMENT_HEADER_BYTES,
        .position = s->first_position,
    };
}

/* R2: is the run whole, given the segment behind? */
static int sealed_is_whole(const struct segment *s, const struct segment *after, struct scan *scan,
                           const struct scan_end *end, bool *ret_whole) {
    if (end->reason != E_END) {
        *ret_whole = false;
        return 0;
    }
    if (after->number == s->number + 1) {
        *ret_whole = after->first_position == end->position;
        return 0;
    }
    enum scan_behind behind;
    int rc = scan_look_behind(scan, end, &behind);
    if (rc == 0) {
        *ret_whole = behind == SCAN_NOTHING && after->first_position >= end->position;
    }
    return rc;
}

static int check_sealed(struct recovery *r, struct segment *s, const struct segment *after,
                        struct scan *scan, struct scan_end *end) {
    uint64_t next_position = after->number == s->number + 1 ? after->first_position : 0;
    for (;;) {
        bool whole;
        int rc = scan_run(scan, end);
        if (rc == 0) {
            rc = sealed_is_whole(s, after, scan, end, &whole);
        }
        if (rc != 0) {
            return recovery_error(r, rc, "reading %s/%s at offset %" PRIu64 ": %s",
                                  r->log->directory, s->name, end->offset, error_text(rc));
        }
        if (whole) {
            return 0;
        }
        if (!r->log->options.salvage) {
            return corrupt_at(r, s, end);
        }
        rc = salvage_stretch(r, s, scan, end, next_position);
        if (rc != 0) {
            return rc;
        }
    }
}

/* R3. `*ret_torn`: there is something behind the end to be cut off. */
static int check_last(struct recovery *r, struct segment *s, struct scan *scan,
                      struct scan_end *end, bool *ret_torn) {
    for (;;) {
        enum scan_behind behind;
        int rc = scan_run(scan, end);
        if (rc == 0) {
            rc = scan_look_behind(scan, end, &behind);
        }
        if (rc != 0) {
            return recovery_error(r, rc, "reading %s/%s at offset %" PRIu64 ": %s",
                                  r->log->directory, s->name, end->offset, error_text(rc));
        }
        bool early = behind != SCAN_WITNESS && end->position <= r->log->options.flushed_position;
        if (behind != SCAN_WITNESS && !early) {
            *ret_torn = behind == SCAN_LEFTOVER || end->reason != E_END;
            return 0;
        }
        if (!r->log->options.salvage) {
            return early ? ends_too_early(r, s, end) : corrupt_at(r, s, end);
        }
        rc = early ? salvage_end(r, s, scan, end) : salvage_stretch(r, s, scan, end, 0);
        if (rc != 0) {
            return rc;
        }
    }
}

static int scan_sealed_segment(struct recovery *r, struct segment *s, const struct segment *after) {
    struct log *log = r->log;
    int rc = segment_acquire(log, s);
    if (rc != 0) {
        return recovery_error(r, rc, "%s/%s cannot be opened", log->directory, s->name);
    }
    struct scan scan;
    scan_init(&scan, log->files, s->file, s->seed, s->end);
    struct scan_end end = run_start(s);
    rc = check_sealed(r, s, after, &scan, &end);
    scan_release(&scan);
    segment_drop(log, s);
    if (rc == 0) {
        s->durable_end = s->end = end.offset;
        s->last_position = end.position - 1;
    }
    return rc;
}

int recovery_measure_rest(struct scan *scan, const struct scan_end *end, uint64_t *ret_bytes) {
    uint8_t chunk[COPY_BYTES];
    uint64_t last = end->offset;
    for (uint64_t at = end->offset; at < scan->end; at += sizeof chunk) {
        ssize_t got =
            scan->files->read_at(scan->files->context, scan->file, chunk, sizeof chunk, at);
        if (got < 0) {
            return E_IO;
        }
        for (ssize_t i = 0; i < got; i++) {
            last = chunk[i] != 0 ? at + (uint64_t)i + 1 : last;
        }
    }
    *ret_bytes = last - end->offset;
    return 0;
}

/* R5. */
static int write_last_batch_again(struct recovery *r, const struct segment *s,
                                  const struct scan_end *end) {
    const struct file_ops *files = r->log->files;
    uint8_t chunk[COPY_BYTES];
    uint64_t at = end->batch_offset == 0 ? end->offset : end->batch_offset;
    while (at < end->offset) {
        uint64_t left = end->offset - at;
        size_t size = left < sizeof chunk ? (size_t)left : sizeof chunk;
        ssize_t got = files->read_at(files->context, s->file, chunk, size, at);
        int rc = got == (ssize_t)size ? files->write_at(files->context, s->file, chunk, size, at)
                 : got < 0            ? (int)got
                                      : -EIO;
        if (rc != 0) {
            return file_error(r, "writing the last batch again", s->name, rc);
        }
        at += size;
    }
    static const uint8_t end_mark[LOG_END_BYTES];
    int rc = 0;
    if (at + sizeof end_mark <= s->capacity) {
        rc = files->write_at(files->context, s->file, end_mark, sizeof end_mark, at);
    }
    return rc != 0 ? file_error(r, "marking the end", s->name, rc) : 0;
}

/* R6. */
static int notice_cut_copy(struct recovery *r, const struct segment *s, struct scan *scan,
                           const struct scan_end *end) {
    uint64_t rest;
    if (s->capacity >= r->log->options.segment_bytes) {
        return 0;
    }
    int rc = recovery_measure_rest(scan, end, &rest);
    if (rc != 0) {
        return file_error(r, "reading", s->name, -EIO);
    }
    if (end->offset + rest + LOG_END_BYTES > s->capacity) {
        recovery_report(r,
                        "%s ends at byte %" PRIu64
                        ", without the room that stands behind the last record: if this folder is "
                        "a copy it was cut off, and what was acknowledged from position %" PRIu64
                        " on is missing",
                        s->name, s->capacity, end->position);
    }
    return 0;
}

/* R4, R5. */
static int cut_tail(struct recovery *r, struct segment *s, struct scan *scan,
                    const struct scan_end *end, bool torn) {
    const struct file_ops *files = r->log->files;
    int rc = 0;
    if (torn) {
        rc = recovery_measure_rest(scan, end, &r->ret->cut_bytes);
        if (rc == 0) {
            rc = files->truncate(files->context, s->file, end->offset);
        }
        if (rc != 0) {
            return file_error(r, "cutting the torn tail", s->name, rc == E_IO ? -EIO : rc);
        }
        s->capacity = end->offset;
        recovery_report(r,
                        "cut a torn tail of %" PRIu64 " bytes at offset %" PRIu64
                        " of %s: position %" PRIu64 " had not been acknowledged",
                        r->ret->cut_bytes, end->offset, s->name, end->position);
    }
    rc = write_last_batch_again(r, s, end);
    if (rc != 0) {
        return rc;
    }
    rc = files->flush(files->context, s->file);
    return rc != 0 ? file_error(r, "flush", s->name, rc) : 0;
}

/* On a full disk the log still opens, to be read and consumed: the room is then none. */
static int reserve_rest(struct recovery *r, struct segment *s) {
    struct log *log = r->log;
    if (s->capacity >= log->options.segment_bytes) {
        return 0;
    }
    int rc = log->files->reserve(log->files->context, s->file, 0, log->options.segment_bytes);
    if (rc == 0) {
        s->capacity = log->options.segment_bytes;
    } else if (rc != -ENOSPC && rc != -EDQUOT) {
        return file_error(r, "reserving room", s->name, rc);
    }
    return 0;
}

static int open_last_segment(struct recovery *r, struct segment *s) {
    struct log *log = r->log;
    struct scan scan;
    scan_init(&scan, log->files, s->file, s->seed, s->capacity);
    struct scan_end end = run_start(s);
    bool torn = false;
    int rc = check_last(r, s, &scan, &end, &torn);
    if (rc == 0) {
        rc = notice_cut_copy(r, s, &scan, &end);
    }
    if (rc == 0) {
        rc = cut_tail(r, s, &scan, &end, torn);
    }
    scan_release(&scan);
    if (rc == 0 && r->end_given_up) {
        s->capacity = end.offset; /* full: what is appended gets addresses that nothing had */
    } else if (rc == 0) {
        rc = reserve_rest(r, s);
    }
    if (rc == 0) {
        s->durable_end = s->end = end.offset;
        s->last_position = end.position - 1;
        log->current = s;
        log->last_time_ns =
            end.last_time_ns > log->last_time_ns ? end.last_time_ns : log->last_time_ns;
    }
    return rc;
}

static int check_all_segments(struct recovery *r) {
    struct segment_table *t = &r->log->segments;
    for (size_t i = 0; i + 1 < t->count; i++) {
        struct segment *s = t->items[i], *after = t->items[i + 1];
        s->sealed = true;
        s->last_position = after->first_position - 1; /* unless the scan knows better */
        bool unread = r->log->options.trust_sealed && !r->log->options.salvage;
        int rc = unread ? 0 : scan_sealed_segment(r, s, after);
        if (rc != 0) {
            return rc;
        }
    }
    return t->count == 0 ? 0 : open_last_segment(r, t->items[t->count - 1]);
}

/* ---- a new log ---- */

static int write_first_segment(struct recovery *r, int file, const char *name, const char *spare,
                               const struct segment_header *h) {
    struct log *log = r->log;
    const struct file_ops *files = log->files;
    uint8_t bytes[SEGMENT_HEADER_BYTES + LOG_END_BYTES] = {0};
    segment_header_encode(bytes, h);
    char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
    log_path(log, spare, from);
    log_path(log, name, to);
    int rc = files->reserve(files->context, file, 0, log->options.segment_bytes);
    if (rc == 0) {
        rc = files->write_at(files->context, file, bytes, sizeof bytes, 0);
    }
    if (rc == 0) {
        rc = files->flush(files->context, file);
    }
    if (rc == 0) {
        rc = files->rename(files->context, from, to);
    }
    if (rc == 0) {
        rc = files->flush_directory(files->context, log->directory);
    }
    return rc != 0 ? file_error(r, "creation", name, rc) : 0;
}

static int random_id(uint64_t *ret_id) {
    return getrandom(ret_id, sizeof *ret_id, 0) == (ssize_t)sizeof *ret_id ? 0 : E_IO;
}

static int create_first_segment(struct recovery *r) {
    struct log *log = r->log;
    char name[SEGMENT_NAME_BYTES], spare[SEGMENT_NAME_BYTES], path[LOG_PATH_BYTES];
    if (log->options.flushed_position > 0) {
        return recovery_error(r, E_CORRUPT,
                              "%s/log has no segments, but a snapshot rests on position %" PRIu64
                              ": restore the log, or move the snapshots away to begin with nothing",
                              log->directory, log->options.flushed_position);
    }
    struct segment_header h = {
        .format_version = LOG_FORMAT_VERSION, .number = 1, .first_position = 1};
    if (random_id(&h.folder_id) != 0) {
        return recovery_error(r, E_IO, "the kernel gives no random numbers");
    }
    segment_name(name, h.first_position);
    spare_name(spare, log->spare_serial++);
    log_path(log, spare, path);
    int file = log->files->open(log->files->context, path, O_RDWR | O_CREAT, 0600);
    if (file < 0) {
        return file_error(r, "creation", name, file);
    }
    int rc = write_first_segment(r, file, name, spare, &h);
    if (rc != 0) {
        log->files->close(log->files->context, file);
        return rc;
    }
    struct segment *s = add_segment(r, file, name, &h);
    if (s == NULL) {
        return no_memory(r);
    }
    s->capacity = log->options.segment_bytes;
    s->durable_end = s->end = SEGMENT_HEADER_BYTES;
    log->current = s;
    return 0;
}

static void fill_result(struct recovery *r) {
    struct log *log = r->log;
    uint64_t next_position = log->current->last_position + 1;
    atomic_store(&log->next_position, next_position);
    atomic_store(&log->durable_position, next_position - 1);
    r->ret->first_position = log->segments.items[0]->first_position;
    r->ret->next_position = next_position;
    r->ret->last_time_ns = log->last_time_ns;
    r->ret->segments = (uint32_t)log->segments.count;
}

int recovery_run(struct log *log, struct log_recovery *ret_recovery, char text[ERROR_TEXT_BYTES]) {
    struct log_recovery found = {0};
    struct recovery r = {.log = log, .ret = &found, .error_text = text};
    int rc = list_folder(&r);
    if (rc == 0) {
        rc = take_all_segments(&r);
    }
    if (rc == 0) {
        rc = check_all_segments(&r);
    }
    if (rc == 0 && log->current == NULL) {
        rc = create_first_segment(&r);
    }
    if (rc == 0) {
        fill_result(&r);
        *ret_recovery = found;
    }
    segment_names_release(&r.names);
    return rc;
}
