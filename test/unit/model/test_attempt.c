/*
 * Attempts through the model: what a start takes, what an end decides, what a restart finds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/campaign.h"
#include "model/definition.h"
#include "model/destination_state.h"
#include "model/receipt.h"
#include "model/stock.h"
#include "model/retry.h"
#include "push.h"
#include "rabbit.h"

static void set_up_with(struct world *w, struct pace_def pace, const struct retry_def *retry) {
    world_init(w, NULL);
    assert_int_equal(push_define_destination(w, "out", pace), REFUSAL_NONE);
    assert_int_equal(push_define_queue(w, "q", "out", push_pace(0, 1), retry), REFUSAL_NONE);
}

static void tear_down(struct world *w) {
    model_check(w->model);
    world_check_replay(w);
    world_reload(w);
    world_release(w);
}

static void success_ends_the_message(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    struct attempt_start start;
    assert_false(push_start(&w, &start));
    uint64_t id = push_publish(&w, "q");
    assert_true(push_start(&w, &start));
    assert_true(start.message == id);
    assert_int_equal(start.attempt, 1);
    assert_string_equal(start.queue, "q");
    assert_int_equal(start.timeout_ns, 30 * NS_PER_SECOND);
    assert_int_equal(push_message(&w, id).state, MESSAGE_IN_FLIGHT);
    assert_false(push_start(&w, &start));
    push_finish(&w, &start, 200, 0);
    assert_int_equal(push_message(&w, id).state, MESSAGE_DONE);
    struct destination_info info = push_info(&w, "out");
    assert_int_equal(info.attempts, 1);
    assert_int_equal(info.succeeded, 1);
    assert_int_equal(info.in_flight, 0);
    tear_down(&w);
}

static void a_retriable_end_comes_again(void **state) {
    (void)state;
    struct world w;
    struct retry_def retry = {.max_attempts = 3,
                              .min_backoff_ns = NS_PER_SECOND,
                              .max_backoff_ns = 60 * NS_PER_SECOND,
                              .max_doublings = 5};
    set_up_with(&w, push_pace(0, 1), &retry);
    uint64_t id = push_publish(&w, "q");
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        struct attempt_start start;
        assert_true(push_start(&w, &start));
        assert_int_equal(start.attempt, attempt);
        push_finish(&w, &start, attempt == 2 ? 0 : 503, 0);
        struct message_info info = push_message(&w, id);
        assert_int_equal(info.state, attempt < 3 ? MESSAGE_DELAYED : MESSAGE_DEAD);
        if (attempt < 3) {
            assert_in_range(info.due_ns - w.now_ns, 0, NS_PER_SECOND << (attempt - 1));
            w.now_ns = info.due_ns;
            world_run_timers(&w);
        } else {
            assert_int_equal(info.dead_reason, DEAD_EXHAUSTED);
            assert_int_equal(info.last_status, 503);
        }
    }
    tear_down(&w);
}

/* ---- what the message is tied to ---- */

static void define_campaign(struct world *w) {
    struct campaign_def def;
    assert_int_equal(campaign_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("give")), 0);
    assert_int_equal(def_set_text(&def.stock, span_text("units")), 0);
    assert_int_equal(def_set_text(&def.queue, span_text("q")), 0);
    assert_int_equal(def_set_text(&def.member_pointer, span_text("/member")), 0);
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_DEFINE);
    r.in.define.campaign = &def;
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    request_release(&r);
    campaign_def_release(&def);
}

static uint64_t enter(struct world *w, const char *member) {
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTER);
    r.name = span_text("give");
    r.in.enter.generation = 1;
    r.in.enter.member = span_text(member);
    r.in.enter.envelope.body = span_text("{}");
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    uint64_t id = r.receipt.id;
    request_release(&r);
    return id;
}

static uint64_t units_used(struct world *w) {
    struct stock_info info;
    stock_describe(w->model, stock_find(w->model, span_text("units")), &info);
    return info.used;
}

static enum entry_state entry_state(struct world *w, uint64_t id) {
    struct entry_info info = {.id = 0};
    assert_non_null(campaign_entry_by_id(w->model, id, &info));
    return info.state;
}

