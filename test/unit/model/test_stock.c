/*
 * Stocks through the model: what is given, in which order, and what comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "model/campaign.h"
#include "model/stock.h"
#include "world.h"

#define DAY_NS (24 * 3600 * NS_PER_SECOND)

static struct world world;

static int setup(void **state) {
    (void)state;
    world_init(&world, NULL);
    return 0;
}

/* Whatever a test did must survive replay and reload. */
static int teardown(void **state) {
    (void)state;
    model_check(world.model);
    world_check_replay(&world);
    world_reload(&world);
    world_check_replay(&world);
    world_release(&world);
    return 0;
}

struct answer {
    enum refusal refusal;
    struct reservation_info reservation;
    struct receipt receipt;
};

static struct answer ask_ns(enum request_kind kind, const char *stock, const char *purchase,
                            const char *member, uint64_t hold_ns) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text(stock);
    r.in.reserve.purchase = span_text(purchase);
    r.in.reserve.member = span_text(member);
    r.in.reserve.hold_ns = hold_ns;
    struct answer a = {.refusal = world_ask(&world, &r)};
    a.reservation = r.out.reservation;
    a.receipt = r.receipt;
    request_release(&r);
    return a;
}

static struct answer reserve(const char *purchase, const char *member) {
    return ask_ns(REQUEST_STOCK_RESERVE, "gifts", purchase, member, 0);
}

static struct answer release(const char *purchase) {
    return ask_ns(REQUEST_STOCK_RELEASE, "gifts", purchase, "", 0);
}

static struct answer confirm(const char *purchase) {
    return ask_ns(REQUEST_STOCK_CONFIRM, "gifts", purchase, "", 0);
}

static struct answer look_up(const char *purchase) {
    return ask_ns(REQUEST_STOCK_RESERVATION_GET, "gifts", purchase, "", 0);
}

static struct stock_info stock(void) {
    struct stock_info info;
    stock_describe(world.model, stock_find(world.model, span_text("gifts")), &info);
    return info;
}

static void define(uint64_t total, uint64_t per_member, uint64_t hold_ns) {
    assert_int_equal(world_define_stock(&world, "gifts", total, per_member, hold_ns), REFUSAL_NONE);
}

/* Ten tickets, thirty requests: exactly 1..10, in the order of arrival. */
static void test_numbers_in_order(void **state) {
    (void)state;
    define(10, 0, 0);
    for (unsigned i = 1; i <= 30; i++) {
        char purchase[16];
        snprintf(purchase, sizeof purchase, "p%u", i);
        struct answer a = reserve(purchase, "");
        assert_int_equal(a.refusal, i <= 10 ? REFUSAL_NONE : REFUSAL_SOLD_OUT);
        assert_int_equal(a.receipt.number, i <= 10 ? i : 0);
    }
    assert_int_equal(stock().used, 10);
    assert_true(stock().sold_out);
    assert_int_equal(stock().sold_out_since_ns, world.now_ns);
}

static void test_same_purchase_is_given_once(void **state) {
    (void)state;
    define(100, 1, 0);
    struct answer first = reserve("order-1", "kim");
    assert_int_equal(first.refusal, REFUSAL_NONE);
    assert_int_not_equal(first.receipt.id, 0);
    for (unsigned i = 0; i < 9; i++) {
        world.now_ns += NS_PER_SECOND;
        struct answer again = reserve("order-1", "kim");
        assert_int_equal(again.refusal, REFUSAL_NONE);
        assert_memory_equal(&again.receipt, &first.receipt, sizeof first.receipt);
        assert_int_equal(again.reservation.state, RESERVATION_FINAL);
    }
    assert_int_equal(stock().used, 1);
    assert_int_equal(reserve("order-1", "lee").refusal, REFUSAL_CONFLICT);
}

