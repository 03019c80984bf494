#include "net/loop.h"

#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "net/wheel.h"

enum { POSTERS = 4, ITEMS = 20000 };

struct numbered {
    struct net_item item;
    int poster;
    int number;
};

static struct net_loop *loop;
static atomic_int arrived;
static int next_of[POSTERS];
static atomic_bool disorder;

static void on_item(struct net_item *item) {
    struct numbered *n = CONTAINER_OF(item, struct numbered, item);
    if (next_of[n->poster]++ != n->number)
        atomic_store(&disorder, true);
    free(n);
    atomic_fetch_add(&arrived, 1);
}

static struct numbered *make_item(int poster, int number) {
    struct numbered *n = malloc(sizeof *n);
    assert(n != NULL);
    *n = (struct numbered){.item = {.run = on_item}, .poster = poster, .number = number};
    return n;
}

static void *post_all(void *arg) {
    int poster = (int)(intptr_t)arg;
    for (int i = 0; i < ITEMS; i++) {
        net_loop_post(loop, &make_item(poster, i)->item);
        if (i % 1000 == 0)
            sched_yield();
    }
    return NULL;
}

static void wait_for(int count) {
    struct timespec pause = {.tv_nsec = 1000000};
    for (int ms = 0; atomic_load(&arrived) < count; ms++) {
        assert_in_range(ms, 0, 60000);
        nanosleep(&pause, NULL);
    }
}

static void make_loop(void *context, void (*before_wait)(void *, struct net_loop *)) {
    struct net_loop_options options = {
        .name = "test", .context = context, .before_wait = before_wait};
    assert_int_equal(net_loop_create(&options, &loop), 0);
    atomic_store(&arrived, 0);
}

/* Work for before_wait that is made behind it, by what it posted, as answers make requests. */
struct pass {
    struct net_item item;
    int left;
    bool collected;
};

static void run_pass(struct net_item *item) {
    struct pass *s = CONTAINER_OF(item, struct pass, item);
    s->collected = true;
    net_loop_again(loop);
}

static void submit_pass(void *context, struct net_loop *l) {
    struct pass *s = context;
    if (!s->collected)
        return;
    s->collected = false;
    atomic_fetch_add(&arrived, 1);
    if (--s->left > 0)
        net_loop_post(l, &s->item);
}

static bool ran_at_once;

static void breathe_in_a_callback(struct net_item *item) {
    (void)item;
    net_loop_post(loop, &make_item(0, 0)->item);
    net_loop_defer(loop, &make_item(0, 1)->item);
    net_loop_breathe(loop);
    ran_at_once = atomic_load(&arrived) == 2;
    atomic_fetch_add(&arrived, 1);
}

static void end_loop(void) {
    net_loop_stop(loop);
    net_loop_free(loop);
}

static void posts_arrive_in_order_of_each_poster(void **state) {
    (void)state;
    pthread_t threads[POSTERS];
    make_loop(NULL, NULL);
    assert_int_equal(net_loop_run(loop), 0);
    for (intptr_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, (void *)i), 0);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    wait_for(POSTERS * ITEMS);
    assert_false(atomic_load(&disorder));
    end_loop();
}

/* Nothing else ever wakes it: no timer, no socket. */
static void what_is_made_behind_before_wait_is_seen(void **state) {
    (void)state;
    enum { PASSES = 100 };
    struct pass s = {.item.run = run_pass, .left = PASSES};
    make_loop(&s, submit_pass);
    assert_int_equal(net_loop_run(loop), 0);
    net_loop_post(loop, &s.item);
    wait_for(PASSES);
    end_loop();
}

/* Each waits until the loop sleeps again: a lost wake-up would hang here. */
static void single_posts_wake_a_sleeping_loop(void **state) {
    (void)state;
    make_loop(NULL, NULL);
    assert_int_equal(net_loop_run(loop), 0);
    next_of[0] = 0;
    for (int i = 0; i < 3000; i++) {
        net_loop_post(loop, &make_item(0, i)->item);
        for (int spin = 0; atomic_load(&arrived) <= i; spin++)
            sched_yield();
    }
    end_loop();
}

/* ---- the steps of a turn ---- */

struct steps {
    char text[64];
    size_t size;
    struct net_item posted, deferred;
    bool again;
};

static struct steps steps;

static void note(char step) {
    if (steps.size < sizeof steps.text - 1)
        steps.text[steps.size++] = step;
}

static void on_deferred(struct net_item *item) {
    (void)item;
    note('d');
    if (steps.again) {
        steps.again = false;
        net_loop_again(loop);
    }
}

static void on_posted(struct net_item *item) {
    (void)item;
    note('p');
    steps.deferred.run = on_deferred;
    net_loop_defer(loop, &steps.deferred);
}

static void on_before_wait(void *context, struct net_loop *which) {
    assert(context == &steps && which == loop);
    note('b');
    atomic_fetch_add(&arrived, 1);
}

static void steps_of_a_turn(void **state) {
    (void)state;
    make_loop(&steps, on_before_wait);
    steps.posted.run = on_posted;
    steps.again = true;
    net_loop_post(loop, &steps.posted); /* before it runs: still done */
    assert_int_equal(net_loop_run(loop), 0);
    wait_for(2);
    end_loop();
    assert_memory_equal(steps.text, "pbdb", 4);
}

