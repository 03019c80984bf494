/*
 * Reading by address, and following.
 *
 * Bytes below durable_end of a segment are read from its file, without the lock but with a reference,
 * so that a segment released meanwhile is neither closed nor recycled under the reader. Bytes above
 * it are still in one of the two batches and are copied under the lock.
 *
 * Files of sealed segments are opened when needed; at most OPEN_FILES_MAX stay open.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/error.h"
#include "log/internal.h"
#include "log/scan.h"

/* ---- references ---- */

static bool may_close(const struct segment *s) {
    return s->file >= 0 && s->refs == 0 && s->sealed && s->named && s->durable_end == s->end;
}

static void close_one_file(struct log *log) {
    for (size_t i = 0; i < log->segments.count; i++) {
        struct segment *s = log->segments.items[i];
        if (may_close(s)) {
            log->files->close(log->files->context, s->file);
            s->file = -1;
            log->open_files--;
            return;
        }
    }
}

int segment_acquire(struct log *log, struct segment *s) {
    if (s->file < 0) {
        if (log->open_files >= OPEN_FILES_MAX) {
            close_one_file(log);
        }
        char path[LOG_PATH_BYTES];
        log_path(log, s->name, path);
        int file = log->files->open(log->files->context, path, O_RDWR, 0);
        if (file < 0) {
            return E_IO;
        }
        s->file = file;
        log->open_files++;
    }
    s->refs++;
    return 0;
}

static void segment_retire(struct log *log, struct segment *s) {
    s->next_released = log->released;
    log->released = s;
    log->maintenance_due = true;
    log_wake(log);
}

void segment_drop(struct log *log, struct segment *s) {
    assert(s->refs > 0);
    s->refs--;
    if (s->refs == 0 && s->released) {
        log->released_held--;
        segment_retire(log, s);
    }
}

void log_release(struct log *log, uint32_t number) {
    log_lock(log);
    struct segment *s = segment_table_find(&log->segments, number);
    if (s != NULL) {
        assert(s->sealed && s->durable_end == s->end);
        segment_table_remove(&log->segments, s);
        s->released = true;
        if (s->refs == 0) {
            segment_retire(log, s);
        } else {
            log->released_held++;
        }
        if (!log->threaded) {
            room_maintain(log);
        }
    }
    log_unlock(log);
}

/* ---- by address ---- */

uint32_t log_segment_of(uint64_t address) {
    return (uint32_t)(address >> 32);
}

/* Lock held. The bytes of the batch from this place on; empty when it has none. */
static struct span batch_bytes_at(const struct batch *b, const struct segment *s, uint64_t offset) {
    for (uint32_t i = 0; b != NULL && i < b->extent_count; i++) {
        const struct extent *e = &b->extents[i];
        bool last = i + 1 == b->extent_count;
        size_t size = last ? b->bytes.size - e->start : b->extents[i + 1].start - e->start;
        if (e->segment == s && offset >= e->offset && offset - e->offset < size) {
            size_t skip = (size_t)(offset - e->offset);
            return span_of(b->bytes.data + e->start + skip, size - skip);
        }
    }
    return span_of(NULL, 0);
}

int log_copy_pending(const struct log *log, const struct segment *s, uint64_t offset,
                     struct buffer *out) {
    struct span in = batch_bytes_at(log->writing, s, offset);
    if (in.size == 0) {
        in = batch_bytes_at(log->open, s, offset);
    }
    uint32_t length = record_length(in);
    if (length == 0 || length > in.size) {
        return E_NOT_FOUND; /* not an address that log_append gave */
    }
    return buffer_append(out, in.data, length);
}

int log_read_file(const struct log *log, int file, uint64_t offset, size_t size,
                  struct buffer *out) {
    int rc = buffer_reserve(out, size);
    if (rc != 0) {
        return rc;
    }
    ssize_t got =
        log->files->read_at(log->files->context, file, out->data + out->size, size, offset);
    if (got < 0) {
        return E_IO;
    }
    if ((size_t)got < size) {
        return E_CORRUPT; /* the file ends before what was written to it */
    }
    out->size += size;
    return 0;
}

/* The record at `offset`, whole: one read for a small one, two for a larger one. */
static int read_from_file(const struct log *log, int file, uint64_t offset, uint64_t end,
                          struct buffer *out) {
    size_t start = out->size;
    uint64_t left = end - offset;
    size_t first = left < READ_FIRST_BYTES ? (size_t)left : READ_FIRST_BYTES;
    int rc = log_read_file(log, file, offset, first, out);
    if (rc != 0) {
        return rc;
    }
    uint32_t length = record_length(span_of(out->data + start, first));
    if (length == 0 || length > left) {
        return E_CORRUPT;
    }
    if (length > first) {
        return log_read_file(log, file, offset + first, length - first, out);
    }
    out->size = start + length;
    return 0;
}

/* Lock held on entry and exit; dropped for the read of the file. */
static int fetch(struct log *log, struct segment *s, uint64_t offset, struct buffer *out) {
    if (offset >= s->durable_end) {
        return log_copy_pending(log, s, offset, out);
    }
    int rc = segment_acquire(log, s);
    if (rc != 0) {
        return rc;
    }
    uint64_t end = s->durable_end;
    log_unlock(log);
    rc = read_from_file(log, s->file, offset, end, out);
    log_lock(log);
    segment_drop(log, s);
    return rc;
}

