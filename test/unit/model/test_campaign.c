/*
 * Campaigns through the model: the composite entry, its refusals in their order, and how entries end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/reader.h"
#include "model/campaign.h"
#include "model/queue.h"
#include "model/stock.h"
#include "world.h"

static struct world world;

static int setup(void **state) {
    (void)state;
    world_init(&world, NULL);
    assert_int_equal(world_define_stock(&world, "vouchers", 5, 0, 0), REFUSAL_NONE);
    assert_int_equal(world_define_queue(&world, "send", 0), REFUSAL_NONE);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    model_check(world.model);
    world_check_replay(&world);
    world_reload(&world);
    world_check_replay(&world);
    world_release(&world);
    return 0;
}

/* ---- requests ---- */

struct wish {
    const char *stock, *queue, *member_pointer;
    uint64_t opens_ns, closes_ns, safety_stock;
    enum campaign_failure on_failure;
    uint8_t priority;
};

static const struct wish plain = {.stock = "vouchers", .queue = "", .member_pointer = "/member"};

struct defined {
    enum refusal refusal;
    uint32_t generation;
    char pointer[64];
};

static struct defined define(struct wish w) {
    struct campaign_def def;
    assert_int_equal(campaign_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("give")), 0);
    assert_int_equal(def_set_text(&def.stock, span_text(w.stock)), 0);
    assert_int_equal(def_set_text(&def.queue, span_text(w.queue)), 0);
    assert_int_equal(def_set_text(&def.member_pointer, span_text(w.member_pointer)), 0);
    def.opens_ns = w.opens_ns;
    def.closes_ns = w.closes_ns;
    def.safety_stock = w.safety_stock;
    def.on_failure = w.on_failure;
    def.priority = w.priority;
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_DEFINE);
    r.in.define.campaign = &def;
    struct defined answer = {.refusal = world_ask(&world, &r), .generation = r.generation};
    memcpy(answer.pointer, r.error_pointer, sizeof answer.pointer);
    request_release(&r);
    campaign_def_release(&def);
    return answer;
}

static struct campaign_info look(uint32_t *ret_generation) {
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_GET);
    r.name = span_text("give");
    assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
    struct campaign_info info = r.out.campaign;
    *ret_generation = r.generation;
    request_release(&r);
    return info;
}

struct answer {
    enum refusal refusal;
    struct receipt receipt;
    uint64_t opens_ns;
};

static struct answer enter(const char *member) {
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTER);
    r.name = span_text("give");
    (void)look(&r.in.enter.generation);
    r.in.enter.member = span_text(member);
    r.in.enter.envelope.body = span_text("{}");
    struct answer a = {.refusal = world_ask(&world, &r)};
    a.receipt = r.receipt;
    a.opens_ns = r.opens_ns;
    request_release(&r);
    return a;
}

static struct entry_info entry(uint64_t id) {
    struct entry_info info = {.id = 0};
    assert_non_null(campaign_entry_by_id(world.model, id, &info));
    return info;
}

static uint64_t used(void) {
    struct stock_info info;
    stock_describe(world.model, stock_find(world.model, span_text("vouchers")), &info);
    return info.used;
}

static void settle_in(struct decision *d, uint64_t id, bool sent) {
    char text[18];
    receipt_format(id, text);
    struct tie tie = {.campaign = 1,
                      .stock = stock_find(world.model, span_text("vouchers")),
                      .purchase = span_text(text)};
    campaign_emit_settlement(world.model, d, id, &tie, sent);
}

static void settle(uint64_t id, bool sent) {
    struct decision d = world_begin(&world);
    settle_in(&d, id, sent);
    world_commit(&world, &d);
}

static enum refusal redrive_in(struct decision *d, uint64_t id) {
    char text[18];
    receipt_format(id, text);
    struct tie tie = {.campaign = 1,
                      .stock = stock_find(world.model, span_text("vouchers")),
                      .purchase = span_text(text)};
    return campaign_emit_redrive(world.model, d, id, &tie);
}

static enum refusal redrive(uint64_t id) {
    struct decision d = world_begin(&world);
    enum refusal refusal = redrive_in(&d, id);
    world_commit(&world, &d);
    return refusal;
}

/* ---- entering ---- */

