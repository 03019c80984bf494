/*
 * dispatch/token.h - OAuth 2.0 client credentials: the token of one destination.
 *
 *      none --ask--> asking --answer--> good until its end; asked for anew before, while the old one goes on
 *        ^             |
 *        +--- failed, not asked again for a while
 *
 * Promise: one request for a token at a time, however many attempts wait for it. A token is renewed when four
 *          fifths of its life are over, in the background. What the server says with a 401 ends it.
 * Shape:   part of a target, on the loop's thread.
 * Source:  RFC 6749, section 4.4.
 */
#ifndef SLUICE_DISPATCH_TOKEN_H
#define SLUICE_DISPATCH_TOKEN_H

#include <curl/curl.h>

#include "base/buffer.h"
#include "base/list.h"
#include "dispatch/guard.h"
#include "dispatch/lookup.h"

struct target;

enum token_state { TOKEN_GOOD, TOKEN_AWAITED, TOKEN_REFUSED };

struct token {
    uint32_t kind;           /* enum handle_kind; first: see internal.h */
    struct list_node asking; /* in dispatch.asking; a reference to the target while linked */
    struct target *target;   /* borrows */
    CURL *easy;              /* owns */
    struct guard guard;
    struct lookup_name name;
    struct lookup lookup;
    struct buffer response;
    char curl_said[CURL_ERROR_SIZE];
    char *value;                         /* owns: "Bearer ..."; NULL: none */
    uint64_t renew_ns, end_ns, retry_ns; /* monotonic */
    uint32_t failures;                   /* in a row */
    char why[160];                       /* the last one */
};

void token_init(struct token *k, struct target *t);
void token_release(struct token *k);
/* GOOD: value may be used. AWAITED: token_done of the target's calls follows. REFUSED: `why`; later again. */
enum token_state token_get(struct token *k, uint64_t now_ns);
/* The server did not take it. */
void token_reject(struct token *k);
/* The transfer is over: learns the token, then lets the target's calls go on (call_token_known). */
void token_done(struct token *k, CURLcode result);
/* Without an end: the loop stops. */
void token_abandon(struct token *k);

#endif
