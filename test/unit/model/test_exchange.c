/* Exchanges of every kind, bindings, and what dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "model/queue_state.h"
#include "amqp_world.h"

static void queue(const char *name, struct span arguments) {
    struct rabbit_queue q = {.arguments = arguments};
    assert_int_equal(rabbit_declare(&w, name, q, NULL), REFUSAL_NONE);
}

static void bound(const char *exchange, const char *name, const char *key) {
    queue(name, none);
    assert_int_equal(rabbit_bind(&w, exchange, name, key, none), REFUSAL_NONE);
}

static void test_default_and_direct(void **state) {
    bound("amq.direct", "a", "red");
    bound("amq.direct", "b", "red");
    bound("amq.direct", "c", "blue");
    assert_int_equal(rabbit_publish(&w, "", "a", "x"), 1);
    assert_int_equal(rabbit_publish(&w, "", "nobody", "x"), 0);
    assert_int_equal(rabbit_publish(&w, "amq.direct", "red", "x"), 2);
    assert_int_equal(rabbit_publish(&w, "amq.direct", "green", "x"), 0);
    assert_int_equal(rabbit_publish(&w, "missing", "red", "x"), -1);
    assert_int_equal(rabbit_ready(&w, "a"), 2);
    assert_int_equal(rabbit_ready(&w, "c"), 0);
    assert_int_equal(rabbit_delete(&w, "a"), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "amq.direct", "red", "x"), 1);
    assert_int_equal(rabbit_delete(&w, "b"), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "amq.direct", "red", "x"), 0);
}

static void test_topic(void **state) {
    static const char *const patterns[] = {"a.b.c", "a.*.c", "a.#",   "#",
                                           "*.b.*", "#.c",   "a.#.c", ""};
    for (size_t i = 0; i < ARRAY_LENGTH(patterns); i++) {
        char name[] = {(char)('0' + i), '\0'};
        bound("amq.topic", name, patterns[i]);
    }
    assert_int_equal(rabbit_publish(&w, "amq.topic", "a.b.c", "x"), 7);
    assert_int_equal(rabbit_publish(&w, "amq.topic", "a", "x"), 2);    /* a.#, # */
    assert_int_equal(rabbit_publish(&w, "amq.topic", "a.c", "x"), 4);  /* a.#, #, #.c, a.#.c */
    assert_int_equal(rabbit_publish(&w, "amq.topic", "", "x"), 2);     /* #, "" */
    assert_int_equal(rabbit_publish(&w, "amq.topic", "x.b.", "x"), 2); /* #, *.b.* */
    assert_int_equal(rabbit_publish(&w, "amq.topic", "a.b.b.c", "x"), 4);
    for (size_t i = 0; i < ARRAY_LENGTH(patterns); i += 2) {
        char name[] = {(char)('0' + i), '\0'};
        rabbit_delete(&w, name);
    }
    assert_int_equal(rabbit_publish(&w, "amq.topic", "a.b.c", "x"), 3);
}

/* However many ways lead there. */
static void test_each_queue_once(void **state) {
    bound("amq.topic", "q", "a.*");
    assert_int_equal(rabbit_bind(&w, "amq.topic", "q", "a.#", none), REFUSAL_NONE);
    assert_int_equal(rabbit_bind(&w, "amq.topic", "q", "#", none), REFUSAL_NONE);
    assert_int_equal(rabbit_exchange(&w, "second", "fanout", none), REFUSAL_NONE);
    assert_int_equal(rabbit_bind_exchange(&w, "amq.topic", "second", "*.b"), REFUSAL_NONE);
    assert_int_equal(rabbit_bind(&w, "second", "q", "", none), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "amq.topic", "a.b", "x"), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
}

/* Many '#' must not take for ever. */
static void test_topic_of_hashes(void **state) {
    bound("amq.topic", "q", "#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.b");
    static char key[256];
    for (unsigned i = 0; i < 254; i += 2) {
        key[i] = 'a';
        key[i + 1] = '.';
    }
    key[253] = '\0';
    assert_int_equal(rabbit_publish(&w, "amq.topic", key, "x"), 0);
}

