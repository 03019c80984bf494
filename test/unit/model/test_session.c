/* Consumers: who gets what, when, how often; and queues that go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "amqp_world.h"

static void queue(const char *name, struct rabbit_queue q) {
    assert_int_equal(rabbit_declare(&w, name, q, NULL), REFUSAL_NONE);
}

static void plain(const char *name) {
    queue(name, (struct rabbit_queue){.vhost = NULL});
}

static void quorum(const char *name, int32_t limit) {
    begin();
    amqp_put_text(&t, "x-queue-type", span_text("quorum"));
    amqp_put_i32(&t, "x-delivery-limit", limit);
    queue(name, (struct rabbit_queue){.arguments = end()});
}

static void fill(const char *name, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(rabbit_publish(&w, "", name, "body"), 1);
    }
}

static struct delivery next(void) {
    struct delivery d;
    assert_true(rabbit_next(&w, &d));
    return d;
}

static void expect_none(void) {
    struct delivery d;
    assert_false(rabbit_next(&w, &d));
}

static void test_prefetch_and_turns(void **state) {
    plain("q");
    fill("q", 6);
    assert_int_equal(rabbit_consume(&w, 1, 1, "q", 2), REFUSAL_NONE);
    assert_int_equal(rabbit_consume(&w, 2, 1, "q", 1), REFUSAL_NONE);
    struct delivery a = next(), b = next(), c = next();
    assert_true(a.session == 1 && b.session == 2 && c.session == 1);
    assert_true(a.message < b.message && b.message < c.message && !a.redelivered);
    expect_none();
    rabbit_settle(&w, 2, a.message, SETTLE_ACK); /* not its own */
    expect_none();
    rabbit_settle(&w, 1, a.message, SETTLE_ACK);
    rabbit_settle(&w, 1, a.message, SETTLE_ACK);
    assert_int_equal(next().session, 1);
    expect_none();
    assert_int_equal(rabbit_in_flight(&w, "q"), 3);
    assert_int_equal(rabbit_ready(&w, "q"), 2);
}

static void test_priority(void **state) {
    plain("q");
    struct consume c = {.consumer = 1, .channel = 1, .prefetch = 2, .priority = 1};
    assert_int_equal(rabbit_consume_as(&w, 1, "q", &c), REFUSAL_NONE);
    c.priority = 10;
    assert_int_equal(rabbit_consume_as(&w, 2, "q", &c), REFUSAL_NONE);
    fill("q", 3);
    assert_int_equal(next().session, 2);
    assert_int_equal(next().session, 2);
    assert_int_equal(next().session, 1);
}

static void test_channel_limit(void **state) {
    plain("q");
    plain("r");
    fill("q", 5);
    fill("r", 5);
    struct request r;
    request_init(&r, REQUEST_QOS);
    r.session = 1;
    r.in.consume = (struct consume){.channel = 1, .prefetch = 3, .channel_wide = true};
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    rabbit_consume(&w, 1, 1, "q", 0);
    rabbit_consume(&w, 1, 2, "r", 0);
    struct delivery d[10];
    assert_int_equal(rabbit_deliver_all(&w, d, 10), 3);
    rabbit_settle(&w, 1, d[0].message, SETTLE_ACK);
    assert_int_equal(rabbit_deliver_all(&w, d, 10), 1);
    rabbit_get(&w, 1, "r"); /* is not pushed, so it does not count */
    world_reload(&w);
    rabbit_settle(&w, 1, d[0].message, SETTLE_ACK);
    assert_int_equal(rabbit_deliver_all(&w, d, 10), 1);
    request_release(&r);
}

