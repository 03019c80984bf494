#include "fixture.h"

#include <errno.h>

#include "log/kept.h"

#define SEGMENT_1 "data/log/0000000000000001.seg"

struct ahead_fixture {
    struct fixture *f;
    struct log_ahead ahead;
    unsigned reads;      /* of files, since it was set */
    unsigned fail_after; /* reads; 0: none fails */
};

static int count_reads(void *context, enum sim_operation operation, const char *path) {
    struct ahead_fixture *a = context;
    (void)path;
    if (operation != SIM_READ)
        return SIM_GO;
    a->reads++;
    return a->fail_after > 0 && a->reads == a->fail_after ? EIO : SIM_GO;
}

static int setup(void **state) {
    struct ahead_fixture *a = calloc(1, sizeof *a);
    void *fixture;
    if (fixture_setup(&fixture) != 0)
        return -1;
    a->f = fixture;
    log_ahead_init(&a->ahead);
    sim_disk_watch(a->f->disk, count_reads, a);
    *state = a;
    return 0;
}

static int teardown(void **state) {
    struct ahead_fixture *a = *state;
    void *fixture = a->f;
    log_ahead_release(&a->ahead);
    fixture_teardown(&fixture);
    free(a);
    return 0;
}

static int read_one(struct ahead_fixture *a, uint64_t position) {
    struct record r;
    int rc = log_read_ahead(a->f->log, &a->ahead, a->f->address[position], &r);
    if (rc == 0) {
        assert_true(r.position == position);
        fixture_check_record(&r);
    }
    return rc;
}

/* So many flushes that nothing from before is in memory any more. */
static void push_out(struct ahead_fixture *a) {
    fixture_fill(a->f, KEPT_RUNS, 1);
    a->reads = 0;
}

static void a_run_of_records_costs_few_reads(void **state) {
    struct ahead_fixture *a = *state;
    for (int i = 0; i < 400; i++)
        fixture_add(a->f, 100);
    assert_int_equal(log_flush(a->f->log), 0);
    push_out(a);
    for (uint64_t p = 1; p <= 400; p++)
        assert_int_equal(read_one(a, p), 0);
    assert_int_equal(a->reads, 3); /* of 4, 16 and 64 KiB */
}

/* Reads each batch of ten when `behind` more of them have become durable; how many reads the worst took. */
static unsigned most_reads_of_a_batch(struct ahead_fixture *a, int behind) {
    unsigned most = 0;
    uint64_t next = 1;
    for (int batch = 1; batch <= 20 + behind; batch++) {
        for (int i = 0; i < 10; i++)
            fixture_add(a->f, 100);
        assert_int_equal(log_flush(a->f->log), 0);
        a->reads = 0;
        for (; batch > behind && next <= 10 * (uint64_t)(batch - behind); next++)
            assert_int_equal(read_one(a, next), 0);
        most = a->reads > most ? a->reads : most;
    }
    return most;
}

/* As consumers do that keep up. */
static void what_just_became_durable_is_read_from_memory(void **state) {
    assert_int_equal(most_reads_of_a_batch(*state, 0), 0);
}

static void who_is_late_reads_the_file_behind_the_window(void **state) {
    assert_int_equal(most_reads_of_a_batch(*state, KEPT_RUNS), 1);
}

/* The log takes memory back for new batches, but not from under a reader. */
static void what_is_being_read_stays_as_it_was(void **state) {
    struct ahead_fixture *a = *state;
    for (int i = 0; i < 20; i++)
        fixture_add(a->f, 100);
    assert_int_equal(log_flush(a->f->log), 0);
    assert_int_equal(read_one(a, 1), 0);
    for (unsigned i = 0; i < 4 * KEPT_RUNS; i++) {
        for (int k = 0; k < 20; k++)
            fixture_add(a->f, 100);
        assert_int_equal(log_flush(a->f->log), 0);
    }
    a->reads = 0;
    for (uint64_t p = 1; p <= 20; p++)
        assert_int_equal(read_one(a, p), 0);
    assert_int_equal(a->reads, 0);
    assert_int_equal(read_one(a, 21), 0);
    assert_in_range(a->reads, 1, 2);
}

