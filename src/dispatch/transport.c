#include "dispatch/transport.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

/* Of the socket that has this file number at present. Freed by the loop after it was closed. */
struct watch {
    uv_poll_t poll;
    curl_socket_t socket;
    struct transport *transport; /* borrows */
    transport_ready *ready;      /* of a taken socket; NULL: curl has it */
    void *context;               /* borrows */
    int events;                  /* asked of libuv; 0: it does not watch */
    bool told;                   /* when it closes: so it may be watched while nobody uses it */
    bool wanted;
    bool silent; /* counted in transport.silent: a request left on it, nothing came since */
};

static void set_silent(struct watch *w, bool silent) {
    w->transport->silent += (uint32_t)silent - (uint32_t)w->silent;
    w->silent = silent;
}

static int watch_for(struct watch *w, int events);

static void close_handed(struct transport *t) {
    if (t->handed != CURL_SOCKET_BAD) {
        close(t->handed);
        t->handed = CURL_SOCKET_BAD;
    }
}

static void report_done(struct transport *t) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(t->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            CURL *easy = message->easy_handle;
            CURLcode result = message->data.result; /* `message` dies with the removal */
            t->handing_over = result == CURLE_OK;
            transport_remove(t, easy);
            t->handing_over = false;
            t->done(t->context, easy, result);
            close_handed(t); /* if nobody took it */
        }
    }
}

static void act(struct transport *t, curl_socket_t socket, int events) {
    int running;
    CURLMcode rc = curl_multi_socket_action(t->multi, socket, events, &running);
    assert(rc == CURLM_OK || rc == CURLM_BAD_SOCKET);
    report_done(t);
}

void transport_kick(struct transport *t) {
    if (t->wants_kick) {
        t->wants_kick = false;
        act(t, CURL_SOCKET_TIMEOUT, 0);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct watch *w = poll->data;
    w->events = status < 0 ? 0 : w->events; /* libuv stops by itself then */
    if (w->ready != NULL) {
        w->ready(w->context, status, events);
        return;
    }
    if (!w->wanted) { /* the far side closed a kept one: curl sees that when it wants it */
        (void)watch_for(w, 0);
        return;
    }
    int bits = status < 0 ? CURL_CSELECT_ERR : 0;
    bits |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    bits |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    set_silent(w, false);
    act(w->transport, w->socket, bits);
}

static void on_timer(uv_timer_t *timer) {
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* CURLMOPT_TIMERFUNCTION */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *context) {
    struct transport *t = context;
    if (timeout_ms < 0) {
        return uv_timer_stop(&t->timer);
    }
    return uv_timer_start(&t->timer, on_timer, (uint64_t)timeout_ms, 0);
}

static void on_watch_closed(uv_handle_t *handle) {
    free(handle->data);
}

static int watches_cover(struct transport *t, uint32_t file) {
    if (file < t->watch_count) {
        return 0;
    }
    uint32_t count = t->watch_count == 0 ? 64 : t->watch_count;
    while (count <= file) {
        count *= 2;
    }
    struct watch **watches = realloc(t->watches, count * sizeof *watches);
    if (watches == NULL) {
        return E_NOMEM;
    }
    memset(watches + t->watch_count, 0, (count - t->watch_count) * sizeof *watches);
    t->watches = watches;
    t->watch_count = count;
    return 0;
}

static struct watch *watch_of(struct transport *t, curl_socket_t socket) {
    if (watches_cover(t, (uint32_t)socket) != 0) {
        return NULL;
    }
    struct watch *w = t->watches[socket];
    if (w != NULL) {
        return w;
    }
    w = calloc(1, sizeof *w);
    if (w == NULL) {
        return NULL;
    }
    if (uv_poll_init_socket(t->loop, &w->poll, socket) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->socket = socket;
    w->transport = t;
    t->watches[socket] = w;
    return w;
}

/* Each change costs two or three system calls, because libuv takes the file out first. */
static int watch_for(struct watch *w, int events) {
    if (events == w->events) {
        return 0;
    }
    int rc = events != 0 ? uv_poll_start(&w->poll, events, on_poll) : uv_poll_stop(&w->poll);
    w->events = rc == 0 ? events : 0;
    return rc;
}

/* CURLOPT_SOCKOPTFUNCTION: a connection of which we shall be told when it closes. */
static int on_socket_opened(void *context, curl_socket_t socket, curlsocktype purpose) {
    struct watch *w = watch_of(context, socket);
    (void)purpose;
    if (w != NULL) {
        w->told = true;
        w->transport->sockets++;
    }
    return CURL_SOCKOPT_OK; /* without memory on_curl_socket will fail it */
}

/* Of a socket that is about to be closed, or to have another owner. */
static void forget(struct transport *t, curl_socket_t socket) {
    struct watch *w = (uint32_t)socket < t->watch_count ? t->watches[socket] : NULL;
    if (w != NULL) {
        (void)watch_for(w, 0);
        t->sockets -= w->told;
        w->told = false;
        w->ready = NULL;
    }
}

/* CURLOPT_CLOSESOCKETFUNCTION, also for those that on_socket_opened had no memory for. */
static int on_socket_closes(void *context, curl_socket_t socket) {
    forget(context, socket);
    return close(socket);
}

/* The same of a handle that only connects: curl closes what it connected when the handle is removed. */
static int on_connected_closes(void *context, curl_socket_t socket) {
    struct transport *t = context;
    if (!t->handing_over || t->handed != CURL_SOCKET_BAD) {
        return on_socket_closes(context, socket);
    }
    forget(t, socket);
    t->handed = socket;
    return 0;
}

/* Between two requests a connection stays watched as it is, for nearly always the next one wants just that. */
static int stop_watching(struct watch *w) {
    set_silent(w, false);
    w->wanted = false;
    return w->told && w->events == UV_READABLE ? 0 : watch_for(w, 0);
}

/* CURLMOPT_SOCKETFUNCTION. -1 makes curl fail the transfer, which is then reported as any other. */
static int on_curl_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *known) {
    struct transport *t = context;
    struct watch *w = known;
    if (what == CURL_POLL_REMOVE) {
        return w != NULL ? stop_watching(w) : 0;
    }
    if (w == NULL && (w = watch_of(t, socket)) == NULL) {
        return -1;
    }
    curl_multi_assign(t->multi, socket, w); /* until REMOVE: curl forgets it then */
    set_silent(w, what == CURL_POLL_IN && (!w->wanted || w->silent));
    w->wanted = true;
    int events = what & CURL_POLL_IN ? UV_READABLE : 0;
    events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
    return watch_for(w, events) == 0 ? 0 : -1;
}

int transport_init(struct transport *t, uv_loop_t *loop, uint32_t connections_max,
                   transport_done *done, void *context) {
    *t = (struct transport){.loop = loop,
                            .connections_max = connections_max,
                            .handed = CURL_SOCKET_BAD,
                            .done = done,
                            .context = context};
    t->multi = curl_multi_init();
    if (t->multi == NULL) {
        return E_NOMEM;
    }
    if (uv_timer_init(loop, &t->timer) != 0) {
        curl_multi_cleanup(t->multi);
        return E_IO;
    }
    t->timer.data = t;
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)connections_max);
    curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, (long)connections_max);
    return 0;
}

