#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/memory.h"

#define MIB (1u << 20)

static void test_it_begins_above_and_ends_well_below(void **state) {
    assert_false(memory_is_short(false, 1600, 1600));
    assert_true(memory_is_short(false, 1601, 1600));
    assert_true(memory_is_short(true, 1501, 1600));
    assert_false(memory_is_short(true, 1500, 1600));
    assert_false(memory_is_short(false, UINT64_MAX, 0));
}

static void test_what_is_written_to_counts(void **state) {
    uint64_t before = memory_resident_bytes();
    assert_true(before > 0 && before < memory_available_bytes());
    char *block = malloc(64 * MIB);
    assert_non_null(block);
    memset(block, 1, 64 * MIB);
    uint64_t with = memory_resident_bytes();
    assert_true(block[MIB] == 1 && with > before + 60 * MIB);
    free(block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_begins_above_and_ends_well_below),
        cmocka_unit_test(test_what_is_written_to_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
