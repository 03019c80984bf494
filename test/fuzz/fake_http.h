/*
 * test/fuzz/fake_http.h - http/server.h without sockets: an exchange is a parsed request and what was answered.
 *
 * Linked in the place of the server's own files; the parser is the real one. The loop is a list of items that
 * fake_loop_run runs.
 */
#ifndef SLUICE_TEST_FUZZ_FAKE_HTTP_H
#define SLUICE_TEST_FUZZ_FAKE_HTTP_H

#include "http/request.h"

struct http_exchange {
    struct http_request request;
    unsigned replies; /* must become 1, or a stream begins */
    int status;
    char content_type[128];
    struct buffer headers, body;
    bool streaming;
    void (*closed)(void *arg);
    void *closed_arg;
};

void fake_exchange_init(struct http_exchange *x);
void fake_exchange_release(struct http_exchange *x);
/* A new loop: nothing is posted, no timer is set. */
void fake_loop_reset(void);
/* Runs what was posted, and what that posts. False: nothing was there. */
bool fake_loop_run(void);

#endif
