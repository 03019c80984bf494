/*
 * Reading a log folder from the outside. The judgement is that of recovery (recovery.c, R1 to R3), but
 * nothing is changed and nothing refused: each break is told to the visitor and the scan goes on at
 * the next readable record.
 *
 * A server may be writing meanwhile. What does not read is therefore read again before it is called
 * damage, and a segment that is gone when its turn comes was released.
 */
#include "log/verify.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "log/scan.h"
#include "log/segment.h"

#define PATH_BYTES 4096u

struct verify {
    const struct file_ops *files;
    const char *directory;
    const struct log_visitor *visitor;
    struct log_scan_summary summary;
    uint64_t from_position;
    struct segment_names names;
    int rc; /* the first error while listing */

    char name[SEGMENT_NAME_BYTES]; /* the segment at hand */
    struct scan scan;
    struct scan_end end;
    bool last;
    bool stopped; /* by the visitor */

    bool have_before; /* the segment before: its number, and the position behind its last record */
    uint32_t before_number;
    uint64_t folder_id;
    uint64_t next_position;
};

static void PRINTF_LIKE(3, 4)
    tell(struct verify *v, enum log_finding_kind kind, const char *text, ...) {
    struct log_finding f = {
        .kind = kind, .file = v->name, .offset = v->end.offset, .position = v->end.position};
    va_list arguments;
    va_start(arguments, text);
    vsnprintf(f.text, sizeof f.text, text, arguments);
    va_end(arguments);
    if (kind == LOG_FINDING_TORN_TAIL) {
        v->summary.torn++;
    } else if (kind != LOG_FINDING_GAP) {
        v->summary.corrupt++;
    }
    if (v->visitor->finding != NULL) {
        v->visitor->finding(v->visitor->context, &f);
    }
}

/* ---- listing ---- */

static void list_entry(void *argument, const char *name) {
    struct verify *v = argument;
    int rc = segment_names_add(&v->names, name);
    v->rc = v->rc == 0 ? rc : v->rc;
}

static int list_segments(struct verify *v) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/log", v->directory);
    int rc = v->files->list(v->files->context, path, list_entry, v);
    if (rc != 0) {
        return rc == -ENOENT ? E_NOT_FOUND : E_IO;
    }
    segment_names_sort(&v->names);
    return v->rc != 0 ? v->rc : v->names.count == 0 ? E_NOT_FOUND : 0;
}

/* ---- one segment ---- */

static void visit(struct verify *v, const struct record *r) {
    struct log_scan_summary *s = &v->summary;
    if (r->position < v->from_position) {
        return;
    }
    if (s->records == 0) {
        s->first_position = r->position;
        s->first_time_ns = r->time_ns;
    }
    s->records++;
    s->facts += r->fact_count;
    s->bytes += r->size_bytes;
    if (r->lost) {
        s->lost_first = s->lost == 0 ? r->position : s->lost_first;
        s->lost_last = r->position;
        s->lost++;
    }
    s->last_position = r->position;
    s->last_time_ns = r->time_ns;
    if (v->visitor->record != NULL &&
        v->visitor->record(v->visitor->context, v->name, v->end.offset, r) != 0) {
        v->stopped = true;
    }
}

static bool is_next(const struct verify *v, const struct record *r) {
    return r->position == v->end.position && r->time_ns >= v->end.last_time_ns;
}

/* Records from the present place on, until the run breaks. E_IO, E_NOMEM. */
static int follow(struct verify *v) {
    while (!v->stopped) {
        struct record r;
        int rc = scan_record(&v->scan, v->end.offset, &r);
        if (rc == E_IO || rc == E_NOMEM) {
            return rc;
        }
        if (rc == 0 && !is_next(v, &r)) {
            rc = E_CORRUPT;
        }
        if (rc != 0) {
            v->end.reason = rc;
            break;
        }
        visit(v, &r);
        v->end.offset += r.size_bytes;
        v->end.position++;
        v->end.last_time_ns = r.time_ns;
    }
    return 0;
}

/* Is what the run broke at readable now, with a fresh look? Then a server had just been writing it. */
static bool was_being_written(struct verify *v) {
    struct record r;
    scan_forget(&v->scan);
    return scan_record(&v->scan, v->end.offset, &r) == 0 && is_next(v, &r);
}

/* Goes on at the next readable record. 0: there is one; E_END: none. */
static int skip_damage(struct verify *v) {
    uint64_t offset;
    struct record r;
    int rc = scan_find(&v->scan, v->end.offset, v->end.position, &offset, &r);
    if (rc != 0) {
        return rc;
    }
    tell(v, LOG_FINDING_CORRUPT,
         "%" PRIu64 " bytes do not read as what was written: positions %" PRIu64 " to %" PRIu64,
         offset - v->end.offset, v->end.position, r.position - 1);
    v->end.offset = offset;
    v->end.position = r.position;
    return 0;
}