static void test_purchase_made_from_receipt(void **state) {
    (void)state;
    define(5, 0, 0);
    struct answer a = reserve("", "kim");
    char text[18];
    receipt_format(a.receipt.id, text);
    assert_int_equal(look_up(text).reservation.number, 1);
    receipt_format(id_make(world.position, 0), text);
    assert_int_equal(reserve(text, "").refusal, REFUSAL_INVALID); /* nobody takes it in advance */
    assert_int_equal(release(text).refusal, REFUSAL_INVALID);
    assert_int_equal(reserve("", "kim").reservation.number, 2);
}

static void test_order_of_checks(void **state) {
    (void)state;
    define(2, 1, 0);
    assert_int_equal(reserve("a", "kim").refusal, REFUSAL_NONE);
    assert_int_equal(reserve("b", "kim").refusal, REFUSAL_MEMBER_LIMIT);
    assert_int_equal(reserve("c", "lee").refusal, REFUSAL_NONE);
    assert_int_equal(reserve("d", "kim").refusal, REFUSAL_MEMBER_LIMIT); /* before sold out */
    assert_int_equal(reserve("d", "park").refusal, REFUSAL_SOLD_OUT);
    assert_int_equal(reserve("a", "kim").refusal, REFUSAL_NONE); /* known: before all limits */
    assert_int_equal(release("x").refusal, REFUSAL_NONE);
    assert_int_equal(reserve("x", "kim").refusal, REFUSAL_CANCELLED);
}

static void test_released_number_comes_back(void **state) {
    (void)state;
    define(4, 1, 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            reserve((char[]){(char)('a' + i), 0}, (char[]){(char)('k' + i), 0}).refusal,
            REFUSAL_NONE);
    }
    uint64_t before = stock().used;
    assert_int_equal(release("c").refusal, REFUSAL_NONE);
    assert_int_equal(release("b").refusal, REFUSAL_NONE);
    assert_int_equal(release("b").refusal, REFUSAL_NONE); /* changes nothing */
    assert_int_equal(stock().used, before - 2);
    assert_false(stock().sold_out);
    assert_int_equal(stock().sold_out_since_ns, 0);
    assert_int_equal(reserve("e", "l").reservation.number, 2); /* the smallest, and l may again */
    assert_int_equal(reserve("f", "m").reservation.number, 3);
    assert_true(stock().sold_out);
}

/* A late duplicate of a purchase that was cancelled must not take a unit again. */
static void test_cancelled_stays_cancelled(void **state) {
    (void)state;
    define(4, 0, 0);
    assert_int_equal(reserve("a", "").refusal, REFUSAL_NONE);
    assert_int_equal(release("a").refusal, REFUSAL_NONE);
    assert_int_equal(reserve("a", "").refusal, REFUSAL_CANCELLED);
    assert_int_equal(look_up("a").reservation.state, RESERVATION_CANCELLED);
    assert_int_equal(stock().tombstones, 1);
    world.now_ns += DAY_NS;
    assert_int_equal(world_run_timers(&world), 1);
    assert_int_equal(stock().tombstones, 0);
    assert_int_equal(look_up("a").refusal, REFUSAL_NOT_FOUND);
    assert_int_equal(reserve("a", "").refusal, REFUSAL_NONE);
}

static void test_cancel_before_purchase(void **state) {
    (void)state;
    define(4, 0, 0);
    struct answer a = release("late");
    assert_int_equal(a.refusal, REFUSAL_NONE);
    assert_int_equal(a.reservation.state, RESERVATION_CANCELLED);
    assert_int_equal(stock().used, 0);
    assert_int_equal(release("late").refusal, REFUSAL_NONE);
    assert_int_equal(stock().tombstones, 1);
    world.now_ns += DAY_NS - 1;
    assert_int_equal(world_run_timers(&world), 0);
    assert_int_equal(reserve("late", "").refusal, REFUSAL_CANCELLED);
    world.now_ns += 1;
    assert_int_equal(world_run_timers(&world), 1);
    assert_int_equal(reserve("late", "").refusal, REFUSAL_NONE);
}

