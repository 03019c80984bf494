/*
 * model/stock.h - units that can run out: purchases as a set of unique numbers, holds, member limits.
 *
 * Invariants:
 *   S1 used <= total at all times; used = PLUS facts - MINUS facts = size of the set of purchases;
 *   S2 each unit in use has one number of 1..used+free, no number twice; a new purchase gets the smallest
 *      number that is free, so that numbers are 1..used whenever every released one was issued again;
 *   S3 a member's count equals the purchases of that member, and is <= per_member;
 *   S4 a held purchase has a timer, a final one has none;
 *   S5 sold_out is true exactly when used == total.
 * The order of checks: known purchase number (idempotent success), tombstone (CANCELLED), member limit,
 * total limit.
 */
#ifndef SLUICE_MODEL_STOCK_H
#define SLUICE_MODEL_STOCK_H

#include "model/model.h"

struct stocks;

extern const struct module stock_module;

MUST_CHECK int stocks_create(const struct model *m, struct stocks **ret);
void stocks_free(struct stocks *s);

uint32_t stock_find(const struct model *m, struct span name);
const struct stock_def *stock_definition(const struct model *m, uint32_t stock);
void stock_describe(const struct model *m, uint32_t stock, struct stock_info *ret);

/*
 * Would one more unit for this member and purchase be given, leaving `keep_back` units untouched?
 * NONE: yes; *ret_known set when the purchase is known already (then nothing is to be emitted).
 * MEMBER_LIMIT, SOLD_OUT, CANCELLED. Reads only.
 */
enum refusal stock_check_plus(const struct model *m, uint32_t stock, struct span purchase,
                              struct span member, uint64_t keep_back,
                              struct reservation_info *ret_known, bool *ret_is_known);
/* Emits STOCK_PLUS with the next number, which is returned. hold_until_ns 0: final. */
uint64_t stock_emit_plus(const struct model *m, struct decision *d, uint32_t stock,
                         struct span purchase, struct span member, uint64_t hold_until_ns);
/* Emits STOCK_MINUS if the purchase is there, else nothing. Reason is for the history. */
enum stock_minus_reason { MINUS_CANCELLED = 1, MINUS_HOLD_ENDED = 2, MINUS_SEND_FAILED = 3 };
void stock_emit_minus(const struct model *m, struct decision *d, uint32_t stock,
                      struct span purchase, enum stock_minus_reason reason);

#endif
