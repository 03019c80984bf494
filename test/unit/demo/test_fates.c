#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fates.h"

static struct span key_of(char out[32], int i) {
    return span_of(out, (size_t)snprintf(out, 32, "r%016x", i));
}

static void a_key_has_one_fate(void **state) {
    (void)state;
    struct fates *f;
    struct fate *fate;
    char text[32];
    assert_int_equal(fates_create(&f), 0);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 5000; i++) {
            assert_int_equal(fates_get(f, key_of(text, i), &fate), 0);
            assert_int_equal(fate->requests, round);
            assert_int_equal(fate->fulfilled, round > 0 && i % 2 == 0);
            fate->requests++;
            fate->fulfilled = i % 2 == 0;
        }
    fates_free(f);
}

static void refusal_is_for_good_and_for_about_the_share(void **state) {
    (void)state;
    int refused = 0;
    char text[32];
    for (int i = 0; i < 100000; i++) {
        bool first = fate_refused(key_of(text, i), 0.01);
        assert_int_equal(first, fate_refused(key_of(text, i), 0.01));
        refused += first;
        assert_false(fate_refused(key_of(text, i), 0));
        assert_true(fate_refused(key_of(text, i), 1));
    }
    assert_in_range(refused, 900, 1100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_has_one_fate),
        cmocka_unit_test(refusal_is_for_good_and_for_about_the_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
