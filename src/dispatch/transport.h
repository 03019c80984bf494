/*
 * dispatch/transport.h - a libcurl multi handle on a libuv loop.
 *
 * Promise: each easy handle that was added is told to `done` once, unless it is removed before. `done` runs
 *          on the loop's thread, never inside transport_add; it may add and remove handles.
 * Shape:   caller-owned, all on the loop's thread. Sockets are watched by uv_poll, curl's one timer is a
 *          uv_timer; nothing is polled. curl stops and starts watching a kept connection with each request, which
 *          would be three system calls: a connection stays watched until it closes, which curl tells us, and
 *          a watch is kept for its file number until transport_release, whichever socket has it.
 *          A handle may be added to connect only: its socket is then the user's (plain.h), watched by the same watches.
 * Errors:  E_NOMEM, E_IO (the loop took no handle).
 */
#ifndef SLUICE_DISPATCH_TRANSPORT_H
#define SLUICE_DISPATCH_TRANSPORT_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/compiler.h"

typedef void transport_done(void *context, CURL *easy, CURLcode result);

struct watch;

/* status < 0: the socket is broken and not watched any more. `events`: UV_READABLE, UV_WRITABLE. */
typedef void transport_ready(void *context, int status, int events);

struct transport {
    uv_loop_t *loop; /* borrows */
    CURLM *multi;    /* owns */
    uv_timer_t timer;
    struct watch **watches; /* owns the array; by file number; NULL: never watched */
    uint32_t watch_count;
    uint32_t transfers; /* added, not removed */
    uint32_t connections_max;
    uint32_t sockets;     /* open ones: curl's connections, and those that were taken from it */
    uint32_t taken;       /* these alone */
    bool handing_over;    /* `handed` is not curl's to close */
    bool wants_kick;      /* something was added since */
    curl_socket_t handed; /* while `done` runs; CURL_SOCKET_BAD: none */
    uint32_t silent;      /* sockets on which a whole request left and nothing came yet */
    transport_done *done;
    void *context; /* borrows */
};

MUST_CHECK int transport_init(struct transport *t, uv_loop_t *loop, uint32_t connections_max,
                              transport_done *done, void *context);
MUST_CHECK int transport_add(struct transport *t, CURL *easy);
/* Adds a handle that sends nothing: when it is connected, `done` may take its socket. */
MUST_CHECK int transport_connect(struct transport *t, CURL *easy);
void transport_remove(struct transport *t, CURL *easy);
/* Lets what was added begin now, instead of at the loop's next turn. */
void transport_kick(struct transport *t);
/*
 * Whether every transfer waits for the first byte of its answer, and so costs nobody time if the loop does not look at
 * its socket for a moment. False while one connects, sends, or has read a part.
 */
bool transport_is_silent(const struct transport *t);

/* In `done` of a handle that only connected: watches its socket for being readable. NULL: no memory; it is closed. */
struct watch *transport_take(struct transport *t, transport_ready *ready, void *context);
curl_socket_t transport_socket(const struct watch *w);
/* E_IO: not watched. Costs nothing if they are the same as before. */
MUST_CHECK int transport_watch(struct watch *w, int events);
/* Closes its socket. */
void transport_drop(struct transport *t, struct watch *w);

/* Closes all connections; every easy handle was removed. The loop must run once more to end the handles. */
void transport_release(struct transport *t);

#endif
