/*
 * Unique messages: which are taken, however they come; when a key is free again; and random publishes, ends, waits
 * and restarts against a twin that is an array. A seed that fails is printed; SEED=n runs it alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "mail.h"
#include "model/fact.h"
#include "seeds.h"

#define WINDOW_NS (10 * NS_PER_SECOND)

static void unique_queue(const char *name, enum unique_until until, enum unique_answer answer) {
    struct queue_def def = mail_def(name, "");
    def.dedup = DEDUP_BY_HEADER;
    def.dedup_ttl_ns = until == UNIQUE_FOR_WINDOW ? WINDOW_NS : 0;
    def.unique_until = until;
    def.unique_answer = answer;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
}

static enum refusal offer(const char *queue, const char *key, const char *headers,
                          struct receipt *ret, bool *ret_duplicate) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.in.publish.queue = span_text(queue);
    r.in.publish.unique_key = span_text(key);
    r.in.publish.envelope.headers = span_text(headers);
    r.in.publish.envelope.body = span_text("body");
    enum refusal refusal = world_ask(&mail, &r);
    *ret = r.receipt;
    *ret_duplicate = r.duplicate;
    request_release(&r);
    return refusal;
}

/* The id under which it was taken, or of the one that has the key; *ret_new: it was taken. */
static uint64_t put_key(const char *queue, const char *key, bool *ret_new) {
    struct receipt receipt;
    bool duplicate;
    assert_int_equal(offer(queue, key, "", &receipt, &duplicate), REFUSAL_NONE);
    *ret_new = !duplicate;
    return receipt.id;
}

static void in_its_window_a_key_has_one_message(void **state) {
    (void)state;
    bool is_new;
    unique_queue("q", UNIQUE_FOR_WINDOW, UNIQUE_GIVES_RECEIPT);
    unique_queue("other", UNIQUE_FOR_WINDOW, UNIQUE_GIVES_RECEIPT);
    uint64_t first = put_key("q", "a", &is_new);
    assert_true(is_new);
    assert_int_equal(put_key("q", "a", &is_new), first);
    assert_false(is_new);
    assert_int_not_equal(put_key("other", "a", &is_new), first);
    assert_true(is_new);
    put_key("q", "b", &is_new);
    assert_true(is_new);
    put_key("q", "", &is_new);
    put_key("q", "", &is_new);
    assert_true(is_new); /* without a key nothing is asked */
    /* It stays its key's message when it is gone. */
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", first), REFUSAL_NONE);
    assert_int_equal(put_key("q", "a", &is_new), first);
    world_reload(&mail);
    mail.now_ns += WINDOW_NS - 1;
    assert_int_equal(put_key("q", "a", &is_new), first);
    mail.now_ns += 1;
    assert_int_not_equal(put_key("q", "a", &is_new), first);
    assert_true(is_new);
}

static void a_queue_may_refuse_duplicates(void **state) {
    (void)state;
    struct receipt first, again;
    bool duplicate;
    unique_queue("q", UNIQUE_FOR_WINDOW, UNIQUE_REFUSES);
    assert_int_equal(offer("q", "a", "", &first, &duplicate), REFUSAL_NONE);
    assert_int_equal(offer("q", "a", "", &again, &duplicate), REFUSAL_ALREADY_CLAIMED);
    assert_int_equal(again.id, first.id);
    assert_int_equal(mail_info("q").published, 1);
    mail_queue("plain");
    assert_int_equal(offer("plain", "a", "", &again, &duplicate), REFUSAL_INVALID);
}

static void until_delivered_the_message_holds_its_key(void **state) {
    (void)state;
    bool is_new;
    unique_queue("q", UNIQUE_UNTIL_DELIVERED, UNIQUE_GIVES_RECEIPT);
    uint64_t first = put_key("q", "a", &is_new);
    mail.now_ns += 1000 * 86400 * NS_PER_SECOND;
    world_reload(&mail);
    assert_int_equal(put_key("q", "a", &is_new), first);
    assert_false(is_new);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", first), REFUSAL_NONE);
    uint64_t second = put_key("q", "a", &is_new);
    assert_true(is_new);
    assert_int_not_equal(second, first);
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_PURGE, "q"), REFUSAL_NONE);
    put_key("q", "a", &is_new);
    assert_true(is_new);
}

static void what_is_done_or_dead_holds_none(void **state) {
    (void)state;
    bool is_new;
    struct attempt_start start;
    assert_int_equal(push_define_destination(&mail, "out", push_pace(0, 1)), REFUSAL_NONE);
    struct queue_def def = mail_def("q", "out");
    def.dedup = DEDUP_BY_HEADER;
    def.unique_until = UNIQUE_UNTIL_DELIVERED;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    static const uint16_t statuses[] = {200, 422};
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        put_key("q", "a", &is_new);
        assert_true(is_new);
        assert_true(push_start(&mail, &start));
        put_key("q", "a", &is_new); /* under way */
        assert_false(is_new);
        push_finish(&mail, &start, statuses[i], 0);
    }
    assert_int_equal(mail_info("q").dead, 1);
    put_key("q", "a", &is_new);
    assert_true(is_new);
    /* A dead letter that is sent again takes nobody's key away. */
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.name = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    put_key("q", "a", &is_new);
    assert_false(is_new);
}

