/*
 * Opening, closing, and the way in. restore.c brings the state back, sequencer.c decides, replies.c lets go,
 * keeper.c keeps house.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/internal.h"
#include "model/destination.h"
#include "model/user.h"

#define QUEUE_MAX_DEFAULT            65536u
#define SNAPSHOT_EVERY_BYTES_DEFAULT (256ull << 20)
#define COMPACT_LIVE_SHARE_DEFAULT   0.3
#define FLUSH_WAIT_NS                (5 * NS_PER_MS)
#define ENDS_WAIT_NS                 (60 * NS_PER_MS) /* more than starts are decided ahead */
#define FLUSH_IN_PLACE_MAX           4u               /* requests */
#define CALL_LOOK_NS                 (50 * NS_PER_MS) /* how soon a waiting call sees that the log died */

/* ---- the way in ---- */

/* Lock held. */
static bool has_work(const struct intake *in) {
    return in->urgent || (in->first != NULL && !in->ends_wait);
}

/* Signalled after the lock was given back: else whoever wakes only waits for it. */
static void intake_push(struct intake *in, struct engine_request *first,
                        struct engine_request *last) {
    pthread_mutex_lock(&in->lock);
    last->next = NULL;
    if (in->last != NULL)
        in->last->next = first;
    else
        in->first = first;
    in->last = last;
    in->urgent = in->urgent || !first->port->may_wait;
    bool wake = in->sleeping && has_work(in);
    pthread_mutex_unlock(&in->lock);
    if (wake)
        pthread_cond_signal(&in->wake);
}

static struct engine_request *intake_take(struct intake *in) {
    pthread_mutex_lock(&in->lock);
    struct engine_request *first = in->first;
    in->first = in->last = NULL;
    in->nudged = in->urgent = false;
    pthread_mutex_unlock(&in->lock);
    return first;
}

static void nudge(struct engine *e) {
    struct intake *in = &e->intake;
    pthread_mutex_lock(&in->lock);
    in->nudged = true;
    if (in->sleeping)
        pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->lock);
}

/* Lock held. */
static uint64_t or_flush_by(const struct engine *e, uint64_t wake_ns) {
    return e->flush_by_ns != 0 && e->flush_by_ns < wake_ns ? e->flush_by_ns : wake_ns;
}

/* Nothing that was handed to it is undecided: else what is decided in place could overtake it. */
static bool engine_sleeps(struct engine *e) {
    struct intake *in = &e->intake;
    pthread_mutex_lock(&in->lock);
    bool sleeps = in->sleeping && in->first == NULL && !in->nudged && !in->stopping;
    pthread_mutex_unlock(&in->lock);
    return sleeps;
}

/*
 * Whether what this turn appended has to be flushed now, or may wait for another flush: acknowledgements go with the
 * next publish. Lock held.
 */
static bool flush_now(struct engine *e, bool may_wait) {
    uint64_t now_ns = engine_monotonic_ns(e);
    if (may_wait && e->flush_by_ns == 0)
        e->flush_by_ns = now_ns + FLUSH_WAIT_NS;
    bool now = !may_wait || e->flush_due || now_ns >= e->flush_by_ns;
    if (now)
        e->flush_by_ns = 0;
    e->flush_due = false;
    return now;
}

static void flush(struct engine *e, bool in_place) {
    if (!in_place || log_flush(e->log) == E_BUSY)
        log_commit(e->log);
}

/* Whether nobody but these waits for the disk, and they are few: then a flush here saves two thread switches. */
static bool are_alone(struct engine *e, uint32_t count, uint32_t patient) {
    uint64_t waiting = atomic_load(&e->waiting) - atomic_load(&e->patient);
    return count <= FLUSH_IN_PLACE_MAX && waiting <= count - patient;
}

/*
 * Decided in the thread that brings it. False: the engine thread is at work; queue it. The lock is given back before
 * the flush, so that others can decide behind it.
 */
