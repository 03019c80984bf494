#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/roster.h"

static const struct hash_key hash = {1, 2};

static void test_indices_are_never_reused(void **state) {
    (void)state;
    struct roster r;
    int a, b, c;
    roster_init(&r, hash);
    assert_int_equal(roster_next_index(&r), 1);
    assert_int_equal(roster_put(&r, 1, &a, "a"), 0);
    assert_int_equal(roster_put(&r, 2, &b, "b"), 0);
    assert_int_equal(roster_find(&r, span_text("b")), 2);
    roster_remove(&r, 1);
    assert_int_equal(roster_find(&r, span_text("a")), 0);
    uint32_t index = roster_next_index(&r);
    assert_int_not_equal(index, 1);
    assert_int_equal(roster_put(&r, index, &c, "a"), 0);
    assert_null(roster_at(&r, 1));
    assert_ptr_equal(roster_at(&r, index), &c);
    assert_int_equal(roster_after(&r, 0), index);
    assert_int_equal(roster_after(&r, index), 2);
    assert_int_equal(roster_after(&r, 2), 0);
    assert_ptr_equal(roster_ahead(&r, index, 1), &b);
    assert_null(roster_ahead(&r, index, 1u << 20)); /* behind the last */
    roster_remove(&r, 2);
    assert_null(roster_ahead(&r, index, 1));
    roster_check(&r);
    roster_release(&r);
}

static void test_impossible_indices(void **state) {
    (void)state;
    struct roster r;
    int a;
    roster_init(&r, hash);
    assert_int_equal(roster_put(&r, 0, &a, "a"), E_CORRUPT);
    assert_int_equal(roster_put(&r, 2, &a, "a"), E_CORRUPT);
    assert_int_equal(roster_put(&r, 1, &a, "a"), 0);
    assert_int_equal(roster_put(&r, 1, &a, "b"), E_CORRUPT);
    assert_int_equal(roster_put(&r, 2, &a, "a"), E_CORRUPT);
    assert_null(roster_at(&r, 7));
    roster_release(&r);
}

static int no_flush(void *sink, struct buffer *chunk) {
    (void)sink;
    (void)chunk;
    return 0;
}

/* The next index is the same after a restart, so a stale tie stays stale. */
static void test_generations_are_saved(void **state) {
    (void)state;
    struct roster r, loaded;
    char names[100][8];
    struct buffer bytes;
    buffer_init(&bytes, 1 << 20);
    roster_init(&r, hash);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "n%u", i);
        assert_int_equal(roster_put(&r, i + 1, names[i], names[i]), 0);
    }
    for (uint32_t i = 1; i <= 100; i++) {
        roster_remove(&r, i);
    }
    struct saver s = {.chunk = &bytes, .flush = no_flush};
    roster_save(&r, &s);
    assert_int_equal(s.rc, 0);
    uint32_t items = 1;
    struct reader in;
    reader_init(&in, buffer_span(&bytes));
    roster_init(&loaded, hash);
    assert_int_equal(roster_load(&loaded, &in, &items), 0);
    assert_int_equal(items, 0);
    assert_true(reader_done(&in));
    assert_int_equal(roster_next_index(&loaded), roster_next_index(&r));
    roster_release(&loaded);

    reader_init(&in, span_of(bytes.data, bytes.size - 1));
    roster_init(&loaded, hash);
    assert_int_equal(roster_load(&loaded, &in, &items), E_CORRUPT);
    roster_release(&loaded);
    roster_release(&r);
    buffer_release(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_indices_are_never_reused),
        cmocka_unit_test(test_impossible_indices),
        cmocka_unit_test(test_generations_are_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