static void a_header_of_the_message_may_be_the_key(void **state) {
    (void)state;
    struct receipt receipt;
    bool duplicate;
    struct queue_def def = mail_def("q", "");
    def.dedup = DEDUP_BY_HEADER;
    assert_int_equal(def_set_text(&def.unique_header, span_text("X-Order")), 0);
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    static const struct {
        const char *headers;
        bool duplicate;
    } offers[] = {
        {"X-Order: 17\n", false},
        {"X-Other: 1\nx-order: 17\n", true},
        {"X-Order-Id: 17\n", false},
        {"X-Order: 171\n", false},
        {"X-Order: 1", false},
        {"A: 1\nX-Order: 1", true},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(offers); i++) {
        assert_int_equal(offer("q", "", offers[i].headers, &receipt, &duplicate), REFUSAL_NONE);
        assert_int_equal(duplicate, offers[i].duplicate);
    }
}

static void a_transaction_with_a_duplicate_does_nothing(void **state) {
    (void)state;
    bool is_new;
    unique_queue("q", UNIQUE_FOR_WINDOW, UNIQUE_GIVES_RECEIPT);
    mail_queue("plain");
    uint64_t first = put_key("q", "a", &is_new);
    struct operation ops[] = {
        {.kind = OPERATION_ENQUEUE, .enqueue = {.queue = span_text("plain")}},
        {.kind = OPERATION_ENQUEUE,
         .enqueue = {.queue = span_text("q"), .unique_key = span_text("a")}},
    };
    struct request r;
    request_init(&r, REQUEST_TRANSACTION);
    r.in.transaction.operations = ops;
    r.in.transaction.count = 2;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_ALREADY_CLAIMED);
    assert_int_equal(r.receipt.id, first);
    assert_string_equal(r.error_pointer, "/operations/1");
    request_release(&r);
    assert_int_equal(mail_info("plain").ready, 0);
    ops[1].enqueue.unique_key = span_text("b");
    request_init(&r, REQUEST_TRANSACTION);
    r.in.transaction.operations = ops;
    r.in.transaction.count = 2;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    put_key("q", "b", &is_new);
    assert_false(is_new);
}

/* Over two campaigns with one queue a member gets one message. */
static void of_campaigns_the_member_is_the_key(void **state) {
    (void)state;
    unique_queue("q", UNIQUE_UNTIL_DELIVERED, UNIQUE_GIVES_RECEIPT);
    assert_int_equal(world_define_stock(&mail, "units", 10, 0, 0), REFUSAL_NONE);
    static const char *const names[] = {"spring", "summer"};
    static const enum refusal expected[] = {REFUSAL_NONE, REFUSAL_ALREADY_CLAIMED};
    for (size_t i = 0; i < 2; i++) {
        struct campaign_def def;
        assert_int_equal(campaign_def_init(&def), 0);
        assert_int_equal(def_set_text(&def.name, span_text(names[i])), 0);
        assert_int_equal(def_set_text(&def.stock, span_text("units")), 0);
        assert_int_equal(def_set_text(&def.queue, span_text("q")), 0);
        assert_int_equal(def_set_text(&def.member_pointer, span_text("/m")), 0);
        struct request r;
        request_init(&r, REQUEST_CAMPAIGN_DEFINE);
        r.name = span_text(names[i]);
        r.in.define.campaign = &def;
        assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
        request_release(&r);
        campaign_def_release(&def);
        request_init(&r, REQUEST_CAMPAIGN_ENTER);
        r.name = span_text(names[i]);
        r.in.enter.member = span_text("m-1");
        enum refusal refusal = world_ask(&mail, &r);
        if (refusal == REFUSAL_STALE) {
            uint32_t generation = r.generation;
            request_release(&r);
            request_init(&r, REQUEST_CAMPAIGN_ENTER);
            r.name = span_text(names[i]);
            r.in.enter.member = span_text("m-1");
            r.in.enter.generation = generation;
            refusal = world_ask(&mail, &r);
        }
        assert_int_equal(refusal, expected[i]);
        request_release(&r);
    }
    assert_int_equal(mail_info("q").ready, 1);
    struct request r;
    request_init(&r, REQUEST_STOCK_GET);
    r.name = span_text("units");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    assert_int_equal(r.out.stock.used, 1); /* who was refused took none */
    request_release(&r);
}

static void definitions_that_say_nothing_are_refused(void **state) {
    (void)state;
    struct queue_def def = mail_def("q", "");
    def.dedup_ttl_ns = WINDOW_NS;
    assert_int_equal(mail_define(&def), REFUSAL_INVALID);
    def = mail_def("q", "");
    def.dedup = DEDUP_BY_HEADER;
    def.dedup_ttl_ns = WINDOW_NS;
    def.unique_until = UNIQUE_UNTIL_DELIVERED;
    assert_int_equal(mail_define(&def), REFUSAL_INVALID);
}

