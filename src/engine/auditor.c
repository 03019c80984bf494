/*
 * The audit file: <directory>/audit/audit.log, one line an entry (model/audit.h has the form).
 *
 * Entries are facts in the log; the file is made of them, so that their history outlives the segments.
 * The housekeeper writes what is durable in the log, flushes, and tells the model by AUDIT_WRITTEN.
 *
 *      log:   entry 7 ──durable──► file: line 7 ──flushed──► log: WRITTEN 7 ──► the model may forget 7
 *
 * Crash cases: before the line is flushed: the model has the entry and the line is written at the next start.
 * What stands behind line WRITTEN when the file is opened, torn, garbled or whole, is cut off and written again:
 * a flush that failed may have left lines that can be read and will never reach the disk, and the flush after
 * it succeeds (so does one after a restart of the program). An entry is thus in the model or
 * in the file at any moment, and a file that ends before WRITTEN was cut by somebody.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"
#include "model/audit.h"

#define RETRY_NS        (10 * NS_PER_SECOND)
#define WRITE_MAX_BYTES ((size_t)256 << 10)
#define LINE_MAX_BYTES  (AUDIT_TEXT_MAX + AUDIT_LINE_EXTRA)
#define PATH_BYTES      4096
#define PIECES_MAX      1024u

static struct audit_state state_of(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    struct audit_state s = audit_state(e->model);
    pthread_mutex_unlock(&e->lock);
    return s;
}

/* ---- opening ---- */

static int open_file(struct engine *e) {
    const struct file_ops *files = e->files;
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/audit", e->directory);
    int result = files->make_directory(files->context, path, 0700);
    if (result >= 0 || result == -EEXIST)
        result = files->flush_directory(files->context, e->directory);
    if (result < 0)
        return result;
    char file[PATH_BYTES + 16];
    snprintf(file, sizeof(file), "%s/audit.log", path);
    int handle = files->open(files->context, file, O_CREAT | O_RDWR, 0600);
    if (handle < 0)
        return handle;
    result = files->flush_directory(files->context, path);
    if (result < 0) {
        files->close(files->context, handle);
        return result;
    }
    e->auditor.file = handle;
    return 0;
}

/* The last whole line that ends at `end` or before. No such line: all 0. */
struct line {
    uint64_t begin, end;
    uint64_t number; /* 0: not readable */
};

static void last_line(const uint8_t *tail, size_t size, struct line *ret) {
    const uint8_t *end = memrchr(tail, '\n', size);
    *ret = (struct line){0};
    if (end == NULL)
        return;
    const uint8_t *before = memrchr(tail, '\n', (size_t)(end - tail));
    const uint8_t *begin = before == NULL ? tail : before + 1;
    struct audit_entry entry;
    if (audit_line_parse(span_of(begin, (size_t)(end - begin)), &entry) == 0)
        ret->number = entry.number;
    ret->begin = (uint64_t)(begin - tail);
    ret->end = (uint64_t)(end - tail) + 1;
}

static int line_before(struct engine *e, uint64_t end, struct line *ret) {
    const struct file_ops *files = e->files;
    uint8_t tail[2 * LINE_MAX_BYTES];
    size_t want = end < sizeof(tail) ? (size_t)end : sizeof(tail);
    ssize_t got = files->read_at(files->context, e->auditor.file, tail, want, end - want);
    if (got < 0 || (size_t)got != want)
        return got < 0 ? (int)got : -EIO;
    last_line(tail, want, ret);
    if (ret->end != 0) {
        ret->begin += end - want;
        ret->end += end - want;
    } else if (want < end) { /* no line is so long: rubbish, or a hole */
        *ret = (struct line){.begin = end - want, .end = end};
    }
    return 0;
}

/*
 * Where the next line goes: behind line `written`, or at the end of a file that does not have it there. What a power loss left
 * behind it may be pieces of lines that read as earlier ones (8, of 868).
 */
static int find_end(struct engine *e, const struct audit_state *s) {
    struct auditor *a = &e->auditor;
    const struct file_ops *files = e->files;
    struct line last = {0};
    uint64_t size;
    int result = files->size(files->context, a->file, &size);
    if (result >= 0)
        result = line_before(e, size, &last);
    struct line line = last;
    uint64_t steps = 2 * (s->count - s->written) + PIECES_MAX;
    while (result >= 0 && line.end != 0 && line.number != s->written && line.number <= s->count &&
           steps-- > 0)
        result = line_before(e, line.begin, &line);
    if (result < 0)
        return result;
    line = line.number == s->written ? line : last;
    a->size = line.end;
    a->number = line.number;
    return a->size == size ? 0 : files->truncate(files->context, a->file, a->size);
}

