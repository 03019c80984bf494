/*
 * model/policy_state.h - one policy in memory. Included by policy*.c only.
 *
 * Files: policy_rules.c what one policy is, fits and sets, and what holds of a queue; policy.c which one applies: facts,
 * decide, apply, snapshot.
 */
#ifndef SLUICE_MODEL_POLICY_STATE_H
#define SLUICE_MODEL_POLICY_STATE_H

#include "model/exchange_state.h"
#include "model/policy.h"

enum policy_flag { OF_QUEUES = 1, OF_EXCHANGES = 2, OF_OPERATOR = 4 };
enum applied_to { TO_EXCHANGE = 0, TO_QUEUE = 1, TO_QUEUE_AS_OPERATOR = 2 };

struct policy {
    uint32_t index;
    uint8_t flags;
    int32_t priority;
    char *key;   /* owns; the roster's: see policy_key */
    char *vhost; /* owns, as the texts below */
    char *name, *pattern;
    struct def_bytes definition; /* owns */
    struct queue_def rules;      /* owns; what it sets, the rest 0 */
    bool has_overflow;
    char *alternate;          /* owns; full name, NULL: not set */
    struct pattern *compiled; /* owns */
};

#define POLICY_KEY_BYTES (1 + EXCHANGE_NAME_MAX_BYTES + 1)

static inline struct policy *policy_at(const struct exchanges *s, uint32_t index) {
    return index == 0 ? NULL : roster_at(&s->policies, index);
}

struct policy_texts {
    uint8_t flags;
    int32_t priority;
    struct span vhost, name, pattern, definition;
};

struct pattern;

/* "p" or "o" and the full name: the two kinds do not meet. Empty: no name. */
struct span policy_key(struct span vhost, struct span name, bool operator_policy,
                       char buffer[POLICY_KEY_BYTES]);
/* E_INVALID, with the reason in `r`; E_NOMEM. */
MUST_CHECK int policy_make(const struct policy_texts *in, struct request *r, struct policy **ret);
void policy_free(struct policy *p);
/* Is it for such things, of this vhost, and does its pattern match? */
bool policy_fits(const struct policy *p, enum applied_to what, struct span vhost, struct span name);

#endif
