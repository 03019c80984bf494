/* Pages with and without a filter, of few and of many, whatever moves meanwhile (test/model/queue/readers.h does that at random). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"
#include "base/roll.h"
#include "model/queue.h"
#include "model/queue_filter.h"
#include "rabbit.h"

struct at {
    uint64_t after, bound;
};

static struct request page(unsigned state, uint32_t max, struct at at,
                           const struct message_filter *filter) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("q");
    r.in.list.state = (enum message_state)state;
    r.in.list.max = max;
    r.in.list.after = at.after;
    r.in.list.bound = at.bound;
    r.in.list.filter = filter;
    r.refusal = world_ask(&mail, &r);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    return r;
}

static struct at behind(const struct request *r) {
    return (struct at){r->next, r->next_bound};
}

static const struct at start;

static struct message_info item(const struct request *r, uint64_t i) {
    struct message_info info;
    assert_true(i < r->count && (i + 1) * sizeof info <= r->out_bytes.size);
    memcpy(&info, r->out_bytes.data + i * sizeof info, sizeof info);
    return info;
}

/* How many a walk in pages of `max` finds. */
static unsigned walk(unsigned state, uint32_t max, const struct message_filter *filter) {
    unsigned found = 0, steps = 0;
    struct at at = start;
    do {
        struct request r = page(state, max, at, filter);
        assert_true(r.visited <= LIST_VISITS_MAX && r.count <= max);
        found += (unsigned)r.count;
        at = behind(&r);
        request_release(&r);
        assert_true(++steps < 10000);
    } while (at.after != 0);
    return found;
}

/* Consumers hold what is in flight as the destination does; both are shown, on one page or on many. */
static void test_in_flight_at_consumers(void **state) {
    rabbit_declare(&mail, "q", (struct rabbit_queue){.vhost = NULL}, NULL);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(rabbit_publish(&mail, "", "q", "body"), 1);
    }
    rabbit_consume(&mail, 1, 1, "q", 3);
    rabbit_consume(&mail, 2, 1, "q", 4);
    struct delivery d[9];
    assert_int_equal(rabbit_deliver_all(&mail, d, 9), 7);
    for (uint32_t max = 1; max < 10; max++) {
        assert_int_equal(walk(MESSAGE_IN_FLIGHT, max, NULL), 7);
        assert_int_equal(walk(0, max, NULL), 9);
    }
    struct request r = page(MESSAGE_IN_FLIGHT, 1, start, NULL);
    assert_true(item(&r, 0).state == MESSAGE_IN_FLIGHT && item(&r, 0).attempts == 1);
    request_release(&r);
    rabbit_close(&mail, 1);
    assert_int_equal(walk(MESSAGE_IN_FLIGHT, 2, NULL), 4 + 0);
}

static void test_filters(void **state) {
    mail_queue("q");
    uint64_t a = mail_put((struct letter){.queue = "q", .key = "a"});
    mail.now_ns += 100;
    uint64_t b = mail_put((struct letter){.queue = "q", .key = "b", .ttl_ns = 10});
    mail.now_ns += 100;
    mail_put((struct letter){.queue = "q"});
    world_run_timers(&mail);
    struct message_filter by_key = {.ordering_key = span_text("a")};
    struct request r = page(0, 10, start, &by_key);
    assert_true(r.count == 1 && r.visited == 3 && item(&r, 0).id == a && item(&r, 0).keyed);
    request_release(&r);
    struct message_filter expired = {.reason = DEAD_EXPIRED};
    r = page(0, 10, start, &expired);
    assert_true(r.count == 1 && item(&r, 0).id == b);
    uint64_t died_ns = item(&r, 0).changed_ns;
    request_release(&r);
    assert_int_equal(walk(0, 10, &(struct message_filter){.reason = DEAD_REFUSED}), 0);
    assert_int_equal(walk(0, 10, &(struct message_filter){.accepted_to_ns = mail.now_ns}), 2);
    assert_int_equal(walk(0, 10, &(struct message_filter){.accepted_from_ns = mail.now_ns}), 1);
    assert_int_equal(
        walk(MESSAGE_DEAD, 10,
             &(struct message_filter){.changed_from_ns = died_ns, .changed_to_ns = died_ns + 1}),
        1);
    assert_int_equal(
        walk(MESSAGE_DEAD, 10, &(struct message_filter){.changed_from_ns = died_ns + 1}), 0);
    assert_int_equal(walk(0, 10, &(struct message_filter){.attempts_min = 1}), 0);
    assert_int_equal(walk(0, 10, &(struct message_filter){.status = 500}), 0);
}

