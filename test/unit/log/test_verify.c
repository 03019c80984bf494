#include "fixture.h"

#include <fcntl.h>

#include "log/verify.h"

#define FIRST "data/log/0000000000000001.seg"

struct heard {
    int count[4];
    struct log_finding last;
    uint64_t records;
    uint64_t stop_after;
};

static int on_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    struct heard *h = context;
    assert_non_null(strstr(file, ".seg"));
    assert_true(offset >= SEGMENT_HEADER_BYTES);
    fixture_check_record(r);
    return ++h->records == h->stop_after ? 1 : 0;
}

static void on_finding(void *context, const struct log_finding *f) {
    struct heard *h = context;
    h->count[f->kind]++;
    h->last = *f;
}

static struct log_scan_summary scan(struct fixture *f, uint64_t from, struct heard *h) {
    struct log_visitor v = {h, on_record, on_finding};
    struct log_scan_summary s;
    assert_int_equal(log_scan("data", sim_disk_ops(f->disk), from, &v, &s), 0);
    return s;
}

static void a_good_log_has_no_findings_even_while_open(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 40, 4000);
    struct heard h = {0};
    struct log_scan_summary s = scan(f, 0, &h);
    assert_true(s.records == 40 && s.facts == 40 && s.bytes == 40 * 4048);
    assert_true(s.first_position == 1 && s.last_position == 40 && s.last_time_ns == 1040);
    assert_true(s.segments == fixture_segments(f) && s.torn == 0 && s.corrupt == 0);
    h = (struct heard){0};
    s = scan(f, 30, &h);
    assert_true(s.records == 11 && s.first_position == 30);
    h = (struct heard){.stop_after = 5};
    s = scan(f, 0, &h);
    assert_true(h.records == 5);
}

static void damage_is_told_with_its_place_and_the_scan_goes_on(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 40, 4000);
    sim_disk_flip(f->disk, FIRST, SEGMENT_HEADER_BYTES + 2 * 4048 + 500, 4);
    struct heard h = {0};
    struct log_scan_summary s = scan(f, 0, &h);
    assert_true(s.corrupt == 1 && s.torn == 0 && s.records == 39);
    assert_int_equal(h.count[LOG_FINDING_CORRUPT], 1);
    assert_true(h.last.offset == SEGMENT_HEADER_BYTES + 2 * 4048 && h.last.position == 3);
}

static void a_torn_tail_is_no_corruption(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 4, 100);
    const struct file_ops *files = sim_disk_ops(f->disk);
    int file = files->open(files->context, FIRST, O_RDWR, 0);
    assert_int_equal(files->write_at(files->context, file, "\x94\0\0\0abc", 7, 64 + 4 * 148), 0);
    files->close(files->context, file);
    struct heard h = {0};
    struct log_scan_summary s = scan(f, 0, &h);
    assert_true(s.torn == 1 && s.corrupt == 0 && s.records == 4);
    assert_true(h.last.position == 5);
}

static void a_gap_is_told_and_not_counted_as_damage(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 100, 3000);
    log_release(f->log, 2);
    struct heard h = {0};
    struct log_scan_summary s = scan(f, 0, &h);
    assert_int_equal(h.count[LOG_FINDING_GAP], 1);
    assert_true(s.corrupt == 0 && s.last_position == 100);
}

static void a_bad_header_is_told(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 40, 4000);
    sim_disk_flip(f->disk, FIRST, 33, 0);
    struct heard h = {0};
    struct log_scan_summary s = scan(f, 0, &h);
    assert_int_equal(h.count[LOG_FINDING_BAD_HEADER], 1);
    assert_true(s.corrupt == 1 && s.records == 24);
}

static void no_log_is_not_found(void **state) {
    struct fixture *f = *state;
    struct log_visitor v = {0};
    struct log_scan_summary s;
    assert_int_equal(log_scan("elsewhere", sim_disk_ops(f->disk), 0, &v, &s), E_NOT_FOUND);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_good_log_has_no_findings_even_while_open),
        CASE(damage_is_told_with_its_place_and_the_scan_goes_on),
        CASE(a_torn_tail_is_no_corruption),
        CASE(a_gap_is_told_and_not_counted_as_damage),
        CASE(a_bad_header_is_told),
        CASE(no_log_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