/* As long as it may still be sent, the unit is the member's; for good refused, it is back in the same record. */
static void a_retry_keeps_the_unit(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    assert_int_equal(world_define_stock(&w, "units", 5, 0, 0), REFUSAL_NONE);
    define_campaign(&w);
    uint64_t id = enter(&w, "ann");
    struct attempt_start start;
    for (int i = 0; i < 3; i++) {
        assert_true(push_start(&w, &start));
        push_finish(&w, &start, 503, 0);
        assert_int_equal(units_used(&w), 1);
        assert_int_equal(entry_state(&w, id), ENTRY_ACCEPTED);
        w.now_ns = push_message(&w, id).due_ns;
        world_run_timers(&w);
    }
    assert_true(push_start(&w, &start));
    push_finish(&w, &start, 422, 0);
    assert_int_equal(units_used(&w), 0);
    assert_int_equal(entry_state(&w, id), ENTRY_FAILED);
    tear_down(&w);
}

static enum refusal cancel(struct world *w, uint64_t id) {
    char text[18];
    receipt_format(id, text);
    struct request r;
    request_init(&r, REQUEST_STOCK_RELEASE);
    r.name = span_text("units");
    r.in.reserve.purchase = span_text(text);
    enum refusal refusal = world_ask(w, &r);
    request_release(&r);
    return refusal;
}

/* Somebody gave the unit back already, and it may be another's by now: the dead letter gives back nothing. */
static void a_unit_is_given_back_once(void **state) {
    (void)state;
    for (unsigned forgotten = 0; forgotten < 2; forgotten++) {
        struct world w;
        set_up_with(&w, push_pace(0, 1), NULL);
        assert_int_equal(world_define_stock(&w, "units", 1, 0, 0), REFUSAL_NONE);
        define_campaign(&w);
        uint64_t id = enter(&w, "ann");
        assert_int_equal(cancel(&w, id), REFUSAL_NONE);
        enter(&w, "bob");
        if (forgotten) { /* the cancel is not remembered any more */
            w.now_ns += 48 * 3600 * NS_PER_SECOND;
            world_run_timers(&w);
        }
        struct attempt_start start;
        assert_true(push_start(&w, &start));
        assert_true(start.message == id);
        push_finish(&w, &start, 422, 0);
        assert_int_equal(entry_state(&w, id), ENTRY_FAILED);
        assert_int_equal(units_used(&w), 1);
        tear_down(&w);
    }
}

static void the_queue_may_say_how_long(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    struct queue_def def = world_queue_def("q", "out");
    def.dispatch_deadline_ns = 7 * NS_PER_SECOND;
    assert_int_equal(world_define(&w, &def), REFUSAL_NONE);
    push_publish(&w, "q");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    assert_int_equal(start.timeout_ns, 7 * NS_PER_SECOND);
    push_finish(&w, &start, 200, 0);
    tear_down(&w);
}

static void a_refusal_is_final(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    uint64_t id = push_publish(&w, "q");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    push_finish(&w, &start, 422, 0);
    struct message_info info = push_message(&w, id);
    assert_int_equal(info.state, MESSAGE_DEAD);
    assert_int_equal(info.dead_reason, DEAD_REFUSED);
    assert_int_equal(info.last_status, 422);
    tear_down(&w);
}

static void age_ends_the_retries(void **state) {
    (void)state;
    struct world w;
    struct retry_def retry = {.min_backoff_ns = NS_PER_MS,
                              .max_backoff_ns = NS_PER_MS,
                              .max_duration_ns = 10 * NS_PER_SECOND};
    set_up_with(&w, push_pace(0, 1), &retry);
    uint64_t id = push_publish(&w, "q");
    w.now_ns +=
        3600 * NS_PER_SECOND; /* waiting does not count, only what follows the first attempt */
    struct attempt_start start;
    for (int i = 0; i < 4; i++) {
        assert_true(push_start(&w, &start));
        w.now_ns += 3 * NS_PER_SECOND;
        push_finish(&w, &start, 500, 0);
        w.now_ns += NS_PER_MS;
        world_run_timers(&w);
    }
    struct message_info info = push_message(&w, id);
    assert_int_equal(info.state, MESSAGE_DEAD);
    assert_int_equal(info.dead_reason, DEAD_EXHAUSTED);
    assert_int_equal(info.attempts, 4);
    tear_down(&w);
}