static void test_first_come(void **state) {
    (void)state;
    struct wish w = plain;
    w.safety_stock = 2;
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
    uint64_t position = world.position;
    for (unsigned i = 0; i < 5; i++) {
        struct answer a = enter((char[]){(char)('a' + i), 0});
        assert_int_equal(a.refusal, i < 3 ? REFUSAL_NONE : REFUSAL_SOLD_OUT);
        assert_int_equal(a.receipt.number, i < 3 ? i + 1 : 0);
    }
    assert_int_equal(world.position, position + 3); /* one record an entry */
    uint32_t generation;
    assert_int_equal(look(&generation).left, 0);
    assert_int_equal(look(&generation).entries, 3);
    assert_int_equal(used(), 3);
}

static void test_one_per_member(void **state) {
    (void)state;
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    struct answer first = enter("kim");
    assert_int_equal(first.refusal, REFUSAL_NONE);
    world.now_ns += NS_PER_SECOND;
    struct answer again = enter("kim");
    assert_int_equal(again.refusal, REFUSAL_ALREADY_CLAIMED);
    assert_int_equal(again.receipt.id, first.receipt.id);
    assert_int_equal(again.receipt.accepted_ns, first.receipt.accepted_ns);
    assert_int_equal(again.receipt.number, 1);
    assert_int_equal(enter("").refusal, REFUSAL_INVALID);
    assert_int_equal(used(), 1);
}

static void test_hours(void **state) {
    (void)state;
    struct wish w = plain;
    w.opens_ns = world.now_ns + NS_PER_SECOND;
    w.closes_ns = world.now_ns + 2 * NS_PER_SECOND;
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
    struct answer early = enter("a");
    assert_int_equal(early.refusal, REFUSAL_NOT_OPEN);
    assert_int_equal(early.opens_ns, w.opens_ns);
    world.now_ns = w.opens_ns - 1;
    assert_int_equal(enter("a").refusal, REFUSAL_NOT_OPEN);
    world.now_ns = w.opens_ns;
    assert_int_equal(enter("a").refusal, REFUSAL_NONE);
    world.now_ns = w.closes_ns - 1;
    assert_int_equal(enter("b").refusal, REFUSAL_NONE);
    world.now_ns = w.closes_ns;
    assert_int_equal(enter("c").refusal, REFUSAL_CLOSED);
}

static void test_stale_generation(void **state) {
    (void)state;
    assert_int_equal(define(plain).generation, 1);
    assert_int_equal(define(plain).generation, 1); /* nothing changed */
    struct wish w = plain;
    w.member_pointer = "/user/id";
    assert_int_equal(define(w).generation, 2);
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTER);
    r.name = span_text("give");
    r.in.enter.generation = 1;
    r.in.enter.member = span_text("kim");
    assert_int_equal(world_ask(&world, &r), REFUSAL_STALE);
    assert_int_equal(r.generation, 2);
    assert_true(span_is(buffer_span(&r.out_bytes), "/user/id"));
    request_release(&r);
}

static void test_member_limit_of_the_stock(void **state) {
    (void)state;
    assert_int_equal(world_define_stock(&world, "vouchers", 5, 1, 0), REFUSAL_NONE);
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    struct request r;
    request_init(&r, REQUEST_STOCK_RESERVE);
    r.name = span_text("vouchers");
    r.in.reserve.member = span_text("kim");
    assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(enter("kim").refusal, REFUSAL_MEMBER_LIMIT);
    assert_int_equal(enter("lee").refusal, REFUSAL_NONE);
}

static void test_queued_or_not_at_all(void **state) {
    (void)state;
    assert_int_equal(world_define_queue(&world, "send", 1), REFUSAL_NONE);
    struct wish w = plain;
    w.queue = "send";
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
    struct answer first = enter("a");
    assert_int_equal(first.refusal, REFUSAL_NONE);
    struct message_view view;
    assert_true(queue_message_view(world.model, first.receipt.id, &view));
    assert_int_equal(view.tie.campaign, 1);
    char text[18];
    receipt_format(first.receipt.id, text);
    assert_true(span_is(view.tie.purchase, text));
    assert_int_equal(enter("b").refusal, REFUSAL_QUEUE_FULL);
    assert_int_equal(used(), 1);
    assert_int_equal(enter("a").refusal, REFUSAL_ALREADY_CLAIMED);
    world.disk_is_full = true;
    assert_int_equal(enter("c").refusal, REFUSAL_DISK_FULL);
}

/* ---- ending ---- */

static struct wish failing(enum campaign_failure policy) {
    struct wish w = plain;
    w.on_failure = policy;
    return w;
}

static void test_sent(void **state) {
    (void)state;
    assert_int_equal(define(failing(CAMPAIGN_FAILURE_RELEASE)).refusal, REFUSAL_NONE);
    uint64_t id = enter("a").receipt.id;
    settle(id, true);
    assert_int_equal(entry(id).state, ENTRY_SENT);
    uint64_t position = world.position;
    settle(id, false); /* settled once for all */
    assert_int_equal(world.position, position);
    assert_int_equal(redrive(id), REFUSAL_CONFLICT);
    assert_int_equal(used(), 1);
}

