#include "log/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "log/internal.h"

#define SEGMENT_MIN_BYTES   (64u << 10)
#define SEGMENT_MAX_BYTES   (1u << 30)
#define BATCH_DEFAULT_BYTES (8u << 20)
#define LOCK_NAME           "lock"

void log_path(const struct log *log, const char *name, char out[LOG_PATH_BYTES]) {
    int length = snprintf(out, LOG_PATH_BYTES, "%s/%s", log->directory, name);
    assert(length > 0 && (size_t)length < LOG_PATH_BYTES); /* held by log_open */
    (void)length;
}

void log_wake(struct log *log) {
    if (log->sleeping) {
        pthread_cond_signal(&log->wake);
    }
}

void log_fail(struct log *log, const char *what, const char *name, int error_number) {
    if (log->failed) {
        return;
    }
    log->failed = true;
    log_wake(log);
    if (log->options.on_failed == NULL) {
        return;
    }
    char message[ERROR_TEXT_BYTES];
    snprintf(message, sizeof message,
             "%s %.300s/%s failed: %s; nothing is durable from position %" PRIu64 " on", what,
             log->directory, name, strerror(error_number), atomic_load(&log->durable_position) + 1);
    log_unlock(log);
    log->options.on_failed(log->options.context, message);
    log_lock(log);
}

/* ---- opening ---- */

static int open_error(char text[ERROR_TEXT_BYTES], const char *what, const char *path, int rc) {
    snprintf(text, ERROR_TEXT_BYTES, "%s %.400s: %s", what, path, strerror(-rc));
    return rc == -ENOSPC || rc == -EDQUOT ? E_FULL : E_IO;
}

/* The folder that holds `path`: "a/b" -> "a", "a" -> ".", "/a" -> "/". */
static void parent_of(const char *path, char out[LOG_PATH_BYTES]) {
    snprintf(out, LOG_PATH_BYTES, "%s", path);
    size_t size = strlen(out);
    while (size > 1 && out[size - 1] == '/') {
        out[--size] = '\0';
    }
    char *slash = strrchr(out, '/');
    if (slash == NULL) {
        snprintf(out, LOG_PATH_BYTES, ".");
    } else {
        slash[slash == out ? 1 : 0] = '\0';
    }
}

/*
 * Made if missing, durably in its parent: also when it was there, for whoever made it may have ended before
 * its own flush. A parent that we may not read then belongs to whoever prepared the folder for us.
 */
static int make_folder(struct log *log, const char *path, char text[ERROR_TEXT_BYTES]) {
    int made = log->files->make_directory(log->files->context, path, 0700);
    if (made != 0 && made != -EEXIST) {
        return open_error(text, "cannot make the folder", path, made);
    }
    char parent[LOG_PATH_BYTES];
    parent_of(path, parent);
    int rc = log->files->flush_directory(log->files->context, parent);
    if (rc == 0 || (made == -EEXIST && rc == -EACCES)) {
        return 0;
    }
    return open_error(text, "cannot flush the folder", parent, rc);
}

static void tell_holder(struct log *log, const char *path, char text[ERROR_TEXT_BYTES]) {
    char pid[16] = {0};
    ssize_t got = log->files->read_at(log->files->context, log->lock_file, pid, sizeof pid - 1, 0);
    pid[strspn(pid, "0123456789")] = '\0';
    bool known = got > 0 && pid[0] != '\0';
    snprintf(text, ERROR_TEXT_BYTES, "%.400s is in use by %s%s", path,
             known ? "process " : "another process", known ? pid : "");
}

static int lock_folder(struct log *log, char text[ERROR_TEXT_BYTES]) {
    const struct file_ops *files = log->files;
    char path[LOG_PATH_BYTES];
    snprintf(path, sizeof path, "%.4080s/" LOCK_NAME, log->options.directory);
    int file = files->open(files->context, path, O_RDWR | O_CREAT, 0600);
    if (file < 0) {
        return open_error(text, "cannot open", path, file);
    }
    log->lock_file = file;
    int rc = files->lock(files->context, file);
    if (rc == -EWOULDBLOCK) {
        tell_holder(log, log->options.directory, text);
        return E_LOCKED;
    }
    if (rc != 0) {
        return open_error(text, "cannot lock", path, rc);
    }
    /* Only to tell the next one whom to look for: a failure here changes nothing. */
    char pid[16];
    int length = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (files->truncate(files->context, file, 0) == 0) {
        (void)files->write_at(files->context, file, pid, (size_t)length, 0);
    }
    return 0;
}

