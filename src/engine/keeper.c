/*
 * The housekeeper: one thread that takes snapshots and gives log segments back. At each look, four times a second, it
 * also decides whether there is memory (memory.h) and room on the disk for what would grow, tells of both when
 * they change, and brings the audit file up to what is durable (auditor.c).
 *
 * A snapshot is written by a forked child: the child has the state of one moment for the price of copying
 * page tables, and the engine goes on at once. The child is nice and pauses between its flushes. The
 * parent publishes the file when the log is durable up to its position (snapshot.c says why).
 *
 * A sealed segment may go when
 *   G1 no live body stands in it by what is durable (a delete that a crash takes back needs its body), and
 *   G2 its last record is not after the older one of the two kept snapshots (whichever is loaded, replay
 *      does not need the segment). On a disk without room the newest one must do: nothing is
 *      accepted, so perhaps nothing will ever be appended that a second one could differ by.
 * A sealed segment that is covered by the newest snapshot and of which only a small share lives is copied
 * forward: each body is read back, checked, and written again by a MESSAGE_MOVED fact through the
 * same sequencer as everything else. The next two snapshots then let it go; on a disk without room they are
 * taken for that alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/huge.h"
#include "engine/internal.h"

#define LOOK_EVERY_MS          250u
#define TRIM_EVERY_NS          (3 * NS_PER_SECOND)
#define SNAPSHOT_RETRY_NS      (10 * NS_PER_SECOND)
#define SNAPSHOT_PAUSE_PER_MIB (12 * NS_PER_MS) /* about 60 MiB/s at most */
#define CHILD_NICENESS         19
#define MOVE_AT_ONCE           32u
/* Bodies of one record, which may have half a segment. */
#define MOVE_BYTES(e)                                                                              \
    ((e)->options.segment_bytes == 0 || (e)->options.segment_bytes / 4 > RECORD_MAX_BYTES / 2      \
         ? RECORD_MAX_BYTES / 2                                                                    \
         : (size_t)(e)->options.segment_bytes / 4)
#define MOVE_ROUNDS            64u        /* per look, so that the disk has time for others */
#define SNAPSHOT_MIN_LOG_BYTES (1u << 20) /* under room pressure: not for less than this */

void engine_note(struct engine *e, const char *format, ...) {
    if (e->options.note == NULL)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    e->options.note(e->options.context, text);
}

static bool keeper_stopping(struct engine *e) {
    struct keeper *k = &e->keeper;
    pthread_mutex_lock(&k->lock);
    bool stopping = k->stopping;
    pthread_mutex_unlock(&k->lock);
    return stopping;
}

void keeper_between(struct engine *e, enum engine_step step) {
    if (e->options.manual && e->options.between != NULL)
        e->options.between(e->options.context, step);
}

/* ---- snapshots ---- */

/*
 * Exit code of the child: the error, positive. It is seen first and reaped later, under the lock: while
 * keeper.child names it, the number is not given to another process.
 */
static int wait_for_child(struct keeper *k, pid_t child) {
    siginfo_t info;
    int status = 0;
    while (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&k->lock);
    k->child = 0;
    bool reaped = waitpid(child, &status, 0) == child;
    pthread_mutex_unlock(&k->lock);
    return reaped && WIFEXITED(status) ? -WEXITSTATUS(status) : E_IO;
}

/* Whoever stops does not wait for seconds of paced writing. */
static void kill_child(struct keeper *k) {
    if (k->child > 0)
        kill(k->child, SIGKILL);
}

/*
 * The child gives up what it inherited, or a killed parent would live on in it: its lock on the folder, its
 * listening sockets. It opens what it writes by itself.
 */
static void child_main(struct engine *e, uint64_t position, uint64_t time_ns) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(3, ~0u, 0);
    if (setpriority(PRIO_PROCESS, 0, CHILD_NICENESS) != 0)
        errno = 0; /* it only costs the others some processor time */
    int error = snapshot_write(e, position, time_ns, SNAPSHOT_PAUSE_PER_MIB);
    _exit(-error);
}

