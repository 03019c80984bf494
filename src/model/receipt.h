/*
 * model/receipt.h - what became of finished messages, for a time.
 *
 * Invariants: R1 at most limits.receipts, oldest first out; R2 an id stands once; a message that still
 * lives in a queue has none. Filled by the mutators of queue; RECEIPT_GET also asks queue and campaign.
 */
#ifndef SLUICE_MODEL_RECEIPT_H
#define SLUICE_MODEL_RECEIPT_H

#include "model/model.h"

struct receipts;

extern const struct module receipt_module;

MUST_CHECK int receipts_create(const struct model *m, struct receipts **ret);
void receipts_free(struct receipts *r);

/* Mutator: message `id` of `queue` ended. E_NOMEM. */
MUST_CHECK int receipt_note(struct model *m, const struct applied *w, uint64_t id, uint32_t queue,
                            enum message_state state, enum dead_reason reason, uint16_t status,
                            uint8_t error, uint32_t attempts);

/* Mutator: what was told of it, for one that just ended; nothing when it has not. */
void receipt_confirmed(struct model *m, uint64_t id, enum confirm_outcome outcome);
/* Of one that ended and is remembered: what was told of it, and its queue (index, may be gone). */
bool receipt_find_confirmation(const struct model *m, uint64_t now_ns, uint64_t id,
                               enum confirm_outcome *ret_outcome, uint32_t *ret_queue);

#endif
