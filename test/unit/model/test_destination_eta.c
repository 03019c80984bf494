/*
 * What is foretold and what then happens: the same runs, with the clock of the world.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

/* ---- a whole run, in which answers take their time; what is foretold on the way is compared with what happens ---- */

#define OPEN_MAX    64u
#define SAMPLES_MAX 4096u

struct run {
    struct world w;
    uint64_t takes_ns; /* an answer */
    uint32_t fails;    /* each so many'th attempt is answered 503; 0: none */
    bool is_down;      /* all of them are */
    struct attempt_start open[OPEN_MAX];
    uint64_t ends_ns[OPEN_MAX];
    uint32_t open_count, started;
    uint64_t at_ns[SAMPLES_MAX], eta_ns[SAMPLES_MAX];
    uint32_t samples;
};

static void finish_due(struct run *r) {
    for (uint32_t i = 0; i < r->open_count;) {
        if (r->ends_ns[i] > r->w.now_ns) {
            i++;
            continue;
        }
        bool bad = r->is_down || (r->fails != 0 && r->open[i].attempt == 1 &&
                                  r->open[i].message / 64 % r->fails == 0);
        push_finish_after(&r->w, &r->open[i], bad ? 503 : 200, r->takes_ns);
        r->open[i] = r->open[--r->open_count];
        r->ends_ns[i] = r->ends_ns[r->open_count];
    }
}

static uint64_t next_of(const struct run *r) {
    uint64_t next_ns = model_next_start_ns(r->w.model, r->w.now_ns);
    uint64_t due_ns = model_next_due_ns(r->w.model);
    next_ns = due_ns < next_ns ? due_ns : next_ns;
    for (uint32_t i = 0; i < r->open_count; i++) {
        next_ns = r->ends_ns[i] < next_ns ? r->ends_ns[i] : next_ns;
    }
    return next_ns;
}

/* Until `id` is started; true: it was. Asks for its time now and then. */
static bool step_run(struct run *r, uint64_t id) {
    struct attempt_start s;
    finish_due(r);
    if (r->open_count < OPEN_MAX && push_start(&r->w, &s)) {
        r->open[r->open_count] = s;
        r->ends_ns[r->open_count++] = r->w.now_ns + r->takes_ns;
        if (r->started++ % 7 == 0 && s.message != id && r->samples < SAMPLES_MAX) {
            r->at_ns[r->samples] = r->w.now_ns;
            r->eta_ns[r->samples++] = push_message(&r->w, id).eta.at_ns;
        }
        return s.message == id;
    }
    uint64_t next_ns = next_of(r);
    bool any = next_ns != UINT64_MAX;
    r->w.now_ns = any && next_ns > r->w.now_ns ? next_ns : r->w.now_ns + any;
    return false;
}

/* Each time it was asked, the answer was right by `percent` of what was left then, and 100 ms. */
static void follow(struct run *r, uint64_t id, uint64_t percent) {
    while (!step_run(r, id)) {
    }
    assert_true(r->samples > 2);
    for (uint32_t i = 0; i < r->samples; i++) {
        uint64_t left_ns = r->w.now_ns - r->at_ns[i];
        uint64_t slack_ns = left_ns * percent / 100 + 100 * NS_PER_MS;
        assert_in_range(r->eta_ns[i] + slack_ns, r->w.now_ns, r->w.now_ns + 2 * slack_ns);
    }
}

static void begin_run(struct run *r, struct pace_def pace, push_more *more) {
    memset(r, 0, sizeof *r);
    r->takes_ns = 20 * NS_PER_MS;
    world_init(&r->w, NULL);
    assert_int_equal(push_define_more(&r->w, "out", pace, more, NULL), REFUSAL_NONE);
    define_lane(&r->w, "mine", 1, 0);
}

static uint64_t put_many(struct run *r, const char *queue, unsigned count) {
    uint64_t id = 0, ignored;
    for (unsigned i = 0; i < count; i++) {
        id = publish(&r->w, queue, &ignored);
    }
    return id;
}