/* Engine's lock held. The child exists, or -1. */
static pid_t start_child(struct engine *e) {
    uint64_t started_ns = clock_monotonic_ns();
    pid_t child = fork();
    if (child == 0)
        child_main(e, e->last_position, e->timekeeper.time_ns);
    e->stats.snapshot_fork_ns_last = clock_monotonic_ns() - started_ns;
    return child;
}

/* The state of now, written by a child; *ret_position is what it covers. */
static int write_forked(struct engine *e, uint64_t *ret_position) {
    struct keeper *k = &e->keeper;
    pthread_mutex_lock(&e->lock);
    *ret_position = e->last_position;
    pid_t child = e->broken ? -1 : start_child(e);
    pthread_mutex_unlock(&e->lock);
    if (child < 0)
        return e->held.dead ? E_IO : E_NOMEM;
    pthread_mutex_lock(&k->lock);
    k->child = child;
    if (k->stopping)
        kill_child(k);
    pthread_mutex_unlock(&k->lock);
    return wait_for_child(k, child);
}

static int write_here(struct engine *e, uint64_t *ret_position) {
    pthread_mutex_lock(&e->lock);
    *ret_position = e->last_position;
    int error = e->broken ? E_IO : snapshot_write(e, e->last_position, e->timekeeper.time_ns, 0);
    pthread_mutex_unlock(&e->lock);
    return error;
}

int keeper_wait_durable(struct engine *e, uint64_t position) {
    while (log_durable_position(e->log) < position) {
        if (e->held.dead)
            return E_IO;
        if (e->options.manual) {
            int error = log_flush(e->log);
            if (error != 0)
                return error;
        } else {
            log_commit(e->log);
            replies_wait_progress(e, position - 1);
        }
    }
    return 0;
}

static uint64_t log_bytes(struct engine *e) {
    struct log_stats stats;
    log_stats(e->log, &stats);
    return stats.appended_bytes + e->keeper.replayed_bytes;
}

static bool nothing_new(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    uint64_t position = e->last_position;
    pthread_mutex_unlock(&e->lock);
    return position == e->keeper.kept_positions[0];
}

static int write_and_publish(struct engine *e, bool forked, uint64_t *ret_position) {
    int error = forked ? write_forked(e, ret_position) : write_here(e, ret_position);
    keeper_between(e, ENGINE_STEP_SNAPSHOT_WRITTEN);
    if (error == 0)
        error = keeper_wait_durable(e, *ret_position);
    keeper_between(e, ENGINE_STEP_SNAPSHOT_DURABLE);
    if (error == 0)
        error = snapshot_publish(e, *ret_position);
    keeper_between(e, ENGINE_STEP_SNAPSHOT_PUBLISHED);
    if (error == 0)
        return 0;
    snapshot_discard(e, *ret_position);
    if (!keeper_stopping(e))
        engine_note(e, "snapshot failed: %s; the log keeps everything, starting takes longer",
                    error_text(error));
    return error;
}

int keeper_snapshot(struct engine *e, bool forked) {
    struct keeper *k = &e->keeper;
    if (nothing_new(e))
        return 0;
    uint64_t bytes_before = log_bytes(e);
    uint64_t started_ns = clock_monotonic_ns();
    uint64_t position = 0;
    k->snapshotting = true;
    int error = write_and_publish(e, forked, &position);
    k->snapshotting = false;
    if (error != 0)
        return error;
    snapshot_prune(e, position, k->kept_positions);
    k->snapshot_bytes = snapshot_bytes(e, position);
    k->bytes_at_snapshot = bytes_before;
    pthread_mutex_lock(&e->lock);
    e->stats.snapshots++;
    e->stats.snapshot_ns_last = clock_monotonic_ns() - started_ns;
    e->stats.snapshot_position = position;
    pthread_mutex_unlock(&e->lock);
    keeper_between(e, ENGINE_STEP_SNAPSHOT_PRUNED);
    return 0;
}

/* ---- giving segments back ---- */

