#include "damage.h"

#include <fcntl.h>
#include <string.h>

#include "letters.h"
#include "outcomes.h"
#include "shadow.h"

#define PATHS_MAX 512u

struct trial {
    struct sim_disk *disk; /* owns */
    const struct fault *faults[PLAN_FAULTS_MAX];
    uint32_t count;
    uint64_t durable_before; /* what was flushed before the last batch */
    bool recovering;         /* the whole copy, when it was open: it had no room to say so */
};

struct trial *damage_prepare(struct sim *s) {
    if (s->damage_count == 0)
        return NULL;
    struct trial *t = sim_alloc(sizeof(*t));
    t->disk = sim_disk_copy(s->disk, s->plan.seed);
    memcpy(t->faults, s->damages, s->damage_count * sizeof(t->faults[0]));
    t->count = s->damage_count;
    t->durable_before = s->durable_before;
    s->damage_count = 0;
    return t;
}

void damage_drop(struct trial *t) {
    if (t == NULL)
        return;
    sim_disk_free(t->disk);
    free(t);
}

/* ---- doing it ---- */

struct wound {
    char path[256];
    bool last_segment;
    enum file_class class;
};

static bool is_last(const char *path, const char *const *paths, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (file_class_of(paths[i]) == CLASS_SEGMENT && strcmp(paths[i], path) > 0)
            return false;
    return file_class_of(path) == CLASS_SEGMENT;
}

/* The second name of a doubled file: one that is as good as the first. */
static void other_name(const char *path, char out[256]) {
    const char *slash = strrchr(path, '/');
    unsigned long long number = strtoull(slash + 1, NULL, 16);
    const char *dot = strrchr(path, '.');
    snprintf(out, 256, "%.*s/%016llx%s", (int)(slash - path), path, number + 3, dot);
}

/* Up to its last byte that is not zero: a segment is longer than what was written to it. */
static uint64_t used_bytes(struct sim_disk *d, const char *path) {
    const struct file_ops *files = sim_disk_ops(d);
    uint8_t chunk[4096];
    uint64_t used = 0, at = 0;
    int file = files->open(files->context, path, O_RDONLY, 0);
    ssize_t got = 0;
    for (; file >= 0 && (got = files->read_at(files->context, file, chunk, sizeof(chunk), at)) > 0;
         at += (uint64_t)got)
        for (ssize_t i = 0; i < got; i++)
            used = chunk[i] != 0 ? at + (uint64_t)i + 1 : used;
    if (file >= 0)
        files->close(files->context, file);
    return used;
}

/* Every other time the segment that was written last: what is there is hardest to judge. */
static const char *draw_path(const char *const *paths, size_t count, uint64_t amount) {
    for (size_t i = 0; amount >> 32 & 1 && i < count; i++)
        if (is_last(paths[i], paths, count))
            return paths[i];
    return paths[amount % count];
}

/* False: there is nothing that could be damaged. */
static bool wound_disk(struct sim_disk *d, const struct fault *f, struct wound *ret) {
    const char *paths[PATHS_MAX];
    size_t count = sim_disk_names(d, SIM_DIRECTORY "/log", paths, PATHS_MAX);
    count += sim_disk_names(d, SIM_DIRECTORY "/snapshot", paths + count, PATHS_MAX - count);
    if (count == 0)
        return false;
    const char *path = draw_path(paths, count, f->amount);
    uint64_t size = f->amount >> 33 & 1 ? used_bytes(d, path) : sim_disk_file_size(d, path);
    snprintf(ret->path, sizeof(ret->path), "%s", path);
    ret->last_segment = is_last(path, paths, count);
    ret->class = file_class_of(path);
    char other[256];
    switch (f->kind) {
    case FAULT_FLIP:
        return size > 0 && sim_disk_flip(d, path, (f->amount >> 16) % size, f->amount >> 60 & 7);
    case FAULT_CUT:
        return size > 0 && sim_disk_cut(d, ret->path, (f->amount >> 16) % size);
    case FAULT_MISSING:
        return sim_disk_remove(d, ret->path);
    default:
        if (strrchr(path, '.') == NULL)
            return false;
        other_name(path, other);
        return sim_disk_double(d, ret->path, other);
    }
}

/* ---- looking at what came of it ---- */

static void ignore_failure(void *context, const char *message) {
    (void)context;
    (void)message;
}

/*
 * Later than anything that was written: else a copy whose last snapshot cannot be read would begin at the time of its
 * last record, the others at the snapshot's, and what a start decides carries that time.
 */
static uint64_t later_clock(void *context) {
    const struct sim *s = context;
    uint64_t real_ns = sim_real_ns(s);
    return (real_ns > s->ended_engine_ns ? real_ns : s->ended_engine_ns) + NS_PER_SECOND;
}

