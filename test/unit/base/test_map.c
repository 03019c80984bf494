#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

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
static void run_against_array(uint64_t seed, uint32_t shards, uint32_t key_count, bool poor_hash) {
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    struct cells c = {calloc(key_count + 1, sizeof(uint64_t)), poor_hash};
    bool *there = calloc(key_count + 1, sizeof *there);
    struct map m;
    assert_int_equal(map_init(&m, shards, &c, cells_match), 0);
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
    }
    for (uint64_t key = 0; key < key_count; key++) {
        assert_int_equal(map_find(&m, key_hash(&c, key), &key), there[key] ? (uint32_t)key + 1 : 0);
    }
    map_release(&m);
    free(there);
    free(c.keys);
}

static void one_shard_agrees_with_an_array(void **state) {
    (void)state;
    run_against_array(1, 1, KEYS, false);
}

static void many_shards_agree_with_an_array(void **state) {
    (void)state;
    run_against_array(2, 64, KEYS, false);
}

static void colliding_hashes_agree_with_an_array(void **state) {
    (void)state;
    run_against_array(3, 2, 200, true);
}

static void memory_stays_at_sixteen_bytes_an_entry(void **state) {
    (void)state;
    const uint32_t count = 1000000;
    struct cells c = {malloc((count + 1) * sizeof(uint64_t)), false};
    struct map m;
    assert_int_equal(map_init(&m, 256, &c, cells_match), 0);
    for (uint32_t slot = 1; slot <= count; slot++) {
        c.keys[slot] = slot;
        assert_int_equal(map_insert(&m, key_hash(&c, slot), slot), 0);
    }
    print_message("%.2f bytes an entry\n", (double)map_memory_bytes(&m) / count);
    assert_true(map_memory_bytes(&m) <= 16 * (size_t)count + 4096);
    map_release(&m);
    free(c.keys);
}

static void churn_does_not_grow_it(void **state) {
    (void)state;
    struct cells c = {calloc(KEYS + 1, sizeof(uint64_t)), false};
    struct map m;
    assert_int_equal(map_init(&m, 1, &c, cells_match), 0);
    for (uint64_t key = 0; key < 200000; key++) {
        uint32_t slot = (uint32_t)(key % 100) + 1;
        if (key >= 100) {
            map_remove(&m, key_hash(&c, c.keys[slot]), slot);
        }
        c.keys[slot] = key;
        assert_int_equal(map_insert(&m, key_hash(&c, key), slot), 0);
    }
    assert_int_equal(m.count, 100);
    assert_true(map_memory_bytes(&m) < 2048);
    map_release(&m);
    free(c.keys);
}

/* Entries that are there stay, whether room is asked for early, late or twice. */
static void reserved_room_keeps_entries(void **state) {
    (void)state;
    const uint32_t count = 100000;
    struct cells c = {malloc((count + 1) * sizeof(uint64_t)), false};
    struct map m;
    assert_int_equal(map_init(&m, 16, &c, cells_match), 0);
    for (uint32_t slot = 1; slot <= count; slot++) {
        if (slot == 1000) {
            assert_int_equal(map_reserve(&m, count), 0);
        }
        c.keys[slot] = slot;
        assert_int_equal(map_insert(&m, key_hash(&c, slot), slot), 0);
    }
    size_t bytes = map_memory_bytes(&m);
    assert_int_equal(map_reserve(&m, 10), 0);
    assert_int_equal(map_reserve(&m, count), 0);
    assert_true(map_memory_bytes(&m) == bytes && bytes <= 16 * (size_t)count + 4096);
    for (uint64_t key = 1; key <= count; key++) {
        assert_int_equal(map_find(&m, key_hash(&c, key), &key), key);
    }
    map_release(&m);
    free(c.keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_shard_agrees_with_an_array),
        cmocka_unit_test(many_shards_agree_with_an_array),
        cmocka_unit_test(colliding_hashes_agree_with_an_array),
        cmocka_unit_test(memory_stays_at_sixteen_bytes_an_entry),
        cmocka_unit_test(churn_does_not_grow_it),
        cmocka_unit_test(reserved_room_keeps_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
