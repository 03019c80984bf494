/*
 * Appending and flushing.
 *
 * Two batches change places: `open` takes appends while `writing` is on its way to the disk. One
 * thread at a time flushes (`flushing`): the log thread, or the caller of log_flush. It
 *
 *   1. takes the open batch                                     lock held
 *   2. writes and flushes each extent; a segment that begins
 *      gets its name and the directory is flushed                no lock
 *   3. moves durable_end of the segments, clears the batch       lock held
 *   4. publishes the durable position, calls on_durable          no lock
 *
 * `flushing` stays set through 4, so that on_durable is called in order of position.
 *
 * A batch index starts again at 0 with each extent: an extent is written only after the one before
 * was flushed, which is what the index has to prove (format.h).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "log/internal.h"

static const uint8_t end_mark[LOG_END_BYTES];

size_t writer_pending_bytes(const struct log *log) {
    return log->open->bytes.size + (log->writing != NULL ? log->writing->bytes.size : 0);
}

static uint64_t address_of(const struct segment *s, uint64_t offset) {
    return (uint64_t)s->number << 32 | offset;
}

/* ---- appending: lock held ---- */

/* Closes the last extent with an end mark, if the segment has room for one. */
static int extent_close(struct batch *b) {
    struct extent *e = &b->extents[b->extent_count - 1];
    e->record_bytes = b->bytes.size - e->start;
    if (e->offset + e->record_bytes + LOG_END_BYTES <= e->segment->capacity) {
        int rc = buffer_append(&b->bytes, end_mark, sizeof end_mark);
        if (rc != 0) {
            return rc;
        }
    }
    e->size = b->bytes.size - e->start;
    return 0;
}

static struct extent *extent_begin(struct batch *b, struct segment *s, uint64_t offset) {
    struct extent *e = &b->extents[b->extent_count++];
    *e = (struct extent){.segment = s, .offset = offset, .start = b->bytes.size};
    b->extent_records = 0;
    return e;
}

/* The prepared file becomes the current segment; the open batch goes on in it, header first. */
static int roll_into_next(struct log *log, uint64_t time_ns) {
    struct batch *b = log->open;
    struct segment_header h = {
        .format_version = LOG_FORMAT_VERSION,
        .number = log->current->number + 1,
        .first_position = log->next_position,
        .created_ns = time_ns,
        .folder_id = log->folder_id,
    };
    int rc = buffer_reserve(&b->bytes, SEGMENT_HEADER_BYTES + LOG_END_BYTES);
    if (rc != 0) {
        return rc;
    }
    struct segment *s = segment_create(&h, log->next_file, log->next_name);
    if (s == NULL) {
        return E_NOMEM;
    }
    rc = segment_table_add(&log->segments, s);
    if (rc != 0) {
        s->file = -1; /* stays the prepared one */
        segment_free(s, log->files);
        return rc;
    }
    if (b->extent_count > 0) {
        rc = extent_close(b);
        assert(rc == 0); /* reserved above */
    }
    struct extent *e = extent_begin(b, s, 0);
    segment_header_encode(b->bytes.data + b->bytes.size, &h);
    b->bytes.size += SEGMENT_HEADER_BYTES;
    e->previous = log->current;
    log->current->refs++;
    log->current->sealed = true;
    s->capacity = log->options.segment_bytes;
    s->end = SEGMENT_HEADER_BYTES;
    log->current = s;
    log->open_files++;
    log->next_file = -1;
    log->fill.current_from = log->fill.next_from;
    log->maintenance_due = true;
    log_wake(log);
    return 0;
}

/* The current segment has room for `size` bytes and the open batch an extent in it. */
static int make_place(struct log *log, size_t size, uint64_t time_ns) {
    while (log->current->capacity - log->current->end < size) {
        if (log->next_file < 0) {
            if (log->short_of_room) {
                return E_FULL;
            }
            room_maintain(log); /* the log thread has not come to it yet */
            if (log->failed) {
                return E_IO;
            }
            continue;
        }
        if (log->open->extent_count == BATCH_EXTENTS_MAX) {
            return E_BUSY;
        }
        int rc = roll_into_next(log, time_ns);
        if (rc != 0) {
            return rc;
        }
    }
    if (log->open->extent_count == 0) {
        extent_begin(log->open, log->current, log->current->end);
    }
    return 0;
}

static int may_append(const struct log *log, size_t size) {
    size_t pending = writer_pending_bytes(log);
    if (log->failed) {
        return E_IO;
    }
    if (size > RECORD_MAX_BYTES || size > log->options.segment_bytes / 2) {
        return E_TOO_LARGE;
    }
    if (pending > 0 && pending + size > log->options.batch_max_bytes) {
        return E_BUSY;
    }
    return atomic_load_explicit(&log->room, memory_order_relaxed) == LOG_ROOM_NONE ? E_FULL : 0;
}

