#include "api/auth.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/definitions.h"
#include "base/error.h"
#include "base/hash.h"

#define ID_CHARS     8u
#define SECRET_BYTES 32u
#define KEY_BYTES    16u
#define HASH_BYTES   32u
#define PREFIX       "slc_"
#define HASH_PREFIX  "blake2b:"
#define VARIANT      sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define SECRET_CHARS 43u /* of 32 bytes */
#define KEY_CHARS    22u /* of 16 bytes */
#define TOKEN_CHARS  (sizeof PREFIX - 1 + ID_CHARS + 1 + SECRET_CHARS)

struct auth_token {
    char name[64];
    char label[64 + 1 + ID_CHARS];
    char id[ID_CHARS];
    uint8_t key[KEY_BYTES];
    uint8_t hash[HASH_BYTES];
    unsigned scopes;
    char **resources; /* owns */
    uint32_t resource_count;
    uint64_t space; /* 0 without resources */
};

struct auth {
    struct auth_token *tokens; /* owns */
    uint32_t count;
};

static void hash_token(struct span token, const uint8_t key[KEY_BYTES], uint8_t out[HASH_BYTES]) {
    int failed = crypto_generichash(out, HASH_BYTES, token.data, token.size, key, KEY_BYTES);
    (void)failed; /* only for sizes out of range, which these are not */
}

static bool take_base64(struct span text, uint8_t *out, size_t size) {
    size_t got;
    return sodium_base642bin(out, size, (const char *)text.data, text.size, NULL, &got, NULL,
                             VARIANT) == 0 &&
           got == size;
}

/* "blake2b:" id ":" key ":" hash */
static bool parse_hash(struct span hash, struct auth_token *ret) {
    const size_t prefix = sizeof HASH_PREFIX - 1;
    const size_t key_at = prefix + ID_CHARS + 1, hash_at = key_at + KEY_CHARS + 1;
    if (hash.size != hash_at + SECRET_CHARS || memcmp(hash.data, HASH_PREFIX, prefix) != 0 ||
        hash.data[key_at - 1] != ':' || hash.data[hash_at - 1] != ':') {
        return false;
    }
    memcpy(ret->id, hash.data + prefix, ID_CHARS);
    return take_base64(span_of(hash.data + key_at, KEY_CHARS), ret->key, KEY_BYTES) &&
           take_base64(span_of(hash.data + hash_at, SECRET_CHARS), ret->hash, HASH_BYTES);
}

const char *token_hash_id(const char *hash) {
    return hash + sizeof HASH_PREFIX - 1;
}

bool token_hash_valid(struct span hash) {
    struct auth_token t;
    return parse_hash(hash, &t);
}

/* ---- scopes and actions ---- */

static const struct {
    const char *name;
    enum scope scope;
} scope_names[] = {
    {"read", SCOPE_READ},       {"publish", SCOPE_PUBLISH}, {"consume", SCOPE_CONSUME},
    {"operate", SCOPE_OPERATE}, {"admin", SCOPE_ADMIN},     {"produce", SCOPE_PUBLISH},
};

enum scope scope_parse(struct span name) {
    for (size_t i = 0; i < ARRAY_LENGTH(scope_names); i++) {
        if (span_is(name, scope_names[i].name)) {
            return scope_names[i].scope;
        }
    }
    return SCOPE_NONE;
}

const char *scope_name(enum scope scope) {
    size_t i = 0;
    while (scope_names[i].scope != scope) {
        i++;
        assert(i < ARRAY_LENGTH(scope_names));
    }
    return scope_names[i].name;
}

static const struct {
    const char *name;
    unsigned scopes, traits;
} actions[ACTION_COUNT] = {
#define X(name, text, scopes, traits) [ACTION_##name] = {text, scopes, traits},
    ACTION_TABLE(X)
#undef X
};

const char *action_name(enum action a) {
    return actions[a].name;
}

unsigned action_scopes(enum action a) {
    return a == ACTION_OPEN ? 0 : actions[a].scopes | SCOPE_ADMIN;
}

unsigned action_traits(enum action a) {
    return actions[a].traits;
}

/* ---- tokens ---- */

/* Order and repetition of patterns do not matter, and restarts do not: it stands in the log. */
static uint64_t space_of(const struct auth_token *t) {
    const struct hash_key key = {0x74656e616e742d31, 0x736c756963652d31};
    uint64_t space = 0;
    for (uint32_t i = 0; i < t->resource_count; i++) {
        bool again = false;
        for (uint32_t k = 0; k < i; k++) {
            again = again || strcmp(t->resources[i], t->resources[k]) == 0;
        }
        space += again ? 0 : hash_bytes(key, span_text(t->resources[i]));
    }
    return t->resource_count == 0 ? 0 : space | 1;
}