struct mover {
    struct live_body bodies[MOVE_AT_ONCE];
    uint64_t ids[MOVE_AT_ONCE], addresses[MOVE_AT_ONCE];
    struct buffer bytes[MOVE_AT_ONCE];
    struct span payloads[MOVE_AT_ONCE];
};

/* The body stays where it is, for a person to look at, and so does its segment. */
static void tell_unreadable(struct engine *e, uint32_t segment, uint64_t id, int error) {
    char receipt[18];
    if (e->keeper.unreadable == segment || error == E_NOT_FOUND) /* deleted meanwhile */
        return;
    e->keeper.unreadable = segment;
    receipt_format(id, receipt);
    engine_note(e,
                "the body of %s, and maybe others of log segment %" PRIu32
                ", cannot be read: %s; run `sluice log verify`",
                receipt, segment, error_text(error));
}

/* Bodies of one segment, read back; those that went meanwhile are left out. Returns how many. */
static uint32_t read_bodies(struct engine *e, uint32_t segment, struct mover *m) {
    pthread_mutex_lock(&e->lock);
    size_t found = model_segment_live_ids(e->model, segment, m->bodies, MOVE_AT_ONCE);
    pthread_mutex_unlock(&e->lock);
    uint32_t count = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < found; i++) {
        const struct live_body *b = &m->bodies[i];
        struct stored_message stored;
        buffer_clear(&m->bytes[i]);
        int error = engine_read_message(e, b->stored_id, b->address, &m->bytes[i], &stored);
        if (error != 0) {
            tell_unreadable(e, segment, b->id, error);
            continue;
        }
        bytes += stored.payload.size;
        if (count > 0 && bytes > MOVE_BYTES(e))
            break; /* with the next ones */
        m->ids[count] = b->id;
        m->addresses[count] = b->address;
        m->payloads[count++] = stored.payload;
    }
    return count;
}

/* True when something was moved. */
static bool move_some(struct engine *e, uint32_t segment, struct mover *m) {
    uint32_t count = read_bodies(e, segment, m);
    keeper_between(e, ENGINE_STEP_BODIES_READ);
    if (count == 0)
        return false;
    struct request r;
    request_init(&r, REQUEST_MESSAGE_MOVE);
    r.in.move.ids = m->ids;
    r.in.move.addresses = m->addresses;
    r.in.move.payloads = m->payloads;
    r.in.move.count = count;
    int error = engine_call(e, &r);
    bool moved = error == 0 && r.refusal == REFUSAL_NONE;
    if (moved) {
        pthread_mutex_lock(&e->lock);
        e->stats.moved_messages += count;
        pthread_mutex_unlock(&e->lock);
    }
    request_release(&r);
    keeper_between(e, ENGINE_STEP_BODIES_MOVED);
    return moved;
}

static void copy_forward(struct engine *e, uint32_t segment) {
    struct mover *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < MOVE_AT_ONCE; i++)
        buffer_init(&m->bytes[i], RECORD_MAX_BYTES + 1);
    for (uint32_t round = 0; round < MOVE_ROUNDS && move_some(e, segment, m); round++)
        ;
    for (uint32_t i = 0; i < MOVE_AT_ONCE; i++)
        buffer_release(&m->bytes[i]);
    free(m);
}

/* As of *ret_position, which need not be durable yet. */
static uint64_t live_bytes(struct engine *e, uint32_t segment, uint64_t *ret_position) {
    pthread_mutex_lock(&e->lock);
    uint64_t live = model_segment_live_bytes(e->model, segment);
    *ret_position = e->last_position;
    pthread_mutex_unlock(&e->lock);
    return live;
}

/* `as_of` is where no body in it was live any more: G1. */
static void release(struct engine *e, const struct log_segment_info *s, uint64_t as_of) {
    keeper_between(e, ENGINE_STEP_SEGMENT_CHOSEN);
    if (keeper_wait_durable(e, as_of) != 0)
        return;
    log_release(e->log, s->number);
    keeper_between(e, ENGINE_STEP_SEGMENT_RELEASED);
    pthread_mutex_lock(&e->lock);
    e->stats.released_segments++;
    pthread_mutex_unlock(&e->lock);
}