static void test_exchange_to_exchange(void **state) {
    assert_int_equal(rabbit_exchange(&w, "in", "fanout", none), REFUSAL_NONE);
    assert_int_equal(rabbit_exchange(&w, "out", "direct", none), REFUSAL_NONE);
    assert_int_equal(rabbit_bind_exchange(&w, "in", "out", ""), REFUSAL_NONE);
    assert_int_equal(rabbit_bind_exchange(&w, "out", "in", "k"),
                     REFUSAL_NONE); /* round and round */
    bound("out", "q", "k");
    assert_int_equal(rabbit_bind(&w, "in", "q", "", none), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "in", "k", "x"), 1); /* once, on two ways */
    assert_int_equal(rabbit_publish(&w, "in", "other", "x"), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 2);
}

static void test_alternate(void **state) {
    begin();
    amqp_put_text(&t, "alternate-exchange", span_text("amq.fanout"));
    assert_int_equal(rabbit_exchange(&w, "x", "direct", end()), REFUSAL_NONE);
    bound("amq.fanout", "rest", "");
    bound("x", "q", "k");
    assert_int_equal(rabbit_publish(&w, "x", "k", "1"), 1);
    assert_int_equal(rabbit_publish(&w, "x", "other", "2"), 1);
    assert_int_equal(rabbit_ready(&w, "rest"), 1);
    begin();
    amqp_put_text(&t, "alternate-exchange", span_text("amq.direct"));
    assert_int_equal(rabbit_exchange(&w, "x", "direct", end()), REFUSAL_PRECONDITION);
    assert_int_equal(rabbit_exchange(&w, "x", "fanout", none), REFUSAL_PRECONDITION);
    assert_int_equal(rabbit_exchange(&w, "y", "nonsense", none), REFUSAL_COMMAND);
    assert_int_equal(rabbit_exchange(&w, "amq.mine", "direct", none), REFUSAL_FORBIDDEN);
}

static void headers_queue(const char *name, const char *match) {
    queue(name, none);
    begin();
    amqp_put_text(&t, "x-match", span_text(match));
    amqp_put_text(&t, "colour", span_text("red"));
    amqp_put_i32(&t, "size", 3);
    amqp_put_text(&t, "x-kind", span_text("k"));
    assert_int_equal(rabbit_bind(&w, "amq.headers", name, "", end()), REFUSAL_NONE);
}

static int publish_headers(const char *colour, int32_t size, const char *kind) {
    begin();
    if (colour != NULL) {
        amqp_put_text(&t, "colour", span_text(colour));
    }
    amqp_put_i64(&t, "size", size);
    if (kind != NULL) {
        amqp_put_text(&t, "x-kind", span_text(kind));
    }
    struct amqp_message m = {.exchange = span_text("amq.headers"), .headers = end()};
    return rabbit_publish_message(&w, &m);
}

static void test_headers(void **state) {
    headers_queue("all", "all");
    headers_queue("any", "any");
    headers_queue("all-x", "all-with-x");
    headers_queue("any-x", "any-with-x");
    assert_int_equal(publish_headers("red", 3, NULL), 3); /* all but all-with-x */
    assert_int_equal(publish_headers("red", 3, "k"), 4);
    assert_int_equal(publish_headers("blue", 4, "k"), 1); /* any-with-x */
    assert_int_equal(publish_headers("blue", 3, NULL), 2);
    assert_int_equal(publish_headers(NULL, 1, NULL), 0);
}

static void test_consistent_hash(void **state) {
    assert_int_equal(rabbit_exchange(&w, "h", "x-consistent-hash", none), REFUSAL_NONE);
    bound("h", "one", "1");
    bound("h", "three", "3");
    assert_int_equal(rabbit_bind(&w, "h", "one", "many", none), REFUSAL_PRECONDITION);
    for (unsigned i = 0; i < 400; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(rabbit_publish(&w, "h", key, "x"), 1);
    }
    uint64_t one = rabbit_ready(&w, "one");
    assert_true(one > 50 && one < 150);
    assert_int_equal(one + rabbit_ready(&w, "three"), 400);
}