static void test_requeue_keeps_place(void **state) {
    plain("q");
    fill("q", 4);
    rabbit_consume(&w, 1, 1, "q", 3);
    struct delivery d[3];
    assert_int_equal(rabbit_deliver_all(&w, d, 3), 3);
    rabbit_settle(&w, 1, d[1].message, SETTLE_REQUEUE);
    struct delivery again = next();
    assert_int_equal(again.message, d[1].message);
    assert_true(again.redelivered && again.delivery_count == 1);
    rabbit_cancel(&w, 1, 1);
    rabbit_close(&w, 1);
    assert_int_equal(rabbit_ready(&w, "q"), 4);
    rabbit_consume(&w, 2, 1, "q", 0);
    for (unsigned i = 0; i < 3; i++) {
        again = next();
        assert_int_equal(again.message, d[i].message); /* where they were */
        assert_true(again.redelivered);
    }
    assert_false(next().redelivered);
}

static void test_returned_does_not_count(void **state) {
    plain("q");
    fill("q", 1);
    rabbit_consume(&w, 1, 1, "q", 1);
    struct delivery d = next();
    rabbit_settle(&w, 1, d.message, SETTLE_RETURN);
    d = next();
    assert_true(!d.redelivered && d.delivery_count == 0);
}

static void test_cancel_leaves_unacked(void **state) {
    plain("q");
    fill("q", 2);
    rabbit_consume(&w, 1, 1, "q", 1);
    struct delivery d = next();
    rabbit_cancel(&w, 1, 1);
    expect_none();
    assert_int_equal(rabbit_in_flight(&w, "q"), 1);
    rabbit_settle(&w, 1, d.message, SETTLE_ACK);
    assert_int_equal(rabbit_in_flight(&w, "q"), 0);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
}

static void test_credit(void **state) {
    plain("q");
    fill("q", DELIVERY_CREDIT + 10);
    rabbit_consume(&w, 1, 1, "q", 0);
    static struct delivery d[DELIVERY_CREDIT + 10];
    assert_int_equal(rabbit_deliver_all(&w, d, ARRAY_LENGTH(d)), DELIVERY_CREDIT);
    rabbit_credit(&w, 1, 1, DELIVERY_CREDIT + 4);
    assert_int_equal(rabbit_deliver_all(&w, d, ARRAY_LENGTH(d)), 4);
}

static void test_exclusive(void **state) {
    plain("q");
    struct consume c = {.consumer = 1, .channel = 1, .exclusive = true};
    assert_int_equal(rabbit_consume_as(&w, 1, "q", &c), REFUSAL_NONE);
    assert_int_equal(rabbit_consume(&w, 2, 1, "q", 0), REFUSAL_FORBIDDEN);
    rabbit_cancel(&w, 1, 1);
    assert_int_equal(rabbit_consume(&w, 2, 1, "q", 0), REFUSAL_NONE);
    assert_int_equal(rabbit_consume_as(&w, 1, "q", &c), REFUSAL_FORBIDDEN);
    assert_int_equal(rabbit_consume(&w, 2, 1, "q", 0), REFUSAL_NOT_ALLOWED);
    assert_int_equal(rabbit_consume(&w, 2, 2, "nobody", 0), REFUSAL_NOT_FOUND);
    struct rabbit_queue mine = {.session = 3, .exclusive = true};
    queue("mine", mine);
    mine.session = 4;
    assert_int_equal(rabbit_declare(&w, "mine", mine, NULL), REFUSAL_LOCKED);
    assert_int_equal(rabbit_consume(&w, 4, 1, "mine", 0), REFUSAL_LOCKED);
    rabbit_close(&w, 3);
    assert_int_equal(rabbit_declare(&w, "mine", mine, NULL), REFUSAL_NONE);
}

static void test_single_active(void **state) {
    begin();
    amqp_put_bool(&t, "x-single-active-consumer", true);
    queue("q", (struct rabbit_queue){.arguments = end()});
    fill("q", 10);
    rabbit_consume(&w, 1, 1, "q", 2);
    rabbit_consume(&w, 2, 1, "q", 2);
    rabbit_consume(&w, 3, 1, "q", 2);
    struct delivery d[10];
    assert_int_equal(rabbit_deliver_all(&w, d, 10), 2);
    assert_true(d[0].session == 1 && d[1].session == 1);
    world_reload(&w);
    expect_none();
    rabbit_close(&w, 1);
    assert_int_equal(rabbit_deliver_all(&w, d, 10), 2);
    assert_true(d[0].session == 2 && d[0].redelivered);
}

