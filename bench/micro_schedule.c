/*
 * bench/micro_schedule - what messages cost that are scheduled for later, as they become many.
 *
 *      bench-schedule [most messages scheduled, default 10,000,000]
 *
 * With 1,000 and with the most of them waiting for times spread over a day: ns for scheduling one more at a random time,
 * for cancelling one, for the next one whose time has come (its timer decided and applied), for the
 * count of the queue and for a page of 100 of them. Requests come in turns of 32, as the engine takes them when there is much
 * to do. The middle of many rounds in which both sizes take turns; time of the processor, so that others who use it do
 * not count but for what they drive out of its caches.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "model_run.h"

#define BATCH     1000u
#define ROUNDS    200u
#define SIZES     2u
#define SPREAD_NS (24 * 3600 * NS_PER_SECOND)

enum part { SCHEDULE, CANCEL, FIRE, COUNT, LIST, PARTS };
static const char *const part_names[PARTS] = {"schedule", "cancel", "fire", "count", "list 100"};

struct bench {
    struct model_run run;
    uint64_t times[PARTS][ROUNDS];
};

static uint64_t processor_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t some_time(struct bench *b) {
    return b->run.now_ns + rng_below(&b->run.rng, SPREAD_NS) + NS_PER_SECOND;
}

/* As many as there is room for in `ids`. */
static void schedule(struct bench *b, uint64_t *ids, uint32_t count) {
    static const uint8_t body[100];
    struct request turn[RUN_TURN];
    for (uint32_t n; count > 0; ids += n, count -= n) {
        n = count < RUN_TURN ? count : RUN_TURN;
        for (uint32_t i = 0; i < n; i++) {
            request_init(&turn[i], REQUEST_QUEUE_PUBLISH);
            turn[i].in.publish.queue = span_text("later");
            turn[i].in.publish.envelope.body = span_of(body, sizeof body);
            turn[i].in.publish.schedule_ns = some_time(b);
        }
        run_ask_turn(&b->run, turn, n);
        for (uint32_t i = 0; i < n; i++) {
            ids[i] = turn[i].receipt.id;
            request_release(&turn[i]);
        }
    }
}

/* Every other one of them. */
static void cancel(struct bench *b, const uint64_t *ids, uint32_t count) {
    struct request turn[RUN_TURN];
    for (uint32_t done = 0, n; done < count; done += 2 * n) {
        n = (count - done) / 2 < RUN_TURN ? (count - done) / 2 : RUN_TURN;
        for (uint32_t i = 0; i < n; i++) {
            request_init(&turn[i], REQUEST_MESSAGE_DELETE);
            turn[i].name = span_text("later");
            turn[i].id = ids[done + 2 * i];
        }
        run_ask_turn(&b->run, turn, n);
        for (uint32_t i = 0; i < n; i++) {
            request_release(&turn[i]);
        }
    }
}

/* The next one, whenever that is; it was scheduled long ago, so nothing of it is in the cache. */
static void fire(struct bench *b) {
    struct model_run *run = &b->run;
    uint64_t due_ns = model_next_due_ns(run->model);
    run->now_ns = due_ns > run->now_ns ? due_ns : run->now_ns;
    struct decision d = run_begin(run);
    run_check(model_decide_timer(run->model, &d) && !d.failed, "nothing is due");
    run_commit(run);
}

static void purge(struct bench *b) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.name = span_text("later");
    r.in.list.state = MESSAGE_READY;
    run_ask(&b->run, &r);
    request_release(&r);
}

static void look(struct bench *b, enum request_kind kind) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text("later");
    r.in.list.max = 100;
    run_ask(&b->run, &r);
    request_release(&r);
}

/* Of 2 * BATCH that are scheduled every other one is cancelled; then as many as stayed leave because their time has come. */
static void measure(struct bench *b, uint32_t round) {
    uint64_t ids[2 * BATCH], t[PARTS + 1];
    t[SCHEDULE] = processor_ns();
    schedule(b, ids, 2 * BATCH);
    t[CANCEL] = processor_ns();
    cancel(b, ids, 2 * BATCH);
    t[FIRE] = processor_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        fire(b);
    }
    t[COUNT] = processor_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        look(b, REQUEST_QUEUE_GET);
    }
    t[LIST] = processor_ns();
    for (uint32_t i = 0; i < BATCH / 100; i++) {
        look(b, REQUEST_QUEUE_MESSAGES);
    }
    t[PARTS] = processor_ns();
    for (unsigned part = 0; part < PARTS; part++) {
        b->times[part][round] = t[part + 1] - t[part];
    }
    b->times[SCHEDULE][round] /= 2;
    b->times[LIST][round] *= 100;
    purge(b); /* else the ready ones would become more and more */
}

static double median_ns(struct bench *b, enum part part) {
    return (double)run_median_ns(b->times[part], ROUNDS) / BATCH;
}

static void fill(struct bench *b, uint64_t waiting) {
    uint64_t ids[BATCH];
    run_init(&b->run);
    run_define_queue(&b->run, "later", "");
    for (uint64_t done = 0; done < waiting; done += BATCH) {
        schedule(b, ids, waiting - done < BATCH ? (uint32_t)(waiting - done) : BATCH);
    }
    printf("scheduled %9" PRIu64 "  bytes a message %5.1f\n", waiting,
           (double)model_memory_bytes(b->run.model) / (double)waiting);
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
        run_release(&benches[i].run);
    }
    return 0;
}