static void keys_are_limited(void **state) {
    (void)state;
    struct receipt receipt;
    bool is_new, duplicate;
    world_release(&mail);
    world_init(&mail, &(struct model_limits){.dedup_keys = 2});
    unique_queue("q", UNIQUE_UNTIL_DELIVERED, UNIQUE_GIVES_RECEIPT);
    uint64_t first = put_key("q", "a", &is_new);
    put_key("q", "b", &is_new);
    assert_int_equal(offer("q", "c", "", &receipt, &duplicate), REFUSAL_LIMIT);
    assert_int_equal(put_key("q", "a", &is_new), first); /* what is known costs nothing */
    put_key("q", "", &is_new);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", first), REFUSAL_NONE);
    put_key("q", "c", &is_new);
    assert_true(is_new);
}

/* ---- random, against an array ---- */

#define KEYS  12u
#define STEPS 1500u
#define SEEDS 40u

struct twin_key {
    uint64_t id, end_ns; /* id 0: free */
    bool ended;          /* its message is */
};

struct twin {
    struct twin_key keys[2][KEYS]; /* by enum unique_until */
};

static bool stands(const struct twin_key *k, unsigned until) {
    return k->id != 0 && (until == UNIQUE_FOR_WINDOW ? mail.now_ns < k->end_ns : !k->ended);
}

static void step(struct twin *t) {
    static const char *const queues[] = {"window", "delivered"};
    unsigned until = (unsigned)rng_below(&mail.rng, 2);
    unsigned n = (unsigned)rng_below(&mail.rng, KEYS);
    struct twin_key *k = &t->keys[until][n];
    char key[8];
    snprintf(key, sizeof key, "k%u", n);
    if (rng_below(&mail.rng, 3) == 0 && k->id != 0 && !k->ended) {
        assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, queues[until], k->id), REFUSAL_NONE);
        k->ended = true;
        return;
    }
    bool is_new;
    bool known = stands(k, until);
    uint64_t id = put_key(queues[until], key, &is_new);
    assert_int_equal(is_new, !known);
    if (known) {
        assert_int_equal(id, k->id);
    } else {
        *k = (struct twin_key){.id = id, .end_ns = mail.now_ns + WINDOW_NS};
    }
}

static void it_agrees_with_its_twin(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(SEEDS);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        world_release(&mail);
        world_init(&mail, NULL);
        rng_init(&mail.rng, seed);
        unique_queue("window", UNIQUE_FOR_WINDOW, UNIQUE_GIVES_RECEIPT);
        unique_queue("delivered", UNIQUE_UNTIL_DELIVERED, UNIQUE_GIVES_RECEIPT);
        struct twin twin = {0};
        for (unsigned i = 0; i < STEPS; i++) {
            step(&twin);
            mail.now_ns += rng_below(&mail.rng, NS_PER_SECOND);
            if (rng_below(&mail.rng, 200) == 0) {
                model_check(mail.model);
                world_reload(&mail);
            }
        }
        world_check_replay(&mail);
    }
}

/* DEDUP_STORED of a key that no request asked for, held until message `id` is delivered. */
static int hold(uint64_t id) {
    static const uint8_t lane_held = 65;
    const uint64_t print_and_end[] = {1, 2, 3, UINT64_MAX}, outcome[] = {id, 0, 0, 0};
    struct buffer payload, facts;
    buffer_init(&payload, 256);
    buffer_init(&facts, 256);
    assert_int_equal(buffer_append(&payload, print_and_end, sizeof print_and_end), 0);
    assert_int_equal(buffer_append(&payload, &lane_held, 1), 0);
    assert_int_equal(buffer_append(&payload, outcome, sizeof outcome), 0);
    mail_fact(&facts, FACT_DEDUP_STORED, 1, buffer_span(&payload));
    int rc = mail_apply(buffer_span(&facts));
    buffer_release(&payload);
    buffer_release(&facts);
    return rc;
}

static void only_a_waiting_message_holds_a_key(void **state) {
    (void)state;
    bool is_new;
    unique_queue("q", UNIQUE_UNTIL_DELIVERED, UNIQUE_GIVES_RECEIPT);
    uint64_t id = put_key("q", "a", &is_new);
    assert_int_equal(hold(id), E_CORRUPT);     /* it holds "a" */
    assert_int_equal(hold(id + 1), E_CORRUPT); /* there is none */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, mail_setup, mail_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(in_its_window_a_key_has_one_message),
        TEST(a_queue_may_refuse_duplicates),
        TEST(until_delivered_the_message_holds_its_key),
        TEST(what_is_done_or_dead_holds_none),
        TEST(a_header_of_the_message_may_be_the_key),
        TEST(a_transaction_with_a_duplicate_does_nothing),
        TEST(of_campaigns_the_member_is_the_key),
        TEST(definitions_that_say_nothing_are_refused),
        TEST(keys_are_limited),
        TEST(only_a_waiting_message_holds_a_key),
        TEST(it_agrees_with_its_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
