#include "fixture.h"

#include "log/segment.h"

static void names_are_told_apart(void **state) {
    (void)state;
    char name[SEGMENT_NAME_BYTES];
    uint64_t position;
    uint32_t serial;
    segment_name(name, 0x1a2b);
    assert_string_equal(name, "0000000000001a2b.seg");
    assert_true(segment_name_parse(name, &position));
    assert_true(position == 0x1a2b);
    segment_name(name, UINT64_MAX);
    assert_true(segment_name_parse(name, &position) && position == UINT64_MAX);
    spare_name(name, 77);
    assert_true(spare_name_parse(name, &serial) && serial == 77);
    assert_false(segment_name_parse(name, &position));
    const char *others[] = {"",     "x.seg", "0000000000001a2b.segx", "0000000000001A2B.seg",
                            "lock", ".seg",  "0000000000001a2b.bad",  "00000000000001a2b.seg"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_false(segment_name_parse(others[i], &position));
        assert_false(spare_name_parse(others[i], &serial));
    }
}

static struct segment *make(uint32_t number, uint64_t first_position) {
    struct segment_header h = {.number = number, .first_position = first_position};
    struct segment *s = segment_create(&h, -1, "x");
    assert_non_null(s);
    return s;
}

static void table_finds_by_number_and_position(void **state) {
    (void)state;
    struct segment_table t = {0};
    assert_null(segment_table_at(&t, 1));
    assert_null(segment_table_after(&t, 0));
    /* Numbers 2, 4, .. 200; first positions 10 times the number. */
    for (uint32_t n = 2; n <= 200; n += 2) {
        assert_int_equal(segment_table_add(&t, make(n, 10 * n)), 0);
    }
    assert_int_equal(segment_table_find(&t, 100)->number, 100);
    assert_null(segment_table_find(&t, 101));
    assert_int_equal(segment_table_after(&t, 100)->number, 102);
    assert_int_equal(segment_table_after(&t, 101)->number, 102);
    assert_null(segment_table_after(&t, 200));
    assert_int_equal(segment_table_at(&t, 1)->number, 2);
    assert_int_equal(segment_table_at(&t, 1000)->number, 100);
    assert_int_equal(segment_table_at(&t, 1019)->number, 100);
    assert_int_equal(segment_table_at(&t, 1020)->number, 102);
    assert_int_equal(segment_table_at(&t, UINT64_MAX)->number, 200);
    struct segment *gone = segment_table_find(&t, 100);
    segment_table_remove(&t, gone);
    segment_free(gone, &file_ops_system);
    assert_null(segment_table_find(&t, 100));
    assert_int_equal(segment_table_after(&t, 99)->number, 102);
    assert_int_equal(segment_table_at(&t, 1000)->number, 98);
    segment_table_release(&t, &file_ops_system);
}

static void listing_sorts_what_are_segments(void **state) {
    (void)state;
    struct segment_names n = {0};
    const char *names[] = {"0000000000000100.seg", "00000001.spare", "0000000000000001.seg",
                           "lock"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(segment_names_add(&n, names[i]), 0);
    }
    segment_names_sort(&n);
    assert_int_equal(n.count, 2);
    assert_true(n.positions[0] == 1 && n.positions[1] == 0x100);
    segment_names_release(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_told_apart),
        cmocka_unit_test(table_finds_by_number_and_position),
        cmocka_unit_test(listing_sorts_what_are_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
