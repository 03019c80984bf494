#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "base/clock.h"

static void real_clock_is_the_wall_clock(void **state) {
    (void)state;
    uint64_t seconds = clock_real_ns() / NS_PER_SECOND;
    assert_in_range(seconds, (uint64_t)time(NULL) - 2, (uint64_t)time(NULL) + 2);
}

static void monotonic_clock_never_goes_back(void **state) {
    (void)state;
    uint64_t before = clock_monotonic_ns();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= before);
        before = now;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_clock_is_the_wall_clock),
        cmocka_unit_test(monotonic_clock_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
