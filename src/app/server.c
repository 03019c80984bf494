/*
 * The order of things:
 *
 *   start   signals blocked -> doorman (takes them, and answers "starting") -> dispatch (takes starts, makes none)
 *           -> engine (recovers) -> definitions -> the doorman goes -> loops and listeners -> dispatch runs -> "serving"
 *   stop    signal -> listeners stop, requests under way finish -> engine starts no more attempts -> dispatch
 *           gets a grace -> engine answers the rest, flushes, snapshots -> connections that are left are cut
 *           off, on all loops, and what is between loops arrives -> loops end -> everything is freed
 *
 * A dead log (server_failed) ends the process from whichever thread found out: nothing that was not
 * answered may be answered any more, so there is nothing left to do in order.
 */
#include "app/server.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "amqp/bridge.h"
#include "api/api.h"
#include "app/audit_note.h"
#include "app/doorman.h"
#include "app/handles.h"
#include "app/harden.h"
#include "base/error.h"
#include "base/huge.h"
#include "base/logline.h"
#include "dispatch/dispatch.h"
#include "manage/manage.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/tls.h"

#define IO_THREADS_MAX     64u
#define DISPATCH_GRACE_MS  5000u
#define HTTP_STOP_GRACE_MS 10000u

#define DISPATCH_CONNECTIONS 1024u /* the default of dispatch */

/* One listener on one thread: one of both. */
struct doorway {
    struct http_server *http;
    struct amqp_server *amqp;
};

struct io_thread {
    struct net_loop *loop;    /* owns */
    struct api_loop *api;     /* owns */
    struct amqp_bridge *amqp; /* owns */
    struct doorway *doorways; /* owns; one per listener, and what is in them */
    size_t doorway_count;
    bool runs;
    struct net_item step; /* of the stop */
    struct server *server;
};

struct server {
    const struct server_options *options;
    struct handles_share share;
    struct auth *auth;                                 /* owns */
    struct dispatch *dispatch;                         /* owns */
    struct amqp_hub *amqp;                             /* owns */
    struct engine *engine;                             /* owns */
    struct engine_progress progress;                   /* of its start */
    struct manager *manager;                           /* owns */
    struct manage_listener listeners[API_SERVERS_MAX]; /* as the management API tells of them */
    struct tls_context *tls[API_SERVERS_MAX];          /* owns; by listener, NULL: plain */
    struct api *api;                                   /* owns */
    struct io_thread *threads;                         /* owns */
    uint32_t thread_count;

    pthread_mutex_t lock; /* guards these */
    pthread_cond_t closed;
    size_t open_servers;
    uint32_t uncut_threads; /* with connections */
};

/* ---- callbacks of the engine ---- */

static void server_starts(void *context, const struct attempt_start *starts, size_t count) {
    struct server *s = context;
    dispatch_start(s->dispatch, starts, count);
}

static void server_deliveries(void *context, struct delivery_batch *first) {
    struct server *s = context;
    amqp_hub_deliver(s->amqp, first);
}

static void server_room(void *context, enum log_room room, bool short_of_memory) {
    struct server *s = context;
    amqp_hub_room(s->amqp, room, short_of_memory);
}

static void server_failed(void *context, const char *message) {
    (void)context;
    struct logline line;
    logline_begin(&line, LOGLINE_ERROR, "the log failed, ending");
    logline_text(&line, "reason", message);
    logline_text(&line, "todo",
                 "nothing unanswered was promised; check the disk, then start again");
    logline_end(&line);
    _exit(EXIT_LOG_FAILED);
}

static void server_note(void *context, const char *message) {
    (void)context;
    logline_event(LOGLINE_WARN, message);
}

/* ---- start ---- */

static void log_recovery_line(const struct engine_recovery *r) {
    struct logline line;
    bool cut = r->log.report[0] != '\0';
    logline_begin(&line, cut ? LOGLINE_WARN : LOGLINE_INFO, "recovered");
    logline_u64(&line, "next_position", r->log.next_position);
    logline_u64(&line, "snapshot_position", r->snapshot_position);
    logline_u64(&line, "replayed", r->replayed_records);
    logline_u64(&line, "segments", r->log.segments);
    logline_u64(&line, "unknown_attempts", r->unknown_attempts);
    logline_duration(&line, "took", r->duration_ns);
    if (cut)
        logline_text(&line, "report", r->log.report);
    logline_end(&line);
}