/* No request looks at more than it may, and the walk finds the last one all the same. */
static void test_bounded_work(void **state) {
    mail_queue("q");
    for (unsigned i = 0; i < 3 * LIST_VISITS_MAX; i++) {
        mail_put((struct letter){.queue = "q", .priority = i % 3});
    }
    mail_put((struct letter){.queue = "q", .key = "needle"});
    struct message_filter needle = {.ordering_key = span_text("needle")};
    struct request r = page(0, 10, start, &needle);
    assert_true(r.count == 0 && r.visited == LIST_VISITS_MAX && r.next != 0);
    request_release(&r);
    assert_int_equal(walk(0, 10, &needle), 1);
    assert_int_equal(walk(0, 999, NULL), 3 * LIST_VISITS_MAX + 1);
}

/* ---- few ---- */

static void test_by_arrival_whatever_the_state(void **state) {
    uint64_t ids[8], at_ns = mail.now_ns + NS_PER_SECOND;
    mail_queue("q");
    for (unsigned i = 0; i < 8; i++) {
        ids[i] = mail_put((struct letter){.queue = "q",
                                          .key = i % 4 == 1 ? "k" : NULL,
                                          .priority = i % 3,
                                          .schedule_ns = i % 4 == 2 ? at_ns : 0});
    }
    struct request r = page(0, 5, start, NULL);
    struct at at = behind(&r);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(item(&r, i).id, ids[i]);
    }
    assert_int_equal(item(&r, 1).state, MESSAGE_READY);
    assert_int_equal(item(&r, 2).state, MESSAGE_DELAYED);
    request_release(&r);
    assert_true(queue_place_lasts(at.after));
    world_reload(&mail); /* the ids are the same */
    r = page(0, 5, at, NULL);
    assert_true(r.count == 3 && r.next == 0 && item(&r, 0).id == ids[5]);
    request_release(&r);
    r = page(MESSAGE_BLOCKED, 5, start, NULL);
    assert_true(r.count == 1 && r.next == 0 && item(&r, 0).id == ids[5]);
    request_release(&r);
    assert_int_equal(walk(MESSAGE_DELAYED, 1, NULL), 2);
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("q");
    r.in.list.state = MESSAGE_DONE;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_INVALID);
    request_release(&r);
}

/* One that was not shown yet comes due: it is shown as it is then. */
static void test_what_comes_due_is_not_missed(void **state) {
    mail_queue("q");
    uint64_t ready = mail_put((struct letter){.queue = "q"});
    uint64_t due = mail_put((struct letter){.queue = "q", .schedule_ns = mail.now_ns + 5});
    struct request r = page(0, 1, start, NULL);
    struct at at = behind(&r);
    assert_int_equal(item(&r, 0).id, ready);
    request_release(&r);
    mail.now_ns += 5;
    world_run_timers(&mail);
    r = page(0, 1, at, NULL);
    assert_true(r.count == 1 && item(&r, 0).id == due && item(&r, 0).state == MESSAGE_READY);
    request_release(&r);
}

