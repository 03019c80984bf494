/*
 * Lanes by hand: shares by weight and by guarantee, what one leaves the others take, who comes back. Random
 * use and the twin: test/model/lane.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "model/lane.h"

#define SLOTS 5u

static struct lane table[SLOTS];
static struct lanes lanes;

static bool anybody(void *asker, uint32_t ref) {
    return asker == NULL || *(uint32_t *)asker != ref;
}

static void begin(void) {
    memset(table, 0, sizeof table);
    lanes_init(&lanes, table);
    assert_int_equal(lanes_reserve(&lanes, SLOTS), 0);
}

static void turns(uint32_t count, uint32_t had[SLOTS]) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = lanes_pick(&lanes, anybody, NULL);
        had[slot]++;
        lanes_turn(&lanes, slot);
        lanes_check(&lanes);
    }
}

static void weights_divide_the_turns(void **state) {
    (void)state;
    begin();
    lanes_join(&lanes, 1, 11, 1, 0);
    lanes_join(&lanes, 2, 12, 2, 0);
    lanes_join(&lanes, 3, 13, 7, 0);
    uint32_t had[SLOTS] = {0};
    turns(1000, had);
    assert_in_range(had[1], 99, 101);
    assert_in_range(had[2], 199, 201);
    assert_in_range(had[3], 699, 701);
    lanes_release(&lanes);
}

static void a_guarantee_comes_before_weights(void **state) {
    (void)state;
    begin();
    lanes_join(&lanes, 1, 11, 1, 30);
    lanes_join(&lanes, 2, 12, 1000, 0);
    lanes_join(&lanes, 3, 13, 1000, 10);
    uint32_t had[SLOTS] = {0};
    turns(1000, had);
    assert_in_range(had[1], 299, 302);
    assert_in_range(had[3], 397, 402); /* 10 % and half of the other 60 */
    lanes_leave(&lanes, 1);
    memset(had, 0, sizeof had);
    turns(1000, had);
    assert_in_range(had[2], 448, 452); /* what it leaves unused the others take */
    assert_in_range(had[3], 548, 552);
    lanes_release(&lanes);
}

static void who_comes_back_is_next_and_saved_nothing_up(void **state) {
    (void)state;
    begin();
    lanes_join(&lanes, 1, 11, 1, 0);
    uint32_t had[SLOTS] = {0};
    turns(1000, had);
    lanes_join(&lanes, 2, 12, 1, 0);
    assert_int_equal(lanes_pick(&lanes, anybody, NULL), 2);
    memset(had, 0, sizeof had);
    turns(100, had);
    assert_in_range(had[2], 50, 51);
    lanes_leave(&lanes, 2);
    lanes_join(&lanes, 2, 12, 1, 0); /* it had its turn: leaving gains nothing */
    turns(100, had);
    assert_in_range(had[2], 99, 102);
    lanes_release(&lanes);
}

static void who_cannot_go_is_passed_over(void **state) {
    (void)state;
    begin();
    lanes_join(&lanes, 1, 11, 1, 50);
    lanes_join(&lanes, 2, 12, 1, 0);
    uint32_t not = 11;
    assert_int_equal(lanes_pick(&lanes, anybody, NULL), 1);
    assert_int_equal(lanes_pick(&lanes, anybody, &not ), 2);
    lanes_leave(&lanes, 2);
    assert_int_equal(lanes_pick(&lanes, anybody, &not ), 0);
    lanes_leave(&lanes, 1);
    assert_int_equal(lanes_pick(&lanes, anybody, NULL), 0);
    lanes_release(&lanes);
}

static void what_is_forgotten_begins_anew(void **state) {
    (void)state;
    begin();
    lanes_join(&lanes, 1, 11, 1, 0);
    lanes_join(&lanes, 2, 12, 1, 0);
    uint32_t had[SLOTS] = {0};
    turns(5, had);
    lanes_leave(&lanes, 2);
    lanes_forget(&lanes, 2);
    assert_int_equal(table[2].ref, 0);
    lanes_join(&lanes, 2, 99, 3, 20);
    lanes_check(&lanes);
    assert_int_equal(lanes_pick(&lanes, anybody, NULL), 2);
    lanes_release(&lanes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_divide_the_turns),
        cmocka_unit_test(a_guarantee_comes_before_weights),
        cmocka_unit_test(who_comes_back_is_next_and_saved_nothing_up),
        cmocka_unit_test(who_cannot_go_is_passed_over),
        cmocka_unit_test(what_is_forgotten_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
