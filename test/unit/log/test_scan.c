#include "fixture.h"

#include <fcntl.h>

#include "log/scan.h"

#define SEED 77u

/* A file of records of 48 + payload bytes from 64 on, positions from 1, batches of three. */
static int write_records(const struct file_ops *files, int count, size_t payload) {
    int file = files->open(files->context, "f", O_RDWR | O_CREAT, 0600);
    assert_true(file >= 0);
    struct buffer facts, out;
    buffer_init(&facts, 4096);
    buffer_init(&out, 1u << 20);
    assert_int_equal(fact_encode(&facts, 1, 1, span_of((uint8_t[52]){7}, payload)), 0);
    for (int i = 0; i < count; i++) {
        struct record r = {.position = 1 + (uint64_t)i,
                           .batch_index = (uint32_t)i % 3,
                           .fact_count = 1,
                           .facts = buffer_span(&facts)};
        assert_int_equal(record_encode(&out, SEED, &r), 0);
    }
    assert_int_equal(files->write_at(files->context, file, out.data, out.size, 64), 0);
    assert_int_equal(files->reserve(files->context, file, 0, 64 + out.size + 1000), 0);
    buffer_release(&facts);
    buffer_release(&out);
    return file;
}

struct scene {
    struct sim_disk *disk;
    struct scan scan;
};

static int setup(void **state) {
    struct scene *s = calloc(1, sizeof *s);
    s->disk = sim_disk_create(3);
    const struct file_ops *files = sim_disk_ops(s->disk);
    int file = write_records(files, 9, 52); /* 100 bytes each */
    scan_init(&s->scan, files, file, SEED, 64 + 900 + 1000);
    *state = s;
    return 0;
}

static int teardown(void **state) {
    struct scene *s = *state;
    scan_release(&s->scan);
    sim_disk_free(s->disk);
    free(s);
    return 0;
}

static struct scan_end run(struct scene *s) {
    struct scan_end end = {.offset = 64, .position = 1};
    scan_forget(&s->scan);
    assert_int_equal(scan_run(&s->scan, &end), 0);
    return end;
}

static enum scan_behind behind(struct scene *s, const struct scan_end *end) {
    enum scan_behind b;
    assert_int_equal(scan_look_behind(&s->scan, end, &b), 0);
    return b;
}

static void whole_run_ends_at_the_zero_length(void **state) {
    struct scan_end end = run(*state);
    assert_true(end.offset == 964 && end.position == 10 && end.reason == E_END);
    assert_true(end.batch_offset == 664);
    assert_int_equal(behind(*state, &end), SCAN_NOTHING);
}

static void damage_in_an_early_batch_has_a_witness(void **state) {
    struct scene *s = *state;
    for (int i = 0; i < 6; i++) { /* batches 1..3 and 4..6 */
        sim_disk_flip(s->disk, "f", 64 + 100 * (uint64_t)i + 50, 3);
        struct scan_end end = run(s);
        assert_true(end.offset == 64 + 100 * (uint64_t)i && end.reason == E_CORRUPT);
        assert_int_equal(behind(s, &end), SCAN_WITNESS);
        sim_disk_flip(s->disk, "f", 64 + 100 * (uint64_t)i + 50, 3);
    }
}

/* Found by the simulator: from the leftover of the batch the witness seemed too near for its position. */
static void a_witness_of_short_records_is_seen(void **state) {
    (void)state;
    struct sim_disk *disk = sim_disk_create(3);
    const struct file_ops *files = sim_disk_ops(disk);
    struct scene s = {.disk = disk};
    scan_init(&s.scan, files, write_records(files, 4, 4), SEED, 64 + 4 * 52 + 1000);
    sim_disk_flip(disk, "f", 64 + 45, 3);
    struct scan_end end = run(&s);
    assert_true(end.offset == 64 && end.reason == E_CORRUPT);
    assert_int_equal(behind(&s, &end), SCAN_WITNESS);
    scan_release(&s.scan);
    sim_disk_free(disk);
}

static void damage_in_the_last_batch_has_none(void **state) {
    struct scene *s = *state;
    for (int i = 6; i < 9; i++) {
        sim_disk_flip(s->disk, "f", 64 + 100 * (uint64_t)i + 50, 3);
        struct scan_end end = run(s);
        assert_true(end.offset == 64 + 100 * (uint64_t)i);
        assert_int_equal(behind(s, &end), i < 8 ? SCAN_LEFTOVER : SCAN_NOTHING);
        sim_disk_flip(s->disk, "f", 64 + 100 * (uint64_t)i + 50, 3);
    }
}

static void search_finds_the_next_readable_record(void **state) {
    struct scene *s = *state;
    sim_disk_flip(s->disk, "f", 64 + 200 + 50, 0);
    sim_disk_flip(s->disk, "f", 64 + 300 + 8, 0); /* position field: CRC tells */
    struct scan_end end = run(s);
    uint64_t offset;
    struct record r;
    assert_int_equal(scan_find(&s->scan, end.offset, end.position, &offset, &r), 0);
    assert_true(offset == 64 + 400 && r.position == 5);
}

/* A length that a flip made 0 looks like the end, but what follows tells. */
static void a_length_of_zero_amid_records_is_seen_through(void **state) {
    struct scene *s = *state;
    for (unsigned bit = 0; bit < 8; bit++) {
        if ((100u >> bit & 1) != 0) {
            sim_disk_flip(s->disk, "f", 64 + 100, bit);
        }
    }
    struct scan_end end = run(s);
    assert_true(end.offset == 164 && end.reason == E_END);
    assert_int_equal(behind(s, &end), SCAN_WITNESS);
}

static void reading_fails_with_the_disk(void **state) {
    struct scene *s = *state;
    sim_disk_crash_at(s->disk, 1);
    const struct file_ops *files = sim_disk_ops(s->disk);
    assert_int_not_equal(files->flush(files->context, s->scan.file), 0);
    struct record r;
    scan_forget(&s->scan);
    assert_int_equal(scan_record(&s->scan, 64, &r), E_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_run_ends_at_the_zero_length, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_in_an_early_batch_has_a_witness, setup, teardown),
        cmocka_unit_test(a_witness_of_short_records_is_seen),
        cmocka_unit_test_setup_teardown(damage_in_the_last_batch_has_none, setup, teardown),
        cmocka_unit_test_setup_teardown(search_finds_the_next_readable_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_length_of_zero_amid_records_is_seen_through, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reading_fails_with_the_disk, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
