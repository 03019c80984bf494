#include "net/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"

struct probe {
    struct wheel_timer timer;
    uint64_t set_ms;   /* due, or WHEEL_NEVER */
    uint64_t fired_ms; /* 0: not since it was set */
    uint32_t fired;
};

static uint64_t now;
static unsigned looks;
static struct wheel wheel;

static void on_fire(struct wheel_timer *t) {
    struct probe *p = CONTAINER_OF(t, struct probe, timer);
    p->fired++;
    p->fired_ms = now;
}

/* As a loop does that sleeps for as long as it may: a time that was told too late makes a timer fire too late. */
static void advance(uint64_t to) {
    while (now < to) {
        now++;
        if (now >= wheel_next_ms(&wheel)) {
            wheel_advance(&wheel, now);
            looks++;
        }
    }
}

static void start(uint64_t at, struct probe *p) {
    now = at;
    wheel_init(&wheel, now);
    *p = (struct probe){0};
    wheel_timer_init(&p->timer, on_fire);
}

static void fires_once_in_its_tick(void **state) {
    (void)state;
    for (uint64_t offset = 0; offset < 100; offset++) {
        struct probe p;
        start(1000 + offset, &p);
        uint64_t due = now + 77;
        wheel_set(&wheel, &p.timer, due);
        advance(now + 1000);
        assert_int_equal(p.fired, 1);
        assert_in_range(p.fired_ms, due, due + 2 * WHEEL_TICK_MS);
        assert_int_equal(wheel.linked, 0);
    }
}

static void past_and_far_times(void **state) {
    (void)state;
    struct probe past, far;
    start(5000, &past);
    wheel_timer_init(&far.timer, on_fire);
    far.fired = 0;
    wheel_set(&wheel, &past.timer, 3);
    wheel_set(&wheel, &far.timer, now + 5ull * WHEEL_SLOTS * WHEEL_TICK_MS + 11);
    advance(now + 2 * WHEEL_TICK_MS);
    assert_int_equal(past.fired, 1);
    advance(5000 + 5ull * WHEEL_SLOTS * WHEEL_TICK_MS);
    assert_int_equal(far.fired, 0);
    advance(now + 3 * WHEEL_TICK_MS);
    assert_int_equal(far.fired, 1);
}

static void later_earlier_and_never(void **state) {
    (void)state;
    struct probe p;
    start(0, &p);
    wheel_set(&wheel, &p.timer, 1000);
    wheel_set(&wheel, &p.timer, 2000);
    advance(1500);
    assert_int_equal(p.fired, 0);
    wheel_set(&wheel, &p.timer, 1600);
    advance(1700);
    assert_int_equal(p.fired, 1);
    wheel_set(&wheel, &p.timer, 1800);
    wheel_set(&wheel, &p.timer, WHEEL_NEVER);
    advance(5000);
    assert_int_equal(p.fired, 1);
    wheel_set(&wheel, &p.timer, 5100);
    wheel_cancel(&wheel, &p.timer);
    wheel_cancel(&wheel, &p.timer);
    assert_int_equal(wheel.linked, 0);
}

static void jump_over_many_turns(void **state) {
    (void)state;
    struct probe p;
    start(0, &p);
    wheel_set(&wheel, &p.timer, 100);
    now = 10ull * WHEEL_SLOTS * WHEEL_TICK_MS;
    wheel_advance(&wheel, now);
    assert_int_equal(p.fired, 1);
    wheel_set(&wheel, &p.timer, now + 100);
    advance(now + 200);
    assert_int_equal(p.fired, 2);
}

/* A connection's deadline moves with each request, and is mostly far away: that must not keep anybody awake. */
static void a_far_timer_is_looked_at_once_a_turn(void **state) {
    (void)state;
    struct probe p;
    start(777, &p);
    assert_true(wheel_next_ms(&wheel) == WHEEL_NEVER);
    looks = 0;
    for (int request = 0; request < 10; request++) {
        wheel_set(&wheel, &p.timer, now + 2ull * WHEEL_SLOTS * WHEEL_TICK_MS);
        advance(now + WHEEL_SLOTS * WHEEL_TICK_MS);
    }
    assert_int_equal(p.fired, 0);
    assert_in_range(looks, 10, 11);
    wheel_cancel(&wheel, &p.timer);
    advance(now + 3ull * WHEEL_SLOTS * WHEEL_TICK_MS);
    assert_in_range(looks, 11, 12);
    assert_true(wheel_next_ms(&wheel) == WHEEL_NEVER);
}

/* Against the plain rule: fires in the tick in which its time has come, unless moved before. */
static void random_operations(void **state) {
    (void)state;
    enum { PROBES = 50 };
    static struct probe probes[PROBES];
    struct rng rng;
    rng_init(&rng, 20240611);
    now = 12345;
    wheel_init(&wheel, now);
    for (int i = 0; i < PROBES; i++) {
        wheel_timer_init(&probes[i].timer, on_fire);
        probes[i].set_ms = WHEEL_NEVER;
    }
    for (int step = 0; step < 200000; step++) {
        struct probe *p = &probes[rng_below(&rng, PROBES)];
        uint64_t choice = rng_below(&rng, 10);
        p->set_ms = choice == 0 ? WHEEL_NEVER : now + rng_below(&rng, choice < 3 ? 60000 : 300);
        p->fired = 0;
        if (choice == 1)
            wheel_cancel(&wheel, &p->timer), p->set_ms = WHEEL_NEVER;
        else
            wheel_set(&wheel, &p->timer, p->set_ms);
        advance(now + rng_below(&rng, 20));
        for (int i = 0; i < PROBES; i++) {
            const struct probe *q = &probes[i];
            if (q->set_ms == WHEEL_NEVER || now < q->set_ms)
                assert_int_equal(q->fired, 0);
            else if (now >= q->set_ms + 2 * WHEEL_TICK_MS)
                assert_int_equal(q->fired, 1);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_once_in_its_tick),
        cmocka_unit_test(past_and_far_times),
        cmocka_unit_test(later_earlier_and_never),
        cmocka_unit_test(jump_over_many_turns),
        cmocka_unit_test(a_far_timer_is_looked_at_once_a_turn),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
