#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/heap.h"
#include "base/rng.h"

#define REFS 500u

/* Where each ref stands, as told by `moved`. */
struct owner {
    uint32_t index[REFS];
    uint64_t due_ns[REFS];
};

static void on_moved(void *context, const struct heap_entry *e, uint32_t index) {
    struct owner *o = context;
    o->index[e->ref] = index;
}

static void owner_check(const struct owner *o, const struct heap *h) {
    heap_check(h);
    for (uint32_t i = 1; i <= h->count; i++) {
        assert_int_equal(o->index[h->entries[i].ref], i);
        assert_true(o->due_ns[h->entries[i].ref] == h->entries[i].due_ns);
    }
}

static uint64_t owner_earliest(const struct owner *o) {
    uint64_t earliest = UINT64_MAX;
    for (uint32_t ref = 0; ref < REFS; ref++) {
        if (o->index[ref] != 0 && o->due_ns[ref] < earliest) {
            earliest = o->due_ns[ref];
        }
    }
    return earliest;
}

/* Random inserts and removals from the middle against a plain array of due times. */
static void agrees_with_an_array(void **state) {
    (void)state;
    const uint64_t seed = 20250301;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    struct owner o = {0};
    struct heap h;
    heap_init(&h, &o, on_moved);
    uint32_t live = 0;
    for (int step = 0; step < 20000; step++) {
        uint32_t ref = (uint32_t)rng_below(&r, REFS);
        if (o.index[ref] == 0) {
            o.due_ns[ref] = rng_below(&r, 200); /* many equal times */
            struct heap_entry e = {.due_ns = o.due_ns[ref], .ref = ref};
            assert_int_equal(heap_insert(&h, e), 0);
            assert_true(o.index[ref] != 0);
            live++;
        } else {
            heap_remove(&h, o.index[ref]);
            assert_int_equal(o.index[ref], 0);
            live--;
        }
        assert_int_equal(h.count, live);
        if (step % 50 == 0) {
            owner_check(&o, &h);
        }
        if (live > 0) {
            assert_true(heap_first(&h)->due_ns == owner_earliest(&o));
        }
    }
    heap_release(&h);
}

static void pops_in_order(void **state) {
    (void)state;
    struct owner o = {0};
    struct heap h;
    heap_init(&h, &o, on_moved);
    assert_null(heap_first(&h));
    for (uint32_t i = 0; i < REFS; i++) {
        struct heap_entry e = {.due_ns = (i * 7919) % REFS, .ref = i, .kind = 3};
        assert_int_equal(heap_insert(&h, e), 0);
    }
    for (uint64_t due_ns = 0; due_ns < REFS; due_ns++) {
        assert_true(heap_first(&h)->due_ns == due_ns);
        assert_int_equal(heap_first(&h)->kind, 3);
        heap_remove(&h, 1);
    }
    assert_null(heap_first(&h));
    heap_release(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(pops_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
