#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/error.h"
#include "base/logline.h"

static FILE *output;

static int redirect(void **state) {
    (void)state;
    output = tmpfile();
    assert_non_null(output);
    logline_set_file(fileno(output));
    logline_set_format(LOGLINE_LOGFMT);
    logline_set_level(LOGLINE_INFO);
    return 0;
}

static int restore(void **state) {
    (void)state;
    logline_set_file(STDERR_FILENO);
    return fclose(output);
}

static char *next_line(char *line, size_t size) {
    return fgets(line, (int)size, output);
}

static void rewind_output(void) {
    fseek(output, 0, SEEK_SET);
}

static void logfmt_quotes_what_needs_it(void **state) {
    (void)state;
    struct logline l;
    logline_begin(&l, LOGLINE_WARN, "log opened");
    logline_text(&l, "plain", "a/b.c");
    logline_text(&l, "quoted", "say \"x=1\"\n\\");
    logline_text(&l, "empty", NULL);
    logline_u64(&l, "n", UINT64_MAX);
    logline_i64(&l, "i", -3);
    logline_bool(&l, "b", true);
    logline_duration(&l, "took", 1250000);
    logline_error(&l, E_TORN);
    logline_end(&l);
    char line[4096];
    rewind_output();
    assert_non_null(next_line(line, sizeof line));
    assert_int_equal(strncmp(line, "time=2", 6), 0);
    assert_string_equal(strstr(line, "Z level=") + 2,
                        "level=warn event=\"log opened\" plain=a/b.c "
                        "quoted=\"say \\\"x=1\\\"\\u000a\\\\\" empty=\"\" "
                        "n=18446744073709551615 i=-3 b=true took=0.001250 "
                        "error=E_TORN reason=\"record is incomplete\"\n");
}

static void json_is_json_whatever_the_bytes(void **state) {
    (void)state;
    logline_set_format(LOGLINE_JSON);
    char all[256];
    for (int i = 0; i < 256; i++) {
        all[i] = (char)i;
    }
    struct logline l;
    logline_begin(&l, LOGLINE_ERROR, "e");
    logline_span(&l, "all", span_of(all, sizeof all));
    logline_text(&l, "utf8", "\xed\x95\x9c\xea\xb8\x80 \xf0\x9f\x98\x80");
    logline_u64(&l, "n", 7);
    logline_end(&l);
    char line[4096];
    rewind_output();
    assert_non_null(next_line(line, sizeof line));
    json_t *parsed = json_loads(line, JSON_ALLOW_NUL, NULL);
    assert_non_null(parsed);
    assert_string_equal(json_string_value(json_object_get(parsed, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(parsed, "utf8")),
                        "\xed\x95\x9c\xea\xb8\x80 \xf0\x9f\x98\x80");
    assert_int_equal(json_integer_value(json_object_get(parsed, "n")), 7);
    json_decref(parsed);
}

static void long_values_are_cut_and_the_line_ends_well(void **state) {
    (void)state;
    char *text = malloc(10001);
    memset(text, 'x', 10000);
    text[10000] = '\0';
    for (int format = LOGLINE_LOGFMT; format <= LOGLINE_JSON; format++) {
        /* Every length near the limit, so that each boundary is met once. */
        for (size_t start = 5900; start < 6100; start++) {
            logline_set_format((enum logline_format)format);
            struct logline l;
            logline_begin(&l, LOGLINE_INFO, "cut");
            logline_text(&l, "a", text + start);
            logline_text(&l, "b", "\x01\x02");
            logline_u64(&l, "after", 1);
            logline_end(&l);
        }
    }
    free(text);
    rewind_output();
    char line[LOGLINE_MAX_BYTES + 1];
    int lines = 0;
    while (next_line(line, sizeof line) != NULL) {
        assert_int_equal(line[strlen(line) - 1], '\n');
        if (line[0] == '{') {
            json_t *parsed = json_loads(line, 0, NULL);
            assert_non_null(parsed);
            json_decref(parsed);
        }
        lines++;
    }
    assert_int_equal(lines, 400);
}

static void lower_levels_are_not_written(void **state) {
    (void)state;
    enum logline_level level;
    assert_true(logline_level_parse("warn", &level));
    assert_false(logline_level_parse("loud", &level));
    logline_set_level(level);
    assert_false(logline_wanted(LOGLINE_INFO));
    logline_event(LOGLINE_INFO, "no");
    logline_event(LOGLINE_WARN, "yes");
    char line[4096];
    rewind_output();
    assert_non_null(next_line(line, sizeof line));
    assert_non_null(strstr(line, "event=yes"));
    assert_null(next_line(line, sizeof line));
}

static void *write_many(void *argument) {
    for (int i = 0; i < 500; i++) {
        struct logline l;
        logline_begin(&l, LOGLINE_INFO, "busy");
        logline_text(&l, "who", argument);
        logline_end(&l);
    }
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state) {
    (void)state;
    pthread_t threads[4];
    char names[4][100];
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, 99);
        names[i][99] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, names[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    rewind_output();
    char line[4096];
    int lines = 0;
    while (next_line(line, sizeof line) != NULL) {
        const char *who = strstr(line, "who=") + 4;
        assert_int_equal(strspn(who, (char[]){who[0], '\0'}), 99);
        lines++;
    }
    assert_int_equal(lines, 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(logfmt_quotes_what_needs_it, redirect, restore),
        cmocka_unit_test_setup_teardown(json_is_json_whatever_the_bytes, redirect, restore),
        cmocka_unit_test_setup_teardown(long_values_are_cut_and_the_line_ends_well, redirect,
                                        restore),
        cmocka_unit_test_setup_teardown(lower_levels_are_not_written, redirect, restore),
        cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix, redirect, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