static void test_hold_ends(void **state) {
    (void)state;
    define(1, 1, 5 * NS_PER_SECOND);
    struct answer a = reserve("a", "kim");
    assert_int_equal(a.reservation.state, RESERVATION_HELD);
    assert_int_equal(a.reservation.expires_ns, world.now_ns + 5 * NS_PER_SECOND);
    assert_int_equal(stock().held, 1);
    assert_int_equal(reserve("b", "lee").refusal, REFUSAL_SOLD_OUT);
    world.now_ns += 5 * NS_PER_SECOND;
    assert_int_equal(model_next_due_ns(world.model), world.now_ns);
    assert_int_equal(world_run_timers(&world), 1);
    assert_int_equal(stock().held, 0);
    assert_int_equal(stock().used, 0);
    assert_int_equal(confirm("a").refusal, REFUSAL_NOT_FOUND);
    assert_int_equal(reserve("a", "kim").refusal, REFUSAL_NONE); /* a hold may be taken again */
}

static void test_confirm(void **state) {
    (void)state;
    define(2, 0, 5 * NS_PER_SECOND);
    assert_int_equal(reserve("a", "kim").refusal, REFUSAL_NONE);
    struct answer longer = ask_ns(REQUEST_STOCK_RESERVE, "gifts", "b", "", NS_PER_SECOND);
    assert_int_equal(longer.reservation.expires_ns, world.now_ns + NS_PER_SECOND);
    assert_int_equal(confirm("a").reservation.state, RESERVATION_FINAL);
    assert_int_equal(confirm("a").refusal, REFUSAL_NONE);
    world.now_ns += DAY_NS;
    assert_int_equal(world_run_timers(&world), 1);
    assert_int_equal(stock().used, 1);
    assert_int_equal(release("a").refusal, REFUSAL_NONE);
    assert_int_equal(confirm("a").refusal, REFUSAL_CANCELLED);
    assert_int_equal(confirm("").refusal, REFUSAL_INVALID);
}

static enum refusal change(uint64_t total, bool on_sale, char *ret_pointer) {
    struct stock_def def;
    assert_int_equal(stock_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("gifts")), 0);
    def.total = total;
    def.on_sale = on_sale;
    struct request r;
    request_init(&r, REQUEST_STOCK_DEFINE);
    r.in.define.stock = &def;
    enum refusal refusal = world_ask(&world, &r);
    snprintf(ret_pointer, 64, "%s", r.error_pointer);
    request_release(&r);
    stock_def_release(&def);
    return refusal;
}

static void test_definition_changes(void **state) {
    (void)state;
    char pointer[64];
    define(3, 0, 0);
    assert_int_equal(reserve("a", "").refusal, REFUSAL_NONE);
    assert_int_equal(reserve("b", "").refusal, REFUSAL_NONE);
    assert_int_equal(change(1, false, pointer), REFUSAL_CONFLICT);
    assert_string_equal(pointer, "/total");
    assert_int_equal(change(2, false, pointer), REFUSAL_NONE);
    assert_true(stock().sold_out);
    assert_int_equal(change(5, true, pointer), REFUSAL_NONE);
    assert_false(stock().sold_out);
    assert_int_equal(change(4, true, pointer), REFUSAL_CONFLICT);
    assert_string_equal(pointer, "/total");
    assert_int_equal(change(5, false, pointer), REFUSAL_CONFLICT);
    assert_string_equal(pointer, "/onSale");
    assert_int_equal(change(6, true, pointer), REFUSAL_NONE);
    assert_int_equal(world_define_stock(&world, "-bad", 1, 0, 0), REFUSAL_INVALID);
}

static enum refusal define_from_file(uint64_t total, uint64_t file_hash, bool *ret_unchanged) {
    struct stock_def def;
    assert_int_equal(stock_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("gifts")), 0);
    def.total = total;
    struct request r;
    request_init(&r, REQUEST_STOCK_DEFINE);
    r.in.define.how = (struct define){.from_file = true, .file_hash = file_hash};
    r.in.define.stock = &def;
    enum refusal refusal = world_ask(&world, &r);
    *ret_unchanged = r.in.define.how.ret_unchanged;
    request_release(&r);
    stock_def_release(&def);
    return refusal;
}