static void a_reader_may_outlive_the_log(void **state) {
    struct ahead_fixture *a = *state;
    fixture_fill(a->f, 1, 100);
    assert_int_equal(read_one(a, 1), 0);
    fixture_close(a->f);
    fixture_check_record(&a->ahead.last);
}

static void a_batch_in_two_segments_is_read_like_any(void **state) {
    struct ahead_fixture *a = *state;
    for (int i = 0; i < 40; i++)
        fixture_add(a->f, 4000);
    assert_int_equal(log_flush(a->f->log), 0);
    assert_true(fixture_segments(a->f) > 1);
    for (uint64_t p = 1; p <= 40; p++)
        assert_int_equal(read_one(a, p), 0);
    assert_true(a->reads > 0);
}

static void who_jumps_about_reads_no_more_than_a_record(void **state) {
    struct ahead_fixture *a = *state;
    fixture_fill(a->f, 200, 4000); /* several segments */
    push_out(a);
    for (uint64_t p = 200; p >= 1; p -= 1) {
        assert_int_equal(read_one(a, p), 0);
        assert_in_range(a->ahead.bytes.size, 1, 8192 + 4096);
    }
}

static void large_records_are_whole_and_their_room_goes(void **state) {
    struct ahead_fixture *a = *state;
    size_t sizes[] = {10, 30000, 5000, 31000, 1, 4096, 20000};
    for (size_t i = 0; i < 7; i++)
        fixture_add(a->f, sizes[i]);
    assert_int_equal(log_flush(a->f->log), 0);
    push_out(a);
    for (uint64_t p = 1; p <= 7; p++)
        assert_int_equal(read_one(a, p), 0);
    for (uint64_t p = 7; p >= 1; p--)
        assert_int_equal(read_one(a, p), 0);
    assert_in_range(a->ahead.bytes.capacity, 1, 512 << 10);
}

static void what_is_not_durable_yet_comes_from_memory(void **state) {
    struct ahead_fixture *a = *state;
    fixture_fill(a->f, 3, 100);
    fixture_add(a->f, 100);
    fixture_add(a->f, 100);
    for (uint64_t p = 1; p <= 5; p++)
        assert_int_equal(read_one(a, p), 0);
    assert_int_equal(log_flush(a->f->log), 0);
    for (uint64_t p = 5; p >= 1; p--)
        assert_int_equal(read_one(a, p), 0);
}

static void the_same_record_again_costs_nothing(void **state) {
    struct ahead_fixture *a = *state;
    fixture_fill(a->f, 2, 100);
    push_out(a);
    assert_int_equal(read_one(a, 1), 0);
    assert_int_equal(a->reads, 1);
    a->reads = 0;
    for (int i = 0; i < 10; i++)
        assert_int_equal(read_one(a, 1), 0);
    assert_int_equal(a->reads, 0);
}

static void a_flipped_bit_is_never_delivered(void **state) {
    struct ahead_fixture *a = *state;
    fixture_fill(a->f, 4, 100);
    push_out(a);
    uint64_t second = a->f->address[2] & UINT32_MAX;
    assert_true(sim_disk_flip(a->f->disk, SEGMENT_1, second + 60, 2)); /* in the body */
    assert_int_equal(read_one(a, 1), 0);
    assert_int_equal(read_one(a, 2), E_CORRUPT);
    assert_int_equal(read_one(a, 2), E_CORRUPT);
    assert_int_equal(read_one(a, 3), 0);
    uint64_t fourth = a->f->address[4] & UINT32_MAX;
    assert_true(sim_disk_flip(a->f->disk, SEGMENT_1, fourth + 1, 7)); /* in the length */
    log_ahead_release(&a->ahead);
    log_ahead_init(&a->ahead);
    assert_int_equal(read_one(a, 3), 0);
    assert_int_equal(read_one(a, 4), E_CORRUPT);
    assert_int_equal(read_one(a, 3), 0); /* not what now stands where it stood */
}