static int add(struct transport *t, CURL *easy, bool connects_only) {
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, (long)connects_only);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_opened);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, t);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION,
                     connects_only ? on_connected_closes : on_socket_closes);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, t);
    if (curl_multi_add_handle(t->multi, easy) != CURLM_OK) {
        return E_NOMEM;
    }
    t->transfers++;
    t->wants_kick = true;
    return 0;
}

int transport_add(struct transport *t, CURL *easy) {
    return add(t, easy, false);
}

int transport_connect(struct transport *t, CURL *easy) {
    return add(t, easy, true);
}

void transport_remove(struct transport *t, CURL *easy) {
    CURLMcode rc = curl_multi_remove_handle(t->multi, easy);
    assert(rc == CURLM_OK);
    t->transfers--;
}

bool transport_is_silent(const struct transport *t) {
    return t->silent >= t->transfers;
}

/* ---- sockets that were taken ---- */

/* What curl may have open is what these leave; a few at any rate, so that checks and tokens are never kept waiting. */
static void set_taken(struct transport *t, uint32_t taken) {
    uint32_t few = t->connections_max / 16 + 1;
    uint32_t left = t->connections_max > taken ? t->connections_max - taken : 0;
    t->taken = taken;
    curl_multi_setopt(t->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)(left > few ? left : few));
}

struct watch *transport_take(struct transport *t, transport_ready *ready, void *context) {
    struct watch *w = t->handed != CURL_SOCKET_BAD ? watch_of(t, t->handed) : NULL;
    if (w == NULL || watch_for(w, UV_READABLE) != 0) {
        close_handed(t);
        return NULL;
    }
    w->ready = ready;
    w->context = context;
    w->told = true;
    t->handed = CURL_SOCKET_BAD;
    t->sockets++;
    set_taken(t, t->taken + 1);
    return w;
}

curl_socket_t transport_socket(const struct watch *w) {
    return w->socket;
}

int transport_watch(struct watch *w, int events) {
    return watch_for(w, events) == 0 ? 0 : E_IO;
}

void transport_drop(struct transport *t, struct watch *w) {
    set_taken(t, t->taken - 1);
    on_socket_closes(t, w->socket);
}

void transport_release(struct transport *t) {
    curl_multi_cleanup(t->multi);
    t->multi = NULL;
    uv_close((uv_handle_t *)&t->timer, NULL);
    for (uint32_t i = 0; i < t->watch_count; i++) {
        if (t->watches[i] != NULL) {
            uv_close((uv_handle_t *)&t->watches[i]->poll, on_watch_closed);
        }
    }
    free(t->watches);
    t->watches = NULL;
    t->watch_count = 0;
}
