/*
 * How an engine comes to its state: the log is opened, the newest snapshot loaded, and every record behind it
 * applied. What does not fit together is refused with what to do; nothing is guessed.
 *
 * A salvage goes as far as the records make sense. What comes behind is given up, all of it: what one lost
 * record did to each later one nobody knows, and a state that never was is worse than one of earlier. The files stay
 * as they are; a snapshot of that state, named after the log's end, is what later starts begin with.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/internal.h"

const char *engine_progress_text(const struct engine_progress *p) {
    static const char *const texts[] = {
#define X(name, text) text,
        ENGINE_PROGRESS_TABLE(X)
#undef X
    };
    return texts[atomic_load(&p->step)];
}

static void begin_step(struct engine *e, enum engine_progress_step step) {
    if (e->options.progress != NULL)
        atomic_store(&e->options.progress->step, step);
}

static int open_log(struct engine *e, struct log_recovery *recovery, char error_text[512]) {
    uint64_t flushed_position;
    int error = engine_newest_snapshot(e->directory, e->files, error_text, &flushed_position);
    if (error != 0)
        return error;
    struct log_options options = {
        .directory = e->directory,
        .files = e->files,
        .segment_bytes = e->options.segment_bytes,
        .min_free_bytes = e->options.min_free_bytes,
        .prepared_bytes = e->options.prepared_bytes,
        .flushed_position = flushed_position,
        .salvage = e->options.salvage,
        .trust_sealed = true,
        .no_thread = e->options.manual,
        .context = e,
        .on_durable = replies_on_durable,
        .on_failed = replies_on_failed,
    };
    error = log_open(&options, recovery, error_text, &e->log);
    if (error != 0)
        return error;
    char path[4096];
    snprintf(path, sizeof(path), "%s/snapshot", e->directory);
    int made = e->files->make_directory(e->files->context, path, 0700);
    /* Flushed also when it was there: whoever made it may have ended before its own flush. */
    if (made >= 0 || made == -EEXIST)
        made = e->files->flush_directory(e->files->context, e->directory);
    if (made >= 0)
        return 0;
    snprintf(error_text, 512, "%.400s: %s", path, strerror(-made));
    return E_IO;
}

static int replay_record(struct engine *e, const struct record *r, uint64_t address,
                         char error_text[512]) {
    if (r->position != e->last_position + 1) {
        snprintf(error_text, 512,
                 "the log goes on at position %" PRIu64 " but %" PRIu64
                 " is needed next: segments are missing; run `sluice log verify`",
                 r->position, e->last_position + 1);
        return E_CORRUPT;
    }
    struct applied where = {.time_ns = r->time_ns, .position = r->position, .address = address};
    int error = model_apply(e->model, &where, r->facts);
    if (error != 0)
        snprintf(error_text, 512, "record %" PRIu64 " cannot be applied: %s%s", r->position,
                 error == E_VERSION ? "it was written by a newer version of sluice"
                                    : "its facts make no sense",
                 error == E_VERSION ? "" : "; run `sluice log verify`");
    else
        e->last_position = r->position;
    e->keeper.replayed_bytes += r->size_bytes;
    return error;
}

static void cannot_replay(struct engine *e, char error_text[512]) {
    char damage[512];
    if (checker_describe(e, e->last_position + 1, damage))
        snprintf(error_text, 512, "%.400s; run `sluice log verify`; `--salvage` gives it up",
                 damage);
    else
        snprintf(error_text, 512,
                 "the log cannot be read behind position %" PRIu64 ": run `sluice log verify`",
                 e->last_position);
}

/* Ends before position `end`, too. */
static int replay(struct engine *e, uint64_t end, uint64_t *ret_count, char error_text[512]) {
    struct log_cursor *cursor;
    int error = log_cursor_open(e->log, e->last_position + 1, &cursor);
    if (error != 0)
        return error;
    *ret_count = 0;
    struct engine_progress nobody_looks;
    struct engine_progress *p = e->options.progress != NULL ? e->options.progress : &nobody_looks;
    atomic_store(&p->of, log_next_position(e->log) - 1 - e->last_position);
    begin_step(e, ENGINE_PROGRESS_REPLAY);
    struct record record;
    uint64_t address;
    while (e->last_position + 1 < end &&
           (error = log_cursor_next(cursor, &record, &address)) == 0) {
        error = replay_record(e, &record, address, error_text);
        if (error != 0)
            break;
        ++*ret_count;
        atomic_store_explicit(&p->done, *ret_count, memory_order_relaxed);
    }
    log_cursor_close(cursor);
    if (error == 0 || error == E_END)
        return 0;
    if (error_text[0] == '\0')
        cannot_replay(e, error_text);
    return error;
}

