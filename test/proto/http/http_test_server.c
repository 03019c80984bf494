/*
 * A small server made of the http library, for tests that throw raw bytes at it.
 *
 *   http_test_server [limit=value ...] [cert=FILE key=FILE [ca=FILE]]
 *
 * Prints "port N" and serves on 127.0.0.1 until a line on stdin: "stop" winds up gracefully, end of
 * input cuts everything off. Then prints its statistics, one "name value" a line.
 *
 *   /noop         200, empty object        /echo          the body back
 *   /what         method, path, query and number of headers and body bytes, as text
 *   /serial       how many requests came before this one, as text
 *   /later?ms=N   answers after N ms       /held          how many /hold wait, as text
 *   /later?ms=N&n=M  the same with M bytes
 *   /hold         answered when somebody asks /release
 *   /big?n=N      N bytes                  /close         200 and close
 *   /stream?n=N   N events, then the end   /endless       events until the client does not keep up
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "http/server.h"
#include "net/tls.h"

#define HELD_MAX 4096

struct held {
    uv_timer_t timer;
    struct http_exchange *x;
    uint64_t size; /* 0: a word */
};

struct endless {
    uv_timer_t timer;
    struct http_stream *stream;
};

struct tester {
    size_t requests;
    struct net_loop *loop;
    struct http_server *server;
    struct net_item stop;
    bool graceful;
    struct http_exchange *held[HELD_MAX];
    size_t held_count;
    unsigned closed_streams;
    unsigned streams_over_limit;
};

static struct tester tester;

static const struct span NONE = {NULL, 0};

static uint64_t number_after(struct span query, const char *prefix) {
    char text[64];
    size_t size = query.size < sizeof text - 1 ? query.size : sizeof text - 1;
    memcpy(text, query.data, size);
    text[size] = '\0';
    const char *at = strstr(text, prefix);
    return at == NULL ? 0 : strtoull(at + strlen(prefix), NULL, 10);
}

/* ---- late answers ---- */

static void free_held(uv_handle_t *handle) {
    free(CONTAINER_OF(handle, struct held, timer));
}

static void send_big(struct http_exchange *x, uint64_t size) {
    char *data = malloc(size + 1);
    assert(data != NULL);
    memset(data, 'b', size);
    http_reply(x, 200, "application/octet-stream", NONE, span_of(data, size));
    free(data);
}

static void on_later(uv_timer_t *timer) {
    struct held *h = CONTAINER_OF(timer, struct held, timer);
    if (h->size > 0)
        send_big(h->x, h->size);
    else
        http_reply(h->x, 200, "text/plain", NONE, span_text("late\n"));
    uv_close((uv_handle_t *)timer, free_held);
}

static void answer_later(struct http_exchange *x, uint64_t ms, uint64_t size) {
    struct held *h = calloc(1, sizeof *h);
    assert(h != NULL);
    h->x = x;
    h->size = size;
    uv_timer_init(net_loop_uv(http_loop(x)), &h->timer);
    uv_timer_start(&h->timer, on_later, ms, 0);
}

/* Newest first, so that pipelined answers come out of order. */
static void release_all(void) {
    while (tester.held_count > 0)
        http_reply(tester.held[--tester.held_count], 200, "text/plain", NONE, span_text("held\n"));
}

/* ---- streams ---- */

static void free_endless(uv_handle_t *handle) {
    free(CONTAINER_OF(handle, struct endless, timer));
}

static void end_endless(struct endless *e) {
    http_stream_end(e->stream);
    tester.closed_streams++;
    uv_close((uv_handle_t *)&e->timer, free_endless);
}

static void on_endless_closed(void *arg) {
    end_endless(arg);
}

static void on_endless_tick(uv_timer_t *timer) {
    struct endless *e = CONTAINER_OF(timer, struct endless, timer);
    static char block[60000];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 4; i++) {
        int rc = http_stream_write(e->stream, span_of(block, sizeof block));
        if (rc != 0) {
            tester.streams_over_limit += rc == E_LIMIT;
            end_endless(e);
            return;
        }
    }
}