/* One body, 200 queues: more ids than a record has by itself. */
static void test_wide_fanout(void **state) {
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "q%u", i);
        bound("amq.fanout", name, "");
    }
    uint64_t before = w.log.size;
    static char body[5000];
    memset(body, 'x', sizeof body - 1);
    assert_int_equal(rabbit_publish(&w, "amq.fanout", "", body), 200);
    assert_true(w.log.size - before < 2 * sizeof body + 200 * 40);
    struct delivery first = rabbit_get(&w, 7, "q0"), last = rabbit_get(&w, 7, "q199");
    assert_int_equal(first.address, last.address);
    assert_int_equal(last.message - first.message, 199);
}

static void test_copies(void **state) {
    bound("amq.direct", "a", "a");
    bound("amq.direct", "b", "b");
    struct span keys[] = {span_text("b"), span_text("a"), span_text("nobody")};
    struct amqp_message m = {.exchange = span_text("amq.direct"),
                             .routing_key = span_text("a"),
                             .keys = keys,
                             .key_count = 3};
    assert_int_equal(rabbit_publish_message(&w, &m), 2);
    assert_int_equal(rabbit_ready(&w, "a"), 1);
}

/* ---- deaths ---- */

static void mortal(const char *name, const char *exchange, const char *key, int32_t ttl_ms,
                   int32_t max) {
    begin();
    amqp_put_text(&t, "x-dead-letter-exchange", span_text(exchange));
    if (key != NULL) {
        amqp_put_text(&t, "x-dead-letter-routing-key", span_text(key));
    }
    if (ttl_ms > 0) {
        amqp_put_i32(&t, "x-message-ttl", ttl_ms);
    }
    if (max > 0) {
        amqp_put_i32(&t, "x-max-length", max);
    }
    queue(name, end());
}

static void test_expired_goes_to_its_exchange(void **state) {
    mortal("q", "", "dead", 100, 0);
    queue("dead", none);
    assert_int_equal(rabbit_publish(&w, "", "q", "x"), 1);
    w.now_ns += 99 * NS_PER_MS;
    assert_int_equal(world_run_timers(&w), 0);
    w.now_ns += 2 * NS_PER_MS;
    assert_int_equal(world_run_timers(&w), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 0);
    assert_int_equal(rabbit_ready(&w, "dead"), 1);
    struct delivery d = rabbit_get(&w, 1, "dead");
    assert_true(d.origin_size > 0 && d.stored_id != d.message && !d.redelivered);
}

/* ---- what routes a dead letter ---- */

/* With the header table where the connection leaves it: in the properties. */
static struct span kind_headers(const char *kind, uint8_t properties[256]) {
    begin();
    amqp_put_text(&t, "kind", span_text(kind));
    struct span headers = end();
    properties[0] = 0x20;
    properties[1] = 0;
    memcpy(properties + 2, table.data, headers.size + 4);
    return headers;
}

static int publish_kind(const char *queue, const char *kind, struct span *keys, uint32_t count) {
    uint8_t properties[256];
    struct span headers = kind_headers(kind, properties);
    struct amqp_message m = {.routing_key = span_text(queue),
                             .headers = headers,
                             .properties = span_of(properties, headers.size + 6),
                             .keys = keys,
                             .key_count = count};
    return rabbit_publish_message(&w, &m);
}

static void headers_grave(const char *exchange, const char *name) {
    queue(name, none);
    begin();
    amqp_put_text(&t, "kind", span_text("bill"));
    assert_int_equal(rabbit_bind(&w, exchange, name, "", end()), REFUSAL_NONE);
}

static void reject(const char *name) {
    struct delivery d = rabbit_get(&w, 1, name);
    assert_int_equal(d.kind, DELIVERY_MESSAGE);
    rabbit_settle(&w, 1, d.message, SETTLE_REJECT);
}