static void end_run(struct run *r) {
    world_check_replay(&r->w);
    world_release(&r->w);
}

static struct run run;

static void with_limit(struct destination_def *def, void *context) {
    (void)context;
    def->limits.items = calloc(1, sizeof *def->limits.items);
    assert_non_null(def->limits.items);
    def->limits.items[def->limits.count++] = (struct pace_def){
        .mode = PACE_STRICT, .count = 60, .period_ns = 10 * NS_PER_SECOND, .burst = 60};
}

static void the_slowest_of_several_limits_decides(void **state) {
    (void)state;
    begin_run(&run, push_pace(20, 1), with_limit);
    follow(&run, put_many(&run, "mine", 240),
           25); /* which goes in sixties: between them it is a guess */
    end_run(&run);
}

static void with_ramp(struct destination_def *def, void *context) {
    (void)context;
    def->ramp = (struct ramp_def){.duration_ns = 20 * NS_PER_SECOND, .idle_ns = NS_PER_SECOND};
}

static void a_ramp_is_slower_at_first(void **state) {
    (void)state;
    begin_run(&run, push_pace(100, 1), with_ramp);
    uint64_t id = put_many(&run, "mine", 1500);
    follow(&run, id, 10);
    end_run(&run);
}

static void with_budget(struct destination_def *def, void *context) {
    (void)context;
    def->budget.percent = 100;
}

/* Of the first third nobody can know; then the retries of late say how many there will be. */
static void retries_take_their_share(void **state) {
    (void)state;
    begin_run(&run, push_pace(100, 1), with_budget);
    run.fails = 3;
    uint64_t id = put_many(&run, "mine", 1499);
    while (run.started < 500) {
        assert_false(step_run(&run, id));
    }
    run.samples = 0;
    follow(&run, id, 12);
    end_run(&run);
}

static void what_is_closed_begins_later(void **state) {
    (void)state;
    begin_run(&run, push_pace(10, 1), NULL);
    uint64_t id = put_many(&run, "mine", 100);
    struct attempt_start s;
    assert_true(push_start(&run.w, &s));
    push_finish(&run.w, &s, 503, 60 * NS_PER_SECOND);
    uint64_t eta_ns = push_message(&run.w, id).eta.at_ns, before_ns = run.w.now_ns;
    while (!step_run(&run, id)) {
    }
    assert_in_range(run.w.now_ns - before_ns, 69 * NS_PER_SECOND, 71 * NS_PER_SECOND);
    assert_in_range(eta_ns + NS_PER_SECOND, run.w.now_ns, run.w.now_ns + 2 * NS_PER_SECOND);
    end_run(&run);
}

/* Of `told_ns`, which was said at `at_ns`, what was left then is right by 5 percent, and 100 ms. */
static void was_right(const struct run *r, uint64_t at_ns, uint64_t told_ns) {
    uint64_t slack_ns = (r->w.now_ns - at_ns) / 20 + 100 * NS_PER_MS;
    assert_in_range(told_ns + slack_ns, r->w.now_ns, r->w.now_ns + 2 * slack_ns);
}

/* Whoever knows better than the provider: milliseconds, said as seconds. */
static void closing_by_hand_ends_it(void **state) {
    (void)state;
    begin_run(&run, push_pace(10, 1), NULL);
    uint64_t id = put_many(&run, "mine", 100);
    struct attempt_start s;
    assert_true(push_start(&run.w, &s));
    push_finish(&run.w, &s, 503, UINT64_C(1000) * 86400 * NS_PER_SECOND);
    assert_int_equal(push_info(&run.w, "out").closed_until_ns,
                     run.w.now_ns + 86400 * NS_PER_SECOND); /* a day at most */
    assert_false(push_start(&run.w, &s));
    world_reload(&run.w);
    push_ask_name(&run.w, REQUEST_DESTINATION_CLOSE, "out");
    assert_int_equal(push_info(&run.w, "out").closed_until_ns, 0);
    uint64_t before_ns = run.w.now_ns, told_ns = push_message(&run.w, id).eta.at_ns;
    follow(&run, id, 5);
    was_right(&run, before_ns, told_ns);
    assert_true(run.w.now_ns - before_ns < 12 * NS_PER_SECOND);
    end_run(&run);
}

