#include "http/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/server_internal.h"

#define LISTEN_BACKLOG 1024

/* Over the limit this many more connections are told 503; beyond that they are just closed. */
#define TURNED_AWAY_MAX 64u

/* Who reads nothing for as long is cut off while others wait for the memory. */
#define RELIEF_MS 1000u

/* http-parser has a limit of its own, which ours must not reach. */
#define HEAD_BYTES_MAX (64u * 1024)

void http_limits_default(struct http_limits *l) {
    *l = (struct http_limits){
        .request_line_bytes = 8192,
        .header_bytes = 16384,
        .header_count = 100,
        .body_bytes = 1 << 20,
        .pipeline_depth = 64,
        .connections = 10000,
        .memory_bytes = 256u << 20,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 30000,
        .idle_timeout_ms = 60000,
        .write_timeout_ms = 30000,
    };
}

/* ---- the end ---- */

static void free_server(struct http_server *s) {
    while (s->pool != NULL) {
        struct http_exchange *x = s->pool;
        s->pool = x->next;
        http_exchange_free(x);
    }
    wheel_cancel(net_loop_wheel(s->loop), &s->relief);
    free(s->peers);
    free(s);
}

/* The server is done when its listener and all memory of connections have gone. */
static void check_end(struct http_server *s) {
    if (!s->listener_closed || s->connection_count > 0)
        return;
    assert(s->budget.used_bytes == 0);
    if (s->abandoned) {
        free_server(s);
    } else if (s->done != NULL) {
        void (*done)(void *arg) = s->done;
        s->done = NULL;
        done(s->done_arg); /* may free s */
    }
}

void http_server_connection_freed(struct http_server *s) {
    assert(s->connection_count > 0);
    s->connection_count--;
    check_end(s);
}

static void on_listener_closed(struct net_listener *l) {
    struct http_server *s = CONTAINER_OF(l, struct http_server, listener);
    s->listener_closed = true;
    check_end(s);
}

static void stop_listening(struct http_server *s) {
    s->stopping = true;
    net_listener_close(&s->listener);
}

void http_server_stop(struct http_server *s, void (*done)(void *arg), void *arg) {
    assert(!s->stopping);
    s->done = done;
    s->done_arg = arg;
    stop_listening(s);
    struct list_node *next;
    for (struct list_node *n = list_first(&s->connections); n != NULL; n = next) {
        next = list_next(&s->connections, n);
        http_connection_wind_up(CONTAINER_OF(n, struct http_connection, node));
    }
}

void http_server_free(struct http_server *s) {
    if (s == NULL)
        return;
    s->done = NULL;
    s->abandoned = true;
    if (!s->listener_closed)
        stop_listening(s);
    struct list_node *next;
    for (struct list_node *n = list_first(&s->connections); n != NULL; n = next) {
        next = list_next(&s->connections, n);
        net_stream_close(&CONTAINER_OF(n, struct http_connection, node)->stream);
    }
    check_end(s);
}

/* ---- the beginning ---- */

static void on_ready(struct net_listener *l) {
    struct http_server *s = CONTAINER_OF(l, struct http_server, listener);
    uint32_t limit = s->options.limits.connections;
    if (s->stats.open_connections >= limit + TURNED_AWAY_MAX)
        net_listener_reject(l);
    else
        http_connection_accept(s, s->stats.open_connections >= limit);
}

static void on_relief(struct wheel_timer *t);

static struct http_server *new_server(struct net_loop *loop,
                                      const struct http_server_options *options) {
    struct http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->peers = peers_create();
    if (s->peers == NULL) {
        free(s);
        return NULL;
    }
    s->loop = loop;
    s->options = *options;
    s->options.host = NULL;
    s->budget.max_bytes = options->limits.memory_bytes;
    list_init(&s->connections);
    list_init(&s->starved);
    wheel_timer_init(&s->relief, on_relief);
    return s;
}

static int check_limits(const struct http_limits *l, char error_text[256]) {
    if (l->request_line_bytes > HEAD_BYTES_MAX || l->header_bytes > HEAD_BYTES_MAX ||
        l->request_line_bytes + l->header_bytes > HEAD_BYTES_MAX) {
        snprintf(error_text, 256, "limits: request line and header fields together over %u bytes",
                 HEAD_BYTES_MAX);
        return E_INVALID;
    }
    if (l->pipeline_depth == 0 || l->connections == 0 ||
        l->connections > UINT32_MAX - TURNED_AWAY_MAX) {
        snprintf(error_text, 256, "limits: pipeline depth or connections out of range");
        return E_INVALID;
    }
    return 0;
}

