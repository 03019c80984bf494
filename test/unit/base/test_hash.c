#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"

/* The reference key 00 01 .. 0f and inputs 00 01 .. n-1; outputs of the authors' vectors. */
static void siphash_knows_the_published_vectors(void **state) {
    (void)state;
    struct hash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t in[16];
    for (uint8_t i = 0; i < 16; i++) {
        in[i] = i;
    }
    assert_true(hash_bytes(key, span_of(in, 0)) == 0x726fdb47dd0e0e31);
    assert_true(hash_bytes(key, span_of(in, 1)) == 0x74f839c593dc67fd);
    assert_true(hash_bytes(key, span_of(in, 8)) == 0x93f5f5799a932462);
    assert_true(hash_bytes(key, span_of(in, 15)) == 0xa129ca6149be45e5);
}

static void key_matters(void **state) {
    (void)state;
    struct hash_key a = {1, 2}, b = {1, 3};
    assert_true(hash_bytes(a, span_text("member")) != hash_bytes(b, span_text("member")));
    assert_true(hash_bytes(a, span_of(NULL, 0)) != hash_bytes(b, span_of(NULL, 0)));
}

static void mixer_spreads_consecutive_numbers(void **state) {
    (void)state;
    uint32_t buckets[64] = {0};
    for (uint64_t i = 1; i <= 6400; i++) {
        buckets[hash_u64(i) >> 58]++;
    }
    for (int i = 0; i < 64; i++) {
        assert_in_range(buckets[i], 50, 150);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_knows_the_published_vectors),
        cmocka_unit_test(key_matters),
        cmocka_unit_test(mixer_spreads_consecutive_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
