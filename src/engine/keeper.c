/*
 * The housekeeper: one thread that takes snapshots and gives log segments back.
 *
 * A snapshot is written by a forked child: the child has the state of one moment for the price of copying
 * page tables, and the engine goes on at once. The child is nice and pauses between its flushes. The
 * parent publishes the file when the log is durable up to its position (snapshot.c says why).
 *
 * A sealed segment may go when
 *   G1 no live body stands in it, and
 *   G2 its last record is not after the older one of the two kept snapshots (whichever is loaded, replay
 *      does not need the segment).
 * A sealed segment that is covered by the newest snapshot and of which only a small share lives is copied
 * forward: each body is read back, checked, and written again by a MESSAGE_MOVED fact through the
 * same sequencer as everything else. The next two snapshots then let it go.
 */
#include <errno.h>
#include <inttypes.h>
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
#include "engine/internal.h"

#define LOOK_EVERY_MS          250u
#define SNAPSHOT_RETRY_NS      (10 * NS_PER_SECOND)
#define SNAPSHOT_PAUSE_PER_MIB (12 * NS_PER_MS) /* about 60 MiB/s at most */
#define CHILD_NICENESS         10
#define MOVE_AT_ONCE           32u
#define MOVE_ROUNDS            64u /* per look, so that the disk has time for others */
#define SEGMENTS_MAX           4096u
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

/* ---- snapshots ---- */

