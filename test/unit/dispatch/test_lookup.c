#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dispatch/lookup.h"

#define AT (1000 * NS_PER_SECOND)

static void a_name_that_is_answered_is_asked_for_at_any_time(void **state) {
    (void)state;
    struct lookups all = {.next = 0};
    struct lookup_name name = {.silent = false};
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(lookup_may(&name, &all, AT));
    }
}

static void a_silent_one_once_a_second(void **state) {
    (void)state;
    struct lookups all = {.next = 0};
    struct lookup_name name = {.silent = false};
    lookup_left(&name, &all, AT);
    assert_true(lookup_may(&name, &all, AT));
    assert_false(lookup_may(&name, &all, AT));
    assert_false(lookup_may(&name, &all, AT + LOOKUP_AGAIN_NS - 1));
    assert_true(lookup_may(&name, &all, AT + LOOKUP_AGAIN_NS));
    lookup_answered(&name);
    assert_true(lookup_may(&name, &all, AT + LOOKUP_AGAIN_NS));
}

static void all_silent_ones_so_often_in_the_life_of_a_lookup(void **state) {
    (void)state;
    struct lookups all = {.next = 0};
    struct lookup_name names[2] = {{.silent = false}}, other = {.silent = false};
    for (unsigned i = 0; i < LOOKUPS_LEFT_MAX; i++) {
        assert_true(lookup_may(&names[0], &all, AT + i * LOOKUP_AGAIN_NS / 100));
        lookup_left(&names[0], &all, AT + i);
        lookup_answered(&names[0]);
    }
    names[1].silent = true;
    assert_false(lookup_may(&names[1], &all, AT + LOOKUP_LIFE_NS - 1));
    assert_true(lookup_may(&other, &all, AT)); /* was never silent */
    assert_true(lookup_may(&names[1], &all, AT + LOOKUP_LIFE_NS));
}

static void one_that_is_given_up_is_left_behind_unless_it_was_answered(void **state) {
    (void)state;
    struct lookups all = {.next = 0};
    struct lookup_name name = {.silent = false};
    struct lookup l = {.all = &all, .name = &name, .asks = true};
    lookup_withdrawn(&l, false);
    assert_true(name.silent);
    lookup_withdrawn(&l, true); /* curl knew the address */
    assert_true(name.silent);
    l.asks = true;
    lookup_withdrawn(&l, true);
    assert_false(name.silent);
    assert_false(l.asks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_is_answered_is_asked_for_at_any_time),
        cmocka_unit_test(a_silent_one_once_a_second),
        cmocka_unit_test(all_silent_ones_so_often_in_the_life_of_a_lookup),
        cmocka_unit_test(one_that_is_given_up_is_left_behind_unless_it_was_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
