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
    struct token_def defs[] = {{"shop", hash, SCOPE_PUBLISH, mail_only, 2},
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
    struct token_def def = {"shop", hash, SCOPE_PUBLISH, mail_only, 2};
    struct auth *a;
    assert_int_equal(auth_create(&def, 1, &a), 0);
    const struct auth_token *t = find(a, "Bearer ", token);
    const struct principal shop = {.token = t};
    static const struct {
        enum action action;
        const char *resource;
        enum auth_verdict verdict;
    } rows[] = {
        {ACTION_SUBMIT, "queues/mail-out", AUTH_YES},
        {ACTION_SUBMIT, "queues/mail-", AUTH_YES},
        {ACTION_SUBMIT, "queues/mail", AUTH_HIDDEN},
        {ACTION_SUBMIT, "xqueues/mail-out", AUTH_HIDDEN},
        {ACTION_FOLLOW, "campaigns/c", AUTH_YES},
        {ACTION_TAKE, "queues/mail-out", AUTH_FORBIDDEN},
        {ACTION_TAKE, "queues/mail", AUTH_FORBIDDEN}, /* whether it is there or not */
        {ACTION_DEFINE, "queues/mail-out", AUTH_FORBIDDEN},
        {ACTION_SUBMIT, "", AUTH_YES},
        {ACTION_OVERSEE, "", AUTH_FORBIDDEN},
        {ACTION_OPEN, "", AUTH_YES},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        enum auth_verdict verdict = auth_decide(&shop, rows[i].action, span_text(rows[i].resource));
        if (verdict != rows[i].verdict) {
            fail_msg("%s %s: %d", action_name(rows[i].action), rows[i].resource, verdict);
        }
    }
    const struct principal nobody = {.token = NULL}, local = {.everything = true};
    const struct auth_user ann = {.name = span_text("ann"), .tags = USER_ADMINISTRATOR};
    const struct principal user = {.user = &ann};
    assert_int_equal(auth_decide(&user, ACTION_MANAGE_RULE, span_of(NULL, 0)), AUTH_YES);
    for (enum action other = ACTION_PING; other < ACTION_MANAGE_PING; other++) {
        assert_int_equal(auth_decide(&user, other, span_of(NULL, 0)), AUTH_FORBIDDEN);
    }
    assert_int_equal(auth_decide(&nobody, ACTION_LOOK, span_text("queues/q")), AUTH_UNKNOWN);
    assert_int_equal(auth_decide(&nobody, ACTION_OPEN, span_of(NULL, 0)), AUTH_YES);
    assert_int_equal(auth_decide(&local, ACTION_AUDIT, span_of(NULL, 0)), AUTH_YES);
    assert_false(auth_is_tenant(&local) || auth_is_tenant(&nobody));
    assert_true(auth_is_tenant(&shop) && auth_space(&shop) != 0 && auth_space(&local) == 0);
    auth_free(a);
}

/* A pattern without a kind is about names; an admin who is held to patterns stays inside them. */
static void tenants(void **state) {
    (void)state;
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    char other[TOKEN_TEXT_BYTES], other_hash[TOKEN_HASH_BYTES];
    static const char *const ab[] = {"shop-a.*", "queues/x"}, *const ba[] = {"queues/x",
                                                                             "shop-a.*"};
    token_make(token, hash);
    token_make(other, other_hash);
    struct token_def defs[] = {{"a", hash, SCOPE_ADMIN, ab, 2},
                               {"b", other_hash, SCOPE_READ, ba, 2}};
    struct auth *a;
    assert_int_equal(auth_create(defs, 2, &a), 0);
    const struct principal p = {.token = find(a, "Bearer ", token)};
    const struct principal q = {.token = find(a, "Bearer ", other)};
    assert_int_equal(auth_decide(&p, ACTION_DEFINE, span_text("stocks/shop-a.s")), AUTH_YES);
    assert_int_equal(auth_decide(&p, ACTION_DEFINE, span_text("stocks/shop-b.s")), AUTH_FORBIDDEN);
    assert_int_equal(auth_decide(&p, ACTION_REMOVE, span_text("stocks/shop-b.s")), AUTH_HIDDEN);
    assert_int_equal(auth_decide(&p, ACTION_LOOK, span_text("queues/x")), AUTH_YES);
    assert_int_equal(auth_decide(&p, ACTION_LOOK, span_text("stocks/x")), AUTH_HIDDEN);
    assert_int_equal(auth_decide(&p, ACTION_AUDIT, span_of(NULL, 0)), AUTH_FORBIDDEN);
    assert_int_equal(auth_decide(&q, ACTION_LOOK, span_text("queues/shop-a.")), AUTH_YES);
    assert_int_equal(auth_decide(&q, ACTION_SUBMIT, span_text("queues/shop-a.")), AUTH_FORBIDDEN);
    assert_true(auth_space(&p) == auth_space(&q)); /* order is no difference */
    const char *label = auth_token_label(p.token);
    assert_memory_equal(label, "a#", 2);
    assert_memory_equal(label + 2, token + 4, 9 - 1);
    auth_free(a);
}