static int load_and_replay(struct engine *e, struct engine_recovery *recovery, uint64_t end,
                           uint64_t *ret_time_ns, char error_text[512]) {
    uint64_t begun_ns = clock_monotonic_ns();
    begin_step(e, ENGINE_PROGRESS_SNAPSHOT);
    int error = snapshot_load(e, &recovery->snapshot_position, ret_time_ns, error_text);
    if (error != 0)
        return error;
    e->last_position = recovery->snapshot_position;
    uint64_t loaded_ns = clock_monotonic_ns();
    recovery->snapshot_ns += loaded_ns - begun_ns;
    if (e->last_position + 1 < log_next_position(e->log))
        error = replay(e, end, &recovery->replayed_records, error_text);
    recovery->replay_ns += clock_monotonic_ns() - loaded_ns;
    return error;
}

/*
 * Behind e->last_position nothing makes sense: the state of there, loaded anew since the record that failed may be
 * half applied, is from now on that of the log's end. Refuses when that is no state at all.
 */
static int give_up_rest(struct engine *e, struct engine_recovery *recovery, uint64_t *ret_time_ns,
                        char error_text[512]) {
    uint64_t end = e->last_position + 1, log_end = log_next_position(e->log) - 1;
    char why[256];
    snprintf(why, sizeof(why), "%s", error_text);
    if (end == 1)
        return E_CORRUPT;
    error_text[0] = '\0';
    e->keeper.replayed_bytes = 0;
    int error = load_and_replay(e, recovery, end, ret_time_ns, error_text);
    if (error == 0)
        error = snapshot_write(e, log_end, recovery->log.last_time_ns, 0);
    if (error == 0)
        error = snapshot_publish(e, log_end);
    if (error != 0) {
        if (error_text[0] == '\0')
            snprintf(error_text, 512, "no snapshot could be written: %s", error_name(error));
        return error;
    }
    size_t used = strlen(recovery->log.report);
    snprintf(recovery->log.report + used, sizeof(recovery->log.report) - used,
             "%sgave up positions %" PRIu64 " to %" PRIu64 ": %s", used > 0 ? "; " : "", end,
             log_end, why);
    e->last_position = recovery->snapshot_position = log_end;
    return 0;
}

int restore_engine(struct engine *e, struct engine_recovery *recovery, char error_text[512]) {
    uint64_t snapshot_ns, started_ns = clock_monotonic_ns();
    begin_step(e, ENGINE_PROGRESS_LOG);
    int error = open_log(e, &recovery->log, error_text);
    if (error != 0)
        return error;
    recovery->log_ns = clock_monotonic_ns() - started_ns;
    /* At once: if this start does not get to its end, the next one finds a log with nothing left to cut. */
    if (recovery->log.report[0] != '\0')
        engine_note(e, "%s", recovery->log.report);
    error = load_and_replay(e, recovery, UINT64_MAX, &snapshot_ns, error_text);
    if (error == E_CORRUPT && e->options.salvage)
        error = give_up_rest(e, recovery, &snapshot_ns, error_text);
    if (error != 0)
        return error;
    /* log_open refuses an end before what a snapshot rests on, and a replay ends nowhere else. */
    assert(e->last_position + 1 == recovery->log.next_position);
    uint64_t last_ns =
        recovery->log.last_time_ns > snapshot_ns ? recovery->log.last_time_ns : snapshot_ns;
    uint64_t real_ns =
        e->options.real_ns != NULL ? e->options.real_ns(e->options.context) : clock_real_ns();
    timekeeper_init(&e->timekeeper, last_ns, real_ns, engine_monotonic_ns(e));
    snapshot_prune(e, recovery->snapshot_position, e->keeper.kept_positions);
    e->keeper.snapshot_bytes = snapshot_bytes(e, recovery->snapshot_position);
    e->stats.snapshot_position = e->checker.up_to = recovery->snapshot_position;
    checker_miss_segments(e);
    e->recovering = true;
    begin_step(e, ENGINE_PROGRESS_RECOVERY);
    error = sequencer_recover(e, &recovery->unknown_attempts);
    if (error != 0)
        snprintf(error_text, 512, "attempts that were under way could not be recorded: %s",
                 error_name(error));
    begin_step(e, ENGINE_PROGRESS_CHECK);
    if (error == 0 && e->options.paranoid)
        model_check(e->model);
    begin_step(e, ENGINE_PROGRESS_OPEN);
    return error;
}