static struct wheel_timer timer;

static void on_timer(struct wheel_timer *t) {
    (void)t;
    atomic_fetch_add(&arrived, 1);
}

static void timers_fire_in_an_idle_loop(void **state) {
    (void)state;
    make_loop(NULL, NULL);
    wheel_timer_init(&timer, on_timer);
    wheel_set(net_loop_wheel(loop), &timer, net_loop_now_ms(loop) + 20);
    assert_int_equal(net_loop_run(loop), 0);
    wait_for(1);
    end_loop();
}

static void count_turn(void *context, struct net_loop *l) {
    (void)l;
    atomic_fetch_add((atomic_int *)context, 1);
}

static struct wheel_timer near_timer;

static void set_near_timer(struct net_item *item) {
    (void)item;
    wheel_timer_init(&near_timer, on_timer);
    wheel_set(net_loop_wheel(loop), &near_timer, net_loop_now_ms(loop) + 20);
}

/* A timer that is far away, as that of an idle connection is, wakes nobody until then, and holds up no other. */
static void a_far_timer_lets_the_loop_sleep(void **state) {
    (void)state;
    struct timespec pause = {.tv_nsec = 400 * 1000000};
    struct net_item item = {.run = set_near_timer};
    atomic_int turns = 0;
    make_loop(&turns, count_turn);
    wheel_timer_init(&timer, on_timer);
    wheel_set(net_loop_wheel(loop), &timer, net_loop_now_ms(loop) + 3600000);
    assert_int_equal(net_loop_run(loop), 0);
    nanosleep(&pause, NULL);
    assert_in_range(atomic_load(&turns), 0, 2);
    uint64_t posted_ns = clock_monotonic_ns();
    net_loop_post(loop, &item);
    wait_for(1);
    assert_true(clock_monotonic_ns() - posted_ns <
                16 * NS_PER_SECOND); /* a turn of the wheel is twice that */
    end_loop();
}

/* Another thread's answer does not wait for the end of a long turn. */
static void a_breath_runs_what_was_posted(void **state) {
    (void)state;
    struct net_item item = {.run = breathe_in_a_callback};
    next_of[0] = 0;
    make_loop(NULL, NULL);
    assert_int_equal(net_loop_run(loop), 0);
    net_loop_post(loop, &item);
    wait_for(3);
    assert_true(ran_at_once);
    assert_false(atomic_load(&disorder));
    end_loop();
}

struct sequel {
    struct net_later later;
    uint64_t added, run; /* turns */
    int times;
};

static struct sequel sequels[3];

static void add_sequel(struct sequel *q) {
    q->added = net_loop_turn(loop);
    net_loop_later(loop, &q->later);
}

static void run_sequel(struct net_later *later) {
    struct sequel *q = CONTAINER_OF(later, struct sequel, later);
    q->run = net_loop_turn(loop);
    assert(q->run == q->added + 1);
    if (++q->times < 3)
        add_sequel(q);
    else
        atomic_fetch_add(&arrived, 1);
}

static void add_sequels(struct net_item *item) {
    (void)item;
    for (int n = 0; n < 3; n++)
        add_sequel(&sequels[n]);
    list_remove(&sequels[1].later.node);
}

/* Each in a turn of its own, without anything else that would begin one; what was taken out never. */
static void later_is_the_next_turn(void **state) {
    (void)state;
    make_loop(NULL, NULL);
    for (int n = 0; n < 3; n++)
        sequels[n] = (struct sequel){.later.run = run_sequel};
    struct net_item item = {.run = add_sequels};
    assert_int_equal(net_loop_run(loop), 0);
    net_loop_post(loop, &item);
    wait_for(2);
    end_loop();
    assert_int_equal(sequels[0].times, 3);
    assert_int_equal(sequels[1].times, 0);
    assert_int_equal(sequels[2].times, 3);
}

static void free_without_run(void **state) {
    (void)state;
    make_loop(NULL, NULL);
    net_loop_free(loop);
    net_loop_free(NULL);
}

static void buffers_are_recycled(void **state) {
    (void)state;
    struct buffer a, b;
    make_loop(NULL, NULL);
    assert_int_equal(net_loop_take_buffer(loop, &a), 0);
    assert_int_equal(buffer_append_text(&a, "x"), 0);
    const uint8_t *memory = a.data;
    net_loop_give_buffer(loop, &a);
    assert_null(a.data);
    assert_int_equal(net_loop_take_buffer(loop, &b), 0);
    assert_ptr_equal(b.data, memory);
    assert_int_equal(b.size, 0);
    net_loop_give_buffer(loop, &b);
    net_loop_give_buffer(loop, &b); /* empty: nothing to give */
    net_loop_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(posts_arrive_in_order_of_each_poster),
        cmocka_unit_test(single_posts_wake_a_sleeping_loop),
        cmocka_unit_test(what_is_made_behind_before_wait_is_seen),
        cmocka_unit_test(steps_of_a_turn),
        cmocka_unit_test(timers_fire_in_an_idle_loop),
        cmocka_unit_test(a_far_timer_lets_the_loop_sleep),
        cmocka_unit_test(a_breath_runs_what_was_posted),
        cmocka_unit_test(later_is_the_next_turn),
        cmocka_unit_test(free_without_run),
        cmocka_unit_test(buffers_are_recycled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
