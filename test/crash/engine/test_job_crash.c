/*
 * A redrive of all dead letters, at a pace, against a disk that stops, tears, forgets and garbles at every single
 * operation, with snapshots in between. After the restart
 *   R1  each message is there once, ready or dead; as many are ready as the job says that it has done;
 *   R2  a job that was answered as started is there, and has done no less than it had said;
 *   R3  it was not faster than its pace;
 *   R4  it goes on by itself and ends with all redriven, each once.
 * Then the next operation. Each round of `make crash` has another pace and loses in another way.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "api/job_runner.h"
#include "model/job.h"
#include "machine.h"
#include "round.h"

#define LETTERS    40u
#define STEPS_MAX  2000u
#define BODY_BYTES 900u

struct world {
    struct machine m;
    uint64_t interval_ns;
    struct attempt_start started[LETTERS];
    size_t started_count;
    uint64_t ids[LETTERS];
    uint64_t job;  /* 0: not answered */
    uint64_t done; /* as last told */
};

static void on_starts(void *context, const struct attempt_start *starts, size_t count) {
    struct world *w = context;
    for (size_t i = 0; i < count && w->started_count < LETTERS; i++)
        w->started[w->started_count++] = starts[i];
}

static int world_open(struct world *w) {
    struct engine_options options = machine_options(&w->m);
    options.start_attempts = on_starts;
    struct engine_recovery recovery;
    char text[512];
    return engine_open(&options, &recovery, text, &w->m.engine);
}

/* ---- dead letters ---- */

static void must(struct world *w, struct request *r) {
    assert_int_equal(engine_call(w->m.engine, r), 0);
    assert_int_equal(r->refusal, REFUSAL_NONE);
}

static void define(struct world *w) {
    struct destination_def to;
    struct queue_def queue;
    struct request r;
    assert_int_equal(destination_def_init(&to), 0);
    assert_int_equal(def_set_text(&to.name, span_text("provider")), 0);
    assert_int_equal(def_set_text(&to.url, span_text("http://127.0.0.1:1/")), 0);
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("provider");
    r.in.define.destination = &to;
    must(w, &r);
    request_release(&r);
    destination_def_release(&to);
    assert_int_equal(queue_def_init(&queue), 0);
    assert_int_equal(def_set_text(&queue.name, span_text("work")), 0);
    assert_int_equal(def_set_text(&queue.destination, span_text("provider")), 0);
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("work");
    r.in.define.queue = &queue;
    must(w, &r);
    request_release(&r);
    queue_def_release(&queue);
}

static void publish(struct world *w, unsigned n) {
    static const uint8_t body[BODY_BYTES];
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("work");
    r.in.publish.envelope.body = span_of(body, sizeof body);
    must(w, &r);
    w->ids[n] = r.receipt.id;
    request_release(&r);
}

static void fail_all(struct world *w) {
    for (unsigned turn = 0; w->started_count < LETTERS && turn < STEPS_MAX; turn++) {
        w->m.now_ns += NS_PER_MS;
        engine_turn(w->m.engine);
    }
    assert_int_equal(w->started_count, LETTERS);
    for (size_t i = 0; i < LETTERS; i++) {
        struct request r;
        request_init(&r, REQUEST_ATTEMPT_FINISH);
        r.in.finish = (struct attempt_finish){
            .message = w->started[i].message, .attempt = w->started[i].attempt, .status = 422};
        must(w, &r);
        request_release(&r);
    }
    struct request pause;
    request_init(&pause, REQUEST_QUEUE_PAUSE);
    pause.name = span_text("work");
    must(w, &pause);
    request_release(&pause);
}

/* ---- the job ---- */

static bool start_job(struct world *w) {
    struct request r;
    request_init(&r, REQUEST_JOB_START);
    r.name = span_text("work");
    r.in.job_start = (struct job_start){.action = JOB_REDRIVE,
                                        .state = MESSAGE_DEAD,
                                        .interval_ns = w->interval_ns,
                                        .filter = span_text("{}"),
                                        .reason = span_text("all of them")};
    bool answered = engine_call(w->m.engine, &r) == 0;
    assert_true(!answered || r.refusal == REFUSAL_NONE);
    w->job = answered ? r.id : 0;
    request_release(&r);
    return answered;
}