static void start_endless(struct http_exchange *x) {
    struct endless *e = calloc(1, sizeof *e);
    assert(e != NULL);
    uv_timer_init(net_loop_uv(http_loop(x)), &e->timer);
    e->stream = http_stream_start(x, 200, "text/event-stream", NONE, on_endless_closed, e);
    uv_timer_start(&e->timer, on_endless_tick, 1, 5);
}

static void count_closed(void *arg) {
    (void)arg;
    tester.closed_streams++;
}

static void stream_some(struct http_exchange *x, uint64_t count) {
    struct http_stream *s =
        http_stream_start(x, 200, "text/event-stream", NONE, count_closed, NULL);
    for (uint64_t i = 0; i < count; i++) {
        char line[64];
        int size = snprintf(line, sizeof line, "data: %llu\n\n", (unsigned long long)i);
        if (http_stream_write(s, span_of(line, (size_t)size)) != 0)
            break;
    }
    http_stream_end(s);
}

/* ---- the rest ---- */

static void describe(struct http_exchange *x) {
    static const char *const methods[] = {"GET",   "HEAD",   "POST",   "PUT",
                                          "PATCH", "DELETE", "OPTIONS"};
    size_t headers;
    (void)http_headers(x, &headers);
    char text[1024];
    int size =
        snprintf(text, sizeof text, "%s %.*s?%.*s %zu %zu\n", methods[http_method(x)],
                 SPAN_ARG(http_path(x)), SPAN_ARG(http_query(x)), headers, http_body(x).size);
    http_reply(x, 200, "text/plain", NONE, span_of(text, (size_t)size));
}

static void reply_number(struct http_exchange *x, size_t number) {
    char text[24];
    int size = snprintf(text, sizeof text, "%zu\n", number);
    http_reply(x, 200, "text/plain", NONE, span_of(text, (size_t)size));
}

static void on_request(void *context, struct http_exchange *x) {
    (void)context;
    size_t serial = tester.requests++;
    struct span path = http_path(x);
    if (span_is(path, "/noop")) {
        http_reply(x, 200, "application/json", NONE, span_text("{}"));
    } else if (span_is(path, "/echo")) {
        http_reply(x, 200, "application/octet-stream", NONE, http_body(x));
    } else if (span_is(path, "/what")) {
        describe(x);
    } else if (span_is(path, "/serial")) {
        reply_number(x, serial);
    } else if (span_is(path, "/later")) {
        answer_later(x, number_after(http_query(x), "ms="), number_after(http_query(x), "n="));
    } else if (span_is(path, "/hold") && tester.held_count < HELD_MAX) {
        tester.held[tester.held_count++] = x;
    } else if (span_is(path, "/held")) {
        reply_number(x, tester.held_count);
    } else if (span_is(path, "/release")) {
        http_reply(x, 204, NULL, NONE, NONE);
        release_all();
    } else if (span_is(path, "/big")) {
        send_big(x, number_after(http_query(x), "n="));
    } else if (span_is(path, "/close")) {
        http_reply_close(x, 200, "text/plain", NONE, span_text("bye\n"));
    } else if (span_is(path, "/stream")) {
        stream_some(x, number_after(http_query(x), "n="));
    } else if (span_is(path, "/endless")) {
        start_endless(x);
    } else {
        http_reply(x, 404, NULL, NONE, NONE);
    }
}

static size_t problem(void *context, int status, const char *detail, char *out, size_t size) {
    (void)context;
    int length = snprintf(out, size, "{\"status\":%d,\"detail\":\"%s\"}", status, detail);
    return length < 0 || (size_t)length >= size ? 0 : (size_t)length;
}

/* ---- the end ---- */