/* What was changed at run time stays until the file itself says something new. */
static void test_file_and_run_time(void **state) {
    (void)state;
    bool unchanged = false;
    assert_int_equal(define_from_file(10, 77, &unchanged), REFUSAL_NONE);
    assert_false(unchanged);
    define(20, 0, 0);
    world_reload(&world);
    assert_int_equal(define_from_file(10, 77, &unchanged), REFUSAL_NONE);
    assert_true(unchanged);
    assert_int_equal(stock().total, 20);
    assert_int_equal(define_from_file(30, 78, &unchanged), REFUSAL_NONE);
    assert_int_equal(stock().total, 30);
}

static enum refusal delete_stock(const char *name) {
    struct request r;
    request_init(&r, REQUEST_STOCK_DELETE);
    r.name = span_text(name);
    enum refusal refusal = world_ask(&world, &r);
    request_release(&r);
    return refusal;
}

/* Its purchases go in steps, but nobody sees them any more, and their timers are gone at once. */
static void test_delete_and_define_again(void **state) {
    (void)state;
    define(1000, 0, 0);
    uint32_t first_index = stock_find(world.model, span_text("gifts"));
    char purchase[64];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(purchase, sizeof purchase, "a purchase number of more than 23 bytes: %u", i);
        assert_int_equal(ask_ns(REQUEST_STOCK_RESERVE, "gifts", purchase,
                                "a member key beyond 23 bytes", i % 2 * NS_PER_SECOND)
                             .refusal,
                         REFUSAL_NONE);
    }
    assert_int_equal(delete_stock("gifts"), REFUSAL_NONE);
    assert_int_equal(delete_stock("gifts"), REFUSAL_NOT_FOUND);
    assert_int_equal(model_next_due_ns(world.model), UINT64_MAX);
    model_check(world.model);
    world_check_replay(&world);
    define(10, 1, 0);
    uint32_t index = stock_find(world.model, span_text("gifts"));
    assert_int_not_equal(index, first_index);
    assert_null(stock_definition(world.model, first_index));
    assert_int_equal(reserve(purchase, "a member key beyond 23 bytes").reservation.number, 1);
    assert_int_equal(delete_stock("gifts"), REFUSAL_NONE); /* while the first is not all gone */
    model_check(world.model);
    world_reload(&world);
    define(10, 1, 0);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(purchase, sizeof purchase, "%u", i);
        assert_int_equal(reserve(purchase, "").refusal, REFUSAL_NONE);
    }
}

static void test_limits(void **state) {
    (void)state;
    world_release(&world);
    world_init(&world, &(struct model_limits){.purchases = 8, .stocks = 1});
    define(100, 0, 0);
    assert_int_equal(world_define_stock(&world, "more", 1, 0, 0), REFUSAL_LIMIT);
    for (unsigned i = 0; i < 3; i++) { /* tombstones take a part of the limit, not all */
        assert_int_equal(release((char[]){(char)('x' + i), 0}).refusal, REFUSAL_NONE);
    }
    assert_int_equal(release("w").refusal, REFUSAL_LIMIT);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(reserve((char[]){(char)('a' + i), 0}, "").refusal, REFUSAL_NONE);
    }
    assert_int_equal(reserve("f", "").refusal, REFUSAL_LIMIT);
    assert_int_equal(release("a").refusal, REFUSAL_NONE); /* leaves no tombstone then */
    assert_int_equal(stock().tombstones, 3);
    assert_int_equal(reserve("f", "").refusal, REFUSAL_NONE);
}

static void test_disk_full(void **state) {
    (void)state;
    define(3, 0, 0);
    assert_int_equal(reserve("a", "").refusal, REFUSAL_NONE);
    world.disk_is_full = true;
    assert_int_equal(reserve("b", "").refusal, REFUSAL_DISK_FULL);
    assert_int_equal(release("c").refusal, REFUSAL_DISK_FULL);
    assert_int_equal(reserve("a", "").refusal, REFUSAL_NONE);
    assert_int_equal(release("a").refusal, REFUSAL_NONE);
    assert_int_equal(world_define_stock(&world, "more", 1, 0, 0), REFUSAL_DISK_FULL);
}