static bool work_in_place(struct engine *e, struct engine_request *first,
                          struct engine_request *last, uint32_t count, uint32_t patient) {
    if (!engine_sleeps(e) || pthread_mutex_trylock(&e->lock) != 0)
        return false;
    bool alone = are_alone(e, count, patient);
    last->next = NULL;
    sequencer_work(e, first);
    e->stats.in_place += count;
    bool due = flush_now(e, patient == count);
    /* Compared under the lock: the engine thread stores its plan there too. */
    bool earlier = or_flush_by(e, sequencer_next_wake_ns(e)) < e->planned_wake_ns;
    pthread_mutex_unlock(&e->lock);
    if (earlier)
        nudge(e);
    if (due)
        flush(e, alone);
    return true;
}

static bool may_be_in_place(const struct engine *e, const struct engine_port *port,
                            uint32_t count) {
    if (!e->options.in_place || e->options.manual || port->never_in_place)
        return false;
    return port->chains_in_place || (count == 1 && atomic_load(&e->waiting) == 1);
}

static int submit(struct engine *e, struct engine_request *first, struct engine_request *last,
                  uint32_t count) {
    if (!atomic_load(&e->accepting))
        return e->held.dead ? E_IO : E_CLOSED;
    uint64_t before = atomic_fetch_add(&e->waiting, count);
    if (before + count > e->options.queue_max) {
        atomic_fetch_sub(&e->waiting, count);
        return E_BUSY;
    }
    uint64_t now_ns = engine_monotonic_ns(e);
    uint32_t patient = 0;
    for (struct engine_request *q = first;; q = q->next) {
        q->submitted_ns = now_ns;
        patient += engine_is_patient(q);
        if (q == last)
            break;
    }
    if (patient > 0)
        atomic_fetch_add(&e->patient, patient);
    if (!may_be_in_place(e, first->port, count) || !work_in_place(e, first, last, count, patient))
        intake_push(&e->intake, first, last);
    return 0;
}

/* Counted, so that engine_stop answers also those of a thread that came in just before. */
int engine_submit(struct engine *e, struct engine_request *first, struct engine_request *last,
                  uint32_t count) {
    atomic_fetch_add(&e->inside, 1);
    int error = submit(e, first, last, count);
    atomic_fetch_sub(&e->inside, 1);
    return error;
}

/* ---- the engine thread ---- */

/* Sleeps until there is a request, a nudge, the planned time, or the end. False: the end. */
static bool wait_for_work(struct engine *e, uint64_t wake_ns, bool ends_wait) {
    struct intake *in = &e->intake;
    struct timespec until = engine_timespec(wake_ns);
    pthread_mutex_lock(&in->lock);
    in->sleeping = true;
    in->ends_wait = ends_wait;
    while (!has_work(in) && !in->nudged && !in->stopping) {
        if (wake_ns == UINT64_MAX)
            pthread_cond_wait(&in->wake, &in->lock);
        else if (pthread_cond_timedwait(&in->wake, &in->lock, &until) == ETIMEDOUT)
            break;
    }
    in->sleeping = false;
    bool more = in->first != NULL || !in->stopping;
    pthread_mutex_unlock(&in->lock);
    return more;
}

/* Without a request: what waits already goes on waiting. Starts and timers flush by themselves. */
static bool all_may_wait(const struct engine *e, const struct engine_request *first) {
    const struct engine_request *q = first;
    while (q != NULL && engine_is_patient(q))
        q = q->next;
    return first != NULL ? q == NULL : e->flush_by_ns != 0;
}

/*
 * At 500 paced attempts a second the machine is woken for each few of them, and being woken is what they cost. So where
 * no end lets anything begin, ends wait for the next starts and are flushed with them, by this thread, since nobody
 * would use the time of the flush.
 */
static bool ends_may_wait(struct engine *e, uint64_t wake_ns) {
    uint64_t now_ns = engine_monotonic_ns(e);
    return wake_ns < now_ns + ENDS_WAIT_NS && !model_end_is_awaited(e->model, engine_now_ns(e));
}

