#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"

static void every_code_has_its_name_and_text(void **state) {
    (void)state;
#define X(name, value, text)                                                                       \
    assert_int_equal(E_##name, -(value));                                                          \
    assert_string_equal(error_name(E_##name), "E_" #name);                                         \
    assert_string_equal(error_text(E_##name), text);
    ERROR_TABLE(X)
#undef X
}

static void any_number_has_some_text(void **state) {
    (void)state;
    assert_string_equal(error_text(0), "no error");
    assert_string_equal(error_name(-9999), "E_UNKNOWN");
    assert_string_equal(error_name(5), "E_UNKNOWN");
    assert_non_null(error_text(-9999));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_name_and_text),
        cmocka_unit_test(any_number_has_some_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