static void retry_after_closes_the_destination(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    uint64_t id = push_publish(&w, "q");
    push_publish(&w, "q");
    struct attempt_start start, other;
    assert_true(push_start(&w, &start));
    push_finish(&w, &start, 429, 7 * NS_PER_SECOND);
    assert_true(push_message(&w, id).due_ns >= w.now_ns + 7 * NS_PER_SECOND);
    assert_false(push_start(&w, &other));
    assert_true(model_next_start_ns(w.model, w.now_ns) == w.now_ns + 7 * NS_PER_SECOND);
    assert_true(push_info(&w, "out").closed_until_ns == w.now_ns + 7 * NS_PER_SECOND);
    w.now_ns += 7 * NS_PER_SECOND;
    assert_true(push_start(&w, &other));
    push_finish(&w, &other, 500, 60 * NS_PER_SECOND); /* 500 says it of this message only */
    push_publish(&w, "q");
    assert_true(push_start(&w, &other));
    push_finish(&w, &other, 503, UINT64_MAX); /* a day is the most that is believed */
    assert_true(push_info(&w, "out").closed_until_ns == w.now_ns + 86400 * NS_PER_SECOND);
    tear_down(&w);
}

static void a_stale_end_changes_nothing(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    uint64_t id = push_publish(&w, "q");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    uint64_t position = w.position;
    struct attempt_start other = start;
    other.attempt = 2;
    push_finish(&w, &other, 200, 0);
    other = start;
    other.message = id + 64;
    push_finish(&w, &other, 200, 0);
    assert_true(w.position == position);
    assert_int_equal(push_message(&w, id).state, MESSAGE_IN_FLIGHT);
    push_finish(&w, &start, 200, 0);
    position = w.position;
    push_finish(&w, &start, 422, 0);
    assert_true(w.position == position);
    tear_down(&w);
}

/*
 * Strict: the token of an unknown outcome stays spent until its time-out is over, and a period more. It may have left just before
 * the program ended, but no more than a minute after it was decided.
 */
static void a_restart_finds_unknown_outcomes(void **state) {
    (void)state;
    static const struct {
        uint64_t down_s, wait_s;
    } restarts[] = {{1, 30 + 1}, {59, 30 + 1}, {80, 60 + 30 - 80 + 1}, {3600, 1}};
    for (size_t i = 0; i < sizeof restarts / sizeof *restarts; i++) {
        struct world w;
        struct pace_def pace = push_pace(2, 2);
        pace.mode = PACE_STRICT;
        set_up_with(&w, pace, NULL);
        uint64_t first = push_publish(&w, "q");
        uint64_t second = push_publish(&w, "q");
        push_publish(&w, "q");
        struct attempt_start start;
        assert_true(push_start(&w, &start));
        assert_true(push_start(&w, &start));
        world_reload(&w);
        w.now_ns += restarts[i].down_s * NS_PER_SECOND;
        assert_int_equal(push_recover(&w), 2);
        assert_int_equal(push_message(&w, first).state, MESSAGE_READY);
        assert_int_equal(push_message(&w, second).attempts, 1);
        assert_false(push_start(&w, &start));
        uint64_t next_ns = model_next_start_ns(w.model, w.now_ns);
        assert_int_equal(next_ns - w.now_ns, restarts[i].wait_s * NS_PER_SECOND);
        w.now_ns = next_ns;
        assert_true(push_start(&w, &start));
        assert_true(start.message == first);
        assert_int_equal(start.attempt, 2);
        assert_true(start.outcome_unknown_before);
        tear_down(&w);
    }
}

