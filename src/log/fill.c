/*
 * Blocks that were written before are flushed with one write of the disk. Space that is only allocated
 * costs more: the file system notes with each flush, in its journal, that these blocks are written now.
 * So in quiet times the log writes zeros into what it will need next:
 *
 *      the rest of the current segment, the next one, and spare files up to `prepared_bytes`
 *
 * A burst then finds them ready (docs/performance.md has what that is worth). Under load nothing is
 * filled: that would write everything twice. Spares that come from released segments have been
 * written already.
 *
 *   F1  a step holds `flushing`, so no batch is written meanwhile, and it writes behind everything that was
 *       appended before it; what is appended later is written later, over the zeros;
 *   F2  a spare is nobody's until it is whole; a crash leaves it a spare that is less well prepared;
 *   F3  what a step wrote is flushed in the step: no flush of a batch has to carry it.
 *
 * In the current segment and the next a failed write or flush is a failure of the log, as ever. In a spare
 * it ends the filling: there is no room, or the next real write will tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "log/internal.h"

#define STEP_BYTES    (1u << 20)
#define QUIET_SECONDS 10u
#define LOOK_MS       1000u
#define PAUSE_MS      10u
#define BLOCK_BYTES   4096u
#define FREE_SHARE    4u /* spares take at most one part of so many of what is free */

static uint8_t zeros[STEP_BYTES]; /* not const: takes no place in the program's file */

/* Where the next zeros go; `from` is moved on when they are there. */
struct place {
    int file;
    uint64_t *from; /* borrows */
    uint64_t end;
    const char *name;
    bool spare;
};

static uint64_t round_up(uint64_t offset) {
    return (offset + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

uint32_t fill_spares_wanted(const struct log *log) {
    uint64_t wanted = log->options.prepared_bytes / log->options.segment_bytes;
    return wanted < SPARES_MAX ? (uint32_t)wanted : SPARES_MAX;
}

uint64_t fill_prepared_bytes(const struct log *log) {
    bool next = log->next_file >= 0 && log->fill.next_from == log->options.segment_bytes;
    return (log->spare_count + next) * log->options.segment_bytes;
}

/* False: all is prepared. A spare that is not begun yet has the file -1. */
static bool find_place(struct log *log, struct place *ret) {
    struct fill *f = &log->fill;
    const struct segment *s = log->current;
    uint64_t behind = round_up(s->end + LOG_END_BYTES);
    if (f->current_from < behind) {
        f->current_from = behind;
    }
    if (f->current_from < s->capacity) {
        *ret = (struct place){s->file, &f->current_from, s->capacity, s->name, false};
        return true;
    }
    uint64_t whole = log->options.segment_bytes;
    if (log->next_file >= 0 && f->next_from < whole) {
        *ret = (struct place){log->next_file, &f->next_from, whole, log->next_name, false};
        return true;
    }
    *ret = (struct place){f->spare_file, &f->spare_from, whole, "", true};
    return !f->no_spares && log->spare_count < fill_spares_wanted(log);
}

uint32_t fill_wait_ms(struct log *log) {
    struct place p;
    if (log->options.prepared_bytes == 0 || log->failed || log->short_of_room ||
        !find_place(log, &p)) {
        return 0;
    }
    return log->fill.quiet_seconds < QUIET_SECONDS ? LOOK_MS : PAUSE_MS;
}

/* Lock not held. */
static bool has_room_for_spare(struct log *log) {
    uint64_t free_bytes;
    log_lock(log);
    uint64_t minimum = log->min_free_bytes;
    log_unlock(log);
    int rc = log->files->free_bytes(log->files->context, log->directory, &free_bytes);
    return rc == 0 && free_bytes > minimum &&
           (free_bytes - minimum) / FREE_SHARE > log->options.prepared_bytes;
}

/* Lock not held. */
static int begin_spare(struct log *log, uint32_t serial) {
    char name[SEGMENT_NAME_BYTES];
    spare_name(name, serial);
    return has_room_for_spare(log) ? room_prepare_file(log, name) : -ENOSPC;
}

static void end_spare(struct log *log) {
    struct fill *f = &log->fill;
    log->files->close(log->files->context, f->spare_file);
    f->spare_file = -1;
    f->spare_from = 0;
}

/* Lock held. The step's outcome: moves on, or gives up. */
static void finish_step(struct log *log, const struct place *p, uint64_t at, uint64_t size,
                        int rc) {
    struct fill *f = &log->fill;
    if (rc == 0) {
        /* A segment that began meanwhile starts anew from its own end: zeros twice do no harm. */
        *p->from = *p->from == at ? at + size : *p->from;
    } else if (!p->spare && rc != -ENOSPC) {
        log_fail(log, "write ahead in", p->name, -rc);
    } else {
        f->no_spares = true;
        f->current_from = f->next_from = UINT64_MAX;
    }
    if (!p->spare || f->spare_file < 0) {
        return;
    }
    if (rc != 0) {
        end_spare(log); /* stays on disk: the next start takes it for a spare */
    } else if (f->spare_from == p->end && log->spare_count < SPARES_MAX) {
        end_spare(log);
        log->spares[log->spare_count++] = f->spare_serial;
    }
}

/* Lock held, dropped meanwhile. */
static void step(struct log *log, struct place *p) {
    struct fill *f = &log->fill;
    uint64_t at = *p->from;
    size_t size = p->end - at < STEP_BYTES ? p->end - at : STEP_BYTES;
    if (p->spare && p->file < 0) {
        f->spare_serial = log->spare_serial++;
    }
    log->flushing = true;
    log_unlock(log);
    if (p->spare && p->file < 0) {
        p->file = f->spare_file = begin_spare(log, f->spare_serial);
    }
    const struct file_ops *files = log->files;
    int rc = p->file < 0 ? p->file : files->write_at(files->context, p->file, zeros, size, at);
    if (rc == 0) {
        rc = files->flush(files->context, p->file);
    }
    log_lock(log);
    finish_step(log, p, at, size, rc);
    log->flushing = false;
    pthread_cond_broadcast(&log->idle);
}

void fill_turn(struct log *log) {
    struct fill *f = &log->fill;
    if (log->stats.appended_records != f->seen_records) {
        f->seen_records = log->stats.appended_records;
        f->quiet_seconds = 0;
        return;
    }
    if (f->quiet_seconds < QUIET_SECONDS) {
        f->quiet_seconds++;
        return;
    }
    struct place p;
    if (!log->flushing && find_place(log, &p)) {
        step(log, &p);
    }
}

void fill_init(struct fill *f) {
    *f = (struct fill){.spare_file = -1};
}

void fill_release(struct log *log) {
    if (log->fill.spare_file >= 0) {
        end_spare(log);
    }
}
