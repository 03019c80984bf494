/*
 * api/auth.h - bearer tokens, and the one place that says who may do what to which resource.
 *
 * Each route names its action (routes.c), the table here says which scopes may do it, and auth_decide
 * answers for a caller, an action and a resource.
 *
 * Tenants: a token with resource patterns sees nothing else. What it does not cover is answered as if it were
 * not there (AUTH_HIDDEN), and what concerns everybody (metrics, events, the audit) is not for it.
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
    SCOPE_NONE = 0,
    SCOPE_READ = 1,    /* look at everything that is covered */
    SCOPE_PUBLISH = 2, /* publish, enter, reserve; follow what was accepted */
    SCOPE_CONSUME = 4, /* look at messages and delete them */
    SCOPE_OPERATE = 8, /* pause, resume, purge, redrive, delete messages; look */
    SCOPE_ADMIN = 16,  /* everything */
};
/* "publish"; for enum scope values that are one bit. */
const char *scope_name(enum scope scope);

#define SCOPES_LOOK (SCOPE_READ | SCOPE_CONSUME | SCOPE_OPERATE)

/* name, text in OpenAPI, scopes that may do it beside admin, traits */
#define ACTION_TABLE(X)                                                                                 \
    X(OPEN, "open", 0, 0) /* needs no token */                                                          \
    X(PING, "ping", SCOPES_LOOK | SCOPE_PUBLISH, 0)                                                     \
    X(LOOK, "look", SCOPES_LOOK, 0)     /* definitions with their counters */                           \
    X(BROWSE, "browse", SCOPES_LOOK, 0) /* messages and entries with what they hold */                  \
    X(FOLLOW, "follow", SCOPES_LOOK | SCOPE_PUBLISH, 0) /* one receipt, entry, reservation */           \
    X(SUBMIT, "submit", SCOPE_PUBLISH, 0)                                                               \
    X(TAKE, "take", SCOPE_CONSUME | SCOPE_OPERATE, ACTION_CHANGES) /* delete a message */               \
    X(OPERATE, "operate", SCOPE_OPERATE, ACTION_CHANGES)                                                \
    X(DEFINE, "define", 0, ACTION_CHANGES | ACTION_NAMES)                                               \
    X(REMOVE, "remove", 0, ACTION_CHANGES)                                                              \
    X(OVERSEE, "oversee", SCOPE_READ | SCOPE_OPERATE,                                                   \
      ACTION_WHOLE) /* about everything there is */                                                     \
    X(AUDIT, "audit", 0, ACTION_WHOLE)                                                                  \
    /* The management API: users of AMQP come here too, and their patterns are asked by the handler. */ \
    X(MANAGE_PING, "manage-ping", SCOPES_LOOK | SCOPE_PUBLISH, 0)                                       \
    X(MANAGE_LOOK, "manage-look", SCOPES_LOOK, ACTION_WHOLE)                                            \
    X(MANAGE_PUBLISH, "manage-publish", SCOPE_PUBLISH, ACTION_WHOLE)                                    \
    X(MANAGE_GET, "manage-get", SCOPE_CONSUME,                                                          \
      ACTION_WHOLE) /* messages, as a consumer gets them */                                             \
    X(MANAGE_PURGE, "manage-purge", SCOPE_OPERATE, ACTION_CHANGES | ACTION_WHOLE)                       \
    X(MANAGE_DEFINE, "manage-define", 0, ACTION_CHANGES | ACTION_WHOLE)                                 \
    X(MANAGE_POLICY, "manage-policy", 0, ACTION_CHANGES | ACTION_WHOLE)                                 \
    X(MANAGE_SECRETS, "manage-secrets", 0, ACTION_WHOLE) /* look at what has password hashes */         \
    X(MANAGE_RULE, "manage-rule", 0, ACTION_CHANGES | ACTION_WHOLE) /* users, vhosts, imports */

enum action_trait {
    ACTION_CHANGES = 1, /* administrative: worth a line in the log, and an entry in the audit */
    ACTION_NAMES = 2,   /* gives a name to what need not be there: refused openly */
    ACTION_WHOLE = 4,   /* not for tokens with resource patterns */
};

enum action {
#define X(name, text, scopes, traits) ACTION_##name,
    ACTION_TABLE(X)
#undef X
        ACTION_COUNT
};

/* "look" */
const char *action_name(enum action a);
/* Scopes that may do it, admin included; 0: needs no token. */
unsigned action_scopes(enum action a);
unsigned action_traits(enum action a);

#define TOKEN_TEXT_BYTES 64u  /* with NUL */
#define TOKEN_HASH_BYTES 160u /* with NUL */

/* As configured; all texts borrowed. */
struct token_def {
    const char *name; /* for the log */
    const char *hash;
    unsigned scopes;              /* of enum scope */
    const char *const *resources; /* patterns with '*': "queues/mail-*", "shop-a.*" */
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
const char *auth_token_name(const struct auth_token *t);
/* "ops#06099d4c": name and public id, for the audit. */
const char *auth_token_label(const struct auth_token *t);

/* Tags of a user of AMQP, as RabbitMQ has them. */
enum user_tag {
    USER_MANAGEMENT = 1,
    USER_POLICYMAKER = 2,
    USER_MONITORING = 4,
    USER_ADMINISTRATOR = 8,
};

/* Who came with a name and a password. */
struct auth_user {
    struct span name;
    unsigned tags; /* of enum user_tag */
};

/* Who asks. Nothing of it: nobody that we know. */
struct principal {
    const struct auth_token *token; /* borrows; NULL: none */
    const struct auth_user *user;   /* borrows; NULL: none */
    bool everything;                /* somebody on this machine, where that is enough */
};

enum auth_verdict {
    AUTH_YES,
    AUTH_UNKNOWN,   /* 401 */
    AUTH_FORBIDDEN, /* 403, and it does not depend on what there is */
    AUTH_HIDDEN,    /* to be answered as if the resource did not exist */
};
/* resource: "queues/mail", or empty for routes that name none. */
enum auth_verdict auth_decide(const struct principal *p, enum action action, struct span resource);
/* May the caller know of this resource, whatever it does with it? */
bool auth_covers(const struct principal *p, struct span resource);
/* Is the caller held to resource patterns: a tenant? */
bool auth_is_tenant(const struct principal *p);
/* Tells the keys of tenants apart: the same for all tokens with the same patterns; 0 for others. */
uint64_t auth_space(const struct principal *p);

/* "queues/mail-*", "shop-a.*" (any kind of resource), with letters, digits, '.', '_', '-', '*'. */
bool resource_pattern_valid(struct span pattern);

/* A new token and the hash to configure. */
void token_make(char ret_token[TOKEN_TEXT_BYTES], char ret_hash[TOKEN_HASH_BYTES]);
bool token_hash_valid(struct span hash);
/* The public id in a valid hash: 8 characters, without an end of its own. */
const char *token_hash_id(const char *hash);
/* "publish", ... ("produce" is publish as well); SCOPE_NONE: no such scope. */
enum scope scope_parse(struct span name);

#endif
