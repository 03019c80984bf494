/*
 * log/internal.h - the file log's own state, shared by log.c, recovery.c, writer.c, room.c, fill.c, read.c.
 *
 * Threads: `lock` guards every field that is not said to be constant or atomic. It is never held over
 * a file operation (but for opening a segment to read) nor over a callback. Three flags, changed under
 * the lock, say who is at work without it:
 *
 *      flushing      one thread writes and flushes the batch `writing` (log thread or log_flush)
 *      maintaining   one thread prepares the next segment and disposes of released ones
 *      refs          of a segment: its file is in use
 *
 * A batch is a run of bytes and the extents that say where they go; one extent a segment:
 *
 *      bytes    | records | end | header | records | records | end |
 *      extents  '--- segment 7, tail --' '--- segment 8, from 0 ---'
 */
#ifndef SLUICE_LOG_INTERNAL_H
#define SLUICE_LOG_INTERNAL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "log/kept.h"
#include "log/log.h"
#include "log/segment.h"

#define LOG_PATH_BYTES    4096u
#define BATCH_EXTENTS_MAX 8u
#define SPARES_MAX        16u
#define SPARES_LEAST      2u /* kept of released segments, whatever is prepared */
#define OPEN_FILES_MAX    256u
#define ERROR_TEXT_BYTES  512u
#define ROOM_RETRY_MS     1000u

struct extent {
    struct segment *segment;  /* borrows; stays in the table while it is the current one */
    struct segment *previous; /* refs: the segment that this one follows, when it opens a segment */
    uint64_t offset;          /* in the segment */
    size_t start;             /* in the batch */
    size_t record_bytes;      /* header and records, without the end mark */
    size_t size;              /* what is written */
    uint64_t last_position;
};

struct batch {
    struct buffer bytes;
    struct extent extents[BATCH_EXTENTS_MAX];
    uint32_t extent_count;
    uint32_t extent_records; /* in the last extent: the batch index of the next record */
    uint64_t last_position;
    uint64_t record_count;
};

/* What is written ahead in quiet times (fill.c). */
struct fill {
    uint64_t seen_records; /* appended when it looked last */
    uint32_t quiet_seconds;
    uint64_t current_from, next_from, spare_from; /* up to here each is prepared */
    int spare_file;                               /* being prepared; -1: none */
    uint32_t spare_serial;                        /* of that one */
    bool no_spares;                               /* one failed */
};

struct log {
    /* Constant after log_open. */
    struct log_options options;
    const struct file_ops *files;
    char *directory; /* owns: "<data folder>/log" */
    uint64_t folder_id;
    int lock_file;
    bool threaded;
    pthread_t thread;

    _Atomic uint64_t next_position;
    _Atomic uint64_t durable_position;
    _Atomic int room; /* enum log_room */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* the log thread sleeps on it, and says so in `sleeping` */
    pthread_cond_t idle; /* flushing or maintaining ended */
    bool sleeping, stopping;
    bool commit_wanted, flushing;
    bool maintenance_due, maintaining;
    bool failed;

    struct segment_table segments;
    struct segment *current;  /* borrows: the last of the table */
    struct segment *released; /* owns: no references left, to be disposed of */
    uint32_t released_held;   /* released, but still referenced */
    uint32_t open_files;
    uint64_t last_time_ns;

    struct batch batches[2];
    struct batch *open;    /* takes appends */
    struct batch *writing; /* being flushed, or NULL */
    struct kept kept;      /* flushed last */

    int next_file; /* prepared for the segment after the current one; -1: none */
    char next_name[SEGMENT_NAME_BYTES];
    uint32_t spares[SPARES_MAX]; /* serials of recycled files, under their spare names */
    uint32_t spare_count;
    uint32_t spare_serial;   /* of the next spare name */
    uint64_t min_free_bytes; /* as in the options, or set since */
    bool short_of_room;      /* the last attempt to keep a segment ahead failed */
    struct fill fill;

    struct log_stats stats;
};

static inline void log_lock(struct log *log) {
    int rc = pthread_mutex_lock(&log->lock);
    assert(rc == 0);
    (void)rc;
}
static inline void log_unlock(struct log *log) {
    int rc = pthread_mutex_unlock(&log->lock);
    assert(rc == 0);
    (void)rc;
}

/* ---- log.c ---- */

/* "<directory>/<name>" */
void log_path(const struct log *log, const char *name, char out[LOG_PATH_BYTES]);
/* Lock held: the log thread looks at its flags again. */
void log_wake(struct log *log);
/* Lock held, and dropped meanwhile: marks the log failed and says so once. */
void log_fail(struct log *log, const char *what, const char *name, int error_number);

/* ---- recovery.c: fills the log from what is on disk ---- */

MUST_CHECK int recovery_run(struct log *log, struct log_recovery *ret_recovery,
                            char error_text[ERROR_TEXT_BYTES]);

/* ---- room.c ---- */

/* Lock held, and dropped meanwhile: disposes of released segments, prepares the next one. */
void room_maintain(struct log *log);
/* What must be left in the current segment for more than LOG_ROOM_NONE when no next one is prepared. */
uint64_t room_margin_bytes(const struct log *log);
/* Lock held: what log_room says now. */
void room_update(struct log *log);
/* Lock not held. Opens `name`, fresh or recycled, at the size of a segment. >= 0: the file; else a negative errno. */
int room_prepare_file(struct log *log, const char *name);

/* ---- fill.c ---- */

void fill_init(struct fill *f);
void fill_release(struct log *log);
/* How many spare files are to be had in all. */
uint32_t fill_spares_wanted(const struct log *log);
/* Lock held. What waits, written ahead. */
uint64_t fill_prepared_bytes(const struct log *log);
/* Lock held. When to call fill_turn, if nothing else happens until then; 0: all is prepared. */
uint32_t fill_wait_ms(struct log *log);
/* Lock held, and dropped meanwhile: looks whether it is quiet, and when it has been for long, prepares a little. */
void fill_turn(struct log *log);

/* ---- writer.c ---- */

/* Bytes appended that are not durable. Lock held. */
size_t writer_pending_bytes(const struct log *log);
/* Lock held, and dropped meanwhile; `flushing` was false. Writes what was appended. 0; E_IO, which
 * log_fail has told already, so that only log_flush has a use for it. */
int writer_flush(struct log *log);
void *writer_thread(void *log);

/* ---- read.c ---- */

/* Lock held: a reference with the file open. E_IO. */
MUST_CHECK int segment_acquire(struct log *log, struct segment *s);
/* Lock held. */
void segment_drop(struct log *log, struct segment *s);
/* One read serves a record up to this size. */
#define READ_FIRST_BYTES 4096u
/* Lock held: appends the record at `offset`, which is not durable yet. E_NOT_FOUND, E_NOMEM. */
MUST_CHECK int log_copy_pending(const struct log *log, const struct segment *s, uint64_t offset,
                                struct buffer *out);
/* Appends `size` bytes of a file. E_CORRUPT: it is shorter; E_IO, E_NOMEM, E_LIMIT. */
MUST_CHECK int log_read_file(const struct log *log, int file, uint64_t offset, size_t size,
                             struct buffer *out);

#endif
