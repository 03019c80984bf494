/*
 * api/auth.h - bearer tokens: who may do what to which resource.
 *
 * A token reads slc_<id>_<secret>: 8 hex digits that name it and 43 characters of base64url, 256
 * random bits. At rest stands only a keyed hash, "blake2b:<id>:<key>:<hash>": BLAKE2b-256 with a
 * random key of its own. A slow password hash would buy nothing, since 256 random bits cannot be
 * guessed, and it would cost each request milliseconds.
 *
 * Promise: comparing takes the same time whatever differs; tokens are never kept or logged.
 * Errors:  E_INVALID, E_NOMEM.
 */
#ifndef SLUICE_API_AUTH_H
#define SLUICE_API_AUTH_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"

enum scope {
    SCOPE_NONE = 0,    /* open to everybody */
    SCOPE_PRODUCE = 1, /* publish, enter, reserve */
    SCOPE_CONSUME = 2, /* look at messages and delete them */
    SCOPE_ADMIN = 4,   /* everything */
    SCOPE_ANY = 7,     /* a route that asks for any of them */
};

#define TOKEN_TEXT_BYTES 64u  /* with NUL */
#define TOKEN_HASH_BYTES 160u /* with NUL */

/* As configured; all texts borrowed. */
struct token_def {
    const char *name; /* for the log */
    const char *hash;
    unsigned scopes;              /* of enum scope */
    const char *const *resources; /* patterns with '*', e.g. "queues/mail-*" */
    uint32_t resource_count;      /* 0: every resource */
};

struct auth;

/* Copies what it needs. E_INVALID: a hash that is none (token_hash_valid). */
MUST_CHECK int auth_create(const struct token_def *tokens, uint32_t count, struct auth **ret);
void auth_free(struct auth *a);
bool auth_empty(const struct auth *a);

/* The token that an Authorization field carries, or NULL. Borrowed as long as `a`. */
struct auth_token;
const struct auth_token *auth_find(const struct auth *a, struct span authorization);
/* resource: "queues/mail", or empty for routes that name none (every pattern allows those). */
bool auth_allows(const struct auth_token *t, unsigned scope, struct span resource);
const char *auth_token_name(const struct auth_token *t);

/* A new token and the hash to configure. */
void token_make(char ret_token[TOKEN_TEXT_BYTES], char ret_hash[TOKEN_HASH_BYTES]);
bool token_hash_valid(struct span hash);
/* "produce", ...; SCOPE_NONE: no such scope. */
enum scope scope_parse(struct span name);

#endif