static void test_failed_release(void **state) {
    (void)state;
    assert_int_equal(define(failing(CAMPAIGN_FAILURE_RELEASE)).refusal, REFUSAL_NONE);
    uint64_t id = enter("a").receipt.id;
    assert_int_equal(enter("b").receipt.number, 2);
    settle(id, false);
    assert_int_equal(entry(id).state, ENTRY_FAILED);
    assert_int_equal(used(), 1);
    assert_int_equal(enter("a").refusal, REFUSAL_ALREADY_CLAIMED);
    assert_int_equal(enter("c").receipt.number, 1); /* the voucher goes to another */
    assert_int_equal(redrive(id), REFUSAL_NONE);
    assert_int_equal(entry(id).state, ENTRY_ACCEPTED);
    assert_int_equal(entry(id).number, 3);
    assert_int_equal(enter("a").receipt.number, 3);
}

static void test_failed_reenter(void **state) {
    (void)state;
    assert_int_equal(define(failing(CAMPAIGN_FAILURE_RELEASE_REENTER)).refusal, REFUSAL_NONE);
    uint64_t first = enter("a").receipt.id;
    settle(first, false);
    assert_int_equal(used(), 0);
    struct answer second = enter("a");
    assert_int_equal(second.refusal, REFUSAL_NONE);
    assert_int_not_equal(second.receipt.id, first);
    assert_int_equal(entry(first).state, ENTRY_FAILED); /* the first proof still tells its story */
    assert_int_equal(redrive(first), REFUSAL_ALREADY_CLAIMED);
    settle(second.receipt.id, false);

    struct decision d = world_begin(&world); /* only one of them may stand again */
    assert_int_equal(redrive_in(&d, first), REFUSAL_NONE);
    assert_int_equal(redrive_in(&d, second.receipt.id), REFUSAL_ALREADY_CLAIMED);
    world_commit(&world, &d);
    assert_int_equal(entry(first).state, ENTRY_ACCEPTED);
    assert_int_equal(enter("a").receipt.id, first);
    assert_int_equal(used(), 1);
}

static void test_failed_keep(void **state) {
    (void)state;
    assert_int_equal(define(failing(CAMPAIGN_FAILURE_KEEP)).refusal, REFUSAL_NONE);
    uint64_t id = enter("a").receipt.id;
    settle(id, false);
    assert_int_equal(entry(id).state, ENTRY_FAILED);
    assert_int_equal(used(), 1);
    assert_int_equal(redrive(id), REFUSAL_NONE);
    assert_int_equal(entry(id).number, 1);
    assert_int_equal(used(), 1);
}

/* The facts of the last record, applied once more, are refused: an end is an end (C3). */
static void test_an_end_twice(void **state) {
    (void)state;
    assert_int_equal(define(failing(CAMPAIGN_FAILURE_KEEP)).refusal, REFUSAL_NONE);
    for (unsigned sent = 0; sent < 2; sent++) {
        uint64_t id = enter(sent ? "a" : "b").receipt.id;
        size_t before = world.log.size;
        settle(id, sent);
        struct reader log;
        reader_init(&log, span_of(world.log.data + before, world.log.size - before));
        struct applied where = {.time_ns = reader_u64(&log), .position = world.position};
        (void)reader_u64(&log);
        assert_int_equal(model_apply(world.model, &where, reader_bytes(&log)), E_CORRUPT);
    }
}

static void test_redrive_many_in_one_record(void **state) {
    (void)state;
    assert_int_equal(define(failing(CAMPAIGN_FAILURE_RELEASE)).refusal, REFUSAL_NONE);
    uint64_t ids[5];
    struct decision d;
    for (unsigned i = 0; i < 5; i++) {
        ids[i] = enter((char[]){(char)('a' + i), 0}).receipt.id;
    }
    d = world_begin(&world);
    for (unsigned i = 0; i < 5; i++) {
        settle_in(&d, ids[i], false);
    }
    world_commit(&world, &d);
    assert_int_equal(used(), 0);
    assert_int_equal(enter("f").receipt.number, 1);
    d = world_begin(&world);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(redrive_in(&d, ids[4 - i]), i < 4 ? REFUSAL_NONE : REFUSAL_SOLD_OUT);
    }
    world_commit(&world, &d);
    assert_int_equal(entry(ids[4]).number, 2);
    assert_int_equal(entry(ids[1]).number, 5);
    assert_int_equal(entry(ids[0]).state, ENTRY_FAILED);
    assert_int_equal(used(), 5);
}

