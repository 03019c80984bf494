#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "amqp/sasl.h"
#include "base/error.h"

#define BYTES(text) span_of(text, sizeof(text) - 1)

static int read_login(const char *mechanism, struct span response, struct amqp_login *ret) {
    return amqp_login_read(span_text(mechanism), response, ret);
}

static void plain(void **state) {
    (void)state;
    struct amqp_login l;
    assert_int_equal(read_login("PLAIN", BYTES("\0guest\0secret"), &l), 0);
    assert_true(span_is(l.user, "guest") && span_is(l.password, "secret") && !l.external);
    assert_int_equal(read_login("PLAIN", BYTES("other\0guest\0\0x"), &l), 0);
    assert_true(span_is(l.user, "guest") && l.password.size == 2);
    assert_int_equal(read_login("PLAIN", BYTES("\0guest\0"), &l), 0);
    assert_int_equal(l.password.size, 0);
    const struct span bad[] = {BYTES(""), BYTES("guest"), BYTES("\0guest"), BYTES("\0")};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        assert_int_equal(read_login("PLAIN", bad[i], &l), E_INVALID);
}

static void amqplain(void **state) {
    (void)state;
    struct amqp_login l;
    assert_int_equal(read_login("AMQPLAIN", BYTES("\5LOGINS\0\0\0\1a\x08PASSWORDS\0\0\0\2bc"), &l),
                     0);
    assert_true(span_is(l.user, "a") && span_is(l.password, "bc"));
    assert_int_equal(read_login("AMQPLAIN", BYTES("\5LOGINS\0\0\0\1a"), &l), E_INVALID);
    assert_int_equal(read_login("AMQPLAIN", BYTES("\5LOGINS\0\0\0\1a\x08PASSWORDt\1"), &l),
                     E_INVALID);
    assert_int_equal(read_login("AMQPLAIN", BYTES("\5LOGINS\0\0\0\xff"), &l), E_INVALID);
}

static void others(void **state) {
    (void)state;
    struct amqp_login l;
    assert_int_equal(read_login("EXTERNAL", BYTES(""), &l), 0);
    assert_true(l.external && l.user.size == 0);
    assert_int_equal(read_login("plain", BYTES("\0a\0b"), &l), E_UNSUPPORTED);
    assert_int_equal(read_login("", BYTES("\0a\0b"), &l), E_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(amqplain),
        cmocka_unit_test(others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
