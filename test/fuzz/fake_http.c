#include "fake_http.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "net/wheel.h"

#define ANSWER_MAX  ((size_t)64 << 20)
#define LOOP_NOW_MS 1000u

static struct wheel wheel;
static struct net_item *posted;
static struct http_exchange *streaming; /* the last one; http_stream is the exchange itself */

void fake_exchange_init(struct http_exchange *x) {
    *x = (struct http_exchange){.replies = 0};
    http_request_init(&x->request);
    buffer_init(&x->headers, ANSWER_MAX);
    buffer_init(&x->body, ANSWER_MAX);
}

void fake_exchange_release(struct http_exchange *x) {
    http_request_release(&x->request);
    buffer_release(&x->headers);
    buffer_release(&x->body);
}

void http_hold_line(struct http_exchange *x) {
    (void)x;
}

/* ---- what was asked ---- */

enum http_method http_method(const struct http_exchange *x) {
    return x->request.method;
}

struct span http_path(const struct http_exchange *x) {
    return x->request.path;
}

struct span http_query(const struct http_exchange *x) {
    return x->request.query;
}

struct span http_body(const struct http_exchange *x) {
    return buffer_span(&x->request.body);
}

struct span http_header_find(const struct http_exchange *x, const char *name) {
    return http_request_header(&x->request, name);
}

const struct http_header *http_headers(const struct http_exchange *x, size_t *ret_count) {
    *ret_count = x->request.header_count;
    return x->request.headers;
}

struct span http_peer(const struct http_exchange *x) {
    (void)x;
    return span_text("127.0.0.1:4711");
}

bool http_peer_is_loopback(const struct http_exchange *x) {
    (void)x;
    return true;
}

/* ---- what is answered ---- */

static void take(struct buffer *to, struct span s) {
    int rc = buffer_append_span(to, s);
    assert(rc == 0);
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct span headers,
                struct span body) {
    x->replies++;
    x->status = status;
    snprintf(x->content_type, sizeof x->content_type, "%s",
             content_type != NULL ? content_type : "");
    take(&x->headers, headers);
    take(&x->body, body);
}

struct http_stream *http_stream_start(struct http_exchange *x, int status, const char *content_type,
                                      struct span headers, void (*closed)(void *arg), void *arg) {
    http_reply(x, status, content_type, headers, span_of(NULL, 0));
    x->streaming = true;
    x->closed = closed;
    x->closed_arg = arg;
    streaming = x;
    return (struct http_stream *)(void *)x;
}

int http_stream_write(struct http_stream *s, struct span data) {
    struct http_exchange *x = (struct http_exchange *)(void *)s;
    assert(x == streaming);
    take(&x->body, data);
    return 0;
}

void http_stream_end(struct http_stream *s) {
    struct http_exchange *x = (struct http_exchange *)(void *)s;
    assert(x->streaming);
    x->streaming = false;
}

void http_server_stats(const struct http_server *s, struct http_server_stats *ret) {
    (void)s;
    *ret = (struct http_server_stats){.accepted = 1};
}

/* ---- the loop ---- */

void net_loop_post(struct net_loop *loop, struct net_item *item) {
    (void)loop;
    struct net_item **at = &posted;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    item->next = NULL;
    *at = item;
}

void fake_loop_reset(void) {
    wheel_init(&wheel, LOOP_NOW_MS);
    posted = NULL;
}

bool fake_loop_run(void) {
    bool any = posted != NULL;
    while (posted != NULL) {
        struct net_item *item = posted;
        posted = item->next;
        item->run(item);
    }
    return any;
}

uint64_t net_loop_now_ms(const struct net_loop *loop) {
    (void)loop;
    return LOOP_NOW_MS;
}

void net_loop_again(struct net_loop *loop) {
    (void)loop; /* who runs what was posted submits until there is nothing more */
}

struct wheel *net_loop_wheel(struct net_loop *loop) {
    (void)loop;
    return &wheel;
}
