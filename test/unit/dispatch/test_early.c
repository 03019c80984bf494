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

struct rouser {
    struct fixture *fixture;
    bool done; /* under the lock */
};

/* Whoever naps next is woken by two at once. */
static void *rouse_twice(void *context) {
    struct rouser *r = context;
    for (bool done = false; !done;) {
        pthread_mutex_lock(&r->fixture->lock);
        done = r->fixture->early.nap_until_ns != 0;
        r->done = done && early_rouse(&r->fixture->early) && early_rouse(&r->fixture->early);
        pthread_mutex_unlock(&r->fixture->lock);
    }
    return NULL;
}

/* Naps until it was roused. Whether that was before its turn. */
static bool nap_and_be_roused(struct fixture *f) {
    struct rouser r = {.fixture = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, rouse_twice, &r), 0);
    bool before_its_turn = false;
    for (bool done = false; !done;) {
        struct attempt_start s = put(f, 1, 15 * NS_PER_MS);
        early_wait(&f->early, &f->lock, true);
        before_its_turn = clock_monotonic_ns() < start_turn_ns(&s);
        early_drop_first(&f->early);
        pthread_mutex_lock(&f->lock);
        done = r.done;
        pthread_mutex_unlock(&f->lock);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    f->early.roused = false; /* the loop looked round */
    return before_its_turn;
}

static void to_be_roused_ends_one_nap_and_no_other(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    bool ended = false;
    for (int i = 0; i < 100 && !ended; i++) { /* a slow machine may be late, not always */
        ended = nap_and_be_roused(&f);
    }
    assert_true(ended);
    struct attempt_start s = put(&f, 2, 10 * NS_PER_MS);
    early_wait(&f.early, &f.lock, true);
    assert_true(clock_monotonic_ns() >= start_turn_ns(&s));
    early_drop_first(&f.early);
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

#define LATE   28u
#define GAP_NS (2 * NS_PER_MS)

static void make_target(struct target *t) {
    *t = (struct target){.index = 1};
    list_init(&t->line);
}

static uint64_t leaves(struct target *t, uint64_t now_ns, uint64_t gap_ns) {
    struct attempt_start s = {.gap_ns = gap_ns};
    uint64_t at_ns = target_leaves_ns(t, &s, now_ns);
    assert_true(at_ns >= now_ns);
    return at_ns;
}

/* In any window no more than the allowance and what the gaps let pass, a 256th faster. */
static void check_windows(const uint64_t *left_ns, uint32_t count, uint64_t crowd_ns) {
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = i + 1; k < count; k++) {
            assert_true(left_ns[k] >= left_ns[i]);
            assert_true(left_ns[k] - left_ns[i] + crowd_ns + 1 >=
                        (k - i) * (GAP_NS - GAP_NS / 256));
        }
    }
}

/* All were decided, then the machine stood still, and then the grid begins anew: no burst, and nobody is forgotten. */
static void what_is_late_leaves_in_order_and_not_at_once(void **state) {
    (void)state;
    const uint64_t now_ns = 1000 * NS_PER_SECOND;
    struct target t;
    make_target(&t);
    static uint64_t left_ns[8000];
    for (uint32_t i = 0; i < LATE; i++) {
        left_ns[i] = leaves(&t, now_ns, GAP_NS);
    }
    assert_int_equal(left_ns[4], now_ns);
    assert_true(left_ns[5] > now_ns);
    assert_true(left_ns[LATE - 1] <= now_ns + LATE * GAP_NS);
    uint32_t count = LATE;
    uint64_t turn_ns = now_ns;
    for (; count < ARRAY_LENGTH(left_ns); turn_ns += GAP_NS) {
        left_ns[count++] = leaves(&t, turn_ns, GAP_NS);
    }
    check_windows(left_ns, 1000, 8 * NS_PER_MS);
    assert_true(left_ns[count - 1] < turn_ns); /* caught up */
}

/* It stood still again while a line was waiting: who missed his place gets another, who did not keeps it. */
static void who_misses_his_place_goes_to_the_end(void **state) {
    (void)state;
    struct target t;
    make_target(&t);
    uint64_t now_ns = 1000 * NS_PER_SECOND;
    for (uint32_t i = 0; i < LATE; i++) {
        leaves(&t, now_ns, GAP_NS);
    }
    uint64_t end_ns = t.next_ns;
    struct attempt_start s = {.gap_ns = GAP_NS, .put_off = true, .decided_ns = now_ns};
    assert_int_equal(target_leaves_ns(&t, &s, now_ns + 5 * NS_PER_MS), now_ns + 5 * NS_PER_MS);
    assert_int_equal(t.next_ns, end_ns);
    assert_int_equal(target_leaves_ns(&t, &s, now_ns + 20 * NS_PER_MS), end_ns - 8 * NS_PER_MS);
    assert_true(t.next_ns > end_ns);
}

/* However seldom the loop comes round, all that comes due leaves. */
static void the_line_is_no_brake(void **state) {
    (void)state;
    struct target t;
    make_target(&t);
    struct rng rng;
    rng_init(&rng, 1);
    uint64_t now_ns = 1000 * NS_PER_SECOND, due = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t passed_ns = rng_below(&rng, 50 * NS_PER_MS);
        now_ns += passed_ns;
        for (due += passed_ns; due >= GAP_NS; due -= GAP_NS) {
            assert_true(leaves(&t, now_ns, GAP_NS) <= now_ns + 150 * NS_PER_MS);
        }
    }
    for (int k = 0; k < 10000; k++) { /* whatever happens */
        assert_true(leaves(&t, now_ns, GAP_NS) <= now_ns + 150 * NS_PER_MS);
    }
}

static void what_is_in_time_is_not_put_off(void **state) {
    (void)state;
    struct target t;
    make_target(&t);
    struct rng rng;
    rng_init(&rng, 1);
    for (uint64_t i = 1; i < 10000; i += 3) { /* three together, up to 4 ms late */
        uint64_t now_ns = (i + 2) * GAP_NS + rng_below(&rng, 4 * NS_PER_MS);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(leaves(&t, now_ns, GAP_NS), now_ns);
        }
    }
    uint64_t now_ns = t.next_ns;
    for (int k = 0; k < 1000; k++) { /* what has no turns is not held up by what has */
        assert_int_equal(leaves(&t, now_ns - NS_PER_SECOND, 0), now_ns - NS_PER_SECOND);
    }
    assert_int_equal(t.next_ns, now_ns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_leave_by_their_turns),
        cmocka_unit_test(a_nap_lasts_until_the_turn_and_no_longer_than_it_may),
        cmocka_unit_test(where_answers_are_awaited_nobody_naps),
        cmocka_unit_test(who_was_roused_before_the_nap_does_not_sleep),
        cmocka_unit_test(to_be_roused_ends_one_nap_and_no_other),
        cmocka_unit_test(only_what_is_due_after_the_nap_lets_it_sleep),
        cmocka_unit_test(what_is_late_leaves_in_order_and_not_at_once),
        cmocka_unit_test(who_misses_his_place_goes_to_the_end),
        cmocka_unit_test(the_line_is_no_brake),
        cmocka_unit_test(what_is_in_time_is_not_put_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
