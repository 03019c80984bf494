/*
 * model/budget.h - the share of a destination's traffic that may be retries.
 *
 * Promise: of the starts in the window at most `percent` are retries, but min_per_second of them always may
 *          be. What is over waits its turn: budget_slot says until when, one after the other.
 * Shape:   plain struct, integers only.
 */
#ifndef SLUICE_MODEL_BUDGET_H
#define SLUICE_MODEL_BUDGET_H

#include <stdbool.h>

#include "model/window.h"

struct budget_def {
    uint32_t percent;        /* 20; 100: no limit */
    uint32_t min_per_second; /* 10 */
    uint64_t window_ns;      /* 10 s */
};

struct budget {
    struct window starts; /* bad: the retries among them */
    uint64_t slot_ns;     /* the last one given */
};

bool budget_def_valid(const struct budget_def *def);
void budget_define(struct budget *b, const struct budget_def *def);
/* Whether a retry may start now. */
bool budget_allows(const struct budget *b, const struct budget_def *def, uint64_t now_ns);
void budget_start(struct budget *b, bool is_retry, uint64_t now_ns);
/* When the next retry that may not start now should be looked at again. Changes nothing. */
uint64_t budget_slot(const struct budget *b, const struct budget_def *def, uint64_t now_ns);
/* How many starts it takes, retries among them, to send so many messages for the first time; as of late. */
uint64_t budget_starts_for(const struct budget *b, uint64_t firsts, uint64_t now_ns);
/* That time was given to one. */
void budget_give_slot(struct budget *b, uint64_t slot_ns);

#endif
