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
#include "model_run.h"

#define BATCH      1000u
#define ROUNDS     400u /* batches measured at each size */
#define PARTS      4u   /* publish, start, finish, all three */
#define SIZES      3u
#define BODY_BYTES 100u
#define SAVE_MAX   ((size_t)8 << 30)

struct bench {
    struct model_run run;
    uint64_t started[BATCH];
    uint64_t waiting;
    uint64_t times[PARTS][ROUNDS];
};

static void define(struct model_run *run) {
    struct request r;
    struct destination_def destination;
    run_check(destination_def_init(&destination) == 0 &&
                  def_set_text(&destination.name, span_text("out")) == 0 &&
                  def_set_text(&destination.url, span_text("https://example.com/")) == 0,
              "no memory");
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("out");
    r.in.define.destination = &destination;
    run_ask(run, &r);
    request_release(&r);
    destination_def_release(&destination);
    run_define_queue(run, "orders", "out");
}

static void publish(struct bench *b) {
    static const uint8_t body[BODY_BYTES];
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.in.publish.queue = span_text("orders");
    r.in.publish.envelope.content_type = span_text("application/json");
    r.in.publish.envelope.body = span_of(body, sizeof body);
    run_ask(&b->run, &r);
    request_release(&r);
}

static void start(struct bench *b, uint32_t i) {
    struct decision d = run_begin(&b->run);
    struct attempt_start s;
    run_check(model_decide_start(b->run.model, &d, &s), "nothing to start");
    run_commit(&b->run);
    b->started[i] = s.message;
}

static void finish(struct bench *b, uint32_t i) {
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){
        .message = b->started[i], .attempt = 1, .status = 200, .success = true};
    run_ask(&b->run, &r);
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

/* ns for one operation, in the middle round: others who used the machine do not show. */
static double median_ns(struct bench *b, unsigned part) {
    return (double)run_median_ns(b->times[part], ROUNDS) / BATCH;
}

static uint64_t resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    run_check(f != NULL && fscanf(f, "%*u %llu", &pages) == 1, "no /proc/self/statm");
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int append(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

static void measure_snapshot(const struct bench *b) {
    struct buffer bytes;
    buffer_init(&bytes, SAVE_MAX);
    run_check(buffer_reserve(&bytes, (size_t)1 << 30) == 0, "no memory");
    memset(bytes.data, 0, bytes.capacity); /* page faults are the buffer's, not the model's */
    uint64_t t0 = clock_monotonic_ns();
    run_check(model_save(b->run.model, append, &bytes) == 0, "save failed");
    uint64_t t1 = clock_monotonic_ns();
    struct model *loaded = run_model_create(0);
    uint64_t t2 = clock_monotonic_ns();
    run_check(model_load(loaded, buffer_span(&bytes)) == 0, "load failed");
    uint64_t t3 = clock_monotonic_ns();
    printf("  snapshot %7.1f MB  save %6.3f s  load %6.3f s\n", (double)bytes.size / 1e6,
           (double)(t1 - t0) / 1e9, (double)(t3 - t2) / 1e9);
    model_free(loaded);
    buffer_release(&bytes);
}

static void fill(struct bench *b, uint64_t waiting) {
    run_init(&b->run);
    define(&b->run);
    uint64_t model_before = model_memory_bytes(b->run.model), resident_before = resident_bytes();
    for (; b->waiting < waiting; b->waiting++) {
        publish(b);
    }
    double n = (double)waiting;
    printf("waiting %9" PRIu64 "  bytes a message: %5.1f counted, %5.1f resident\n", waiting,
           (double)(model_memory_bytes(b->run.model) - model_before) / n,
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
        run_release(&benches[i].run);
    }
    return 0;
}
