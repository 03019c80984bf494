/*
 * The loop of dispatch. Each turn, after what was ready on the sockets has been handled and before the
 * loop waits again:
 *
 *      inbox -> early, until their turn -> waiting -> launch, as connections and memory allow -> submit what has ended
 *
 * so all ends of a turn reach the engine as one chain, and a place that became free is filled in the
 * same turn. A start that cannot be launched now stays in line: its time-out begins when it leaves.
 */
#include "dispatch/batch.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"

#define CONNECTIONS_DEFAULT 1024u
#define RESPONSE_DEFAULT    (64u << 10)
#define LAUNCHES_A_TURN     256u /* then the sockets are looked at again */
#define RETRY_TICK_MS       1u
#define STOP_TICK_MS        5u

/* ---- starts ---- */

bool starts_put(struct starts *s, const struct attempt_start *start) {
    if (s->count == s->capacity) {
        uint32_t capacity = s->capacity == 0 ? 256 : s->capacity * 2;
        struct attempt_start *items = malloc(capacity * sizeof *items);
        if (items == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < s->count; i++) {
            attempt_start_copy(&items[i], &s->items[(s->first + i) % s->capacity]);
        }
        free(s->items);
        *s = (struct starts){.items = items, .count = s->count, .capacity = capacity};
    }
    attempt_start_copy(&s->items[(s->first + s->count++) % s->capacity], start);
    return true;
}

static void starts_drop_first(struct starts *s) {
    assert(s->count > 0);
    s->count--;
    s->first =
        s->count == 0 ? 0 : (s->first + 1) % s->capacity; /* mostly the cells that are warm */
}

/* Lock held. */
static void wake(struct dispatch *d) {
    if (d->running && !early_rouse(&d->early)) {
        uv_async_send(&d->wake);
    }
}

void dispatch_wake(struct dispatch *d) {
    pthread_mutex_lock(&d->lock);
    wake(d);
    pthread_mutex_unlock(&d->lock);
}

void dispatch_start(struct dispatch *d, const struct attempt_start *starts, size_t count) {
    uint64_t lost = 0;
    bool may_wait = true;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < count; i++) {
        may_wait = may_wait && early_may_wait(&d->early, &starts[i]);
        if (d->closed || !starts_put(&d->inbox, &starts[i])) {
            lost += 1 + starts[i].item_count;
            free(starts[i].items);
        }
    }
    if (!may_wait) {
        wake(d);
    }
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&d->abandoned, lost); /* known again, as unknown outcomes, at the next start */
}

/* ---- a turn of the loop ---- */

static void take_inbox(struct dispatch *d, uint64_t now_ns) {
    pthread_mutex_lock(&d->lock);
    bool all = true;
    while (d->inbox.count > 0 && all) {
        const struct attempt_start *start = &d->inbox.items[d->inbox.first];
        all = start_turn_ns(start) > now_ns ? early_put(&d->early, start)
                                            : starts_put(&d->waiting, start);
        if (all) {
            starts_drop_first(&d->inbox);
        }
    }
    d->stopping = d->stop_wanted;
    d->early.roused = false; /* whatever it was, the rest of the turn sees it */
    pthread_mutex_unlock(&d->lock);
}

/* Those whose turn it is get in line. Without memory for that they keep their place. */
static void take_early(struct dispatch *d, uint64_t now_ns) {
    const struct attempt_start *start;
    while ((start = early_first(&d->early)) != NULL && start_turn_ns(start) <= now_ns &&
           starts_put(&d->waiting, start)) {
        early_drop_first(&d->early);
    }
}

/* Whether it waits again, as if its turn came later. Without memory for that it leaves. */
static bool put_off(struct dispatch *d, struct target *t, struct attempt_start *start) {
    uint64_t now_ns = clock_monotonic_ns(), leaves_ns = target_leaves_ns(t, start, now_ns);
    if (leaves_ns == now_ns) {
        return false;
    }
    start->ahead_ns = leaves_ns - start->decided_ns;
    start->put_off = true;
    return early_put(&d->early, start);
}

static void launch_first(struct dispatch *d, struct report *r) {
    struct attempt_start start;
    attempt_start_copy(&start, &d->waiting.items[d->waiting.first]);
    starts_drop_first(&d->waiting);
    struct target *t;
    int rc = target_get(d, &start, &t);
    if (rc == 0 && put_off(d, t, &start)) {
        target_unref(t);
        report_give_back(&d->reports, r);
        return;
    }
    atomic_fetch_add(&d->started, 1);
    if (rc == 0) {
        call_launch(d, t, r, &start);
        return;
    }
    struct attempt_finish f = {.error = ATTEMPT_UNKNOWN, .retriable = true};
    atomic_fetch_add(&d->failed, 1);
    report_end(&d->reports, r, &start, &f);
    batch_end_joined(d, &start, &f);
}