/* Twice as many come as are read. */
static void test_there_is_an_end(void **state) {
    struct at at = start;
    unsigned pages = 0;
    mail_queue("q");
    for (unsigned i = 0; i < 6; i++) {
        mail_put((struct letter){.queue = "q"});
    }
    do {
        struct request r = page(0, 1, at, NULL);
        at = behind(&r);
        request_release(&r);
        mail_put((struct letter){.queue = "q"});
        mail_put((struct letter){.queue = "q"});
        pages++;
    } while (at.after != 0 && pages < 100);
    assert_int_equal(pages, 6);
}

/* ---- many ---- */

static void with_looks(uint32_t looks) {
    struct model_limits limits = {.list_looks = looks};
    world_release(&mail);
    world_init(&mail, &limits);
    mail.now_ns = NS_PER_SECOND;
    mail_queue("q");
    mail_queue("other");
}

/* Among ten times as many of another queue; a page looks at ten times the limit. */
static void test_pages_of_many(void **state) {
    with_looks(50);
    for (unsigned i = 0; i < 1100; i++) {
        mail_put((struct letter){.queue = i % 11 == 0 ? "q" : "other"});
    }
    struct at at = start;
    unsigned pages = 0, found = 0;
    do {
        struct request r = page(0, 1000, at, NULL);
        at = behind(&r);
        found += (unsigned)r.count;
        pages++;
        assert_true(at.after == 0 || !queue_place_lasts(at.after));
        request_release(&r);
        mail_put((struct letter){.queue = "q"}); /* in cells that are none of the walk's */
    } while (at.after != 0);
    assert_int_equal(found, 100);
    assert_int_equal(pages, 3);
    assert_int_equal(walk(MESSAGE_READY, 7, NULL), 103);
    assert_int_equal(walk(MESSAGE_READY, 7, &(struct message_filter){.attempts_min = 1}), 0);
}

/* Few at first; then there are too many to look at all of them, and then few again. */
static void test_few_become_many(void **state) {
    with_looks(20);
    uint64_t ids[20], sum = 0, told = 0;
    for (unsigned i = 0; i < 20; i++) {
        ids[i] = mail_put((struct letter){.queue = "q"});
        sum += ids[i];
    }
    struct request r = page(0, 5, start, NULL);
    struct at at = behind(&r);
    uint64_t more[300];
    for (unsigned i = 0; i < 300; i++) {
        more[i] = mail_put((struct letter){.queue = "q"});
    }
    for (unsigned pages = 0; at.after != 0; pages++) {
        for (uint64_t i = 0; i < r.count; i++) {
            told += item(&r, i).id <= ids[19] ? item(&r, i).id : 0;
        }
        request_release(&r);
        for (unsigned i = 0; pages == 1 && i < 300; i++) {
            assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", more[i]), REFUSAL_NONE);
        }
        r = page(0, 5, at, NULL);
        at = behind(&r);
    }
    for (uint64_t i = 0; i < r.count; i++) {
        told += item(&r, i).id <= ids[19] ? item(&r, i).id : 0;
    }
    request_release(&r);
    assert_int_equal(told, sum); /* each once */
}

/* A list of delayed messages of which nearly all were cancelled is long, however few are left. */
static void test_places_of_those_that_left_count(void **state) {
    with_looks(100);
    uint64_t ids[20 * ROLL_SHEET];
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        ids[i] =
            mail_put((struct letter){.queue = "q", .schedule_ns = mail.now_ns + NS_PER_SECOND});
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        if (i % ROLL_SHEET != 3) {
            assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", ids[i]), REFUSAL_NONE);
        }
    }
    struct request r = page(MESSAGE_DELAYED, 1, start, NULL);
    assert_true(r.count == 1 && !queue_place_lasts(r.next));
    request_release(&r);
    assert_int_equal(walk(MESSAGE_DELAYED, 3, NULL), 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_flight_at_consumers, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_filters, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_bounded_work, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_by_arrival_whatever_the_state, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_what_comes_due_is_not_missed, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_there_is_an_end, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_pages_of_many, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_few_become_many, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_places_of_those_that_left_count, mail_setup,
                                        mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