struct breaker_wish {
    uint32_t probes;
    uint64_t ramp_ns;
};

static void with_breaker(struct destination_def *def, void *context) {
    const struct breaker_wish *wish = context;
    def->breaker.window_calls = def->breaker.minimum_calls = 10;
    def->breaker.probes = wish->probes;
    def->breaker.open_ns = 30 * NS_PER_SECOND;
    def->ramp.duration_ns = wish->ramp_ns;
}

static enum breaker_state breaker_of(struct run *r) {
    return (enum breaker_state)push_info(&r->w, "out").breaker;
}

static void run_until_breaker(struct run *r, enum breaker_state state, uint64_t id) {
    while (breaker_of(r) != state) {
        assert_false(step_run(r, id));
    }
}

static uint64_t eta_of(struct run *r, uint64_t id) {
    return push_message(&r->w, id).eta.at_ns;
}

/*
 * Asked while it is open, while it probes, while all probes are out, of one that is a probe and of one far behind; with
 * probes that are as many as are sent in two seconds, or one, with a ramp behind them and without.
 */
static void a_breaker_that_is_open_has_an_end(void **state) {
    (void)state;
    static struct breaker_wish wishes[] = {
        {1, 0}, {20, 0}, {20, 20 * NS_PER_SECOND}, {3, 60 * NS_PER_SECOND}};
    for (size_t i = 0; i < ARRAY_LENGTH(wishes); i++) {
        begin_run(&run, push_pace(10, 1), NULL);
        run.takes_ns = 500 * NS_PER_MS;
        assert_int_equal(
            push_define_more(&run.w, "out", push_pace(10, 1), with_breaker, &wishes[i]),
            REFUSAL_NONE);
        uint64_t early = put_many(&run, "mine", 30), id = put_many(&run, "mine", 400);
        run.is_down = true;
        run_until_breaker(&run, BREAKER_OPEN, id);
        run.is_down = false;
        uint64_t opened_ns = run.w.now_ns, told_ns = eta_of(&run, id);
        while (run.w.now_ns < opened_ns + 5 * NS_PER_SECOND) { /* then what failed is back */
            assert_false(step_run(&run, id));
        }
        uint64_t asked_ns = run.w.now_ns, told_early_ns = eta_of(&run, early);
        assert_int_equal(breaker_of(&run), BREAKER_OPEN);
        run_until_breaker(&run, BREAKER_HALF_OPEN, id);
        uint64_t half_ns = run.w.now_ns, told_half_ns = eta_of(&run, id);
        while (!step_run(&run, early)) {
        }
        was_right(&run, asked_ns, told_early_ns);
        while (!step_run(&run, id)) {
        }
        was_right(&run, opened_ns, told_ns);
        was_right(&run, half_ns, told_half_ns);
        end_run(&run);
    }
}

static void with_endpoints(struct destination_def *def, void *context) {
    static const char *const names[] = {"a", "b"};
    (void)context;
    def->endpoints.items = calloc(2, sizeof *def->endpoints.items);
    assert_non_null(def->endpoints.items);
    for (size_t i = 0; i < 2; i++) {
        struct endpoint_def *e = &def->endpoints.items[def->endpoints.count++];
        assert_int_equal(endpoint_def_init(e), 0);
        assert_int_equal(def_set_text(&e->name, span_text(names[i])), 0);
        assert_int_equal(def_set_text(&e->url, span_text("http://192.0.2.1/")), 0);
    }
    def->balance.eject_errors = 3;
    def->balance.eject_max_percent = 100;
    def->balance.eject_ns = 60 * NS_PER_SECOND;
}

