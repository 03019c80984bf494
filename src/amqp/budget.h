/*
 * amqp/budget.h - memory for the messages of many connections, and whose turn it is when there is none left.
 *
 * Promise: what all holders were given is at most max_bytes and, besides, what one of them, the favoured, may have by
 *          a limit of its own. Whoever waits gets on, first come first served, as long as the favoured gets on.
 * Shape:   caller-owned; a holder is embedded in what holds memory. No clock: who stands still is for others to see.
 * Threads: one.
 *
 *    take ─► there is room, and nobody waits ───────────────────────► given
 *      └───► waits in line ─ serve ─► there is room now ── go_on ─► takes again: given
 *                              └────► nobody is favoured: it is ─ go_on ─► takes what it likes until `progress`
 *
 * Why not only a line: half a message cannot be given back. If all of max_bytes were halves whose next part waits in
 * line, none would ever be whole. The favoured is the one that may go over, and what it makes whole goes to the
 * disk and is given back.
 *
 *   B1  while somebody waits there is a favoured, or something leaves; so something will be given
 *   B2  who is in line is neither favoured nor has been granted anything
 */
#ifndef SLUICE_AMQP_BUDGET_H
#define SLUICE_AMQP_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"

struct amqp_holder {
    struct list_node node;                /* in line, while it waits */
    uint64_t wanted_bytes, granted_bytes; /* of the take that has to come again */
};

struct amqp_budget {
    uint64_t max_bytes;
    uint64_t held_bytes;    /* given, granted or added: goes when clients do their part */
    uint64_t leaving_bytes; /* whole and on its way to the disk: goes by itself */
    struct list line;
    struct amqp_holder *favoured; /* borrows; NULL: nobody */
    /* Its turn: it is to take again. Not to be answered inside. */
    void (*go_on)(struct amqp_holder *h);
};

void amqp_budget_init(struct amqp_budget *b, uint64_t max_bytes,
                      void (*go_on)(struct amqp_holder *h));
/* False: `h` waits, and takes again when it is told to go on. */
MUST_CHECK bool amqp_budget_take(struct amqp_budget *b, struct amqp_holder *h, uint64_t bytes);
/* Held without being asked for: little. */
void amqp_budget_add(struct amqp_budget *b, uint64_t bytes);
void amqp_budget_give(struct amqp_budget *b, uint64_t bytes);
void amqp_budget_leaves(struct amqp_budget *b, uint64_t bytes);
void amqp_budget_left(struct amqp_budget *b, uint64_t bytes);
/* It has taken what it wanted now, or something of it is whole or gone; `held_bytes` is what it holds. */
void amqp_budget_progress(struct amqp_budget *b, struct amqp_holder *h, uint64_t held_bytes);
/* It takes nothing more. What it holds it gives. */
void amqp_budget_forget(struct amqp_budget *b, struct amqp_holder *h);
bool amqp_budget_waits(const struct amqp_holder *h);
/* Does anybody? */
bool amqp_budget_short(const struct amqp_budget *b);
/* Lets those go on for whom there is room. To be called after whatever gave. */
void amqp_budget_serve(struct amqp_budget *b);

#endif
