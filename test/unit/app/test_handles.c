#include "app/handles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/error.h"

static void gives_what_is_wanted_when_there_are_enough(void **state) {
    (void)state;
    char text[256];
    struct handles_share share = {.connections = 10000, .dispatch = 1024};
    assert_int_equal(handles_divide(20000, 1, &share, text), 0);
    assert_int_equal(share.connections, 10000);
    assert_int_equal(share.dispatch, 1024);
}

/* Whatever the number of handles and servers: all that may be open together is less than there are. */
static void never_gives_more_than_there_are(void **state) {
    (void)state;
    char text[256];
    for (uint64_t handles = 1; handles < 5000; handles += 7) {
        for (uint32_t servers = 1; servers < 40; servers++) {
            struct handles_share share = {.connections = 10000, .dispatch = 1024};
            if (handles_divide(handles, servers, &share, text) != 0) {
                continue;
            }
            uint64_t turned_away = 65; /* see TURNED_AWAY_MAX */
            uint64_t open = (share.connections + turned_away + 1) * servers + share.dispatch;
            assert_true(open + 256 < handles);
            assert_true(share.connections > 0 && share.dispatch > 0);
        }
    }
}

static void says_when_there_are_too_few(void **state) {
    (void)state;
    char text[256] = "";
    struct handles_share share = {.connections = 10000, .dispatch = 1024};
    assert_int_equal(handles_divide(64, 1, &share, text), E_LIMIT);
    assert_non_null(strstr(text, "64 file handles"));
    assert_non_null(strstr(text, "512"));
}

static void raises_the_soft_limit(void **state) {
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(handles_raise(), limit.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_is_wanted_when_there_are_enough),
        cmocka_unit_test(never_gives_more_than_there_are),
        cmocka_unit_test(says_when_there_are_too_few),
        cmocka_unit_test(raises_the_soft_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
