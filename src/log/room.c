/*
 * Room: one segment is kept allocated ahead of the current one, so that an accepted record never
 * meets a full disk.
 *
 *   released segment --rename--> spare (a few) --reserve--> next --roll--> current
 *                 \--unlink                new file --reserve--/
 *
 * A recycled file has its blocks written already, which makes flushing into it cheaper (fill.c). Its rename to a spare
 * name is made durable before anything is written to it: else a crash could bring the old name back over new bytes.
 *
 *   state    next prepared   free >= minimum   left in the current segment
 *   OK            yes              yes                any
 *   RESERVE       any              any           yes, or next prepared
 *   NONE          no               any             nearly nothing
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "log/internal.h"

/* Nearly nothing: what is left is kept for records that are being decided already. */
uint64_t room_margin_bytes(const struct log *log) {
    return log->options.segment_bytes / 64;
}

void room_update(struct log *log) {
    enum log_room room = LOG_ROOM_OK;
    if (log->short_of_room) {
        uint64_t left = log->current->capacity - log->current->end;
        bool some = log->next_file >= 0 || left > room_margin_bytes(log);
        room = some ? LOG_ROOM_RESERVE : LOG_ROOM_NONE;
    }
    atomic_store_explicit(&log->room, (int)room, memory_order_release);
}

int room_prepare_file(struct log *log, const char *name) {
    const struct file_ops *files = log->files;
    char path[LOG_PATH_BYTES];
    log_path(log, name, path);
    int file = files->open(files->context, path, O_RDWR | O_CREAT, 0600);
    if (file < 0) {
        return file;
    }
    uint64_t size;
    int rc = files->size(files->context, file, &size);
    if (rc == 0 && size > log->options.segment_bytes) {
        rc = files->truncate(files->context, file, log->options.segment_bytes);
    }
    if (rc == 0) {
        rc = files->reserve(files->context, file, 0, log->options.segment_bytes);
    }
    if (rc != 0) {
        files->close(files->context, file);
        files->unlink(files->context, path);
        return rc;
    }
    return file;
}

/* Lock held, dropped meanwhile. False: no room for it now. */
static bool prepare_next(struct log *log) {
    char name[SEGMENT_NAME_BYTES];
    bool written = log->spare_count > 0;
    spare_name(name, written ? log->spares[--log->spare_count] : log->spare_serial++);
    log_unlock(log);
    int file = room_prepare_file(log, name);
    log_lock(log);
    if (file < 0) {
        return false;
    }
    assert(log->next_file < 0);
    log->next_file = file;
    memcpy(log->next_name, name, sizeof name);
    log->fill.next_from = written ? log->options.segment_bytes : 0;
    return true;
}

/* Lock not held. Free bytes above the minimum; negative under it. No minimum: always plenty. */
static int64_t bytes_above_minimum(struct log *log, uint64_t minimum) {
    uint64_t free_bytes;
    if (minimum == 0) {
        return INT64_MAX;
    }
    int rc = log->files->free_bytes(log->files->context, log->directory, &free_bytes);
    return rc != 0 ? INT64_MAX : (int64_t)free_bytes - (int64_t)minimum;
}

/* Lock not held. Renamed, durably, to be used again; else a negative errno. */
static int recycle_file(struct log *log, const struct segment *s, uint32_t serial) {
    char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES], name[SEGMENT_NAME_BYTES];
    spare_name(name, serial);
    log_path(log, s->name, from);
    log_path(log, name, to);
    int rc = log->files->rename(log->files->context, from, to);
    return rc != 0 ? rc : log->files->flush_directory(log->files->context, log->directory);
}

static int delete_file(struct log *log, const struct segment *s) {
    char path[LOG_PATH_BYTES];
    log_path(log, s->name, path);
    return log->files->unlink(log->files->context, path);
}

/* Lock held, dropped meanwhile. False: it failed and is tried again later. */
static bool dispose(struct log *log, struct segment *s, bool keep) {
    uint32_t serial = keep ? log->spare_serial++ : 0;
    log_unlock(log);
    if (s->file >= 0) {
        log->files->close(log->files->context, s->file);
    }
    int rc = keep ? recycle_file(log, s, serial) : delete_file(log, s);
    log_lock(log);
    log->open_files -= s->file >= 0 ? 1 : 0;
    s->file = -1;
    if (rc == -ENOENT) {
        rc = 0; /* an earlier try got as far as the rename: the spare is found at the next open */
        keep = false;
    }
    if (rc != 0) {
        return false;
    }
    if (keep) {
        log->spares[log->spare_count++] = serial;
    }
    segment_free(s, log->files);
    return true;
}

static bool dispose_released(struct log *log, bool short_of_space) {
    while (log->released != NULL) {
        struct segment *s = log->released;
        log->released = s->next_released;
        uint32_t wanted = fill_spares_wanted(log);
        wanted = short_of_space ? 0 : wanted > SPARES_LEAST ? wanted : SPARES_LEAST;
        bool keep = log->spare_count < wanted || (log->next_file < 0 && log->spare_count == 0);
        if (!dispose(log, s, keep)) {
            s->next_released = log->released;
            log->released = s;
            return false;
        }
    }
    return true;
}

void room_maintain(struct log *log) {
    while (log->maintaining) {
        pthread_cond_wait(&log->idle, &log->lock);
    }
    log->maintaining = true;
    log->maintenance_due = false;
    uint64_t minimum = log->min_free_bytes;
    log_unlock(log);
    int64_t above = bytes_above_minimum(log, minimum);
    log_lock(log);
    bool good = dispose_released(log, above < 0) && above >= 0;
    if (log->next_file < 0) {
        bool may = log->spare_count > 0 || above >= (int64_t)log->options.segment_bytes;
        good = may && prepare_next(log) && good;
    }
    log->short_of_room = !good;
    room_update(log);
    log->maintaining = false;
    pthread_cond_broadcast(&log->idle);
}
