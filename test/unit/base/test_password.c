#include "base/password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

/* Of "p1", as RabbitMQ 3.10.8 exported it. */
#define RABBIT_P1 "AosaIxigHXyvgRR/3CLOmI/RoZNOSKEwmdZoDZz3ZJSdftfD"
#define SHA256    "rabbit_password_hashing_sha256"

static void ours(void **state) {
    char hash[PASSWORD_HASH_BYTES];
    assert_int_equal(password_hash(span_text("secret"), hash), 0);
    assert_true(password_matches(span_text(hash), span_text("secret")));
    assert_false(password_matches(span_text(hash), span_text("Secret")));
    assert_false(password_matches(span_text(hash), span_text("")));
    assert_false(password_is_foreign(span_text(hash)));
}

static void nothing_matches_nothing(void **state) {
    assert_false(password_matches(span_text(""), span_text("")));
    assert_false(password_matches(span_text("plain"), span_text("plain")));
    assert_false(password_matches(span_text("rabbit-sha256:"), span_text("")));
    assert_false(password_matches_nobody(span_text("x-not-a-password")));
    assert_false(password_matches_nobody(span_text("")));
}

static void those_of_rabbitmq(void **state) {
    char hash[PASSWORD_HASH_BYTES];
    struct span back;
    assert_int_equal(password_import(span_text(SHA256), span_text(RABBIT_P1), hash), 0);
    assert_true(password_is_foreign(span_text(hash)));
    assert_true(password_matches(span_text(hash), span_text("p1")));
    assert_false(password_matches(span_text(hash), span_text("p2")));
    assert_string_equal(password_export(span_text(hash), &back), SHA256);
    assert_true(span_is(back, RABBIT_P1));
}

static void what_cannot_be_checked_is_refused(void **state) {
    char hash[PASSWORD_HASH_BYTES] = "as before";
    assert_int_equal(
        password_import(span_text("rabbit_password_hashing_md5"), span_text(RABBIT_P1), hash),
        E_INVALID);
    assert_int_equal(password_import(span_text(SHA256), span_text("AosaIxig"), hash), E_INVALID);
    assert_int_equal(password_import(span_text(SHA256), span_text("not base64!"), hash), E_INVALID);
    assert_int_equal(
        password_import(span_text("rabbit_password_hashing_sha512"), span_text(RABBIT_P1), hash),
        E_INVALID);
    assert_int_equal(password_import(span_text("argon2id"), span_text("$argon2i$x"), hash),
                     E_INVALID);
    assert_string_equal(hash, "as before");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours),
        cmocka_unit_test(nothing_matches_nothing),
        cmocka_unit_test(those_of_rabbitmq),
        cmocka_unit_test(what_cannot_be_checked_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