static bool has_room(const struct dispatch *d) {
    return d->under_way_count < d->options.connections_max &&
           d->under_way_bytes < BODIES_UNDER_WAY_MAX;
}

static void tick_in(struct dispatch *d, uint64_t ms);

/* Returns whether more could be launched at once. */
static bool launch_waiting(struct dispatch *d) {
    uint32_t launched = 0;
    while (d->waiting.count > 0 && has_room(d) && launched < LAUNCHES_A_TURN) {
        struct report *r = report_take(&d->reports);
        if (r == NULL) {
            tick_in(d, RETRY_TICK_MS);
            break;
        }
        launch_first(d, r);
        launched++;
    }
    if (launched > 0) {
        transport_kick(&d->transport);
    }
    return launched == LAUNCHES_A_TURN && d->waiting.count > 0 && has_room(d);
}

static void on_tick(uv_timer_t *tick) {
    (void)tick; /* what is to be tried again is tried before the loop waits */
}

static void tick_in(struct dispatch *d, uint64_t ms) {
    uv_timer_start(&d->tick, on_tick, ms, 0);
}

static void abandon(struct dispatch *d, struct starts *starts) {
    atomic_fetch_add(&d->abandoned, starts->count);
    while (starts->count > 0) {
        free(starts->items[starts->first].items);
        starts_drop_first(starts);
    }
}

static void abandon_early(struct dispatch *d) {
    const struct attempt_start *start;
    while ((start = early_first(&d->early)) != NULL) {
        atomic_fetch_add(&d->abandoned, 1);
        free(start->items);
        early_drop_first(&d->early);
    }
}

static void abandon_under_way(struct dispatch *d) {
    struct list_node *n;
    while ((n = list_first(&d->under_way)) != NULL) {
        call_abandon(CONTAINER_OF(n, struct call, node));
    }
    while ((n = list_first(&d->asking)) != NULL) {
        token_abandon(CONTAINER_OF(n, struct token, asking));
    }
}

static void close_own_handles(struct dispatch *d) {
    pthread_mutex_lock(&d->lock);
    d->running = false; /* nobody wakes the loop any more */
    d->closed = true;
    uv_close((uv_handle_t *)&d->wake, NULL);
    pthread_mutex_unlock(&d->lock);
    uv_close((uv_handle_t *)&d->tick, NULL);
    early_close(&d->early);
    uv_close((uv_handle_t *)&d->before_wait, NULL);
}

static void close_handles(struct dispatch *d) {
    close_own_handles(d);
    checks_stop(&d->checks);
    targets_release(&d->targets);
    plains_release(&d->plains);
    transport_release(&d->transport);
}

/*
 * Ends the loop when all is told, or the grace is over. What was decided ahead still leaves in its turn: it is only ms
 * away. What finds no connection then is given up: one that began late in the grace would be cut off half done.
 */
static bool try_to_stop(struct dispatch *d) {
    if (!has_room(d)) {
        abandon(d, &d->waiting);
    }
    bool idle = d->waiting.count == 0 && d->early.turns.count == 0 && d->under_way_count == 0;
    if ((!idle || reports_pending(&d->reports)) && clock_monotonic_ns() < d->give_up_ns) {
        tick_in(d, STOP_TICK_MS);
        return false;
    }
    abandon_under_way(d);
    close_handles(d);
    abandon(d, &d->inbox);
    abandon(d, &d->waiting);
    abandon_early(d);
    return true;
}

static void before_wait(uv_prepare_t *prepare) {
    struct dispatch *d = prepare->data;
    uint64_t now_ns = clock_monotonic_ns();
    take_inbox(d, now_ns);
    take_early(d, now_ns);
    if (launch_waiting(d)) {
        dispatch_wake(d);
    }
    calls_go_on(d, now_ns);
    reports_submit(&d->reports, d->engine);
    if (d->stopping && try_to_stop(d)) {
        return;
    }
    if (d->reports.wait || !list_empty(&d->lines)) {
        tick_in(d, RETRY_TICK_MS);
    }
    atomic_store(&d->under_way_shown, d->under_way_count + d->waiting.count + d->early.turns.count);
    bool nap = !d->stopping && d->impatient_count == 0 && d->waiting.count == 0 &&
               !d->reports.wait && list_empty(&d->lines) && transport_is_silent(&d->transport) &&
               plains_are_silent(&d->plains);
    early_wait(&d->early, &d->lock, nap);
    plains_look_follows(&d->plains, clock_monotonic_ns());
}

static void on_wake(uv_async_t *wake) {
    (void)wake; /* before_wait does the work */
}

