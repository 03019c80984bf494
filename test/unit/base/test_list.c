#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "base/list.h"

struct item {
    struct list_node node;
    int n;
};

static int number_of(struct list_node *node) {
    return CONTAINER_OF(node, struct item, node)->n;
}

static void keeps_order(void **state) {
    (void)state;
    struct list l;
    struct item items[5] = {0};
    list_init(&l);
    assert_true(list_empty(&l));
    assert_null(list_first(&l));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
    }
    list_append(&l, &items[1].node);
    list_append(&l, &items[3].node);
    list_prepend(&l, &items[0].node);
    list_insert_before(&items[3].node, &items[2].node);
    list_append(&l, &items[4].node);
    int expected = 0;
    for (struct list_node *n = list_first(&l); n != NULL; n = list_next(&l, n)) {
        assert_int_equal(number_of(n), expected++);
    }
    assert_int_equal(expected, 5);
}

static void removed_nodes_are_unlinked(void **state) {
    (void)state;
    struct list l;
    struct item a = {.n = 1}, b = {.n = 2};
    list_init(&l);
    list_append(&l, &a.node);
    list_append(&l, &b.node);
    assert_true(list_linked(&a.node));
    list_remove(&a.node);
    assert_false(list_linked(&a.node));
    assert_ptr_equal(list_pop(&l), &b.node);
    assert_null(list_pop(&l));
    assert_true(list_empty(&l));
    list_append(&l, &a.node); /* may be linked again */
    assert_ptr_equal(list_first(&l), &a.node);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order),
        cmocka_unit_test(removed_nodes_are_unlinked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
