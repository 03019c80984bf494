/* What waits for the disk leaves in order, and never from a dead log. */
#include "world.h"

#include <errno.h>
#include <unistd.h>

#define WAITING 10u

struct sink {
    struct engine_port port;
    unsigned delivered;
    uint64_t positions[WAITING + 1];
};

static void take(struct engine_port *port, struct engine_request *first,
                 struct engine_request *last) {
    struct sink *s = CONTAINER_OF(port, struct sink, port);
    (void)last;
    for (; first != NULL; first = first->next)
        s->positions[s->delivered++] = first->wait_position;
}

static void hold_one(struct world *w, struct engine_request *q, struct sink *s, uint64_t position) {
    *q = (struct engine_request){.port = &s->port, .wait_position = position};
    atomic_fetch_add(&w->engine->waiting, 1);
    replies_hold(w->engine, q, q);
}

static void what_is_durable_leaves_in_order(void **state) {
    (void)state;
    struct world w;
    struct sink s = {.port.deliver = take};
    struct engine_request held[WAITING];
    world_init(&w);
    world_open(&w);
    for (unsigned i = 0; i < WAITING; i++)
        hold_one(&w, &held[i], &s, 1 + i / 2);
    assert_int_equal(s.delivered, 0);
    replies_release(w.engine, 3);
    assert_int_equal(s.delivered, 6);
    replies_release(w.engine, 2);
    assert_int_equal(s.delivered, 6);
    replies_release(w.engine, 9);
    for (unsigned i = 0; i < WAITING; i++)
        assert_int_equal(s.positions[i], 1 + i / 2);
    /* One whose position was durable before it came leaves at once. */
    hold_one(&w, &held[0], &s, 0);
    assert_int_equal(s.delivered, WAITING + 1);
    world_release(&w);
}

static uint64_t started[2000];
static unsigned started_count;

static void on_starts(void *context, const struct attempt_start *starts, size_t count) {
    (void)context;
    for (size_t i = 0; i < count; i++)
        started[started_count++] = starts[i].message;
}

static void starts_keep_their_order_while_the_ring_grows(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.start_attempts = on_starts;
    world_open(&w);
    started_count = 0;
    for (uint64_t i = 0; i < 1500; i++) {
        struct attempt_start start = {.message = i};
        assert_int_equal(replies_hold_start(w.engine, &start, 1 + i), 0);
        if (i == 100)
            replies_release(w.engine, 90);
    }
    assert_int_equal(started_count, 90);
    replies_release(w.engine, 1500);
    assert_int_equal(started_count, 1500);
    for (uint64_t i = 0; i < 1500; i++)
        assert_int_equal(started[i], i);
    world_release(&w);
}

static void a_dead_log_lets_nothing_go_but_gives_back(void **state) {
    (void)state;
    struct world w;
    struct sink s = {.port.deliver = take};
    struct engine_request held[3];
    world_init(&w);
    world_open(&w);
    for (unsigned i = 0; i < 3; i++)
        hold_one(&w, &held[i], &s, 1);
    replies_on_failed(w.engine, "the disk is gone");
    replies_on_failed(w.engine, "and said twice");
    assert_int_equal(w.failures, 1);
    replies_release(w.engine, 5);
    assert_int_equal(s.delivered, 0);
    assert_true(replies_withdraw(w.engine, &held[1]));
    assert_false(replies_withdraw(w.engine, &held[1]));
    assert_true(replies_withdraw(w.engine, &held[2]));
    assert_true(replies_withdraw(w.engine, &held[0]));
    assert_null(w.engine->held.first);
    assert_null(w.engine->held.last);
    struct request r;
    request_init(&r, REQUEST_NOTHING);
    assert_int_equal(engine_call(w.engine, &r), E_IO);
    request_release(&r);
    world_release(&w);
}

/* With threads: who waits for an answer learns that there will be none, and closing does not hang. */
static void a_call_ends_when_the_log_dies(void **state) {
    (void)state;
    alarm(20);
    for (int fault = 1; fault <= 2; fault++) { /* the write, the flush */
        struct world w;
        world_init(&w);
        w.options.manual = false;
        w.options.real_ns = w.options.monotonic_ns = NULL;
        w.options.in_place = fault == 2;
        world_open(&w);
        world_define_queue(&w, "q", "");
        sim_disk_fail_at(w.disk, (uint64_t)fault, EIO);
        struct request r;
        request_init(&r, REQUEST_QUEUE_PUBLISH);
        r.name = r.in.publish.queue = span_text("q");
        r.in.publish.envelope.body = span_text("lost");
        assert_int_equal(engine_call(w.engine, &r), E_IO);
        request_release(&r);
        assert_int_equal(engine_snapshot(w.engine), E_IO);
        request_init(&r, REQUEST_NOTHING);
        assert_int_equal(engine_call(w.engine, &r), E_IO);
        request_release(&r);
        world_release(&w);
        assert_int_equal(w.failures, 1);
    }
    alarm(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_durable_leaves_in_order),
        cmocka_unit_test(starts_keep_their_order_while_the_ring_grows),
        cmocka_unit_test(a_dead_log_lets_nothing_go_but_gives_back),
        cmocka_unit_test(a_call_ends_when_the_log_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
