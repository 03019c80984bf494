/*
 * model/campaign.h - first come, first served: hours, one entry per member, stock, queue.
 *
 * Invariants:
 *   C1 no ENTERED fact outside [opens, closes);
 *   C2 one standing entry per member and campaign (one that failed under RELEASE_REENTER stands no
 *      longer: it stays findable by its receipt, but the member is free to enter again);
 *   C3 entries = accepted + sent + failed; a settled entry is never settled again (but by a redrive);
 *   C4 an entry is accepted only while more than safety_stock units are left (not checked: entries whose unit
 *      was cancelled through the stock still count as accepted, so no sum over the entries shows it).
 *
 * The composite entry (decide): generation -> hours -> member known (ALREADY_CLAIMED + receipt) -> stock
 * (keep back safety stock) -> queue room; then emits STOCK_PLUS, MESSAGE_PUT (tied), CAMPAIGN_ENTERED in
 * one record. The purchase number of an entry is its receipt id as text.
 *
 *                       sent
 *      ACCEPTED -------------------> SENT
 *        ^  |   failed for good
 *        |  '----------------------> FAILED   RELEASE: unit back; RELEASE_REENTER: and withdrawn;
 *        '------------------------------'     KEEP: unit kept
 *              redrive (a unit again, with a new number, unless it was kept)
 */
#ifndef SLUICE_MODEL_CAMPAIGN_H
#define SLUICE_MODEL_CAMPAIGN_H

#include "model/queue.h"

struct campaigns;

extern const struct module campaign_module;

MUST_CHECK int campaigns_create(const struct model *m, struct campaigns **ret);
void campaigns_free(struct campaigns *c);
uint64_t campaigns_memory_bytes(const struct model *m);

/*
 * A tied message ended: emits what follows (CAMPAIGN_SETTLED, STOCK_MINUS) in the record of its end.
 * Called in decide by whoever ends messages: queue (deleted, purged, expired), destination (sent, dead).
 */
void campaign_emit_settlement(const struct model *m, struct decision *d, uint64_t message,
                              const struct tie *tie, bool sent);
/*
 * A dead, tied message is to be redriven: its unit was given back, so it needs one again. NONE and the facts
 * emitted, or SOLD_OUT, MEMBER_LIMIT, ALREADY_CLAIMED (the member entered again meanwhile), ... and nothing
 * emitted: then the message stays dead. Several in one decision see each other.
 */
enum refusal campaign_emit_redrive(const struct model *m, struct decision *d, uint64_t message,
                                   const struct tie *tie);
/* The entry behind a message or receipt id, for RECEIPT_GET: the campaign's name, or NULL. */
const char *campaign_entry_by_id(const struct model *m, uint64_t id, struct entry_info *ret);
/* Hash of the member behind a message, the same on every machine; 0: no living entry. */
uint64_t campaign_member_hash(const struct model *m, uint64_t message);
/* A queue or stock in use by a campaign cannot be deleted, and its total not go below safety stock. */
bool campaign_uses_stock(const struct model *m, uint32_t stock);
bool campaign_uses_queue(const struct model *m, uint32_t queue);
/* What the total of a stock must not be lowered below because of the campaigns over it; 0 without any. */
uint64_t campaign_least_total(const struct model *m, uint32_t stock);

#endif
