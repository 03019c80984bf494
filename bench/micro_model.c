/*
 * bench/micro_model - what the model costs by itself, without log, threads or sockets.
 *
 *      micro_model [most messages waiting, default 10,000,000]
 *
 * At 1,000, 1 million and the most waiting messages: bytes for each as the model counts and as the kernel
 * does, and ns for one publish, start and finish (decide and apply together; the middle one of many rounds
 * in which the sizes take turns). For the most, how long a snapshot takes to write (to memory) and to
 * load.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/model.h"

#define BATCH      1000u
#define ROUNDS     400u /* batches measured at each size */
#define PARTS      4u   /* publish, start, finish, all three */
#define SIZES      3u
#define BODY_BYTES 100u
#define START_NS   UINT64_C(1700000000000000000)
#define SAVE_MAX   ((size_t)8 << 30)

struct bench {
    struct model *model;
    struct buffer facts;
    struct rng rng;
    uint64_t now_ns, position;
    uint64_t started[BATCH];
    uint64_t waiting;
    uint64_t times[PARTS][ROUNDS];
};

static const struct hash_key key = {.k0 = 1, .k1 = 2};

static void check(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "micro_model: %s\n", what);
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

/* Positions stand for addresses; 256 records a segment make far more of them than a log has. */
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
    commit(b);
}

static void define(struct bench *b) {
    struct request r;
    struct destination_def destination;
    struct queue_def queue;
    check(destination_def_init(&destination) == 0 && queue_def_init(&queue) == 0, "no memory");
    check(def_set_text(&destination.name, span_text("out")) == 0 &&
              def_set_text(&destination.url, span_text("https://example.com/")) == 0 &&
              def_set_text(&queue.name, span_text("orders")) == 0 &&
              def_set_text(&queue.destination, span_text("out")) == 0,
          "no memory");
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("out");
    r.in.define.destination = &destination;
    ask(b, &r);
    request_release(&r);
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("orders");
    r.in.define.queue = &queue;
    ask(b, &r);
    request_release(&r);
    destination_def_release(&destination);
    queue_def_release(&queue);
}

static void publish(struct bench *b) {
    static const uint8_t body[BODY_BYTES];
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.in.publish.queue = span_text("orders");
    r.in.publish.envelope.content_type = span_text("application/json");
    r.in.publish.envelope.body = span_of(body, sizeof body);
    ask(b, &r);
    request_release(&r);
}

static void start(struct bench *b, uint32_t i) {
    struct decision d = begin(b);
    struct attempt_start s;
    check(model_decide_start(b->model, &d, &s), "nothing to start");
    commit(b);
    b->started[i] = s.message;
}

static void finish(struct bench *b, uint32_t i) {
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){
        .message = b->started[i], .attempt = 1, .status = 200, .success = true};
    ask(b, &r);
    request_release(&r);
}

/* One batch of each; the times go to round `n`. */
static void measure(struct bench *b, uint32_t n) {
    uint64_t t0 = clock_monotonic_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        publish(b);
    }
    uint64_t t1 = clock_monotonic_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        start(b, i);
    }
    uint64_t t2 = clock_monotonic_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        finish(b, i);
    }
    uint64_t t3 = clock_monotonic_ns();
    uint64_t times[PARTS] = {t1 - t0, t2 - t1, t3 - t2, t3 - t0};
    for (unsigned part = 0; part < PARTS; part++) {
        b->times[part][n] = times[part];
    }
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* ns for one operation, in the middle round: others who used the machine do not show. */
static double median_ns(struct bench *b, unsigned part) {
    qsort(b->times[part], ROUNDS, sizeof b->times[part][0], compare_u64);
    return (double)b->times[part][ROUNDS / 2] / BATCH;
}

static uint64_t resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    check(f != NULL && fscanf(f, "%*u %llu", &pages) == 1, "no /proc/self/statm");
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int append(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

static void measure_snapshot(const struct bench *b) {
    struct buffer bytes;
    buffer_init(&bytes, SAVE_MAX);
    check(buffer_reserve(&bytes, (size_t)1 << 30) == 0, "no memory");
    memset(bytes.data, 0, bytes.capacity); /* page faults are the buffer's, not the model's */
    uint64_t t0 = clock_monotonic_ns();
    check(model_save(b->model, append, &bytes) == 0, "save failed");
    uint64_t t1 = clock_monotonic_ns();
    struct model *loaded;
    struct model_limits limits = {0};
    check(model_create(&limits, key, &loaded) == 0, "no memory");
    model_set_segment_of(loaded, segment_of);
    uint64_t t2 = clock_monotonic_ns();
    check(model_load(loaded, buffer_span(&bytes)) == 0, "load failed");
    uint64_t t3 = clock_monotonic_ns();
    printf("  snapshot %7.1f MB  save %6.3f s  load %6.3f s\n", (double)bytes.size / 1e6,
           (double)(t1 - t0) / 1e9, (double)(t3 - t2) / 1e9);
    model_free(loaded);
    buffer_release(&bytes);
}

static void fill(struct bench *b, uint64_t waiting) {
    struct model_limits limits = {.receipts = 1000};
    *b = (struct bench){.now_ns = START_NS, .position = 1};
    buffer_init(&b->facts, 1u << 20);
    rng_init(&b->rng, 1);
    check(model_create(&limits, key, &b->model) == 0, "no memory");
    model_set_segment_of(b->model, segment_of);
    define(b);
    uint64_t model_before = model_memory_bytes(b->model), resident_before = resident_bytes();
    for (; b->waiting < waiting; b->waiting++) {
        publish(b);
    }
    double n = (double)waiting;
    printf("waiting %9" PRIu64 "  bytes a message: %5.1f counted, %5.1f resident\n", waiting,
           (double)(model_memory_bytes(b->model) - model_before) / n,
           (double)(resident_bytes() - resident_before) / n);
}

int main(int argc, char **argv) {
    static struct bench benches[SIZES];
    uint64_t most = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    const uint64_t sizes[SIZES] = {1000, 1000000, most};
    for (unsigned i = 0; i < SIZES; i++) {
        fill(&benches[i], sizes[i]);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) { /* in turns, so a slow moment hits all */
        for (unsigned i = 0; i < SIZES; i++) {
            measure(&benches[i], round);
        }
    }
    double least = median_ns(&benches[0], PARTS - 1);
    for (unsigned i = 0; i < SIZES; i++) {
        struct bench *b = &benches[i];
        double sum = median_ns(b, PARTS - 1);
        printf("waiting %9" PRIu64 "  publish %4.0f ns  start %4.0f ns  finish %4.0f ns  "
               "together %5.0f ns, %.2fx\n",
               b->waiting, median_ns(b, 0), median_ns(b, 1), median_ns(b, 2), sum, sum / least);
    }
    measure_snapshot(&benches[SIZES - 1]);
    for (unsigned i = 0; i < SIZES; i++) {
        model_free(benches[i].model);
        buffer_release(&benches[i].facts);
    }
    return 0;
}
