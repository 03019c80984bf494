/*
 * model/stock.h - units that can run out: purchases as a set of unique numbers, holds, member limits.
 *
 * Invariants:
 *   S1 used <= total at all times; used = PLUS facts - MINUS facts = size of the set of purchases;
 *   S2 each unit in use has one number of 1..used+free, no number twice; a new purchase gets the smallest
 *      number that is free, so that numbers are 1..used whenever every released one was issued again;
 *   S3 a member's count equals the purchases of that member; a purchase is given only below per_member
 *      (which may be lowered later: nobody loses what he has);
 *   S4 a held purchase and a tombstone have a timer, a final purchase has none;
 *   S5 sold_out is true exactly when used == total.
 * The order of checks: known purchase number (idempotent success), tombstone (CANCELLED), member limit,
 * total limit.
 *
 * A tombstone remembers a purchase number that was cancelled, for limits.tombstone_ttl_ns: a late or
 * repeated message with that purchase takes no unit (CANCELLED), a repeated cancel changes nothing. Holds
 * that ended and sends that failed leave none: such a purchase may come again.
 */
#ifndef SLUICE_MODEL_STOCK_H
#define SLUICE_MODEL_STOCK_H

#include "model/model.h"

struct stocks;

extern const struct module stock_module;

MUST_CHECK int stocks_create(const struct model *m, struct stocks **ret);
void stocks_free(struct stocks *s);
uint64_t stocks_memory_bytes(const struct model *m);

/* Index of a stock (with a generation: see roster.h); 0: there is none. */
/* See module.h. */
void stock_prefetch_member(const struct model *m, uint32_t stock, struct span member);
uint32_t stock_find(const struct model *m, struct span name);
/* NULL: no such stock, or it was deleted. */
const struct stock_def *stock_definition(const struct model *m, uint32_t stock);
void stock_describe(const struct model *m, uint32_t stock, struct stock_info *ret);

/*
 * Would one more unit for this member and purchase be given, leaving `keep_back` units untouched?
 * NONE: yes; *ret_is_known set when the purchase is known already (then nothing is to be emitted).
 * MEMBER_LIMIT, SOLD_OUT, CANCELLED, LIMIT; CONFLICT: known, but another member's. Reads only;
 * units that were given earlier in the same decision count.
 */
enum refusal stock_check_plus(const struct model *m, const struct decision *d, uint32_t stock,
                              struct span purchase, struct span member, uint64_t keep_back,
                              struct reservation_info *ret_known, bool *ret_is_known);
/* Emits STOCK_PLUS with the next number, which is returned. hold_until_ns 0: final. */
uint64_t stock_emit_plus(const struct model *m, struct decision *d, uint32_t stock,
                         struct span purchase, struct span member, uint64_t hold_until_ns);
/* Emits STOCK_MINUS if the purchase is there, else nothing. Reason is for the history. */
enum stock_minus_reason { MINUS_CANCELLED = 1, MINUS_HOLD_ENDED = 2, MINUS_SEND_FAILED = 3 };
void stock_emit_minus(const struct model *m, struct decision *d, uint32_t stock,
                      struct span purchase, enum stock_minus_reason reason);

/* ---- reserve, release, confirm: the same for a request of its own and in a transaction ---- */

struct stock_plan {
    enum operation_kind kind;
    uint32_t stock;
    bool changes;                        /* false: the answer is known already, nothing to emit */
    const struct reserve *reserve;       /* borrows */
    struct span purchase;                /* of the request, or `text` */
    char text[18];                       /* the receipt id, made by stock_emit */
    uint64_t receipt_id;                 /* of the first time, when known */
    const char *detail;                  /* with a refusal: static text, or NULL */
    struct reservation_info reservation; /* as it stands; as it will stand after stock_emit */
};

/*
 * NOT_FOUND, INVALID (sizes; a release or confirm without a purchase), CONFLICT, CANCELLED, MEMBER_LIMIT,
 * SOLD_OUT, LIMIT, DISK_FULL. NONE: *ret_plan may be handed to stock_emit.
 */
enum refusal stock_check(const struct model *m, const struct decision *d, enum operation_kind kind,
                         struct span stock, const struct reserve *r, struct stock_plan *ret_plan);
/* The receipt is that of the reservation; zero with release and confirm. */
void stock_emit(const struct model *m, struct decision *d, struct stock_plan *plan,
                struct receipt *ret);

#endif
