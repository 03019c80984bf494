/* One address, one count, whatever its port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/peers.h"

static struct peers p;

static bool enter(const char *peer, uint32_t *ret_bucket) {
    return peers_enter(&p, span_text(peer), 2, ret_bucket);
}

static void an_address_has_its_share(void **state) {
    (void)state;
    uint32_t first, second, other;
    peers_init(&p, (struct hash_key){1, 2});
    assert_true(enter("192.0.2.7:1", &first));
    assert_true(enter("192.0.2.7:2", &second));
    assert_int_equal(first, second);
    assert_false(enter("192.0.2.7:3", &second));
    assert_true(enter("192.0.2.8:3", &other));
    assert_true(other != first);
    peers_leave(&p, first);
    assert_true(enter("192.0.2.7:3", &first));
}

static void a_network_of_ipv6_is_one(void **state) {
    (void)state;
    uint32_t a, b;
    peers_init(&p, (struct hash_key){1, 2});
    assert_true(enter("[2001:db8:0:1::5]:1", &a));
    assert_true(enter("[2001:db8:0:1:ffff::6]:70", &b));
    assert_int_equal(a, b);
    assert_false(enter("[2001:db8:0:1::7]:1", &a));
    assert_true(enter("[2001:db8:0:2::7]:1", &b));
    assert_true(a != b);
}

/* The key decides who shares a count: it cannot be computed outside. */
static void nobody_chooses_a_neighbour(void **state) {
    (void)state;
    uint32_t a, b;
    peers_init(&p, (struct hash_key){1, 2});
    assert_true(enter("192.0.2.7:1", &a));
    peers_init(&p, (struct hash_key){3, 4});
    assert_true(enter("192.0.2.7:1", &b));
    assert_true(a != b);
    assert_true(enter("", &b)); /* no address is an address as well */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_its_share),
        cmocka_unit_test(a_network_of_ipv6_is_one),
        cmocka_unit_test(nobody_chooses_a_neighbour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
