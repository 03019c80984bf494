/*
 * app/server.h - the running program: engine, dispatch, I/O loops and listeners, put together.
 *
 * Promise: answers nothing but "starting" before the engine has recovered and the definitions are applied; on
 *          SIGTERM or SIGINT gives a start up at once (doorman.h), and else stops accepting, finishes what it took,
 *          flushes, snapshots and returns 0; on SIGHUP reads certificates again, for connections to come; a dead log ends
 *          the process at once with EXIT_LOG_FAILED.
 */
#ifndef SLUICE_APP_SERVER_H
#define SLUICE_APP_SERVER_H

#include "api/auth.h"
#include "amqp/connection.h"
#include "engine/engine.h"
#include "http/server.h"
#include "net/tls.h"

#define EXIT_START_FAILED 1
#define EXIT_LOG_FAILED   3

struct server_listener {
    const char *host;
    uint16_t port;
    bool amqp;                     /* else HTTP */
    const struct tls_options *tls; /* NULL: plain */
};

struct server_options {
    struct engine_options engine;            /* callbacks are filled in here */
    const struct server_listener *listeners; /* borrows */
    size_t listener_count;
    struct http_limits http_limits;
    struct amqp_limits amqp_limits;
    uint32_t io_threads;            /* 0: half the processors, at least 1 */
    const struct token_def *tokens; /* borrows */
    uint32_t token_count;
    uint32_t requests_per_second, requests_burst; /* of one client; 0: see api_options */
    bool open_loopback;
    bool system_call_filter;
    uint32_t dispatch_connections; /* 0: the default of dispatch */
    const char *version;
    /* Applies the definitions of the configuration; has logged what is wrong when it fails. May be NULL. */
    int (*define)(void *context, struct engine *engine);
    void *context; /* borrows: for define */
};

/* Runs until it is told to stop; the exit code of the process. */
int server_run(const struct server_options *options);

#endif