static void compact_segment(struct engine *e, const struct log_segment_info *s) {
    struct keeper *k = &e->keeper;
    uint64_t as_of;
    uint64_t live = live_bytes(e, s->number, &as_of);
    enum log_room room = log_room(e->log);
    uint64_t covered = k->kept_positions[live > 0 || room != LOG_ROOM_OK ? 0 : 1]; /* G2 */
    if (!s->sealed || (double)live >= e->options.compact_live_share * (double)s->size_bytes)
        return;
    if (s->last_position > covered)
        k->segments_wait = true;
    else if (live == 0)
        release(e, s, as_of);
    else if (room != LOG_ROOM_NONE)
        copy_forward(e, s->number);
}

static void compact(struct engine *e) {
    size_t max = log_segments(e->log, NULL, 0);
    struct log_segment_info *infos = malloc(max * sizeof(*infos));
    if (infos == NULL)
        return; /* another time */
    size_t count = log_segments(e->log, infos, max);
    e->keeper.segments_wait = false;
    for (size_t i = 0; i < count && i < max && !e->held.dead && !keeper_stopping(e); i++)
        compact_segment(e, &infos[i]);
    free(infos);
}

/* In manual mode the calls that move bodies turn the engine, which comes by here again. */
void keeper_compact(struct engine *e) {
    struct keeper *k = &e->keeper;
    if (k->compacting)
        return;
    k->compacting = true;
    compact(e);
    k->compacting = false;
}

/* ---- the thread ---- */

static bool snapshot_due(struct engine *e) {
    const struct keeper *k = &e->keeper;
    if (engine_monotonic_ns(e) < k->retry_at_ns)
        return false;
    uint64_t bytes = log_bytes(e) - k->bytes_at_snapshot;
    bool pressed = log_room(e->log) != LOG_ROOM_OK &&
                   (bytes >= SNAPSHOT_MIN_LOG_BYTES || (bytes > 0 && k->segments_wait));
    uint64_t every = e->options.snapshot_every_bytes;
    return pressed || bytes >= (k->snapshot_bytes > every ? k->snapshot_bytes : every);
}