/* A sector that cannot be read harms the records in it, not those before. */
static void a_read_ahead_that_fails_is_made_good_by_a_small_one(void **state) {
    struct ahead_fixture *a = *state;
    for (int i = 0; i < 100; i++)
        fixture_add(a->f, 300);
    assert_int_equal(log_flush(a->f->log), 0);
    push_out(a);
    uint64_t p = 1;
    while (a->reads < 2) /* the second is the first one ahead */
        assert_int_equal(read_one(a, p++), 0);
    a->fail_after = a->reads + 1;
    for (; p <= 100; p++)
        assert_int_equal(read_one(a, p), 0);
    assert_true(a->reads > a->fail_after);
    a->fail_after = a->reads + 1;
    assert_int_equal(read_one(a, 1), E_IO); /* alone, and it cannot be read */
    assert_int_equal(read_one(a, 1), 0);
}

static void of_released_segments_only_what_is_in_memory(void **state) {
    struct ahead_fixture *a = *state;
    fixture_fill(a->f, 60, 4000);
    assert_int_equal(read_one(a, 1), 0);
    log_release(a->f->log, 1);
    assert_int_equal(read_one(a, 1), 0);
    assert_int_equal(read_one(a, 60), 0);
    assert_int_equal(read_one(a, 1), E_NOT_FOUND);
    a->f->address[1] = a->f->address[60] + 100000;
    assert_int_equal(read_one(a, 1), E_NOT_FOUND);
}

static bool is_kept(struct kept *k, struct buffer *batch, size_t size) {
    static uint64_t address = 1;
    assert_int_equal(buffer_reserve(batch, size), 0);
    memset(batch->data, 7, size);
    batch->size = size;
    kept_add(k, address += 64u << 20, batch);
    buffer_clear(batch);
    struct kept_run *run = kept_find(k, address);
    kept_drop(run);
    return run != NULL;
}

static void a_large_batch_keeps_no_later_one_out(void **state) {
    (void)state;
    struct kept k = {.next = 0};
    struct buffer batch;
    buffer_init(&batch, 64u << 20);
    for (int round = 0; round < 3; round++) {
        assert_true(is_kept(&k, &batch, 100));
        assert_false(is_kept(&k, &batch, KEPT_RUN_MAX_BYTES + 1));
        assert_true(batch.capacity > KEPT_RUN_MAX_BYTES); /* the next may be as large */
        assert_false(is_kept(&k, &batch, KEPT_RUN_MAX_BYTES + 1));
        (void)is_kept(&k, &batch, 100);
        assert_true(is_kept(&k, &batch, 100));
    }
    buffer_release(&batch);
    kept_release(&k);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_of_records_costs_few_reads),
        TEST(what_just_became_durable_is_read_from_memory),
        TEST(who_is_late_reads_the_file_behind_the_window),
        TEST(what_is_being_read_stays_as_it_was),
        TEST(a_reader_may_outlive_the_log),
        TEST(a_batch_in_two_segments_is_read_like_any),
        TEST(who_jumps_about_reads_no_more_than_a_record),
        TEST(large_records_are_whole_and_their_room_goes),
        TEST(what_is_not_durable_yet_comes_from_memory),
        TEST(the_same_record_again_costs_nothing),
        TEST(a_flipped_bit_is_never_delivered),
        TEST(a_read_ahead_that_fails_is_made_good_by_a_small_one),
        TEST(of_released_segments_only_what_is_in_memory),
        cmocka_unit_test(a_large_batch_keeps_no_later_one_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