static void compare(struct engine *e, const struct audit_state *s) {
    const struct auditor *a = &e->auditor;
    if (a->number < s->written)
        engine_note(e,
                    "the audit file ends with entry %" PRIu64 ", but %" PRIu64
                    " had been written: it was cut or changed; run `sluice audit verify`",
                    a->number, s->written);
    else if (a->number > s->count)
        engine_note(e,
                    "the audit file knows entry %" PRIu64 ", but the log only %" PRIu64
                    ": this is an older copy of the log; run `sluice audit verify`",
                    a->number, s->count);
}

static void close_file(struct engine *e) {
    if (e->auditor.open)
        e->files->close(e->files->context, e->auditor.file);
    e->auditor.open = false;
}

static int be_open(struct engine *e) {
    if (e->auditor.open)
        return 0;
    int result = open_file(e);
    if (result < 0)
        return result;
    e->auditor.open = true;
    struct audit_state s = state_of(e);
    result = find_end(e, &s);
    if (result >= 0)
        compare(e, &s);
    return result;
}

/* ---- writing ---- */

/* What the file does not have, up to WRITE_MAX_BYTES; durable by *ret_position. Returns the last number. */
static uint64_t collect(struct engine *e, struct buffer *lines, uint64_t *ret_position) {
    pthread_mutex_lock(&e->lock);
    struct audit_state s = audit_state(e->model);
    uint64_t in_file = e->auditor.number;
    uint64_t last = in_file >= s.written && in_file <= s.count ? in_file : s.written;
    struct audit_entry entry;
    while (lines->size < WRITE_MAX_BYTES && audit_after(e->model, last, &entry) &&
           audit_line_append(&entry, lines) == 0)
        last = entry.number;
    *ret_position = e->last_position;
    pthread_mutex_unlock(&e->lock);
    return last;
}

static int append_lines(struct engine *e, struct span lines, uint64_t last) {
    struct auditor *a = &e->auditor;
    int result = e->files->write_at(e->files->context, a->file, lines.data, lines.size, a->size);
    if (result >= 0)
        result = e->files->flush(e->files->context, a->file);
    if (result < 0)
        return result;
    a->size += lines.size;
    a->number = last;
    return 0;
}

/* Everything that is durable by now. Negative errno. */
static int write_some(struct engine *e, uint64_t *ret_last) {
    struct buffer lines;
    uint64_t position;
    int result = be_open(e);
    if (result < 0)
        return result;
    buffer_init(&lines, WRITE_MAX_BYTES + LINE_MAX_BYTES);
    *ret_last = collect(e, &lines, &position);
    if (lines.size > 0) {
        result = keeper_wait_durable(e, position) == 0 ? 0 : -EIO;
        if (result == 0)
            result = append_lines(e, buffer_span(&lines), *ret_last);
        if (result == 0)
            keeper_between(e, ENGINE_STEP_AUDIT_FLUSHED);
    }
    buffer_release(&lines);
    return result;
}

static void tell_written(struct engine *e, uint64_t number) {
    struct request r;
    request_init(&r, REQUEST_AUDIT_WRITTEN);
    r.id = number;
    if (engine_call(e, &r) != 0 || r.refusal != REFUSAL_NONE)
        e->auditor.retry_at_ns = engine_monotonic_ns(e) + RETRY_NS;
    request_release(&r);
}

static void failed(struct engine *e, int result) {
    close_file(e); /* its end is looked for again */
    e->auditor.retry_at_ns = engine_monotonic_ns(e) + RETRY_NS;
    if (!e->held.dead)
        engine_note(e, "the audit file cannot be written: %s; its entries wait in the log",
                    strerror(-result));
}

void auditor_turn(struct engine *e) {
    struct auditor *a = &e->auditor;
    struct audit_state s = state_of(e);
    if (a->busy || s.count == s.written || engine_monotonic_ns(e) < a->retry_at_ns)
        return;
    a->busy = true; /* in manual mode the call below comes by here again */
    uint64_t last = 0;
    int result = write_some(e, &last);
    if (result < 0)
        failed(e, result);
    else
        tell_written(e, last);
    a->busy = false;
}

void auditor_close(struct engine *e, bool write) {
    uint64_t last = 0, before;
    int result = 0;
    struct audit_state s = {0};
    if (write)
        s = state_of(e);
    e->auditor.busy = true;
    if (s.count > s.written && !e->held.dead) {
        do {
            before = last;
            result = write_some(e, &last);
        } while (result >= 0 && last > before && last < s.count);
    }
    if (result >= 0 && last > s.written && !e->held.dead) {
        struct request r;
        request_init(&r, REQUEST_AUDIT_WRITTEN);
        r.id = last;
        if (engine_call_at_end(e, &r) != 0)
            engine_note(e, "the log cannot be told of the audit file's last entries: they are "
                           "written again at the next start");
        request_release(&r);
    }
    close_file(e);
}
