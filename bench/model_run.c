#include "model_run.h"

#include <stdio.h>
#include <stdlib.h>

#define START_NS UINT64_C(1700000000000000000)

void run_check(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "bench: %s\n", what);
        exit(1);
    }
}

/* Positions stand for addresses; 256 records a segment make far more of them than a log has. */
static uint32_t segment_of(uint64_t address) {
    return (uint32_t)(address >> 8);
}

struct model *run_model_create(uint64_t receipts) {
    const struct model_limits limits = {.receipts = receipts};
    struct model *m;
    run_check(model_create(&limits, (struct hash_key){1, 2}, &m) == 0, "no memory");
    model_set_segment_of(m, segment_of);
    return m;
}

void run_init(struct model_run *run) {
    *run = (struct model_run){.now_ns = START_NS, .position = 1, .model = run_model_create(1000)};
    buffer_init(&run->facts, 1u << 20);
    rng_init(&run->rng, 1);
}

void run_release(struct model_run *run) {
    model_free(run->model);
    buffer_release(&run->facts);
}

struct decision run_begin(struct model_run *run) {
    buffer_clear(&run->facts);
    run->now_ns += 100;
    return (struct decision){.now_ns = run->now_ns,
                             .position = run->position,
                             .random = &run->rng,
                             .may_grow = true,
                             .facts = &run->facts};
}

void run_commit(struct model_run *run) {
    struct applied where = {
        .time_ns = run->now_ns, .position = run->position, .address = run->position};
    run_check(model_apply(run->model, &where, buffer_span(&run->facts)) == 0, "apply failed");
    run->position++;
}

void run_ask(struct model_run *run, struct request *r) {
    struct decision d = run_begin(run);
    run_check(model_decide(run->model, &d, r) == REFUSAL_NONE && !d.failed, "refused");
    if (d.fact_count > 0) {
        run_commit(run);
    }
}

void run_ask_turn(struct model_run *run, struct request *requests, uint32_t count) {
    for (unsigned step = 0; step < PREFETCH_STEPS; step++) {
        for (uint32_t i = 0; i < count; i++) {
            model_prefetch(run->model, &requests[i], step);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        run_ask(run, &requests[i]);
    }
}

void run_define_queue(struct model_run *run, const char *name, const char *destination) {
    struct request r;
    struct queue_def queue;
    run_check(queue_def_init(&queue) == 0 && def_set_text(&queue.name, span_text(name)) == 0 &&
                  def_set_text(&queue.destination, span_text(destination)) == 0,
              "no memory");
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text(name);
    r.in.define.queue = &queue;
    run_ask(run, &r);
    request_release(&r);
    queue_def_release(&queue);
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t run_median_ns(uint64_t *times, uint32_t count) {
    qsort(times, count, sizeof *times, compare_u64);
    return times[count / 2];
}
