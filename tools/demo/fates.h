/*
 * fates.h - what a provider has done under each Idempotency-Key.
 *
 * Promise: a key is fulfilled at most once; what comes again under it is counted as a repeat. Whether a
 *          key is refused is a function of the key alone, so it is refused each time and for good.
 * Shape:   opaque, heap; keys are copied. At most FATES_MAX keys.
 */
#ifndef SLUICE_DEMO_FATES_H
#define SLUICE_DEMO_FATES_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"

#define FATES_MAX UINT32_C(8000000)

struct fates;

struct fate {
    char *key; /* owns */
    uint32_t key_size;
    uint32_t requests; /* seen under this key, whatever the answer */
    bool fulfilled;
};

/* E_NOMEM. */
MUST_CHECK int fates_create(struct fates **ret);
void fates_free(struct fates *f);
/* The fate of `key`, made when new. Valid until the next call. E_NOMEM, E_LIMIT. */
MUST_CHECK int fates_get(struct fates *f, struct span key, struct fate **ret);
/* share in 0..1 of all keys. */
bool fate_refused(struct span key, double share);

#endif
