/*
 * A real engine and a real dispatch against whatever URL it is given; test_dispatch.py plays the far side.
 *
 *      dispatch_probe <folder> <url> [name=value ...]
 *
 * Defines a destination and a queue, publishes `messages` bodies, waits until none is waiting any more (or for
 * `wait_ms`), and prints one line per message and one with numbers:
 *
 *      message <receipt> state=<n> reason=<n> status=<n> error=<n> attempts=<n>
 *      stats started=<n> ... seconds=<s> cpu=<s>
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/dispatch.h"

#define MESSAGES_MAX 1000000u

struct probe {
    struct dispatch *dispatch;
    struct engine *engine;
    struct destination_def destination;
    struct queue_def queue;
    struct envelope envelope;
    uint64_t body_bytes;
    uint32_t messages;
    uint64_t wait_ms;
    uint64_t gap_us; /* between two publishes; 0: all at once */
    uint64_t grace_ms;
    uint32_t connections;
    uint64_t *ids;
};

static void must(int rc, const char *what) {
    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", what, error_text(rc));
        exit(2);
    }
}

static void on_starts(void *context, const struct attempt_start *starts, size_t count) {
    struct probe *p = context;
    dispatch_start(p->dispatch, starts, count);
}

static void on_failed(void *context, const char *message) {
    fprintf(stderr, "the log failed: %s\n", message);
    _exit(3);
}

/* ---- settings ---- */

static void set_text(char **field, const char *value) {
    must(def_set_text(field, span_text(value)), "setting");
}

