/*
 * Shares of lanes under random use. Two twins:
 *
 *   the order   the rules of lane.c's essay over plain arrays, all lanes looked at for each turn;
 *   the share   while the same lanes have work, turns * (guarantee + weight's part of the rest).
 *
 * SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "model/lane.h"
#include "seeds.h"

#define LANES 12u
#define UNIT  (UINT64_C(1) << 20)

/* Times in units of turns (due) and of UNIT (begins), both as fractions: 1/weight, 1/percent. */
struct naive {
    uint64_t begins, begins_parts; /* begins + begins_parts/weight */
    uint64_t due, due_parts;
    uint64_t key;
    uint32_t weight, percent;
    enum lane_place place;
    uint32_t backlog;
};

struct twin {
    struct rng rng;
    struct lane table[LANES + 1];
    struct lanes lanes;
    struct naive naive[LANES + 1];
    uint64_t now, turns;
    bool stuck[LANES + 1]; /* cannot go although it has work */
};

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* ---- the order ---- */

static bool naive_any(const struct twin *t, enum lane_place place, uint64_t *ret_first) {
    bool any = false;
    *ret_first = UINT64_MAX;
    for (uint32_t i = 1; i <= LANES; i++) {
        const struct naive *n = &t->naive[i];
        any |= n->place == place;
        *ret_first = n->place == place && n->begins < *ret_first ? n->begins : *ret_first;
    }
    return any;
}

static void naive_promote(struct twin *t) {
    uint64_t first, ignored;
    while (naive_any(t, LANE_EARLY, &first) &&
           (first <= t->now || !naive_any(t, LANE_READY, &ignored))) {
        t->now = later(t->now, first);
        for (uint32_t i = 1; i <= LANES; i++) {
            struct naive *n = &t->naive[i];
            if (n->place == LANE_EARLY && n->begins <= t->now) {
                n->place = n->backlog > 0 ? LANE_READY : LANE_OUT;
                n->key = 2 * (n->begins + UNIT / n->weight) + 1;
            }
        }
    }
}

static void naive_join(struct twin *t, uint32_t i) {
    struct naive *n = &t->naive[i];
    n->due = later(n->due, t->turns);
    if (n->place == LANE_OUT) {
        n->place = LANE_READY;
        n->begins = t->now;
        n->key = 2 * t->now;
    }
    naive_promote(t);
}

/* The least of what must be least in whom it picks: equals are equal. */
static bool naive_agrees(const struct twin *t, uint32_t picked) {
    uint64_t end = UINT64_MAX, key = UINT64_MAX, begins = UINT64_MAX;
    for (uint32_t i = 1; i <= LANES; i++) {
        const struct naive *n = &t->naive[i];
        if (n->backlog == 0 || t->stuck[i]) {
            continue;
        }
        if (n->percent > 0 && n->due <= t->turns && n->due + 100 / n->percent < end) {
            end = n->due + 100 / n->percent;
        }
        key = n->place == LANE_READY && n->key < key ? n->key : key;
        begins = n->place == LANE_EARLY && n->begins < begins ? n->begins : begins;
    }
    const struct naive *n = &t->naive[picked];
    if (end != UINT64_MAX) {
        return picked != 0 && n->percent > 0 && n->due + 100 / n->percent == end;
    }
    if (key != UINT64_MAX) {
        return picked != 0 && n->place == LANE_READY && n->key == key;
    }
    return begins == UINT64_MAX ? picked == 0 : picked != 0 && n->begins == begins;
}

static void naive_turn(struct twin *t, uint32_t i) {
    struct naive *n = &t->naive[i];
    if (n->backlog == 0 && n->place == LANE_READY) {
        n->place = LANE_OUT;
    }
    if (n->percent > 0 && n->due <= t->turns) {
        n->due_parts += 100;
        n->due += n->due_parts / n->percent;
        n->due_parts %= n->percent;
    } else {
        uint64_t weights = 0;
        for (uint32_t k = 1; k <= LANES; k++) {
            weights += t->naive[k].place != LANE_OUT || k == i ? t->naive[k].weight : 0;
        }
        n->begins_parts += UNIT;
        n->begins += n->begins_parts / n->weight;
        n->begins_parts %= n->weight;
        t->now += UNIT / weights;
        n->place = LANE_EARLY;
        if (n->begins <= t->now) {
            n->place = n->backlog > 0 ? LANE_READY : LANE_OUT;
        }
        n->key = 2 * (n->begins + UNIT / n->weight) + 1;
    }
    t->turns++;
    naive_promote(t);
}

/* ---- both ---- */

static bool can_go(void *asker, uint32_t ref) {
    const struct twin *t = asker;
    return !t->stuck[ref - 100];
}

static void arrive(struct twin *t, uint32_t i, uint32_t count) {
    bool was_idle = t->naive[i].backlog == 0;
    t->naive[i].backlog += count;
    if (was_idle) {
        lanes_join(&t->lanes, i, 100 + i, t->naive[i].weight, t->naive[i].percent);
        naive_join(t, i);
    }
}

