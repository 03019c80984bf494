#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>

#include "api/auth.h"
#include "base/error.h"

static const char *const mail_only[] = {"queues/mail-*", "campaigns/*"};

static const struct auth_token *find(const struct auth *a, const char *scheme, const char *token) {
    char field[160];
    snprintf(field, sizeof field, "%s%s", scheme, token);
    return auth_find(a, span_text(field));
}

static void tokens_are_found_and_forged_ones_not(void **state) {
    (void)state;
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    char other[TOKEN_TEXT_BYTES], other_hash[TOKEN_HASH_BYTES];
    assert_true(sodium_init() >= 0);
    token_make(token, hash);
    token_make(other, other_hash);
    assert_true(token_hash_valid(span_text(hash)));
    assert_null(strstr(hash, token + 13)); /* the secret is not in it */
    struct token_def defs[] = {{"shop", hash, SCOPE_PRODUCE, mail_only, 2},
                               {"boss", other_hash, SCOPE_ADMIN, NULL, 0}};
    struct auth *a;
    assert_int_equal(auth_create(defs, 2, &a), 0);
    const struct auth_token *t = find(a, "Bearer ", token);
    assert_non_null(t);
    assert_string_equal(auth_token_name(t), "shop");
    assert_non_null(find(a, "bEARER ", other));
    assert_null(find(a, "", token));
    assert_null(find(a, "Basic  ", token));
    /* One character of the secret changed, at every place. */
    for (size_t i = 0; token[i] != '\0'; i++) {
        char forged[TOKEN_TEXT_BYTES];
        strcpy(forged, token);
        forged[i] = forged[i] == 'x' ? 'y' : 'x';
        assert_true(i < 4 || find(a, "Bearer ", forged) == NULL);
    }
    /* The id of one with the secret of the other. */
    char mixed[TOKEN_TEXT_BYTES];
    strcpy(mixed, other);
    memcpy(mixed, token, 13);
    assert_null(find(a, "Bearer ", mixed));
    auth_free(a);
}

static void scopes_and_resources(void **state) {
    (void)state;
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    token_make(token, hash);
    struct token_def def = {"shop", hash, SCOPE_PRODUCE, mail_only, 2};
    struct auth *a;
    assert_int_equal(auth_create(&def, 1, &a), 0);
    const struct auth_token *t = find(a, "Bearer ", token);
    assert_true(auth_allows(t, SCOPE_PRODUCE, span_text("queues/mail-out")));
    assert_true(auth_allows(t, SCOPE_PRODUCE, span_text("queues/mail-")));
    assert_false(auth_allows(t, SCOPE_PRODUCE, span_text("queues/mail")));
    assert_false(auth_allows(t, SCOPE_PRODUCE, span_text("xqueues/mail-out")));
    assert_true(auth_allows(t, SCOPE_ANY, span_text("campaigns/c")));
    assert_false(auth_allows(t, SCOPE_CONSUME, span_text("queues/mail-out")));
    assert_false(auth_allows(t, SCOPE_ADMIN, span_text("queues/mail-out")));
    assert_true(auth_allows(t, SCOPE_PRODUCE, span_of(NULL, 0)));
    auth_free(a);
}

static void bad_hashes(void **state) {
    (void)state;
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    token_make(token, hash);
    struct auth *a;
    struct token_def def = {"x", token, SCOPE_ADMIN, NULL, 0};
    assert_int_equal(auth_create(&def, 1, &a), E_INVALID);
    hash[strlen(hash) - 1] = '!';
    assert_false(token_hash_valid(span_text(hash)));
    assert_false(token_hash_valid(span_text("")));
    assert_int_equal(scope_parse(span_text("produce")), SCOPE_PRODUCE);
    assert_int_equal(scope_parse(span_text("root")), SCOPE_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_found_and_forged_ones_not),
        cmocka_unit_test(scopes_and_resources),
        cmocka_unit_test(bad_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