int log_read(struct log *log, uint64_t address, struct buffer *out, struct record *ret_record) {
    size_t start = out->size;
    uint32_t seed = 0;
    log_lock(log);
    struct segment *s = segment_table_find(&log->segments, log_segment_of(address));
    int rc = E_NOT_FOUND;
    if (s != NULL) {
        seed = s->seed;
        rc = fetch(log, s, address & UINT32_MAX, out);
    }
    log_unlock(log);
    if (rc == 0) {
        rc = record_decode(span_of(out->data + start, out->size - start), seed, ret_record);
        rc = rc == 0 || rc == E_NOMEM ? rc : E_CORRUPT;
    }
    if (rc != 0) {
        out->size = start;
    }
    return rc;
}

/* ---- following ---- */

struct log_cursor {
    struct log *log;         /* borrows */
    struct segment *segment; /* refs; NULL before the first call */
    struct scan scan;
    uint64_t from;
    uint64_t position; /* expected at `offset` */
    uint64_t offset;
    bool segment_done; /* the present segment says that it ends here */
    int broken;        /* the error that ended it; 0 */
};

int log_cursor_open(struct log *log, uint64_t from, struct log_cursor **ret_cursor) {
    struct log_cursor *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return E_NOMEM;
    }
    c->log = log;
    c->from = from;
    scan_init(&c->scan, log->files, -1, 0, 0);
    *ret_cursor = c;
    return 0;
}

void log_cursor_close(struct log_cursor *c) {
    if (c == NULL) {
        return;
    }
    if (c->segment != NULL) {
        log_lock(c->log);
        segment_drop(c->log, c->segment);
        log_unlock(c->log);
    }
    scan_release(&c->scan);
    free(c);
}

/* Lock held: goes on in `s`, from its first record. */
static int cursor_enter(struct log_cursor *c, struct segment *s) {
    int rc = segment_acquire(c->log, s);
    if (rc != 0) {
        return rc;
    }
    if (c->segment != NULL) {
        segment_drop(c->log, c->segment);
    }
    c->segment = s;
    c->position = s->first_position;
    c->offset = SEGMENT_HEADER_BYTES;
    c->segment_done = false;
    c->scan.file = s->file;
    c->scan.seed = s->seed;
    c->scan.end = s->durable_end;
    scan_forget(&c->scan);
    return 0;
}

/* Lock held: at the end of what is known to be durable in the present segment. */
static int cursor_advance(struct log_cursor *c) {
    struct segment *s = c->segment;
    if (!c->segment_done && s->durable_end > c->scan.end) {
        c->scan.end = s->durable_end;
        scan_forget(&c->scan);
        return 0;
    }
    if (!s->sealed || s->durable_end != s->end) {
        return c->offset < c->scan.end ? E_CORRUPT : E_END;
    }
    struct segment *after = segment_table_after(&c->log->segments, s->number);
    assert(after != NULL);
    if (after->durable_end == 0) {
        return E_END; /* its first records are on their way */
    }
    if (after->first_position != c->position) {
        return E_CORRUPT; /* records between were released, or are lost */
    }
    return cursor_enter(c, after);
}

/* More to read, or why not. */
static int cursor_extend(struct log_cursor *c) {
    log_lock(c->log);
    int rc = 0;
    if (c->segment == NULL) {
        rc = cursor_enter(c, segment_table_at(&c->log->segments, c->from));
    } else {
        rc = cursor_advance(c);
    }
    log_unlock(c->log);
    return rc;
}

/*
 * The record at the cursor. E_END: the segment ends before its file does, which is well when it was
 * sealed (a crash can keep a file from being shortened) and what follows has the next position.
 */
static int cursor_take(struct log_cursor *c, struct record *ret) {
    struct record r;
    int rc = scan_record(&c->scan, c->offset, &r);
    if (rc == E_END) {
        return E_END;
    }
    if (rc == 0 && r.position != c->position) {
        rc = E_CORRUPT;
    }
    if (rc != 0) {
        return rc == E_IO || rc == E_NOMEM ? rc : E_CORRUPT;
    }
    *ret = r;
    return 0;
}

int log_cursor_next(struct log_cursor *c, struct record *ret_record, uint64_t *ret_address) {
    while (c->broken == 0) {
        struct record r;
        int rc;
        if (c->segment == NULL || c->segment_done || c->offset >= c->scan.end) {
            rc = cursor_extend(c);
            if (rc == E_END) {
                return E_END;
            }
            c->broken = rc;
            continue;
        }
        rc = cursor_take(c, &r);
        if (rc == E_END) {
            c->segment_done = true;
            continue;
        }
        if (rc != 0) {
            c->broken = rc;
            continue;
        }
        uint64_t address = (uint64_t)c->segment->number << 32 | c->offset;
        c->offset += r.size_bytes;
        c->position++;
        if (r.position >= c->from) {
            *ret_record = r;
            *ret_address = address;
            return 0;
        }
    }
    return c->broken;
}
