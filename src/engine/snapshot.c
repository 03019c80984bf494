/*
 * Snapshot file "<position, 16 hex digits>.snap" in <directory>/snapshot:
 *
 *   offset  size
 *        0     8  magic "SLUICE\x01S"
 *        8     4  format version (SNAPSHOT_FORMAT_VERSION)
 *       12     4  CRC-32C of bytes 16..47
 *       16     8  position: the state after this record
 *       24     8  time of that moment, ns
 *       32    16  zero
 *       48     n  the model's own sections, each chunk with a CRC of its own (model_save)
 *     48+n     8  n
 *     56+n     8  magic "SLUICEnd"
 *
 * A snapshot is written beside the log as ".tmp", flushed, and renamed only when the log is durable up to
 * its position: otherwise a crash could leave a state that knows more than the log. The two
 * newest are kept, so that one unreadable file costs a longer replay and nothing else.
 *
 * Crash cases: before the rename: a .tmp, removed at the next start. After it, before the
 * directory flush: either name; both are whole, and a start that finds the new one flushes the directory before it
 * relies on it: segments go because it is there. While pruning: too many files, pruned again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "engine/internal.h"

#define SNAPSHOT_FORMAT_VERSION 1u
#define SNAPSHOT_HEADER_BYTES   48u
#define SNAPSHOT_TRAILER_BYTES  16u
#define FLUSH_EVERY_BYTES       (512u << 10)
#define READ_BYTES              (1u << 20)
#define PATH_BYTES              4096
#define LISTED_MAX              64

static const char header_magic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 1, 'S'};
static const char trailer_magic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'n', 'd'};

static void snapshot_path(const char *directory, uint64_t position, const char *suffix,
                          char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%s/snapshot/%016" PRIx64 "%s", directory, position, suffix);
}

/* `error_text` names a parameter further down. */
static const char *reason_text(int error) {
    return error_text(error);
}

static int error_of_errno(int negative_errno) {
    return negative_errno == -ENOSPC || negative_errno == -EDQUOT ? E_FULL : E_IO;
}

/* ---- writing ---- */

struct sink {
    const struct engine *e;
    int file;
    uint64_t offset;
    uint64_t unflushed;
    uint64_t pause_per_mib_ns;
};

static int sink_flush(struct sink *s) {
    int result = s->e->files->flush(s->e->files->context, s->file);
    s->unflushed = 0;
    return result < 0 ? error_of_errno(result) : 0;
}

/*
 * Many small flushes with pauses, not one big one: the log's own flushes share the disk and wait behind these,
 * 4 MiB at a time for up to 15 ms, and a snapshot must not show in their latency.
 */
static int sink_write(void *context, struct span bytes) {
    struct sink *s = context;
    int result =
        s->e->files->write_at(s->e->files->context, s->file, bytes.data, bytes.size, s->offset);
    if (result < 0)
        return error_of_errno(result);
    s->offset += bytes.size;
    s->unflushed += bytes.size;
    if (s->unflushed < FLUSH_EVERY_BYTES)
        return 0;
    uint64_t pause_ns = s->pause_per_mib_ns * s->unflushed >> 20;
    int error = sink_flush(s);
    if (error == 0 && pause_ns > 0) {
        struct timespec pause = engine_timespec(pause_ns);
        nanosleep(&pause, NULL);
    }
    return error;
}

static void put_u32(uint8_t *at, uint32_t v) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

static void put_u64(uint8_t *at, uint64_t v) {
    put_u32(at, (uint32_t)v);
    put_u32(at + 4, (uint32_t)(v >> 32));
}

