/* Fact kinds: names and versions for those that are known, nothing for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/fact.h"
#include "model/module.h"

static void test_table(void **state) {
    assert_string_equal(fact_kind_name(0x0110), "MESSAGE_PUT");
    assert_int_equal(fact_kind_version(FACT_MESSAGE_PUT), 1);
    assert_null(fact_kind_name(0x0199));
    assert_int_equal(fact_kind_version(0x0199), 0);
}

/* The high byte sends a fact to its module. */
static void test_every_kind_has_a_module(void **state) {
    for (unsigned kind = 0; kind <= 0xffff; kind++) {
        if (fact_kind_name(kind) != NULL) {
            assert_true(kind >> 8 < MODULE_COUNT);
            assert_non_null(modules[kind >> 8]);
            assert_non_null(modules[kind >> 8]->apply);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_every_kind_has_a_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