static void test_bad_requests(void **state) {
    (void)state;
    char key[257];
    memset(key, 'k', 256);
    key[256] = '\0';
    define(3, 0, 0);
    assert_int_equal(reserve(key, "").refusal, REFUSAL_INVALID);
    assert_int_equal(reserve("a", key).refusal, REFUSAL_INVALID);
    assert_int_equal(release("").refusal, REFUSAL_INVALID);
    key[255] = '\0';
    assert_int_equal(reserve(key, key).refusal, REFUSAL_NONE);
    assert_int_equal(look_up(key).reservation.number, 1);
    assert_int_equal(ask_ns(REQUEST_STOCK_RESERVE, "none", "a", "", 0).refusal, REFUSAL_NOT_FOUND);
}

static void test_list_pages(void **state) {
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "stock-%u", i);
        assert_int_equal(world_define_stock(&world, name, i, 0, 0), REFUSAL_NONE);
    }
    uint64_t after = 0, seen = 0;
    do {
        struct request r;
        request_init(&r, REQUEST_STOCK_LIST);
        r.in.list.after = after;
        r.in.list.max = 2;
        assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
        struct reader out;
        reader_init(&out, buffer_span(&r.out_bytes));
        for (uint64_t i = 0; i < r.count; i++) {
            struct stock_def def;
            struct reader one;
            reader_init(&one, reader_bytes(&out));
            assert_int_equal(stock_def_decode(&one, &def), 0);
            assert_true(reader_done(&one));
            assert_int_equal(def.total, seen++);
            assert_int_equal(reader_bytes(&out).size, sizeof(struct stock_info));
            stock_def_release(&def);
        }
        assert_true(reader_done(&out));
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert_int_equal(seen, 5);
}

/* Units that a decision has given already count in the same decision. */
static void test_several_in_one_record(void **state) {
    (void)state;
    define(3, 2, 0);
    uint32_t index = stock_find(world.model, span_text("gifts"));
    assert_int_equal(reserve("a", "").refusal, REFUSAL_NONE);
    struct reservation_info known;
    bool is_known;
    struct decision d = world_begin(&world);
    for (unsigned i = 0; i < 2; i++) {
        struct span key = span_of(&"bc"[i], 1);
        assert_int_equal(
            stock_check_plus(world.model, &d, index, key, span_text("kim"), 0, &known, &is_known),
            REFUSAL_NONE);
        assert_int_equal(stock_emit_plus(world.model, &d, index, key, span_text("kim"), 0), i + 2);
        assert_int_equal(
            stock_check_plus(world.model, &d, index, key, span_text("kim"), 0, &known, &is_known),
            REFUSAL_CONFLICT);
    }
    assert_int_equal(stock_check_plus(world.model, &d, index, span_text("d"), span_text("kim"), 0,
                                      &known, &is_known),
                     REFUSAL_MEMBER_LIMIT);
    assert_int_equal(stock_check_plus(world.model, &d, index, span_text("d"), span_text("lee"), 0,
                                      &known, &is_known),
                     REFUSAL_SOLD_OUT);
    world_commit(&world, &d);
    assert_int_equal(stock().used, 3);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_in_order),
        TEST(same_purchase_is_given_once),
        TEST(purchase_made_from_receipt),
        TEST(order_of_checks),
        TEST(released_number_comes_back),
        TEST(cancelled_stays_cancelled),
        TEST(cancel_before_purchase),
        TEST(hold_ends),
        TEST(confirm),
        TEST(definition_changes),
        TEST(file_and_run_time),
        TEST(delete_and_define_again),
        TEST(limits),
        TEST(disk_full),
        TEST(bad_requests),
        TEST(list_pages),
        TEST(several_in_one_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