static uint32_t get_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const uint8_t *at) {
    return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

static int write_all(struct sink *s, uint64_t position, uint64_t time_ns) {
    uint8_t header[SNAPSHOT_HEADER_BYTES] = {0};
    memcpy(header, header_magic, sizeof(header_magic));
    put_u32(header + 8, SNAPSHOT_FORMAT_VERSION);
    put_u64(header + 16, position);
    put_u64(header + 24, time_ns);
    put_u32(header + 12, crc32c_update(0, header + 16, 32));
    int error = sink_write(s, span_of(header, sizeof(header)));
    if (error == 0)
        error = model_save(s->e->model, sink_write, s);
    if (error != 0)
        return error;
    uint8_t trailer[SNAPSHOT_TRAILER_BYTES];
    put_u64(trailer, s->offset - SNAPSHOT_HEADER_BYTES);
    memcpy(trailer + 8, trailer_magic, sizeof(trailer_magic));
    error = sink_write(s, span_of(trailer, sizeof(trailer)));
    return error != 0 ? error : sink_flush(s);
}

int snapshot_write(const struct engine *e, uint64_t position, uint64_t time_ns,
                   uint64_t pause_per_mib_ns) {
    char path[PATH_BYTES];
    snapshot_path(e->directory, position, ".tmp", path);
    const struct file_ops *files = e->files;
    int file = files->open(files->context, path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    if (file < 0)
        return error_of_errno(file);
    struct sink sink = {.e = e, .file = file, .pause_per_mib_ns = pause_per_mib_ns};
    int error = write_all(&sink, position, time_ns);
    int closed = files->close(files->context, file);
    if (error == 0 && closed < 0)
        error = error_of_errno(closed);
    if (error != 0)
        files->unlink(files->context, path);
    return error;
}

static int flush_names(const struct engine *e) {
    char directory[PATH_BYTES];
    snprintf(directory, sizeof(directory), "%s/snapshot", e->directory);
    int result = e->files->flush_directory(e->files->context, directory);
    return result < 0 ? error_of_errno(result) : 0;
}

int snapshot_publish(const struct engine *e, uint64_t position) {
    assert(log_durable_position(e->log) >= position);
    char from[PATH_BYTES], to[PATH_BYTES];
    snapshot_path(e->directory, position, ".tmp", from);
    snapshot_path(e->directory, position, ".snap", to);
    int result = e->files->rename(e->files->context, from, to);
    return result < 0 ? error_of_errno(result) : flush_names(e);
}

uint64_t snapshot_bytes(const struct engine *e, uint64_t position) {
    char path[PATH_BYTES];
    snapshot_path(e->directory, position, ".snap", path);
    const struct file_ops *files = e->files;
    uint64_t size;
    int file = files->open(files->context, path, O_RDONLY, 0);
    int result = file < 0 ? file : files->size(files->context, file, &size);
    if (file >= 0)
        files->close(files->context, file);
    return result < 0 ? 0 : size;
}

/* ---- listing ---- */

struct listing {
    uint64_t positions[LISTED_MAX]; /* newest first */
    size_t count;
};

static bool parse_name(const char *name, const char *suffix, uint64_t *ret_position) {
    char expected[64];
    uint64_t position;
    if (sscanf(name, "%16" SCNx64, &position) != 1)
        return false;
    snprintf(expected, sizeof(expected), "%016" PRIx64 "%s", position, suffix);
    *ret_position = position;
    return strcmp(expected, name) == 0;
}

static void remove_file(const struct engine *e, uint64_t position, const char *suffix) {
    char path[PATH_BYTES];
    snapshot_path(e->directory, position, suffix, path);
    e->files->unlink(e->files->context, path);
}

/* Keeps the newest LISTED_MAX; more never exist but by hand, and those are pruned later. */
static void list_entry(void *arg, const char *name) {
    struct listing *l = arg;
    uint64_t position;
    if (!parse_name(name, ".snap", &position))
        return;
    size_t at = l->count;
    while (at > 0 && l->positions[at - 1] < position)
        at--;
    if (at == LISTED_MAX)
        return;
    size_t tail = (l->count < LISTED_MAX ? l->count : LISTED_MAX - 1) - at;
    memmove(&l->positions[at + 1], &l->positions[at], tail * sizeof(l->positions[0]));
    l->positions[at] = position;
    if (l->count < LISTED_MAX)
        l->count++;
}

static void list_leftover(void *arg, const char *name) {
    struct listing *l = arg;
    uint64_t position;
    if (parse_name(name, ".tmp", &position) && l->count < LISTED_MAX)
        l->positions[l->count++] = position;
}

static int list_snapshots(const char *directory, const struct file_ops *files, struct listing *l,
                          void (*entry)(void *, const char *)) {
    char folder[PATH_BYTES];
    snprintf(folder, sizeof(folder), "%s/snapshot", directory);
    l->count = 0;
    return files->list(files->context, folder, entry, l);
}

/* Taken for empty, it would make the start replay what is no longer there, or cut what a snapshot rests on. */
static int cannot_list(const char *directory, int negative_errno, char error_text[512]) {
    snprintf(error_text, 512,
             "%.300s/snapshot cannot be listed: %s; look at the disk and at the "
             "folder's rights, then try again",
             directory, strerror(-negative_errno));
    return E_IO;
}

void snapshot_discard(const struct engine *e, uint64_t position) {
    remove_file(e, position, ".tmp");
}

void snapshot_prune(const struct engine *e, uint64_t newest, uint64_t ret_kept[2]) {
    struct listing l;
    size_t kept = 0;
    ret_kept[0] = ret_kept[1] = 0;
    if (list_snapshots(e->directory, e->files, &l, list_entry) < 0)
        return;
    for (size_t i = 0; i < l.count; i++) {
        if (kept < 2 && l.positions[i] <= newest)
            ret_kept[kept++] = l.positions[i];
        else
            remove_file(e, l.positions[i], ".snap");
    }
}

/* ---- loading ---- */

static int read_file(const struct file_ops *files, const char *path, uint8_t **ret_data,
                     uint64_t *ret_size) {
    int file = files->open(files->context, path, O_RDONLY, 0);
    if (file < 0)
        return E_IO;
    uint64_t size = 0;
    uint8_t *data = NULL;
    int error = files->size(files->context, file, &size) < 0 ? E_IO : 0;
    if (error == 0 && (data = malloc(size + 1)) == NULL)
        error = E_NOMEM;
    for (uint64_t at = 0; error == 0 && at < size;) {
        size_t want = size - at < READ_BYTES ? (size_t)(size - at) : READ_BYTES;
        ssize_t got = files->read_at(files->context, file, data + at, want, at);
        if (got <= 0)
            error = E_IO;
        else
            at += (uint64_t)got;
    }
    files->close(files->context, file);
    if (error != 0) {
        free(data);
        return error;
    }
    *ret_data = data;
    *ret_size = size;
    return 0;
}

static int check_frame(const uint8_t *data, uint64_t size, uint64_t position) {
    if (size < SNAPSHOT_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES ||
        memcmp(data, header_magic, sizeof(header_magic)) != 0)
        return E_CORRUPT;
    if (get_u32(data + 8) > SNAPSHOT_FORMAT_VERSION)
        return E_VERSION;
    const uint8_t *trailer = data + size - SNAPSHOT_TRAILER_BYTES;
    if (get_u32(data + 12) != crc32c_update(0, data + 16, 32) || get_u64(data + 16) != position ||
        memcmp(trailer + 8, trailer_magic, sizeof(trailer_magic)) != 0 ||
        get_u64(trailer) != size - SNAPSHOT_HEADER_BYTES - SNAPSHOT_TRAILER_BYTES)
        return E_CORRUPT;
    return 0;
}

/* A fresh model each time: a load that failed half-way left the one before unusable. */
static int fresh_model(struct engine *e) {
    struct model *model;
    int error = model_create(&e->options.limits, e->hash_key, &model);
    if (error != 0)
        return error;
    model_set_segment_of(model, log_segment_of);
    model_free(e->model);
    e->model = model;
    return 0;
}

static struct span content_of(const uint8_t *data, uint64_t size) {
    return span_of(data + SNAPSHOT_HEADER_BYTES,
                   size - SNAPSHOT_HEADER_BYTES - SNAPSHOT_TRAILER_BYTES);
}

static int load_one(struct engine *e, uint64_t position, uint64_t *ret_time_ns) {
    char path[PATH_BYTES];
    snapshot_path(e->directory, position, ".snap", path);
    uint8_t *data;
    uint64_t size;
    int error = read_file(e->files, path, &data, &size);
    if (error != 0)
        return error;
    error = check_frame(data, size, position);
    if (error == 0)
        error = fresh_model(e);
    if (error == 0)
        error = model_load(e->model, content_of(data, size));
    if (error == 0)
        *ret_time_ns = get_u64(data + 24);
    free(data);
    return error;
}

int snapshot_load(struct engine *e, uint64_t *ret_position, uint64_t *ret_time_ns,
                  char error_text[512]) {
    struct listing l;
    if (list_snapshots(e->directory, e->files, &l, list_leftover) >= 0)
        for (size_t i = 0; i < l.count; i++)
            remove_file(e, l.positions[i], ".tmp");
    *ret_position = *ret_time_ns = 0;
    int error = list_snapshots(e->directory, e->files, &l, list_entry);
    if (error < 0)
        return cannot_list(e->directory, error, error_text);
    for (size_t i = 0; i < l.count; i++) {
        error = load_one(e, l.positions[i], ret_time_ns);
        if (error == 0) {
            *ret_position = l.positions[i];
            /* Whoever named it may have been killed before that was flushed, and segments go because it is there. */
            error = flush_names(e);
            if (error != 0)
                snprintf(error_text, 512, "%.400s/snapshot cannot be flushed", e->directory);
            return error;
        }
        if (error == E_VERSION || error == E_NOMEM) {
            snprintf(error_text, 512, "snapshot %016" PRIx64 ": %s", l.positions[i],
                     reason_text(error));
            return error;
        }
        engine_note(e, "snapshot %016" PRIx64 " is not readable (%s): trying the one before",
                    l.positions[i], reason_text(error));
    }
    return fresh_model(e);
}

/* ---- for tools, and before there is an engine ---- */

int engine_newest_snapshot(const char *directory, const struct file_ops *files,
                           char error_text[512], uint64_t *ret_position) {
    struct listing l;
    int result = list_snapshots(directory, files, &l, list_entry);
    if (result < 0 && result != -ENOENT)
        return cannot_list(directory, result, error_text);
    *ret_position = l.count > 0 ? l.positions[0] : 0;
    return 0;
}

int snapshot_load_module(const char *directory, const struct file_ops *files, unsigned module,
                         struct model *m, uint64_t *ret_position) {
    struct listing l;
    *ret_position = 0;
    if (list_snapshots(directory, files, &l, list_entry) < 0)
        return E_NOT_FOUND;
    int error = 0;
    for (size_t i = 0; i < l.count; i++) {
        char path[PATH_BYTES];
        uint8_t *data;
        uint64_t size;
        snapshot_path(directory, l.positions[i], ".snap", path);
        error = read_file(files, path, &data, &size);
        if (error != 0)
            continue;
        error = check_frame(data, size, l.positions[i]);
        if (error == 0)
            error = model_load_module(m, content_of(data, size), module);
        free(data);
        if (error == 0) {
            *ret_position = l.positions[i];
            return 0;
        }
        if (error == E_NOMEM)
            return error;
    }
    return error;
}