/* A unit that comes back by a redrive is a unit like any other: safety stock and member limit hold. */
static void test_redrive_keeps_the_rules(void **state) {
    (void)state;
    struct wish w = failing(CAMPAIGN_FAILURE_RELEASE);
    w.safety_stock = 4;
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
    uint64_t id = enter("a").receipt.id;
    settle(id, false);
    assert_int_equal(enter("b").refusal, REFUSAL_NONE);
    assert_int_equal(redrive(id), REFUSAL_SOLD_OUT);

    w.safety_stock = 0;
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
    assert_int_equal(world_define_stock(&world, "vouchers", 5, 1, 0), REFUSAL_NONE);
    struct request r;
    request_init(&r, REQUEST_STOCK_RESERVE);
    r.name = span_text("vouchers");
    r.in.reserve.member = span_text("a");
    assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(redrive(id), REFUSAL_MEMBER_LIMIT);
    assert_int_equal(used(), 2);
}

/* ---- definitions ---- */

#define ASSERT_REFUSED(wish, what, where)                                                          \
    do {                                                                                           \
        struct defined answer_ = define(wish);                                                     \
        assert_int_equal(answer_.refusal, REFUSAL_##what);                                         \
        assert_string_equal(answer_.pointer, where);                                               \
    } while (0)

static void test_definition_fields(void **state) {
    (void)state;
    struct wish w = plain;
    w.stock = "none";
    ASSERT_REFUSED(w, REFERENCE, "/stock");
    w = plain, w.queue = "none";
    ASSERT_REFUSED(w, REFERENCE, "/queue");
    w = plain, w.opens_ns = 5, w.closes_ns = 5;
    ASSERT_REFUSED(w, INVALID, "/closesAt");
    w = plain, w.safety_stock = 6;
    ASSERT_REFUSED(w, INVALID, "/safetyStock");
    w = plain, w.member_pointer = "";
    ASSERT_REFUSED(w, INVALID, "/memberPointer");
    w.member_pointer = "member";
    ASSERT_REFUSED(w, INVALID, "/memberPointer");
    w.member_pointer = "/a~2b";
    ASSERT_REFUSED(w, INVALID, "/memberPointer");
    w = plain, w.queue = "send", w.priority = 10;
    ASSERT_REFUSED(w, INVALID, "/priority");
    w.priority = 9, w.member_pointer = "/a~1b/0";
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
}

static void test_changes_while_running(void **state) {
    (void)state;
    assert_int_equal(world_define_stock(&world, "others", 5, 0, 0), REFUSAL_NONE);
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    struct wish w = plain;
    w.stock = "others";
    assert_int_equal(define(w).refusal, REFUSAL_NONE); /* nobody entered yet */
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    assert_int_equal(enter("a").refusal, REFUSAL_NONE);
    assert_int_equal(enter("b").refusal, REFUSAL_NONE);
    ASSERT_REFUSED(w, CONFLICT, "/stock");
    w = plain, w.opens_ns = world.now_ns + 1;
    ASSERT_REFUSED(w, CONFLICT, "/opensAt");
    w = plain, w.member_pointer = "/other";
    ASSERT_REFUSED(w, CONFLICT, "/memberPointer");
    w = plain, w.safety_stock = 4;
    ASSERT_REFUSED(w, CONFLICT, "/safetyStock");
    w.safety_stock = 3, w.closes_ns = world.now_ns + 5;
    assert_int_equal(define(w).generation, 4);
    assert_int_equal(world_define_stock(&world, "vouchers", 4, 0, 0), REFUSAL_CONFLICT);
}

static enum refusal delete (enum request_kind kind, const char *name) {
    struct request r; request_init(&r, kind); r.name = span_text(name);
    enum refusal refusal = world_ask(&world, &r);
    request_release(&r);
    return refusal;
}

static void test_what_it_uses_cannot_go(void **state) {
    (void)state;
    struct wish w = plain;
    w.queue = "send";
    assert_int_equal(define(w).refusal, REFUSAL_NONE);
    uint64_t id = enter("a").receipt.id;
    assert_int_equal(delete (REQUEST_STOCK_DELETE, "vouchers"), REFUSAL_CONFLICT);
    assert_int_equal(delete (REQUEST_QUEUE_DELETE, "send"), REFUSAL_CONFLICT);
    assert_int_equal(delete (REQUEST_CAMPAIGN_DELETE, "give"), REFUSAL_NONE);
    struct entry_info info;
    assert_null(campaign_entry_by_id(world.model, id, &info));
    settle(id, false); /* the unit goes back even so */
    assert_int_equal(used(), 0);
    assert_int_equal(define(w).generation, 1);
    assert_int_equal(enter("a").refusal, REFUSAL_NONE);
}

static void test_delete_many(void **state) {
    (void)state;
    assert_int_equal(world_define_stock(&world, "vouchers", 500, 0, 0), REFUSAL_NONE);
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(define(plain).refusal, REFUSAL_NONE);
        for (unsigned i = 0; i < 100; i++) {
            char member[64];
            snprintf(member, sizeof member, "a member key of more than 23 bytes %u", i);
            assert_int_equal(enter(member).refusal, REFUSAL_NONE);
        }
        model_check(world.model);
        assert_int_equal(delete (REQUEST_CAMPAIGN_DELETE, "give"), REFUSAL_NONE);
        model_check(world.model);
    }
    assert_int_equal(used(), 300);
}

