#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/slab.h"

static void slots_start_at_one_and_never_move(void **state) {
    (void)state;
    struct slab s;
    slab_init(&s, 13, 20000);
    assert_int_equal(s.cell_bytes, 16);
    uint32_t slot;
    assert_int_equal(slab_take(&s, &slot), 0);
    assert_int_equal(slot, 1);
    char *first = slab_at(&s, slot);
    strcpy(first, "here");
    for (uint32_t i = 2; i <= 20000; i++) {
        assert_int_equal(slab_take(&s, &slot), 0);
        assert_int_equal(slot, i);
    }
    assert_ptr_equal(slab_at(&s, 1), first);
    assert_string_equal(first, "here");
    assert_int_equal(s.live, 20000);
    assert_int_equal(s.chunk_count, 5);
    assert_true(slab_memory_bytes(&s) >= (size_t)5 * 4096 * 16);
    slab_release(&s);
    assert_int_equal(s.live, 0);
}

static void stops_at_its_limit(void **state) {
    (void)state;
    struct slab s;
    slab_init(&s, 8, 2);
    uint32_t slot = 77;
    assert_int_equal(slab_take(&s, &slot), 0);
    assert_int_equal(slab_take(&s, &slot), 0);
    uint32_t untouched = 77;
    assert_int_equal(slab_take(&s, &untouched), E_LIMIT);
    assert_int_equal(untouched, 77);
    slab_give(&s, slot);
    assert_int_equal(slab_take(&s, &untouched), 0);
    assert_int_equal(untouched, slot);
    slab_release(&s);
}

static void freed_cells_return_last_first_and_zeroed(void **state) {
    (void)state;
    struct slab s;
    slab_init(&s, 24, 100);
    uint32_t slots[10];
    for (int i = 0; i < 10; i++) {
        assert_int_equal(slab_take(&s, &slots[i]), 0);
        memset(slab_at(&s, slots[i]), 0xaa, 24);
    }
    slab_give(&s, slots[3]);
    slab_give(&s, slots[7]);
    assert_int_equal(s.live, 8);
    const uint8_t zeros[24] = {0};
    uint32_t slot;
    assert_int_equal(slab_take(&s, &slot), 0);
    assert_int_equal(slot, slots[7]);
    assert_memory_equal(slab_at(&s, slot), zeros, 24);
    assert_int_equal(slab_take(&s, &slot), 0);
    assert_int_equal(slot, slots[3]);
    assert_int_equal(slab_take(&s, &slot), 0);
    assert_int_equal(slot, 11);
    slab_release(&s);
}

static void test_given_back_is_reusable(void **state) {
    struct slab s;
    uint32_t slots[10];
    slab_init(&s, 64, 1000);
    assert_int_equal(slab_reusable_bytes(&s), 0);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(slab_take(&s, &slots[i]), 0);
    }
    assert_int_equal(slab_reusable_bytes(&s), 0);
    for (unsigned i = 0; i < 4; i++) {
        slab_give(&s, slots[i]);
    }
    assert_int_equal(slab_reusable_bytes(&s), 4 * 64);
    assert_int_equal(slab_take(&s, &slots[0]), 0);
    assert_int_equal(slab_reusable_bytes(&s), 3 * 64);
    slab_release(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given_back_is_reusable),
        cmocka_unit_test(slots_start_at_one_and_never_move),
        cmocka_unit_test(stops_at_its_limit),
        cmocka_unit_test(freed_cells_return_last_first_and_zeroed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