static void *run(void *context) {
    struct dispatch *d = context;
    prctl(PR_SET_TIMERSLACK, 1000); /* turns are fractions of a millisecond apart */
    uv_run(&d->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- life ---- */

static void global_init(void) {
    CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
    assert(rc == CURLE_OK);
}

static uint64_t random_seed(void) {
    uint64_t seed = clock_real_ns();
    ssize_t size = getrandom(&seed, sizeof seed, 0);
    assert(size == (ssize_t)sizeof seed);
    return seed;
}

/* For transport_done. */
static void handle_done(void *context, CURL *easy, CURLcode result) {
    void *handle = NULL;
    (void)context;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&handle);
    assert(handle != NULL);
    const enum handle_kind *kind = handle;
    if (*kind == HANDLE_TOKEN) {
        token_done(handle, result);
    } else if (*kind == HANDLE_CHECK) {
        check_done(handle, result);
    } else {
        call_curl_done(handle, result);
    }
}

static int init_loop(struct dispatch *d) {
    if (uv_loop_init(&d->loop) != 0) {
        return E_IO;
    }
    if (uv_async_init(&d->loop, &d->wake, on_wake) != 0) {
        uv_loop_close(&d->loop);
        return E_IO;
    }
    uv_prepare_init(&d->loop, &d->before_wait); /* these two cannot fail */
    uv_timer_init(&d->loop, &d->tick);
    early_init(&d->early, &d->loop);
    d->before_wait.data = d;
    int rc = transport_init(&d->transport, &d->loop, d->options.connections_max, handle_done, d);
    checks_init(&d->checks, d);
    if (rc == 0 && (rc = plains_init(&d->plains, &d->transport)) != 0) {
        transport_release(&d->transport);
    }
    if (rc != 0) {
        checks_stop(&d->checks);
        close_own_handles(d);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        uv_loop_close(&d->loop);
    }
    return rc;
}

static void set_options(struct dispatch *d, const struct dispatch_options *options) {
    d->options = *options;
    if (d->options.connections_max == 0) {
        d->options.connections_max = CONNECTIONS_DEFAULT;
    }
    if (d->options.responses_max_bytes == 0) {
        d->options.responses_max_bytes = RESPONSE_DEFAULT;
    }
}

int dispatch_create(const struct dispatch_options *options, struct dispatch **ret) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    struct dispatch *d = calloc(1, sizeof *d);
    if (d == NULL) {
        return E_NOMEM;
    }
    set_options(d, options);
    log_ahead_init(&d->bodies);
    list_init(&d->under_way);
    list_init(&d->idle);
    list_init(&d->asking);
    list_init(&d->lines);
    rng_init(&d->random, random_seed());
    pthread_mutex_init(&d->lock, NULL);
    d->user_agent = strdup(options->user_agent != NULL ? options->user_agent : "sluice");
    int rc = d->user_agent == NULL ? E_NOMEM : 0;
    if (rc == 0) {
        rc = reports_init(&d->reports, d);
    }
    if (rc == 0) {
        rc = init_loop(d);
    }
    if (rc != 0) {
        free(d->user_agent);
        free(d);
        return rc;
    }
    *ret = d;
    return 0;
}

int dispatch_run(struct dispatch *d, struct engine *engine) {
    sigset_t all, before;
    d->engine = engine;
    uv_prepare_start(&d->before_wait, before_wait);
    checks_start(&d->checks);
    pthread_mutex_lock(&d->lock);
    d->running = true;
    pthread_mutex_unlock(&d->lock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the main thread */
    int rc = pthread_create(&d->thread, NULL, run, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        d->running = false;
        return E_NOMEM;
    }
    pthread_setname_np(d->thread, "dispatch");
    dispatch_wake(d);
    return 0;
}

void dispatch_stop(struct dispatch *d, uint32_t grace_ms) {
    pthread_mutex_lock(&d->lock);
    bool runs = d->running;
    d->stop_wanted = true;
    d->give_up_ns = clock_monotonic_ns() + grace_ms * NS_PER_MS;
    pthread_mutex_unlock(&d->lock);
    if (runs) {
        dispatch_wake(d);
        pthread_join(d->thread, NULL);
    }
}

void dispatch_free(struct dispatch *d) {
    if (d == NULL) {
        return;
    }
    if (!uv_is_closing((uv_handle_t *)&d->wake)) { /* it never ran */
        close_handles(d);
        uv_run(&d->loop, UV_RUN_DEFAULT);
    }
    int rc = uv_loop_close(&d->loop);
    assert(rc == 0);
    reports_release(&d->reports);
    free(d->inbox.items);
    free(d->waiting.items);
    early_release(&d->early);
    log_ahead_release(&d->bodies);
    pthread_mutex_destroy(&d->lock);
    free(d->user_agent);
    free(d);
}

void dispatch_stats(const struct dispatch *d, struct dispatch_stats *ret) {
    *ret = (struct dispatch_stats){
        .started = atomic_load(&d->started),
        .succeeded = atomic_load(&d->succeeded),
        .failed = atomic_load(&d->failed),
        .timeouts = atomic_load(&d->timeouts),
        .abandoned = atomic_load(&d->abandoned),
        .under_way = atomic_load(&d->under_way_shown),
        .connections_opened = atomic_load(&d->connections_opened),
    };
}