/* The entry still stands as accepted, so more entries than units are no damage, and nothing is stuck. */
static void test_a_unit_cancelled_through_the_stock(void **state) {
    (void)state;
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    uint64_t first = enter("a").receipt.id;
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(enter((char[]){(char)('a' + i), 0}).refusal, REFUSAL_NONE);
    }
    char receipt[18];
    receipt_format(first, receipt);
    struct request r;
    request_init(&r, REQUEST_STOCK_RELEASE);
    r.name = span_text("vouchers");
    r.in.reserve.purchase = span_text(receipt);
    assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(enter("f").refusal, REFUSAL_NONE);
    uint32_t generation;
    assert_int_equal(look(&generation).entries, 6);
    model_check(world.model);
    assert_int_equal(world_define_stock(&world, "vouchers", 5, 1, 0), REFUSAL_NONE);
    assert_int_equal(world_define_stock(&world, "vouchers", 4, 1, 0), REFUSAL_CONFLICT);
    struct wish changed = plain;
    changed.on_failure = CAMPAIGN_FAILURE_KEEP;
    assert_int_equal(define(changed).refusal, REFUSAL_NONE);
}

/* ---- reads ---- */

static void test_pages(void **state) {
    (void)state;
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(enter((char[]){(char)('a' + i), 0}).refusal, REFUSAL_NONE);
    }
    uint64_t after = 0;
    unsigned seen = 0;
    do {
        struct request r;
        request_init(&r, REQUEST_CAMPAIGN_ENTRIES);
        r.name = span_text("give");
        r.in.list.after = after;
        r.in.list.max = 2;
        assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
        struct reader out;
        reader_init(&out, buffer_span(&r.out_bytes));
        for (uint64_t i = 0; i < r.count; i++) {
            struct entry_info info;
            memcpy(&info, reader_bytes(&out).data, sizeof info);
            assert_int_equal(info.number, ++seen);
            assert_int_equal(reader_bytes(&out).data[0], 'a' + seen - 1);
        }
        assert_true(reader_done(&out));
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert_int_equal(seen, 5);
}

static void test_entry_get(void **state) {
    (void)state;
    assert_int_equal(define(plain).refusal, REFUSAL_NONE);
    uint64_t id = enter("kim").receipt.id;
    for (unsigned by_id = 0; by_id < 2; by_id++) {
        struct request r;
        request_init(&r, REQUEST_CAMPAIGN_ENTRY_GET);
        r.name = span_text("give");
        if (by_id != 0) {
            r.id = id;
        } else {
            r.in.enter.member = span_text("kim");
        }
        assert_int_equal(world_ask(&world, &r), REFUSAL_NONE);
        assert_int_equal(r.out.entry.id, id);
        assert_int_equal(r.out.entry.number, 1);
        assert_true(span_is(buffer_span(&r.out_bytes), "kim"));
        request_release(&r);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(first_come),
        TEST(one_per_member),
        TEST(hours),
        TEST(stale_generation),
        TEST(member_limit_of_the_stock),
        TEST(queued_or_not_at_all),
        TEST(sent),
        TEST(failed_release),
        TEST(failed_reenter),
        TEST(failed_keep),
        TEST(an_end_twice),
        TEST(redrive_many_in_one_record),
        TEST(redrive_keeps_the_rules),
        TEST(definition_fields),
        TEST(changes_while_running),
        TEST(what_it_uses_cannot_go),
        TEST(delete_many),
        TEST(a_unit_cancelled_through_the_stock),
        TEST(pages),
        TEST(entry_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