static int copy_token(const struct token_def *from, struct auth_token *to) {
    if (!parse_hash(span_text(from->hash), to)) {
        return E_INVALID;
    }
    snprintf(to->name, sizeof to->name, "%s", from->name);
    snprintf(to->label, sizeof to->label, "%s#%.8s", to->name, to->id);
    to->scopes = from->scopes;
    to->resources = calloc(from->resource_count + 1u, sizeof *to->resources);
    if (to->resources == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < from->resource_count; i++) {
        to->resources[i] = strdup(from->resources[i]);
        if (to->resources[i] == NULL) {
            return E_NOMEM;
        }
        to->resource_count++;
    }
    to->space = space_of(to);
    return 0;
}

int auth_create(const struct token_def *tokens, uint32_t count, struct auth **ret) {
    struct auth *a = calloc(1, sizeof *a);
    if (a == NULL) {
        return E_NOMEM;
    }
    a->tokens = calloc(count + 1u, sizeof *a->tokens);
    int error = a->tokens == NULL ? E_NOMEM : sodium_init() < 0 ? E_UNSUPPORTED : 0;
    for (uint32_t i = 0; i < count && error == 0; i++) {
        a->count++;
        error = copy_token(&tokens[i], &a->tokens[i]);
    }
    if (error != 0) {
        auth_free(a);
        return error;
    }
    *ret = a;
    return 0;
}

void auth_free(struct auth *a) {
    if (a == NULL) {
        return;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        for (uint32_t k = 0; k < a->tokens[i].resource_count; k++) {
            free(a->tokens[i].resources[k]);
        }
        free(a->tokens[i].resources);
    }
    free(a->tokens);
    free(a);
}

bool auth_empty(const struct auth *a) {
    return a->count == 0;
}

/* "Bearer slc_..." -> the token; empty when it is none. */
static struct span bearer_of(struct span authorization) {
    static const char scheme[] = "bearer ";
    const size_t size = sizeof scheme - 1;
    if (authorization.size != size + TOKEN_CHARS) {
        return span_of(NULL, 0);
    }
    for (size_t i = 0; i < size; i++) {
        uint8_t c = authorization.data[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != scheme[i]) {
            return span_of(NULL, 0);
        }
    }
    return span_of(authorization.data + size, TOKEN_CHARS);
}

/*
 * One hash and one comparison whatever comes: a token of which only the id is known takes as long as one
 * that is wrong in its last character, or in its first.
 */
const struct auth_token *auth_find(const struct auth *a, struct span authorization) {
    static const struct auth_token nobody;
    struct span token = bearer_of(authorization);
    if (token.size == 0) {
        return NULL;
    }
    const struct auth_token *named = &nobody;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct auth_token *t = &a->tokens[i];
        if (memcmp(token.data + sizeof PREFIX - 1, t->id, ID_CHARS) == 0) {
            named = t;
        }
    }
    uint8_t hash[HASH_BYTES];
    hash_token(token, named->key, hash);
    bool equal = sodium_memcmp(hash, named->hash, HASH_BYTES) == 0;
    return equal && named != &nobody ? named : NULL;
}

