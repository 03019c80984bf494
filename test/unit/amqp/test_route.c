#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "amqp/route.h"

static struct amqp_connection *connection_of(uintptr_t number) {
    return (struct amqp_connection *)number;
}

static void a_session_leads_to_its_connection_until_it_is_closed(void **state) {
    (void)state;
    struct amqp_routes r;
    struct amqp_route *routes[100], *later;
    amqp_routes_init(&r, 7);
    for (uintptr_t i = 0; i < 100; i++) {
        assert_int_equal(amqp_route_add(&r, connection_of(i + 1), &routes[i]), 0);
        assert_int_equal(amqp_session_bridge(routes[i]->session), 7);
    }
    for (uintptr_t i = 0; i < 100; i++) {
        assert_ptr_equal(amqp_route_find(&r, routes[i]->session), routes[i]);
        assert_ptr_equal(routes[i]->connection, connection_of(i + 1));
    }
    uint64_t old = routes[50]->session;
    amqp_route_remove(&r, routes[50]);
    assert_null(amqp_route_find(&r, old));
    assert_int_equal(amqp_route_add(&r, connection_of(1), &later), 0);
    assert_null(amqp_route_find(&r, old)); /* the same slot, another serial */
    assert_true(later->session != old);
    routes[50] = later;
    for (uintptr_t i = 0; i < 100; i++)
        amqp_route_remove(&r, routes[i]);
    assert_null(amqp_route_find(&r, UINT64_MAX));
    amqp_routes_release(&r);
}

static void deliveries_wait_in_order(void **state) {
    (void)state;
    struct amqp_routes r;
    struct amqp_route *route;
    uint64_t pushed = 0, popped = 0;
    amqp_routes_init(&r, 0);
    assert_int_equal(amqp_route_add(&r, connection_of(1), &route), 0);
    for (int i = 0; i < 1000; i++) {
        for (int n = 0; n < i % 7; n++) {
            struct delivery d = {.message = ++pushed, .origin = malloc(1)};
            assert_int_equal(amqp_route_push(route, &d), 0);
        }
        for (int n = 0; n < i % 5 && amqp_route_head(route) != NULL; n++) {
            assert_true(amqp_route_head(route)->message == ++popped);
            amqp_route_pop(route);
        }
    }
    assert_true(route->end - route->first == pushed - popped && pushed > popped);
    amqp_route_remove(&r, route); /* with what waits */
    amqp_routes_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_leads_to_its_connection_until_it_is_closed),
        cmocka_unit_test(deliveries_wait_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
