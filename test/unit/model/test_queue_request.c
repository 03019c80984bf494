/* Requests about messages that are there: delete, purge, redrive, move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "mail.h"
#include "model/fact.h"

static void test_delete(void **state) {
    mail_queue("orders");
    mail_queue("other");
    uint64_t id = mail_put((struct letter){.queue = "orders"});
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "other", id), REFUSAL_NOT_FOUND);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_GET, "other", id), REFUSAL_NOT_FOUND);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", id), REFUSAL_NONE);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", id), REFUSAL_NOT_FOUND);
    assert_int_equal(mail_receipt(id).dead_reason, DEAD_DELETED);
}

static struct request purge(unsigned state) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.name = span_text("orders");
    r.in.list.state = (enum message_state)state;
    r.refusal = world_ask(&mail, &r);
    request_release(&r);
    return r;
}

static void test_purge(void **state) {
    mail_queue("orders");
    for (unsigned i = 0; i < 5; i++) {
        mail_put((struct letter){.queue = "orders", .key = i < 3 ? "a" : "", .priority = i});
    }
    mail_put((struct letter){.queue = "orders", .schedule_ns = mail.now_ns + 9});
    assert_int_equal(purge(MESSAGE_IN_FLIGHT).refusal, REFUSAL_INVALID);
    struct request r = purge(MESSAGE_READY);
    assert_true(r.count == 3 && r.next == 0);
    /* The next of the key became ready by it, and was not meant. */
    assert_true(mail_info("orders").ready == 1 && mail_info("orders").blocked == 1);
    r = purge(0);
    assert_int_equal(r.count, 3);
    assert_true(mail_info("orders").ready + mail_info("orders").delayed == 0);
    assert_int_equal(mail_info("orders").deleted, 6);
    r = purge(0);
    assert_true(r.refusal == REFUSAL_NONE && r.count == 0);
}

static void kill_all(void) {
    struct attempt_start s;
    while (push_start(&mail, &s)) {
        push_finish(&mail, &s, 422, 0);
    }
}

static struct request redrive(uint64_t id, uint32_t max) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.name = span_text("orders");
    r.in.redrive.id = id;
    r.in.redrive.max = max;
    r.refusal = world_ask(&mail, &r);
    request_release(&r);
    return r;
}

static void test_redrive(void **state) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    struct queue_def def = mail_def("orders", "out");
    def.message_ttl_ns = 1000;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t ids[5];
    for (unsigned i = 0; i < 5; i++) {
        ids[i] = mail_put((struct letter){.queue = "orders"});
    }
    assert_int_equal(redrive(ids[3], 0).refusal, REFUSAL_CONFLICT);
    assert_int_equal(redrive(12345, 0).refusal, REFUSAL_NOT_FOUND);
    kill_all();
    mail.now_ns += 5000;
    assert_int_equal(redrive(ids[3], 0).refusal, REFUSAL_NONE);
    assert_int_equal(mail_get(ids[3]).state, MESSAGE_READY);
    assert_int_equal(mail_get(ids[3]).attempts, 0);
    assert_int_equal(mail_get(ids[3]).expires_ns, mail.now_ns + 1000);
    struct request r = redrive(0, 2);
    assert_true(r.count == 2 && r.next != 0);
    r = redrive(0, 0);
    assert_true(r.count == 2 && r.next == 0);
    assert_int_equal(mail_info("orders").dead, 0);
    world_run_timers(&mail);
    assert_int_equal(mail_info("orders").ready, 5);
}

/* Compaction: the fact has the bytes of the first, the body is accounted for at the new place. */
static uint32_t by_ten(uint64_t address) {
    return (uint32_t)(address / 10);
}

static void test_move(void **state) {
    model_set_segment_of(mail.model, by_ten);
    mail_queue("orders");
    uint64_t ids[8];
    for (unsigned i = 0; i < 8; i++) {
        ids[i] = mail_put((struct letter){.queue = "orders", .body = "body"});
    }
    uint64_t live = model_segment_live_bytes(mail.model, 0);
    assert_true(live > 0);
    struct live_body found[8];
    assert_int_equal(model_segment_live_ids(mail.model, 0, found, 3), 3);
    assert_int_equal(model_segment_live_ids(mail.model, 5, found, 8), 0);
    assert_int_equal(model_segment_live_ids(mail.model, 0, found, 8), 8);
    /* The payloads, out of the log that the world keeps. */
    struct span payloads[9];
    uint64_t asked[9];
    struct reader log;
    reader_init(&log, buffer_span(&mail.log));
    uint32_t count = 0;
    while (log.left > 0) {
        (void)reader_u64(&log);
        (void)reader_u64(&log);
        struct span facts = reader_bytes(&log);
        struct stored_message stored;
        if (count < 8 && stored_message_find(facts, ids[count], &stored) == 0) {
            payloads[count] = stored.payload;
            asked[count++] = stored.id;
        }
    }
    assert_int_equal(count, 8);
    payloads[8] = payloads[0];
    asked[8] = 999; /* gone meanwhile */
    uint64_t addresses[9];
    for (unsigned i = 0; i < 9; i++) {
        addresses[i] = mail_get(ids[i % 8]).address;
    }
    mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", ids[7]);
    mail.position = 57;
    static uint8_t copy[1 << 16]; /* the log grows while it is asked */
    size_t used = 0;
    for (unsigned i = 0; i < 9; i++) {
        memcpy(copy + used, payloads[i].data, payloads[i].size);
        payloads[i].data = copy + used;
        used += payloads[i].size;
    }
    struct request r;
    request_init(&r, REQUEST_MESSAGE_MOVE);
    r.in.move.ids = asked;
    r.in.move.addresses = addresses;
    r.in.move.payloads = payloads;
    r.in.move.count = 9;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    assert_int_equal(r.count, 7);
    request_release(&r);
    assert_int_equal(model_segment_live_bytes(mail.model, 0), 0);
    assert_int_equal(model_segment_live_bytes(mail.model, 5), live / 8 * 7);
    assert_int_equal(model_segment_live_ids(mail.model, 0, found, 8), 0);
    assert_int_equal(model_segment_live_ids(mail.model, 5, found, 8), 7);
    assert_int_equal(mail_get(ids[0]).address, 57);
}

