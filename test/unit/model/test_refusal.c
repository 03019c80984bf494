/* The table of refusals: each has a name of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "model/refusal.h"

static void test_names_differ(void **state) {
    for (unsigned i = 0; i < REFUSAL_COUNT; i++) {
        assert_true(strlen(refusal_name((enum refusal)i)) > 0);
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(refusal_name((enum refusal)i), refusal_name((enum refusal)k));
        }
    }
    assert_string_equal(refusal_name(REFUSAL_SOLD_OUT), "sold-out");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
