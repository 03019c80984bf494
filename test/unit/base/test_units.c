#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "base/units.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"

/* Against the C library's calendar. */
static void times_agree_with_the_calendar(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 3);
    for (int i = 0; i < 20000; i++) {
        time_t seconds = (time_t)rng_below(&r, UINT64_C(16725225600)); /* year 2500 */
        struct tm tm;
        char expected[40], text[TIME_TEXT_BYTES];
        gmtime_r(&seconds, &tm);
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
        size_t size = time_format((uint64_t)seconds * NS_PER_SECOND, text);
        assert_string_equal(text, expected);
        assert_int_equal(size, strlen(expected));
        uint64_t back;
        assert_int_equal(time_parse(span_text(text), &back), 0);
        assert_int_equal(back, (uint64_t)seconds * NS_PER_SECOND);
    }
}

static void fractions_and_offsets(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00.000000001Z", 1},
        {"1970-01-01T00:00:01.5z", 1500000000},
        {"1970-01-01T09:00:00+09:00", 0},
        {"1969-12-31T23:00:00-01:00", 0},
        {"2000-02-29T00:00:00Z", UINT64_C(951782400) * NS_PER_SECOND},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        uint64_t ns = 1;
        int error = time_parse(span_text(good[i].text), &ns);
        if (good[i].text[3] == '9') {
            assert_int_equal(error, E_INVALID); /* years before 1970 are not written */
            continue;
        }
        assert_int_equal(error, 0);
        assert_int_equal(ns, good[i].ns);
    }
}

static void bad_times(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "2030",
                                      "2030-01-01",
                                      "2030-01-01T00:00:00",
                                      "2030-01-01 00:00:00Z",
                                      "2030-13-01T00:00:00Z",
                                      "2030-00-01T00:00:00Z",
                                      "2030-02-29T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2030-01-32T00:00:00Z",
                                      "2030-01-01T24:00:00Z",
                                      "2030-01-01T00:60:00Z",
                                      "2030-01-01T00:00:60Z",
                                      "2030-01-01T00:00:00.Z",
                                      "2030-01-01T00:00:00.1234567890Z",
                                      "2030-01-01T00:00:00+9:00",
                                      "2030-01-01T00:00:00+24:00",
                                      "2030-01-01T00:00:00Zx",
                                      "1970-01-01T00:00:00+01:00",
                                      "9999-01-01T00:00:00Z"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        uint64_t ns = 7;
        assert_int_equal(time_parse(span_text(bad[i]), &ns), E_INVALID);
        assert_int_equal(ns, 7);
    }
}

static void durations(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
        const char *back;
    } good[] = {
        {"0s", 0, "0s"},
        {"1.5s", 1500000000, "1.5s"},
        {"250ms", 250000000, "0.25s"},
        {"0.5ms", 500000, "0.0005s"},
        {"2h", 7200 * NS_PER_SECOND, "7200s"},
        {"1.5m", 90 * NS_PER_SECOND, "90s"},
        {"0.000000001s", 1, "0.000000001s"},
        {"100000d", UINT64_C(100000) * 86400 * NS_PER_SECOND, "8640000000s"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        uint64_t ns;
        char text[DURATION_TEXT_BYTES];
        assert_int_equal(duration_parse(span_text(good[i].text), &ns), 0);
        assert_int_equal(ns, good[i].ns);
        duration_format(ns, text);
        assert_string_equal(text, good[i].back);
    }
    static const char *const bad[] = {
        "",    "s",   "1",  "1 s",           "-1s",     "1.s",
        ".5s", "1s2", "1y", "1.1234567890s", "100001d", "99999999999999999999s",
        "+1s"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        uint64_t ns;
        assert_int_equal(duration_parse(span_text(bad[i]), &ns), E_INVALID);
    }
}

static void numbers(void **state) {
    (void)state;
    uint64_t value;
    char text[20];
    assert_int_equal(u64_parse(span_text("18446744073709551615"), &value), 0);
    assert_true(value == UINT64_MAX);
    assert_int_equal(u64_format(UINT64_MAX, text), 20);
    assert_memory_equal(text, "18446744073709551615", 20);
    assert_int_equal(u64_format(0, text), 1);
    static const char *const bad[] = {"", "01", "-1", "1a", "18446744073709551616"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(u64_parse(span_text(bad[i]), &value), E_INVALID);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_agree_with_the_calendar),
        cmocka_unit_test(fractions_and_offsets),
        cmocka_unit_test(bad_times),
        cmocka_unit_test(durations),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
