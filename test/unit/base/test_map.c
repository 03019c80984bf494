#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/rng.h"

#define KEYS 3000u

/* Slot s holds key keys[s]; a key's slot is found by walking, as the twin of the map. */
struct cells {
    uint64_t *keys;
    bool poor_hash; /* few different hashes: long walks, tags that agree by chance */
};

static uint64_t key_hash(const struct cells *c, uint64_t key) {
    return c->poor_hash ? hash_u64(key % 7) : hash_u64(key + 1);
}

static bool cells_match(const void *owner, uint32_t slot, const void *key) {
    const struct cells *c = owner;
    return c->keys[slot] == *(const uint64_t *)key;
}

/* Random inserts, look-ups, removals against an array "slot of key". */
static void run_against_array(uint64_t seed, uint32_t key_count, bool poor_hash) {
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    struct cells c = {calloc(key_count + 1, sizeof(uint64_t)), poor_hash};
    bool *there = calloc(key_count + 1, sizeof *there);
    struct map m;
    map_init(&m, &c, cells_match);
    uint64_t live = 0;
    for (int step = 0; step < 60000; step++) {
        /* Key k lives in slot k+1; phases of mostly inserting and mostly removing. */
        uint64_t key = rng_below(&r, key_count);
        uint32_t slot = (uint32_t)key + 1;
        bool fill = (step / 10000) % 2 == 0;
        assert_int_equal(map_find(&m, key_hash(&c, key), &key), there[key] ? slot : 0);
        if (!poor_hash) {
            assert_int_equal(map_likely(&m, key_hash(&c, key)), there[key] ? slot : 0);
        }
        if (!there[key] && (fill || rng_below(&r, 8) == 0)) {
            c.keys[slot] = key;
            assert_int_equal(map_insert(&m, key_hash(&c, key), slot), 0);
            there[key] = true;
            live++;
        } else if (there[key] && (!fill || rng_below(&r, 8) == 0)) {
            map_remove(&m, key_hash(&c, key), slot);
            there[key] = false;
            live--;
        }
        assert_true(m.count == live);
        if (step % 512 == 0) {
            map_check(&m);
        }
    }
    for (uint64_t key = 0; key < key_count; key++) {
        assert_int_equal(map_find(&m, key_hash(&c, key), &key), there[key] ? (uint32_t)key + 1 : 0);
    }
    map_release(&m);
    free(there);
    free(c.keys);
}

static void one_bucket_agrees_with_an_array(void **state) {
    (void)state;
    run_against_array(1, 500, false);
}

static void many_buckets_agree_with_an_array(void **state) {
    (void)state;
    run_against_array(2, KEYS, false);
    run_against_array(4, 20000, false);
}

static void colliding_hashes_agree_with_an_array(void **state) {
    (void)state;
    run_against_array(3, 200, true);
}

/* Whatever their number: buckets are full at about the same time, and half as full then. */
static void memory_stays_at_sixteen_bytes_an_entry(void **state) {
    (void)state;
    const uint32_t count = 1000000;
    struct cells c = {malloc((count + 1) * sizeof(uint64_t)), false};
    struct map m;
    map_init(&m, &c, cells_match);
    double most = 0;
    for (uint32_t slot = 1; slot <= count; slot++) {
        c.keys[slot] = slot;
        assert_int_equal(map_insert(&m, key_hash(&c, slot), slot), 0);
        if (slot >= count / 4 && slot % 1000 == 0) {
            size_t bytes = map_memory_bytes(&m) - pages_reusable_bytes(&m.pages);
            most = (double)bytes / slot > most ? (double)bytes / slot : most;
        }
    }
    print_message("%.2f bytes an entry at most, %.2f at last\n", most,
                  (double)map_memory_bytes(&m) / count);
    assert_true(most <= 16);
    assert_true(map_memory_bytes(&m) <= 16 * (size_t)count + 4096);
    map_check(&m);
    map_release(&m);
    free(c.keys);
}

