#include "fixture.h"

#include <errno.h>

#include "log/internal.h"

/* Enough for the filler to see that it is quiet, and to fill everything. */
#define TURNS 64

static void fill_all(struct fixture *f) {
    log_lock(f->log);
    for (int i = 0; i < TURNS; i++) {
        fill_turn(f->log);
    }
    log_unlock(f->log);
}

static void reopen(struct fixture *f, uint64_t prepared_bytes) {
    fixture_close(f);
    f->options.prepared_bytes = prepared_bytes;
    assert_int_equal(fixture_open(f), 0);
}

static uint32_t spares(struct fixture *f) {
    return f->log->spare_count;
}

static void read_all(struct fixture *f) {
    for (uint64_t p = 1; p < log_next_position(f->log); p++) {
        assert_int_equal(fixture_read(f, p), 0);
    }
}

static void nothing_is_prepared_unless_asked_for(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 1, 100);
    uint64_t before = sim_disk_operations(f->disk);
    log_lock(f->log);
    assert_int_equal(fill_wait_ms(f->log), 0);
    log_unlock(f->log);
    assert_true(sim_disk_operations(f->disk) == before);
}

static void only_quiet_times_are_used(void **state) {
    struct fixture *f = *state;
    reopen(f, 4 * FIXTURE_SEGMENT_BYTES);
    for (int i = 0; i < 3 * TURNS; i++) {
        fixture_fill(f, 1, 10);
        uint64_t before = sim_disk_operations(f->disk);
        log_lock(f->log);
        for (int k = 0; k < 9; k++) {
            fill_turn(f->log);
        }
        log_unlock(f->log);
        assert_true(sim_disk_operations(f->disk) == before);
    }
    assert_int_equal(spares(f), 0);
}

static void spares_are_prepared_and_then_it_is_done(void **state) {
    struct fixture *f = *state;
    reopen(f, 4 * FIXTURE_SEGMENT_BYTES);
    fixture_fill(f, 3, 1000);
    fill_all(f);
    assert_int_equal(spares(f), 4);
    log_lock(f->log);
    assert_int_equal(fill_wait_ms(f->log), 0);
    log_unlock(f->log);
    fixture_fill(f, 120, 4000); /* over all of them and beyond */
    assert_int_equal(spares(f), 0);
    read_all(f);
    reopen(f, 4 * FIXTURE_SEGMENT_BYTES);
    read_all(f);
}

/* What was appended and not flushed lies before the zeros, what comes later over them. */
static void records_around_a_step_are_unharmed(void **state) {
    struct fixture *f = *state;
    reopen(f, FIXTURE_SEGMENT_BYTES);
    for (int round = 0; round < 20; round++) {
        fixture_add(f, 777);
        f->log->fill.seen_records = f->log->stats.appended_records;
        f->log->fill.quiet_seconds = 10;
        f->log->fill.current_from = 0; /* again, from its present end */
        log_lock(f->log);
        fill_turn(f->log);
        log_unlock(f->log);
        fixture_add(f, 555);
        assert_int_equal(log_flush(f->log), 0);
    }
    reopen(f, FIXTURE_SEGMENT_BYTES);
    read_all(f);
}

static void a_small_disk_is_not_filled_with_spares(void **state) {
    struct fixture *f = *state;
    reopen(f, 8 * FIXTURE_SEGMENT_BYTES);
    sim_disk_set_capacity(f->disk, 20 * FIXTURE_SEGMENT_BYTES);
    fill_all(f);
    assert_int_equal(spares(f), 0);
    assert_int_equal(log_room(f->log), LOG_ROOM_OK);
    assert_string_equal(f->failure, "");
}

static void a_failure_in_what_is_in_use_is_final(void **state) {
    struct fixture *f = *state;
    reopen(f, 2 * FIXTURE_SEGMENT_BYTES);
    fixture_fill(f, 1, 100);
    sim_disk_fail_at(f->disk, 2, EIO); /* the flush of the first step */
    fill_all(f);
    assert_string_not_equal(f->failure, "");
}

static void a_failure_in_a_spare_only_ends_the_filling(void **state) {
    struct fixture *f = *state;
    for (uint64_t nth = 1; nth <= 4; nth++) { /* open, reserve, write, flush */
        reopen(f, 2 * FIXTURE_SEGMENT_BYTES);
        f->log->fill.current_from = f->log->fill.next_from = FIXTURE_SEGMENT_BYTES;
        uint32_t before = spares(f);
        sim_disk_fail_at(f->disk, nth, EIO);
        fill_all(f);
        assert_string_equal(f->failure, "");
        assert_int_equal(spares(f), before);
        fixture_fill(f, 60, 4000); /* uses up what the last round left */
        read_all(f);
    }
}

/* At each operation, with each kind of loss: what was durable is there, and the log goes on. */
static void a_crash_at_any_step_costs_nothing(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 16; nth++) {
        for (int loss = 0; loss < SIM_LOSSES; loss++) {
            void *own;
            assert_int_equal(fixture_setup(&own), 0);
            struct fixture *f = own;
            reopen(f, 2 * FIXTURE_SEGMENT_BYTES);
            fixture_fill(f, 20, 4000); /* into the second segment */
            sim_disk_crash_at(f->disk, nth);
            fill_all(f);
            log_close(f->log);
            f->log = NULL;
            f->failure[0] = '\0';
            sim_disk_restart(f->disk, (enum sim_loss)loss);
            assert_int_equal(fixture_open(f), 0);
            assert_true(f->found.next_position == 21);
            read_all(f);
            fixture_fill(f, 60, 4000);
            reopen(f, 2 * FIXTURE_SEGMENT_BYTES);
            read_all(f);
            fixture_teardown(&own);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(nothing_is_prepared_unless_asked_for),
        TEST(only_quiet_times_are_used),
        TEST(spares_are_prepared_and_then_it_is_done),
        TEST(records_around_a_step_are_unharmed),
        TEST(a_small_disk_is_not_filled_with_spares),
        TEST(a_failure_in_what_is_in_use_is_final),
        TEST(a_failure_in_a_spare_only_ends_the_filling),
        cmocka_unit_test(a_crash_at_any_step_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