static int start_failed(const char *what, const char *reason) {
    struct logline line;
    logline_begin(&line, LOGLINE_ERROR, what);
    logline_text(&line, "reason", reason);
    logline_end(&line);
    return EXIT_START_FAILED;
}

static int start_engine(struct server *s) {
    const struct server_options *o = s->options;
    struct dispatch_options dispatch_options = {
        .user_agent = "sluice",
        .connections_max = s->share.dispatch,
    };
    int error = dispatch_create(&dispatch_options, &s->dispatch);
    if (error != 0)
        return start_failed("dispatch cannot start", error_text(error));
    error = amqp_hub_create(s->options->open_loopback, &s->amqp);
    if (error != 0)
        return start_failed("AMQP cannot start", error_text(error));
    struct engine_options engine_options = o->engine;
    engine_options.progress = &s->progress;
    engine_options.context = s;
    engine_options.start_attempts = server_starts;
    engine_options.deliver = server_deliveries;
    engine_options.room_changed = server_room;
    engine_options.failed = server_failed;
    engine_options.note = server_note;
    struct engine_recovery recovery;
    char text[512];
    error = engine_open(&engine_options, &recovery, text, &s->engine);
    if (error != 0)
        return start_failed("cannot open the data folder",
                            text[0] != '\0' ? text : error_text(error));
    log_recovery_line(&recovery);
    audit_note_start(s->engine, o, recovery.log.report);
    if (o->define != NULL && o->define(o->context, s->engine) != 0)
        return start_failed("the definitions cannot be applied", "see the lines before");
    audit_note_head(s->engine);
    return 0;
}

static int cannot_listen(const struct server_listener *listener, const char *reason) {
    char what[512];
    snprintf(what, sizeof(what), "%s:%u: %s", listener->host, listener->port, reason);
    return start_failed("cannot listen", what);
}

static void note_outdated(const struct tls_findings *found) {
    struct logline line;
    if (found->outdated[0] == '\0')
        return;
    logline_begin(&line, LOGLINE_WARN, "a certificate that clients refuse");
    logline_text(&line, "reason", found->outdated);
    logline_end(&line);
}

static int read_certificates(struct server *s) {
    for (size_t i = 0; i < s->options->listener_count; i++) {
        const struct server_listener *listener = &s->options->listeners[i];
        struct tls_findings found;
        int error =
            listener->tls != NULL ? tls_context_create(listener->tls, &found, &s->tls[i]) : 0;
        if (error != 0)
            return cannot_listen(listener, error == E_INVALID ? tls_findings_first(&found)
                                                              : error_text(error));
        if (listener->tls != NULL)
            note_outdated(&found);
    }
    return 0;
}

static int start_amqp(struct server *s, struct io_thread *t, const struct server_listener *listener,
                      struct tls_context *tls) {
    struct amqp_server_options options = {
        .host = listener->host,
        .port = listener->port,
        .joins = t != s->threads,
        .limits = s->options->amqp_limits,
        .connections_max = s->share.connections,
        .connections_per_address = s->options->http_limits.connections_per_address,
        .write_timeout_ms = s->options->http_limits.write_timeout_ms,
        .tls = tls,
        .external = tls != NULL && listener->tls->client_ca_file != NULL,
        .version = s->options->version};
    char text[256];
    struct amqp_server *server;
    if (amqp_bridge_listen(t->amqp, &options, text, &server) != 0)
        return cannot_listen(listener, text);
    t->doorways[t->doorway_count++].amqp = server;
    s->open_servers++;
    return 0;
}

static int start_http(struct server *s, struct io_thread *t, const struct server_listener *listener,
                      struct tls_context *tls) {
    struct http_server_options options = {
        .host = listener->host,
        .port = listener->port,
        .joins = t != s->threads,
        .limits = s->options->http_limits,
        .tls = tls,
        .context = t->api,
        .handle = api_handle,
        .problem = api_problem,
    };
    options.limits.connections = s->share.connections;
    char text[256];
    struct http_server *server;
    int error = http_server_start(t->loop, &options, text, &server);
    if (error != 0)
        return cannot_listen(listener, text);
    t->doorways[t->doorway_count++].http = server;
    s->open_servers++;
    error = api_loop_watch(t->api, server);
    return error == 0 ? 0 : start_failed("too many listeners", error_text(error));
}

