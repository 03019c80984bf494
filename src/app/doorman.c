#include "app/doorman.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/error.h"
#include "base/logline.h"
#include "net/loop.h"
#include "net/wheel.h"

#define OPEN_AFTER_MS  1000u /* a start that is quicker is none that anybody waits for */
#define TELL_EVERY_MS  10000u
#define CONNECTIONS    64u
#define ANSWER_BYTES   512u
#define RETRY_LATER    "Retry-After: 1\r\n"
#define UNDER_WAY_TEXT "the program starts: /readyz says how far it is"

struct doorman {
    const struct server_options *options;   /* borrows */
    struct tls_context *const *tls;         /* borrows */
    const struct engine_progress *progress; /* borrows */
    struct net_loop *loop;                  /* owns */
    struct wheel_timer timer;
    struct net_item close;
    struct http_server *doors[API_SERVERS_MAX]; /* owns */
    pthread_t watch;
    bool watches;
    atomic_bool over;   /* the start is: signals are for others */
    atomic_bool hangup; /* came, and is for others, too */
};

/* ---- signals ---- */

static _Noreturn void give_up(int number) {
    struct logline line;
    logline_begin(&line, LOGLINE_INFO, "stopping: the start is given up");
    logline_text(&line, "signal", strsignal(number));
    logline_end(&line);
    _exit(0);
}

static void *watch(void *argument) {
    struct doorman *d = argument;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    for (;;) {
        int number;
        if (sigwait(&signals, &number) != 0)
            continue;
        if (atomic_load(&d->over)) {
            if (number != SIGHUP)
                kill(getpid(), number);
            return NULL;
        }
        if (number != SIGHUP)
            give_up(number);
        atomic_store(&d->hangup, true);
    }
}

/* The one signal that ends the thread is for it alone. */
static void stop_watching(struct doorman *d) {
    atomic_store(&d->over, true);
    pthread_kill(d->watch, SIGHUP);
    pthread_join(d->watch, NULL);
    if (atomic_load(&d->hangup))
        kill(getpid(), SIGHUP);
}

/* ---- the doors ---- */

static void answer_alive(const struct doorman *d, struct http_exchange *x) {
    char body[ANSWER_BYTES];
    int size = snprintf(body, sizeof body, "{\"status\":\"alive\",\"version\":\"%s\"}",
                        d->options->version);
    http_reply_close(x, 200, "application/json", span_of(NULL, 0), span_of(body, (size_t)size));
}

static void answer_how_far(const struct doorman *d, struct http_exchange *x) {
    char body[ANSWER_BYTES];
    const struct engine_progress *p = d->progress;
    int size = snprintf(body, sizeof body,
                        "{\"ready\":false,\"reasons\":[\"starting\"],\"version\":\"%s\","
                        "\"starting\":{\"step\":\"%s\",\"done\":%llu,\"of\":%llu}}",
                        d->options->version, engine_progress_text(p),
                        (unsigned long long)atomic_load(&p->done),
                        (unsigned long long)atomic_load(&p->of));
    http_reply_close(x, 503, "application/json", span_text(RETRY_LATER),
                     span_of(body, (size_t)size));
}

static void handle(void *context, struct http_exchange *x) {
    const struct doorman *d = context;
    if (span_is(http_path(x), "/healthz")) {
        answer_alive(d, x);
    } else if (span_is(http_path(x), "/readyz")) {
        answer_how_far(d, x);
    } else {
        char body[ANSWER_BYTES];
        size_t size = api_problem(NULL, 503, UNDER_WAY_TEXT, body, sizeof body);
        http_reply_close(x, 503, "application/problem+json", span_text(RETRY_LATER),
                         span_of(body, size));
    }
}

/* Port 0 is a free one, of which nobody knows yet. */
static void open_doors(struct doorman *d) {
    for (size_t i = 0; i < d->options->listener_count; i++) {
        const struct server_listener *l = &d->options->listeners[i];
        struct http_server_options options = {.host = l->host,
                                              .port = l->port,
                                              .limits = d->options->http_limits,
                                              .tls = d->tls[i],
                                              .context = d,
                                              .handle = handle,
                                              .problem = api_problem};
        options.limits.connections = CONNECTIONS;
        char text[256];
        if (!l->amqp && l->port != 0 &&
            http_server_start(d->loop, &options, text, &d->doors[i]) != 0)
            d->doors[i] = NULL;
    }
}

static void tell(const struct doorman *d) {
    struct logline line;
    logline_begin(&line, LOGLINE_INFO, "starting");
    logline_text(&line, "step", engine_progress_text(d->progress));
    logline_u64(&line, "done", atomic_load(&d->progress->done));
    logline_u64(&line, "of", atomic_load(&d->progress->of));
    logline_end(&line);
}

static void on_tell(struct wheel_timer *t) {
    struct doorman *d = CONTAINER_OF(t, struct doorman, timer);
    tell(d);
    t->fire = on_tell;
    wheel_set(net_loop_wheel(d->loop), t, net_loop_now_ms(d->loop) + TELL_EVERY_MS);
}

static void on_first_tell(struct wheel_timer *t) {
    open_doors(CONTAINER_OF(t, struct doorman, timer));
    on_tell(t);
}

static void on_close(struct net_item *item) {
    struct doorman *d = CONTAINER_OF(item, struct doorman, close);
    wheel_cancel(net_loop_wheel(d->loop), &d->timer);
    for (size_t i = 0; i < API_SERVERS_MAX; i++)
        http_server_free(d->doors[i]);
}

/* ---- beginning and end ---- */

int doorman_create(const struct server_options *options, struct tls_context *const *tls,
                   const struct engine_progress *progress, struct doorman **ret) {
    struct doorman *d = calloc(1, sizeof *d);
    if (d == NULL)
        return E_NOMEM;
    d->options = options;
    d->tls = tls;
    d->progress = progress;
    d->close.run = on_close;
    wheel_timer_init(&d->timer, on_first_tell);
    struct net_loop_options loop = {.name = "sluice-doorman"};
    int error = net_loop_create(&loop, &d->loop);
    if (error == 0)
        wheel_set(net_loop_wheel(d->loop), &d->timer, net_loop_now_ms(d->loop) + OPEN_AFTER_MS);
    if (error == 0)
        error = net_loop_run(d->loop);
    if (error == 0 && pthread_create(&d->watch, NULL, watch, d) != 0)
        error = E_NOMEM;
    if (error != 0) {
        doorman_free(d);
        return error;
    }
    d->watches = true;
    *ret = d;
    return 0;
}

void doorman_free(struct doorman *d) {
    if (d == NULL)
        return;
    if (d->watches)
        stop_watching(d);
    if (d->loop != NULL) {
        net_loop_post(d->loop, &d->close);
        net_loop_stop(d->loop);
        net_loop_free(d->loop);
    }
    free(d);
}
