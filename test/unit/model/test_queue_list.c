/* Listing with and without a filter, step by step, whatever moves meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"
#include "model/queue_filter.h"
#include "rabbit.h"

static struct request page(unsigned state, uint32_t max, uint64_t after,
                           const struct message_filter *filter) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("q");
    r.in.list.state = (enum message_state)state;
    r.in.list.max = max;
    r.in.list.after = after;
    r.in.list.filter = filter;
    r.refusal = world_ask(&mail, &r);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    return r;
}

static struct message_info item(const struct request *r, uint64_t i) {
    struct message_info info;
    assert_true(i < r->count && (i + 1) * sizeof info <= r->out_bytes.size);
    memcpy(&info, r->out_bytes.data + i * sizeof info, sizeof info);
    return info;
}

/* How many a walk in pages of `max` finds. */
static unsigned walk(unsigned state, uint32_t max, const struct message_filter *filter) {
    unsigned found = 0, steps = 0;
    uint64_t after = 0;
    do {
        struct request r = page(state, max, after, filter);
        assert_true(r.visited <= LIST_VISITS_MAX && r.count <= max);
        found += (unsigned)r.count;
        after = r.next;
        request_release(&r);
        assert_true(++steps < 10000);
    } while (after != 0);
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
    struct request r = page(MESSAGE_IN_FLIGHT, 1, 0, NULL);
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
    struct request r = page(0, 10, 0, &by_key);
    assert_true(r.count == 1 && r.visited == 3 && item(&r, 0).id == a && item(&r, 0).keyed);
    request_release(&r);
    struct message_filter expired = {.reason = DEAD_EXPIRED};
    r = page(0, 10, 0, &expired);
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
    struct request r = page(0, 10, 0, &needle);
    assert_true(r.count == 0 && r.visited == LIST_VISITS_MAX && r.next != 0);
    request_release(&r);
    assert_int_equal(walk(0, 10, &needle), 1);
    assert_int_equal(walk(0, 999, NULL), 3 * LIST_VISITS_MAX + 1);
}

/* ---- what is delayed, while others come and go in the same cells ---- */

#define KEPT 60u

struct kept {
    uint64_t ids[KEPT]; /* delayed in "q", in the order in which they came */
    uint32_t count;
};

static void must_list(const struct kept *k, uint32_t max) {
    uint32_t met = 0;
    uint64_t after = 0;
    do {
        struct request r = page(MESSAGE_DELAYED, max, after, NULL);
        for (uint64_t i = 0; i < r.count; i++) {
            assert_true(met < k->count);
            assert_int_equal(item(&r, i).id, k->ids[met++]);
        }
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert_int_equal(met, k->count);
}

static void forget(struct kept *k, uint32_t i) {
    memmove(&k->ids[i], &k->ids[i + 1], (k->count - i - 1) * sizeof k->ids[0]);
    k->count--;
}

/* Ready ones too, of which one leaves as one comes: they take cells of delayed ones that were cancelled. */
static void come_and_go(struct kept *k, uint64_t *ready) {
    uint32_t i = (uint32_t)rng_below(&mail.rng, KEPT);
    uint64_t later_ns = mail.now_ns + NS_PER_SECOND + rng_below(&mail.rng, NS_PER_SECOND);
    if (i < k->count) {
        assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", k->ids[i]), REFUSAL_NONE);
        forget(k, i);
    } else if (i % 3 == 0) {
        mail_put((struct letter){.queue = "other", .schedule_ns = later_ns});
    } else {
        k->ids[k->count++] = mail_put((struct letter){.queue = "q", .schedule_ns = later_ns});
    }
    if (ready[i] != 0) {
        assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", ready[i]), REFUSAL_NONE);
    }
    ready[i] = mail_put((struct letter){.queue = "q"});
}

static void test_delayed_in_order(void **state) {
    struct kept k = {0};
    uint64_t ready[KEPT] = {0};
    mail_queue("q");
    mail_queue("other");
    for (unsigned step = 0; step < 1500; step++) {
        come_and_go(&k, ready);
        must_list(&k, 1 + (uint32_t)rng_below(&mail.rng, 2 * KEPT));
        struct request r;
        if (step % 100 == 99) {
            request_init(&r, REQUEST_QUEUE_PURGE);
            r.name = span_text(step % 200 == 99 ? "other" : "q");
            r.in.list.state = MESSAGE_DELAYED;
            assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
            request_release(&r);
            k.count = step % 200 == 99 ? k.count : 0;
        }
    }
    while (k.count > 0) {
        world_run_timers(&mail);
        mail.now_ns += NS_PER_SECOND / 100;
        for (uint32_t i = k.count; i-- > 0;) {
            if (mail_get(k.ids[i]).state == MESSAGE_READY) {
                forget(&k, i);
            }
        }
        must_list(&k, KEPT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_flight_at_consumers, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_filters, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_delayed_in_order, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_bounded_work, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
