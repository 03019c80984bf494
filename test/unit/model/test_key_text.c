#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/key_text.h"

static void test_every_length(void **state) {
    (void)state;
    uint8_t bytes[255];
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    for (unsigned size = 0; size <= sizeof bytes; size++) {
        struct key_text k = {.size = 0};
        assert_int_equal(key_text_init(&k, span_of(bytes, size)), 0);
        assert_true(span_equal(key_text_span(&k), span_of(bytes, size)));
        assert_int_equal(key_text_memory_bytes(&k), size > KEY_TEXT_INLINE_BYTES ? size : 0);
        key_text_release(&k);
        assert_int_equal(key_text_span(&k).size, 0);
    }
    assert_int_equal(sizeof(struct key_text), 24);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_length)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
