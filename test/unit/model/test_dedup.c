#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "model/dedup.h"
#include "world.h"

static struct world world;

static int setup(void **state) {
    (void)state;
    world_init(&world, &(struct model_limits){.dedup_keys = 10, .dedup_ttl_ns = 1000});
    return 0;
}

static int teardown(void **state) {
    (void)state;
    model_check(world.model);
    world_check_replay(&world);
    world_reload(&world);
    world_release(&world);
    return 0;
}

static struct idempotency key(const char *text, uint64_t scope) {
    return (struct idempotency){.key = span_text(text), .scope = scope, .fingerprint = scope + 7};
}

static void store(const char *text, uint64_t scope, uint64_t ttl_ns) {
    struct idempotency k = key(text, scope);
    struct decision d = world_begin(&world);
    struct receipt receipt = {.id = id_make(d.position, 0), .accepted_ns = d.now_ns, .number = 3};
    dedup_emit(world.model, &d, &k, &receipt, ttl_ns);
    world_commit(&world, &d);
}

static bool known(const char *text, uint64_t scope, struct receipt *ret_receipt) {
    struct idempotency k = key(text, scope);
    uint64_t fingerprint = 0;
    bool found = dedup_find(world.model, world.now_ns, &k, &fingerprint, ret_receipt);
    assert_int_equal(fingerprint, found ? scope + 7 : 0);
    return found;
}

static void test_outcome_is_kept(void **state) {
    (void)state;
    struct receipt receipt;
    assert_false(known("k", 1, &receipt));
    store("k", 1, 0);
    uint64_t accepted_ns = world.now_ns;
    world.now_ns += 999;
    assert_true(known("k", 1, &receipt));
    assert_int_equal(receipt.id, id_make(1, 0));
    assert_int_equal(receipt.accepted_ns, accepted_ns);
    assert_int_equal(receipt.number, 3);
    assert_false(known("k", 2, &receipt)); /* another resource */
    assert_false(known("K", 1, &receipt));
    world.now_ns += 1;
    assert_false(known("k", 1, &receipt));
    store("k", 1, 0); /* takes the place of the one that ended */
    assert_true(known("k", 1, &receipt));
    assert_int_equal(receipt.id, id_make(2, 0));
}

static void test_own_time_to_live(void **state) {
    (void)state;
    struct receipt receipt;
    store("short", 1, 10);
    store("long", 1, 100000);
    store("ever", 1, UINT64_MAX);
    world.now_ns += 10;
    assert_false(known("short", 1, &receipt));
    world.now_ns += 90000;
    assert_true(known("long", 1, &receipt));
    world.now_ns += 100000;
    assert_false(known("long", 1, &receipt));
    assert_true(known("ever", 1, &receipt));
}

static void test_room(void **state) {
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(dedup_has_room(world.model, world.now_ns));
        store((char[]){(char)('a' + i), 0}, 1, 0);
        world.now_ns++;
    }
    assert_false(dedup_has_room(world.model, world.now_ns));
    world.now_ns += 1000 - 10;
    assert_true(dedup_has_room(world.model, world.now_ns)); /* the first one ended */
    store("k", 1, 0);
    assert_false(dedup_has_room(world.model, world.now_ns));
}

static struct request reserve_with_key(const char *text, uint64_t fingerprint) {
    struct request r;
    request_init(&r, REQUEST_STOCK_RESERVE);
    r.name = span_text("gifts");
    r.idempotency = (struct idempotency){span_text(text), 1, fingerprint};
    return r;
}

static void test_same_key_same_outcome(void **state) {
    (void)state;
    assert_int_equal(world_define_stock(&world, "gifts", 5, 0, 0), REFUSAL_NONE);
    struct request first = reserve_with_key("k", 1);
    struct request again = reserve_with_key("k", 1);
    struct request other = reserve_with_key("k", 2);
    assert_int_equal(world_ask(&world, &first), REFUSAL_NONE);
    assert_int_equal(world_ask(&world, &again), REFUSAL_NONE);
    assert_true(again.replayed);
    assert_int_equal(again.receipt.id, first.receipt.id);
    assert_int_equal(again.receipt.number, 1);
    assert_int_equal(world_ask(&world, &other), REFUSAL_KEY_REUSED);
    request_release(&first);
    request_release(&again);
    request_release(&other);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(outcome_is_kept),
        TEST(own_time_to_live),
        TEST(room),
        TEST(same_key_same_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
