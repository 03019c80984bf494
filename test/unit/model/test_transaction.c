#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "model/campaign.h"
#include "model/queue.h"
#include "model/stock.h"
#include "world.h"

static struct world world;

static int setup(void **state) {
    (void)state;
    world_init(&world, NULL);
    assert_int_equal(world_define_stock(&world, "gifts", 2, 0, 0), REFUSAL_NONE);
    assert_int_equal(world_define_stock(&world, "seats", 2, 1, NS_PER_SECOND), REFUSAL_NONE);
    assert_int_equal(world_define_queue(&world, "send", 2), REFUSAL_NONE);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    model_check(world.model);
    world_check_replay(&world);
    world_reload(&world);
    world_release(&world);
    return 0;
}

static struct operation on_stock(enum operation_kind kind, const char *stock,
                                 const char *purchase) {
    return (struct operation){
        .kind = kind,
        .reserve = {.stock = span_text(stock), .purchase = span_text(purchase)},
    };
}

static struct operation enqueue(const char *queue) {
    return (struct operation){
        .kind = OPERATION_ENQUEUE,
        .enqueue = {.queue = span_text(queue), .envelope = {.body = span_text("{}")}},
    };
}

static struct operation dedup(const char *key) {
    return (struct operation){.kind = OPERATION_DEDUP, .dedup_key = span_text(key)};
}

struct answer {
    enum refusal refusal;
    struct receipt receipt;
    char pointer[64];
};

static struct answer ask(struct operation *operations, uint32_t count) {
    struct request r;
    request_init(&r, REQUEST_TRANSACTION);
    r.in.transaction.operations = operations;
    r.in.transaction.count = count;
    struct answer a = {.refusal = world_ask(&world, &r), .receipt = r.receipt};
    memcpy(a.pointer, r.error_pointer, sizeof a.pointer);
    request_release(&r);
    return a;
}

static uint64_t used(const char *name) {
    struct stock_info info;
    stock_describe(world.model, stock_find(world.model, span_text(name)), &info);
    return info.used;
}

static void test_all_in_one_record(void **state) {
    (void)state;
    struct operation o[] = {enqueue("send"), dedup("order-1"),
                            on_stock(OPERATION_RESERVE, "gifts", ""),
                            on_stock(OPERATION_RESERVE, "seats", "s-1")};
    o[0].compensate_stock = span_text("gifts");
    uint64_t position = world.position;
    struct answer a = ask(o, 4);
    assert_int_equal(a.refusal, REFUSAL_NONE);
    assert_int_equal(world.position, position + 1);
    assert_int_equal(a.receipt.id, id_make(position, 0));
    assert_int_equal(o[2].receipt.number, 1);
    assert_int_equal(o[3].receipt.number, 1);
    struct message_view view;
    assert_true(queue_message_view(world.model, o[0].receipt.id, &view));
    assert_int_equal(view.tie.campaign, 0);
    char text[18];
    receipt_format(o[2].receipt.id, text);
    assert_true(span_is(view.tie.purchase, text)); /* what this transaction reserved */

    struct answer again = ask(o, 4);
    assert_int_equal(again.refusal, REFUSAL_ALREADY_CLAIMED);
    assert_string_equal(again.pointer, "/operations/1");
    assert_int_equal(again.receipt.id, a.receipt.id);
    assert_int_equal(used("gifts"), 1);
}

/* The message dies: its unit goes back. */
static void test_compensation(void **state) {
    (void)state;
    struct operation o[] = {on_stock(OPERATION_RESERVE, "gifts", "g-1"), enqueue("send")};
    o[1].compensate_stock = span_text("gifts");
    o[1].compensate_purchase = span_text("g-1");
    assert_int_equal(ask(o, 2).refusal, REFUSAL_NONE);
    struct request r;
    request_init(&r, REQUEST_MESSAGE_DELETE);
    r.name = span_text("send");
    r.id = o[1].receipt.id;
    assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(used("gifts"), 0);
    o[1].compensate_stock = span_text("none");
    assert_int_equal(ask(o, 2).refusal, REFUSAL_REFERENCE);
    o[1].compensate_stock = span_text("seats");
    o[1].compensate_purchase = span_text("");
    assert_int_equal(ask(o, 2).refusal, REFUSAL_INVALID); /* nothing is reserved of it here */
}

static void test_one_refused_all_refused(void **state) {
    (void)state;
    struct operation fill[] = {on_stock(OPERATION_RESERVE, "seats", "x")};
    fill[0].reserve.member = span_text("kim");
    assert_int_equal(ask(fill, 1).refusal, REFUSAL_NONE);
    struct operation o[] = {on_stock(OPERATION_RESERVE, "gifts", "g"), enqueue("send"),
                            on_stock(OPERATION_RESERVE, "seats", "y")};
    o[2].reserve.member = span_text("kim");
    uint64_t position = world.position;
    struct answer a = ask(o, 3);
    assert_int_equal(a.refusal, REFUSAL_MEMBER_LIMIT);
    assert_string_equal(a.pointer, "/operations/2");
    assert_int_equal(world.position, position);
    assert_int_equal(used("gifts"), 0);
    o[2].reserve.stock = span_text("none");
    assert_int_equal(ask(o, 3).refusal, REFUSAL_REFERENCE);
}