static uint32_t ties(void) {
    return w.model->queues->ties.live;
}

/* Both hops, the second from a snapshot and from the log: teardown compares the two once more. */
static void test_headers_route_the_dead(void **state) {
    headers_grave("amq.headers", "grave");
    mortal("second", "amq.headers", "k", 0, 0);
    mortal("first", "", "second", 0, 0);
    assert_int_equal(publish_kind("first", "bill", NULL, 0), 1);
    assert_int_equal(publish_kind("first", "note", NULL, 0), 1);
    world_reload(&w);
    reject("first");
    reject("first");
    world_check_replay(&w);
    world_reload(&w);
    struct delivery d = rabbit_get(&w, 1, "second");
    assert_true(d.origin_size > 0 && d.origin_size < 60); /* it tells of deaths, not of headers */
    rabbit_settle(&w, 1, d.message, SETTLE_REJECT);
    reject("second");
    assert_int_equal(rabbit_ready(&w, "grave"), 1);
    d = rabbit_get(&w, 1, "grave");
    assert_int_equal(d.kind, DELIVERY_MESSAGE);
}

/* What nobody can look at is not kept; nor is a first delivery told of what is. */
static void test_no_more_is_kept_than_routes(void **state) {
    mortal("q", "amq.direct", NULL, 0, 0);
    assert_int_equal(publish_kind("q", "bill", NULL, 0), 1);
    assert_int_equal(ties(), 0);
    headers_grave("amq.match", "grave");
    assert_int_equal(publish_kind("q", "bill", NULL, 0), 1);
    assert_int_equal(publish_kind("grave", "bill", NULL, 0), 1); /* no dead-letter exchange */
    assert_int_equal(ties(), 1);
    assert_int_equal(rabbit_delete(&w, "grave"), REFUSAL_NONE);
    assert_int_equal(publish_kind("q", "bill", NULL, 0), 1);
    assert_int_equal(ties(), 1);
    assert_int_equal(rabbit_exchange(&w, "mine", "headers", none), REFUSAL_NONE);
    assert_int_equal(publish_kind("q", "bill", NULL, 0), 1);
    assert_int_equal(ties(), 2);
    assert_int_equal(rabbit_get(&w, 1, "q").origin_size + rabbit_get(&w, 1, "q").origin_size, 0);
    world_reload(&w);
    assert_int_equal(publish_kind("q", "bill", NULL, 0), 1);
    assert_int_equal(ties(), 3);
}

/* The most and the longest keys that there are: the origin fits into its fact. */
static char names[AMQP_KEYS_MAX][256];
static struct span keys[AMQP_KEYS_MAX];

static void fill_keys(void) {
    for (uint32_t i = 0; i < AMQP_KEYS_MAX; i++) {
        memset(names[i], 'k', 255);
        snprintf(names[i], 8, "%u.", i);
        names[i][strlen(names[i])] = 'k';
        keys[i] = span_of(names[i], 255);
    }
}

static void test_copies_route_the_dead(void **state) {
    fill_keys();
    mortal("q", "amq.direct", NULL, 0, 0);
    queue("last", none);
    char key[256];
    snprintf(key, sizeof key, "%.255s", names[AMQP_KEYS_MAX - 1]);
    assert_int_equal(rabbit_bind(&w, "amq.direct", "last", key, none), REFUSAL_NONE);
    assert_int_equal(publish_kind("q", "bill", keys, AMQP_KEYS_MAX), 1);
    reject("q");
    assert_int_equal(rabbit_ready(&w, "last"), 1);
}

