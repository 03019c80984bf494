#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>

#define FIRST "data/log/0000000000000001.seg"

static void overwrite(struct fixture *f, const char *path, uint64_t offset, const void *bytes,
                      size_t size) {
    const struct file_ops *files = sim_disk_ops(f->disk);
    int file = files->open(files->context, path, O_RDWR | O_CREAT, 0600);
    assert_true(file >= 0);
    assert_int_equal(files->write_at(files->context, file, bytes, size, offset), 0);
    assert_int_equal(files->flush(files->context, file), 0);
    files->close(files->context, file);
}

/* Offset of a position in the first segment; all its records have 100 bytes of payload. */
static uint64_t offset_of(uint64_t position) {
    return SEGMENT_HEADER_BYTES + (position - 1) * 148;
}

static void a_torn_tail_is_cut_and_told(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 10, 100);
    fixture_close(f);
    overwrite(f, FIRST, offset_of(11), "\x94\0\0\0half a record", 17);
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 11);
    assert_int_equal(f->found.cut_bytes, 17);
    assert_non_null(strstr(f->found.report, "torn"));
    assert_null(strstr(f->found.report, "copy"));
    fixture_close(f);
    assert_int_equal(fixture_open(f), 0); /* once is enough */
    assert_int_equal(f->found.cut_bytes, 0);
    assert_string_equal(f->found.report, "");
}

/* Between two records, in the middle of one, and where zeros show that nothing stood behind. */
static void a_copy_that_was_cut_off_is_told(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 10, 100);
    const uint64_t ends[] = {offset_of(10), offset_of(9) + 70, offset_of(9) + LOG_END_BYTES};
    for (unsigned i = 0; i < 3; i++) {
        fixture_close(f);
        const struct file_ops *files = f->options.files;
        int file = files->open(files->context, FIRST, O_RDWR, 0);
        assert_int_equal(files->truncate(files->context, file, ends[i]), 0);
        assert_int_equal(files->flush(files->context, file), 0);
        files->close(files->context, file);
        f->durable = 8;
        assert_int_equal(fixture_open(f), 0);
        assert_true(f->found.next_position == (i == 0 ? 10 : 9));
        assert_int_equal(strstr(f->found.report, "a copy it was cut off") != NULL, i < 2);
    }
}

/* Several records of one batch arrived, the first did not: none of it counts, none comes back. */
static void the_rest_of_a_torn_batch_does_not_come_back(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 3, 100);
    for (int i = 0; i < 5; i++) {
        fixture_add(f, 100); /* one batch: 4..8 */
    }
    assert_int_equal(log_flush(f->log), 0);
    fixture_close(f);
    overwrite(f, FIRST, offset_of(4), "\0\0\0\0", 4); /* as if its first sector were lost */
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 4 && f->found.cut_bytes > 0);
    f->durable = 3;
    fixture_fill(f, 1, 100); /* same length: what stood behind would fit again */
    fixture_close(f);
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 5);
}

static void damage_before_a_later_batch_is_refused(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 10, 100);
    fixture_close(f);
    sim_disk_flip(f->disk, FIRST, offset_of(4) + 60, 1);
    assert_int_equal(fixture_open(f), E_CORRUPT);
    char where[64];
    snprintf(where, sizeof where, "offset %llu (position 4)", (unsigned long long)offset_of(4));
    assert_non_null(strstr(f->error_text, where));
    assert_non_null(strstr(f->error_text, FIRST));
    assert_non_null(strstr(f->error_text, "sluice log verify"));
    assert_non_null(strstr(f->error_text, "--salvage"));
    sim_disk_flip(f->disk, FIRST, offset_of(4) + 60, 1);
    assert_int_equal(fixture_open(f), 0); /* the failed opening changed nothing */
    assert_true(f->found.next_position == 11);
}

static void damage_in_a_segment_with_a_successor_is_always_refused(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 20, 4000);
    fixture_close(f);
    uint64_t last = SEGMENT_HEADER_BYTES + 15 * 4048; /* the last record of the first segment */
    sim_disk_flip(f->disk, FIRST, last + 100, 1);
    assert_int_equal(fixture_open(f), E_CORRUPT);
    assert_non_null(strstr(f->error_text, "position 16"));
    f->options.trust_sealed = true; /* then whoever reads it finds it */
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(fixture_read(f, 16), E_CORRUPT);
    assert_int_equal(fixture_read(f, 17), 0);
    struct log_cursor *c;
    struct record r;
    uint64_t address, count = 0;
    int rc;
    assert_int_equal(log_cursor_open(f->log, 1, &c), 0);
    while ((rc = log_cursor_next(c, &r, &address)) == 0) {
        count++;
    }
    assert_int_equal(rc, E_CORRUPT);
    assert_int_equal(count, 15);
    log_cursor_close(c);
}

static void headers_are_checked(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 20, 4000);
    fixture_close(f);
    sim_disk_flip(f->disk, FIRST, 20, 1);
    assert_int_equal(fixture_open(f), E_CORRUPT);
    assert_non_null(strstr(f->error_text, "header"));
    sim_disk_flip(f->disk, FIRST, 20, 1);
    uint8_t newer[SEGMENT_HEADER_BYTES];
    struct segment_header h = {LOG_FORMAT_VERSION + 1, 1, 1, 0, 1};
    segment_header_encode(newer, &h);
    overwrite(f, FIRST, 0, newer, sizeof newer);
    assert_int_equal(fixture_open(f), E_VERSION);
    assert_non_null(strstr(f->error_text, "newer"));
    h.format_version = LOG_FORMAT_VERSION; /* whole, but of another folder */
    segment_header_encode(newer, &h);
    overwrite(f, FIRST, 0, newer, sizeof newer);
    assert_int_equal(fixture_open(f), E_CORRUPT);
    assert_non_null(strstr(f->error_text, "another data folder"));
}

static void a_gap_left_by_release_opens(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 100, 3000);
    log_release(f->log, 2);
    log_release(f->log, 3);
    fixture_close(f);
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 101 && f->found.first_position == 1);
    assert_int_equal(fixture_read(f, 1), 0);
    assert_int_equal(fixture_read(f, 100), 0);
}

static void a_lost_segment_without_a_release_is_refused(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 20, 4000);
    fixture_close(f);
    /* Cut the first one short, at a record: positions are missing though numbers are not. */
    const struct file_ops *files = sim_disk_ops(f->disk);
    int file = files->open(files->context, FIRST, O_RDWR, 0);
    assert_int_equal(files->truncate(files->context, file, SEGMENT_HEADER_BYTES + 10 * 4048), 0);
    files->close(files->context, file);
    assert_int_equal(fixture_open(f), E_CORRUPT);
    assert_non_null(strstr(f->error_text, "position 11"));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_torn_tail_is_cut_and_told),
        CASE(a_copy_that_was_cut_off_is_told),
        CASE(the_rest_of_a_torn_batch_does_not_come_back),
        CASE(damage_before_a_later_batch_is_refused),
        CASE(damage_in_a_segment_with_a_successor_is_always_refused),
        CASE(headers_are_checked),
        CASE(a_gap_left_by_release_opens),
        CASE(a_lost_segment_without_a_release_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