/* Who had it; 0: nobody could. */
static uint32_t turn(struct twin *t) {
    uint32_t i = lanes_pick(&t->lanes, can_go, t);
    assert_true(naive_agrees(t, i));
    if (i != 0) {
        if (--t->naive[i].backlog == 0) {
            lanes_leave(&t->lanes, i);
        }
        lanes_turn(&t->lanes, i);
        naive_turn(t, i);
        assert_true(t->now == t->lanes.now);
    }
    lanes_check(&t->lanes);
    return i;
}

static void begin(struct twin *t, uint64_t seed, bool guarantees) {
    memset(t, 0, sizeof *t);
    rng_init(&t->rng, seed);
    lanes_init(&t->lanes, t->table);
    assert_int_equal(lanes_reserve(&t->lanes, LANES), 0);
    uint32_t left = 100;
    for (uint32_t i = 1; i <= LANES; i++) {
        struct naive *n = &t->naive[i];
        n->weight = 1 + (uint32_t)rng_below(&t->rng, rng_below(&t->rng, 2) ? 3 : 100);
        n->percent =
            guarantees && rng_below(&t->rng, 2) ? (uint32_t)rng_below(&t->rng, left / 2 + 1) : 0;
        left -= n->percent;
    }
}

/* ---- promises ---- */

static void run_random(uint64_t seed) {
    static struct twin t;
    begin(&t, seed, seed % 2);
    uint64_t waits[LANES + 1] = {0};
    for (int step = 0; step < 20000; step++) {
        if (rng_below(&t.rng, 10) < 4) {
            uint32_t i = 1 + (uint32_t)rng_below(&t.rng, LANES);
            arrive(&t, i, 1 + (uint32_t)rng_below(&t.rng, rng_below(&t.rng, 20) ? 2 : 60));
        } else if (rng_below(&t.rng, 50) == 0) {
            uint32_t i = 1 + (uint32_t)rng_below(&t.rng, LANES);
            t.stuck[i] = !t.stuck[i];
        } else {
            uint32_t had = turn(&t);
            for (uint32_t i = 1; i <= LANES; i++) {
                bool waits_on = had != 0 && i != had && t.naive[i].backlog > 0 && !t.stuck[i];
                waits[i] = waits_on ? waits[i] + 1 : 0;
                /* all others' weights against the least, and what guarantees take: nobody starves */
                assert_true(waits[i] < 100 * LANES * 100);
            }
        }
    }
    lanes_release(&t.lanes);
}

static void the_order_is_that_of_the_rules(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(20);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_random(seed);
    }
}

#define TURNS 3000
#define ALL_BEGUN                                                                                  \
    200 /* all came at once and were let in at once, which takes a while to be made up */

/* The furthest that any lane in `mask` was from its share at any turn. */
static double furthest(struct twin *t, uint32_t mask) {
    double weights = 0, free_share = 1, far = 0;
    uint64_t had[LANES + 1] = {0};
    for (uint32_t i = 1; i <= LANES; i++) {
        if (mask >> i & 1) {
            arrive(t, i, TURNS + 1);
            weights += t->naive[i].weight;
            free_share -= t->naive[i].percent / 100.0;
        }
    }
    for (int n = 1; n <= TURNS; n++) {
        had[turn(t)]++;
        for (uint32_t i = 1; i <= LANES; i++) {
            double owed = n * t->naive[i].percent / 100.0;
            double share = owed + n * free_share * t->naive[i].weight / weights;
            if ((mask >> i & 1) == 0 || n < ALL_BEGUN) {
                continue;
            }
            assert_true((double)had[i] > owed - 1);
            far = fmax(far, fabs((double)had[i] - share));
        }
    }
    return far;
}

static void shares_hold_within_a_turn(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        static struct twin t;
        bool guarantees = seed % 2;
        begin(&t, seed, guarantees);
        uint32_t mask = 2u | (uint32_t)rng_below(&t.rng, UINT64_C(1) << (LANES + 1));
        /* what guarantees take a turn early or late moves the turns of all others, too */
        assert_true(furthest(&t, mask & ~1u) < (guarantees ? 3.0 : 1.0));
        lanes_release(&t.lanes);
    }
}

/* A million messages of one lane, and each now and then one of another: it is always next. */
static void who_was_idle_is_next(void **state) {
    (void)state;
    for (uint32_t batch_lanes = 1; batch_lanes <= 5; batch_lanes++) {
        static struct twin t;
        begin(&t, batch_lanes, false);
        for (uint32_t i = 1; i <= batch_lanes; i++) {
            t.naive[i].weight = 1;
            arrive(&t, i, 1000000);
        }
        t.naive[LANES].weight = 1;
        for (int i = 0; i < 1000; i++) {
            uint64_t between = batch_lanes + 1 + rng_below(&t.rng, 20);
            for (uint64_t n = 0; n < between; n++) {
                assert_int_not_equal(turn(&t), LANES);
            }
            arrive(&t, LANES, 1);
            uint32_t had = turn(&t);
            assert_true(had == LANES || turn(&t) == LANES);
        }
        lanes_release(&t.lanes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_that_of_the_rules),
        cmocka_unit_test(shares_hold_within_a_turn),
        cmocka_unit_test(who_was_idle_is_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