/* "\n" written as backslash n, so that lines fit into an argument; done in place. */
static char *unescape(char *text) {
    char *out = text;
    for (const char *p = text; *p != '\0'; p++) {
        if (p[0] == '\\' && p[1] == 'n') {
            *out++ = '\n';
            p++;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
    return text;
}

static bool set_destination(struct destination_def *d, const char *name, char *value) {
    if (strcmp(name, "method") == 0) {
        set_text(&d->method, value);
    } else if (strcmp(name, "headers") == 0) {
        set_text(&d->headers, unescape(value));
    } else if (strcmp(name, "ca_file") == 0) {
        set_text(&d->ca_file, value);
    } else if (strcmp(name, "retry_statuses") == 0) {
        set_text(&d->retry_statuses, value);
    } else if (strcmp(name, "allow_private") == 0) {
        d->allow_private = atoi(value) != 0;
    } else if (strcmp(name, "http2") == 0) {
        d->http2 = atoi(value) != 0;
    } else if (strcmp(name, "timeout_ms") == 0) {
        d->timeout_ns = strtoull(value, NULL, 10) * NS_PER_MS;
    } else if (strcmp(name, "first_byte_ms") == 0) {
        d->first_byte_timeout_ns = strtoull(value, NULL, 10) * NS_PER_MS;
    } else if (strcmp(name, "connect_ms") == 0) {
        d->connect_timeout_ns = strtoull(value, NULL, 10) * NS_PER_MS;
    } else if (strcmp(name, "max_response") == 0) {
        d->max_response_bytes = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcmp(name, "rate") == 0) {
        d->pace.count = (uint32_t)strtoul(value, NULL, 10);
        d->pace.burst = 0;
    } else if (strcmp(name, "strict") == 0) {
        d->pace.mode = atoi(value) ? PACE_STRICT : PACE_SMOOTH;
    } else if (strcmp(name, "concurrency") == 0) {
        d->pace.concurrency = (uint32_t)strtoul(value, NULL, 10);
    } else {
        return false;
    }
    return true;
}

static bool set_envelope(struct envelope *e, const char *name, char *value) {
    if (strcmp(name, "content_type") == 0) {
        e->content_type = span_text(value);
    } else if (strcmp(name, "traceparent") == 0) {
        e->traceparent = span_text(value);
    } else if (strcmp(name, "tracestate") == 0) {
        e->tracestate = span_text(value);
    } else if (strcmp(name, "correlation_id") == 0) {
        e->correlation_id = span_text(value);
    } else if (strcmp(name, "message_headers") == 0) {
        e->headers = span_text(unescape(value));
    } else {
        return false;
    }
    return true;
}

static bool set_run(struct probe *p, const char *name, const char *value) {
    uint64_t number = strtoull(value, NULL, 10);
    if (strcmp(name, "messages") == 0) {
        assert(number <= MESSAGES_MAX);
        p->messages = (uint32_t)number;
    } else if (strcmp(name, "body_bytes") == 0) {
        p->body_bytes = number;
    } else if (strcmp(name, "wait_ms") == 0) {
        p->wait_ms = number;
    } else if (strcmp(name, "gap_us") == 0) {
        p->gap_us = number;
    } else if (strcmp(name, "grace_ms") == 0) {
        p->grace_ms = number;
    } else if (strcmp(name, "connections") == 0) {
        p->connections = (uint32_t)number;
    } else if (strcmp(name, "max_attempts") == 0) {
        p->queue.retry.max_attempts = (uint32_t)number;
    } else if (strcmp(name, "backoff_ms") == 0) {
        p->queue.retry.min_backoff_ns = p->queue.retry.max_backoff_ns = number * NS_PER_MS;
    } else {
        return false;
    }
    return true;
}

static void set(struct probe *p, char *argument) {
    char *value = strchr(argument, '=');
    assert(value != NULL);
    *value++ = '\0';
    if (!set_destination(&p->destination, argument, value) &&
        !set_envelope(&p->envelope, argument, value) && !set_run(p, argument, value)) {
        fprintf(stderr, "%s: unknown\n", argument);
        exit(2);
    }
}

/* ---- a run ---- */

static void define(struct probe *p) {
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("out");
    r.in.define.destination = &p->destination;
    must(engine_call(p->engine, &r), "define");
    if (r.refusal != REFUSAL_NONE) {
        fprintf(stderr, "%s: %s\n", r.error_pointer, r.error_detail);
        exit(2);
    }
    request_release(&r);
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("q");
    r.in.define.queue = &p->queue;
    must(engine_call(p->engine, &r), "define");
    assert(r.refusal == REFUSAL_NONE);
    request_release(&r);
}

/* Answers of a batch of publishes. */
struct batch {
    struct engine_port port;
    _Atomic uint32_t left;
};

static void on_delivered(struct engine_port *port, struct engine_request *first,
                         struct engine_request *last) {
    struct batch *b = (struct batch *)port;
    uint32_t count = 1;
    for (struct engine_request *r = first; r != last; r = r->next) {
        count++;
    }
    b->left -= count;
}

static void publish_batch(struct probe *p, struct span body, uint64_t *ids, uint32_t count) {
    struct engine_request *chain = calloc(count, sizeof *chain);
    struct batch b = {.port = {.deliver = on_delivered}, .left = count};
    for (uint32_t i = 0; i < count; i++) {
        request_init(&chain[i].r, REQUEST_QUEUE_PUBLISH);
        chain[i].r.name = chain[i].r.in.publish.queue = span_text("q");
        chain[i].r.in.publish.envelope = p->envelope;
        chain[i].r.in.publish.envelope.body = body;
        chain[i].port = &b.port;
        chain[i].next = i + 1 < count ? &chain[i + 1] : NULL;
    }
    must(engine_submit(p->engine, chain, &chain[count - 1], count), "publish");
    while (b.left > 0) {
        usleep(200);
    }
    for (uint32_t i = 0; i < count; i++) {
        assert(chain[i].r.refusal == REFUSAL_NONE);
        ids[i] = chain[i].r.receipt.id;
        request_release(&chain[i].r);
    }
    free(chain);
}

static void publish(struct probe *p) {
    char *body = malloc(p->body_bytes + 1);
    memset(body, 'b', p->body_bytes);
    uint32_t batch = p->gap_us == 0 ? 1000 : 1;
    for (uint32_t i = 0; i < p->messages; i += batch) {
        uint32_t count = p->messages - i < batch ? p->messages - i : batch;
        publish_batch(p, span_of(body, p->body_bytes), p->ids + i, count);
        usleep((useconds_t)p->gap_us);
    }
    free(body);
}

static uint64_t count_open(struct probe *p) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text("q");
    must(engine_call(p->engine, &r), "get");
    struct queue_info *q = &r.out.queue;
    uint64_t open = q->ready + q->delayed + q->in_flight + q->blocked;
    request_release(&r);
    return open;
}

static void wait_until_done(struct probe *p) {
    uint64_t until_ns = clock_monotonic_ns() + p->wait_ms * NS_PER_MS;
    while (count_open(p) > 0 && clock_monotonic_ns() < until_ns) {
        usleep(20000); /* each look is a request that waits for a flush */
    }
}

static void print_message(struct probe *p, uint64_t id) {
    struct request r;
    char text[18];
    receipt_format(id, text);
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = id;
    must(engine_call(p->engine, &r), "get");
    if (r.refusal == REFUSAL_NONE) {
        struct message_info *i = &r.out.message;
        printf("message %s state=%d reason=%d status=%u error=%u attempts=%u delay_ms=%" PRId64
               "\n",
               text, i->state, i->dead_reason, i->last_status, i->last_error, i->attempts,
               i->due_ns == 0 ? 0 : (int64_t)(i->due_ns - clock_real_ns()) / (int64_t)NS_PER_MS);
    }
    request_release(&r);
    request_init(&r, REQUEST_RECEIPT_GET);
    r.id = id;
    must(engine_call(p->engine, &r), "get");
    struct receipt_info *i = &r.out.receipt;
    if (r.refusal == REFUSAL_NONE && i->state >= MESSAGE_DONE) {
        printf("message %s state=%d reason=%d status=%u error=0 attempts=%u delay_ms=0\n", text,
               i->state, i->dead_reason, i->last_status, i->attempts);
    }
    request_release(&r);
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void run(struct probe *p) {
    double cpu = cpu_seconds();
    uint64_t began_ns = clock_monotonic_ns();
    publish(p);
    wait_until_done(p);
    double seconds = (double)(clock_monotonic_ns() - began_ns) / 1e9;
    cpu = cpu_seconds() - cpu;
    for (uint32_t i = 0; i < p->messages && i < 1000; i++) {
        print_message(p, p->ids[i]);
    }
    dispatch_stop(p->dispatch, (uint32_t)p->grace_ms);
    struct dispatch_stats s;
    dispatch_stats(p->dispatch, &s);
    printf("stats started=%" PRIu64 " succeeded=%" PRIu64 " failed=%" PRIu64 " timeouts=%" PRIu64
           " abandoned=%" PRIu64 " opened=%" PRIu64 " seconds=%.3f cpu=%.3f\n",
           s.started, s.succeeded, s.failed, s.timeouts, s.abandoned, s.connections_opened, seconds,
           cpu);
}

static void open_all(struct probe *p, const char *folder) {
    struct dispatch_options options = {.user_agent = "sluice/test",
                                       .connections_max = p->connections};
    must(dispatch_create(&options, &p->dispatch), "dispatch");
    struct engine_options e = {.directory = folder,
                               .context = p,
                               .start_attempts = on_starts,
                               .failed = on_failed,
                               .in_place = true};
    struct engine_recovery recovery;
    char text[512] = "";
    int rc = engine_open(&e, &recovery, text, &p->engine);
    must(rc, text);
    must(dispatch_run(p->dispatch, p->engine), "dispatch_run");
}

int main(int argc, char **argv) {
    assert(argc >= 3);
    struct probe p = {.messages = 1, .body_bytes = 20, .wait_ms = 60000, .grace_ms = 1000};
    must(destination_def_init(&p.destination), "init");
    must(queue_def_init(&p.queue), "init");
    set_text(&p.destination.name, "out");
    set_text(&p.destination.url, argv[2]);
    set_text(&p.queue.name, "q");
    set_text(&p.queue.destination, "out");
    p.destination.allow_private = true;
    for (int i = 3; i < argc; i++) {
        set(&p, argv[i]);
    }
    p.ids = calloc(p.messages + 1, sizeof *p.ids);
    open_all(&p, argv[1]);
    define(&p);
    run(&p);
    engine_close(p.engine, false);
    dispatch_free(p.dispatch);
    destination_def_release(&p.destination);
    queue_def_release(&p.queue);
    free(p.ids);
    return 0;
}
