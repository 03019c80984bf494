/* Runs of bytes that need not be texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/span.h"

static void a_copy_is_whole(void **state) {
    (void)state;
    char *copy = span_dup(span_of("admin\0x", 7));
    assert_memory_equal(copy, "admin\0x", 8);
    free(copy);
    copy = span_dup(span_of(NULL, 0));
    assert_string_equal(copy, "");
    free(copy);
}

static void equal(void **state) {
    (void)state;
    assert_true(span_equal(span_of(NULL, 0), span_text("")));
    assert_true(span_is(span_of("abc", 2), "ab"));
    assert_false(span_is(span_of("abc", 2), "abc"));
    assert_false(span_is(span_of("ab\0", 3), "ab"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_whole),
        cmocka_unit_test(equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
