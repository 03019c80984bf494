/*
 * api/campaigns.h - what a loop knows of campaigns, and the refusals by campaign. Internal to api/.
 *
 * A hint is what was true when the engine last said so: the member pointer and the generation of the
 * definition. An entry carries the generation that it was read by; if the definition is another one by
 * then, the engine answers STALE with the present pointer, and the entry is read and sent again.
 */
#ifndef SLUICE_API_CAMPAIGNS_H
#define SLUICE_API_CAMPAIGNS_H

#include "api/call.h"

/* Counters of one campaign, shared by all loops; never freed before the api is. */
struct campaign_refusals {
    struct campaign_refusals *next; /* owns */
    char name[NAME_MAX_BYTES + 1];
    atomic_ullong by[REFUSAL_COUNT];
};

struct campaign_hint {
    char name[NAME_MAX_BYTES + 1];
    uint32_t generation; /* 0: not known yet */
    struct json_pointer pointer;
    char pointer_text[JSON_POINTER_MAX_BYTES + 1];
    struct campaign_refusals *refusals; /* borrows */
};

struct campaign_hints;

MUST_CHECK int campaign_hints_create(struct campaign_hints **ret);
void campaign_hints_free(struct campaign_hints *h);
/* NULL: not known to this loop. */
struct campaign_hint *campaign_hints_find(const struct campaign_hints *h, struct hash_key key,
                                          struct span name);

/* By name; NULL: none was refused yet. Any thread. */
struct campaign_refusals *campaign_refusals_find(struct api *api, struct span name);
void campaign_refusals_free(struct campaign_refusals *first);

#endif
