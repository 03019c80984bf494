/*
 * answer.h - what the server's reply means to the person who clicked.
 *
 * Promise: reads the server's public shapes only: a receipt as text or as an object with `id` or
 *          `receipt`, a number beside it or inside it, the problem type's last path segment.
 */
#ifndef SLUICE_DEMO_ANSWER_H
#define SLUICE_DEMO_ANSWER_H

#include <stdbool.h>

#include "base/span.h"

#define ANSWER_TEXT_MAX 64u

/* X(name, text in ledger and statistics, ask again later) */
#define ANSWER_TABLE(X)                                                                            \
    X(WON, "won", false)         /* 202 */                                                         \
    X(CLAIMED, "claimed", false) /* 409 already-claimed, with the first receipt */                 \
    X(SOLD_OUT, "soldOut", false)                                                                  \
    X(EARLY, "early", false)   /* 425 */                                                           \
    X(CLOSED, "closed", false) /* 410 that is not sold-out */                                      \
    X(BUSY, "busy", true)      /* 429, 503, 507 and other 5xx */                                   \
    X(OTHER, "other", false)   /* nothing that the crowd expects */

enum answer_kind {
#define X(name, text, again) ANSWER_##name,
    ANSWER_TABLE(X)
#undef X
        ANSWER_KINDS
};

struct answer {
    enum answer_kind kind;
    int status;
    char type[ANSWER_TEXT_MAX];    /* "sold-out"; "" without a problem */
    char receipt[ANSWER_TEXT_MAX]; /* "" when none */
    long long number;              /* 0 when none */
};

void answer_read(int status, struct span body, struct answer *ret);
const char *answer_name(enum answer_kind kind);
bool answer_ask_again(enum answer_kind kind);

#endif
