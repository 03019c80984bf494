/* How a decision writes its facts, and what it does when it cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/fact.h"
#include "model/module.h"

static void test_bytes_of_a_fact(void **state) {
    struct buffer facts;
    buffer_init(&facts, 100);
    struct decision d = {.facts = &facts};
    size_t begun = decision_begin(&d, 0x0110, 1);
    decision_put_u8(&d, 0xaa);
    decision_put_u16(&d, 0x0102);
    decision_put_span(&d, span_text("xy"));
    decision_end(&d, begun);
    begun = decision_begin(&d, 0x0203, 2);
    decision_end(&d, begun);
    static const uint8_t expected[] = {0x10, 0x01, 1,    0,    5, 0, 0, 0, 0xaa, 0x02, 0x01,
                                       'x',  'y',  0x03, 0x02, 2, 0, 0, 0, 0,    0};
    assert_int_equal(facts.size, sizeof expected);
    assert_memory_equal(facts.data, expected, sizeof expected);
    assert_int_equal(d.fact_count, 2);
    assert_false(d.failed);
    buffer_release(&facts);
}

static void test_no_room_is_kept(void **state) {
    struct buffer facts;
    buffer_init(&facts, 12);
    struct decision d = {.facts = &facts};
    size_t begun = decision_begin(&d, 0x0110, 1);
    decision_put_u64(&d, 1);
    decision_end(&d, begun);
    assert_true(d.failed);
    assert_int_equal(d.fact_count, 0);
    buffer_release(&facts);
}

/* The header of a record counts them in 16 bits. */
static void test_too_many_facts(void **state) {
    struct buffer facts;
    buffer_init(&facts, 1u << 20);
    struct decision d = {.facts = &facts};
    for (uint32_t i = 0; i < UINT16_MAX; i++) {
        decision_end(&d, decision_begin(&d, 0x0110, 1));
    }
    assert_false(d.failed);
    decision_end(&d, decision_begin(&d, 0x0110, 1));
    assert_true(d.failed);
    buffer_release(&facts);
}

static void test_ids(void **state) {
    uint64_t id = id_make(1000, 63);
    assert_int_equal(id_position(id), 1000);
    assert_true(id < id_make(1001, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_of_a_fact),
        cmocka_unit_test(test_no_room_is_kept),
        cmocka_unit_test(test_too_many_facts),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