static int append_locked(struct log *log, uint64_t time_ns, uint16_t fact_count, struct span facts,
                         uint64_t *ret_position, uint64_t *ret_address) {
    size_t size = RECORD_HEADER_BYTES + facts.size;
    int rc = may_append(log, size);
    if (rc == 0) {
        rc = make_place(log, size, time_ns);
    }
    if (rc != 0) {
        return rc;
    }
    struct batch *b = log->open;
    struct segment *s = log->current;
    struct record r = {
        .position = atomic_load_explicit(&log->next_position, memory_order_relaxed),
        .time_ns = time_ns > log->last_time_ns ? time_ns : log->last_time_ns,
        .epoch = LOG_EPOCH,
        .batch_index = b->extent_records,
        .fact_count = fact_count,
        .facts = facts,
    };
    rc = record_encode(&b->bytes, s->seed, &r);
    if (rc != 0) {
        return rc;
    }
    *ret_position = r.position;
    *ret_address = address_of(s, s->end);
    log->last_time_ns = r.time_ns;
    s->end += size;
    s->last_position = r.position;
    b->extents[b->extent_count - 1].last_position = r.position;
    b->last_position = r.position;
    b->extent_records++;
    b->record_count++;
    log->stats.appended_records++;
    log->stats.appended_bytes += size;
    atomic_store_explicit(&log->next_position, r.position + 1, memory_order_release);
    if (UNLIKELY(log->short_of_room)) {
        room_update(log);
    }
    return 0;
}

int log_append(struct log *log, uint64_t time_ns, uint16_t fact_count, struct span facts,
               uint64_t *ret_position, uint64_t *ret_address) {
    log_lock(log);
    int rc = append_locked(log, time_ns, fact_count, facts, ret_position, ret_address);
    log_unlock(log);
    return rc;
}

/* Only this thread appends, so a prepared segment stays, and so does what is left of the current one. */
static int ensure_room_locked(struct log *log, size_t size) {
    if (size > RECORD_MAX_BYTES || size > log->options.segment_bytes / 2) {
        return E_TOO_LARGE;
    }
    uint64_t wanted = size + room_margin_bytes(log);
    while (log->next_file < 0 && log->current->capacity - log->current->end < wanted) {
        if (log->failed) {
            return E_IO;
        }
        if (log->short_of_room) {
            return E_FULL;
        }
        room_maintain(log); /* the log thread has not come to it yet */
    }
    return log->failed ? E_IO : 0;
}

int log_ensure_room(struct log *log, size_t facts_bytes) {
    log_lock(log);
    int rc = ensure_room_locked(log, RECORD_HEADER_BYTES + facts_bytes);
    log_unlock(log);
    return rc;
}

/* ---- flushing ---- */

struct io_failure {
    const char *what;
    char name[SEGMENT_NAME_BYTES];
    int error_number;
};

static int failed_at(struct io_failure *f, const char *what, const char *name, int rc) {
    f->what = what;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->error_number = -rc;
    return E_IO;
}

/* After its first bytes were flushed (segment.h, I1), and with them all before it (I2). */
static int segment_publish(struct log *log, struct segment *s, struct io_failure *f) {
    char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES], name[SEGMENT_NAME_BYTES];
    segment_name(name, s->first_position);
    log_path(log, s->name, from);
    log_path(log, name, to);
    int rc = log->files->rename(log->files->context, from, to);
    if (rc != 0) {
        return failed_at(f, "rename", name, rc);
    }
    rc = log->files->flush_directory(log->files->context, log->directory);
    if (rc != 0) {
        return failed_at(f, "flush of the folder of", name, rc);
    }
    log_lock(log);
    memcpy(s->name, name, sizeof name);
    s->named = true;
    log_unlock(log);
    return 0;
}

/*
 * The file of a sealed segment ends where its records end. Only for whoever asks the size: a longer
 * file reads the same, so a failure to shorten it, or to keep that through a crash, harms nothing.
 */
static void segment_shorten(struct log *log, struct segment *s) {
    (void)log->files->truncate(log->files->context, s->file, s->end);
}

static int extent_write(struct log *log, const struct batch *b, const struct extent *e,
                        struct io_failure *f) {
    struct segment *s = e->segment;
    int rc = log->files->write_at(log->files->context, s->file, b->bytes.data + e->start, e->size,
                                  e->offset);
    if (rc != 0) {
        return failed_at(f, "write", s->name, rc);
    }
    rc = log->files->flush(log->files->context, s->file);
    if (rc != 0) {
        return failed_at(f, "flush", s->name, rc);
    }
    if (e->previous != NULL) {
        rc = segment_publish(log, s, f);
        if (rc == 0) {
            segment_shorten(log, e->previous);
        }
    }
    return rc;
}

