/*
 * dispatch/sign.h - Standard Webhooks signatures: whoever is called can tell that we sent it, and when.
 *
 *      webhook-id: <idempotency key>   webhook-timestamp: <unix seconds>   webhook-signature: v1,<base64> v1,<base64>
 *
 * Promise: each key signs "id.timestamp.body" with HMAC-SHA256; so both an old key and its successor are
 *          good while keys are changed. No key: no such headers.
 * Source:  the Standard Webhooks specification, 1.0.0.
 */
#ifndef SLUICE_DISPATCH_SIGN_H
#define SLUICE_DISPATCH_SIGN_H

#include "dispatch/header_list.h"

/* `keys` as in making_def.signing_keys. Failures are kept in l->failed. */
void sign_request(struct header_list *l, const char *keys, const char *id, uint64_t now_s,
                  struct span body);

#endif