static int apply_defaults(struct log *log, const struct log_options *options,
                          char text[ERROR_TEXT_BYTES]) {
    struct log_options *o = &log->options;
    *o = *options;
    o->segment_bytes = o->segment_bytes == 0 ? SEGMENT_DEFAULT_BYTES : o->segment_bytes;
    o->batch_max_bytes = o->batch_max_bytes == 0 ? BATCH_DEFAULT_BYTES : o->batch_max_bytes;
    log->files = o->files == NULL ? &file_ops_system : o->files;
    log->threaded = !o->no_thread;
    log->min_free_bytes = o->min_free_bytes;
    if (o->segment_bytes < SEGMENT_MIN_BYTES || o->segment_bytes > SEGMENT_MAX_BYTES) {
        snprintf(text, ERROR_TEXT_BYTES, "the segment size must be 64 KiB to 1 GiB");
        return E_INVALID;
    }
    if (strlen(o->directory) > LOG_PATH_BYTES - 2 * SEGMENT_NAME_BYTES) {
        snprintf(text, ERROR_TEXT_BYTES, "the path of the data folder is too long");
        return E_INVALID;
    }
    if (asprintf(&log->directory, "%s/log", o->directory) < 0) {
        log->directory = NULL;
        return E_NOMEM;
    }
    o->directory = NULL; /* the caller's string; lock_folder gets it for the last time below */
    return 0;
}

static int init_locks(struct log *log) {
    pthread_condattr_t attributes;
    int rc = pthread_condattr_init(&attributes);
    if (rc == 0) {
        rc = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    }
    if (rc == 0) {
        rc = pthread_cond_init(&log->wake, &attributes);
    }
    if (rc == 0) {
        rc = pthread_cond_init(&log->idle, NULL);
    }
    if (rc == 0) {
        rc = pthread_mutex_init(&log->lock, NULL);
    }
    pthread_condattr_destroy(&attributes);
    return rc == 0 ? 0 : E_NOMEM;
}

static struct log *log_create(void) {
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL || init_locks(log) != 0) {
        free(log);
        return NULL;
    }
    log->lock_file = -1;
    log->next_file = -1;
    fill_init(&log->fill);
    log->spare_serial = 1;
    log->open = &log->batches[0];
    return log;
}

static void log_free(struct log *log) {
    const struct file_ops *files = log->files;
    for (int i = 0; i < 2; i++) {
        buffer_release(&log->batches[i].bytes);
    }
    kept_release(&log->kept);
    segment_table_release(&log->segments, files);
    while (log->released != NULL) {
        struct segment *s = log->released;
        log->released = s->next_released;
        segment_free(s, files);
    }
    if (log->next_file >= 0) {
        files->close(files->context, log->next_file);
    }
    fill_release(log);
    if (log->lock_file >= 0) {
        files->close(files->context, log->lock_file); /* gives up the lock */
    }
    free(log->directory);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->wake);
    pthread_cond_destroy(&log->idle);
    free(log);
}

static int open_folder(struct log *log, const char *directory, char text[ERROR_TEXT_BYTES]) {
    int rc = make_folder(log, directory, text);
    if (rc == 0) {
        log->options.directory = directory;
        rc = lock_folder(log, text);
        log->options.directory = NULL;
    }
    return rc != 0 ? rc : make_folder(log, log->directory, text);
}

static int start_thread(struct log *log, char text[ERROR_TEXT_BYTES]) {
    if (log->threaded && pthread_create(&log->thread, NULL, writer_thread, log) != 0) {
        log->threaded = false;
        snprintf(text, ERROR_TEXT_BYTES, "cannot start the log thread");
        return E_NOMEM;
    }
    return 0;
}