static int open_copy(struct sim *s, struct sim_disk *disk, bool salvage,
                     struct engine_recovery *recovery, struct engine **ret) {
    struct engine_options options = s->options;
    char text[512];
    options.files = sim_disk_ops(disk);
    options.salvage = salvage;
    options.real_ns = later_clock;
    options.start_attempts = NULL;
    options.deliver = NULL;
    options.between = NULL;
    options.note = NULL;
    options.failed = ignore_failure;
    return engine_open(&options, recovery, text, ret);
}

/* Every body is whole or is not given out. Returns how many are not. */
static uint64_t read_all_bodies(struct sim *s, struct engine *e) {
    struct live_body bodies[256];
    uint64_t unreadable = 0;
    struct log_segment_info segments[PATHS_MAX];
    size_t count = log_segments(e->log, segments, PATHS_MAX);
    struct buffer bytes;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    for (size_t i = 0; i < count; i++) {
        size_t found = model_segment_live_ids(e->model, segments[i].number, bodies, 256);
        for (size_t k = 0; k < found; k++) {
            struct stored_message stored;
            buffer_clear(&bytes);
            if (engine_read_message(e, bodies[k].stored_id, bodies[k].address, &bytes, &stored) !=
                0) {
                unreadable++;
                continue;
            }
            bool mine = stored.queue.size > 4 && memcmp(stored.queue.data, "sim-", 4) == 0;
            if (mine && !span_is(stored.queue, ENDS_NAME))
                letter_of_body(s, stored.envelope.body);
        }
    }
    buffer_release(&bytes);
    return unreadable;
}

/* The last batch may look torn; a file that lost its end tells nobody that it had one. */
static bool may_be_earlier(const struct trial *t, const struct fault *f, const struct wound *w,
                           const struct engine_recovery *found) {
    if (!w->last_segment)
        return false;
    if (f->kind == FAULT_FLIP)
        return found->log.next_position > t->durable_before;
    return f->kind == FAULT_CUT || f->kind == FAULT_MISSING;
}

static void check_opened(struct sim *s, const struct trial *t, const struct fault *f,
                         const struct wound *w, struct engine *e,
                         const struct engine_recovery *found, const struct buffer *expected) {
    model_check(e->model);
    struct buffer state = state_of(e->model);
    bool same = span_equal(buffer_span(&state), buffer_span(expected));
    buffer_release(&state);
    /* On a full disk one had room to say which attempts have no outcome, the other had not. */
    bool comparable = e->recovering == t->recovering;
    SIM_CHECK(s, same || !comparable || may_be_earlier(t, f, w, found),
              "%s of %s%s: opened with another state (at %llu; the last batch begins behind %llu)",
              fault_name(f->kind), w->last_segment ? "the last segment " : "", w->path,
              (unsigned long long)found->log.next_position - 1,
              (unsigned long long)t->durable_before);
    read_all_bodies(s, e);
    keeper_turn(e, false); /* compaction must not carry on what is damaged */
    engine_snapshot(e) != 0 ? (void)0 : keeper_turn(e, false);
    read_all_bodies(s, e);
    s->result->damage_same += same;
    s->result->damage_cut += !same;
}

static void try_salvage(struct sim *s, struct sim_disk *disk) {
    struct engine *e;
    struct engine_recovery recovery;
    if (open_copy(s, disk, true, &recovery, &e) != 0)
        return;
    model_check(e->model);
    read_all_bodies(s, e);
    s->result->damage_salvaged++;
    engine_close(e, false);
}

static void try_one(struct sim *s, const struct trial *t, const struct fault *f,
                    const struct buffer *expected) {
    struct wound w;
    struct engine_recovery recovery;
    struct engine *e;
    struct sim_disk *disk = sim_disk_copy(t->disk, f->amount);
    if (wound_disk(disk, f, &w)) {
        uint32_t site = site_of_disk(PHASE_OPENING, SIM_OPEN, w.class);
        s->result->happened[f->kind]++;
        s->result->coverage.hit[site][f->kind]++;
        struct sim_disk *second = sim_disk_copy(disk, f->amount);
        if (open_copy(s, disk, false, &recovery, &e) == 0) {
            check_opened(s, t, f, &w, e, &recovery, expected);
            engine_close(e, false);
        } else {
            s->result->damage_refused++;
            try_salvage(s, second);
        }
        sim_disk_free(second);
    }
    sim_disk_free(disk);
}

/* The undamaged copy first: its state is what is expected. */
void damage_try(struct sim *s, struct trial *t) {
    struct engine_recovery recovery;
    struct engine *e;
    if (t == NULL)
        return;
    struct sim_disk *whole = sim_disk_copy(t->disk, s->plan.seed);
    int error = open_copy(s, whole, false, &recovery, &e);
    SIM_CHECK(s, error == 0, "a copy of the disk does not open: %s", error_name(error));
    struct buffer expected = state_of(e->model);
    t->recovering = e->recovering;
    engine_close(e, false);
    sim_disk_free(whole);
    for (uint32_t i = 0; i < t->count; i++)
        try_one(s, t, t->faults[i], &expected);
    buffer_release(&expected);
    damage_drop(t);
}
