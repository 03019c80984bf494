#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/resource.h>

#include "base/agenda.h"
#include "base/rng.h"

#define FEW   600u    /* against an array: a bag or two */
#define MANY  200000u /* some dozen bags */
#define PAGE  204u    /* entries */
#define BAG   (32u * PAGE)
#define STEPS 30000u

/* What the agenda should hold: entry i if there[i]. */
struct twin {
    struct agenda_entry entries[FEW];
    bool there[FEW];
    uint32_t live;
};

static bool is_before(struct agenda_entry a, struct agenda_entry b) {
    return a.due_ns != b.due_ns ? a.due_ns < b.due_ns : a.key < b.key;
}

static const struct agenda_entry *twin_first(const struct twin *t) {
    const struct agenda_entry *first = NULL;
    for (uint32_t i = 0; i < FEW; i++) {
        if (t->there[i] && (first == NULL || is_before(t->entries[i], *first))) {
            first = &t->entries[i];
        }
    }
    return first;
}

/* Where the owner of a key would be: another one for each. */
static uint32_t cell_of(uint64_t key) {
    return (uint32_t)key * 7 + 3;
}

static struct agenda_entry entry(uint64_t due_ns, uint64_t key) {
    return (struct agenda_entry){due_ns, key, cell_of(key)};
}

static void must_insert(struct agenda *a, uint64_t due_ns, uint64_t key) {
    assert_int_equal(agenda_insert(a, entry(due_ns, key)), 0);
}

/* One that is there goes, one that is not comes; in phases of mostly the one and mostly the other. */
static void twin_step(struct twin *t, struct agenda *a, struct rng *r, bool fill, uint64_t span) {
    uint32_t i = (uint32_t)rng_below(r, FEW);
    if (t->there[i] && (!fill || rng_below(r, 8) == 0)) {
        agenda_remove(a, t->entries[i]);
        t->there[i] = false;
        t->live--;
    } else if (!t->there[i] && (fill || rng_below(r, 8) == 0)) {
        t->entries[i] = entry(rng_below(r, span), i);
        must_insert(a, t->entries[i].due_ns, i);
        t->there[i] = true;
        t->live++;
    }
    assert_int_equal(agenda_has(a, t->entries[i]), t->there[i]);
}

static void run_against_array(uint64_t seed, uint64_t span) {
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    static struct twin t;
    t = (struct twin){0};
    for (uint32_t i = 0; i < FEW; i++) {
        t.entries[i] = entry(0, i);
    }
    struct agenda a;
    agenda_init(&a);
    for (uint32_t step = 0; step < STEPS; step++) {
        twin_step(&t, &a, &r, step / 3000 % 2 == 0, span);
        const struct agenda_entry *first = twin_first(&t), *told = agenda_first(&a);
        assert_int_equal(a.count, t.live);
        assert_int_equal(told == NULL, first == NULL);
        assert_true(first == NULL || (told->due_ns == first->due_ns && told->key == first->key &&
                                      told->cell == first->cell));
        if (step % 64 == 0) {
            agenda_check(&a);
        }
    }
    agenda_release(&a);
}

static void agrees_with_an_array(void **state) {
    (void)state;
    run_against_array(20261121, 1000000);
    run_against_array(20261122, 20); /* many equal times */
    run_against_array(20261123, 1);
}

static int by_time(const void *a, const void *b) {
    return is_before(*(const struct agenda_entry *)a, *(const struct agenda_entry *)b) ? -1 : 1;
}

enum shape { SPREAD, GROWING, FALLING, ONE_TIME, SHAPES };

static uint64_t due_in(enum shape shape, struct rng *r, uint64_t i) {
    switch (shape) {
    case SPREAD:
        return rng_below(r, 86400000000000);
    case GROWING:
        return 1000 + i;
    case FALLING:
        return 2 * MANY - i;
    default:
        return 7;
    }
}

static uint64_t drain(struct agenda *a, const struct agenda_entry *sorted) {
    uint64_t n = 0;
    for (const struct agenda_entry *e; (e = agenda_first(a)) != NULL; n++) {
        assert_true(e->due_ns == sorted[n].due_ns && e->key == sorted[n].key);
        assert_int_equal(e->cell, cell_of(e->key));
        uint32_t ahead = a->count > AGENDA_AHEAD ? AGENDA_AHEAD : (uint32_t)a->count - 1;
        const struct agenda_entry *later = agenda_ahead(a, ahead);
        assert_true(later != NULL && later->key == sorted[n + ahead].key);
        agenda_remove(a, *e);
        if (n % 16384 == 0) {
            agenda_check(a);
        }
    }
    return n;
}