static void act_on(struct run *r, enum request_kind kind, const char *endpoint) {
    struct request q;
    request_init(&q, kind);
    q.name = span_text("out");
    q.in.endpoint = span_text(endpoint);
    assert_int_equal(world_ask(&r->w, &q), REFUSAL_NONE);
    request_release(&q);
}

/* Those that are left out for their errors come back by themselves, those that somebody took out do not. */
static void endpoints_that_are_out_have_an_end(void **state) {
    (void)state;
    begin_run(&run, push_pace(10, 1), with_endpoints);
    uint64_t id = put_many(&run, "mine", 200);
    run.is_down = true;
    while (model_next_start_ns(run.w.model, run.w.now_ns) < run.w.now_ns + NS_PER_SECOND) {
        assert_false(step_run(&run, id));
    }
    run.is_down = false;
    uint64_t opened_ns = run.w.now_ns;
    assert_in_range(eta_of(&run, id), opened_ns + 78 * NS_PER_SECOND,
                    opened_ns + 82 * NS_PER_SECOND);
    act_on(&run, REQUEST_ENDPOINT_EJECT, "a");
    assert_int_not_equal(eta_of(&run, id), 0);
    act_on(&run, REQUEST_ENDPOINT_EJECT, "b");
    assert_int_equal(eta_of(&run, id), 0);
    assert_int_equal(push_message(&run.w, id).eta.waits_for, WAITS_FOR_ENDPOINT);
    run.w.now_ns += 15 * NS_PER_SECOND; /* then what failed is no longer "of late" */
    act_on(&run, REQUEST_ENDPOINT_RETURN, "a");
    act_on(&run, REQUEST_ENDPOINT_RETURN, "b");
    uint64_t asked_ns = run.w.now_ns, told_ns = eta_of(&run, id);
    while (!step_run(&run, id)) {
    }
    was_right(&run, asked_ns, told_ns);
    end_run(&run);
}

static uint64_t put_key(struct run *r, const char *key, uint64_t *ret_eta_ns) {
    struct request q;
    request_init(&q, REQUEST_QUEUE_PUBLISH);
    q.name = q.in.publish.queue = span_text("mine");
    q.in.publish.envelope.body = span_text("{}");
    q.in.publish.envelope.ordering_key = span_text(key);
    assert_int_equal(world_ask(&r->w, &q), REFUSAL_NONE);
    *ret_eta_ns = q.receipt.eta_ns;
    uint64_t id = q.receipt.id;
    request_release(&q);
    return id;
}

static void a_key_waits_for_its_own(void **state) {
    (void)state;
    uint64_t eta_ns, id = 0;
    begin_run(&run, push_pace(0, 1), NULL);
    run.takes_ns = 500 * NS_PER_MS;
    id = put_key(&run, "k", &eta_ns);
    while (run.started == 0 || run.open_count > 0) { /* how long it takes is learned */
        (void)step_run(&run, id);
    }
    for (unsigned i = 0; i < 60; i++) {
        id = put_key(&run, "k", &eta_ns);
    }
    assert_in_range(eta_ns - run.w.now_ns, 29 * NS_PER_SECOND, 31 * NS_PER_SECOND);
    (void)put_key(&run, "other", &eta_ns);
    assert_in_range(eta_ns, run.w.now_ns, run.w.now_ns + 600 * NS_PER_MS);
    follow(&run, id, 5);
    end_run(&run);
    begin_run(&run, push_pace(10, 1), NULL);
    for (unsigned i = 0; i < 100; i++) {
        (void)put_key(&run, "k", &eta_ns);
    }
    (void)put_key(&run, "other",
                  &eta_ns); /* one ready is before it, the ninety-nine come behind it */
    assert_in_range(eta_ns, run.w.now_ns, run.w.now_ns + 200 * NS_PER_MS);
    end_run(&run);
}

