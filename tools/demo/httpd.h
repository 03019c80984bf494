/*
 * httpd.h - a small HTTP/1.1 server for the demo's provider.
 *
 * Promise: keep-alive; one request at a time and connection, answered after the delay that the handler
 *          asks for; what a client sends meanwhile waits. A client that goes away loses its answer only.
 * Shape:   one libuv loop; `handle` is called once a request, when its last byte is there.
 * Limits:  HTTPD_REQUEST_MAX bytes per request (head and body), HTTPD_CONNECTIONS_MAX connections;
 *          beyond either the connection is closed.
 */
#ifndef SLUICE_DEMO_HTTPD_H
#define SLUICE_DEMO_HTTPD_H

#include <uv.h>

#include "base/buffer.h"

#define HTTPD_REQUEST_MAX     (256u << 10)
#define HTTPD_ANSWER_MAX      (1u << 20)
#define HTTPD_CONNECTIONS_MAX 4096u

struct httpd;

/* Spans are valid while `handle` runs. */
struct httpd_request {
    const char *method;  /* "POST" */
    struct span path;    /* with the query */
    struct span key;     /* Idempotency-Key without quotes; empty: none */
    struct span attempt; /* Sluice-Attempt */
    struct span body;
};

struct httpd_answer {
    int status;
    uint32_t delay_ms;
    uint32_t retry_after_s; /* 0: no such field */
    struct buffer *body;    /* empty at the start; JSON */
};

typedef void httpd_handle(void *context, const struct httpd_request *request,
                          struct httpd_answer *answer);

/* E_INVALID (host), E_IO (port in use, ...), E_NOMEM. */
MUST_CHECK int httpd_start(uv_loop_t *loop, const char *host, uint16_t port, httpd_handle *handle,
                           void *context, struct httpd **ret);
/* Closes listener and connections; after uv_run has returned, httpd_free. */
void httpd_stop(struct httpd *h);
void httpd_free(struct httpd *h);

#endif
