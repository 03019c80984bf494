/*
 * log/log.h - an ordered, durable sequence of records: append, learn that it is durable, read back.
 *
 * This is the whole seam between the engine and storage. The file log in log/ is one implementation;
 * a partition of a replicated log can be another. Nothing above may assume a file.
 *
 * Promise: records get consecutive positions in the order of log_append. A record is durable when
 *          log_durable_position() has reached its position, never before its bytes were flushed.
 *          What was durable is read back after any crash, or opening fails and says why.
 * Shape:   opaque. One appender at a time (the engine holds its lock); log_read may be called by any
 *          thread at any time; `on_durable` runs on the thread that flushed, without any lock held.
 *
 *      log_append ... log_append  log_commit        (caller's thread; bytes collect in a batch)
 *                                     |  wakes
 *      log thread:                 write one batch + fdatasync -> durable position -> on_durable
 *
 * Pipelined: while batch k is being flushed, appends go to batch k+1.
 *
 * Room: a file log keeps the segment after the present one allocated ahead. When that cannot be had
 * (ENOSPC, or free space under `min_free_bytes`), log_room() says LOG_ROOM_RESERVE: the engine then
 * refuses what would grow the store, and what consumes or deletes goes on in the room that is left.
 * When that is nearly used up too it says LOG_ROOM_NONE: nothing may be appended. It asks again each
 * second and after each segment deletion, so room that comes back is seen by itself.
 *
 * Failure: a failed write or flush is final. on_failed is called once, no position becomes durable
 * any more, and the process is expected to end. Nothing is retried.
 */
#ifndef SLUICE_LOG_LOG_H
#define SLUICE_LOG_LOG_H

#include <stdbool.h>

#include "base/buffer.h"
#include "log/file_ops.h"
#include "log/format.h"

struct log;
struct kept_run;

#define SEGMENT_DEFAULT_BYTES (64u << 20)

enum log_room { LOG_ROOM_OK, LOG_ROOM_RESERVE, LOG_ROOM_NONE };

struct log_options {
    const char *directory;        /* data folder; the log lives in <directory>/log */
    const struct file_ops *files; /* NULL: file_ops_system */
    uint64_t segment_bytes;       /* 0: 64 MiB; 64 KiB .. 1 GiB */
    uint64_t min_free_bytes;      /* 0: none; below it LOG_ROOM_RESERVE; see log_set_min_free */
    uint64_t prepared_bytes;   /* 0: none; of spare files, written ahead in quiet times (fill.c) */
    size_t batch_max_bytes;    /* 0: 8 MiB; unflushed bytes above it: log_append says E_BUSY */
    uint64_t flushed_position; /* 0: not known; records up to it were flushed, as a snapshot's name
                                  says: an end before it is damage, not a write that did not finish */
    bool salvage;              /* skip corrupt stretches instead of refusing; reported */
    bool trust_sealed;         /* open reads only the last segment; damage in earlier ones is
                                     then found by cursors, reads and log_scan. Else it reads all */
    bool no_thread;            /* nothing flushes but log_flush(): simulator, tools */
    void *context;             /* borrows: passed to the callbacks */
    void (*on_durable)(void *context, uint64_t position);
    /* message: one line for a person; the process must not answer anything any more. */
    void (*on_failed)(void *context, const char *message);
};

/* What opening found, for the log line at start. Texts are empty or one line. */
struct log_recovery {
    uint64_t first_position; /* of the oldest record kept; next_position when there is none */
    uint64_t next_position;  /* of the next record to be appended; 1 in an empty log */
    uint64_t last_time_ns;   /* time of the last record, 0 in an empty log */
    uint32_t segments;
    uint64_t cut_bytes;     /* torn tail that was cut off */
    uint64_t dropped_bytes; /* with salvage: corrupt stretches skipped */
    char report[512];
};

/*
 * Locks the folder, makes it if missing, finds the end, cuts a torn tail (an end at or before
 * flushed_position is refused), gets ready to append.
 * On failure `error_text` (512 bytes) says in one line what is wrong, with file and offset, and what to do.
 * E_LOCKED, E_CORRUPT, E_VERSION, E_IO, E_FULL, E_NOMEM.
 */
MUST_CHECK int log_open(const struct log_options *options, struct log_recovery *ret_recovery,
                        char error_text[512], struct log **ret_log);

/*
 * Flushes what was appended, stops the thread, unlocks, frees. Safe on a failed log.
 */
void log_close(struct log *log);

/* Random, made with the data folder: tells positions of one history from those of another. */
uint64_t log_folder_id(const struct log *log);
uint64_t log_next_position(const struct log *log);
uint64_t log_durable_position(const struct log *log);
enum log_room log_room(const struct log *log);
/* Another min_free_bytes, from the next look at the disk on (within a second). */
void log_set_min_free(struct log *log, uint64_t bytes);

