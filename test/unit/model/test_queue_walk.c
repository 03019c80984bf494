/* Walking through the messages of one state in the order of their list, page after page, as jobs do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/roll.h"
#include "mail.h"
#include "model/queue_filter.h"

static struct request page(unsigned state, uint32_t max, uint64_t after) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("q");
    r.in.list.state = (enum message_state)state;
    r.in.list.in_order = true;
    r.in.list.max = max;
    r.in.list.after = after;
    r.refusal = world_ask(&mail, &r);
    assert_true(r.visited <= LIST_VISITS_MAX && r.count <= max);
    return r;
}

static uint64_t item(const struct request *r, uint64_t i) {
    struct message_info info;
    assert_true(i < r->count && (i + 1) * sizeof info <= r->out_bytes.size);
    memcpy(&info, r->out_bytes.data + i * sizeof info, sizeof info);
    return info.id;
}

static void cancel(uint64_t id) {
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", id), REFUSAL_NONE);
}

/* These, in this order. */
static void must_walk(unsigned state, uint32_t max, const uint64_t *ids, uint32_t count) {
    uint32_t met = 0;
    uint64_t after = 0;
    do {
        struct request r = page(state, max, after);
        assert_int_equal(r.refusal, REFUSAL_NONE);
        for (uint64_t i = 0; i < r.count; i++) {
            assert_true(met < count);
            assert_int_equal(item(&r, i), ids[met++]);
        }
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert_int_equal(met, count);
}

static void test_by_priority_and_arrival(void **state) {
    uint64_t ids[150];
    struct queue_def def = mail_def("q", "");
    def.max_priority = 255;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        const uint8_t levels[] = {255, 64, 63, 1, 0};
        unsigned at = i % 5 * 30 + i / 5;
        ids[at] = mail_put((struct letter){.queue = "q", .priority = levels[i % 5]});
    }
    for (uint32_t max = 1; max < 200; max += 13) {
        must_walk(MESSAGE_READY, max, ids, ARRAY_LENGTH(ids));
    }
}

/* The last message of a page leaves before the next page is asked for: nobody behind it is passed over, older or not. */
static void test_goes_on_behind_one_that_left(void **state) {
    uint64_t ids[4];
    mail_queue("q");
    uint64_t old = mail_put((struct letter){.queue = "q", .schedule_ns = mail.now_ns + 100});
    ids[0] = mail_put((struct letter){.queue = "q"});
    mail.now_ns += 100;
    assert_int_equal(world_run_timers(&mail), 1);
    for (unsigned i = 1; i < 4; i++) {
        ids[i] = mail_put((struct letter){.queue = "q"});
    }
    struct request r = page(MESSAGE_READY, 1, 0);
    assert_int_equal(item(&r, 0), ids[0]);
    uint64_t after = r.next;
    request_release(&r);
    cancel(ids[0]);
    r = page(MESSAGE_READY, 2, after);
    assert_int_equal(item(&r, 0), old);
    assert_int_equal(item(&r, 1), ids[1]);
    request_release(&r);
}

static void test_blocked_by_key(void **state) {
    mail_queue("q");
    uint64_t blocked[6], count = 0;
    for (unsigned i = 0; i < 3; i++) {
        const char *key = i == 0 ? "a" : i == 1 ? "b" : "c";
        mail_put((struct letter){.queue = "q", .key = key});
        blocked[count++] = mail_put((struct letter){.queue = "q", .key = key});
        blocked[count++] = mail_put((struct letter){.queue = "q", .key = key});
    }
    for (uint32_t max = 1; max < 8; max++) {
        must_walk(MESSAGE_BLOCKED, max, blocked, 6);
    }
}

static void test_place_in_another_list(void **state) {
    mail_queue("q");
    mail_put((struct letter){.queue = "q"});
    mail_put((struct letter){.queue = "q"});
    struct request r = page(MESSAGE_READY, 1, 0);
    uint64_t after = r.next;
    request_release(&r);
    r = page(MESSAGE_DEAD, 1, after);
    assert_int_equal(r.refusal, REFUSAL_INVALID);
    request_release(&r);
    r = page(MESSAGE_READY, 1, after);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
}

/* Of each sheet one is left, the first and the last of them in turns: many places are passed over, and they count. */
static void test_places_of_those_that_left_count(void **state) {
    uint64_t ids[400 * ROLL_SHEET], kept[400];
    mail_queue("q");
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        ids[i] =
            mail_put((struct letter){.queue = "q", .schedule_ns = mail.now_ns + NS_PER_SECOND});
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        unsigned sheet = i / ROLL_SHEET;
        if (i % ROLL_SHEET == (sheet % 2 == 0 ? 0 : ROLL_SHEET - 1)) {
            kept[sheet] = ids[i];
        } else {
            cancel(ids[i]);
        }
    }
    struct request r = page(MESSAGE_DELAYED, 1000, 0);
    assert_in_range(r.count, 1, LIST_VISITS_MAX / ROLL_SHEET + 2);
    assert_int_not_equal(r.next, 0);
    request_release(&r);
    must_walk(MESSAGE_DELAYED, 1000, kept, ARRAY_LENGTH(kept));
}

/* ---- what is delayed, while others come and go in the same cells ---- */

#define KEPT 60u

struct kept {
    uint64_t ids[KEPT]; /* delayed in "q", in the order in which they came */
    uint32_t count;
};

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
        must_walk(MESSAGE_DELAYED, 1 + (uint32_t)rng_below(&mail.rng, 2 * KEPT), k.ids, k.count);
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
        must_walk(MESSAGE_DELAYED, KEPT, k.ids, k.count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_priority_and_arrival, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_behind_one_that_left, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_blocked_by_key, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_place_in_another_list, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_places_of_those_that_left_count, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_delayed_in_order, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
