#include "fixture.h"

#include <stdio.h>
#include <unistd.h>

static void a_new_log_starts_at_position_one(void **state) {
    struct fixture *f = *state;
    assert_true(f->found.next_position == 1 && f->found.first_position == 1);
    assert_true(f->found.last_time_ns == 0 && f->found.cut_bytes == 0);
    assert_true(log_next_position(f->log) == 1 && log_durable_position(f->log) == 0);
    assert_int_equal(log_room(f->log), LOG_ROOM_OK);
    assert_string_equal(f->error_text, "");
}

static void what_was_appended_is_there_after_closing(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        fixture_add(f, 2000);
    }
    assert_true(f->durable == 0);
    fixture_close(f); /* flushes */
    assert_true(f->durable == 100);
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 101 && f->found.last_time_ns == 1100);
    assert_true(f->found.segments == fixture_segments(f) && f->found.segments > 2);
    for (uint64_t p = 1; p <= 100; p++) {
        assert_int_equal(fixture_read(f, p), 0);
    }
    assert_true(fixture_add(f, 10) == 101);
}

static void a_second_process_is_told_who_holds_the_folder(void **state) {
    struct fixture *f = *state;
    struct log *other;
    struct log_recovery found;
    char text[512], pid[32];
    assert_int_equal(log_open(&f->options, &found, text, &other), E_LOCKED);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(text, pid));
    assert_non_null(strstr(text, "data"));
}

static void bad_options_are_refused(void **state) {
    struct fixture *f = *state;
    struct log *other;
    struct log_recovery found;
    char text[512];
    struct log_options o = f->options;
    o.segment_bytes = 1000;
    assert_int_equal(log_open(&o, &found, text, &other), E_INVALID);
    assert_non_null(strstr(text, "64 KiB"));
}

static void segments_tell_what_is_in_them(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 50, 4000);
    struct log_segment_info infos[16];
    size_t count = log_segments(f->log, infos, 16);
    assert_in_range(count, 3, 5);
    uint64_t next = 1;
    for (size_t i = 0; i < count; i++) {
        assert_true(infos[i].first_position == next);
        assert_int_equal(infos[i].number, i + 1);
        assert_true(infos[i].size_bytes ==
                    4048 * (infos[i].last_position - infos[i].first_position + 1));
        assert_int_equal(infos[i].sealed, i + 1 < count);
        next = infos[i].last_position + 1;
    }
    assert_true(next == 51);
    assert_int_equal(log_segment_of(f->address[1]), 1);
    assert_int_equal(log_segment_of(f->address[50]), count);
}

static void written_bytes_stay_within_two_percent(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 2000; i++) {
        fixture_add(f, 250);
        if (i % 10 == 9) {
            assert_int_equal(log_flush(f->log), 0);
        }
    }
    struct log_stats stats;
    log_stats(f->log, &stats);
    assert_int_equal(stats.appended_records, 2000);
    assert_true(stats.written_bytes * 100 <= stats.appended_bytes * 102);
    assert_true(stats.batches == 200 && stats.flushes >= 200);
    assert_true(stats.disk_bytes > stats.written_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_log_starts_at_position_one, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_was_appended_is_there_after_closing, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_second_process_is_told_who_holds_the_folder,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(bad_options_are_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(segments_tell_what_is_in_them, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(written_bytes_stay_within_two_percent, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
