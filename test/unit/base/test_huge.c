#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/huge.h"

#define WAIT_NS (60 * NS_PER_SECOND)

/* Of the block that memory stands behind. */
static size_t resident_bytes(void *block) {
    static unsigned char pages[HUGE_BYTES / 4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 0;
    assert_int_equal(mincore(block, HUGE_BYTES, pages), 0);
    for (size_t i = 0; i < HUGE_BYTES / page; i++) {
        bytes += (pages[i] & 1) * page;
    }
    return bytes;
}

static void wait_for_count(unsigned count) {
    uint64_t end_ns = clock_monotonic_ns() + WAIT_NS;
    while (huge_ahead_count() != count && clock_monotonic_ns() < end_ns) {
        usleep(1000);
    }
    assert_int_equal(huge_ahead_count(), count);
}

static void blocks_are_aligned_and_apart(void **state) {
    (void)state;
    uint8_t *blocks[8];
    for (unsigned i = 0; i < 8; i++) {
        blocks[i] = huge_take(i < 7 ? HUGE_BYTES : 3 * HUGE_BYTES);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % HUGE_BYTES, 0);
        memset(blocks[i], (int)i, i < 7 ? HUGE_BYTES : 3 * HUGE_BYTES);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(blocks[i][0], i);
        assert_int_equal(blocks[i][HUGE_BYTES - 1], i);
        huge_give(blocks[i], i < 7 ? HUGE_BYTES : 3 * HUGE_BYTES);
    }
    assert_int_equal(huge_ahead_count(), 0);
}

static void the_next_ones_lie_ready_and_touched(void **state) {
    (void)state;
    assert_int_equal(huge_ahead_start(), 0);
    assert_int_equal(huge_ahead_count(), 0); /* nobody took one yet */
    void *first = huge_take(HUGE_BYTES);
    assert_non_null(first);
    wait_for_count(HUGE_AHEAD);
    void *ready[HUGE_AHEAD];
    for (unsigned i = 0; i < HUGE_AHEAD; i++) {
        ready[i] = huge_take(HUGE_BYTES);
        assert_non_null(ready[i]);
        assert_int_equal(resident_bytes(ready[i]), HUGE_BYTES);
    }
    wait_for_count(HUGE_AHEAD); /* what was taken is made up for */
    for (unsigned i = 0; i < HUGE_AHEAD; i++) {
        huge_give(ready[i], HUGE_BYTES);
    }
    huge_give(first, HUGE_BYTES);
    huge_ahead_stop();
    assert_int_equal(huge_ahead_count(), 0);
}

static void a_large_block_takes_none_of_them(void **state) {
    (void)state;
    assert_int_equal(huge_ahead_start(), 0);
    void *first = huge_take(HUGE_BYTES);
    wait_for_count(HUGE_AHEAD);
    void *large = huge_take(2 * HUGE_BYTES);
    assert_non_null(large);
    assert_int_equal(huge_ahead_count(), HUGE_AHEAD);
    huge_give(large, 2 * HUGE_BYTES);
    huge_give(first, HUGE_BYTES);
    huge_ahead_stop();
}

static void it_starts_and_stops_again(void **state) {
    (void)state;
    huge_ahead_stop(); /* never started */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(huge_ahead_start(), 0);
        huge_give(huge_take(HUGE_BYTES), HUGE_BYTES);
        huge_ahead_stop(); /* also while one is being touched */
        assert_int_equal(huge_ahead_count(), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(the_next_ones_lie_ready_and_touched),
        cmocka_unit_test(a_large_block_takes_none_of_them),
        cmocka_unit_test(it_starts_and_stops_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
