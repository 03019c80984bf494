#include "fixture.h"

#define FIRST "data/log/0000000000000001.seg"

static void reopen_with_salvage(struct fixture *f) {
    f->options.salvage = true;
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.dropped_bytes > 0);
    assert_true(f->found.report[0] != '\0');
    fixture_close(f);
    f->options.salvage = false;
    assert_int_equal(fixture_open(f), 0); /* consistent again */
    assert_int_equal(f->found.dropped_bytes, 0);
}

/* Every position from 1 to `last`, those in [lost_from, lost_to] without facts. */
static void check_all(struct fixture *f, uint64_t last, uint64_t lost_from, uint64_t lost_to) {
    struct log_cursor *c;
    struct record r;
    uint64_t address, position = 0;
    assert_int_equal(log_cursor_open(f->log, 1, &c), 0);
    while (log_cursor_next(c, &r, &address) == 0) {
        assert_true(r.position == ++position);
        bool lost = position >= lost_from && position <= lost_to;
        assert_int_equal(r.lost, lost);
        if (!lost) {
            assert_true(address == f->address[position]);
            fixture_check_record(&r);
        }
    }
    log_cursor_close(c);
    assert_true(position == last);
}

static void one_bad_record_is_given_up_alone(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 10, 100);
    fixture_close(f);
    sim_disk_flip(f->disk, FIRST, SEGMENT_HEADER_BYTES + 3 * 148 + 70, 1);
    reopen_with_salvage(f);
    check_all(f, 10, 4, 4);
    assert_true(fixture_add(f, 10) == 11);
}

static void a_stretch_of_several_is_given_up(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 10, 100);
    fixture_close(f);
    for (uint64_t p = 4; p <= 6; p++) {
        sim_disk_flip(f->disk, FIRST, SEGMENT_HEADER_BYTES + (p - 1) * 148 + 2, 7); /* length */
    }
    reopen_with_salvage(f);
    check_all(f, 10, 4, 6);
}

static void the_end_of_an_earlier_segment_is_given_up(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 40, 4000);
    fixture_close(f);
    sim_disk_flip(f->disk, FIRST, SEGMENT_HEADER_BYTES + 14 * 4048 + 2000, 1);
    sim_disk_flip(f->disk, FIRST, SEGMENT_HEADER_BYTES + 15 * 4048 + 2000, 1);
    reopen_with_salvage(f);
    check_all(f, 40, 15, 16);
}

static void a_segment_without_its_header_is_set_aside(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 40, 4000);
    fixture_close(f);
    sim_disk_flip(f->disk, FIRST, 9, 1);
    reopen_with_salvage(f);
    assert_true(f->found.first_position == 17 && f->found.next_position == 41);
    assert_true(sim_disk_file_size(f->disk, "data/log/0000000000000001.bad") != UINT64_MAX);
    assert_int_equal(fixture_read(f, 1), E_NOT_FOUND);
    assert_int_equal(fixture_read(f, 17), 0);
}

/* Where record `position` of those of 100 bytes begins. */
static uint64_t place_of(uint64_t position) {
    return SEGMENT_HEADER_BYTES + (position - 1) * 148;
}

static void close_before_end_is_damaged(struct fixture *f) {
    fixture_fill(f, 10, 100);
    fixture_close(f);
    f->options.flushed_position = 10; /* as the name of a snapshot says */
}

static void assert_refused(struct fixture *f, const char *words) {
    assert_int_equal(fixture_open(f), E_CORRUPT);
    assert_non_null(strstr(f->error_text, words));
}

static void a_damaged_end_that_was_flushed_is_refused_and_left_as_it_is(void **state) {
    struct fixture *f = *state;
    close_before_end_is_damaged(f);
    sim_disk_flip(f->disk, FIRST, place_of(10) + 70, 1);
    assert_refused(f, FIRST ": the record at offset 1396 (position 10)");
    sim_disk_flip(f->disk, FIRST, place_of(10) + 70, 1);
    assert_int_equal(fixture_open(f), 0);
    check_all(f, 10, 0, 0);
}

static void a_damaged_end_that_was_flushed_is_given_up(void **state) {
    struct fixture *f = *state;
    close_before_end_is_damaged(f);
    sim_disk_flip(f->disk, FIRST, place_of(9) + 70, 1);
    sim_disk_flip(f->disk, FIRST, place_of(10) + 70, 1);
    reopen_with_salvage(f);
    check_all(f, 10, 9, 10);
    assert_true(fixture_add(f, 100) == 11);
}

static void assert_no_facts_at(struct fixture *f, uint64_t address) {
    struct buffer out;
    struct record r;
    buffer_init(&out, RECORD_MAX_BYTES);
    assert_true(log_read(f->log, address, &out, &r) != 0 || r.lost);
    buffer_release(&out);
}

/* A message of a snapshot may have its body at one of those addresses: no other record may come to stand there. */
static void behind_an_end_given_up_addresses_are_new(void **state) {
    struct fixture *f = *state;
    close_before_end_is_damaged(f);
    assert_true(sim_disk_cut(f->disk, FIRST, place_of(8)));
    f->options.salvage = true;
    assert_int_equal(fixture_open(f), 0);
    uint64_t last = f->address[10];
    for (uint64_t position = 11; position <= 20; position++) {
        assert_true(fixture_add(f, 100) == position);
        assert_true(f->address[position] > last + 148);
        assert_int_equal(log_flush(f->log), 0);
    }
    for (uint64_t position = 8; position <= 10; position++) {
        assert_no_facts_at(f, f->address[position]);
    }
    fixture_close(f);
    f->options.salvage = false;
    assert_int_equal(fixture_open(f), 0);
    check_all(f, 20, 8, 10);
}

static void more_than_fit_are_not_given_up(void **state) {
    struct fixture *f = *state;
    close_before_end_is_damaged(f);
    f->options.flushed_position = 5000;
    f->options.salvage = true;
    assert_refused(f, "more than have room there");
    f->options.salvage = false;
    f->options.flushed_position = 0;
    assert_int_equal(fixture_open(f), 0);
    check_all(f, 10, 0, 0);
}

static void no_new_log_is_begun_under_a_snapshot(void **state) {
    struct fixture *f = *state;
    close_before_end_is_damaged(f);
    assert_true(sim_disk_remove(f->disk, FIRST));
    assert_refused(f, "has no segments");
    f->options.salvage = true;
    assert_refused(f, "has no segments");
    assert_true(sim_disk_file_size(f->disk, FIRST) == UINT64_MAX);
    f->options.salvage = false;
    f->options.flushed_position = 0;
    assert_int_equal(fixture_open(f), 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(one_bad_record_is_given_up_alone),
        CASE(a_stretch_of_several_is_given_up),
        CASE(the_end_of_an_earlier_segment_is_given_up),
        CASE(a_segment_without_its_header_is_set_aside),
        CASE(a_damaged_end_that_was_flushed_is_refused_and_left_as_it_is),
        CASE(a_damaged_end_that_was_flushed_is_given_up),
        CASE(behind_an_end_given_up_addresses_are_new),
        CASE(more_than_fit_are_not_given_up),
        CASE(no_new_log_is_begun_under_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
