/*
 * api/api.h - HTTP resources <-> engine requests.
 *
 * Promise: every request is answered once; nothing is said to have happened before the engine says
 *          that it is durable; every refusal is a problem of problem.h. No memory is allocated for a
 *          campaign entry or a published message once the pools are warm.
 * Shape:   `struct api` is the process's, `struct api_loop` one per I/O loop. Wiring:
 *
 *      api_create(&options, &api);
 *      for each I/O loop:
 *          api_loop_create(api, &al);
 *          net_loop_create({.context = al, .before_wait = api_before_wait}, &loop);
 *          api_loop_attach(al, loop);
 *          http_server_start(loop, {.context = al, .handle = api_handle, .problem = api_problem})
 *          api_loop_watch(al, server)                              -- its counters, for /metrics
 *          net_loop_run(loop)
 *      ...
 *      api_stop(api), http_server_stop of all servers, engine_close, net_loop_free of all loops,
 *      api_loop_free of all, api_free
 *
 * What is collected during a turn of a loop goes to the engine in chains (api_before_wait); answers
 * come back as one item on the loop and are rendered there.
 */
#ifndef SLUICE_API_API_H
#define SLUICE_API_API_H

#include "api/auth.h"
#include "engine/engine.h"
#include "http/server.h"

struct api;
struct api_loop;

struct call;
struct route;

/* What stands on the API besides its own: routes, and who comes with a name and a password (Basic). */
struct api_more {
    const struct route *routes; /* borrows */
    size_t route_count;
    /* Of a call of one of these routes: ends in call_go_on when it is known who asks, or in an answer. */
    void (*login)(struct call *c);
    void *context; /* borrows */
};

struct api_options {
    struct engine *engine;        /* borrows */
    const char *version;          /* borrows: "0.1.0" */
    struct auth *auth;            /* borrows; NULL: no tokens */
    uint32_t requests_per_second; /* of one client, at most 1,000,000; 0: as many as it likes */
    uint32_t requests_burst;      /* likewise, at once; 0: as many as in a second */
    bool open_loopback; /* whoever comes from this machine may do everything without a token */
    const struct api_more *more; /* borrows; NULL: nothing */
    uint32_t calls_max;          /* under way on one loop; 0: 65,536; beyond it `busy` */
};

/* E_NOMEM. */
MUST_CHECK int api_create(const struct api_options *options, struct api **ret);
/* Before the first request: starts the thread that does searches; without it they are refused. E_NOMEM. */
MUST_CHECK int api_work(struct api *api);
/* After all its loops, and api_stop. */
void api_free(struct api *api);
/* Any thread, once: from now on /readyz says "stopping", no event stream starts and nothing is searched. */
void api_stop(struct api *api);

/* E_NOMEM. */
MUST_CHECK int api_loop_create(struct api *api, struct api_loop **ret);
void api_loop_attach(struct api_loop *l, struct net_loop *loop);
/*
 * Counts the server's requests and connections in, until api_stop: servers may be freed only after
 * that. At most 8 servers a loop: E_LIMIT.
 */
#define API_SERVERS_MAX 8u /* listeners of the program */
MUST_CHECK int api_loop_watch(struct api_loop *l, struct http_server *server);
/* When its net_loop runs no more. */
void api_loop_free(struct api_loop *l);

/* The callbacks of http_server_options and net_loop_options; context is the api_loop. */
void api_handle(void *context, struct http_exchange *x);
size_t api_problem(void *context, int status, const char *detail, char *out, size_t size);
void api_before_wait(void *context, struct net_loop *loop);

#endif