/* ... also for very many queues: it is written once for those that are alike. */
static void test_copies_of_many_queues(void **state) {
    enum { MANY = 600 };
    char name[16];
    fill_keys();
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "q%u", i);
        if (i % 7 == 3) {
            queue(name, none);
        } else {
            mortal(name, "amq.direct", i % 5 == 0 ? "own" : NULL, 0, 0);
        }
        assert_int_equal(rabbit_bind(&w, "amq.fanout", name, "", none), REFUSAL_NONE);
    }
    queue("last", none);
    char key[256];
    snprintf(key, sizeof key, "%.255s", names[AMQP_KEYS_MAX - 1]);
    assert_int_equal(rabbit_bind(&w, "amq.direct", "last", key, none), REFUSAL_NONE);
    struct amqp_message m = {.exchange = span_text("amq.fanout"),
                             .routing_key = span_text("k"),
                             .properties = span_of("\0\0", 2),
                             .keys = keys,
                             .key_count = AMQP_KEYS_MAX};
    size_t before = w.log.size;
    assert_int_equal(rabbit_publish_message(&w, &m), MANY);
    assert_true(w.log.size - before < 2 * AMQP_KEYS_MAX * 256); /* of 400 times that */
    for (unsigned i = 1; i < MANY; i += 299) {
        snprintf(name, sizeof name, "q%u", i);
        reject(name);
    }
    assert_int_equal(rabbit_ready(&w, "last"), 2); /* q300 gave a key of its own */
}

/* A cycle without a rejection ends, one with a rejection goes on and counts. */
static void test_cycles(void **state) {
    mortal("a", "", "b", 100, 0);
    mortal("b", "", "a", 100, 0);
    assert_int_equal(rabbit_publish(&w, "", "a", "x"), 1);
    w.now_ns += NS_PER_SECOND;
    world_run_timers(&w);
    assert_int_equal(rabbit_ready(&w, "b"), 1);
    w.now_ns += NS_PER_SECOND;
    world_run_timers(&w);
    assert_int_equal(rabbit_ready(&w, "a") + rabbit_ready(&w, "b"), 0);
    mortal("again", "", "again", 0, 0);
    assert_int_equal(rabbit_publish(&w, "", "again", "x"), 1);
    for (unsigned i = 0; i < 5; i++) {
        struct delivery d = rabbit_get(&w, 1, "again");
        assert_int_equal(d.kind, DELIVERY_MESSAGE);
        rabbit_settle(&w, 1, d.message, SETTLE_REJECT);
    }
    assert_int_equal(rabbit_ready(&w, "again"), 1);
}

static void test_overflow(void **state) {
    mortal("q", "", "dead", 0, 2);
    queue("dead", none);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(rabbit_publish(&w, "", "q", "x"), 1);
    }
    assert_int_equal(rabbit_ready(&w, "q"), 2);
    assert_int_equal(rabbit_ready(&w, "dead"), 3);
    begin();
    amqp_put_i32(&t, "x-max-length", 1);
    amqp_put_text(&t, "x-overflow", span_text("reject-publish"));
    queue("strict", end());
    assert_int_equal(rabbit_publish(&w, "", "strict", "x"), 1);
    assert_int_equal(rabbit_publish(&w, "", "strict", "x"), -1);
    begin();
    amqp_put_i32(&t, "x-max-length", 1);
    amqp_put_text(&t, "x-overflow", span_text("reject-publish-dlx"));
    amqp_put_text(&t, "x-dead-letter-exchange", span_text(""));
    amqp_put_text(&t, "x-dead-letter-routing-key", span_text("dead"));
    queue("strict-dlx", end());
    assert_int_equal(rabbit_publish(&w, "", "strict-dlx", "x"), 1);
    assert_int_equal(rabbit_publish(&w, "", "strict-dlx", "x"), -1);
    assert_int_equal(rabbit_ready(&w, "dead"), 4);
}

/* No waiting behind one that lives longer. */
static void test_time_to_live_of_a_message(void **state) {
    queue("q", none);
    struct amqp_message m = {.routing_key = span_text("q"), .has_ttl = true};
    m.ttl_ns = 10 * NS_PER_SECOND;
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    m.ttl_ns = NS_PER_SECOND;
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    w.now_ns += 2 * NS_PER_SECOND;
    struct delivery d = rabbit_get(&w, 1, "q");
    assert_int_equal(d.kind, DELIVERY_MESSAGE);
    assert_int_equal(rabbit_get(&w, 1, "q").kind, 0); /* before its timer went off, too */
    assert_int_equal(world_run_timers(&w), 1);
}

