#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/crc32c.h"
#include "base/rng.h"

/* RFC 3720 B.4 */
static void knows_the_published_vectors(void **state) {
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c_update(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c_update(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    assert_int_equal(crc32c_update(0, bytes, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c_update(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(crc32c_update(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_update(0, NULL, 0), 0);
}

/* Lengths around the block sizes of the fast way, at odd alignments. */
static void instruction_agrees_with_table(void **state) {
    (void)state;
    static uint8_t bytes[8192 + 16];
    struct rng r;
    rng_init(&r, 5);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)rng_next(&r);
    }
    for (size_t size = 0; size < 8192; size += size < 64 ? 1 : 61) {
        const uint8_t *p = bytes + size % 9;
        assert_int_equal(crc32c_update(0, p, size), crc32c_update_table(0, p, size));
    }
}

static void pieces_add_up(void **state) {
    (void)state;
    static uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 31);
    }
    uint32_t whole = crc32c_update(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 83) {
        uint32_t crc = crc32c_update(0, bytes, cut);
        assert_int_equal(crc32c_update(crc, bytes + cut, sizeof bytes - cut), whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_published_vectors),
        cmocka_unit_test(instruction_agrees_with_table),
        cmocka_unit_test(pieces_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