static void take_snapshot(struct engine *e, uint64_t ticket, bool forked) {
    struct keeper *k = &e->keeper;
    int error = keeper_snapshot(e, forked);
    if (error != 0)
        k->retry_at_ns = engine_monotonic_ns(e) + SNAPSHOT_RETRY_NS;
    pthread_mutex_lock(&k->lock);
    k->snapshot_result = error;
    k->snapshots_done = ticket;
    pthread_cond_broadcast(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

static bool is_short_of_memory(struct engine *e, bool was, uint64_t resident) {
    if (e->options.memory_max_bytes == 0)
        return false;
    pthread_mutex_lock(&e->lock);
    uint64_t reusable = model_reusable_bytes(e->model);
    pthread_mutex_unlock(&e->lock);
    reusable += huge_ahead_count() * HUGE_BYTES;
    uint64_t used = resident > reusable ? resident - reusable : 0;
    return memory_is_short(was, used, e->options.memory_max_bytes);
}

/* One way for both reasons, so that neither repeats at once what the other has done. Returns what is resident then. */
static uint64_t give_memory_back(struct engine *e) {
    (void)malloc_trim(0);
    uint64_t resident = memory_resident_bytes();
    memory_slack_gone(&e->keeper.slack, resident, engine_monotonic_ns(e));
    return resident;
}

/*
 * What was freed counts as long as the system does not have it; giving it back (memory.h) may end a shortage. Without
 * one goes what a flood left, when it is over.
 */
static void look_at_memory(struct engine *e) {
    if (e->options.manual && e->options.memory_max_bytes == 0)
        return;
    uint64_t now_ns = engine_monotonic_ns(e), resident = memory_resident_bytes();
    bool was = engine_is_short_of_memory(e), is = is_short_of_memory(e, was, resident);
    if (was && is && now_ns >= e->keeper.trim_at_ns) {
        resident = give_memory_back(e);
        e->keeper.trim_at_ns = now_ns + TRIM_EVERY_NS;
        is = is_short_of_memory(e, was, resident);
    }
    atomic_store(&e->short_of_memory, is);
    if (!e->options.manual && memory_slack_due(&e->keeper.slack, resident, now_ns) &&
        memory_free_bytes() >= MEMORY_SLACK_BYTES)
        (void)give_memory_back(e);
}

static void tell_room(struct engine *e) {
    static const char *const texts[] = {
        [LOG_ROOM_OK] = "there is room on the disk again: everything is accepted",
        [LOG_ROOM_RESERVE] =
            "the disk is nearly full: what would grow the store is refused with 507",
        [LOG_ROOM_NONE] = "the disk is full: nothing is accepted or sent until there is room",
    };
    enum log_room room = log_room(e->log);
    bool is_short = engine_is_short_of_memory(e);
    bool changed = room != e->keeper.room, turned = is_short != e->keeper.told_memory;
    e->keeper.room = room;
    e->keeper.told_memory = is_short;
    if (changed)
        engine_note(e, "%s", texts[room]);
    if (turned)
        engine_note(e, "%s",
                    is_short ? "short of memory: what would grow is refused with 503"
                             : "there is memory again: everything is accepted");
    if ((changed || turned) && e->options.room_changed != NULL)
        e->options.room_changed(e->options.context, room, is_short);
}

/* A disk that is full to the last byte takes no snapshot; without one nothing may be given back, and it stays full. */
static void keep_snapshot_room(struct engine *e) {
    if (!e->options.keep_snapshot_room)
        return;
    pthread_mutex_lock(&e->lock);
    uint64_t needed = model_memory_bytes(e->model);
    pthread_mutex_unlock(&e->lock);
    uint64_t segment = e->options.segment_bytes;
    needed += 2 * (segment != 0 ? segment : SEGMENT_DEFAULT_BYTES);
    uint64_t wanted = e->options.min_free_bytes;
    log_set_min_free(e->log, needed > wanted ? needed : wanted);
}

void keeper_turn(struct engine *e, bool forked) {
    struct keeper *k = &e->keeper;
    if (k->snapshotting || k->compacting)
        return; /* in manual mode, a call of its own */
    keep_snapshot_room(e);
    look_at_memory(e);
    tell_room(e);
    auditor_turn(e);
    pthread_mutex_lock(&k->lock);
    uint64_t ticket = k->snapshots_wanted;
    bool wanted = ticket > k->snapshots_done;
    pthread_mutex_unlock(&k->lock);
    if (wanted || snapshot_due(e))
        take_snapshot(e, ticket, forked);
    keeper_compact(e);
}

static void *keeper_main(void *arg) {
    struct engine *e = arg;
    struct keeper *k = &e->keeper;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping) {
        pthread_mutex_unlock(&k->lock);
        if (!e->held.dead)
            keeper_turn(e, true);
        pthread_mutex_lock(&k->lock);
        if (k->stopping || (k->snapshots_wanted > k->snapshots_done && !e->held.dead))
            continue;
        struct timespec until = engine_timespec(clock_monotonic_ns() + LOOK_EVERY_MS * NS_PER_MS);
        pthread_cond_timedwait(&k->wake, &k->lock, &until);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int keeper_start(struct engine *e) {
    struct keeper *k = &e->keeper;
    if (e->options.manual)
        return 0;
    if (pthread_create(&k->thread, NULL, keeper_main, e) != 0)
        return E_NOMEM;
    k->running = true;
    pthread_setname_np(k->thread, "sluice-keeper");
    return 0;
}

void keeper_stop(struct engine *e) {
    struct keeper *k = &e->keeper;
    if (!k->running)
        return;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    kill_child(k);
    pthread_cond_broadcast(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    pthread_mutex_lock(&k->lock);
    k->running = k->stopping = false;
    pthread_mutex_unlock(&k->lock);
}
