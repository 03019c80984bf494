/*
 * The engine on the real file system, with its threads: answers, restarts, snapshots, compaction, stop.
 * What the disk may do to it is in test/crash.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"

#define SMALL_SEGMENT (64u << 10)

struct fixture {
    char directory[64];
    struct engine_options options;
    struct engine *engine;
    struct engine_recovery recovery;
    _Atomic unsigned failures;
};

static void on_failed(void *context, const char *message) {
    struct fixture *f = context;
    (void)message;
    f->failures++;
}

static void fixture_open(struct fixture *f) {
    char text[512];
    int error = engine_open(&f->options, &f->recovery, text, &f->engine);
    if (error != 0)
        fail_msg("engine_open: %s: %s", error_name(error), text);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->directory, sizeof(f->directory), "/tmp/sluice-engine-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->options = (struct engine_options){
        .directory = f->directory,
        .segment_bytes = SMALL_SEGMENT,
        .paranoid = true,
        .context = f,
        .failed = on_failed,
    };
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f->engine != NULL)
        engine_close(f->engine, false);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", f->directory);
    int status = system(command);
    assert_int_equal(f->failures, 0);
    free(f);
    return status;
}

static void reopen(struct fixture *f, bool snapshot) {
    engine_close(f->engine, snapshot);
    fixture_open(f);
}

static void define_queue(struct fixture *f, const char *name) {
    struct queue_def def;
    assert_int_equal(queue_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text(name)), 0);
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text(name);
    r.in.define.queue = &def;
    assert_int_equal(engine_call(f->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
    queue_def_release(&def);
}

static uint64_t publish(struct fixture *f, const char *queue, const char *body) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = span_text(queue);
    r.in.publish.queue = span_text(queue);
    r.in.publish.envelope.body = span_text(body);
    assert_int_equal(engine_call(f->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    uint64_t id = r.receipt.id;
    assert_true(id != 0);
    request_release(&r);
    return id;
}

static struct queue_info queue_info(struct fixture *f, const char *queue) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text(queue);
    assert_int_equal(engine_call(f->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    struct queue_info info = r.out.queue;
    request_release(&r);
    return info;
}

static void expect_body(struct fixture *f, const char *queue, uint64_t id, const char *body) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.name = span_text(queue);
    r.id = id;
    assert_int_equal(engine_call(f->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    struct buffer bytes;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    struct stored_message stored;
    assert_int_equal(engine_read_message(f->engine, id, r.out.message.address, &bytes, &stored), 0);
    assert_true(span_is(stored.envelope.body, body));
    buffer_release(&bytes);
    request_release(&r);
}

static void an_answered_publish_survives_a_restart(void **state) {
    struct fixture *f = *state;
    define_queue(f, "q");
    uint64_t id = publish(f, "q", "hello");
    reopen(f, false);
    assert_int_equal(f->recovery.snapshot_position, 0);
    assert_int_equal(f->recovery.replayed_records, 2);
    assert_int_equal(queue_info(f, "q").ready, 1);
    expect_body(f, "q", id, "hello");
}

static void a_snapshot_replaces_the_replay(void **state) {
    struct fixture *f = *state;
    define_queue(f, "q");
    uint64_t id = publish(f, "q", "before");
    assert_int_equal(engine_snapshot(f->engine), 0);
    uint64_t after = publish(f, "q", "after");
    reopen(f, false);
    assert_int_equal(f->recovery.snapshot_position, 2);
    assert_int_equal(f->recovery.replayed_records, 1);
    expect_body(f, "q", id, "before");
    expect_body(f, "q", after, "after");
    reopen(f, true);
    reopen(f, true);
    assert_int_equal(f->recovery.replayed_records, 0);
    expect_body(f, "q", id, "before");
}

static void note(struct fixture *f) {
    struct request r;
    request_init(&r, REQUEST_AUDIT_NOTE);
    r.name = span_text("start");
    r.actor = span_text("program");
    assert_int_equal(engine_call(f->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
}

/* The last thing a close asks is answered by the log thread, which must be done with it when the close goes on. A thread sanitizer
 * sees it at once; without one it is an abort once in many times. */
static void a_close_waits_for_its_last_answer(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < 40; i++) {
        note(f);
        reopen(f, false);
    }
}

