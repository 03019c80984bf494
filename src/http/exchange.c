#include "http/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "http/server_internal.h"

#define POOL_EXCHANGES   1024u
#define KEEP_REPLY_BYTES (16u * 1024)

static struct http_exchange *exchange_new(void) {
    struct http_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    http_request_init(&x->request);
    buffer_init(&x->reply, SIZE_MAX / 2);
    return x;
}

struct http_exchange *http_exchange_take(struct http_server *s, struct http_connection *c) {
    struct http_exchange *x = s->pool;
    if (x != NULL) {
        s->pool = x->next;
        s->pooled--;
    } else {
        x = exchange_new();
        if (x == NULL)
            return NULL;
    }
    x->connection = c;
    c->exchanges++;
    x->next = NULL;
    x->state = EXCHANGE_READING;
    x->close_after = x->holds_line = x->chunked = x->silent = x->ended = x->gone = false;
    x->closed = NULL;
    memset(x->user, 0, sizeof x->user);
    return x;
}

void http_exchange_account(struct http_exchange *x) {
    size_t held = http_request_memory_bytes(&x->request) + x->reply.capacity;
    x->connection->server->budget.used_bytes += held - x->accounted;
    x->accounted = held;
}

void http_exchange_free(struct http_exchange *x) {
    http_request_release(&x->request);
    buffer_release(&x->reply);
    free(x);
}

/* Pooled exchanges are not in the budget: it is for what clients hold. */
void http_exchange_recycle(struct http_exchange *x) {
    struct http_server *s = x->connection->server;
    s->budget.used_bytes -= x->accounted;
    x->accounted = 0;
    x->connection->exchanges--;
    x->connection = NULL;
    if (s->pooled == POOL_EXCHANGES) {
        http_exchange_free(x);
    } else {
        http_request_clear(&x->request);
        if (x->reply.capacity > KEEP_REPLY_BYTES)
            buffer_release(&x->reply);
        else
            buffer_clear(&x->reply);
        x->next = s->pool;
        s->pool = x;
        s->pooled++;
    }
    http_server_feed_starved(s);
}

/* ---- what the handler sees ---- */

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
    return span_of(x->connection->peer, x->connection->peer_size);
}

bool http_peer_is_loopback(const struct http_exchange *x) {
    return x->connection->loopback;
}

struct net_loop *http_loop(const struct http_exchange *x) {
    return x->connection->server->loop;
}

void http_hold_line(struct http_exchange *x) {
    x->holds_line = true;
}

void *http_user(struct http_exchange *x) {
    return x->user;
}
