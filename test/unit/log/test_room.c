#include "fixture.h"

#include <stdio.h>

static uint64_t operations(struct fixture *f) {
    return sim_disk_operations(f->disk);
}

static void minimum_of_free_space_is_kept(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.min_free_bytes = 10 * FIXTURE_SEGMENT_BYTES;
    sim_disk_set_capacity(f->disk, 13 * FIXTURE_SEGMENT_BYTES);
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(log_room(f->log), LOG_ROOM_OK);
    fixture_fill(f, 40, 4000); /* rolls; the next one would go under the minimum */
    assert_int_equal(log_room(f->log), LOG_ROOM_RESERVE);
    sim_disk_set_capacity(f->disk, 100 * FIXTURE_SEGMENT_BYTES);
    fixture_fill(f, 1, 10); /* looks again */
    assert_int_equal(log_room(f->log), LOG_ROOM_OK);
}

static void a_full_disk_goes_from_reserve_to_none_and_back(void **state) {
    struct fixture *f = *state;
    uint64_t position;
    sim_disk_set_capacity(f->disk, 3 * FIXTURE_SEGMENT_BYTES);
    bool reserve = false;
    int rc;
    while ((rc = fixture_append(f, 300, &position)) == 0) {
        assert_int_equal(log_flush(f->log), 0);
        reserve = reserve || log_room(f->log) == LOG_ROOM_RESERVE;
    }
    assert_int_equal(rc, E_FULL);
    assert_true(reserve);
    assert_int_equal(log_room(f->log), LOG_ROOM_NONE);
    assert_string_equal(f->failure, "");
    for (uint64_t p = 1; p < log_next_position(f->log); p++) {
        assert_int_equal(fixture_read(f, p), 0); /* reading goes on */
    }
    log_release(f->log, 1); /* its file is the next segment */
    assert_int_equal(log_room(f->log), LOG_ROOM_OK);
    assert_int_equal(fixture_append(f, 300, &position), 0);
    assert_int_equal(log_flush(f->log), 0);
}

static void a_log_on_a_full_disk_opens_to_be_read(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 5, 1000);
    sim_disk_crash_at(f->disk, 1); /* power loss: the unflushed tail of the file goes too */
    fixture_close(f);
    sim_disk_restart(f->disk, SIM_DROP);
    sim_disk_set_capacity(f->disk, 4096);
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 6);
    assert_int_not_equal(log_room(f->log), LOG_ROOM_OK);
    f->options.files = sim_disk_ops(f->disk);
    for (uint64_t p = 1; p <= 5; p++) {
        f->address[p] = (uint64_t)1 << 32 | (SEGMENT_HEADER_BYTES + (p - 1) * 1048);
        assert_int_equal(fixture_read(f, p), 0);
    }
}

/* At most two spares and one prepared file; older ones are deleted. */
static void released_segments_are_recycled_but_not_hoarded(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 200, 4000);
    struct log_segment_info infos[32];
    size_t count = log_segments(f->log, infos, 32);
    assert_true(count > 8);
    for (size_t i = 0; i + 1 < count; i++) {
        log_release(f->log, infos[i].number);
    }
    struct log_stats stats;
    log_stats(f->log, &stats);
    assert_true(stats.disk_bytes <= 4 * (uint64_t)FIXTURE_SEGMENT_BYTES);
    assert_int_equal(fixture_segments(f), 1);
    fixture_fill(f, 100, 4000);
    for (uint64_t p = 201; p <= 300; p++) {
        assert_int_equal(fixture_read(f, p), 0);
    }
    fixture_close(f);
    assert_int_equal(fixture_open(f), 0);
    assert_true(f->found.next_position == 301);
}

static void releasing_twice_or_the_unknown_is_nothing(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 40, 4000);
    log_release(f->log, 1);
    uint64_t before = operations(f);
    log_release(f->log, 1);
    log_release(f->log, 999);
    assert_true(operations(f) == before);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(minimum_of_free_space_is_kept),
        CASE(a_full_disk_goes_from_reserve_to_none_and_back),
        CASE(a_log_on_a_full_disk_opens_to_be_read),
        CASE(released_segments_are_recycled_but_not_hoarded),
        CASE(releasing_twice_or_the_unknown_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