static void before_wait(void *context, struct net_loop *loop) {
    struct io_thread *t = context;
    api_before_wait(t->api, loop);
    amqp_bridge_before_wait(t->amqp);
}

static int start_thread(struct server *s, struct io_thread *t, uint32_t number) {
    char name[16];
    snprintf(name, sizeof(name), "sluice-io-%u", number % 1000);
    t->server = s;
    t->doorways = calloc(s->options->listener_count, sizeof(*t->doorways));
    if (t->doorways == NULL || api_loop_create(s->api, &t->api) != 0 ||
        amqp_bridge_create(s->amqp, s->engine, &t->amqp) != 0)
        return start_failed("cannot start an I/O thread", error_text(E_NOMEM));
    struct net_loop_options options = {.name = name, .context = t, .before_wait = before_wait};
    if (net_loop_create(&options, &t->loop) != 0)
        return start_failed("cannot start an I/O thread", error_text(E_NOMEM));
    api_loop_attach(t->api, t->loop);
    amqp_bridge_attach(t->amqp, t->loop);
    for (size_t i = 0; i < s->options->listener_count; i++) {
        const struct server_listener *listener = &s->options->listeners[i];
        int code = listener->amqp ? start_amqp(s, t, listener, s->tls[i])
                                  : start_http(s, t, listener, s->tls[i]);
        if (code != 0)
            return code;
    }
    return 0;
}

static uint32_t io_thread_count(const struct server_options *o) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t count = o->io_threads != 0 ? o->io_threads : (uint32_t)(processors / 2);
    if (count == 0)
        count = 1;
    return count < IO_THREADS_MAX ? count : IO_THREADS_MAX;
}

/* A client must not be able to take the handle that the next segment of the log needs. */
static int share_handles(struct server *s) {
    const struct server_options *o = s->options;
    uint32_t wanted = o->http_limits.connections;
    char text[256];
    s->share = (struct handles_share){
        .connections = wanted,
        .dispatch = o->dispatch_connections != 0 ? o->dispatch_connections : DISPATCH_CONNECTIONS,
    };
    if (handles_divide(handles_raise(), io_thread_count(o) * (uint32_t)o->listener_count, &s->share,
                       text) != 0)
        return start_failed("cannot start", text);
    if (s->share.connections < wanted) {
        struct logline line;
        logline_begin(&line, LOGLINE_WARN,
                      "fewer connections than configured: the limit of open files");
        logline_u64(&line, "configured", wanted);
        logline_u64(&line, "connections", s->share.connections);
        logline_end(&line);
    }
    return 0;
}

static int probe_listeners(const struct server_options *o) {
    for (size_t i = 0; i < o->listener_count; i++) {
        char text[256];
        if (net_listener_probe(o->listeners[i].host, o->listeners[i].port, text) != 0)
            return start_failed("cannot listen", text);
    }
    return 0;
}

static int start_manager(struct server *s) {
    size_t count = 0;
    for (; count < s->options->listener_count && count < API_SERVERS_MAX; count++) {
        const struct server_listener *l = &s->options->listeners[count];
        bool tls = l->tls != NULL;
        const char *amqp = tls ? "amqp/ssl" : "amqp", *http = tls ? "https" : "http";
        s->listeners[count] = (struct manage_listener){
            .protocol = l->amqp ? amqp : http, .host = l->host, .port = l->port};
    }
    const struct manage_options options = {.version = s->options->version,
                                           .listeners = s->listeners,
                                           .listener_count = count,
                                           .amqp = s->amqp};
    return manager_create(&options, &s->manager);
}