/* The run broke: why? 0: go on scanning; E_END: the segment ends. */
static int judge_break(struct verify *v) {
    enum scan_behind behind;
    int rc = scan_look_behind(&v->scan, &v->end, &behind);
    if (rc != 0) {
        return rc;
    }
    if (v->last && behind != SCAN_WITNESS) {
        if (behind == SCAN_LEFTOVER || v->end.reason != E_END) {
            if (was_being_written(v)) {
                return 0;
            }
            tell(v, LOG_FINDING_TORN_TAIL,
                 "the last write did not finish, or a server is writing it now");
        }
        return E_END;
    }
    if (behind != SCAN_NOTHING) {
        return was_being_written(v) ? 0 : skip_damage(v);
    }
    if (v->end.reason != E_END) {
        tell(v, LOG_FINDING_CORRUPT, "what stands here is no record, to the end of the segment");
    }
    return E_END;
}

static int scan_segment(struct verify *v) {
    for (;;) {
        int rc = follow(v);
        if (rc != 0 || v->stopped) {
            return rc;
        }
        rc = judge_break(v);
        if (rc != 0) {
            return rc == E_END ? 0 : rc;
        }
    }
}

/* ---- from segment to segment ---- */

static bool header_is_good(struct verify *v, uint64_t first_position, int decoded,
                           const struct segment_header *h) {
    if (decoded != 0) {
        tell(v, LOG_FINDING_BAD_HEADER, "the header does not read: %s", error_text(decoded));
        return false;
    }
    if (h->first_position != first_position ||
        (v->have_before && (h->folder_id != v->folder_id || h->number <= v->before_number))) {
        tell(v, LOG_FINDING_BAD_HEADER, "the header does not belong to this file or folder");
        return false;
    }
    return true;
}

static void check_joint(struct verify *v, const struct segment_header *h) {
    if (!v->have_before || v->next_position == h->first_position) {
        return;
    }
    if (h->number == v->before_number + 1 || h->first_position < v->next_position) {
        tell(v, LOG_FINDING_CORRUPT, "the segment before ends at position %" PRIu64,
             v->next_position - 1);
    } else {
        tell(v, LOG_FINDING_GAP, "positions %" PRIu64 " to %" PRIu64 " are not here",
             v->next_position, h->first_position - 1);
    }
}

static int scan_file(struct verify *v, int file, uint64_t first_position) {
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    uint64_t size = 0;
    ssize_t got = v->files->read_at(v->files->context, file, bytes, sizeof bytes, 0);
    if (got < 0 || v->files->size(v->files->context, file, &size) != 0) {
        return E_IO;
    }
    struct segment_header h = {0};
    int decoded = segment_header_decode(span_of(bytes, (size_t)got), &h);
    v->end = (struct scan_end){.offset = 0, .position = first_position};
    if (!header_is_good(v, first_position, decoded, &h)) {
        v->have_before = false;
        return 0;
    }
    check_joint(v, &h);
    v->end.offset = SEGMENT_HEADER_BYTES;
    scan_init(&v->scan, v->files, file, segment_seed(&h), size);
    int rc = scan_segment(v);
    scan_release(&v->scan);
    v->have_before = true;
    v->before_number = h.number;
    v->folder_id = h.folder_id;
    v->next_position = v->summary.next_position = v->end.position;
    return rc;
}

static int scan_name(struct verify *v, uint64_t first_position) {
    char path[PATH_BYTES];
    segment_name(v->name, first_position);
    snprintf(path, sizeof path, "%s/log/%s", v->directory, v->name);
    int file = v->files->open(v->files->context, path, O_RDONLY, 0);
    if (file == -ENOENT) {
        return 0; /* released since we listed */
    }
    if (file < 0) {
        return E_IO;
    }
    v->summary.segments++;
    int rc = scan_file(v, file, first_position);
    v->files->close(v->files->context, file);
    return rc;
}

int log_scan(const char *directory, const struct file_ops *files, uint64_t from_position,
             const struct log_visitor *visitor, struct log_scan_summary *ret_summary) {
    struct verify v = {
        .files = files == NULL ? &file_ops_system : files,
        .directory = directory,
        .visitor = visitor,
        .from_position = from_position,
    };
    int rc = list_segments(&v);
    for (size_t i = 0; rc == 0 && i < v.names.count && !v.stopped; i++) {
        v.last = i + 1 == v.names.count;
        if (!v.last && v.names.positions[i + 1] <= from_position) {
            continue; /* wholly before */
        }
        rc = scan_name(&v, v.names.positions[i]);
    }
    segment_names_release(&v.names);
    if (rc == 0) {
        *ret_summary = v.summary;
    }
    return rc;
}
