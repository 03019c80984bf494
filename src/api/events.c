#include "api/events.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/gather.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/sse.h"
#include "net/wheel.h"

#define TICK_MS         250u
#define FRESH_NS        (200 * NS_PER_MS) /* what another loop made so recently is used again */
#define SUBSCRIBERS_MAX 1000u
#define TEXT_MAX_BYTES  ((size_t)8 << 20)

struct subscriber {
    struct list_node node;
    struct events *events;
    struct http_stream *stream;
};

struct events {
    struct api_loop *loop;
    struct list subscribers;
    uint32_t count;
    struct wheel_timer timer;
    bool ticking; /* the timer is set or a gather is under way */
    uint64_t id;
    struct buffer text; /* of the present event */
};

static void tick(struct wheel_timer *t);

int events_create(struct api_loop *l, struct events **ret) {
    struct events *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return E_NOMEM;
    }
    e->loop = l;
    list_init(&e->subscribers);
    wheel_timer_init(&e->timer, tick);
    buffer_init(&e->text, TEXT_MAX_BYTES);
    *ret = e;
    return 0;
}

static void leave(struct subscriber *s) {
    list_remove(&s->node);
    s->events->count--;
    http_stream_end(s->stream);
    free(s);
}

void events_free(struct events *e) {
    struct list_node *n;
    if (e == NULL) {
        return;
    }
    while ((n = list_pop(&e->subscribers)) != NULL) {
        free(CONTAINER_OF(n, struct subscriber, node));
    }
    buffer_release(&e->text);
    free(e);
}

static void again(struct events *e) {
    e->ticking = !list_empty(&e->subscribers);
    if (e->ticking) {
        wheel_set(net_loop_wheel(e->loop->loop), &e->timer,
                  net_loop_now_ms(e->loop->loop) + TICK_MS);
    } else {
        wheel_cancel(net_loop_wheel(e->loop->loop), &e->timer);
    }
}

static void send_all(struct events *e, struct span data) {
    char id[24];
    int size = snprintf(id, sizeof id, "%llu", (unsigned long long)++e->id);
    buffer_clear(&e->text);
    if (sse_append(&e->text, span_of(id, (size_t)size), span_text("counters"), data) != 0) {
        return;
    }
    struct list_node *next;
    for (struct list_node *n = list_first(&e->subscribers); n != NULL; n = next) {
        struct subscriber *s = CONTAINER_OF(n, struct subscriber, node);
        next = list_next(&e->subscribers, n);
        if (http_stream_write(s->stream, buffer_span(&e->text)) != 0) {
            leave(s);
        }
    }
}

/* The newest text, if some loop made it a moment ago. */
static bool send_cached(struct events *e) {
    struct api *api = e->loop->api;
    struct buffer copy;
    buffer_init(&copy, TEXT_MAX_BYTES);
    pthread_mutex_lock(&api->lock);
    bool fresh = api->counters.size > 0 && clock_monotonic_ns() - api->counters_ns < FRESH_NS &&
                 buffer_append_span(&copy, buffer_span(&api->counters)) == 0;
    pthread_mutex_unlock(&api->lock);
    if (fresh) {
        send_all(e, buffer_span(&copy));
    }
    buffer_release(&copy);
    return fresh;
}

static void gathered(struct gather *g, void *arg) {
    struct events *e = arg;
    struct api *api = e->loop->api;
    struct buffer text;
    struct json_out out;
    buffer_init(&text, TEXT_MAX_BYTES);
    out_init(&out, &text);
    counters_write(g, &out);
    if (!out.failed) {
        send_all(e, buffer_span(&text));
        pthread_mutex_lock(&api->lock);
        buffer_release(&api->counters);
        api->counters = text;
        api->counters_ns = clock_monotonic_ns();
        pthread_mutex_unlock(&api->lock);
    } else {
        buffer_release(&text);
    }
    again(e);
}

static void tick(struct wheel_timer *t) {
    struct events *e = CONTAINER_OF(t, struct events, timer);
    if (list_empty(&e->subscribers) || send_cached(e) || gather_start(e->loop, gathered, e) != 0) {
        again(e);
    }
}

static void closed(void *arg) {
    leave(arg);
}

void events_subscribe(struct events *e, struct call *c) {
    struct subscriber *s = e->count < SUBSCRIBERS_MAX ? calloc(1, sizeof *s) : NULL;
    if (s == NULL || atomic_load(&e->loop->api->stopping)) {
        free(s);
        call_problem(c, PROBLEM_BUSY, "too many event streams, or the server is stopping");
        return;
    }
    call_header(c, "Cache-Control", span_text("no-store"));
    call_header(c, "X-Accel-Buffering", span_text("no"));
    call_header(c, "X-Correlation-Id", span_of(c->correlation, c->correlation_size));
    s->events = e;
    s->stream = http_stream_start(c->x, 200, "text/event-stream", buffer_span(&e->loop->headers),
                                  closed, s);
    buffer_clear(&e->loop->headers);
    call_give(c);
    list_append(&e->subscribers, &s->node);
    e->count++;
    if (!e->ticking) {
        e->ticking = true;
        tick(&e->timer);
    }
}