static void test_same_resource_twice(void **state) {
    (void)state;
    struct operation stocks[] = {on_stock(OPERATION_RESERVE, "gifts", "a"), enqueue("send"),
                                 on_stock(OPERATION_RELEASE, "gifts", "b")};
    struct answer a = ask(stocks, 3);
    assert_int_equal(a.refusal, REFUSAL_INVALID);
    assert_string_equal(a.pointer, "/operations/2/stock");
    struct operation queues[] = {enqueue("send"), enqueue("send")};
    a = ask(queues, 2);
    assert_int_equal(a.refusal, REFUSAL_INVALID);
    assert_string_equal(a.pointer, "/operations/1/queue");
    struct operation keys[] = {dedup("k"), dedup("l"), dedup("k")};
    a = ask(keys, 3);
    assert_int_equal(a.refusal, REFUSAL_INVALID);
    assert_string_equal(a.pointer, "/operations/2/key");
    struct operation apart[] = {dedup("gifts"), on_stock(OPERATION_RESERVE, "gifts", "a")};
    assert_int_equal(ask(apart, 2).refusal, REFUSAL_NONE); /* a key and a stock are two things */
}

/* A record without reservation or message still has a receipt. */
static void test_receipt_of_its_own(void **state) {
    (void)state;
    struct operation o[] = {dedup("k"), on_stock(OPERATION_RELEASE, "gifts", "never-came")};
    struct answer a = ask(o, 2);
    assert_int_equal(a.refusal, REFUSAL_NONE);
    struct request r;
    request_init(&r, REQUEST_RECEIPT_GET);
    r.id = a.receipt.id;
    assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
    request_release(&r);
}

static void test_hold_and_confirm(void **state) {
    (void)state;
    struct operation hold[] = {on_stock(OPERATION_RESERVE, "seats", "s")};
    struct operation pay[] = {on_stock(OPERATION_CONFIRM, "seats", "s"), enqueue("send")};
    assert_int_equal(ask(hold, 1).refusal, REFUSAL_NONE);
    assert_int_equal(ask(pay, 2).refusal, REFUSAL_NONE);
    world.now_ns += NS_PER_SECOND;
    assert_int_equal(world_run_timers(&world), 0);
    assert_int_equal(used("seats"), 1);
    pay[0].reserve.purchase = span_text("unknown");
    struct answer a = ask(pay, 2);
    assert_int_equal(a.refusal, REFUSAL_NOT_FOUND);
    assert_string_equal(a.pointer, "/operations/0");
}

static void test_count(void **state) {
    (void)state;
    struct operation o[TRANSACTION_OPERATIONS_MAX + 1];
    char keys[TRANSACTION_OPERATIONS_MAX + 1][8];
    assert_int_equal(ask(o, 0).refusal, REFUSAL_INVALID);
    for (unsigned i = 0; i <= TRANSACTION_OPERATIONS_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        o[i] = dedup(keys[i]);
    }
    assert_int_equal(ask(o, TRANSACTION_OPERATIONS_MAX + 1).refusal, REFUSAL_INVALID);
    assert_int_equal(ask(o, TRANSACTION_OPERATIONS_MAX).refusal, REFUSAL_NONE);
}

/* 64 reservations take all 64 ids of a record. */
static void test_every_id(void **state) {
    (void)state;
    struct operation o[TRANSACTION_OPERATIONS_MAX];
    char names[TRANSACTION_OPERATIONS_MAX][16];
    for (unsigned i = 0; i < TRANSACTION_OPERATIONS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "stock-%u", i);
        assert_int_equal(world_define_stock(&world, names[i], 1, 0, 0), REFUSAL_NONE);
        o[i] = on_stock(OPERATION_RESERVE, names[i], "");
    }
    assert_int_equal(ask(o, TRANSACTION_OPERATIONS_MAX).refusal, REFUSAL_NONE);
    assert_int_equal(o[63].receipt.id, o[0].receipt.id + 63);
    struct answer a = ask(o, TRANSACTION_OPERATIONS_MAX);
    assert_int_equal(a.refusal, REFUSAL_SOLD_OUT);
    assert_string_equal(a.pointer, "/operations/0");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_in_one_record),
        TEST(compensation),
        TEST(one_refused_all_refused),
        TEST(same_resource_twice),
        TEST(receipt_of_its_own),
        TEST(hold_and_confirm),
        TEST(count),
        TEST(every_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