static int batch_write(struct log *log, const struct batch *b, struct io_failure *f) {
    for (uint32_t i = 0; i < b->extent_count; i++) {
        int rc = extent_write(log, b, &b->extents[i], f);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* One that goes on in another segment is read from the files: it is rare. */
static void batch_keep(struct log *log, struct batch *b) {
    const struct extent *e = &b->extents[0];
    if (b->extent_count == 1) {
        b->bytes.size = e->record_bytes;
        kept_add(&log->kept, address_of(e->segment, e->offset), &b->bytes);
    }
}

static void batch_clear(struct batch *b) {
    buffer_clear(&b->bytes);
    b->extent_count = 0;
    b->extent_records = 0;
    b->record_count = 0;
}

/* Lock held. What was written is read from the file from now on. */
static void batch_finish(struct log *log, struct batch *b, uint64_t took_ns) {
    for (uint32_t i = 0; i < b->extent_count; i++) {
        struct extent *e = &b->extents[i];
        e->segment->durable_end = e->offset + e->record_bytes;
        if (e->previous != NULL) {
            e->previous->capacity = e->previous->end;
            segment_drop(log, e->previous);
        }
    }
    log->stats.written_bytes += b->bytes.size;
    log->stats.batches++;
    log->stats.flushes += b->extent_count;
    log->stats.flush_ns_total += took_ns;
    batch_keep(log, b);
    batch_clear(b);
    log->writing = NULL;
}

static struct batch *batch_take(struct log *log) {
    struct batch *b = log->open;
    assert(log->writing == NULL && log->flushing);
    log->commit_wanted = false;
    log->writing = b;
    log->open = b == &log->batches[0] ? &log->batches[1] : &log->batches[0];
    return b;
}

int writer_flush(struct log *log) {
    assert(!log->flushing);
    if (log->open->record_count == 0) {
        log->commit_wanted = false;
        return 0;
    }
    int rc = extent_close(log->open);
    if (rc != 0) {
        log_fail(log, "memory for a write to", log->current->name, ENOMEM);
        return E_IO;
    }
    log->flushing = true;
    struct batch *b = batch_take(log);
    uint64_t last_position = b->last_position;
    struct io_failure failure;
    log_unlock(log);
    uint64_t start_ns = clock_monotonic_ns();
    rc = batch_write(log, b, &failure);
    uint64_t took_ns = clock_monotonic_ns() - start_ns;
    log_lock(log);
    if (rc != 0) {
        log_fail(log, failure.what, failure.name, failure.error_number);
    } else {
        batch_finish(log, b, took_ns);
        atomic_store_explicit(&log->durable_position, last_position, memory_order_release);
        if (log->options.on_durable != NULL) {
            log_unlock(log);
            log->options.on_durable(log->options.context, last_position);
            log_lock(log);
        }
    }
    log->flushing = false;
    pthread_cond_broadcast(&log->idle);
    return rc;
}

/* Signalled after the lock was given back: else the log thread wakes only to wait for it. */
void log_commit(struct log *log) {
    log_lock(log);
    bool wake = log->open->record_count > 0 && !log->commit_wanted && log->sleeping;
    log->commit_wanted = log->commit_wanted || log->open->record_count > 0;
    log_unlock(log);
    if (wake) {
        pthread_cond_signal(&log->wake);
    }
}

int log_flush(struct log *log) {
    log_lock(log);
    int rc = log->failed ? E_IO : log->flushing ? E_BUSY : writer_flush(log);
    if (rc == 0 && !log->threaded && (log->maintenance_due || log->short_of_room)) {
        room_maintain(log);
    }
    if (log->commit_wanted) {
        log_wake(log); /* asked for while the log thread had to leave it to us */
    }
    log_unlock(log);
    return rc;
}

/* ---- the log thread ---- */

static struct timespec from_now(uint32_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* Lock held. Until woken; with a limit when room has to be looked at again, or may be prepared. */
static void writer_sleep(struct log *log) {
    bool watch_room = log->short_of_room || log->min_free_bytes > 0;
    uint32_t fill_ms = fill_wait_ms(log);
    bool timed_out = false;
    log->sleeping = true;
    if (watch_room || fill_ms > 0) {
        struct timespec until = from_now(fill_ms > 0 ? fill_ms : ROOM_RETRY_MS);
        timed_out = pthread_cond_timedwait(&log->wake, &log->lock, &until) == ETIMEDOUT;
    } else {
        pthread_cond_wait(&log->wake, &log->lock);
    }
    log->sleeping = false;
    if (timed_out && watch_room) {
        log->maintenance_due = true;
    }
    if (timed_out && fill_ms > 0) {
        fill_turn(log);
    }
}

void *writer_thread(void *argument) {
    struct log *log = argument;
    log_lock(log);
    while (!log->stopping && !log->failed) {
        if (log->commit_wanted && !log->flushing) {
            writer_flush(log); /* a failure is told by on_failed and ends the loop */
        } else if (log->maintenance_due && !log->maintaining) {
            room_maintain(log);
        } else {
            writer_sleep(log);
        }
    }
    log_unlock(log);
    return NULL;
}