static void finish(void *arg) {
    (void)arg;
    struct http_server_stats s;
    http_server_stats(tester.server, &s);
    printf("accepted %llu\nrequests %llu\nprotocol_errors %llu\ntimeouts %llu\nopen %u\n"
           "closed_streams %u\nstreams_over_limit %u\n",
           (unsigned long long)s.accepted, (unsigned long long)s.requests,
           (unsigned long long)s.protocol_errors, (unsigned long long)s.timeouts,
           s.open_connections, tester.closed_streams, tester.streams_over_limit);
    http_server_free(tester.server);
    net_loop_stop(tester.loop);
}

static void on_stop(struct net_item *item) {
    (void)item;
    if (tester.graceful) {
        release_all();
        http_server_stop(tester.server, finish, NULL);
    } else {
        http_server_free(tester.server);
        release_all();
        net_loop_stop(tester.loop);
    }
}

/* ---- the beginning ---- */

struct setting {
    const char *name;
    size_t offset;
    size_t size;
};

#define SETTING(field)                                                                             \
    { #field, offsetof(struct http_limits, field), sizeof(((struct http_limits *)NULL)->field) }

static void set_limit(struct http_limits *l, const char *name, size_t size, uint64_t value) {
    static const struct setting settings[] = {
        SETTING(request_line_bytes), SETTING(header_bytes),     SETTING(header_count),
        SETTING(body_bytes),         SETTING(pipeline_depth),   SETTING(connections),
        SETTING(memory_bytes),       SETTING(head_timeout_ms),  SETTING(body_timeout_ms),
        SETTING(idle_timeout_ms),    SETTING(write_timeout_ms),
    };
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        const struct setting *s = &settings[i];
        if (strlen(s->name) != size || memcmp(s->name, name, size) != 0)
            continue;
        uint32_t small = (uint32_t)value;
        memcpy((char *)l + s->offset, s->size == 4 ? (void *)&small : (void *)&value, s->size);
        return;
    }
    fprintf(stderr, "unknown limit %s\n", name);
    exit(2);
}

static void read_argument(struct http_server_options *o, struct tls_options *tls,
                          const char *text) {
    const char *value = strchr(text, '=');
    if (value == NULL) {
        fprintf(stderr, "expected name=value, not %s\n", text);
        exit(2);
    }
    size_t size = (size_t)(value++ - text);
    if (strncmp(text, "cert=", 5) == 0)
        tls->certificate_file = value;
    else if (strncmp(text, "key=", 4) == 0)
        tls->key_file = value;
    else if (strncmp(text, "ca=", 3) == 0)
        tls->client_ca_file = value;
    else if (strncmp(text, "port=", 5) == 0)
        o->port = (uint16_t)strtoul(value, NULL, 10);
    else
        set_limit(&o->limits, text, size, strtoull(value, NULL, 10));
}

int main(int argc, char **argv) {
    struct tls_options tls = {0};
    struct http_server_options options = {
        .host = "127.0.0.1", .handle = on_request, .problem = problem};
    http_limits_default(&options.limits);
    for (int i = 1; i < argc; i++)
        read_argument(&options, &tls, argv[i]);
    char error[256];
    struct tls_findings found;
    if (tls.certificate_file != NULL && tls_context_create(&tls, &found, &options.tls) != 0) {
        fprintf(stderr, "%s\n", tls_findings_first(&found));
        return 1;
    }
    struct net_loop_options loop_options = {.name = "http-test"};
    if (net_loop_create(&loop_options, &tester.loop) != 0)
        return 1;
    if (http_server_start(tester.loop, &options, error, &tester.server) != 0) {
        fprintf(stderr, "%s\n", error);
        net_loop_free(tester.loop);
        return 1;
    }
    printf("port %u\n", http_server_port(tester.server));
    fflush(stdout);
    if (net_loop_run(tester.loop) != 0)
        return 1;
    char line[16];
    tester.graceful = fgets(line, sizeof line, stdin) != NULL;
    tester.stop.run = on_stop;
    net_loop_post(tester.loop, &tester.stop);
    net_loop_free(tester.loop);
    tls_context_free(options.tls);
    return 0;
}