/*
 * Adds one record to the open batch. `facts` as made by fact_encode. ret_address is where log_read
 * finds it: an opaque number that grows with the position and stays valid until log_release.
 * E_BUSY: batch_max_bytes of unflushed records; E_FULL: LOG_ROOM_NONE; E_TOO_LARGE: over
 * RECORD_MAX_BYTES or over half a segment; E_IO: the log has failed; E_NOMEM.
 */
MUST_CHECK int log_append(struct log *log, uint64_t time_ns, uint16_t fact_count, struct span facts,
                          uint64_t *ret_position, uint64_t *ret_address);

/*
 * Makes sure that the next log_append of up to `facts_bytes` will not say E_FULL, whatever becomes of the
 * room meanwhile. For facts that take effect before they are appended. E_FULL, E_TOO_LARGE, E_IO.
 */
MUST_CHECK int log_ensure_room(struct log *log, size_t facts_bytes);

/* Hands what was appended to the log thread. Cheap when there is nothing or it is busy already. */
void log_commit(struct log *log);

/*
 * Writes and flushes what was appended, in the calling thread, and returns when it is durable
 * (on_durable is called from here). For idle moments: saves two thread switches.
 * E_BUSY: the log thread is at it, use log_commit; E_IO: failed.
 */
MUST_CHECK int log_flush(struct log *log);

/*
 * The record at an address, checked against its CRC, appended to `out`; `ret_record->facts` borrows
 * `out`. Serves records that are not flushed yet from memory. Any thread.
 * E_NOT_FOUND: released; E_CORRUPT: on disk it is not what was written; E_IO; E_NOMEM.
 */
MUST_CHECK int log_read(struct log *log, uint64_t address, struct buffer *out,
                        struct record *ret_record);

/*
 * The same for whoever reads records that stand near one another, as consumers do: what lies behind the record is read
 * with it, at most 256 KiB, and the next ones cost no read. What was flushed last comes from memory. Caller-owned; one
 * thread. `ret_record->facts` borrows `a` until the next call. A record in memory stays readable when its segment is
 * released. Errors as log_read.
 */
struct log_ahead {
    struct buffer bytes;  /* owns; what was read of a file */
    struct kept_run *run; /* refs; NULL: the window is `bytes` */
    struct span window;   /* of the log, from `address` on */
    uint64_t address;     /* of the first byte */
    size_t step;          /* of the last read */
    uint32_t seed;        /* of their segment */
    bool checked;         /* `last` is the record at `last_address` */
    uint64_t last_address;
    struct record last;
};
void log_ahead_init(struct log_ahead *a);
void log_ahead_release(struct log_ahead *a);
MUST_CHECK int log_read_ahead(struct log *log, struct log_ahead *a, uint64_t address,
                              struct record *ret_record);

/* ---- following: replay, projections, tools ---- */

struct log_cursor;

/* From the first record with position >= `from`. E_NOMEM, E_IO. */
MUST_CHECK int log_cursor_open(struct log *log, uint64_t from, struct log_cursor **ret_cursor);
/* Next durable record; its spans are borrowed until the next call. E_END: none yet. E_CORRUPT, E_IO. */
MUST_CHECK int log_cursor_next(struct log_cursor *c, struct record *ret_record,
                               uint64_t *ret_address);
void log_cursor_close(struct log_cursor *c);

/* ---- room: which stretches of the log may go ---- */

/* A segment groups addresses; it is released as a whole. Same for every address of one segment. */
uint32_t log_segment_of(uint64_t address);

struct log_segment_info {
    uint32_t number;
    uint64_t first_position;
    uint64_t last_position; /* first_position - 1 when empty */
    uint64_t size_bytes;    /* records in it */
    bool sealed;            /* no more appends */
};

/* Oldest first, at most `max`; returns how many there are. */
size_t log_segments(const struct log *log, struct log_segment_info *ret_infos, size_t max);

/*
 * The sealed segment `number` is not needed any more (no live body, covered by every kept snapshot):
 * delete or recycle it. It need not be the oldest. Errors are reported by the next log_room, not here.
 */
void log_release(struct log *log, uint32_t number);

struct log_stats {
    uint64_t appended_records, appended_bytes;
    uint64_t written_bytes; /* through write_at, headers included */
    uint64_t batches, flushes;
    uint64_t flush_ns_total;
    uint64_t disk_bytes;     /* allocated to segments */
    uint64_t prepared_bytes; /* of them, segments and spares that wait, written ahead */
};
void log_stats(const struct log *log, struct log_stats *ret_stats);

#endif
