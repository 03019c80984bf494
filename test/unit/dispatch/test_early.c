/* Starts that wait for their turn, and the naps of who waits with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "base/clock.h"
#include "dispatch/internal.h"

struct fixture {
    uv_loop_t loop;
    struct early early;
    pthread_mutex_t lock;
};

static void set_up(struct fixture *f) {
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->early = (struct early){0};
    early_init(&f->early, &f->loop);
    pthread_mutex_init(&f->lock, NULL);
}

static void tear_down(struct fixture *f) {
    while (early_first(&f->early) != NULL) {
        early_drop_first(&f->early);
    }
    early_close(&f->early);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    early_release(&f->early);
    pthread_mutex_destroy(&f->lock);
}

static struct attempt_start put(struct fixture *f, uint64_t message, uint64_t ahead_ns) {
    struct attempt_start s = {
        .message = message, .decided_ns = clock_monotonic_ns(), .ahead_ns = ahead_ns};
    assert_true(early_put(&f->early, &s));
    return s;
}

/* Whether the loop waits for its sockets now: it does not right after a nap. */
static bool waits(struct fixture *f) {
    return !uv_is_active((uv_handle_t *)&f->early.look);
}

static void they_leave_by_their_turns(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_null(early_first(&f.early));
    put(&f, 2, 2 * NS_PER_SECOND);
    put(&f, 1, NS_PER_SECOND);
    put(&f, 3, 3 * NS_PER_SECOND);
    for (uint64_t message = 1; message <= 3; message++) {
        assert_int_equal(early_first(&f.early)->message, message);
        early_drop_first(&f.early);
    }
    assert_null(early_first(&f.early));
    tear_down(&f);
}

static void a_nap_lasts_until_the_turn_and_no_longer_than_it_may(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct attempt_start s = put(&f, 1, 10 * NS_PER_MS);
    early_wait(&f.early, &f.lock, true);
    /* On a slow machine its turn may have come before it could nap: then it did not sleep, but looked too. */
    assert_true(clock_monotonic_ns() >= start_turn_ns(&s));
    assert_false(waits(&f));
    early_drop_first(&f.early);
    early_wait(&f.early, &f.lock, true);
    assert_true(waits(&f)); /* for nobody's turn */

    /* So far off, time-outs and checks would have to wait for it. */
    put(&f, 2, 3600 * NS_PER_SECOND);
    early_wait(&f.early, &f.lock, true);
    assert_true(waits(&f));
    assert_true(uv_is_active((uv_handle_t *)&f.early.turn));
    tear_down(&f);
}

static void where_answers_are_awaited_nobody_naps(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    put(&f, 1, 10 * NS_PER_MS);
    early_wait(&f.early, &f.lock, false);
    assert_true(waits(&f));
    assert_true(uv_is_active((uv_handle_t *)&f.early.turn));
    tear_down(&f);
}

static void who_was_roused_before_the_nap_does_not_sleep(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    /* Not asleep: it has to be woken some other way, and what came is looked at before the next nap. */
    assert_false(early_rouse(&f.early));
    bool before_its_turn = false;
    for (int i = 0; i < 100 && !before_its_turn; i++) { /* a slow machine may be late, not always */
        struct attempt_start s = put(&f, 1, 15 * NS_PER_MS);
        early_wait(&f.early, &f.lock, true);
        before_its_turn = clock_monotonic_ns() < start_turn_ns(&s);
        early_drop_first(&f.early);
    }
    assert_true(before_its_turn);
    f.early.nap_until_ns = clock_monotonic_ns() + NS_PER_SECOND;
    assert_true(early_rouse(&f.early));
    f.early.nap_until_ns = 0;
    tear_down(&f);
}

static void only_what_is_due_after_the_nap_lets_it_sleep(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct attempt_start now = {.decided_ns = 1000 * NS_PER_MS};
    struct attempt_start later = {.decided_ns = 1000 * NS_PER_MS, .ahead_ns = 10 * NS_PER_MS};
    assert_false(
        early_may_wait(&f.early, &later)); /* it does not nap: nothing comes round by itself */
    f.early.nap_until_ns = 1008 * NS_PER_MS;
    assert_false(early_may_wait(&f.early, &now));
    assert_true(early_may_wait(&f.early, &later));
    f.early.nap_until_ns = 0;
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_leave_by_their_turns),
        cmocka_unit_test(a_nap_lasts_until_the_turn_and_no_longer_than_it_may),
        cmocka_unit_test(where_answers_are_awaited_nobody_naps),
        cmocka_unit_test(who_was_roused_before_the_nap_does_not_sleep),
        cmocka_unit_test(only_what_is_due_after_the_nap_lets_it_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
