/* What happened to messages, and that it stays told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"
#include "model/history.h"

#define TOLD_MAX 128u

struct told {
    struct history_entry entries[TOLD_MAX];
    uint32_t count, went;
};

/* As MESSAGE_GET answers; the spans are gone, their sizes stay. */
static struct told ask(uint64_t id) {
    struct request r;
    struct told t = {.count = 0};
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = id;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    struct reader in;
    reader_init(&in, buffer_span(&r.out_bytes));
    t.went = in.left > 0 ? reader_u32(&in) : 0;
    while (t.count < TOLD_MAX && history_next(&in, &t.entries[t.count])) {
        t.count++;
    }
    assert_int_equal(in.left, 0);
    request_release(&r);
    return t;
}

static void fail_once(struct attempt_start *start, uint16_t status) {
    assert_true(push_start(&mail, start));
    push_finish(&mail, start, status, 0);
    mail.now_ns += 3600 * NS_PER_SECOND;
    world_run_timers(&mail);
}

static void set_up(const struct retry_def *retry) {
    assert_int_equal(push_define_destination(&mail, "out", push_pace(0, 1)), REFUSAL_NONE);
    assert_int_equal(push_define_queue(&mail, "q", "out", push_pace(0, 1), retry), REFUSAL_NONE);
}

static void test_attempts_and_death(void **state) {
    set_up(NULL);
    uint64_t id = push_publish(&mail, "q"), begun = mail.now_ns;
    struct attempt_start start;
    assert_int_equal(ask(id).count, 0);
    assert_true(mail_get(id).changed_ns == mail_get(id).accepted_ns);
    fail_once(&start, 503);
    fail_once(&start, 0);
    fail_once(&start, 404);
    world_reload(&mail);
    struct told t = ask(id);
    assert_int_equal(t.count, 4);
    assert_int_equal(t.went, 0);
    const struct history_entry *e = t.entries;
    assert_true(e[0].kind == HISTORY_ATTEMPT && e[0].attempt == 1 && e[0].status == 503);
    assert_true(e[0].time_ns == begun && e[0].verdict == HISTORY_RETRIED);
    assert_true(e[0].excerpt.size == strlen("what it said") && e[0].duration_us == 20000);
    assert_int_equal(e[0].destination_name.size, 3);
    assert_true(e[1].attempt == 2 && e[1].status == 0 && e[1].error == ATTEMPT_CONNECT);
    assert_true(e[2].attempt == 3 && e[2].verdict == HISTORY_FAILED);
    assert_true(e[3].kind == HISTORY_DIED && e[3].reason == DEAD_REFUSED);
    assert_true(mail_get(id).changed_ns == e[3].time_ns && mail_get(id).state == MESSAGE_DEAD);
}

static void test_the_end_forgets(void **state) {
    set_up(NULL);
    uint64_t id = push_publish(&mail, "q");
    struct attempt_start start;
    fail_once(&start, 503);
    assert_int_equal(ask(id).count, 1);
    fail_once(&start, 200);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_GET, "q", id), REFUSAL_NOT_FOUND);
    model_check(mail.model); /* H1 */
}

/* The oldest go, and it is said how many. */
static void test_a_long_one_keeps_its_end(void **state) {
    struct retry_def retry = {.max_attempts = 0, .min_backoff_ns = 1, .max_backoff_ns = 1};
    set_up(&retry);
    uint64_t id = push_publish(&mail, "q");
    struct attempt_start start;
    for (unsigned i = 0; i < 300; i++) {
        fail_once(&start, 503);
    }
    struct told t = ask(id);
    assert_int_equal(t.count + t.went, 300);
    assert_in_range(t.count, 50, 120);
    assert_int_equal(t.entries[t.count - 1].attempt, 300);
    assert_int_equal(t.entries[0].attempt, t.went + 1);
}

/* In all: the history that was longest without a change goes first, whole. */
static void test_limit_of_all(void **state) {
    struct model_limits limits = {.history_bytes = 600};
    world_release(&mail);
    world_init(&mail, &limits);
    set_up(NULL);
    uint64_t ids[20];
    struct attempt_start start;
    for (unsigned i = 0; i < 20; i++) {
        ids[i] = push_publish(&mail, "q");
        assert_true(push_start(&mail, &start));
        push_finish(&mail, &start, 404, 0);
        mail.now_ns++;
    }
    assert_int_equal(ask(ids[0]).count, 0);
    assert_int_equal(ask(ids[19]).count, 2);
    unsigned kept = 0;
    for (unsigned i = 0; i < 20; i++) {
        kept += ask(ids[i]).count > 0;
    }
    assert_in_range(kept, 5, 15);
    assert_true(mail_get(ids[0]).changed_ns == mail_get(ids[0]).accepted_ns);
    model_check(mail.model);
}

static void test_names(void **state) {
    assert_string_equal(history_kind_name(HISTORY_ATTEMPT), "attempt");
    assert_string_equal(history_kind_name(HISTORY_MOVED), "moved");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_attempts_and_death, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_the_end_forgets, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_a_long_one_keeps_its_end, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_limit_of_all, mail_setup, mail_teardown),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