static void test_queue_goes_with_its_consumers(void **state) {
    queue("q", (struct rabbit_queue){.auto_delete = true});
    fill("q", 3);
    rabbit_consume(&w, 1, 1, "q", 1);
    rabbit_consume(&w, 2, 1, "q", 1);
    (void)next();
    rabbit_cancel(&w, 1, 1);
    assert_int_equal(rabbit_ready(&w, "q"), 2);
    rabbit_close(&w, 2);
    struct rabbit_queue passive = {.passive = true};
    assert_int_equal(rabbit_declare(&w, "q", passive, NULL), REFUSAL_NOT_FOUND);
}

static void test_cancel_notice(void **state) {
    plain("q");
    fill("q", 2);
    rabbit_consume(&w, 1, 9, "q", 1);
    (void)next();
    assert_int_equal(rabbit_delete(&w, "q"), REFUSAL_NONE);
    struct delivery d;
    assert_true(model_take_notice(w.model, &d));
    assert_int_equal(d.kind, DELIVERY_CANCELLED);
    assert_true(d.session == 1 && d.consumer == 9 && d.channel == 1);
    assert_false(model_take_notice(w.model, &d));
    assert_int_equal(rabbit_delete(&w, "q"), REFUSAL_NONE); /* gone already: all well */
}

static void test_delivery_limit(void **state) {
    quorum("q", 2);
    fill("q", 1);
    rabbit_consume(&w, 1, 1, "q", 1);
    for (unsigned i = 0; i < 3; i++) {
        struct delivery d = next();
        assert_int_equal(d.delivery_count, i);
        rabbit_settle(&w, 1, d.message, SETTLE_REQUEUE);
    }
    expect_none();
    assert_int_equal(rabbit_ready(&w, "q"), 0);
    fill("q", 1);
    for (unsigned i = 0; i < 3; i++) { /* connections that die with it count as well */
        (void)next();
        rabbit_close(&w, i == 0 ? 1 : 10 + i);
        rabbit_consume(&w, 11 + i, 1, "q", 1);
    }
    expect_none();
}

static void test_recovery(void **state) {
    plain("q");
    queue("gone", (struct rabbit_queue){.transient = true});
    queue("mine", (struct rabbit_queue){.session = 1, .exclusive = true});
    fill("q", 3);
    rabbit_consume(&w, 1, 1, "q", 2);
    (void)next();
    (void)next();
    world_reload(&w);
    assert_true(rabbit_recover(&w) >= 2);
    assert_int_equal(rabbit_ready(&w, "q"), 3);
    rabbit_consume(&w, 1, 1, "q", 0);
    assert_int_equal(next().delivery_count, 1);
    struct rabbit_queue passive = {.passive = true};
    assert_int_equal(rabbit_declare(&w, "gone", passive, NULL), REFUSAL_NOT_FOUND);
    assert_int_equal(rabbit_declare(&w, "mine", passive, NULL), REFUSAL_NOT_FOUND);
}

static void test_expiring_queue(void **state) {
    begin();
    amqp_put_i32(&t, "x-expires", 1000);
    struct rabbit_queue q = {.arguments = end()};
    queue("q", q);
    w.now_ns += 900 * NS_PER_MS;
    queue("q", q); /* declared again */
    w.now_ns += 900 * NS_PER_MS;
    assert_int_equal(world_run_timers(&w), 0);
    rabbit_consume(&w, 1, 1, "q", 0);
    w.now_ns += 5 * NS_PER_SECOND;
    assert_int_equal(world_run_timers(&w), 0);
    rabbit_close(&w, 1);
    world_reload(&w);
    w.now_ns += 900 * NS_PER_MS;
    assert_int_equal(world_run_timers(&w), 0);
    w.now_ns += 200 * NS_PER_MS;
    assert_int_equal(world_run_timers(&w), 1);
    q.passive = true;
    assert_int_equal(rabbit_declare(&w, "q", q, NULL), REFUSAL_NOT_FOUND);
}

