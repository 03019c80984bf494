/*
 * bench/micro_schedule - what messages cost that are scheduled for later, as they become many.
 *
 *      bench-schedule [most messages scheduled, default 10,000,000]
 *
 * With 1,000 and with the most of them waiting for times spread over a day: ns for scheduling one more at a random time,
 * for cancelling one, for the next one whose time has come (its timer decided and applied), for the
 * count of the queue and for a page of 100 of them. The middle of many rounds in which both sizes take turns.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "model/model.h"

#define BATCH     1000u
#define ROUNDS    200u
#define SIZES     2u
#define START_NS  UINT64_C(1700000000000000000)
#define SPREAD_NS (24 * 3600 * NS_PER_SECOND)

enum part { SCHEDULE, CANCEL, FIRE, COUNT, LIST, PARTS };
static const char *const part_names[PARTS] = {"schedule", "cancel", "fire", "count", "list 100"};

struct bench {
    struct model *model;
    struct buffer facts;
    struct rng rng;
    uint64_t now_ns, position, last_id;
    uint64_t times[PARTS][ROUNDS];
};

static void check(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "bench-schedule: %s\n", what);
        exit(1);
    }
}

static struct decision begin(struct bench *b) {
    buffer_clear(&b->facts);
    b->now_ns += 100;
    return (struct decision){.now_ns = b->now_ns,
                             .position = b->position,
                             .random = &b->rng,
                             .may_grow = true,
                             .facts = &b->facts};
}

static uint32_t segment_of(uint64_t address) {
    return (uint32_t)(address >> 8);
}

static void commit(struct bench *b) {
    struct applied where = {.time_ns = b->now_ns, .position = b->position, .address = b->position};
    check(model_apply(b->model, &where, buffer_span(&b->facts)) == 0, "apply failed");
    b->position++;
}

static void ask(struct bench *b, struct request *r) {
    struct decision d = begin(b);
    check(model_decide(b->model, &d, r) == REFUSAL_NONE && !d.failed, "refused");
    if (d.fact_count > 0) {
        commit(b);
    }
}

static void define(struct bench *b) {
    struct request r;
    struct queue_def queue;
    check(queue_def_init(&queue) == 0 && def_set_text(&queue.name, span_text("later")) == 0,
          "no memory");
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("later");
    r.in.define.queue = &queue;
    ask(b, &r);
    request_release(&r);
    queue_def_release(&queue);
}

static void schedule(struct bench *b, uint64_t at_ns) {
    static const uint8_t body[100];
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.in.publish.queue = span_text("later");
    r.in.publish.envelope.body = span_of(body, sizeof body);
    r.in.publish.schedule_ns = at_ns;
    ask(b, &r);
    b->last_id = r.receipt.id;
    request_release(&r);
}

static uint64_t some_time(struct bench *b) {
    return b->now_ns + rng_below(&b->rng, SPREAD_NS) + NS_PER_SECOND;
}

static void cancel(struct bench *b, uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_DELETE);
    r.name = span_text("later");
    r.id = id;
    ask(b, &r);
    request_release(&r);
}

/* The next one, whenever that is; it was scheduled long ago, so nothing of it is in the cache. */
static void fire(struct bench *b) {
    uint64_t due_ns = model_next_due_ns(b->model);
    b->now_ns = due_ns > b->now_ns ? due_ns : b->now_ns;
    struct decision d = begin(b);
    check(model_decide_timer(b->model, &d) && !d.failed, "nothing is due");
    commit(b);
}

static void purge(struct bench *b) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.name = span_text("later");
    r.in.list.state = MESSAGE_READY;
    ask(b, &r);
    request_release(&r);
}

static void look(struct bench *b, enum request_kind kind) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text("later");
    r.in.list.max = 100;
    ask(b, &r);
    request_release(&r);
}

/* Of 2 * BATCH that are scheduled every other one is cancelled; then as many as stayed leave because their time has come. */
static void measure(struct bench *b, uint32_t round) {
    uint64_t ids[2 * BATCH], t[PARTS + 1];
    t[SCHEDULE] = clock_monotonic_ns();
    for (uint32_t i = 0; i < 2 * BATCH; i++) {
        schedule(b, some_time(b));
        ids[i] = b->last_id;
    }
    t[CANCEL] = clock_monotonic_ns();
    for (uint32_t i = 0; i < 2 * BATCH; i += 2) {
        cancel(b, ids[i]);
    }
    t[FIRE] = clock_monotonic_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        fire(b);
    }
    t[COUNT] = clock_monotonic_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        look(b, REQUEST_QUEUE_GET);
    }
    t[LIST] = clock_monotonic_ns();
    for (uint32_t i = 0; i < BATCH / 100; i++) {
        look(b, REQUEST_QUEUE_MESSAGES);
    }
    t[PARTS] = clock_monotonic_ns();
    for (unsigned part = 0; part < PARTS; part++) {
        b->times[part][round] = t[part + 1] - t[part];
    }
    b->times[SCHEDULE][round] /= 2;
    b->times[LIST][round] *= 100;
    purge(b); /* else the ready ones would become more and more */
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double median_ns(struct bench *b, enum part part) {
    qsort(b->times[part], ROUNDS, sizeof b->times[part][0], compare_u64);
    return (double)b->times[part][ROUNDS / 2] / BATCH;
}

static void fill(struct bench *b, uint64_t waiting) {
    struct model_limits limits = {.receipts = 1000};
    *b = (struct bench){.now_ns = START_NS, .position = 1};
    buffer_init(&b->facts, 1u << 20);
    rng_init(&b->rng, 1);
    check(model_create(&limits, (struct hash_key){1, 2}, &b->model) == 0, "no memory");
    model_set_segment_of(b->model, segment_of);
    define(b);
    for (uint64_t i = 0; i < waiting; i++) {
        schedule(b, some_time(b));
    }
    printf("scheduled %9" PRIu64 "  bytes a message %5.1f\n", waiting,
           (double)model_memory_bytes(b->model) / (double)waiting);
}

int main(int argc, char **argv) {
    static struct bench benches[SIZES];
    const uint64_t sizes[SIZES] = {1000, argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000};
    for (unsigned i = 0; i < SIZES; i++) {
        fill(&benches[i], sizes[i]);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < SIZES; i++) {
            measure(&benches[i], round);
        }
    }
    for (unsigned part = 0; part < PARTS; part++) {
        double few = median_ns(&benches[0], part), many = median_ns(&benches[1], part);
        printf("%-9s %6.0f ns with %" PRIu64 ", %6.0f ns with %" PRIu64 ": %.2fx\n",
               part_names[part], few, sizes[0], many, sizes[1], many / few);
    }
    for (unsigned i = 0; i < SIZES; i++) {
        model_free(benches[i].model);
        buffer_release(&benches[i].facts);
    }
    return 0;
}
