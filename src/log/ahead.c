/*
 * Reading records that stand near one another: a consumer takes what was just published, or works off a backlog
 * in the order in which it came in. What was just published stands in memory still (kept.h); of what does not, one read
 * of the file serves many records.
 *
 *      file      ...| record | record | record | record | record |... durable_end
 *      window               '--- from `address` on, in one segment ---'
 *
 *   A1  the window holds bytes that are durable, or one record that is not yet: either way they never change, also
 *       when their segment is released meanwhile, since a number is never given to another segment;
 *   A2  a read behind the window, at most AHEAD_MAX_BYTES away, begins where it ended and is four times as large as the
 *       one before; any other begins with the record and READ_FIRST_BYTES: who jumps about reads no more than log_read;
 *   A3  each record out of a file is checked, as if it had been read by itself; one in memory is as it was encoded.
 */
#include <assert.h>

#include "base/error.h"
#include "log/internal.h"

#define AHEAD_MAX_BYTES (256u << 10)
#define GROWTH          4u
/* What is larger was made by one large record, and goes with the next read. */
#define KEEP_BYTES (2 * AHEAD_MAX_BYTES)

void log_ahead_init(struct log_ahead *a) {
    *a = (struct log_ahead){0};
    buffer_init(&a->bytes, RECORD_MAX_BYTES + AHEAD_MAX_BYTES);
}

void log_ahead_release(struct log_ahead *a) {
    kept_drop(a->run);
    buffer_release(&a->bytes);
}

/* The bytes of the window from this address on; empty when it has none. */
static struct span from_window(const struct log_ahead *a, uint64_t address) {
    if (address < a->address || address - a->address >= a->window.size) {
        return span_of(NULL, 0);
    }
    size_t skip = (size_t)(address - a->address);
    return span_of(a->window.data + skip, a->window.size - skip);
}

static bool holds(const struct log_ahead *a, uint64_t address) {
    struct span in = from_window(a, address);
    uint32_t length = record_length(in);
    return length != 0 && length <= in.size;
}

static void forget(struct log_ahead *a) {
    if (a->bytes.capacity > KEEP_BYTES) {
        buffer_release(&a->bytes);
    }
    buffer_clear(&a->bytes);
    a->window = span_of(NULL, 0);
}

/* A2 */
static bool is_near(const struct log_ahead *a, uint64_t address) {
    return a->window.size > 0 && log_segment_of(address) == log_segment_of(a->address) &&
           address >= a->address && address < a->address + a->window.size + AHEAD_MAX_BYTES;
}

/* More of the file, behind the window. */
static int extend(const struct log *log, int file, struct log_ahead *a, uint64_t from,
                  uint64_t size) {
    int rc = log_read_file(log, file, from, (size_t)size, &a->bytes);
    a->window = buffer_span(&a->bytes);
    return rc;
}

/* Lock not held; the segment is referenced. From `start` on, a->step behind the record; `end`: of what is durable. */
static int read_from(const struct log *log, int file, struct log_ahead *a, uint64_t start,
                     uint64_t address, uint64_t end) {
    uint64_t from = start & UINT32_MAX, offset = address & UINT32_MAX;
    uint64_t wanted = offset - from + a->step;
    if (wanted > end - from) {
        wanted = end - from;
    }
    forget(a);
    a->address = start;
    int rc = extend(log, file, a, from, wanted);
    if (rc != 0) {
        return rc;
    }
    uint32_t length = record_length(from_window(a, address));
    if (length == 0 || length > end - offset) {
        return E_CORRUPT;
    }
    uint64_t have = from + a->window.size;
    return offset + length <= have ? 0 : extend(log, file, a, have, offset + length - have);
}

/* What cannot be read around the record is nothing to the record: then it is read by itself. */
static int read_window(const struct log *log, int file, struct log_ahead *a, uint64_t address,
                       uint64_t end) {
    if (is_near(a, address)) {
        uint64_t window_end = a->address + a->window.size;
        a->step = a->step * GROWTH < AHEAD_MAX_BYTES ? a->step * GROWTH : AHEAD_MAX_BYTES;
        if (read_from(log, file, a, address < window_end ? address : window_end, address, end) ==
            0) {
            return 0;
        }
    }
    a->step = READ_FIRST_BYTES;
    return read_from(log, file, a, address, address, end);
}

/* Lock held on entry and exit; dropped for the read of the file. */
static int fill(struct log *log, struct segment *s, struct log_ahead *a, uint64_t address) {
    uint64_t offset = address & UINT32_MAX;
    if (offset >= s->durable_end) {
        forget(a);
        a->address = address;
        int error = log_copy_pending(log, s, offset, &a->bytes);
        a->window = buffer_span(&a->bytes);
        return error;
    }
    int rc = segment_acquire(log, s);
    if (rc != 0) {
        return rc;
    }
    uint64_t end = s->durable_end;
    log_unlock(log);
    rc = read_window(log, s->file, a, address, end);
    log_lock(log);
    segment_drop(log, s);
    return rc;
}

/* Lock held. Whatever it held before it gives back. */
static bool take_kept(struct log *log, struct log_ahead *a, uint64_t address) {
    if (a->run != NULL) {
        forget(a);
        kept_drop(a->run);
    }
    a->run = kept_find(&log->kept, address);
    if (a->run == NULL) {
        return false;
    }
    a->window = buffer_span(&a->run->bytes);
    a->address = a->run->address;
    return true;
}

static int fetch(struct log *log, struct log_ahead *a, uint64_t address) {
    log_lock(log);
    if (take_kept(log, a, address)) {
        log_unlock(log);
        return 0;
    }
    struct segment *s = segment_table_find(&log->segments, log_segment_of(address));
    int rc = s != NULL ? fill(log, s, a, address) : E_NOT_FOUND;
    if (s != NULL) {
        a->seed = s->seed;
    }
    log_unlock(log);
    if (rc != 0) {
        forget(a);
    }
    return rc;
}

/* A message in many queues is one record, delivered many times: it is checked once. */
int log_read_ahead(struct log *log, struct log_ahead *a, uint64_t address,
                   struct record *ret_record) {
    if (a->checked && a->last_address == address) {
        *ret_record = a->last;
        return 0;
    }
    a->checked = false;
    int rc = holds(a, address) ? 0 : fetch(log, a, address);
    if (rc != 0) {
        return rc;
    }
    struct span in = from_window(a, address);
    rc = a->run != NULL ? record_view(in, &a->last) : record_decode(in, a->seed, &a->last);
    if (rc != 0) {
        return E_CORRUPT;
    }
    a->checked = true;
    a->last_address = address;
    *ret_record = a->last;
    return 0;
}
