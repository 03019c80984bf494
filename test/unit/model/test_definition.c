/* Definitions are values: encode and decode are inverse, and one rule says which is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/request.h"

static struct buffer out;

static int setup(void **state) {
    buffer_init(&out, 1u << 20);
    return 0;
}

static int teardown(void **state) {
    buffer_release(&out);
    return 0;
}

static void test_names(void **state) {
    assert_true(name_valid(span_text("orders")));
    assert_true(name_valid(span_text("0.A_b-c")));
    assert_false(name_valid(span_text("")));
    assert_false(name_valid(span_text(".hidden")));
    assert_false(name_valid(span_text("-x")));
    assert_false(name_valid(span_text("a/b")));
    assert_false(name_valid(span_text("a b")));
    assert_false(name_valid(span_of("a\0b", 3)));
    char longest[NAME_MAX_BYTES + 1];
    memset(longest, 'n', sizeof longest);
    assert_true(name_valid(span_of(longest, NAME_MAX_BYTES)));
    assert_false(name_valid(span_of(longest, NAME_MAX_BYTES + 1)));
}

static void test_defaults(void **state) {
    struct queue_def q;
    assert_int_equal(queue_def_init(&q), 0);
    assert_string_equal(q.name, "");
    assert_string_equal(q.destination, "");
    assert_int_equal(q.max_priority, 9);
    assert_true(q.dead_letters);
    assert_int_equal(q.max_dead, 1000000);
    assert_int_equal(q.retry.max_attempts, 100);
    assert_int_equal(q.retry.min_backoff_ns, 100 * NS_PER_MS);
    assert_int_equal(q.pace.period_ns, NS_PER_SECOND);
    assert_int_equal(q.pace.burst, 0); /* chosen by the rate */
    queue_def_release(&q);
    struct destination_def d;
    assert_int_equal(destination_def_init(&d), 0);
    assert_string_equal(d.method, "POST");
    assert_string_equal(d.retry_statuses, "408,425,429,500-599");
    assert_int_equal(d.timeout_ns, 30 * NS_PER_SECOND);
    destination_def_release(&d);
    struct campaign_def zeroed = {0};
    campaign_def_release(&zeroed);
}

