#include "fixture.h"

static void reads_before_and_after_the_flush(void **state) {
    struct fixture *f = *state;
    fixture_add(f, 10);
    fixture_add(f, 9000); /* more than the first read fetches */
    assert_int_equal(fixture_read(f, 1), 0);
    assert_int_equal(fixture_read(f, 2), 0);
    assert_int_equal(log_flush(f->log), 0);
    fixture_add(f, 10);
    for (uint64_t p = 1; p <= 3; p++) {
        assert_int_equal(fixture_read(f, p), 0);
    }
}

static void appends_to_what_the_buffer_has(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 1, 10);
    struct buffer out;
    struct record r;
    buffer_init(&out, 4096);
    assert_int_equal(buffer_append_text(&out, "before"), 0);
    assert_int_equal(log_read(f->log, f->address[1], &out, &r), 0);
    assert_int_equal(out.size, 6 + r.size_bytes);
    assert_int_equal(log_read(f->log, f->address[1] + 1, &out, &r), E_CORRUPT);
    assert_int_equal(out.size, 6 + r.size_bytes);
    buffer_release(&out);
}

static void released_and_unknown_addresses_are_not_found(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 60, 4000);
    log_release(f->log, 1);
    assert_int_equal(fixture_read(f, 1), E_NOT_FOUND);
    assert_int_equal(fixture_read(f, 60), 0);
    f->address[1] = (uint64_t)999 << 32 | 64;
    assert_int_equal(fixture_read(f, 1), E_NOT_FOUND);
    f->address[1] = f->address[60] + 100000;
    assert_int_equal(fixture_read(f, 1), E_NOT_FOUND);
}

/* The file lives on under another number, and the old addresses do not reach into it. */
static void addresses_of_a_recycled_file_stay_not_found(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 60, 4000);
    log_release(f->log, 1);
    log_release(f->log, 2);
    fixture_fill(f, 120, 4000);
    assert_int_equal(fixture_read(f, 1), E_NOT_FOUND);
    for (uint64_t p = 61; p <= 180; p++) {
        assert_int_equal(fixture_read(f, p), 0);
    }
}

static void a_flipped_bit_is_never_delivered(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 2, 100);
    sim_disk_flip(f->disk, "data/log/0000000000000001.seg", SEGMENT_HEADER_BYTES + 60, 2);
    assert_int_equal(fixture_read(f, 1), E_CORRUPT);
    assert_int_equal(fixture_read(f, 2), 0);
}

/* ---- following ---- */

static uint64_t follow(struct fixture *f, uint64_t from, int *ret_rc, uint64_t *ret_first) {
    struct log_cursor *c;
    struct record r;
    uint64_t address, count = 0;
    assert_int_equal(log_cursor_open(f->log, from, &c), 0);
    while ((*ret_rc = log_cursor_next(c, &r, &address)) == 0) {
        if (count == 0) {
            *ret_first = r.position;
        }
        assert_true(r.position == *ret_first + count);
        assert_true(address == f->address[r.position]);
        fixture_check_record(&r);
        count++;
    }
    assert_int_equal(log_cursor_next(c, &r, &address), *ret_rc);
    log_cursor_close(c);
    return count;
}

static void a_cursor_goes_through_all_segments(void **state) {
    struct fixture *f = *state;
    int rc;
    uint64_t first = 0;
    assert_true(follow(f, 1, &rc, &first) == 0 && rc == E_END);
    fixture_fill(f, 100, 3000);
    fixture_add(f, 10); /* not durable */
    assert_true(follow(f, 0, &rc, &first) == 100 && rc == E_END && first == 1);
    assert_true(follow(f, 77, &rc, &first) == 24 && rc == E_END && first == 77);
    assert_true(follow(f, 101, &rc, &first) == 0 && rc == E_END);
    assert_true(follow(f, 5000, &rc, &first) == 0 && rc == E_END);
}

static void a_cursor_at_the_end_goes_on_when_there_is_more(void **state) {
    struct fixture *f = *state;
    struct log_cursor *c;
    struct record r;
    uint64_t address;
    assert_int_equal(log_cursor_open(f->log, 1, &c), 0);
    for (uint64_t p = 1; p <= 60; p++) {
        assert_int_equal(log_cursor_next(c, &r, &address), E_END);
        fixture_add(f, 3000);
        assert_int_equal(log_cursor_next(c, &r, &address), E_END);
        assert_int_equal(log_flush(f->log), 0);
        assert_int_equal(log_cursor_next(c, &r, &address), 0);
        assert_true(r.position == p);
    }
    log_cursor_close(c);
}

static void a_gap_stops_a_cursor_that_would_cross_it(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 100, 3000);
    struct log_segment_info infos[16];
    size_t count = log_segments(f->log, infos, 16);
    assert_true(count >= 4);
    log_release(f->log, infos[1].number);
    int rc;
    uint64_t first = 0;
    assert_true(follow(f, 1, &rc, &first) == infos[0].last_position && rc == E_CORRUPT);
    assert_true(follow(f, infos[1].first_position + 1, &rc, &first) == 0 && rc == E_CORRUPT);
    assert_true(follow(f, infos[2].first_position, &rc, &first) == 100 - infos[1].last_position &&
                rc == E_END);
    log_release(f->log, infos[0].number); /* now it is no gap but the beginning */
    assert_true(follow(f, 0, &rc, &first) == 100 - infos[1].last_position && rc == E_END);
    assert_true(first == infos[2].first_position);
}

static void a_cursor_keeps_its_segment_alive(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 60, 3000);
    struct log_cursor *c;
    struct record r;
    uint64_t address;
    assert_int_equal(log_cursor_open(f->log, 1, &c), 0);
    assert_int_equal(log_cursor_next(c, &r, &address), 0);
    log_release(f->log, 1);
    fixture_fill(f, 100, 3000); /* would overwrite a recycled file */
    uint64_t position = 1;
    int rc;
    while ((rc = log_cursor_next(c, &r, &address)) == 0) {
        assert_true(r.position == ++position);
        fixture_check_record(&r);
    }
    assert_int_equal(rc, E_END);
    assert_true(position == 160);
    log_cursor_close(c);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(reads_before_and_after_the_flush),
        CASE(appends_to_what_the_buffer_has),
        CASE(released_and_unknown_addresses_are_not_found),
        CASE(addresses_of_a_recycled_file_stay_not_found),
        CASE(a_flipped_bit_is_never_delivered),
        CASE(a_cursor_goes_through_all_segments),
        CASE(a_cursor_at_the_end_goes_on_when_there_is_more),
        CASE(a_gap_stops_a_cursor_that_would_cross_it),
        CASE(a_cursor_keeps_its_segment_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