/* I/O threads with connections that hang look at a stopped engine until they are cut off. */
static void a_stopped_engine_refuses_and_can_be_looked_at(void **state) {
    struct fixture *f = *state;
    define_queue(f, "q");
    uint64_t id = publish(f, "q", "last");
    uint64_t generation = engine_access_generation(f->engine);
    engine_stop(f->engine, true);
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text("q");
    assert_int_equal(engine_call(f->engine, &r), E_CLOSED);
    request_release(&r);
    struct engine_stats stats;
    engine_stats(f->engine, &stats);
    assert_int_equal(stats.durable_position + 1, stats.next_position);
    assert_int_equal(engine_access_generation(f->engine), generation);
    assert_int_equal(engine_room(f->engine), LOG_ROOM_OK);
    assert_int_equal(engine_snapshot(f->engine), E_CLOSED);
    engine_free(f->engine);
    fixture_open(f);
    expect_body(f, "q", id, "last");
}

static void an_unreadable_snapshot_costs_a_longer_replay_only(void **state) {
    struct fixture *f = *state;
    define_queue(f, "q");
    uint64_t id = publish(f, "q", "kept");
    assert_int_equal(engine_snapshot(f->engine), 0);
    engine_close(f->engine, false);
    char path[128];
    snprintf(path, sizeof(path), "%s/snapshot/%016x.snap", f->directory, 2);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 60, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, 60, SEEK_SET), 0);
    fputc(byte ^ 4, file);
    fclose(file);
    fixture_open(f);
    assert_int_equal(f->recovery.snapshot_position, 0);
    expect_body(f, "q", id, "kept");
}

static void a_second_engine_on_the_folder_is_refused(void **state) {
    struct fixture *f = *state;
    struct engine *second;
    struct engine_recovery recovery;
    char text[512];
    assert_int_equal(engine_open(&f->options, &recovery, text, &second), E_LOCKED);
    assert_true(strlen(text) > 0);
}

/* ---- many at once ---- */

struct crowd_port {
    struct engine_port port;
    _Atomic uint64_t delivered;
    _Atomic uint64_t refused;
};

static void crowd_deliver(struct engine_port *port, struct engine_request *first,
                          struct engine_request *last) {
    struct crowd_port *c = CONTAINER_OF(port, struct crowd_port, port);
    (void)last;
    while (first != NULL) {
        struct engine_request *next = first->next;
        if (first->r.refusal != REFUSAL_NONE)
            c->refused++;
        request_release(&first->r);
        free(first);
        c->delivered++;
        first = next;
    }
}

static struct engine_request *crowd_request(struct crowd_port *c) {
    struct engine_request *q = calloc(1, sizeof(*q));
    request_init(&q->r, REQUEST_QUEUE_PUBLISH);
    q->r.name = q->r.in.publish.queue = span_text("q");
    q->r.in.publish.envelope.body = span_text("0123456789012345678901234567890123456789");
    q->port = &c->port;
    return q;
}

struct crowd_thread {
    struct fixture *f;
    struct crowd_port *port;
    unsigned count;
};

static void *crowd_main(void *arg) {
    struct crowd_thread *t = arg;
    for (unsigned i = 0; i < t->count; i++) {
        struct engine_request *q = crowd_request(t->port);
        while (engine_submit(t->f->engine, q, q, 1) == E_BUSY)
            usleep(100);
    }
    return NULL;
}

static void crowd(struct fixture *f, unsigned each) {
    struct crowd_port port = {.port = {.deliver = crowd_deliver}};
    struct crowd_thread work = {f, &port, each};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, &work), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 60000 && port.delivered < 4 * each; i++)
        usleep(1000);
    assert_int_equal(port.delivered, 4 * each);
    assert_int_equal(port.refused, 0);
}

static void many_threads_get_one_order_and_every_answer(void **state) {
    struct fixture *f = *state;
    f->options.in_place = true;
    f->options.paranoid = false;
    f->options.queue_max = 64;
    reopen(f, false);
    define_queue(f, "q");
    crowd(f, 2000);
    assert_int_equal(queue_info(f, "q").ready, 8000);
    reopen(f, false);
    assert_int_equal(queue_info(f, "q").ready, 8000);
    assert_int_equal(f->recovery.replayed_records, 8001);
}

/* ---- chains decided where they came from ---- */

