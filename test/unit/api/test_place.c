/* Page tokens of lists of messages: of which list, of which process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "api/place.h"
#include "base/error.h"

#define BY_CELL (UINT64_C(1) << 63) /* such a place ends with its process: queue_list.c */

static const struct place by_id = {.after = 0xa440, .bound = 0xfedcba9876543};
static const struct place by_cell = {.after = BY_CELL | 7, .bound = UINT64_MAX - 9};

static int read_text(const char *token, uint32_t list, uint32_t process, struct place *ret) {
    return place_read(span_text(token), list, process, ret);
}

static void comes_back_as_it_was(void **state) {
    (void)state;
    char token[PLACE_DIGITS + 1];
    struct place p;
    uint32_t list = place_list(span_text("q"), MESSAGE_DEAD, NULL);
    place_write(&by_cell, list, 77, token);
    assert_int_equal(strlen(token), PLACE_DIGITS);
    assert_int_equal(read_text(token, list, 77, &p), 0);
    assert_true(p.after == by_cell.after && p.bound == by_cell.bound);
    place_write(&by_id, list, 77, token);
    assert_int_equal(read_text(token, list, 77, &p), 0);
    assert_true(p.after == by_id.after && p.bound == by_id.bound);
}

static void ids_outlive_a_process_and_cells_do_not(void **state) {
    (void)state;
    char token[PLACE_DIGITS + 1];
    struct place p;
    place_write(&by_id, 1, 77, token);
    assert_int_equal(read_text(token, 1, 78, &p), 0);
    place_write(&by_cell, 1, 77, token);
    assert_int_equal(read_text(token, 1, 78, &p), E_CLOSED);
}

static void each_list_has_its_own(void **state) {
    (void)state;
    json_t *filter = json_pack("{s:i,s:s}", "status", 422, "contains", "x");
    json_t *turned = json_pack("{s:s,s:i}", "contains", "x", "status", 422);
    json_t *other = json_pack("{s:s,s:i}", "contains", "x", "status", 423);
    const uint32_t lists[] = {
        place_list(span_text("q"), 0, NULL),   place_list(span_text("q"), MESSAGE_DEAD, NULL),
        place_list(span_text("qq"), 0, NULL),  place_list(span_text("q"), 0, filter),
        place_list(span_text("q"), 0, other),  place_list(span_text(""), 0, NULL),
        place_list(span_text("r"), 0, filter),
    };
    char token[PLACE_DIGITS + 1];
    struct place p;
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        place_write(&by_id, lists[i], 1, token);
        for (size_t j = 0; j < ARRAY_LENGTH(lists); j++) {
            assert_int_equal(read_text(token, lists[j], 1, &p), i == j ? 0 : E_INVALID);
        }
    }
    assert_int_equal(place_list(span_text("q"), 0, turned), lists[3]);
    json_decref(filter);
    json_decref(turned);
    json_decref(other);
}

static void mistakes_are_found(void **state) {
    (void)state;
    char token[PLACE_DIGITS + 1];
    struct place p = {.after = 5};
    place_write(&by_id, 1, 1, token);
    for (size_t i = 0; i < PLACE_DIGITS; i++) {
        const char was = token[i];
        for (const char *c = "0f1g"; *c != '\0'; c++) {
            token[i] = *c;
            assert_int_equal(read_text(token, 1, 1, &p), *c == was ? 0 : E_INVALID);
        }
        token[i] = was;
    }
    for (size_t size = 0; size < PLACE_DIGITS; size++) {
        assert_int_equal(place_read(span_of(token, size), 1, 1, &p), E_INVALID);
    }
    p.after = 5;
    assert_int_equal(read_text("0000000000000001", 1, 1, &p), E_INVALID);
    assert_int_equal(p.after, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),
        cmocka_unit_test(ids_outlive_a_process_and_cells_do_not),
        cmocka_unit_test(each_list_has_its_own),
        cmocka_unit_test(mistakes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
