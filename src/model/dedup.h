/*
 * model/dedup.h - idempotency keys: the stored outcome of a request, kept for a time.
 *
 * Invariants: D1 a key (scope, key) stands once; D2 keys leave oldest first within their lane when a later
 * DEDUP_STORED is applied (so no timer is needed and replay gives the same state); a key past its
 * end is as good as absent to decide; D3 a held key stands as long as its message waits or is under
 * way, and a message holds at most one.
 *
 * A key is known by a 128-bit print of (scope, key): its bytes are not kept. The print is made with
 * fixed keys, so that snapshots and facts do not depend on the machine; the hash map over the prints is
 * keyed by the model's secret. Somebody who computes two keys of his own with one print only tricks
 * himself: the second is answered like the first.
 */
#ifndef SLUICE_MODEL_DEDUP_H
#define SLUICE_MODEL_DEDUP_H

#include "model/model.h"

struct dedups;

extern const struct module dedup_module;

MUST_CHECK int dedups_create(const struct model *m, struct dedups **ret);
void dedups_free(struct dedups *s);
uint64_t dedups_memory_bytes(const struct model *m);

/* True: known and not over; the stored outcome is filled in. */
bool dedup_find(const struct model *m, uint64_t now_ns, const struct idempotency *k,
                uint64_t *ret_fingerprint, struct receipt *ret_receipt);
/* ttl_ns 0: the default. LIMIT is checked by dedup_has_room. */
void dedup_emit(const struct model *m, struct decision *d, const struct idempotency *k,
                const struct receipt *outcome, uint64_t ttl_ns);
/* The same, until the message `outcome->id`, which the same record makes, is delivered, dead or gone. */
void dedup_emit_held(struct decision *d, const struct idempotency *k,
                     const struct receipt *outcome);
/* For the apply of what ends a message: the key that it holds is free. */
void dedup_message_ended(struct model *m, uint64_t message);
bool dedup_has_room(const struct model *m, uint64_t now_ns);

#endif