static void pace_holds_over_all_queues(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(10, 1), NULL);
    assert_int_equal(push_define_queue(&w, "p", "out", push_pace(0, 1), NULL), REFUSAL_NONE);
    for (int i = 0; i < 10; i++) {
        push_publish(&w, i % 2 ? "q" : "p");
    }
    uint64_t began_ns = w.now_ns;
    struct attempt_start start;
    for (uint32_t started = 0; started < 10; started++) {
        assert_true(push_start(&w, &start));
        push_finish(&w, &start, 200, 0);
        assert_false(push_start(&w, &start));
        uint64_t next_ns = model_next_start_ns(w.model, w.now_ns);
        if (started < 9) {
            assert_true(next_ns == w.now_ns + 100 * NS_PER_MS);
            w.now_ns = next_ns;
        } else {
            assert_true(next_ns == UINT64_MAX);
        }
    }
    assert_true(w.now_ns - began_ns == 900 * NS_PER_MS);
    tear_down(&w);
}

/* The example in Cloud Tasks' own documentation. */
static void backoff_doubles_then_grows_linearly(void **state) {
    (void)state;
    struct retry_def r = {.min_backoff_ns = 10 * NS_PER_SECOND,
                          .max_backoff_ns = 300 * NS_PER_SECOND,
                          .max_doublings = 3};
    static const uint64_t seconds[] = {10, 20, 40, 80, 160, 240, 300, 300};
    for (uint32_t attempt = 1; attempt <= 8; attempt++) {
        assert_int_equal(retry_backoff_ns(&r, attempt), seconds[attempt - 1] * NS_PER_SECOND);
    }
    r.max_doublings = UINT32_MAX;
    r.max_backoff_ns = UINT64_MAX;
    assert_true(retry_backoff_ns(&r, 64) == UINT64_MAX); /* no wrap */
    r.max_doublings = 0;
    assert_int_equal(retry_backoff_ns(&r, 3), 30 * NS_PER_SECOND);
}

static void without_a_cap_ours_holds(void **state) {
    (void)state;
    struct world w;
    set_up_with(&w, push_pace(0, 1), NULL);
    for (uint32_t i = 0; i <= DESTINATION_IN_FLIGHT_MAX; i++) {
        push_publish(&w, "q");
    }
    struct attempt_start start;
    uint32_t started = 0;
    while (push_start(&w, &start)) {
        started++;
    }
    assert_int_equal(started, DESTINATION_IN_FLIGHT_MAX);
    assert_true(model_next_start_ns(w.model, w.now_ns) == UINT64_MAX);
    push_finish(&w, &start, 200, 0);
    assert_true(push_start(&w, &start));
    model_check(w.model);
    world_reload(&w);
    world_release(&w);
}

/* "q" as AMQP declared it, with a dead-letter exchange, then made to push by HTTP; its failures are told to "told". */
static void set_up_lettered(struct world *w, const char *exchange, const char *key) {
    struct retry_def retry = {
        .max_attempts = 2, .min_backoff_ns = NS_PER_SECOND, .max_backoff_ns = NS_PER_SECOND};
    struct buffer table;
    struct amqp_table_out t;
    world_init(w, NULL);
    buffer_init(&table, 4096);
    amqp_table_begin(&t, &table);
    amqp_put_text(&t, "x-dead-letter-exchange", span_text(exchange));
    amqp_put_text(&t, "x-dead-letter-routing-key", span_text(key));
    struct rabbit_queue q = {.arguments = rabbit_arguments(&table, &t)};
    assert_int_equal(rabbit_declare(w, "q", q, NULL), REFUSAL_NONE);
    assert_int_equal(rabbit_declare(w, "grave", (struct rabbit_queue){0}, NULL), REFUSAL_NONE);
    assert_int_equal(push_define_destination(w, "out", push_pace(0, 1)), REFUSAL_NONE);
    assert_int_equal(push_define_queue(w, "told", "", push_pace(0, 1), NULL), REFUSAL_NONE);
    struct queue_def def;
    assert_int_equal(queue_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("q")), 0);
    assert_int_equal(def_set_text(&def.destination, span_text("out")), 0);
    assert_int_equal(def_set_text(&def.on_failure.queue, span_text("told")), 0);
    retry.statuses = def.retry.statuses;
    def.retry = retry;
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text("q");
    r.in.define.queue = &def;
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    request_release(&r);
    queue_def_release(&def);
    buffer_release(&table);
}

