#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "base/roll.h"

#define LISTS  3u
#define OWNERS 400u
#define STEPS  60000u

/* What the lists should hold: owners in the order in which they came. */
struct twin {
    uint32_t order[LISTS][OWNERS];
    uint32_t counts[LISTS];
    uint32_t list_of[OWNERS]; /* LISTS: none */
    uint32_t place_of[OWNERS];
};

static void twin_leave(struct twin *t, uint32_t owner) {
    uint32_t l = t->list_of[owner], at = 0;
    while (t->order[l][at] != owner) {
        at++;
    }
    memmove(&t->order[l][at], &t->order[l][at + 1],
            (t->counts[l] - at - 1) * sizeof t->order[l][0]);
    t->counts[l]--;
    t->list_of[owner] = LISTS;
}

static void twin_join(struct twin *t, uint32_t owner, uint32_t l) {
    t->order[l][t->counts[l]++] = owner;
    t->list_of[owner] = l;
}

static bool is_there(const struct twin *t, uint32_t owner, uint32_t l, uint32_t place) {
    return t->list_of[owner] == l && t->place_of[owner] == place;
}

/* All that is there in one direction; so many that have left in a row as roll.h says, and no more. */
static void must_walk_as(const struct twin *t, const struct rolls *r, const struct roll *l,
                         uint32_t list, bool forth) {
    uint32_t met = 0, passed = 0;
    for (uint32_t p = 0; (p = forth ? roll_after(r, l, p) : roll_before(r, l, p)) != 0;) {
        uint32_t owner = roll_at(r, p);
        if (!is_there(t, owner, list, p)) {
            passed++;
            continue;
        }
        uint32_t expected = forth ? met : t->counts[list] - 1 - met;
        assert_int_equal(owner, t->order[list][expected]);
        assert_true(passed <= 2 * ROLL_SHEET - 2);
        passed = 0;
        met++;
    }
    assert_int_equal(met, t->counts[list]);
}

static void step(struct twin *t, struct rolls *r, struct roll *lists, struct rng *rng, bool fill) {
    uint32_t owner = (uint32_t)rng_below(rng, OWNERS), l = t->list_of[owner];
    if (l < LISTS && (!fill || rng_below(rng, 4) == 0)) {
        roll_leave(r, &lists[l], t->place_of[owner]);
        twin_leave(t, owner);
    } else if (l == LISTS && (fill || rng_below(rng, 4) == 0)) {
        l = (uint32_t)rng_below(rng, LISTS);
        assert_int_equal(roll_append(r, &lists[l], owner, &t->place_of[owner]), 0);
        assert_int_not_equal(t->place_of[owner], 0);
        twin_join(t, owner, l);
    }
}

static void holds_what_an_array_holds(void **state) {
    (void)state;
    static struct twin t;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rng rng;
        struct rolls r;
        struct roll lists[LISTS] = {0};
        rng_init(&rng, seed);
        rolls_init(&r);
        t = (struct twin){0};
        for (uint32_t i = 0; i < OWNERS; i++) {
            t.list_of[i] = LISTS;
        }
        for (uint32_t i = 0; i < STEPS; i++) {
            step(&t, &r, lists, &rng, i / 5000 % 2 == 0);
            for (uint32_t l = 0; i % 50 == 0 && l < LISTS; l++) {
                roll_check(&r, &lists[l]);
                assert_int_equal(lists[l].count, t.counts[l]);
                must_walk_as(&t, &r, &lists[l], l, true);
                must_walk_as(&t, &r, &lists[l], l, false);
            }
        }
        rolls_release(&r);
    }
}

static void an_empty_one_has_no_places(void **state) {
    (void)state;
    struct rolls r;
    struct roll l = {0};
    uint32_t place;
    rolls_init(&r);
    assert_int_equal(roll_after(&r, &l, 0), 0);
    assert_int_equal(roll_before(&r, &l, 0), 0);
    assert_int_equal(roll_append(&r, &l, 7, &place), 0);
    assert_int_equal(roll_at(&r, place), 7);
    roll_leave(&r, &l, place);
    assert_int_equal(roll_after(&r, &l, 0), 0);
    assert_int_equal(roll_before(&r, &l, 0), 0);
    roll_check(&r, &l);
    rolls_release(&r);
}

/* Sheets that nobody stands in go to whoever comes, of any list. */
static void what_has_left_gives_its_memory_back(void **state) {
    (void)state;
    enum { MANY = 100000 };
    static uint32_t places[MANY];
    struct rolls r;
    struct roll lists[2] = {0};
    rolls_init(&r);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(roll_append(&r, &lists[0], i, &places[i]), 0);
    }
    size_t full = rolls_memory_bytes(&r);
    assert_true(full < (size_t)MANY * 6 + ((size_t)2 << 20));
    assert_int_equal(rolls_reusable_bytes(&r), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        roll_leave(&r, &lists[0], places[i]);
    }
    assert_true(rolls_reusable_bytes(&r) > (size_t)MANY * 4);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(roll_append(&r, &lists[1], i, &places[i]), 0);
    }
    assert_int_equal(rolls_memory_bytes(&r), full);
    rolls_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_an_array_holds),
        cmocka_unit_test(an_empty_one_has_no_places),
        cmocka_unit_test(what_has_left_gives_its_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