#define CHAINS_MAX 20000u

struct chain_port {
    struct engine_port port;
    struct engine_request *requests; /* owns */
    unsigned made;
    _Atomic unsigned delivered;
};

static void chain_deliver(struct engine_port *port, struct engine_request *first,
                          struct engine_request *last) {
    struct chain_port *c = CONTAINER_OF(port, struct chain_port, port);
    unsigned count = 1;
    for (; first != last; first = first->next)
        count++;
    c->delivered += count;
}

static void chain_init(struct chain_port *c) {
    *c = (struct chain_port){.port = {.deliver = chain_deliver, .chains_in_place = true}};
    c->requests = calloc(CHAINS_MAX, sizeof(*c->requests));
    assert_non_null(c->requests);
}

static void chain_submit(struct fixture *f, struct chain_port *c, unsigned count, bool may_wait) {
    struct engine_request *first = &c->requests[c->made];
    assert_true(c->made + count <= CHAINS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct engine_request *q = &first[i];
        request_init(&q->r, REQUEST_QUEUE_PUBLISH);
        q->r.name = q->r.in.publish.queue = span_text("q");
        q->r.in.publish.envelope.body = span_text("in its place");
        q->port = &c->port;
        q->may_wait = may_wait;
        q->next = i + 1 < count ? q + 1 : NULL;
    }
    while (engine_submit(f->engine, first, &first[count - 1], count) == E_BUSY)
        usleep(100);
    c->made += count;
}

/* All are answered, in the order in which they were brought. */
static void chain_check(struct chain_port *c) {
    for (int i = 0; i < 60000 && c->delivered < c->made; i++)
        usleep(1000);
    assert_int_equal(c->delivered, c->made);
    for (unsigned i = 0; i < c->made; i++) {
        assert_int_equal(c->requests[i].r.refusal, REFUSAL_NONE);
        assert_true(i == 0 || c->requests[i - 1].r.receipt.id < c->requests[i].r.receipt.id);
        request_release(&c->requests[i].r);
    }
    free(c->requests);
}

struct chain_thread {
    struct fixture *f;
    struct chain_port port;
    unsigned seed;
};

static void *chain_main(void *arg) {
    struct chain_thread *t = arg;
    while (t->port.made < CHAINS_MAX - 64) {
        unsigned n = (unsigned)rand_r(&t->seed) % 40 + 1;
        chain_submit(t->f, &t->port, n, n % 3 == 0);
        if (n == 40)
            usleep(200); /* so that the engine thread sleeps now and then */
    }
    return NULL;
}

