#include "amqp/bridge.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "amqp/census.h"

enum { LOOPS = 3, MOMENT_MS = 50 };

/* Loops as of the I/O threads, without connections. */
struct fixture {
    struct amqp_hub *hub;
    struct amqp_bridge *bridges[LOOPS];
    struct net_loop *loops[LOOPS];
    struct net_item block;
    sem_t release;
    struct amqp_census census;
    atomic_bool done, done_before_settled;
};

static struct fixture *of(void **state) {
    return *state;
}

static int setup(void **state) {
    static struct fixture f;
    f = (struct fixture){.hub = NULL};
    sem_init(&f.release, 0, 0);
    assert_int_equal(amqp_hub_create(false, &f.hub), 0);
    for (int i = 0; i < LOOPS; i++) {
        const struct net_loop_options options = {.name = "test"};
        assert_int_equal(amqp_bridge_create(f.hub, NULL, &f.bridges[i]), 0);
        assert_int_equal(net_loop_create(&options, &f.loops[i]), 0);
        amqp_bridge_attach(f.bridges[i], f.loops[i]);
        assert_int_equal(net_loop_run(f.loops[i]), 0);
    }
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = of(state);
    for (int i = 0; i < LOOPS; i++) {
        net_loop_stop(f->loops[i]);
        net_loop_free(f->loops[i]);
        amqp_bridge_free(f->bridges[i]);
    }
    amqp_hub_free(f->hub);
    sem_destroy(&f->release);
    return 0;
}

static void run_block(struct net_item *item) {
    sem_wait(&CONTAINER_OF(item, struct fixture, block)->release);
}

static void census_done(struct amqp_census *c) {
    atomic_store(&CONTAINER_OF(c, struct fixture, census)->done, true);
}

static void *settle(void *arg) {
    struct fixture *f = arg;
    amqp_hub_settle(f->hub);
    atomic_store(&f->done_before_settled, atomic_load(&f->done));
    return NULL;
}

/* Of a server that stops while one of its loops is long about something. */
static void test_nothing_is_between_loops_when_it_is_settled(void **state) {
    struct fixture *f = of(state);
    amqp_hub_settle(f->hub); /* there is nothing: at once */
    f->block.run = run_block;
    net_loop_post(f->loops[LOOPS - 1], &f->block);
    amqp_census_init(&f->census);
    f->census.done = census_done;
    amqp_hub_census(f->hub, &f->census);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, settle, f), 0);
    /* It must not return meanwhile. Where the moment is too short to see that it does, the test is kinder, never red. */
    const struct timespec moment = {.tv_nsec = MOMENT_MS * 1000000L};
    nanosleep(&moment, NULL);
    sem_post(&f->release);
    pthread_join(thread, NULL);
    assert_true(f->done_before_settled);
    assert_false(f->census.failed);
    amqp_census_release(&f->census);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_between_loops_when_it_is_settled, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