/* The only job there is; false: there is none, or the machine has stopped. */
static bool ask_job(struct world *w, struct job_info *ret) {
    struct request r;
    request_init(&r, REQUEST_JOB_LIST);
    r.name = span_text("work");
    r.in.list.max = 10;
    bool there = engine_call(w->m.engine, &r) == 0 && r.count == 1;
    if (there) {
        struct reader in;
        reader_init(&in, buffer_span(&r.out_bytes));
        struct span bytes = reader_take(&in, sizeof *ret);
        assert_int_equal(bytes.size, sizeof *ret);
        memcpy(ret, bytes.data, sizeof *ret);
        /* R3: one at once, and what is due in a burst. */
        uint64_t passed_ns = w->m.now_ns - ret->began_ns;
        assert_true(ret->done * w->interval_ns <= passed_ns + JOB_BURST_NS + w->interval_ns);
    }
    request_release(&r);
    return there;
}

/* Until the job has ended, or the machine has. */
static void work(struct world *w) {
    struct job_info job = {.status = JOB_RUNNING};
    for (unsigned step = 0; job.status == JOB_RUNNING && !sim_disk_crashed(w->m.disk); step++) {
        assert_true(step < STEPS_MAX);
        w->m.now_ns += 7 * NS_PER_MS;
        (void)job_runner_turn(w->m.engine);
        engine_turn(w->m.engine);
        if (step % 8 == 7 && engine_snapshot(w->m.engine) != 0)
            return;
        if (ask_job(w, &job))
            w->done = job.done;
    }
}

/* ---- the oracle ---- */

static uint64_t count_in(struct world *w, enum message_state state, unsigned seen[LETTERS]) {
    struct request r;
    struct message_info message;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("work");
    r.in.list.state = state;
    r.in.list.max = 1000;
    must(w, &r);
    for (uint64_t i = 0; i < r.count; i++) {
        memcpy(&message, r.out_bytes.data + i * sizeof message, sizeof message);
        unsigned n = 0;
        while (n < LETTERS && w->ids[n] != message.id)
            n++;
        assert_true(n < LETTERS);
        seen[n]++;
    }
    uint64_t count = r.count;
    request_release(&r);
    return count;
}

static void check(struct world *w, bool ended) {
    unsigned seen[LETTERS] = {0};
    struct job_info job = {.done = 0};
    uint64_t ready = count_in(w, MESSAGE_READY, seen);
    uint64_t dead = count_in(w, MESSAGE_DEAD, seen);
    for (unsigned n = 0; n < LETTERS; n++)
        assert_int_equal(seen[n], 1); /* R1 */
    bool there = ask_job(w, &job);
    assert_true(there || w->job == 0); /* R2 */
    assert_true(w->job == 0 || job.id == w->job);
    assert_true(job.done >= w->done);
    assert_int_equal(ready, job.done);
    assert_int_equal(dead, LETTERS - job.done);
    assert_true(!ended || (job.status == JOB_DONE && job.done == LETTERS)); /* R4 */
}

static bool round_at(uint64_t nth, enum sim_loss loss) {
    struct world w = {.m = machine_create(crash_seed(nth)),
                      .interval_ns = (10 + crash_round() % 90) * NS_PER_MS};
    assert_int_equal(world_open(&w), 0);
    define(&w);
    for (unsigned n = 0; n < LETTERS; n++)
        publish(&w, n);
    fail_all(&w);
    sim_disk_crash_at(w.m.disk, nth);
    if (start_job(&w))
        work(&w);
    bool crashed = sim_disk_crashed(w.m.disk);
    machine_close(&w.m);
    crashed |= sim_disk_crashed(w.m.disk);
    sim_disk_restart(w.m.disk, loss);
    assert_int_equal(world_open(&w), 0);
    check(&w, false);
    struct job_info job;
    if (!ask_job(&w, &job))
        assert_true(start_job(&w));
    work(&w);
    check(&w, true);
    machine_close(&w.m);
    sim_disk_free(w.m.disk);
    return crashed;
}

static void a_redrive_of_all_over_a_stop_at_any_operation(void **state) {
    (void)state;
    uint64_t nth = 1;
    while (round_at(nth, (enum sim_loss)((nth + crash_round()) % SIM_LOSSES)))
        nth++;
    assert_true(nth > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redrive_of_all_over_a_stop_at_any_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
