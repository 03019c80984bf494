/*
 * What the start did not read (docs/adr/0008-checking-at-start.md).
 *
 * A start replays the log from its snapshot on, and refuses when any of that does not read. The segments
 * before hold bodies only; whoever asks for one of these gets it checked or not at all. Still, damage that
 * nobody asks for should not wait to be found until it is too late to have another copy: so a thread
 * reads the older segments once after each start, at a pace that leaves the disk to others, and says what it
 * finds. It reads from the outside, as `sluice log verify` does.
 *
 * A segment that is given back while it is read may be renamed and written anew under the reader. It is out of
 * the log's table before that: so a finding counts only if its segment is still there afterwards.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "log/verify.h"

#define PAUSE_EVERY_BYTES (4u << 20)
#define PAUSE_NS          (40 * NS_PER_MS) /* 100 MiB/s at most */

static bool still_in_log(struct engine *e, const char *file) {
    size_t max = log_segments(e->log, NULL, 0);
    struct log_segment_info *infos = calloc(max, sizeof(*infos));
    if (infos == NULL)
        return true;
    size_t count = log_segments(e->log, infos, max);
    uint64_t first_position = strtoull(file, NULL, 16);
    bool found = false;
    for (size_t i = 0; i < count && i < max && !found; i++)
        found = infos[i].first_position == first_position;
    free(infos);
    return found;
}

static bool is_damage(const struct log_finding *f) {
    return f->kind == LOG_FINDING_CORRUPT || f->kind == LOG_FINDING_BAD_HEADER;
}

static void on_finding(void *context, const struct log_finding *f) {
    struct engine *e = context;
    if (!is_damage(f) || f->position > e->checker.up_to || !still_in_log(e, f->file))
        return;
    atomic_fetch_add(&e->checker.damaged, 1);
    engine_note(e,
                "the log is damaged: %s/log/%s, offset %" PRIu64
                ": %s; what stood there is not delivered; run `sluice log verify`",
                e->directory, f->file, f->offset, f->text);
}

static int on_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    struct engine *e = context;
    struct checker *c = &e->checker;
    (void)file;
    (void)offset;
    if (r->position > c->up_to || atomic_load(&c->stopping))
        return 1;
    c->unpaused_bytes += r->size_bytes;
    if (c->unpaused_bytes >= PAUSE_EVERY_BYTES && c->running) {
        c->unpaused_bytes = 0;
        struct timespec pause = engine_timespec(PAUSE_NS);
        nanosleep(&pause, NULL);
    }
    return 0;
}

void checker_run(struct engine *e) {
    struct log_visitor visitor = {.context = e, .record = on_record, .finding = on_finding};
    struct log_scan_summary summary;
    int error = log_scan(e->directory, e->files, 0, &visitor, &summary);
    if (error != 0)
        engine_note(e, "the older part of the log could not be checked: %s", error_text(error));
}

static void *checker_main(void *arg) {
    checker_run(arg);
    return NULL;
}

int checker_start(struct engine *e) {
    struct checker *c = &e->checker;
    if (c->up_to == 0)
        return 0;
    c->running = true;
    if (pthread_create(&c->thread, NULL, checker_main, e) != 0) {
        c->running = false;
        return E_NOMEM;
    }
    pthread_setname_np(c->thread, "sluice-checker");
    return 0;
}

void checker_stop(struct engine *e) {
    struct checker *c = &e->checker;
    if (!c->running)
        return;
    atomic_store(&c->stopping, true);
    pthread_join(c->thread, NULL);
    c->running = false;
}

/* ---- files that are gone ---- */

/* A segment goes when no body in it is in use, so one that is in use and not there was lost. */
void checker_miss_segments(struct engine *e) {
    size_t max = log_segments(e->log, NULL, 0), at = 0, missing = 0;
    struct log_segment_info *infos = calloc(max, sizeof(*infos));
    if (infos == NULL)
        return; /* each body is looked for again when it is needed */
    size_t count = log_segments(e->log, infos, max);
    uint64_t bytes = 0, behind = 0;
    for (uint32_t n = 1; (n = model_next_live_segment(e->model, n)) != 0; n++) {
        while (at < count && infos[at].number < n)
            at++;
        if (at < count && infos[at].number == n)
            continue;
        if (missing++ == 0 && at > 0)
            behind = infos[at - 1].last_position;
        bytes += model_segment_live_bytes(e->model, n);
    }
    free(infos);
    if (missing == 0)
        return;
    atomic_fetch_add(&e->checker.damaged, missing);
    engine_note(e,
                "the log is damaged: %zu segments are missing, the first behind position %" PRIu64
                ", with %" PRIu64 " bytes of bodies; what stood there is not delivered",
                missing, behind, bytes);
}

/* ---- naming what a replay could not read ---- */

struct description {
    struct engine *e;
    char *text;
    bool found;
};

static void describe_finding(void *context, const struct log_finding *f) {
    struct description *d = context;
    if (d->found || !is_damage(f))
        return;
    d->found = true;
    snprintf(d->text, 512, "%.200s/log/%s, offset %" PRIu64 " (position %" PRIu64 "): %.150s",
             d->e->directory, f->file, f->offset, f->position, f->text);
}

bool checker_describe(struct engine *e, uint64_t from, char text[512]) {
    struct description d = {.e = e, .text = text};
    struct log_visitor visitor = {.context = &d, .finding = describe_finding};
    struct log_scan_summary summary;
    return log_scan(e->directory, e->files, from, &visitor, &summary) == 0 && d.found;
}