static int listen_on(struct http_server *s, const struct http_server_options *options,
                     char error_text[256]) {
    struct net_listener_options listen = {.host = options->host,
                                          .port = options->port,
                                          .joins = options->joins,
                                          .backlog = LISTEN_BACKLOG,
                                          .ready = on_ready,
                                          .closed = on_listener_closed};
    bool closing;
    int rc = net_listener_open(&s->listener, s->loop, &listen, error_text, &closing);
    if (rc == 0)
        return 0;
    s->stopping = s->abandoned = true;
    if (!closing) {
        s->listener_closed = true;
        check_end(s);
    }
    return rc;
}

int http_server_start(struct net_loop *loop, const struct http_server_options *options,
                      char error_text[256], struct http_server **ret_server) {
    int rc = check_limits(&options->limits, error_text);
    if (rc != 0)
        return rc;
    struct http_server *s = new_server(loop, options);
    if (s == NULL) {
        snprintf(error_text, 256, "out of memory");
        return E_NOMEM;
    }
    s->stream_options = (struct net_stream_options){
        .handler = &HTTP_CONNECTION_HANDLER,
        .tls = options->tls,
        .budget = &s->budget,
        .input_max_bytes = 2 * NET_READ_BYTES,
        .write_timeout_ms = options->limits.write_timeout_ms,
        .handshake_timeout_ms = options->limits.head_timeout_ms,
    };
    rc = listen_on(s, options, error_text);
    if (rc == 0)
        *ret_server = s;
    return rc;
}

uint16_t http_server_port(const struct http_server *s) {
    return s->listener.port;
}

/* ---- shared by connections ---- */

const char *http_server_date(struct http_server *s) {
    uint64_t now_ms = net_loop_now_ms(s->loop);
    if (LIKELY(now_ms < s->date_until_ms))
        return s->date;
    uint64_t real_ms = clock_real_ns() / NS_PER_MS;
    time_t seconds = (time_t)(real_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char text[96];
    int size = snprintf(text, sizeof text, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                        days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
                        tm.tm_hour, tm.tm_min, tm.tm_sec);
    assert(size == (int)DATE_BYTES);
    memcpy(s->date, text, DATE_BYTES);
    s->date_until_ms = now_ms + 1000 - real_ms % 1000;
    return s->date;
}

static void look_at_all(struct http_server *s, bool cut) {
    struct list_node *next;
    for (struct list_node *n = list_first(&s->connections); n != NULL; n = next) {
        struct http_connection *c = CONTAINER_OF(n, struct http_connection, node);
        next = list_next(&s->connections, n);
        if (cut && http_connection_stuck(c)) {
            stat_add(&s->stats.timeouts, 1);
            net_stream_close(&c->stream);
        }
        http_connection_look(c);
    }
    wheel_set(net_loop_wheel(s->loop), &s->relief, net_loop_now_ms(s->loop) + RELIEF_MS);
}

static void on_relief(struct wheel_timer *t) {
    struct http_server *s = CONTAINER_OF(t, struct http_server, relief);
    if (!list_empty(&s->starved))
        look_at_all(s, true);
}

void http_server_starve(struct http_server *s, struct list_node *starved) {
    list_append(&s->starved, starved);
    if (s->relief.due_ms == WHEEL_NEVER)
        look_at_all(s, false);
}

/* Below three quarters, so that it does not start and stop with every request. */
void http_server_feed_starved(struct http_server *s) {
    if (LIKELY(list_empty(&s->starved)) ||
        s->budget.used_bytes > s->options.limits.memory_bytes / 4 * 3)
        return;
    struct list_node *next;
    for (struct list_node *n = list_first(&s->starved); n != NULL; n = next) {
        next = list_next(&s->starved, n);
        http_connection_feed(CONTAINER_OF(n, struct http_connection, starved));
    }
}

void http_server_stats(const struct http_server *s, struct http_server_stats *ret) {
    const struct http_server_stats *from = &s->stats;
    ret->accepted = __atomic_load_n(&from->accepted, __ATOMIC_RELAXED);
    ret->requests = __atomic_load_n(&from->requests, __ATOMIC_RELAXED);
    ret->responses_5xx = __atomic_load_n(&from->responses_5xx, __ATOMIC_RELAXED);
    ret->protocol_errors = __atomic_load_n(&from->protocol_errors, __ATOMIC_RELAXED);
    ret->timeouts = __atomic_load_n(&from->timeouts, __ATOMIC_RELAXED);
    ret->bytes_in = __atomic_load_n(&from->bytes_in, __ATOMIC_RELAXED);
    ret->bytes_out = __atomic_load_n(&from->bytes_out, __ATOMIC_RELAXED);
    ret->open_connections = __atomic_load_n(&from->open_connections, __ATOMIC_RELAXED);
}