static int start_io(struct server *s) {
    if (start_manager(s) != 0)
        return start_failed("cannot start the management API", error_text(E_NOMEM));
    struct api_options options = {
        .engine = s->engine,
        .version = s->options->version,
        .auth = s->auth,
        .requests_per_second = s->options->requests_per_second,
        .requests_burst = s->options->requests_burst,
        .open_loopback = s->options->open_loopback,
        .more = manager_routes(s->manager),
    };
    if (api_create(&options, &s->api) != 0 || api_work(s->api) != 0)
        return start_failed("cannot start the API", error_text(E_NOMEM));
    uint32_t count = io_thread_count(s->options);
    s->threads = calloc(count, sizeof(*s->threads));
    if (s->threads == NULL)
        return start_failed("cannot start I/O threads", error_text(E_NOMEM));
    for (; s->thread_count < count; s->thread_count++) {
        int code = start_thread(s, &s->threads[s->thread_count], s->thread_count);
        if (code != 0) {
            s->thread_count++; /* what it has is freed with the others */
            return code;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (net_loop_run(s->threads[i].loop) != 0)
            return start_failed("cannot start an I/O thread", strerror(errno));
        s->threads[i].runs = true;
    }
    return 0;
}

static void log_serving_line(const struct server *s) {
    for (size_t i = 0; i < s->options->listener_count; i++) {
        struct logline line;
        logline_begin(&line, LOGLINE_INFO, "serving");
        logline_text(&line, "address", s->options->listeners[i].host);
        const struct doorway *d = &s->threads[0].doorways[i];
        logline_u64(&line, "port",
                    d->amqp != NULL ? amqp_server_port(d->amqp) : http_server_port(d->http));
        if (d->amqp != NULL)
            logline_text(&line, "protocol", "amqp");
        logline_bool(&line, "tls", s->options->listeners[i].tls != NULL);
        logline_u64(&line, "io_threads", s->thread_count);
        logline_end(&line);
    }
}

/* It defends in depth: a kernel without it is told of, and served on. */
static void protect(const struct server_options *o) {
    if (o->system_call_filter && harden_system_calls() != 0)
        logline_event(LOGLINE_WARN, "this kernel does not filter system calls");
}

/* What can take long; who gives it up, and who asks meanwhile, is the doorman's. */
static int start_engine_guarded(struct server *s) {
    struct doorman *doorman = NULL;
    if (doorman_create(s->options, s->tls, &s->progress, &doorman) != 0)
        return start_failed("cannot start", error_text(E_NOMEM));
    int code = start_engine(s);
    doorman_free(doorman);
    return code;
}

static int start(struct server *s) {
    if (s->options->token_count > 0) {
        int error = auth_create(s->options->tokens, s->options->token_count, &s->auth);
        if (error != 0)
            return start_failed("a token of the configuration is not readable", error_text(error));
    }
    int code = share_handles(s);
    if (code == 0)
        code = probe_listeners(s->options);
    if (code == 0)
        code = read_certificates(s);
    if (code == 0 && huge_ahead_start() != 0)
        logline_event(LOGLINE_WARN, "no thread to prepare memory: the engine touches it itself");
    if (code == 0)
        protect(s->options); /* before the first byte of a stranger */
    if (code == 0)
        code = start_engine_guarded(s);
    if (code == 0)
        code = start_io(s);
    if (code == 0 && dispatch_run(s->dispatch, s->engine) != 0)
        code = start_failed("dispatch cannot start", error_text(E_NOMEM));
    return code;
}

/* ---- stop ---- */

static void server_closed(void *arg) {
    struct server *s = arg;
    pthread_mutex_lock(&s->lock);
    s->open_servers--;
    pthread_cond_broadcast(&s->closed);
    pthread_mutex_unlock(&s->lock);
}

/* Runs `step` on the thread of each loop that runs; their number. */
static uint32_t post_step(struct server *s, void (*step)(struct net_item *item)) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->thread_count; i++) {
        struct io_thread *t = &s->threads[i];
        if (!t->runs)
            continue;
        t->step.run = step;
        net_loop_post(t->loop, &t->step);
        count++;
    }
    return count;
}

static void stop_servers(struct net_item *item) {
    struct io_thread *t = CONTAINER_OF(item, struct io_thread, step);
    for (size_t i = 0; i < t->doorway_count; i++) {
        const struct doorway *d = &t->doorways[i];
        if (d->amqp != NULL)
            amqp_server_stop(d->amqp, server_closed, t->server);
        else
            http_server_stop(d->http, server_closed, t->server);
    }
}

static void wait_closed(struct server *s) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += HTTP_STOP_GRACE_MS / 1000;
    pthread_mutex_lock(&s->lock);
    while (s->open_servers > 0)
        if (pthread_cond_timedwait(&s->closed, &s->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&s->lock);
}

