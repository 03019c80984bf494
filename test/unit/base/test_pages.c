#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/pages.h"

#define MANY 3000u /* of 2 KiB: the first block and three huge pages */

static void pages_are_apart_aligned_and_never_move(void **state) {
    (void)state;
    static uint32_t numbers[MANY];
    static uint8_t *places[MANY];
    struct pages p;
    pages_init(&p, 2048);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(pages_take(&p, &numbers[i]), 0);
        places[i] = pages_at(&p, numbers[i]);
        assert_int_equal((uintptr_t)places[i] % 2048, 0);
        memset(places[i], (int)(i % 251), 2048);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        assert_ptr_equal(pages_at(&p, numbers[i]), places[i]);
        assert_int_equal(places[i][0], i % 251);
        assert_int_equal(places[i][2047], i % 251);
    }
    assert_int_equal(p.live, MANY);
    assert_true(pages_memory_bytes(&p) >= MANY * (size_t)2048);
    pages_release(&p);
    assert_int_equal(pages_memory_bytes(&p), 0);
}

static void given_pages_come_back_first(void **state) {
    (void)state;
    uint32_t numbers[100], again;
    struct pages p;
    pages_init(&p, 4096);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(pages_take(&p, &numbers[i]), 0);
    }
    size_t held = pages_memory_bytes(&p);
    for (unsigned i = 0; i < 100; i++) {
        pages_give(&p, numbers[i]);
    }
    assert_int_equal(p.live, 0);
    assert_true(pages_reusable_bytes(&p) >= 100 * 4096);
    for (unsigned i = 100; i-- > 0;) {
        assert_int_equal(pages_take(&p, &again), 0);
        assert_int_equal(again, numbers[i]);
    }
    assert_int_equal(pages_memory_bytes(&p), held);
    pages_release(&p);
    assert_int_equal(pages_take(&p, &again), 0);
    pages_release(&p);
}

static void few_pages_count_as_few_bytes(void **state) {
    (void)state;
    struct pages p;
    uint32_t number;
    pages_init(&p, 2048);
    assert_int_equal(pages_memory_bytes(&p), 0);
    assert_int_equal(pages_take(&p, &number), 0);
    assert_true(pages_memory_bytes(&p) <= 2048 + sizeof(uint8_t *));
    pages_release(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_apart_aligned_and_never_move),
        cmocka_unit_test(given_pages_come_back_first),
        cmocka_unit_test(few_pages_count_as_few_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