/* ---- tied messages: what was reserved for them comes back with their end, once ---- */

static uint64_t used(void) {
    struct request r;
    request_init(&r, REQUEST_STOCK_GET);
    r.name = span_text("gifts");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    uint64_t n = r.out.stock.used;
    request_release(&r);
    return n;
}

static uint64_t put_tied_at(const char *purchase, uint64_t ttl_ns, uint64_t schedule_ns) {
    struct operation operations[2] = {
        {.kind = OPERATION_RESERVE,
         .reserve = {.stock = span_text("gifts"), .purchase = span_text(purchase)}},
        {.kind = OPERATION_ENQUEUE,
         .enqueue = {.queue = span_text("orders"), .ttl_ns = ttl_ns, .schedule_ns = schedule_ns},
         .compensate_stock = span_text("gifts"),
         .compensate_purchase = span_text(purchase)},
    };
    struct request r;
    request_init(&r, REQUEST_TRANSACTION);
    r.in.transaction.operations = operations;
    r.in.transaction.count = 2;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    return operations[1].receipt.id;
}

/* Reserves `purchase`, queues a message that gives it back when it dies. */
static uint64_t put_tied(const char *purchase, uint64_t ttl_ns) {
    return put_tied_at(purchase, ttl_ns, 0);
}

static void setup_tied(void) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    struct queue_def def = mail_def("orders", "out");
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    assert_int_equal(world_define_stock(&mail, "gifts", 10, 0, 0), REFUSAL_NONE);
}

static void test_tied_deleted_and_expired(void **state) {
    setup_tied();
    uint64_t deleted = put_tied("p1", 0);
    put_tied("p2", 100);
    put_tied("p3", 0);
    assert_int_equal(used(), 3);
    world_reload(&mail);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", deleted), REFUSAL_NONE);
    assert_int_equal(used(), 2);
    mail.now_ns += 100;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(used(), 1);
}

static void test_tied_purged(void **state) {
    setup_tied();
    put_tied("p1", 0);
    put_tied("p2", 0);
    mail_put((struct letter){.queue = "orders"});
    struct request r = purge(0);
    assert_true(r.count == 3 && r.next == 0);
    assert_int_equal(used(), 0);
    assert_int_equal(mail_info("orders").deleted, 3);
}

/* Of some that are delayed one has left, and its place with it; the others are found, whoever takes them all. */
static void test_tied_delayed(void **state) {
    setup_tied();
    for (unsigned round = 0; round < 2; round++) {
        uint64_t later_ns = mail.now_ns + 100, left;
        left = put_tied_at("p1", 0, later_ns);
        put_tied_at("p2", 0, later_ns);
        mail_put((struct letter){.queue = "orders", .schedule_ns = later_ns});
        put_tied_at("p3", 50, later_ns);
        assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", left), REFUSAL_NONE);
        assert_int_equal(used(), 2);
        if (round == 0) {
            assert_int_equal(purge(MESSAGE_DELAYED).count, 3);
        } else {
            struct request r;
            request_init(&r, REQUEST_AMQP_QUEUE_DELETE);
            r.vhost = span_text("/");
            r.name = span_text("orders");
            assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
            request_release(&r);
        }
        assert_int_equal(used(), 0);
    }
}

/* The dead gave their units back when they died: their removal gives back nothing more. */
static void test_tied_dead(void **state) {
    setup_tied();
    uint64_t id = put_tied("p1", 0);
    kill_all();
    assert_int_equal(used(), 0);
    assert_int_equal(mail_get(id).state, MESSAGE_DEAD);
    put_tied("p1", 0); /* the purchase is made again, by another message */
    assert_int_equal(used(), 1);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", id), REFUSAL_NONE);
    assert_int_equal(used(), 1);
}

/* Each takes its unit again before it goes, and sees what those before it in the record took. */
static void test_tied_redriven(void **state) {
    setup_tied();
    put_tied("p1", 0);
    put_tied("p2", 0);
    put_tied("p3", 0);
    kill_all();
    assert_int_equal(used(), 0);
    char purchase[8];
    for (unsigned i = 0; i < 8; i++) { /* two units are left for three */
        snprintf(purchase, sizeof purchase, "o%u", i);
        put_tied(purchase, 0);
    }
    uint64_t next = 0, redriven = 0;
    for (unsigned calls = 0; calls < 10; calls++) {
        struct request r;
        request_init(&r, REQUEST_QUEUE_REDRIVE);
        r.name = span_text("orders");
        r.in.redrive.after = next;
        assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
        redriven += r.count;
        next = r.next;
        request_release(&r);
        if (next == 0) {
            break;
        }
    }
    assert_int_equal(next, 0);
    assert_int_equal(redriven, 2);
    assert_int_equal(mail_info("orders").ready, 10);
    assert_int_equal(mail_info("orders").dead, 1);
    assert_int_equal(used(), 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_delete, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_purge, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_redrive, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_move, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_tied_deleted_and_expired, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_tied_purged, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_tied_delayed, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_tied_dead, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_tied_redriven, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
