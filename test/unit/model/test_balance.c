/*
 * Each way of choosing an endpoint: its distribution, and what happens when one leaves and returns. An endpoint's
 * answers take what the test says; calls overlap as they would.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "model/balance.h"
#include "model/definition.h"

#define N  5u
#define T0 (UINT64_C(1700000000) * NS_PER_SECOND)

struct bench {
    struct endpoint_def defs[N];
    char names[N][8];
    struct endpoints e;
    struct balance_def def;
    struct rng rng;
    uint64_t now_ns;
    uint32_t counts[N];
    uint64_t takes_us[N];
    bool bad[N];
    /* under way: ends at ... */
    uint64_t end_ns[N][256];
    uint32_t open[N];
};

static void make(struct bench *b, enum balance_policy policy) {
    memset(b, 0, sizeof *b);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(b->names[i], sizeof b->names[i], "e%u", i);
        b->defs[i] = (struct endpoint_def){.name = b->names[i], .url = b->names[i], .weight = 1};
        b->takes_us[i] = 10000;
    }
    b->def = (struct balance_def){.policy = policy,
                                  .eject_ns = 30 * NS_PER_SECOND,
                                  .eject_max_percent = 50,
                                  .eject_minimum = 20};
    b->now_ns = T0;
    rng_init(&b->rng, 42);
    endpoints_init(&b->e);
}

static void define(struct bench *b) {
    assert_int_equal(endpoints_define(&b->e, b->defs, N, &b->def), 0);
}

static void end_due(struct bench *b) {
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t k = 0; k < b->open[i];) {
            if (b->end_ns[i][k] <= b->now_ns) {
                b->end_ns[i][k] = b->end_ns[i][--b->open[i]];
                endpoint_end(&b->e, &b->def, b->e.items[i].id,
                             b->bad[i] ? OUTCOME_BAD : OUTCOME_GOOD, b->takes_us[i], b->now_ns);
            } else {
                k++;
            }
        }
    }
}

/* Which one; a call each ms. */
static uint32_t call(struct bench *b, uint64_t key) {
    b->now_ns += NS_PER_MS;
    end_due(b);
    uint32_t id = balance_choose(&b->e, &b->def, key, b->now_ns, &b->rng);
    assert_int_not_equal(id, 0);
    struct endpoint *n = endpoint_find(&b->e, id);
    assert_true(endpoint_is_in(n, b->now_ns, NULL)); /* P5 */
    balance_started(&b->e, &b->def, id, key, b->now_ns);
    uint32_t i = (uint32_t)(n - b->e.items);
    assert_true(b->open[i] < 256);
    b->end_ns[i][b->open[i]++] = b->now_ns + b->takes_us[i] * NS_PER_US;
    b->counts[i]++;
    endpoints_check(&b->e);
    return i;
}

static void calls(struct bench *b, uint32_t count) {
    memset(b->counts, 0, sizeof b->counts);
    for (uint32_t n = 0; n < count; n++) {
        call(b, 0);
    }
}

static void leave(struct bench *b, uint32_t i, bool out) {
    endpoint_change(&b->e.items[i], out ? ENDPOINT_OUT : ENDPOINT_IN, b->now_ns);
}

static void round_robin_is_even_to_the_call(void **state) {
    struct bench b;
    make(&b, BALANCE_ROUND_ROBIN);
    b.defs[0].weight = 9; /* not looked at */
    define(&b);
    calls(&b, 1000);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(b.counts[i], 200);
    }
    leave(&b, 2, true);
    calls(&b, 1000);
    assert_int_equal(b.counts[2], 0);
    assert_int_equal(b.counts[0], 250);
    leave(&b, 2, false);
    calls(&b, 1000);
    for (uint32_t i = 0; i < N; i++) {
        assert_in_range(b.counts[i], 198, 202); /* who returns is owed nothing */
    }
    endpoints_release(&b.e);
}