static void with_places(struct destination_def *def, void *context) {
    (void)context;
    def->batch.max_messages = 10;
    def->batch.wait_ns = 50 * NS_PER_MS;
}

/* Those that join are starts of the same record; so many messages, a tenth as many requests. */
static void requests_of_several_are_fewer(void **state) {
    (void)state;
    begin_run(&run, push_pace(10, 1), with_places);
    uint64_t id = put_many(&run, "mine", 1000);
    uint64_t eta_ns = push_message(&run.w, id).eta.at_ns;
    assert_in_range(eta_ns - run.w.now_ns, 9 * NS_PER_SECOND, 11 * NS_PER_SECOND);
    publish(&run.w, "mine", &eta_ns);
    assert_in_range(eta_ns - run.w.now_ns, 9 * NS_PER_SECOND, 11 * NS_PER_SECOND);
    end_run(&run);
    begin_run(&run, push_pace(0, 1), with_places);
    publish(&run.w, "mine", &eta_ns);
    assert_int_equal(eta_ns, run.w.now_ns + 50 * NS_PER_MS); /* until then others may join */
    end_run(&run);
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
    assert_int_equal(push_message(&w, id).eta.at_ns, eta_ns); /* nothing happened: the same again */
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
    assert_in_range(push_message(&w, ids[24]).eta.at_ns - w.now_ns, 2 * NS_PER_SECOND,
                    3 * NS_PER_SECOND); /* by where its id lies */
    (void)start_of(&w, ids[40]);
    assert_in_range(push_message(&w, ids[49]).eta.at_ns, eta_ns - 200 * NS_PER_MS,
                    eta_ns + 200 * NS_PER_MS);
    assert_int_equal(push_message(&w, ids[40]).eta.at_ns, 0); /* it is under way */
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
    uint64_t id = publish(&w, "mine", &eta_ns);
    assert_int_equal(eta_ns, 0);
    assert_int_equal(push_message(&w, id).eta.waits_for, WAITS_FOR_BREAKER);
    push_ask_name(&w, REQUEST_DESTINATION_CLOSE, "out");
    publish(&w, "mine", &eta_ns);
    assert_int_not_equal(eta_ns, 0);
    assert_int_equal(push_message(&w, id).eta.waits_for, WAITS_FOR_NOBODY);
    push_ask_name(&w, REQUEST_DESTINATION_PAUSE, "out");
    publish(&w, "mine", &eta_ns);
    assert_int_equal(eta_ns, 0);
    assert_int_equal(push_message(&w, id).eta.waits_for, WAITS_FOR_DESTINATION);
    push_ask_name(&w, REQUEST_QUEUE_PAUSE, "mine");
    assert_int_equal(push_message(&w, id).eta.waits_for, WAITS_FOR_QUEUE); /* which is first */
    push_ask_name(&w, REQUEST_DESTINATION_RESUME, "out");
    push_ask_name(&w, REQUEST_QUEUE_RESUME, "mine");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    push_ask_name(&w, REQUEST_QUEUE_PAUSE, "mine");
    assert_int_equal(push_message(&w, id).eta.waits_for, WAITS_FOR_NOBODY); /* it is under way */
    release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_foretold_over_lanes),
        cmocka_unit_test(it_shrinks_as_others_leave),
        cmocka_unit_test(caps_count_by_how_long_attempts_take),
        cmocka_unit_test(nobody_knows),
        cmocka_unit_test(the_slowest_of_several_limits_decides),
        cmocka_unit_test(a_ramp_is_slower_at_first),
        cmocka_unit_test(retries_take_their_share),
        cmocka_unit_test(what_is_closed_begins_later),
        cmocka_unit_test(closing_by_hand_ends_it),
        cmocka_unit_test(a_breaker_that_is_open_has_an_end),
        cmocka_unit_test(endpoints_that_are_out_have_an_end),
        cmocka_unit_test(a_key_waits_for_its_own),
        cmocka_unit_test(requests_of_several_are_fewer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