/* So many that bags are cut, half of them cancelled in no order; the rest leaves as a sort says. */
static void many_leave_in_order(void **state) {
    (void)state;
    struct agenda_entry *all = malloc(MANY * sizeof *all);
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        struct rng r;
        rng_init(&r, shape + 1);
        struct agenda a;
        agenda_init(&a);
        for (uint32_t i = 0; i < MANY; i++) {
            all[i] = entry(due_in((enum shape)shape, &r, i), i);
            must_insert(&a, all[i].due_ns, i);
        }
        agenda_check(&a);
        uint32_t left = MANY;
        for (uint32_t i = 0; i < MANY / 2; i++) {
            uint32_t at = (uint32_t)rng_below(&r, left);
            agenda_remove(&a, all[at]);
            all[at] = all[--left];
        }
        agenda_check(&a);
        qsort(all, left, sizeof *all, by_time);
        assert_int_equal(drain(&a, all), left);
        agenda_release(&a);
    }
    free(all);
}

/* Whatever their order: but for the last page of each bag, one takes its 20 bytes. */
static void pages_are_full(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    struct rng r;
    rng_init(&r, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        must_insert(&a, rng_below(&r, 86400000000000), i);
    }
    assert_true(a.pages.live <= MANY / PAGE + 2 * MANY / BAG + 2);
    agenda_release(&a);
}

/* Whoever schedules and cancels for ever leaves no pages with one entry each behind. */
static void cancelled_gives_pages_back(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    for (uint32_t round = 0; round < 10; round++) {
        uint64_t base = (uint64_t)round * MANY;
        for (uint32_t i = 0; i < MANY; i++) {
            must_insert(&a, base + i, base + i);
        }
        for (uint32_t i = 0; i < MANY; i++) {
            if (i % 256 != 0) {
                agenda_remove(&a, entry(base + i, base + i));
            }
        }
        agenda_check(&a);
    }
    assert_true(agenda_memory_bytes(&a) < 2 * 20 * (MANY + 10 * MANY / 256 * 4) + (6u << 20));
    assert_true(a.pages.live <= 10 * MANY / 256 / 64 + 16);
    agenda_release(&a);
}

/* Memory for millions that have left is not held against those who stay. */
static void what_has_left_is_room_for_others(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    assert_int_equal(agenda_reusable_bytes(&a), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        must_insert(&a, i, i);
    }
    size_t held = agenda_memory_bytes(&a), reusable = agenda_reusable_bytes(&a);
    assert_true(reusable < held / 2);
    for (uint32_t i = 0; i < MANY; i++) {
        agenda_remove(&a, entry(i, i));
    }
    assert_true(agenda_reusable_bytes(&a) > held - (384u << 10));
    for (uint32_t i = 0; i < MANY; i++) {
        must_insert(&a, i, i);
    }
    assert_int_equal(agenda_reusable_bytes(&a), reusable);
    agenda_release(&a);
}

/* As long as there are many: once for each AGENDA_RUN that leave, so that what they need is fetched in time. */
static void runs_begin_again(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    for (uint32_t i = 0; i < MANY; i++) {
        must_insert(&a, i, i);
    }
    uint32_t begun = 0, since = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        bool begins = agenda_begins_run(&a);
        begun += begins;
        since = begins ? 0 : since + 1;
        assert_true(since < AGENDA_RUN);
        agenda_remove(&a, entry(i, i));
    }
    assert_true(begun <= MANY / AGENDA_RUN * 5 / 4);
    agenda_release(&a);
}

/* As one that is tried for ever within its time to live: what it left behind is not kept, nor does it come back. */
static void set_and_removed_for_ever(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    for (uint32_t i = 0; i < 2 * BAG; i++) {
        must_insert(&a, i, i);
    }
    uint32_t pages = a.pages.live;
    for (uint32_t i = 0; i < MANY; i++) {
        agenda_remove(&a, entry(BAG, BAG));
        assert_false(i % 1000 == 0 && agenda_has(&a, entry(BAG, BAG)));
        must_insert(&a, BAG, BAG);
        assert_true(i % 1000 != 0 || agenda_has(&a, entry(BAG, BAG)));
    }
    agenda_check(&a);
    assert_true(a.pages.live <= 2 * pages);
    for (uint32_t i = 0; i < 2 * BAG; i++) {
        assert_int_equal(agenda_first(&a)->key, i);
        agenda_remove(&a, entry(i, i));
    }
    assert_null(agenda_first(&a));
    agenda_release(&a);
}

