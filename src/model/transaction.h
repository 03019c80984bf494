/*
 * model/transaction.h - up to 64 operations of the caller's choice on different resources, all or nothing.
 *
 * decide checks every operation, then emits every operation's facts, in one record with one receipt. A
 * resource (a queue, a stock, a dedup key) may be named once, which makes check-all-then-emit exact:
 * no operation can see, or spoil, what another one of the same record does. A second mention is INVALID.
 * The stock of an ENQUEUE's compensation is no mention; an empty compensate_purchase means the purchase
 * that this transaction reserves of that stock.
 *
 * A refused operation refuses the whole: its refusal, with error_pointer "/operations/N".
 */
#ifndef SLUICE_MODEL_TRANSACTION_H
#define SLUICE_MODEL_TRANSACTION_H

#include "model/module.h"

extern const struct module transaction_module;

#endif
