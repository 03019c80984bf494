/*
 * What is foretold and what then happens: the same runs, with the clock of the world.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "push.h"

static void define_lane(struct world *w, const char *name, uint32_t weight, uint32_t percent) {
    struct queue_def def = world_queue_def(name, "out");
    def.weight = weight;
    def.guaranteed_percent = percent;
    assert_int_equal(world_define(w, &def), REFUSAL_NONE);
}

static uint64_t publish(struct world *w, const char *queue, uint64_t *ret_eta_ns) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text(queue);
    r.in.publish.envelope.body = span_text("{}");
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    *ret_eta_ns = r.receipt.eta_ns;
    uint64_t id = r.receipt.id;
    request_release(&r);
    return id;
}

/* When the message is started, everything being answered after 20 ms. */
static uint64_t start_of(struct world *w, uint64_t id) {
    for (;;) {
        struct attempt_start start;
        if (push_start(w, &start)) {
            if (start.message == id) {
                return w->now_ns;
            }
            push_finish(w, &start, 200, 0);
        } else {
            w->now_ns = model_next_start_ns(w->model, w->now_ns);
        }
    }
}

static void release(struct world *w) {
    world_check_replay(w);
    world_release(w);
}

/* Batch has a long backlog, slow is served after it by its weight, short has few. */
static void it_is_as_foretold_over_lanes(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(100, 1));
    define_lane(&w, "batch", 3, 0);
    define_lane(&w, "short", 5, 0);
    define_lane(&w, "mine", 1, 20);
    uint64_t eta_ns, ignored;
    for (int i = 0; i < 1000; i++) {
        publish(&w, "batch", &ignored);
    }
    for (int i = 0; i < 10; i++) {
        publish(&w, "short", &ignored);
    }
    uint64_t before_ns = w.now_ns, id = 0;
    for (int i = 0; i < 100; i++) {
        id = publish(&w, "mine", &eta_ns);
    }
    assert_int_equal(push_message(&w, id).eta_ns, eta_ns); /* nothing happened: the same again */
    uint64_t takes_ns = start_of(&w, id) - before_ns;
    assert_in_range(eta_ns - before_ns, takes_ns * 9 / 10, takes_ns * 11 / 10);
    release(&w);
}

static void it_shrinks_as_others_leave(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(10, 1));
    define_lane(&w, "mine", 1, 0);
    uint64_t ids[50], eta_ns;
    for (int i = 0; i < 50; i++) {
        ids[i] = publish(&w, "mine", &eta_ns);
    }
    assert_in_range(push_message(&w, ids[24]).eta_ns - w.now_ns, 2 * NS_PER_SECOND,
                    3 * NS_PER_SECOND); /* by where its id lies */
    (void)start_of(&w, ids[40]);
    assert_in_range(push_message(&w, ids[49]).eta_ns, eta_ns - 200 * NS_PER_MS,
                    eta_ns + 200 * NS_PER_MS);
    assert_int_equal(push_message(&w, ids[40]).eta_ns, 0); /* it is under way */
    release(&w);
}

static void caps_count_by_how_long_attempts_take(void **state) {
    (void)state;
    struct world w;
    struct pace_def two = {.concurrency = 2};
    world_init(&w, NULL);
    push_define_destination(&w, "out", two);
    define_lane(&w, "mine", 1, 0);
    uint64_t eta_ns;
    struct attempt_start start;
    publish(&w, "mine", &eta_ns);
    assert_true(push_start(&w, &start));
    push_finish(&w, &start, 200, 0); /* 20 ms */
    for (int i = 0; i <= 100; i++) {
        publish(&w, "mine", &eta_ns);
    }
    assert_int_equal(eta_ns, w.now_ns + 50 * 20 * NS_PER_MS);
    release(&w);
}

static void nobody_knows(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(10, 1));
    define_lane(&w, "mine", 1, 0);
    uint64_t eta_ns;
    push_ask_name(&w, REQUEST_DESTINATION_OPEN, "out");
    publish(&w, "mine", &eta_ns);
    assert_int_equal(eta_ns, 0);
    push_ask_name(&w, REQUEST_DESTINATION_CLOSE, "out");
    publish(&w, "mine", &eta_ns);
    assert_int_not_equal(eta_ns, 0);
    push_ask_name(&w, REQUEST_DESTINATION_PAUSE, "out");
    publish(&w, "mine", &eta_ns);
    assert_int_equal(eta_ns, 0);
    release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_foretold_over_lanes),
        cmocka_unit_test(it_shrinks_as_others_leave),
        cmocka_unit_test(caps_count_by_how_long_attempts_take),
        cmocka_unit_test(nobody_knows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
