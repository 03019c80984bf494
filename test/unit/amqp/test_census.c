#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "amqp/census.h"
#include "amqp/connection_state.h"

enum { CONNECTIONS = 1050, STEP_MAX = 200 };

/* Of one loop: `open` connections with two channels, and as many that are not open yet. */
struct fixture {
    struct amqp_routes routes;
    struct amqp_connection open, half_open;
    struct amqp_channel *channels[4], channel;
    struct amqp_census census;
};

static struct fixture *of(void **state) {
    return *state;
}

static int setup(void **state) {
    static struct fixture f;
    struct amqp_route *route;
    f = (struct fixture){.open.state = AMQP_RUNNING};
    f.channels[1] = f.channels[3] = &f.channel;
    f.open.channels = f.channels;
    f.open.channel_capacity = 4;
    amqp_routes_init(&f.routes, 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        assert_int_equal(amqp_route_add(&f.routes, &f.open, &route), 0);
        assert_int_equal(amqp_route_add(&f.routes, &f.half_open, &route), 0);
    }
    amqp_census_init(&f.census);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = of(state);
    for (uint32_t i = 0; i < f->routes.capacity; i++) {
        if (f->routes.slots[i] != NULL)
            amqp_route_remove(&f->routes, f->routes.slots[i]);
    }
    amqp_routes_release(&f->routes);
    amqp_census_release(&f->census);
    return 0;
}

static void test_many_are_counted_some_at_a_time(void **state) {
    struct fixture *f = of(state);
    bool whole = false;
    while (!whole) {
        uint32_t before = f->census.connection_count;
        whole = amqp_census_take(&f->census, &f->routes);
        assert_in_range(f->census.connection_count - before, 0, STEP_MAX);
    }
    assert_int_equal(f->census.connection_count, CONNECTIONS);
    assert_int_equal(f->census.channel_count, 2 * CONNECTIONS);
    assert_false(f->census.failed);
}

/* Each is counted at most once, whoever leaves or comes between two steps. */
static void test_connections_come_and_go_meanwhile(void **state) {
    struct fixture *f = of(state);
    struct amqp_route *route;
    assert_false(amqp_census_take(&f->census, &f->routes));
    uint32_t before = f->census.connection_count;
    amqp_route_remove(&f->routes, f->routes.slots[0]); /* counted already */
    assert_int_equal(amqp_route_add(&f->routes, &f->open, &route), 0);
    amqp_route_remove(&f->routes, f->routes.slots[2 * CONNECTIONS - 2]); /* not yet counted */
    while (f->routes.count < f->routes.capacity)
        assert_int_equal(amqp_route_add(&f->routes, &f->half_open, &route), 0);
    assert_int_equal(amqp_route_add(&f->routes, &f->half_open, &route), 0); /* the slots move */
    while (!amqp_census_take(&f->census, &f->routes))
        assert_true(f->census.connection_count <= CONNECTIONS);
    assert_true(before > 0 && f->census.connection_count == CONNECTIONS - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_are_counted_some_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connections_come_and_go_meanwhile, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