/* Every field away from its default, there and back. */
static void test_queue_round_trip(void **state) {
    struct queue_def a = {.paused = true,
                          .max_priority = 200,
                          .max_messages = 1,
                          .max_bytes = 2,
                          .message_ttl_ns = 3,
                          .max_dead = 4,
                          .dispatch_deadline_ns = 5,
                          .retry = {6, 9, 7, 8, 10},
                          .pace = {PACE_STRICT, 11, 12, 13, 14}};
    assert_int_equal(def_set_text(&a.name, span_text("orders")), 0);
    assert_int_equal(def_set_text(&a.destination, span_text("out")), 0);
    assert_int_equal(def_set_text(&a.dead_letter_exchange, span_text("dlx")), 0);
    assert_int_equal(def_set_text(&a.dead_letter_key, span_text("dead")), 0);
    assert_int_equal(def_set_text(&a.ordering_header, span_text("x-key")), 0);
    assert_int_equal(def_set_bytes(&a.arguments, span_of("a\0b", 3)), 0);
    assert_int_equal(def_set_text(&a.on_success.queue, span_text("told")), 0);
    assert_int_equal(def_set_text(&a.on_failure.queue, span_text("undo")), 0);
    a.weight = 18;
    a.guaranteed_percent = 19;
    a.expires_ns = 15;
    a.overflow = OVERFLOW_DROP_HEAD;
    a.delivery_limit = 16;
    a.ordering = KEY_OF_HEADER;
    a.dedup = DEDUP_BY_MESSAGE_ID;
    a.dedup_ttl_ns = 17;
    a.unique_until = UNIQUE_UNTIL_DELIVERED;
    a.unique_answer = UNIQUE_REFUSES;
    assert_int_equal(def_set_text(&a.unique_header, span_text("X-Order")), 0);
    assert_int_equal(def_set_text(&a.tenant_header, span_text("X-Tenant")), 0);
    assert_int_equal(def_set_text(&a.retry.statuses, span_text("429,503")), 0);
    a.tenant_weights.items = calloc(1, sizeof *a.tenant_weights.items);
    a.tenant_weights.count = 1;
    assert_int_equal(weight_def_init(a.tenant_weights.items), 0);
    a.tenant_weights.items[0].weight = 20;
    assert_int_equal(queue_def_encode(&a, &out), 0);
    struct reader r;
    struct queue_def b;
    reader_init(&r, buffer_span(&out));
    assert_int_equal(queue_def_decode(&r, &b), 0);
    assert_true(reader_done(&r));
    assert_string_equal(b.name, "orders");
    assert_string_equal(b.destination, "out");
    assert_true(b.paused && !b.dead_letters);
    assert_int_equal(b.max_priority, 200);
    assert_int_equal(b.max_messages, 1);
    assert_int_equal(b.max_bytes, 2);
    assert_int_equal(b.message_ttl_ns, 3);
    assert_int_equal(b.max_dead, 4);
    assert_int_equal(b.dispatch_deadline_ns, 5);
    assert_string_equal(b.on_success.queue, "told");
    assert_string_equal(b.on_failure.queue, "undo");
    assert_int_equal(b.weight, 18);
    assert_int_equal(b.guaranteed_percent, 19);
    assert_int_equal(b.retry.max_attempts, 6);
    assert_int_equal(b.retry.min_backoff_ns, 7);
    assert_int_equal(b.retry.max_backoff_ns, 8);
    assert_int_equal(b.retry.max_doublings, 9);
    assert_int_equal(b.retry.max_duration_ns, 10);
    assert_int_equal(b.pace.mode, PACE_STRICT);
    assert_int_equal(b.pace.count, 11);
    assert_int_equal(b.pace.period_ns, 12);
    assert_int_equal(b.pace.burst, 13);
    assert_int_equal(b.pace.concurrency, 14);
    assert_string_equal(b.dead_letter_exchange, "dlx");
    assert_string_equal(b.dead_letter_key, "dead");
    assert_string_equal(b.ordering_header, "x-key");
    assert_true(span_equal(span_of(b.arguments.data, b.arguments.size), span_of("a\0b", 3)));
    assert_true(!b.durable && !b.amqp && b.expires_ns == 15 && b.overflow == OVERFLOW_DROP_HEAD);
    assert_true(b.delivery_limit == 16 && b.ordering == KEY_OF_HEADER);
    assert_true(b.dedup == DEDUP_BY_MESSAGE_ID && b.dedup_ttl_ns == 17);
    assert_true(b.unique_until == UNIQUE_UNTIL_DELIVERED && b.unique_answer == UNIQUE_REFUSES);
    assert_string_equal(b.unique_header, "X-Order");
    assert_string_equal(b.tenant_header, "X-Tenant");
    assert_string_equal(b.retry.statuses, "429,503");
    assert_true(b.tenant_weights.count == 1 && b.tenant_weights.items[0].weight == 20);
    queue_def_release(&a);
    queue_def_release(&b);
}

