#include "dispatch/transport.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Of the socket that has this file number at present. Freed by the loop after it was closed. */
struct watch {
    uv_poll_t poll;
    curl_socket_t socket;
    struct transport *transport; /* borrows */
    bool wanted;
    bool silent; /* counted in transport.silent: a request left on it, nothing came since */
};

static void set_silent(struct watch *w, bool silent) {
    w->transport->silent += (uint32_t)silent - (uint32_t)w->silent;
    w->silent = silent;
}

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

/* CURLMOPT_SOCKETFUNCTION. -1 makes curl fail the transfer, which is then reported as any other. */
static int on_curl_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *known) {
    struct transport *t = context;
    struct watch *w = known;
    if (what == CURL_POLL_REMOVE && w == NULL) {
        return 0;
    }
    if (what == CURL_POLL_REMOVE) {
        set_silent(w, false);
        w->wanted = false;
        return uv_poll_stop(&w->poll);
    }
    if (w == NULL && (w = watch_of(t, socket)) == NULL) {
        return -1;
    }
    curl_multi_assign(t->multi, socket, w); /* until REMOVE: curl forgets it then */
    set_silent(w, what == CURL_POLL_IN && (!w->wanted || w->silent));
    w->wanted = true;
    int events = what & CURL_POLL_IN ? UV_READABLE : 0;
    events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
    return uv_poll_start(&w->poll, events, on_poll) == 0 ? 0 : -1;
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

int transport_add(struct transport *t, CURL *easy) {
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
