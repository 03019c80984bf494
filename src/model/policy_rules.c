/*
 * One policy: made out of its texts, what it fits, what it sets; and what holds of a queue or an exchange by its policies.
 */
#include "model/policy_state.h"

#include <stdlib.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "base/pattern.h"
#include "model/queue_arguments.h"

struct span policy_key(struct span vhost, struct span name, bool operator_policy,
                       char buffer[POLICY_KEY_BYTES]) {
    struct span full = exchange_full_name(vhost, name, buffer + 1);
    if (full.size == 0) {
        return full;
    }
    memmove(buffer + 1, full.data, full.size);
    buffer[0] = operator_policy ? 'o' : 'p';
    return span_of(buffer, full.size + 1);
}

/* ---- made and freed ---- */

void policy_free(struct policy *p) {
    if (p == NULL) {
        return;
    }
    free(p->key);
    def_free_text(p->vhost);
    def_free_text(p->name);
    def_free_text(p->pattern);
    free(p->definition.data);
    queue_def_release(&p->rules);
    free(p->alternate);
    pattern_free(p->compiled);
    free(p);
}

static int copy_alternate(struct policy *p, struct span vhost) {
    struct amqp_field f;
    struct span name;
    char buffer[EXCHANGE_NAME_MAX_BYTES + 1];
    if (!amqp_table_find(span_of(p->definition.data, p->definition.size), "alternate-exchange",
                         &f)) {
        return 0;
    }
    if (!amqp_field_text(&f, &name) || name.size > UINT8_MAX) {
        return E_INVALID;
    }
    struct span full = exchange_full_name(vhost, name, buffer);
    p->alternate = strndup((const char *)full.data, full.size);
    return p->alternate == NULL ? E_NOMEM : 0;
}

/* What a policy comes to once its texts are there. E_INVALID, with the reason in `r`; E_NOMEM. */
static int understand(struct policy *p, struct request *r) {
    struct amqp_field f;
    struct span definition = span_of(p->definition.data, p->definition.size);
    int rc = pattern_compile(span_text(p->pattern), &p->compiled);
    if (rc != 0) {
        (void)request_invalid(r, "/pattern", "not a regular expression of at most 4 KiB");
        return rc;
    }
    enum refusal refusal = queue_policy_read(r, definition, &p->rules);
    if (refusal != REFUSAL_NONE) {
        return refusal == REFUSAL_LIMIT ? E_NOMEM : E_INVALID;
    }
    p->has_overflow = amqp_table_find(definition, "overflow", &f);
    rc = copy_alternate(p, span_text(p->vhost));
    if (rc == E_INVALID) {
        (void)request_invalid(r, "/definition/alternate-exchange", "expected a name");
    }
    return rc;
}

int policy_make(const struct policy_texts *in, struct request *r, struct policy **ret) {
    char key[POLICY_KEY_BYTES];
    struct span full = policy_key(in->vhost, in->name, (in->flags & OF_OPERATOR) != 0, key);
    struct policy *p = calloc(1, sizeof *p);
    int rc = p == NULL ? E_NOMEM : full.size == 0 ? E_INVALID : queue_def_init(&p->rules);
    rc = rc != 0 ? rc : def_set_text(&p->vhost, in->vhost);
    rc = rc != 0 ? rc : def_set_text(&p->name, in->name);
    rc = rc != 0 ? rc : def_set_text(&p->pattern, in->pattern);
    rc = rc != 0 ? rc : def_set_bytes(&p->definition, in->definition);
    if (rc == 0) {
        p->flags = in->flags;
        p->priority = in->priority;
        p->key = strndup((const char *)full.data, full.size);
        rc = p->key == NULL ? E_NOMEM : understand(p, r);
    }
    if (rc != 0) {
        policy_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

/* ---- what it fits ---- */

static bool of_kind(const struct policy *p, enum applied_to what) {
    bool operator_policy = (p->flags & OF_OPERATOR) != 0;
    return what == TO_EXCHANGE
               ? !operator_policy && (p->flags & OF_EXCHANGES) != 0
               : (what == TO_QUEUE_AS_OPERATOR) == operator_policy && (p->flags & OF_QUEUES) != 0;
}

bool policy_fits(const struct policy *p, enum applied_to what, struct span vhost,
                 struct span name) {
    return of_kind(p, what) && span_is(vhost, p->vhost) && pattern_matches(p->compiled, name);
}

/* ---- what holds ---- */

/* 0 is no limit. */
static uint64_t smaller(uint64_t a, uint64_t b) {
    if (a == 0 || b == 0) {
        return a + b;
    }
    if (a == QUEUE_HOLDS_NOTHING || b == QUEUE_HOLDS_NOTHING) {
        return QUEUE_HOLDS_NOTHING;
    }
    return a < b ? a : b;
}

static void merge(struct queue_rules *out, const struct policy *p, bool quorum) {
    const struct queue_def *def = &p->rules;
    out->message_ttl_ns = smaller(out->message_ttl_ns, def->message_ttl_ns);
    out->expires_ns = smaller(out->expires_ns, def->expires_ns);
    out->max_messages = smaller(out->max_messages, def->max_messages);
    out->max_bytes = smaller(out->max_bytes, def->max_bytes);
    if (quorum) {
        out->delivery_limit = (uint32_t)smaller(out->delivery_limit, def->delivery_limit);
    }
    if (!out->has_dead_letter_exchange && def->has_dead_letter_exchange) {
        out->has_dead_letter_exchange = true;
        out->dead_letter_exchange = def->dead_letter_exchange;
    }
    if (!out->has_dead_letter_key && def->has_dead_letter_key) {
        out->has_dead_letter_key = true;
        out->dead_letter_key = def->dead_letter_key;
    }
}

bool policy_merge(const struct model *m, const struct queue *q, struct queue_rules *rules) {
    if ((q->policy | q->operator_policy) == 0) {
        return false;
    }
    struct span arguments = span_of(q->def.arguments.data, q->def.arguments.size);
    struct amqp_field f;
    bool settled = amqp_table_find(arguments, "x-overflow", &f);
    const uint32_t both[] = {q->policy, q->operator_policy};
    for (size_t i = 0; i < ARRAY_LENGTH(both); i++) {
        const struct policy *p = policy_at(m->exchanges, both[i]);
        if (p == NULL) {
            continue; /* a snapshot is being loaded, and they come later */
        }
        merge(rules, p, queue_arguments_quorum(arguments));
        if (!settled && p->has_overflow) {
            rules->overflow = p->rules.overflow;
            settled = true;
        }
    }
    return true;
}

const char *policy_alternate(const struct exchanges *s, const struct exchange *x) {
    const struct policy *p = x->alternate != NULL ? NULL : policy_at(s, x->policy);
    return p != NULL ? p->alternate : x->alternate;
}