static void test_as_many_connections_as_may_be(void **state) {
    struct world small;
    struct model_limits limits = w.limits;
    limits.sessions = 2;
    world_init(&small, &limits);
    assert_int_equal(rabbit_declare(&small, "q", (struct rabbit_queue){.vhost = NULL}, NULL),
                     REFUSAL_NONE);
    assert_int_equal(rabbit_consume(&small, 1, 1, "q", 0), REFUSAL_NONE);
    assert_int_equal(rabbit_consume(&small, 2, 1, "q", 0), REFUSAL_NONE);
    assert_int_equal(rabbit_consume(&small, 3, 1, "q", 0), REFUSAL_NOT_ALLOWED); /* 530 */
    rabbit_close(&small, 1);
    assert_int_equal(rabbit_consume(&small, 3, 1, "q", 0), REFUSAL_NONE);
    world_release(&small);
}

static void test_pace(void **state) {
    begin();
    amqp_put_i32(&t, "x-max-deliveries-per-second", 10);
    queue("q", (struct rabbit_queue){.arguments = end()});
    fill("q", 100);
    rabbit_consume(&w, 1, 1, "q", 0);
    rabbit_consume(&w, 2, 1, "q", 0);
    uint32_t total = 0;
    static struct delivery d[100];
    for (unsigned ms = 0; ms < 3000; ms++) {
        total += rabbit_deliver_all(&w, d, 100);
        w.now_ns += NS_PER_MS;
        assert_true(total <= 1 + ms / 100 + 1);
    }
    assert_true(total >= 30 && total <= 31);
    (void)rabbit_deliver_all(&w, d, 100);
    uint64_t next_ns = model_next_delivery_ns(w.model, w.now_ns);
    assert_true(next_ns > w.now_ns && next_ns < w.now_ns + 101 * NS_PER_MS);
}

static void test_get_at_its_pace(void **state) {
    begin();
    amqp_put_i32(&t, "x-max-deliveries-per-second", 10);
    queue("q", (struct rabbit_queue){.arguments = end()});
    fill("q", 3);
    assert_int_equal(rabbit_get(&w, 1, "q").kind, DELIVERY_MESSAGE);
    assert_int_equal(rabbit_get(&w, 1, "q").kind, 0);
    w.now_ns += 101 * NS_PER_MS;
    assert_int_equal(rabbit_get(&w, 1, "q").kind, DELIVERY_MESSAGE);
}

/* Before its timer has come. */
static void test_expired_is_not_delivered(void **state) {
    plain("q");
    struct amqp_message m = {
        .routing_key = span_text("q"), .has_ttl = true, .ttl_ns = 10 * NS_PER_MS};
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    fill("q", 1);
    w.now_ns += 11 * NS_PER_MS;
    struct delivery d = rabbit_get(&w, 1, "q");
    assert_int_equal(d.kind, DELIVERY_MESSAGE);
    assert_int_equal(d.body_bytes, 4); /* the other one: "body" */
    assert_int_equal(rabbit_consume(&w, 2, 1, "q", 0), REFUSAL_NONE);
    expect_none();
}