#define ROUND_TRIP(kind, set)                                                                      \
    do {                                                                                           \
        struct kind##_def a, b;                                                                    \
        struct reader r;                                                                           \
        struct buffer again;                                                                       \
        buffer_init(&again, 1u << 20);                                                             \
        assert_int_equal(kind##_def_init(&a), 0);                                                  \
        set;                                                                                       \
        buffer_clear(&out);                                                                        \
        assert_int_equal(kind##_def_encode(&a, &out), 0);                                          \
        reader_init(&r, buffer_span(&out));                                                        \
        assert_int_equal(kind##_def_decode(&r, &b), 0);                                            \
        assert_true(reader_done(&r));                                                              \
        assert_int_equal(kind##_def_encode(&b, &again), 0);                                        \
        assert_true(span_equal(buffer_span(&out), buffer_span(&again)));                           \
        kind##_def_release(&a);                                                                    \
        kind##_def_release(&b);                                                                    \
        buffer_release(&again);                                                                    \
    } while (0)

static void test_other_round_trips(void **state) {
    ROUND_TRIP(stock, (a.total = 7, a.per_member = 1, a.on_sale = true, a.hold_ns = 9));
    ROUND_TRIP(campaign, (a.on_failure = CAMPAIGN_FAILURE_KEEP, a.priority = 3, a.closes_ns = 4));
    ROUND_TRIP(destination, (a.http2 = true, a.max_response_bytes = 77, a.pace.count = 500,
                             a.first_byte_timeout_ns = 5));
}

/* A destination with this rate and, in a list, this limit, as a program wrote it whose table had this version. */
static struct destination_def decode_of(uint8_t version, struct pace_def rate) {
    struct destination_def a, b;
    struct reader r;
    assert_int_equal(destination_def_init(&a), 0);
    a.pace = rate;
    a.limits.items = calloc(1, sizeof *a.limits.items);
    assert_non_null(a.limits.items);
    a.limits.items[a.limits.count++] = rate;
    buffer_clear(&out);
    assert_int_equal(destination_def_encode(&a, &out), 0);
    assert_int_equal(out.data[0], 4);
    out.data[0] = version;
    size_t since = version < 4 ? sizeof a.first_byte_timeout_ns : 0; /* the last field of all */
    reader_init(&r, span_of(out.data, out.size - since));
    assert_int_equal(destination_def_decode(&r, &b), 0);
    destination_def_release(&a);
    return b;
}

static void expect_burst(uint8_t version, struct pace_def rate, uint32_t burst) {
    struct destination_def def = decode_of(version, rate);
    assert_int_equal(def.pace.burst, burst);
    assert_int_equal(def.limits.items[0].burst, burst);
    assert_int_equal(pace_burst(&def.pace), pace_burst(&rate));
    destination_def_release(&def);
}

static void test_a_burst_is_what_was_asked_for(void **state) {
    struct pace_def rate = {.count = 500, .period_ns = 1000000000};
    for (uint32_t burst = 0; burst <= 9; burst++) {
        rate.burst = burst;
        expect_burst(3, rate, burst);
        expect_burst(2, rate, burst == 8 ? 0 : burst); /* the one that it would have had anyway */
    }
    rate.mode = PACE_STRICT;
    rate.burst = 50;
    expect_burst(3, rate, 50);
    expect_burst(2, rate, 0);
}

static void test_damaged_is_refused(void **state) {
    struct campaign_def a, b;
    assert_int_equal(campaign_def_init(&a), 0);
    assert_int_equal(campaign_def_encode(&a, &out), 0);
    struct reader r;
    for (size_t size = 0; size < out.size; size++) {
        reader_init(&r, span_of(out.data, size));
        assert_int_equal(campaign_def_decode(&r, &b), E_CORRUPT);
    }
    out.data[out.size - 5] = 3; /* on_failure has three values */
    reader_init(&r, buffer_span(&out));
    assert_int_equal(campaign_def_decode(&r, &b), E_CORRUPT);
    out.data[0] = 2; /* a later version of the table */
    reader_init(&r, buffer_span(&out));
    assert_int_equal(campaign_def_decode(&r, &b), E_VERSION);
    campaign_def_release(&a);
}

static enum refusal take(struct define *how, const char *present, const char *wanted,
                         uint64_t known, bool *emit, uint64_t *hash) {
    return definition_decide(how, span_text(present), span_text(wanted), known, emit, hash);
}

static void test_which_definition_wins(void **state) {
    bool emit;
    uint64_t hash;
    struct define api = {0};
    assert_int_equal(take(&api, "", "a", 0, &emit, &hash), REFUSAL_NONE);
    assert_true(emit && api.ret_created && !api.ret_unchanged && hash == 0);
    assert_int_equal(take(&api, "a", "a", 5, &emit, &hash), REFUSAL_NONE);
    assert_true(!emit && !api.ret_created && api.ret_unchanged);
    assert_int_equal(take(&api, "a", "b", 5, &emit, &hash), REFUSAL_NONE);
    assert_true(emit && !api.ret_unchanged && hash == 5); /* what the file said stays known */

    struct define post = {.create_only = true};
    assert_int_equal(take(&post, "a", "a", 0, &emit, &hash), REFUSAL_CONFLICT);
    assert_int_equal(take(&post, "", "a", 0, &emit, &hash), REFUSAL_NONE);

    struct define file = {.from_file = true, .file_hash = 5};
    assert_int_equal(take(&file, "changed since", "as in the file", 5, &emit, &hash), REFUSAL_NONE);
    assert_true(!emit && file.ret_unchanged); /* run-time changes win ... */
    file.file_hash = 6;
    assert_int_equal(take(&file, "changed since", "new file", 5, &emit, &hash), REFUSAL_NONE);
    assert_true(emit && hash == 6); /* ... until the file changes */
    assert_int_equal(take(&file, "same", "same", 5, &emit, &hash), REFUSAL_NONE);
    assert_true(emit && hash == 6 && file.ret_unchanged); /* else this file would win later */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test_setup_teardown(test_queue_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_round_trips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_burst_is_what_was_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_is_refused, setup, teardown),
        cmocka_unit_test(test_which_definition_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