int log_open(const struct log_options *options, struct log_recovery *ret_recovery,
             char error_text[ERROR_TEXT_BYTES], struct log **ret_log) {
    struct log *log = log_create();
    snprintf(error_text, ERROR_TEXT_BYTES, "out of memory");
    if (log == NULL) {
        return E_NOMEM;
    }
    struct log_recovery found;
    int rc = apply_defaults(log, options, error_text);
    if (rc == 0) {
        rc = open_folder(log, options->directory, error_text);
    }
    if (rc == 0) {
        rc = recovery_run(log, &found, error_text);
    }
    if (rc == 0) {
        for (int i = 0; i < 2; i++) {
            buffer_init(&log->batches[i].bytes,
                        log->options.batch_max_bytes + RECORD_MAX_BYTES + SEGMENT_MIN_BYTES);
        }
        log_lock(log);
        room_maintain(log);
        log_unlock(log);
        rc = start_thread(log, error_text);
    }
    if (rc != 0) {
        log_free(log);
        return rc;
    }
    error_text[0] = '\0';
    *ret_recovery = found;
    *ret_log = log;
    return 0;
}

/* ---- closing ---- */

static void stop_thread(struct log *log) {
    if (!log->threaded) {
        return;
    }
    log_lock(log);
    log->stopping = true;
    pthread_cond_signal(&log->wake);
    log_unlock(log);
    int rc = pthread_join(log->thread, NULL);
    assert(rc == 0);
    (void)rc;
}

/* After a failure: what a batch that never arrived still refers to. */
static void drop_references(struct log *log) {
    for (int i = 0; i < 2; i++) {
        struct batch *b = &log->batches[i];
        for (uint32_t k = 0; k < b->extent_count; k++) {
            if (b->extents[k].previous != NULL) {
                segment_drop(log, b->extents[k].previous);
            }
        }
        b->extent_count = 0;
    }
}

void log_close(struct log *log) {
    if (log == NULL) {
        return;
    }
    stop_thread(log);
    log_lock(log);
    if (!log->failed) {
        writer_flush(log); /* a failure is told by on_failed */
    }
    if (!log->failed) {
        room_maintain(log); /* what was released goes now */
    }
    drop_references(log);
    assert(log->released_held == 0); /* cursors are closed before their log */
    log_unlock(log);
    log_free(log);
}

/* ---- asking ---- */

uint64_t log_folder_id(const struct log *log) {
    return log->folder_id;
}

uint64_t log_next_position(const struct log *log) {
    return atomic_load_explicit(&log->next_position, memory_order_acquire);
}

uint64_t log_durable_position(const struct log *log) {
    return atomic_load_explicit(&log->durable_position, memory_order_acquire);
}

void log_set_min_free(struct log *log, uint64_t bytes) {
    log_lock(log);
    bool first = log->min_free_bytes == 0 && bytes > 0;
    log->min_free_bytes = bytes;
    if (first) {
        log_wake(log); /* it sleeps without a limit until now */
    }
    log_unlock(log);
}

enum log_room log_room(const struct log *log) {
    return (enum log_room)atomic_load_explicit(&log->room, memory_order_acquire);
}

size_t log_segments(const struct log *log, struct log_segment_info *ret_infos, size_t max) {
    struct log *mine = (struct log *)log; /* the lock is no part of what the caller sees change */
    log_lock(mine);
    size_t count = log->segments.count;
    for (size_t i = 0; i < count && i < max; i++) {
        const struct segment *s = log->segments.items[i];
        ret_infos[i] = (struct log_segment_info){
            .number = s->number,
            .first_position = s->first_position,
            .last_position = s->last_position,
            .size_bytes = s->end - SEGMENT_HEADER_BYTES,
            .sealed = s->sealed && s->durable_end == s->end,
        };
    }
    log_unlock(mine);
    return count;
}

void log_stats(const struct log *log, struct log_stats *ret_stats) {
    struct log *mine = (struct log *)log;
    log_lock(mine);
    *ret_stats = log->stats;
    uint64_t spare_files = log->spare_count + (log->next_file >= 0 ? 1u : 0u);
    ret_stats->disk_bytes = spare_files * log->options.segment_bytes;
    ret_stats->prepared_bytes = fill_prepared_bytes(log);
    for (size_t i = 0; i < log->segments.count; i++) {
        ret_stats->disk_bytes += log->segments.items[i]->capacity;
    }
    log_unlock(mine);
}