static void end_attempt(struct world *w, uint16_t status) {
    struct attempt_start start;
    assert_true(push_start(w, &start));
    push_finish(w, &start, status, 0);
    w->now_ns += 2 * NS_PER_SECOND;
    world_run_timers(w);
}

static void expect_dropped(struct world *w, uint64_t id, enum dead_reason reason) {
    struct request r;
    request_init(&r, REQUEST_RECEIPT_GET);
    r.id = id;
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    assert_int_equal(r.out.receipt.state, MESSAGE_DROPPED);
    assert_int_equal(r.out.receipt.dead_reason, reason);
    request_release(&r);
}

/* Refused or out of attempts: in that exchange's queue and no more in its own, once over a restart too. */
static void the_dead_go_to_their_exchange(void **state) {
    (void)state;
    struct world w;
    set_up_lettered(&w, "", "grave");
    uint64_t refused = push_publish(&w, "q");
    end_attempt(&w, 422);
    uint64_t exhausted = push_publish(&w, "q");
    end_attempt(&w, 500);
    assert_int_equal(rabbit_ready(&w, "grave"), 1);
    end_attempt(&w, 500);
    world_reload(&w);
    assert_int_equal(rabbit_ready(&w, "grave"), 2);
    assert_int_equal(rabbit_ready(&w, "told"), 2);
    expect_dropped(&w, refused, DEAD_REFUSED);
    expect_dropped(&w, exhausted, DEAD_EXHAUSTED);
    assert_true(rabbit_get(&w, 1, "grave").origin_size > 0);
    assert_int_equal(push_info(&w, "out").failed, 3);
    tear_down(&w);
}

/* What was paid for is not lost because an exchange is missing. */
static void without_a_way_it_stays(void **state) {
    (void)state;
    struct world w;
    set_up_lettered(&w, "", "nobody");
    uint64_t id = push_publish(&w, "q");
    end_attempt(&w, 422);
    assert_int_equal(push_message(&w, id).state, MESSAGE_DEAD);
    assert_int_equal(rabbit_ready(&w, "told"), 1);
    tear_down(&w);
}

/* Over a queue that waits and back: the far side's no is not a cycle of the broker's own. */
static void it_may_come_back_later(void **state) {
    (void)state;
    struct world w;
    struct buffer table;
    struct amqp_table_out t;
    set_up_lettered(&w, "", "later");
    buffer_init(&table, 4096);
    amqp_table_begin(&t, &table);
    amqp_put_text(&t, "x-dead-letter-exchange", span_text(""));
    amqp_put_text(&t, "x-dead-letter-routing-key", span_text("q"));
    amqp_put_i32(&t, "x-message-ttl", 1000);
    struct rabbit_queue later = {.arguments = rabbit_arguments(&table, &t)};
    assert_int_equal(rabbit_declare(&w, "later", later, NULL), REFUSAL_NONE);
    (void)push_publish(&w, "q");
    for (int round = 0; round < 3; round++) {
        end_attempt(&w, 500);
        end_attempt(&w, 500);
    }
    end_attempt(&w, 200);
    assert_int_equal(rabbit_ready(&w, "later") + rabbit_ready(&w, "q"), 0);
    assert_int_equal(push_info(&w, "out").succeeded, 1);
    buffer_release(&table);
    tear_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dead_go_to_their_exchange),
        cmocka_unit_test(without_a_way_it_stays),
        cmocka_unit_test(it_may_come_back_later),
        cmocka_unit_test(success_ends_the_message),
        cmocka_unit_test(a_retriable_end_comes_again),
        cmocka_unit_test(a_retry_keeps_the_unit),
        cmocka_unit_test(a_unit_is_given_back_once),
        cmocka_unit_test(the_queue_may_say_how_long),
        cmocka_unit_test(a_refusal_is_final),
        cmocka_unit_test(age_ends_the_retries),
        cmocka_unit_test(retry_after_closes_the_destination),
        cmocka_unit_test(a_stale_end_changes_nothing),
        cmocka_unit_test(a_restart_finds_unknown_outcomes),
        cmocka_unit_test(pace_holds_over_all_queues),
        cmocka_unit_test(backoff_doubles_then_grows_linearly),
        cmocka_unit_test(without_a_cap_ours_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