static void weights_to_the_call_and_never_in_a_lump(void **state) {
    struct bench b;
    make(&b, BALANCE_WEIGHTED);
    b.defs[0].weight = 5;
    b.defs[1].weight = 2;
    define(&b);
    uint32_t in_a_row = 0;
    for (uint32_t n = 0; n < 1000; n++) {
        in_a_row = call(&b, 0) == 0 ? in_a_row + 1 : 0;
        assert_true(in_a_row <= 1 + N / 2);
    }
    static const uint32_t wanted[N] = {500, 200, 100, 100, 100};
    assert_memory_equal(b.counts, wanted, sizeof wanted);
    endpoints_release(&b.e);
}

static void the_slow_and_the_failing_get_less_of_dynamic_weights(void **state) {
    struct bench b;
    make(&b, BALANCE_DYNAMIC);
    define(&b);
    b.takes_us[1] = 40000; /* four times as slow */
    b.bad[2] = true;
    calls(&b, 500); /* to learn */
    calls(&b, 2000);
    assert_in_range(b.counts[1], b.counts[0] / 5, b.counts[0] / 3);
    assert_in_range(b.counts[2], 1, b.counts[0] / 20);
    b.bad[2] = false;
    b.takes_us[1] = 10000;
    calls(&b, 60000);
    calls(&b, 1000);
    assert_in_range(b.counts[2], 180, 220); /* forgiven */
    assert_in_range(b.counts[1], 150, 220);
    endpoints_release(&b.e);
}

static void least_calls_follow_speed(void **state) {
    struct bench b;
    make(&b, BALANCE_LEAST_CALLS);
    define(&b);
    calls(&b, 1000);
    for (uint32_t i = 0; i < N; i++) {
        assert_in_range(b.counts[i], 195, 205);
    }
    b.takes_us[0] = 100000; /* ten times as slow: few calls at a time means a tenth */
    calls(&b, 3000);
    assert_in_range(b.counts[0], 1, b.counts[1] / 5);
    leave(&b, 1, true);
    calls(&b, 1000);
    assert_int_equal(b.counts[1], 0);
    leave(&b, 1, false);
    calls(&b, 1000);
    assert_in_range(b.counts[1], 200, 300);
    endpoints_release(&b.e);
}

static void least_time_avoids_the_slow_and_finds_it_quick_again(void **state) {
    struct bench b;
    make(&b, BALANCE_LEAST_TIME);
    define(&b);
    b.takes_us[3] = 80000;
    calls(&b, 500);
    calls(&b, 2000);
    assert_in_range(b.counts[3], 0, 150);
    b.takes_us[3] = 10000;
    calls(&b, 90000);
    calls(&b, 1000);
    assert_in_range(b.counts[3], 120, 260);
    endpoints_release(&b.e);
}

static void two_choices_are_even_and_spare_the_slow(void **state) {
    struct bench b;
    make(&b, BALANCE_TWO_CHOICES);
    define(&b);
    calls(&b, 5000);
    for (uint32_t i = 0; i < N; i++) {
        assert_in_range(b.counts[i], 900, 1100);
    }
    b.takes_us[4] = 100000;
    calls(&b, 5000);
    assert_in_range(b.counts[4], 1, 500);
    leave(&b, 4, true);
    calls(&b, 1000);
    assert_int_equal(b.counts[4], 0);
    endpoints_release(&b.e);
}

#define KEYS 20000u

static void map_keys(struct bench *b, uint8_t *to) {
    for (uint32_t k = 0; k < KEYS; k++) {
        uint32_t id = balance_choose(&b->e, &b->def, hash_u64(k + 1), b->now_ns, &b->rng);
        to[k] = (uint8_t)(endpoint_find(&b->e, id) - b->e.items);
    }
}

static void consistent_hash_moves_no_more_than_it_must(void **state) {
    static uint8_t before[KEYS], without[KEYS], after[KEYS];
    struct bench b;
    make(&b, BALANCE_CONSISTENT);
    define(&b);
    map_keys(&b, before);
    uint32_t counts[N] = {0};
    for (uint32_t k = 0; k < KEYS; k++) {
        counts[before[k]]++;
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_in_range(counts[i], KEYS / N * 95 / 100, KEYS / N * 105 / 100);
    }
    leave(&b, 1, true);
    map_keys(&b, without);
    uint32_t moved = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        moved += before[k] != without[k];
        assert_true(before[k] == without[k] || before[k] == 1); /* only those that must */
    }
    assert_int_equal(moved, counts[1]); /* 1/n */
    leave(&b, 1, false);
    map_keys(&b, after);
    assert_memory_equal(before, after, sizeof before);
    endpoints_release(&b.e);
}