static void stop_listening(struct server *s) {
    if (s->api != NULL)
        api_stop(s->api);
    if (post_step(s, stop_servers) > 0)
        wait_closed(s);
}

static void free_doorways(struct io_thread *t) {
    for (size_t i = 0; i < t->doorway_count; i++) {
        if (t->doorways[i].amqp != NULL)
            amqp_bridge_close(t->amqp, t->doorways[i].amqp);
        else
            http_server_free(t->doorways[i].http);
    }
    t->doorway_count = 0;
}

static void cut_off(struct net_item *item) {
    struct io_thread *t = CONTAINER_OF(item, struct io_thread, step);
    struct server *s = t->server;
    free_doorways(t);
    pthread_mutex_lock(&s->lock);
    s->uncut_threads--;
    pthread_cond_broadcast(&s->closed);
    pthread_mutex_unlock(&s->lock);
}

/* No loop may end before nothing can come from another: they pass requests to one another (amqp_hub_settle). */
static void cut_connections(struct server *s) {
    pthread_mutex_lock(&s->lock);
    s->uncut_threads = post_step(s, cut_off);
    while (s->uncut_threads > 0)
        pthread_cond_wait(&s->closed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    if (s->amqp != NULL)
        amqp_hub_settle(s->amqp);
}

static void free_thread(struct io_thread *t) {
    if (t->loop != NULL) {
        free_doorways(t); /* where it never ran */
        net_loop_stop(t->loop);
        net_loop_free(t->loop);
    }
    if (t->api != NULL)
        api_loop_free(t->api);
    amqp_bridge_free(t->amqp);
    free(t->doorways);
}

static void stop(struct server *s) {
    stop_listening(s);
    if (s->engine != NULL)
        engine_hold_starts(s->engine);
    if (s->dispatch != NULL)
        dispatch_stop(s->dispatch, DISPATCH_GRACE_MS);
    if (s->engine != NULL)
        engine_stop(s->engine, true);
    cut_connections(s);
    for (uint32_t i = 0; i < s->thread_count; i++)
        free_thread(&s->threads[i]);
    free(s->threads);
    if (s->api != NULL)
        api_free(s->api);
    manager_free(s->manager);
    if (s->dispatch != NULL)
        dispatch_free(s->dispatch);
    if (s->engine != NULL)
        engine_free(s->engine);
    huge_ahead_stop();
    amqp_hub_free(s->amqp);
    auth_free(s->auth);
    for (size_t i = 0; i < API_SERVERS_MAX; i++)
        tls_context_free(s->tls[i]);
}

/* What cannot be used leaves the certificate that is in use. */
static void renew_certificates(struct server *s) {
    for (size_t i = 0; i < s->options->listener_count; i++) {
        if (s->tls[i] == NULL)
            continue;
        struct tls_findings found;
        int error = tls_context_renew(s->tls[i], &found);
        bool renewed = error == 0;
        struct logline line;
        logline_begin(&line, renewed ? LOGLINE_INFO : LOGLINE_ERROR,
                      renewed ? "certificates read again"
                              : "certificates cannot be renewed: the earlier ones stay in use");
        logline_text(&line, "file", s->options->listeners[i].tls->certificate_file);
        if (!renewed)
            logline_text(&line, "reason",
                         error == E_INVALID ? tls_findings_first(&found) : error_text(error));
        logline_end(&line);
        if (renewed)
            note_outdated(&found);
    }
}

static void wait_for_end(struct server *s, const sigset_t *signals) {
    int number = SIGHUP;
    while (sigwait(signals, &number) != 0 || number == SIGHUP)
        renew_certificates(s);
    struct logline line;
    logline_begin(&line, LOGLINE_INFO, "stopping");
    logline_text(&line, "signal", strsignal(number));
    logline_end(&line);
}

int server_run(const struct server_options *options) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* inherited by every thread made from here on */
    signal(SIGPIPE, SIG_IGN);
    struct server s = {.options = options};
    pthread_mutex_init(&s.lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s.closed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = start(&s);
    if (code == 0) {
        log_serving_line(&s);
        wait_for_end(&s, &signals);
        audit_note_head(s.engine);
    }
    stop(&s);
    pthread_cond_destroy(&s.closed);
    pthread_mutex_destroy(&s.lock);
    if (code == 0)
        logline_event(LOGLINE_INFO, "stopped");
    return code;
}