static void *engine_main(void *arg) {
    struct engine *e = arg;
    /* Starts are paced to fractions of a millisecond; the default slack of 50 us would show. */
    prctl(PR_SET_TIMERSLACK, 1000);
    for (;;) {
        struct engine_request *first = intake_take(&e->intake);
        pthread_mutex_lock(&e->lock);
        bool may_wait = all_may_wait(e, first); /* the chain is others' once it is decided */
        sequencer_work(e, first);
        uint64_t wake_ns = e->broken ? UINT64_MAX : sequencer_next_wake_ns(e);
        bool ends_wait = !e->broken && ends_may_wait(e, wake_ns);
        bool due = flush_now(e, may_wait);
        wake_ns = e->planned_wake_ns = or_flush_by(e, wake_ns);
        pthread_mutex_unlock(&e->lock);
        if (due)
            flush(e, ends_wait && (first == NULL || may_wait));
        if (!wait_for_work(e, wake_ns, ends_wait))
            return NULL;
    }
}

void engine_decide(struct engine *e) {
    struct engine_request *first = intake_take(&e->intake);
    pthread_mutex_lock(&e->lock);
    sequencer_work(e, first);
    pthread_mutex_unlock(&e->lock);
}

void engine_turn(struct engine *e) {
    engine_decide(e);
    if (log_flush(e->log) == 0 && !e->held.dead)
        keeper_turn(e, false);
}

/* ---- opening ---- */

static uint64_t or_default(uint64_t value, uint64_t fallback) {
    return value != 0 ? value : fallback;
}

static int create(const struct engine_options *options, struct engine **ret) {
    struct engine *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return E_NOMEM;
    e->options = *options;
    e->files = options->files != NULL ? options->files : &file_ops_system;
    e->directory = strdup(options->directory);
    if (e->directory == NULL || held_init(&e->held) != 0) {
        free(e->directory);
        free(e);
        return E_NOMEM;
    }
    e->options.directory = e->directory;
    e->options.queue_max = (uint32_t)or_default(options->queue_max, QUEUE_MAX_DEFAULT);
    e->options.snapshot_every_bytes =
        or_default(options->snapshot_every_bytes, SNAPSHOT_EVERY_BYTES_DEFAULT);
    if (e->options.compact_live_share == 0)
        e->options.compact_live_share = COMPACT_LIVE_SHARE_DEFAULT;
    buffer_init(&e->facts, FACTS_MAX_BYTES);
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->intake.lock, NULL);
    pthread_mutex_init(&e->keeper.lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->intake.wake, &monotonic);
    pthread_cond_init(&e->keeper.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    uint64_t seed = 1;
    if (!options->manual && getentropy(&seed, sizeof seed) != 0)
        seed = clock_real_ns() ^ clock_monotonic_ns() << 20;
    rng_init(&e->random, seed);
    e->hash_key = (struct hash_key){rng_next(&e->random), rng_next(&e->random)};
    e->planned_wake_ns = UINT64_MAX;
    *ret = e;
    return 0;
}

void engine_free(struct engine *e) {
    if (e->log != NULL)
        log_close(e->log);
    model_free(e->model);
    held_release(&e->held);
    buffer_release(&e->facts);
    pthread_cond_destroy(&e->intake.wake);
    pthread_cond_destroy(&e->keeper.wake);
    pthread_mutex_destroy(&e->intake.lock);
    pthread_mutex_destroy(&e->keeper.lock);
    pthread_mutex_destroy(&e->lock);
    free(e->directory);
    free(e);
}

static int start_threads(struct engine *e) {
    if (e->options.manual)
        return 0;
    if (pthread_create(&e->thread, NULL, engine_main, e) != 0)
        return E_NOMEM;
    e->thread_runs = true;
    pthread_setname_np(e->thread, "sluice-engine");
    int error = keeper_start(e);
    return error != 0 ? error : checker_start(e);
}

int engine_open(const struct engine_options *options, struct engine_recovery *ret_recovery,
                char error_text[512], struct engine **ret_engine) {
    uint64_t started_ns = clock_monotonic_ns();
    struct engine *e;
    *ret_recovery = (struct engine_recovery){0};
    error_text[0] = '\0';
    int error = create(options, &e);
    if (error != 0)
        return error;
    error = restore_engine(e, ret_recovery, error_text);
    if (error == 0) {
        atomic_store(&e->accepting, true);
        error = start_threads(e);
    }
    if (error != 0) {
        engine_close(e, false);
        return error;
    }
    ret_recovery->duration_ns = clock_monotonic_ns() - started_ns;
    *ret_engine = e;
    return 0;
}