static void consistent_hash_keeps_to_the_weights(void **state) {
    static uint8_t to[KEYS];
    struct bench b;
    make(&b, BALANCE_CONSISTENT);
    b.defs[2].weight = 4; /* 4 of 8 */
    define(&b);
    map_keys(&b, to);
    uint32_t at_2 = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        at_2 += to[k] == 2;
    }
    assert_in_range(at_2, KEYS / 2 * 97 / 100, KEYS / 2 * 103 / 100);
    endpoints_release(&b.e);
}

static void a_pinned_key_stays_until_its_endpoint_goes(void **state) {
    struct bench b;
    make(&b, BALANCE_ROUND_ROBIN);
    b.def.pin_ns = 60 * NS_PER_SECOND;
    define(&b);
    uint32_t home = call(&b, 77);
    for (int i = 0; i < 20; i++) {
        call(&b, 1000 + (uint64_t)i);
        assert_int_equal(call(&b, 77), home);
    }
    leave(&b, home, true);
    uint32_t next = call(&b, 77);
    assert_int_not_equal(next, home);
    leave(&b, home, false);
    assert_int_equal(call(&b, 77), next); /* it does not jump back */
    b.now_ns += 61 * NS_PER_SECOND;
    assert_int_equal(pin_find(&b.e, 77, b.now_ns), 0);
    endpoints_release(&b.e);
}

/* Whatever the policy: nothing while it is out, no more than twice its share at first, then its share. */
static void who_leaves_gets_nothing_and_returns_to_its_share(void **state) {
    (void)state;
    for (int policy = BALANCE_ROUND_ROBIN; policy <= BALANCE_TWO_CHOICES; policy++) {
        struct bench b;
        make(&b, (enum balance_policy)policy);
        define(&b);
        bool by_key = policy == BALANCE_CONSISTENT;
        for (uint32_t n = 1; n <= 1000; n++) {
            call(&b, by_key ? hash_u64(n) : 0);
        }
        leave(&b, 2, true);
        memset(b.counts, 0, sizeof b.counts);
        for (uint32_t n = 1; n <= 2000; n++) {
            call(&b, by_key ? hash_u64(n) : 0);
        }
        assert_int_equal(b.counts[2], 0);
        leave(&b, 2, false);
        memset(b.counts, 0, sizeof b.counts);
        for (uint32_t n = 1; n <= 2000; n++) {
            call(&b, by_key ? hash_u64(n) : 0);
            assert_true(n > 100 || b.counts[2] <= 2 * 100 / N);
        }
        assert_in_range(b.counts[2], 2000 / N * 3 / 4, 2000 / N * 5 / 4);
        endpoints_release(&b.e);
    }
}

static void who_returns_starts_slowly(void **state) {
    struct bench b;
    make(&b, BALANCE_ROUND_ROBIN);
    b.def.slow_start_ns = 10 * NS_PER_SECOND;
    define(&b);
    leave(&b, 0, true);
    calls(&b, 100);
    leave(&b, 0, false);
    calls(&b, 1000); /* the first tenth of it */
    assert_in_range(b.counts[0], 10, 45);
    calls(&b, 9000);
    calls(&b, 1000);
    assert_in_range(b.counts[0], 195, 205);
    endpoints_release(&b.e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_is_even_to_the_call),
        cmocka_unit_test(weights_to_the_call_and_never_in_a_lump),
        cmocka_unit_test(the_slow_and_the_failing_get_less_of_dynamic_weights),
        cmocka_unit_test(least_calls_follow_speed),
        cmocka_unit_test(least_time_avoids_the_slow_and_finds_it_quick_again),
        cmocka_unit_test(two_choices_are_even_and_spare_the_slow),
        cmocka_unit_test(consistent_hash_moves_no_more_than_it_must),
        cmocka_unit_test(consistent_hash_keeps_to_the_weights),
        cmocka_unit_test(a_pinned_key_stays_until_its_endpoint_goes),
        cmocka_unit_test(who_leaves_gets_nothing_and_returns_to_its_share),
        cmocka_unit_test(who_returns_starts_slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