static void churn_does_not_grow_it(void **state) {
    (void)state;
    struct cells c = {calloc(KEYS + 1, sizeof(uint64_t)), false};
    struct map m;
    map_init(&m, &c, cells_match);
    for (uint64_t key = 0; key < 200000; key++) {
        uint32_t slot = (uint32_t)(key % 100) + 1;
        if (key >= 100) {
            map_remove(&m, key_hash(&c, c.keys[slot]), slot);
        }
        c.keys[slot] = key;
        assert_int_equal(map_insert(&m, key_hash(&c, key), slot), 0);
    }
    assert_int_equal(m.count, 100);
    assert_true(map_memory_bytes(&m) <= 2048 + 64);
    map_release(&m);
    free(c.keys);
}

/* What millions have left behind is there for others, and the directory is as small as before. */
static void what_is_removed_gives_its_memory_back(void **state) {
    (void)state;
    const uint32_t count = 100000;
    struct cells c = {malloc((count + 1) * sizeof(uint64_t)), false};
    struct map m;
    map_init(&m, &c, cells_match);
    for (int round = 0; round < 2; round++) {
        for (uint32_t slot = 1; slot <= count; slot++) {
            c.keys[slot] = slot;
            assert_int_equal(map_insert(&m, key_hash(&c, slot), slot), 0);
        }
        assert_true(m.depth >= 6);
        map_check(&m);
        for (uint32_t slot = count; slot > 0; slot--) {
            map_remove(&m, key_hash(&c, slot), slot);
        }
        map_check(&m);
        assert_int_equal(m.depth, 0);
        assert_int_equal(m.pages.live, 1);
    }
    assert_true(map_memory_bytes(&m) <= 16 * (size_t)count + (3u << 20));
    map_release(&m);
    free(c.keys);
}

/* A hash that leaves all low bits equal must not make a directory of any size: one bucket takes what it can. */
static void a_bad_hash_is_bounded(void **state) {
    (void)state;
    struct cells c = {calloc(1001, sizeof(uint64_t)), false};
    struct map m;
    map_init(&m, &c, cells_match);
    int rc = 0;
    uint32_t slot = 0;
    while (rc == 0 && slot < 1000) {
        slot++;
        c.keys[slot] = slot;
        rc = map_insert(&m, (uint64_t)slot << 52, slot);
    }
    assert_int_equal(rc, E_NOMEM);
    assert_int_equal(slot, 3 * 256);
    assert_int_equal(m.depth, MAP_DEPTH_MAX);
    for (uint64_t key = 1; key < slot; key++) {
        assert_int_equal(map_find(&m, key << 52, &key), key);
        map_remove(&m, key << 52, (uint32_t)key);
    }
    assert_int_equal(m.count, 0);
    assert_int_equal(m.depth, 0);
    map_release(&m);
    free(c.keys);
}

/* Runs that follow one another come and go: the few that are there need few pages. */
static void runs_lie_together(void **state) {
    (void)state;
    enum { RUN = 256, RUNS = 4 };
    static uint64_t keys[RUN * RUNS + 1];
    struct cells c = {keys, false};
    struct map m;
    map_init(&m, &c, cells_match);
    for (uint64_t key = 0; key < 1000000; key++) {
        uint32_t slot = (uint32_t)(key % (RUN * RUNS)) + 1;
        if (key >= RUN * RUNS) {
            uint64_t old = keys[slot];
            map_remove(&m, map_hash_in_run(hash_u64(old), old / RUN), slot);
        }
        keys[slot] = key;
        assert_int_equal(map_insert(&m, map_hash_in_run(hash_u64(key), key / RUN), slot), 0);
        assert_true(m.pages.live <= 12);
    }
    map_check(&m);
    map_release(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bucket_agrees_with_an_array),
        cmocka_unit_test(many_buckets_agree_with_an_array),
        cmocka_unit_test(colliding_hashes_agree_with_an_array),
        cmocka_unit_test(memory_stays_at_sixteen_bytes_an_entry),
        cmocka_unit_test(churn_does_not_grow_it),
        cmocka_unit_test(what_is_removed_gives_its_memory_back),
        cmocka_unit_test(a_bad_hash_is_bounded),
        cmocka_unit_test(runs_lie_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