/* ---- closing ---- */

static void stop_engine_thread(struct engine *e) {
    if (!e->thread_runs)
        return;
    pthread_mutex_lock(&e->intake.lock);
    e->intake.stopping = true;
    pthread_cond_signal(&e->intake.wake);
    pthread_mutex_unlock(&e->intake.lock);
    pthread_join(e->thread, NULL);
    e->thread_runs = false;
}

/*
 * Everything that was submitted is answered when the log has flushed it; also what a thread pushed just
 * after the engine thread had looked for the last time.
 */
static void drain(struct engine *e) {
    while (atomic_load(&e->waiting) > 0 && !e->held.dead) {
        if (e->options.manual) {
            engine_turn(e);
        } else {
            struct engine_request *late = intake_take(&e->intake);
            pthread_mutex_lock(&e->lock);
            sequencer_work(e, late);
            pthread_mutex_unlock(&e->lock);
            log_commit(e->log);
            replies_wait_progress(e, log_durable_position(e->log));
        }
    }
}

void engine_hold_starts(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    e->starts_held = true;
    pthread_mutex_unlock(&e->lock);
    while (replies_starts_wait(e)) {
        log_commit(e->log);
        replies_wait_progress(e, log_durable_position(e->log));
    }
}

void engine_stop(struct engine *e, bool snapshot) {
    bool whole = atomic_exchange(&e->accepting, false);
    checker_stop(e);
    keeper_stop(e);
    stop_engine_thread(e);
    while (atomic_load(&e->inside) > 0)
        sched_yield();
    if (whole)
        drain(e);
    auditor_close(e, whole); /* of a state that was replayed in part nothing is written */
    if (whole && snapshot && !e->held.dead && keeper_snapshot(e, false) == 0)
        keeper_compact(e); /* what it may give back; nothing can be moved any more */
}

void engine_close(struct engine *e, bool snapshot) {
    engine_stop(e, snapshot);
    engine_free(e);
}

/* ---- calls from outside the loops ---- */

struct call {
    struct engine_port port;
    struct engine_request request;
    pthread_mutex_t lock;
    pthread_cond_t done_wake;
    bool done;
};

static void call_deliver(struct engine_port *port, struct engine_request *first,
                         struct engine_request *last) {
    (void)first;
    (void)last;
    struct call *c = CONTAINER_OF(port, struct call, port);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->done_wake);
    pthread_mutex_unlock(&c->lock);
}

/* A dead log answers nothing: then the request is taken back from where it would wait for ever. */
static void call_wait(struct engine *e, struct call *c) {
    if (e->options.manual) {
        while (!c->done && !(e->held.dead && replies_withdraw(e, &c->request)))
            engine_turn(e);
        return;
    }
    pthread_mutex_lock(&c->lock);
    while (!c->done) {
        pthread_mutex_unlock(&c->lock);
        bool withdrawn = e->held.dead && replies_withdraw(e, &c->request);
        pthread_mutex_lock(&c->lock);
        if (withdrawn)
            break;
        struct timespec until = engine_timespec(clock_monotonic_ns() + CALL_LOOK_NS);
        pthread_cond_timedwait(&c->done_wake, &c->lock, &until);
    }
    pthread_mutex_unlock(&c->lock);
}

static void call_init(struct call *c, const struct request *r) {
    *c = (struct call){.port = {.deliver = call_deliver}};
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->done_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->request.r = *r;
    c->request.port = &c->port;
}

static void call_release(struct call *c) {
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->done_wake);
}

int engine_call(struct engine *e, struct request *r) {
    struct call c;
    call_init(&c, r);
    int error = engine_submit(e, &c.request, &c.request, 1);
    if (error == 0) {
        call_wait(e, &c);
        *r = c.request.r;
        if (!c.done)
            error = E_IO;
    }
    call_release(&c);
    return error;
}