/* Others' chains go through the engine thread: then those behind them must too. */
static void chains_in_place_keep_their_order_among_others(void **state) {
    struct fixture *f = *state;
    f->options.in_place = true;
    f->options.paranoid = false;
    reopen(f, false);
    define_queue(f, "q");
    struct chain_thread threads[3];
    pthread_t ids[3];
    for (unsigned i = 0; i < 3; i++) {
        threads[i] = (struct chain_thread){.f = f, .seed = i + 1};
        chain_init(&threads[i].port);
        assert_int_equal(pthread_create(&ids[i], NULL, chain_main, &threads[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(ids[i], NULL);
    struct engine_stats stats;
    engine_stats(f->engine, &stats);
    assert_true(stats.in_place > 0 && stats.in_place < stats.requests);
    for (unsigned i = 0; i < 3; i++)
        chain_check(&threads[i].port);
    assert_true(queue_info(f, "q").ready > 3 * (CHAINS_MAX - 64));
}

static uint64_t flushes(struct fixture *f) {
    struct engine_stats stats;
    engine_stats(f->engine, &stats);
    return stats.log.flushes;
}

static void what_may_wait_takes_the_flush_of_what_may_not(void **state) {
    struct fixture *f = *state;
    f->options.in_place = true;
    f->options.paranoid = false;
    reopen(f, false);
    define_queue(f, "q");
    struct chain_port c;
    chain_init(&c);
    uint64_t before = flushes(f), begun_ns = clock_monotonic_ns();
    for (int i = 0; i < 100; i++)
        chain_submit(f, &c, 1, true);
    chain_submit(f, &c, 1, false);
    for (int i = 0; i < 60000 && c.delivered < c.made; i++)
        usleep(1000);
    assert_int_equal(c.delivered, 101);
    uint64_t took_ms = (clock_monotonic_ns() - begun_ns) / NS_PER_MS;
    assert_in_range(flushes(f) - before, 1,
                    25 + took_ms / 5); /* one each 5 ms, if it takes that long */
    chain_check(&c);
}

/* Nothing else comes: it is flushed by itself, in place or not. */
static void what_may_wait_does_not_wait_for_ever(void **state) {
    struct fixture *f = *state;
    for (int in_place = 0; in_place < 2; in_place++) {
        f->options.in_place = in_place;
        reopen(f, false);
        if (!in_place)
            define_queue(f, "q");
        struct chain_port c;
        chain_init(&c);
        for (int i = 0; i < 3; i++) {
            chain_submit(f, &c, 1, true);
            for (int ms = 0; ms < 60000 && c.delivered < c.made; ms++)
                usleep(1000);
        }
        chain_check(&c);
    }
}

static void purge(struct fixture *f) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.name = span_text("q");
    assert_int_equal(engine_call(f->engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
}

static void wait_released(struct fixture *f) {
    struct engine_stats stats = {0};
    for (int i = 0; i < 3000 && stats.released_segments == 0; i++) {
        assert_int_equal(engine_snapshot(f->engine), 0);
        usleep(10000);
        engine_stats(f->engine, &stats);
    }
    assert_true(stats.released_segments > 0);
}

static void dead_segments_go_and_a_last_living_body_is_copied_forward(void **state) {
    struct fixture *f = *state;
    f->options.paranoid = false;
    reopen(f, false);
    define_queue(f, "q");
    define_queue(f, "kept");
    uint64_t id = publish(f, "kept", "the one that stays");
    crowd(f, 1000);
    purge(f);
    publish(f, "q", "makes a later snapshot differ");
    wait_released(f);
    struct engine_stats stats;
    engine_stats(f->engine, &stats);
    assert_true(stats.moved_messages > 0);
    expect_body(f, "kept", id, "the one that stays");
    reopen(f, false);
    expect_body(f, "kept", id, "the one that stays");
    assert_int_equal(queue_info(f, "kept").ready, 1);
}

static void a_closed_engine_answers_what_it_took(void **state) {
    struct fixture *f = *state;
    f->options.paranoid = false;
    reopen(f, false);
    define_queue(f, "q");
    struct crowd_port port = {.port = {.deliver = crowd_deliver}};
    for (int i = 0; i < 500; i++) {
        struct engine_request *q = crowd_request(&port);
        assert_int_equal(engine_submit(f->engine, q, q, 1), 0);
    }
    reopen(f, false);
    assert_int_equal(port.delivered, 500);
    assert_int_equal(queue_info(f, "q").ready, 500);
}

/* A delay is a timer of the model: its end is a fact that needs no request. */
static void a_delayed_message_becomes_ready_by_itself(void **state) {
    struct fixture *f = *state;
    define_queue(f, "q");
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("q");
    r.in.publish.envelope.body = span_text("later");
    uint64_t due_ns = clock_real_ns() + 50 * NS_PER_MS;
    r.in.publish.schedule_ns = due_ns;
    assert_int_equal(engine_call(f->engine, &r), 0);
    request_release(&r);
    assert_true(queue_info(f, "q").delayed == 1 || clock_real_ns() >= due_ns);
    for (int i = 0; i < 12000 && queue_info(f, "q").ready == 0; i++)
        usleep(5000);
    assert_int_equal(queue_info(f, "q").ready, 1);
    reopen(f, false);
    assert_int_equal(queue_info(f, "q").ready, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answered_publish_survives_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_replaces_the_replay, setup, teardown),
        cmocka_unit_test_setup_teardown(a_close_waits_for_its_last_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stopped_engine_refuses_and_can_be_looked_at, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unreadable_snapshot_costs_a_longer_replay_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_second_engine_on_the_folder_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(many_threads_get_one_order_and_every_answer, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(chains_in_place_keep_their_order_among_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_may_wait_takes_the_flush_of_what_may_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_may_wait_does_not_wait_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(dead_segments_go_and_a_last_living_body_is_copied_forward,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_engine_answers_what_it_took, setup, teardown),
        cmocka_unit_test_setup_teardown(a_delayed_message_becomes_ready_by_itself, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