/* Millions that are cancelled before their time do not have to be passed over one day: they are gone. */
static void what_is_removed_is_not_kept(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    for (uint32_t i = 0; i < MANY; i++) {
        must_insert(&a, i, i);
    }
    uint32_t full = a.pages.live;
    for (uint32_t i = MANY - 1; i > PAGE / 2; i--) { /* the rest is in the front */
        agenda_remove(&a, entry(i, i));
        assert_true(i != MANY / 2 || a.pages.live < full * 2 / 3);
    }
    assert_int_equal(a.pages.live, 0);
    assert_int_equal(agenda_first(&a)->key, 0);
    agenda_release(&a);
}

/* At the same times again and again, from many at once down to few and back: bags are cut, join, and none is forgotten. */
static void come_and_go_among_many(void **state) {
    (void)state;
    struct agenda_entry *all = malloc(MANY * sizeof *all);
    struct rng r;
    rng_init(&r, 20261124);
    for (uint32_t i = 0; i < MANY; i++) {
        all[i] = entry(rng_below(&r, MANY / 8), i);
    }
    struct agenda a;
    agenda_init(&a);
    uint32_t live = 0; /* those in front of it are there */
    for (uint32_t round = 0; round < 6; round++) {
        uint32_t wanted = round % 2 == 0 ? MANY / 4 : 100 + round * 1000;
        for (uint32_t step = 0; live != wanted || step < MANY; step++) {
            bool comes = live < wanted ? rng_below(&r, 4) != 0 : rng_below(&r, 4) == 0;
            uint32_t at =
                comes ? live + (uint32_t)rng_below(&r, MANY - live) : (uint32_t)rng_below(&r, live);
            uint32_t edge = comes ? live++ : --live;
            struct agenda_entry moving = all[at];
            all[at] = all[edge];
            all[edge] = moving;
            if (comes) {
                must_insert(&a, moving.due_ns, moving.key);
            } else {
                agenda_remove(&a, moving);
            }
        }
        agenda_check(&a);
        assert_int_equal(a.count, live);
    }
    qsort(all, live, sizeof *all, by_time);
    assert_int_equal(drain(&a, all), live);
    agenda_release(&a);
    free(all);
}

/* Refused as a whole while there is none; and what is there can go. */
static void without_memory(void **state) {
    (void)state;
#ifndef __SANITIZE_ADDRESS__ /* it needs memory itself */
    struct rlimit before, none = {.rlim_cur = 1};
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none.rlim_max = before.rlim_max;
    struct agenda a;
    agenda_init(&a);
    uint64_t n = 0, early = 0; /* the latter before all others */
    for (; n < MANY; n++) {
        must_insert(&a, MANY + n * 7919 % MANY, n);
    }
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    while (agenda_insert(&a, entry(MANY + n * 7919 % MANY, n)) == 0) {
        n++;
    }
    while (agenda_insert(&a, entry(MANY - 1 - early, early)) ==
           0) { /* into the front, until that is full */
        early++;
    }
    assert_int_equal(a.count, n + early);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    agenda_check(&a);
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    for (uint64_t key = 0; key < n; key++) {
        agenda_remove(&a, entry(MANY + key * 7919 % MANY, key));
    }
    while (early-- > 0) {
        agenda_remove(&a, entry(MANY - 1 - early, early));
    }
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(a.count, 0);
    assert_int_equal(a.pages.live, 0);
    agenda_release(&a);
#endif
}

static void an_empty_one(void **state) {
    (void)state;
    struct agenda a;
    agenda_init(&a);
    assert_null(agenda_first(&a));
    assert_false(agenda_has(&a, entry(1, 1)));
    assert_int_equal(agenda_memory_bytes(&a), 0);
    agenda_check(&a);
    must_insert(&a, UINT64_MAX, UINT64_MAX);
    must_insert(&a, 0, 0);
    assert_int_equal(agenda_first(&a)->due_ns, 0);
    assert_false(agenda_has(&a, (struct agenda_entry){0, 0, cell_of(0) + 1}));
    agenda_remove(&a, entry(0, 0));
    agenda_remove(&a, entry(UINT64_MAX, UINT64_MAX));
    assert_null(agenda_first(&a));
    agenda_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(many_leave_in_order),
        cmocka_unit_test(pages_are_full),
        cmocka_unit_test(cancelled_gives_pages_back),
        cmocka_unit_test(set_and_removed_for_ever),
        cmocka_unit_test(what_is_removed_is_not_kept),
        cmocka_unit_test(come_and_go_among_many),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(what_has_left_is_room_for_others),
        cmocka_unit_test(runs_begin_again),
        cmocka_unit_test(an_empty_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
