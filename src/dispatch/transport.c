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

static void report_done(struct transport *t) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(t->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            CURL *easy = message->easy_handle;
            CURLcode result = message->data.result; /* `message` dies with the removal */
            transport_remove(t, easy);
            t->done(t->context, easy, result);
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
    act(t, CURL_SOCKET_TIMEOUT, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct watch *w = poll->data;
    w->events = status < 0 ? 0 : w->events; /* libuv stops by itself then */
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
    transport_kick(timer->data);
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
    }
    return CURL_SOCKOPT_OK; /* without memory on_curl_socket will fail it */
}

/* CURLOPT_CLOSESOCKETFUNCTION, also for those that on_socket_opened had no memory for. */
static int on_socket_closes(void *context, curl_socket_t socket) {
    struct transport *t = context;
    struct watch *w = (uint32_t)socket < t->watch_count ? t->watches[socket] : NULL;
    if (w != NULL) {
        (void)watch_for(w, 0);
        w->told = false;
    }
    return close(socket);
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
    *t = (struct transport){.loop = loop, .done = done, .context = context};
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

static void tell_of_sockets(struct transport *t, CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_opened);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, t);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_socket_closes);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, t);
}

int transport_add(struct transport *t, CURL *easy) {
    tell_of_sockets(t, easy);
    if (curl_multi_add_handle(t->multi, easy) != CURLM_OK) {
        return E_NOMEM;
    }
    t->transfers++;
    return 0;
}

void transport_remove(struct transport *t, CURL *easy) {
    CURLMcode rc = curl_multi_remove_handle(t->multi, easy);
    assert(rc == CURLM_OK);
    t->transfers--;
}

bool transport_is_silent(const struct transport *t) {
    return t->silent >= t->transfers;
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
