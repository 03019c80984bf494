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

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(one_bad_record_is_given_up_alone),
        CASE(a_stretch_of_several_is_given_up),
        CASE(the_end_of_an_earlier_segment_is_given_up),
        CASE(a_segment_without_its_header_is_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