static void test_ordering_key(void **state) {
    begin();
    amqp_put_text(&t, "x-ordering-key", span_text("x-user"));
    queue("q", (struct rabbit_queue){.arguments = end()});
    static const char *const users[] = {"a", "a", "b", "a"};
    for (size_t i = 0; i < ARRAY_LENGTH(users); i++) {
        begin();
        amqp_put_text(&t, "x-user", span_text(users[i]));
        struct amqp_message m = {.routing_key = span_text("q"), .headers = end()};
        assert_int_equal(rabbit_publish_message(&w, &m), 1);
    }
    rabbit_consume(&w, 1, 1, "q", 0);
    struct delivery d[4];
    assert_int_equal(rabbit_deliver_all(&w, d, 4), 2); /* one of each */
    rabbit_settle(&w, 1, d[0].message, SETTLE_ACK);
    struct delivery second = next();
    assert_true(second.message > d[0].message);
    expect_none();
    rabbit_settle(&w, 1, second.message, SETTLE_REJECT); /* dead: holds nobody up */
    assert_int_equal(rabbit_deliver_all(&w, d, 4), 1);
}

static void test_get(void **state) {
    plain("q");
    assert_int_equal(rabbit_get(&w, 1, "q").kind, 0);
    fill("q", 2);
    struct delivery d = rabbit_get(&w, 1, "q");
    assert_true(d.kind == DELIVERY_MESSAGE && d.consumer == 0 && d.session == 1);
    rabbit_settle(&w, 1, d.message, SETTLE_REQUEUE);
    assert_true(rabbit_get(&w, 1, "q").redelivered);
    rabbit_close_channel(&w, 1, 1);
    assert_int_equal(rabbit_ready(&w, "q"), 2);
}

static void test_declare_rules(void **state) {
    plain("q");
    struct rabbit_queue q = {.transient = true};
    assert_int_equal(rabbit_declare(&w, "q", q, NULL), REFUSAL_PRECONDITION);
    begin();
    amqp_put_i32(&t, "x-max-length", 5);
    struct rabbit_queue longer = {.arguments = end()};
    assert_int_equal(rabbit_declare(&w, "q", longer, NULL), REFUSAL_PRECONDITION);
    assert_int_equal(rabbit_declare(&w, "r", longer, NULL), REFUSAL_NONE);
    begin();
    amqp_put_i64(&t, "x-max-length", 5); /* another width, an unknown argument: the same */
    amqp_put_text(&t, "x-whatever", span_text("kept"));
    longer.arguments = end();
    assert_int_equal(rabbit_declare(&w, "r", longer, NULL), REFUSAL_NONE);
    static const char *const bad[] = {"x-max-length", "x-message-ttl", "x-max-age",
                                      "x-delivery-limit"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        begin();
        amqp_put_i32(&t, bad[i], i < 2 ? -1 : 5);
        longer.arguments = end();
        assert_int_equal(rabbit_declare(&w, "s", longer, NULL), REFUSAL_PRECONDITION);
    }
    assert_int_equal(rabbit_declare(&w, "amq.mine", (struct rabbit_queue){.vhost = NULL}, NULL),
                     REFUSAL_FORBIDDEN);
    struct request r;
    request_init(&r, REQUEST_AMQP_QUEUE_DECLARE);
    r.vhost = span_text("/");
    r.in.queue_declare.durable = true;
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(r.out_bytes.size, 30);
    assert_memory_equal(r.out_bytes.data, "amq.gen-", 8);
    request_release(&r);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, amqp_setup, amqp_teardown_recovering)
    const struct CMUnitTest tests[] = {
        TEST(test_prefetch_and_turns),
        TEST(test_priority),
        TEST(test_channel_limit),
        TEST(test_requeue_keeps_place),
        TEST(test_returned_does_not_count),
        TEST(test_cancel_leaves_unacked),
        TEST(test_credit),
        TEST(test_exclusive),
        TEST(test_single_active),
        TEST(test_queue_goes_with_its_consumers),
        TEST(test_cancel_notice),
        TEST(test_delivery_limit),
        TEST(test_recovery),
        TEST(test_expiring_queue),
        TEST(test_as_many_connections_as_may_be),
        TEST(test_pace),
        TEST(test_get_at_its_pace),
        TEST(test_expired_is_not_delivered),
        TEST(test_ordering_key),
        TEST(test_get),
        TEST(test_declare_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
