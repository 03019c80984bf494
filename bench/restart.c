/*
 * bench/restart - what a start costs with many messages queued.
 *
 *      restart <folder> [messages, default 10,000,000] [snapshot|replay]
 *
 * Fills a fresh folder through the engine, 100-byte bodies, if it is not there yet; ends with a snapshot or,
 * with `replay`, without any. Then opens it and says how long the parts took: the log's check of
 * what it has, the load of the snapshot, the replay. The page cache is as the fill left it; drop it
 * (/proc/sys/vm/drop_caches) and run again on the same folder for a cold start.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"

#define CHAIN      256u
#define UNDER_WAY  32768u
#define BODY_BYTES 100u

struct filler {
    struct engine_port port;
    _Atomic uint64_t answered;
};

static void die(const char *what, int error, const char *text) {
    fprintf(stderr, "restart: %s: %s: %s\n", what, error_text(error), text);
    exit(1);
}

static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last) {
    struct filler *f = CONTAINER_OF(port, struct filler, port);
    (void)last;
    while (first != NULL) {
        struct engine_request *next = first->next;
        if (first->r.refusal != REFUSAL_NONE)
            die("publish", E_CONFLICT, refusal_name(first->r.refusal));
        request_release(&first->r);
        free(first);
        atomic_fetch_add(&f->answered, 1);
        first = next;
    }
}

static struct engine_request *new_publish(struct filler *f, struct engine_request *next) {
    static const uint8_t body[BODY_BYTES];
    struct engine_request *q = calloc(1, sizeof(*q));
    if (q == NULL)
        die("fill", E_NOMEM, "");
    request_init(&q->r, REQUEST_QUEUE_PUBLISH);
    q->r.name = q->r.in.publish.queue = span_text("q");
    q->r.in.publish.envelope.body = span_of(body, sizeof(body));
    q->port = &f->port;
    q->next = next;
    return q;
}

static void define_queue(struct engine *e) {
    struct queue_def def;
    if (queue_def_init(&def) != 0 || def_set_text(&def.name, span_text("q")) != 0)
        die("define", E_NOMEM, "");
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("q");
    r.in.define.queue = &def;
    int error = engine_call(e, &r);
    if (error != 0 || r.refusal != REFUSAL_NONE)
        die("define", error, refusal_name(r.refusal));
    request_release(&r);
    queue_def_release(&def);
}

static void fill(struct engine *e, uint64_t messages) {
    struct filler f = {.port = {.deliver = deliver}};
    define_queue(e);
    for (uint64_t sent = 0; sent < messages;) {
        while (sent - atomic_load(&f.answered) > UNDER_WAY)
            usleep(200);
        struct engine_request *first = NULL, *last = NULL;
        uint32_t count = 0;
        for (; count < CHAIN && sent < messages; count++, sent++) {
            first = new_publish(&f, first);
            last = last == NULL ? first : last;
        }
        while (engine_submit(e, first, last, count) == E_BUSY)
            usleep(200);
    }
    while (atomic_load(&f.answered) < messages)
        usleep(200);
}

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static struct engine *open_engine(const char *directory, struct engine_recovery *ret) {
    struct engine_options options = {.directory = directory, .snapshot_every_bytes = UINT64_MAX};
    struct engine *e;
    char text[512];
    int error = engine_open(&options, ret, text, &e);
    if (error != 0)
        die("open", error, text);
    return e;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: restart <folder> [messages] [snapshot|replay]\n");
        return 2;
    }
    uint64_t messages = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000000;
    bool snapshot = argc <= 3 || argv[3][0] != 'r';
    struct engine_recovery r;
    struct engine *e = open_engine(argv[1], &r);
    if (r.log.next_position == 1) {
        uint64_t started_ns = clock_monotonic_ns();
        fill(e, messages);
        printf("filled in %.0f ms\n", ms(clock_monotonic_ns() - started_ns));
        started_ns = clock_monotonic_ns();
        engine_close(e, snapshot);
        printf("closed in %.0f ms\n", ms(clock_monotonic_ns() - started_ns));
        e = open_engine(argv[1], &r);
    }
    printf("start: %.0f ms (log %.0f, snapshot %.0f, replay %.0f of %" PRIu64 " records)\n",
           ms(r.duration_ns), ms(r.log_ns), ms(r.snapshot_ns), ms(r.replay_ns), r.replayed_records);
    engine_close(e, false);
    return 0;
}