static void test_delay(void **state) {
    queue("q", none);
    struct amqp_message m = {.routing_key = span_text("q"), .delay_ns = 3600 * NS_PER_SECOND};
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 0);
    w.now_ns += 3601 * NS_PER_SECOND;
    world_run_timers(&w);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
}

static void test_deduplication(void **state) {
    begin();
    amqp_put_bool(&t, "x-deduplication", true);
    amqp_put_i32(&t, "x-deduplication-window", 1000);
    queue("q", end());
    begin();
    amqp_put_text(&t, "x-deduplication-id", span_text("one"));
    struct amqp_message m = {.routing_key = span_text("q"), .headers = end()};
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    assert_int_equal(rabbit_publish_message(&w, &m), 1); /* confirmed like the first */
    assert_int_equal(rabbit_ready(&w, "q"), 1);
    world_reload(&w);
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 1);
    w.now_ns += 2 * NS_PER_SECOND;
    assert_int_equal(rabbit_publish_message(&w, &m), 1);
    assert_int_equal(rabbit_ready(&w, "q"), 2);
}

static void test_transaction(void **state) {
    queue("a", none);
    queue("b", none);
    assert_int_equal(rabbit_publish(&w, "", "a", "x"), 1);
    struct delivery d = rabbit_get(&w, 5, "a");
    static struct exchange_publish publishes[300];
    for (unsigned i = 0; i < 300; i++) {
        publishes[i].vhost = span_text("/");
        publishes[i].message.routing_key = span_text("b");
        publishes[i].message.body = span_text("body");
    }
    struct settle settle = {.message = d.message, .verdict = SETTLE_ACK};
    struct request r;
    request_init(&r, REQUEST_AMQP_TRANSACTION);
    r.session = 5;
    r.in.amqp_transaction = (struct exchange_transaction){
        .publishes = publishes, .publish_count = 300, .settles = {.items = &settle, .count = 1}};
    uint64_t position = w.position;
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(w.position, position + 5); /* four to leave ids free, one with everything */
    assert_int_equal(rabbit_ready(&w, "b"), 300);
    assert_int_equal(rabbit_in_flight(&w, "a"), 0);
    request_release(&r);
}

static void test_vhosts(void **state) {
    struct request r;
    request_init(&r, REQUEST_VHOST_DEFINE);
    r.name = span_text("shop");
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    struct rabbit_queue q = {.vhost = "shop"};
    assert_int_equal(rabbit_declare(&w, "q", q, NULL), REFUSAL_NONE);
    assert_int_equal(rabbit_publish(&w, "", "q", "x"), 0); /* another one's */
    request_release(&r);
    request_init(&r, REQUEST_VHOST_DELETE);
    r.name = span_text("shop");
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(rabbit_declare(&w, "q", q, NULL), REFUSAL_INVALID);
    request_release(&r);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, amqp_setup, amqp_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_default_and_direct),
        TEST(test_topic),
        TEST(test_each_queue_once),
        TEST(test_topic_of_hashes),
        TEST(test_exchange_to_exchange),
        TEST(test_alternate),
        TEST(test_headers),
        TEST(test_consistent_hash),
        TEST(test_wide_fanout),
        TEST(test_copies),
        TEST(test_expired_goes_to_its_exchange),
        TEST(test_headers_route_the_dead),
        TEST(test_no_more_is_kept_than_routes),
        TEST(test_copies_route_the_dead),
        TEST(test_copies_of_many_queues),
        TEST(test_cycles),
        TEST(test_overflow),
        TEST(test_time_to_live_of_a_message),
        TEST(test_delay),
        TEST(test_deduplication),
        TEST(test_transaction),
        TEST(test_vhosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