int engine_call_at_end(struct engine *e, struct request *r) {
    struct call c;
    call_init(&c, r);
    atomic_fetch_add(&e->waiting, 1);
    pthread_mutex_lock(&e->lock);
    sequencer_work(e, &c.request);
    pthread_mutex_unlock(&e->lock);
    drain(e);
    /* Who delivers the answer counts it before: it may be about to write into `c`. */
    call_wait(e, &c);
    *r = c.request.r;
    int error = c.done ? 0 : E_IO;
    call_release(&c);
    return error;
}

int engine_read_message(struct engine *e, uint64_t id, uint64_t address, struct buffer *bytes,
                        struct stored_message *ret) {
    struct record record;
    int error = log_read(e->log, address, bytes, &record);
    if (error != 0)
        return error;
    return stored_message_find(record.facts, id, ret);
}

int engine_read_message_ahead(struct engine *e, uint64_t id, uint64_t address,
                              struct log_ahead *ahead, struct stored_message *ret) {
    struct record record;
    int error = log_read_ahead(e->log, ahead, address, &record);
    if (error != 0)
        return error;
    return stored_message_find(record.facts, id, ret);
}

int engine_copy_message_ahead(struct engine *e, uint64_t id, uint64_t address,
                              struct log_ahead *ahead, struct buffer *bytes,
                              struct stored_message *ret) {
    struct record record;
    int error = log_read_ahead(e->log, ahead, address, &record);
    if (error == 0)
        error = buffer_append_span(bytes, record.facts);
    return error != 0 ? error : stored_message_find(buffer_span(bytes), id, ret);
}

int engine_destination(struct engine *e, uint32_t destination, uint32_t *ret_generation,
                       struct buffer *ret_definition) {
    pthread_mutex_lock(&e->lock);
    bool found = destination_snapshot(e->model, destination, ret_generation, ret_definition);
    pthread_mutex_unlock(&e->lock);
    return found ? 0 : E_NOT_FOUND;
}

bool engine_checked_destinations(struct engine *e, uint32_t *version, struct buffer *ret) {
    pthread_mutex_lock(&e->lock);
    bool changed = destination_checked(e->model, version, ret);
    pthread_mutex_unlock(&e->lock);
    return changed;
}

uint64_t engine_folder_id(const struct engine *e) {
    return log_folder_id(e->log);
}

bool engine_is_short_of_memory(const struct engine *e) {
    return atomic_load_explicit(&e->short_of_memory, memory_order_relaxed);
}

enum log_room engine_room(const struct engine *e) {
    return log_room(e->log);
}

uint64_t engine_access_generation(const struct engine *e) {
    return user_generation(e->model);
}

int engine_snapshot(struct engine *e) {
    struct keeper *k = &e->keeper;
    if (e->options.manual)
        return keeper_snapshot(e, false);
    pthread_mutex_lock(&k->lock);
    /* One that is being written now began before this call and answers only tickets given before it. */
    uint64_t ticket = ++k->snapshots_wanted;
    pthread_cond_broadcast(&k->wake);
    while (k->snapshots_done < ticket && k->running && !k->stopping && !e->held.dead) {
        struct timespec until = engine_timespec(clock_monotonic_ns() + CALL_LOOK_NS);
        pthread_cond_timedwait(&k->wake, &k->lock, &until);
    }
    int error = k->snapshots_done >= ticket ? k->snapshot_result : e->held.dead ? E_IO : E_CLOSED;
    pthread_mutex_unlock(&k->lock);
    return error;
}

void engine_stats(struct engine *e, struct engine_stats *ret) {
    pthread_mutex_lock(&e->lock);
    *ret = e->stats;
    ret->memory_bytes = model_memory_bytes(e->model);
    pthread_mutex_unlock(&e->lock);
    ret->answered = ret->refused[REFUSAL_NONE];
    ret->damaged = atomic_load(&e->checker.damaged);
    ret->waiting = atomic_load(&e->waiting);
    ret->next_position = log_next_position(e->log);
    ret->durable_position = log_durable_position(e->log);
    log_stats(e->log, &ret->log);
}
