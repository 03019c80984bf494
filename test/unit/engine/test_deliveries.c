/* Deliveries through the engine: in order, when durable; deaths that need more ids than a record has. */
#include "base/amqp_table.h"
#include "world.h"

struct inbox {
    struct world world; /* first: the callbacks' context */
    struct delivery got[1024];
    size_t count;
    uint64_t durable_at_first;
};

static struct inbox box;

static void on_deliver(void *context, struct delivery_batch *first) {
    for (const struct delivery_batch *b = first; b != NULL; b = b->next) {
        assert_true(b->wait_position <= log_durable_position(box.world.engine->log));
        for (uint32_t i = 0; i < b->count; i++) {
            assert_true(box.count < ARRAY_LENGTH(box.got));
            box.got[box.count] = b->items[i];
            box.got[box.count++].origin = NULL;
        }
    }
    delivery_batch_free(first);
}

static int setup(void **state) {
    memset(&box, 0, sizeof box);
    world_init(&box.world);
    box.world.options.deliver = on_deliver;
    world_open(&box.world);
    return 0;
}

static int teardown(void **state) {
    world_release(&box.world);
    return 0;
}

static struct request ask_for(enum request_kind kind, const char *name) {
    struct request r;
    request_init(&r, kind);
    r.vhost = span_text("/");
    r.name = span_text(name);
    r.session = 1;
    return r;
}

static uint64_t call(struct request *r) {
    assert_int_equal(engine_call(box.world.engine, r), 0);
    assert_int_equal(r->refusal, REFUSAL_NONE);
    uint64_t count = r->count;
    request_release(r);
    return count;
}

static void declare(const char *name, const char *dead_letters) {
    struct buffer b;
    struct amqp_table_out t;
    buffer_init(&b, 256);
    amqp_table_begin(&t, &b);
    if (dead_letters != NULL) {
        amqp_put_text(&t, "x-dead-letter-exchange", span_text(dead_letters));
    }
    assert_int_equal(amqp_table_end(&t), 0);
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DECLARE, name);
    r.in.queue_declare =
        (struct queue_declare){.durable = true, .arguments = span_of(b.data + 4, b.size - 4)};
    call(&r);
    buffer_release(&b);
}

static void bind(const char *queue) {
    struct request r = ask_for(REQUEST_AMQP_BIND, "");
    r.in.binding =
        (struct binding){.source = span_text("amq.fanout"), .destination = span_text(queue)};
    call(&r);
}

static void consume(const char *queue, uint32_t number) {
    struct request r = ask_for(REQUEST_CONSUME, queue);
    r.in.consume = (struct consume){.consumer = number, .channel = 1};
    call(&r);
}

static void publish(const char *key, bool has_ttl, uint64_t ttl_ns) {
    struct request r = ask_for(REQUEST_AMQP_PUBLISH, "");
    r.in.amqp_publish.vhost = span_text("/");
    r.in.amqp_publish.message = (struct amqp_message){.routing_key = span_text(key),
                                                      .body = span_text("body"),
                                                      .has_ttl = has_ttl,
                                                      .ttl_ns = ttl_ns};
    call(&r);
}

static void test_in_order_and_durable(void **state) {
    declare("q", NULL);
    for (unsigned i = 0; i < 700; i++) {
        publish("q", false, 0);
    }
    consume("q", 1);
    engine_turn(box.world.engine);
    assert_int_equal(box.count, 700);
    for (unsigned i = 1; i < 700; i++) {
        assert_true(box.got[i].message > box.got[i - 1].message);
    }
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, 1u << 20);
    const struct delivery *d = &box.got[699];
    assert_int_equal(
        engine_read_message(box.world.engine, d->stored_id, d->address, &bytes, &stored), 0);
    assert_true(span_is(stored.envelope.body, "body") && span_is(stored.routing_key, "q"));
    buffer_release(&bytes);
}

/* To a consumer that waits, and to nobody else. */
static void test_no_time_to_live(void **state) {
    declare("q", NULL);
    publish("q", true, 0);
    box.world.now_ns += NS_PER_MS;
    engine_turn(box.world.engine);
    consume("q", 1);
    engine_turn(box.world.engine);
    assert_int_equal(box.count, 0);
    publish("q", true, 0);
    assert_int_equal(box.count, 1);
}

/* 300 at once: more ids than a record has, so several records; each body once. */
static void test_many_deaths(void **state) {
    declare("q", "amq.fanout");
    for (unsigned i = 0; i < 70; i++) {
        char name[16];
        snprintf(name, sizeof name, "dead%u", i);
        declare(name, NULL);
        bind(name);
    }
    for (unsigned i = 0; i < 10; i++) {
        publish("q", true, NS_PER_SECOND);
    }
    box.world.now_ns += 2 * NS_PER_SECOND;
    engine_turn(box.world.engine);
    for (unsigned i = 0; i < 70; i += 69) {
        char name[16];
        snprintf(name, sizeof name, "dead%u", i);
        assert_int_equal(world_queue(&box.world, name).ready, 10);
    }
    assert_int_equal(world_queue(&box.world, "q").expired, 10);
    declare("r", "amq.direct"); /* bound to nothing */
    for (unsigned i = 0; i < 300; i++) {
        publish("r", true, NS_PER_SECOND);
    }
    box.world.now_ns += 2 * NS_PER_SECOND;
    engine_turn(box.world.engine);
    assert_int_equal(world_queue(&box.world, "r").expired, 300);
    world_crash(&box.world, SIM_DROP);
    world_open(&box.world);
    assert_int_equal(world_queue(&box.world, "dead69").ready, 10);
}

static void test_cancelled_is_told(void **state) {
    declare("q", NULL);
    consume("q", 5);
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DELETE, "q");
    call(&r);
    engine_turn(box.world.engine);
    assert_int_equal(box.count, 1);
    assert_true(box.got[0].kind == DELIVERY_CANCELLED && box.got[0].consumer == 5);
}

static void test_restart_closes_sessions(void **state) {
    declare("q", NULL);
    publish("q", false, 0);
    consume("q", 1);
    engine_turn(box.world.engine);
    assert_int_equal(box.count, 1);
    world_crash(&box.world, SIM_DROP);
    world_open(&box.world);
    assert_int_equal(world_queue(&box.world, "q").ready, 1);
    consume("q", 1);
    engine_turn(box.world.engine);
    assert_int_equal(box.count, 2);
    assert_true(box.got[1].redelivered && box.got[1].delivery_count == 1);
    assert_int_equal(box.got[0].message, box.got[1].message);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_in_order_and_durable), TEST(test_no_time_to_live),         TEST(test_many_deaths),
        TEST(test_cancelled_is_told),    TEST(test_restart_closes_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