/* Exit code of the child: the error, positive. */
static int wait_for_child(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return E_IO;
    if (!WIFEXITED(status))
        return E_IO;
    return -WEXITSTATUS(status);
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

/* The state of now, written by a child; *ret_position is what it covers. */
static int write_forked(struct engine *e, uint64_t *ret_position) {
    pthread_mutex_lock(&e->lock);
    uint64_t started_ns = clock_monotonic_ns();
    uint64_t position = e->last_position;
    uint64_t time_ns = e->timekeeper.time_ns;
    pid_t child = fork();
    if (child == 0)
        child_main(e, position, time_ns);
    e->stats.snapshot_fork_ns_last = clock_monotonic_ns() - started_ns;
    pthread_mutex_unlock(&e->lock);
    if (child < 0)
        return E_NOMEM;
    *ret_position = position;
    return wait_for_child(child);
}

static int write_here(struct engine *e, uint64_t *ret_position) {
    pthread_mutex_lock(&e->lock);
    *ret_position = e->last_position;
    int error = snapshot_write(e, e->last_position, e->timekeeper.time_ns, 0);
    pthread_mutex_unlock(&e->lock);
    return error;
}

static int wait_until_durable(struct engine *e, uint64_t position) {
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

int keeper_snapshot(struct engine *e, bool forked) {
    struct keeper *k = &e->keeper;
    struct log_stats before;
    log_stats(e->log, &before);
    uint64_t started_ns = clock_monotonic_ns();
    uint64_t position = 0;
    int error = forked ? write_forked(e, &position) : write_here(e, &position);
    if (error == 0)
        error = wait_until_durable(e, position);
    if (error == 0)
        error = snapshot_publish(e, position);
    if (error != 0) {
        engine_note(e, "snapshot failed: %s; the log keeps everything, starting takes longer",
                    error_text(error));
        return error;
    }
    uint64_t kept[2];
    snapshot_prune(e, kept);
    pthread_mutex_lock(&e->lock);
    memcpy(k->kept_positions, kept, sizeof(kept));
    k->bytes_at_snapshot = before.appended_bytes;
    e->stats.snapshots++;
    e->stats.snapshot_ns_last = clock_monotonic_ns() - started_ns;
    e->stats.snapshot_position = position;
    pthread_mutex_unlock(&e->lock);
    return 0;
}

/* ---- giving segments back ---- */

struct mover {
    uint64_t ids[MOVE_AT_ONCE];
    uint64_t addresses[MOVE_AT_ONCE];
    struct buffer bytes[MOVE_AT_ONCE];
    struct span payloads[MOVE_AT_ONCE];
};

/* Bodies of one segment, read back; those that went meanwhile are left out. Returns how many. */
static uint32_t read_bodies(struct engine *e, uint32_t segment, struct mover *m) {
    pthread_mutex_lock(&e->lock);
    size_t found = model_segment_live_ids(e->model, segment, m->ids, m->addresses, MOVE_AT_ONCE);
    pthread_mutex_unlock(&e->lock);
    uint32_t count = 0;
    for (size_t i = 0; i < found; i++) {
        struct stored_message stored;
        buffer_clear(&m->bytes[i]);
        int error = engine_read_message(e, m->ids[i], m->addresses[i], &m->bytes[i], &stored);
        if (error != 0)
            continue;
        m->ids[count] = m->ids[i];
        m->payloads[count++] = stored.payload;
    }
    return count;
}

/* True when something was moved. */
static bool move_some(struct engine *e, uint32_t segment, struct mover *m) {
    uint32_t count = read_bodies(e, segment, m);
    if (count == 0)
        return false;
    struct request r;
    request_init(&r, REQUEST_MESSAGE_MOVE);
    r.in.move.ids = m->ids;
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

/* What the loop below needs to know of a segment, taken under the engine's lock. */
static uint64_t live_bytes(struct engine *e, uint32_t segment) {
    pthread_mutex_lock(&e->lock);
    uint64_t live = model_segment_live_bytes(e->model, segment);
    pthread_mutex_unlock(&e->lock);
    return live;
}

static uint64_t oldest_kept(const struct keeper *k) {
    return k->kept_positions[1];
}

static bool compact(struct engine *e) {
    struct keeper *k = &e->keeper;
    struct log_segment_info *infos = malloc(SEGMENTS_MAX * sizeof(*infos));
    if (infos == NULL)
        return false;
    size_t count = log_segments(e->log, infos, SEGMENTS_MAX);
    if (count > SEGMENTS_MAX)
        count = SEGMENTS_MAX;
    double share = e->options.compact_live_share;
    bool progress = false;
    for (size_t i = 0; i < count; i++) {
        if (!infos[i].sealed || infos[i].last_position > k->kept_positions[0])
            continue;
        uint64_t live = live_bytes(e, infos[i].number);
        if (live == 0 && infos[i].last_position <= oldest_kept(k)) {
            log_release(e->log, infos[i].number);
            e->stats.released_segments++;
            progress = true;
        } else if (live > 0 && (double)live < share * (double)infos[i].size_bytes &&
                   log_room(e->log) != LOG_ROOM_NONE) {
            copy_forward(e, infos[i].number);
            progress = true;
        }
    }
    free(infos);
    return progress;
}

/* In manual mode the calls that move bodies turn the engine, which comes by here again. */
bool keeper_compact(struct engine *e) {
    struct keeper *k = &e->keeper;
    if (k->compacting)
        return false;
    k->compacting = true;
    bool progress = compact(e);
    k->compacting = false;
    return progress;
}

/* ---- the thread ---- */

static uint64_t bytes_since_snapshot(struct engine *e) {
    struct log_stats stats;
    log_stats(e->log, &stats);
    return stats.appended_bytes - e->keeper.bytes_at_snapshot;
}

static bool snapshot_due(struct engine *e) {
    if (e->keeper.snapshot_wanted)
        return true;
    if (clock_monotonic_ns() < e->keeper.retry_at_ns)
        return false;
    uint64_t bytes = bytes_since_snapshot(e);
    bool pressed = log_room(e->log) != LOG_ROOM_OK && bytes >= SNAPSHOT_MIN_LOG_BYTES;
    return pressed || bytes >= e->options.snapshot_every_bytes;
}

static void take_snapshot(struct engine *e) {
    struct keeper *k = &e->keeper;
    pthread_mutex_lock(&k->lock);
    k->snapshot_wanted = false;
    pthread_mutex_unlock(&k->lock);
    int error = keeper_snapshot(e, true);
    pthread_mutex_lock(&k->lock);
    k->snapshot_result = error;
    k->snapshots_done++;
    if (error != 0)
        k->retry_at_ns = clock_monotonic_ns() + SNAPSHOT_RETRY_NS;
    pthread_cond_broadcast(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

static void *keeper_main(void *arg) {
    struct engine *e = arg;
    struct keeper *k = &e->keeper;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping) {
        pthread_mutex_unlock(&k->lock);
        if (!e->held.dead) {
            if (snapshot_due(e))
                take_snapshot(e);
            keeper_compact(e);
        }
        pthread_mutex_lock(&k->lock);
        if (k->stopping || k->snapshot_wanted)
            continue;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)(LOOK_EVERY_MS * NS_PER_MS);
        if (until.tv_nsec >= (long)NS_PER_SECOND) {
            until.tv_nsec -= (long)NS_PER_SECOND;
            until.tv_sec++;
        }
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
    pthread_cond_broadcast(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    k->running = false;
}