/* '*' stands for any run of characters. Linear: only the last star is ever tried again. */
static bool matches(const char *pattern, struct span text) {
    const char *star = NULL;
    size_t at = 0, retry = 0;
    while (at < text.size) {
        if (*pattern == '*') {
            star = pattern++;
            retry = at;
        } else if (*pattern == (char)text.data[at]) {
            pattern++;
            at++;
        } else if (star != NULL) {
            pattern = star + 1;
            at = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* A pattern without a slash is about the name, whatever kind of resource has it. */
static bool pattern_covers(const char *pattern, struct span resource) {
    if (strchr(pattern, '/') != NULL) {
        return matches(pattern, resource);
    }
    const uint8_t *slash = memchr(resource.data, '/', resource.size);
    size_t kind = slash == NULL ? 0 : (size_t)(slash - resource.data) + 1;
    return matches(pattern, span_of(resource.data + kind, resource.size - kind));
}

/* What names a kind that there is not would cover nothing, which nobody means. */
static bool kind_is_known(struct span pattern) {
    const uint8_t *slash = memchr(pattern.data, '/', pattern.size);
    struct span kind = span_of(pattern.data, (size_t)(slash - pattern.data));
    bool known = memchr(kind.data, '*', kind.size) != NULL;
    for (int i = 0; i < DEFINITION_KINDS; i++) {
        known = known || span_is(kind, definition_types[i].plural);
    }
    return known;
}

bool resource_pattern_valid(struct span pattern) {
    size_t slashes = 0;
    for (size_t i = 0; i < pattern.size; i++) {
        uint8_t c = pattern.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && strchr("._-*/", c) == NULL) {
            return false;
        }
        slashes += c == '/';
    }
    return pattern.size > 0 && slashes <= 1 && (slashes == 0 || kind_is_known(pattern));
}

/* ---- the question ---- */

bool auth_is_tenant(const struct principal *p) {
    return p->token != NULL && p->token->resource_count > 0;
}

uint64_t auth_space(const struct principal *p) {
    return p->token != NULL ? p->token->space : 0;
}

bool auth_covers(const struct principal *p, struct span resource) {
    if (!auth_is_tenant(p)) {
        return p->token != NULL || p->everything;
    }
    for (uint32_t i = 0; i < p->token->resource_count; i++) {
        if (pattern_covers(p->token->resources[i], resource)) {
            return true;
        }
    }
    return false;
}

/* Nothing but the management API is for users. */
static bool user_may(const struct auth_user *user, enum action action) {
    switch (action) {
    case ACTION_MANAGE_PING:
    case ACTION_MANAGE_LOOK:
    case ACTION_MANAGE_PUBLISH:
    case ACTION_MANAGE_GET:
    case ACTION_MANAGE_PURGE:
    case ACTION_MANAGE_DEFINE:
        return user->tags != 0;
    case ACTION_MANAGE_POLICY:
        return (user->tags & (USER_POLICYMAKER | USER_ADMINISTRATOR)) != 0;
    case ACTION_MANAGE_SECRETS:
    case ACTION_MANAGE_RULE:
        return (user->tags & USER_ADMINISTRATOR) != 0;
    default:
        return false;
    }
}

enum auth_verdict auth_decide(const struct principal *p, enum action action, struct span resource) {
    if (action == ACTION_OPEN || (p->token == NULL && p->everything)) {
        return AUTH_YES;
    }
    if (p->user != NULL) {
        return user_may(p->user, action) ? AUTH_YES : AUTH_FORBIDDEN;
    }
    if (p->token == NULL) {
        return AUTH_UNKNOWN;
    }
    if ((p->token->scopes & action_scopes(action)) == 0 ||
        (auth_is_tenant(p) && (actions[action].traits & ACTION_WHOLE) != 0)) {
        return AUTH_FORBIDDEN;
    }
    if (resource.size == 0 || auth_covers(p, resource)) {
        return AUTH_YES;
    }
    return (actions[action].traits & ACTION_NAMES) != 0 ? AUTH_FORBIDDEN : AUTH_HIDDEN;
}

const char *auth_token_name(const struct auth_token *t) {
    return t->name;
}

const char *auth_token_label(const struct auth_token *t) {
    return t->label;
}

void token_make(char ret_token[TOKEN_TEXT_BYTES], char ret_hash[TOKEN_HASH_BYTES]) {
    uint8_t id[ID_CHARS / 2], secret[SECRET_BYTES], key[KEY_BYTES], hash[HASH_BYTES];
    char id_text[ID_CHARS + 1], secret_text[SECRET_CHARS + 1], key_text[KEY_CHARS + 1];
    char hash_text[SECRET_CHARS + 1];
    randombytes_buf(id, sizeof id);
    randombytes_buf(secret, sizeof secret);
    randombytes_buf(key, sizeof key);
    sodium_bin2hex(id_text, sizeof id_text, id, sizeof id);
    sodium_bin2base64(secret_text, sizeof secret_text, secret, sizeof secret, VARIANT);
    sodium_bin2base64(key_text, sizeof key_text, key, sizeof key, VARIANT);
    snprintf(ret_token, TOKEN_TEXT_BYTES, PREFIX "%s_%s", id_text, secret_text);
    hash_token(span_text(ret_token), key, hash);
    sodium_bin2base64(hash_text, sizeof hash_text, hash, sizeof hash, VARIANT);
    snprintf(ret_hash, TOKEN_HASH_BYTES, HASH_PREFIX "%s:%s:%s", id_text, key_text, hash_text);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(secret_text, sizeof secret_text);
}