/* A star in the middle: what followed it too early is looked for again further on. */
static void stars(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *resource;
        bool covers;
    } cases[] = {
        {"queues/*-mail", "queues/a-mailbox-mail", true},
        {"queues/*-mail", "queues/a-mailbox", false},
        {"queues/a*b*c", "queues/a-b-c-b-c", true},
        {"queues/a*b*c", "queues/a-b-c-b", false},
        {"queues/**", "queues/a", true},
        {"queues/a", "queues/ab", false},
        {"queues/ab", "queues/a", false},
    };
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    token_make(token, hash);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token_def def = {"one", hash, SCOPE_PUBLISH, &cases[i].pattern, 1};
        struct auth *a;
        assert_int_equal(auth_create(&def, 1, &a), 0);
        struct principal p = {.token = find(a, "Bearer ", token)};
        assert_non_null(p.token);
        assert_int_equal(auth_covers(&p, span_text(cases[i].resource)), cases[i].covers);
        auth_free(a);
    }
}

/* The same reach is the same space of keys, in whatever order and how often it is written. */
static void spaces(void **state) {
    (void)state;
    static const char *const written[][3] = {{"queues/a", "stocks/*", "queues/a"},
                                             {"stocks/*", "queues/a", "stocks/*"},
                                             {"stocks/*", "queues/a", "queues/b"}};
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    uint64_t space[3];
    token_make(token, hash);
    for (size_t i = 0; i < 3; i++) {
        struct token_def def = {"one", hash, SCOPE_PUBLISH, written[i], 3};
        struct auth *a;
        assert_int_equal(auth_create(&def, 1, &a), 0);
        struct principal p = {.token = find(a, "Bearer ", token)};
        space[i] = auth_space(&p);
        auth_free(a);
    }
    assert_true(space[0] == space[1] && space[1] != space[2] && space[0] != 0);
}

static void patterns(void **state) {
    (void)state;
    assert_true(resource_pattern_valid(span_text("queues/mail-*")));
    assert_true(resource_pattern_valid(span_text("shop-a.*")));
    assert_true(resource_pattern_valid(span_text("*")));
    assert_true(resource_pattern_valid(span_text("queues/AZ-09")));
    assert_true(resource_pattern_valid(span_text("*/shop-a.*")));
    assert_false(resource_pattern_valid(span_text("queue/mail")));
    assert_false(resource_pattern_valid(span_text("")));
    assert_false(resource_pattern_valid(span_text("queues/a/b")));
    assert_false(resource_pattern_valid(span_text("shop a")));
    assert_false(resource_pattern_valid(span_text("shop?")));
}

/* Each action but the open one asks for something, and admin may do all of them. */
static void every_action_is_guarded(void **state) {
    (void)state;
    for (int a = 0; a < ACTION_COUNT; a++) {
        unsigned scopes = action_scopes((enum action)a);
        assert_true(a == ACTION_OPEN ? scopes == 0 : (scopes & SCOPE_ADMIN) != 0);
        assert_true(strlen(action_name((enum action)a)) > 0);
    }
    for (unsigned scope = SCOPE_READ; scope <= SCOPE_ADMIN; scope <<= 1) {
        assert_int_equal(scope_parse(span_text(scope_name((enum scope)scope))), scope);
    }
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
    assert_int_equal(scope_parse(span_text("produce")), SCOPE_PUBLISH);
    assert_int_equal(scope_parse(span_text("root")), SCOPE_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_found_and_forged_ones_not),
        cmocka_unit_test(scopes_and_resources),
        cmocka_unit_test(tenants),
        cmocka_unit_test(stars),
        cmocka_unit_test(spaces),
        cmocka_unit_test(patterns),
        cmocka_unit_test(every_action_is_guarded),
        cmocka_unit_test(bad_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
