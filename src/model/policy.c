/*
 * Policies. See policy.h for what they do.
 *
 *   POLICY_DEFINED   4 index   1 flags (1 queues, 2 exchanges, 4 operator)   4 priority   1+. vhost   1+. name
 *                    4+. pattern   4+. definition; whatever it applies to follows it at once
 *   POLICY_DELETED   4 index; nothing names it any more
 *   POLICY_APPLIED   4 count; per item: 1 what (0 exchange, 1 queue, 2 queue, as operator policy)   4 its index
 *                    4 policy, 0: none
 *
 * In a snapshot, behind the exchanges: the roster; per policy what POLICY_DEFINED says; POLICY_APPLIED of all.
 */
#include "model/policy_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "base/pattern.h"
#include "model/fact.h"

void policies_free(struct exchanges *s) {
    for (uint32_t i = roster_after(&s->policies, 0); i != 0; i = roster_after(&s->policies, i)) {
        policy_free(policy_at(s, i));
    }
    roster_release(&s->policies);
}

/* ---- all queues ---- */

#define AHEAD      8u
#define ITEM_BYTES 9u /* of POLICY_APPLIED */

static void fetch(const void *start, size_t size) {
    for (size_t at = 0; at < size; at += 64) {
        __builtin_prefetch((const char *)start + at);
    }
}

/* Of a hundred thousand nothing is in the cache: the queue, and then its name, are asked for before their turn. */
static void fetch_names(const struct roster *queues, uint32_t index) {
    const struct queue *far = roster_ahead(queues, index, 2 * AHEAD);
    const struct queue *near = roster_ahead(queues, index, AHEAD);
    if (far != NULL) {
        __builtin_prefetch(&far->def.name);
        __builtin_prefetch(&far->policy);
    }
    if (near != NULL) {
        __builtin_prefetch(near->def.name);
    }
}

/* The one behind *at; NULL: that was the last. */
static struct queue *next_queue(const struct model *m, uint32_t *at) {
    const struct roster *queues = &m->queues->roster;
    *at = roster_after(queues, *at);
    fetch_names(queues, *at);
    return queue_at(m->queues, *at);
}

/* ---- which one applies ---- */

/* A policy that is being defined stands for the one it replaces; a deleted one for none. */
struct change {
    const struct policy *to; /* NULL: deleted */
    uint32_t index;          /* of what it replaces, or will have */
};

static bool before(const struct policy *a, uint32_t a_index, const struct policy *b,
                   uint32_t b_index) {
    return b == NULL || a->priority > b->priority ||
           (a->priority == b->priority && a_index < b_index);
}

static uint32_t choose(const struct model *m, const struct change *change, enum applied_to what,
                       struct span vhost, struct span name) {
    const struct exchanges *s = m->exchanges;
    const struct policy *best = NULL;
    uint32_t best_index = 0;
    for (uint32_t i = roster_after(&s->policies, 0); i != 0; i = roster_after(&s->policies, i)) {
        const struct policy *p = policy_at(s, i);
        if (change->index != i && before(p, i, best, best_index) &&
            policy_fits(p, what, vhost, name)) {
            best = p;
            best_index = i;
        }
    }
    if (change->to != NULL && before(change->to, change->index, best, best_index) &&
        policy_fits(change->to, what, vhost, name)) {
        best_index = change->index;
    }
    return best_index;
}

/* ---- facts ---- */

/* POLICY_APPLIED, begun with its first item. */
struct applying {
    struct decision *d;
    size_t begun, count_at;
    uint32_t count;
};

static void put_item(struct applying *a, enum applied_to what, uint32_t index, uint32_t policy) {
    if (a->count++ == 0) {
        a->begun = decision_begin(a->d, FACT_POLICY_APPLIED, 1);
        a->count_at = a->d->facts->size;
        decision_put_u32(a->d, 0);
    }
    decision_put_u8(a->d, (uint8_t)what);
    decision_put_u32(a->d, index);
    decision_put_u32(a->d, policy);
}

static void end_items(struct applying *a) {
    if (a->count == 0 || a->d->failed) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        a->d->facts->data[a->count_at + i] = (uint8_t)(a->count >> (8 * i));
    }
    decision_end(a->d, a->begun);
}

static void consider(const struct model *m, struct applying *a, const struct change *change,
                     enum applied_to what, uint32_t index, uint32_t present, struct span full) {
    char vhost[VHOST_MAX_BYTES + 1];
    struct span name = amqp_queue_split(full, vhost);
    bool may_change = present == change->index ||
                      (change->to != NULL && policy_fits(change->to, what, span_text(vhost), name));
    uint32_t best = may_change ? choose(m, change, what, span_text(vhost), name) : present;
    if (best != present) {
        put_item(a, what, index, best);
    }
}

static void emit_changes(const struct model *m, struct decision *d, const struct change *change) {
    struct applying a = {.d = d};
    const struct roster *all = &m->exchanges->exchanges;
    const struct queue *q;
    for (uint32_t i = 0; (q = next_queue(m, &i)) != NULL;) {
        consider(m, &a, change, TO_QUEUE, i, q->policy, span_text(q->def.name));
        consider(m, &a, change, TO_QUEUE_AS_OPERATOR, i, q->operator_policy,
                 span_text(q->def.name));
    }
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        const struct exchange *x = exchange_at(m->exchanges, i);
        consider(m, &a, change, TO_EXCHANGE, i, x->policy, span_text(x->full));
    }
    end_items(&a);
}

static void emit_new(const struct model *m, struct applying *a, enum applied_to what,
                     uint32_t index, struct span full) {
    char vhost[VHOST_MAX_BYTES + 1];
    struct span name = amqp_queue_split(full, vhost);
    struct change none = {.to = NULL};
    uint32_t policy = choose(m, &none, what, span_text(vhost), name);
    if (policy != 0) {
        put_item(a, what, index, policy);
    }
}

void policy_emit_queue(const struct model *m, struct decision *d, uint32_t index,
                       struct span name) {
    struct applying a = {.d = d};
    emit_new(m, &a, TO_QUEUE, index, name);
    emit_new(m, &a, TO_QUEUE_AS_OPERATOR, index, name);
    end_items(&a);
}

void policy_emit_exchange(const struct model *m, struct decision *d, uint32_t index,
                          struct span full) {
    struct applying a = {.d = d};
    emit_new(m, &a, TO_EXCHANGE, index, full);
    end_items(&a);
}

/* ---- decide ---- */

static bool read_flags(const struct policy_def *in, uint8_t *ret) {
    if (span_is(in->apply_to, "queues")) {
        *ret = OF_QUEUES;
    } else if (span_is(in->apply_to, "exchanges")) {
        *ret = OF_EXCHANGES;
    } else if (span_is(in->apply_to, "all")) {
        *ret = OF_QUEUES | OF_EXCHANGES;
    } else {
        return false;
    }
    *ret |= in->operator_policy ? OF_OPERATOR : 0;
    return true;
}

static enum refusal check_policy(const struct model *m, struct request *r,
                                 struct policy_texts *ret) {
    const struct policy_def *in = &r->in.policy;
    if (!exchange_vhost_exists(m, r->vhost)) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "no vhost");
    }
    if (r->name.size == 0 || r->name.size > UINT8_MAX ||
        memchr(r->name.data, '\0', r->name.size) != NULL) {
        return request_invalid(r, "/name", "1 to 255 bytes without NUL");
    }
    if (!read_flags(in, &ret->flags)) {
        return request_invalid(r, "/apply-to", "queues, exchanges or all");
    }
    if (in->pattern.size > 0 && memchr(in->pattern.data, '\0', in->pattern.size) != NULL) {
        return request_invalid(r, "/pattern", "without NUL");
    }
    if (in->definition.size == 0 || in->definition.size > POLICY_DEFINITION_BYTES) {
        return request_invalid(r, "/definition", "at least one key, and at most 64 KiB");
    }
    ret->vhost = r->vhost;
    ret->name = r->name;
    ret->priority = in->priority;
    ret->pattern = in->pattern;
    ret->definition = in->definition;
    return REFUSAL_NONE;
}

static void put_policy(struct buffer *out, int *rc, uint32_t index, const struct policy_texts *in) {
    *rc = *rc != 0 ? *rc : buffer_put_u32(out, index);
    *rc = *rc != 0 ? *rc : buffer_put_u8(out, in->flags);
    *rc = *rc != 0 ? *rc : buffer_put_u32(out, (uint32_t)in->priority);
    *rc = *rc != 0 ? *rc : put_key(out, in->vhost);
    *rc = *rc != 0 ? *rc : put_key(out, in->name);
    *rc = *rc != 0 ? *rc : buffer_put_bytes(out, in->pattern);
    *rc = *rc != 0 ? *rc : buffer_put_bytes(out, in->definition);
}

static bool same(const struct policy *p, const struct policy_texts *in) {
    return p->flags == in->flags && p->priority == in->priority &&
           span_is(in->pattern, p->pattern) &&
           span_equal(in->definition, span_of(p->definition.data, p->definition.size));
}

/* A pattern that gives up on a name that is here would match at random: not taken. */
static bool affordable(const struct model *m, const struct policy *p) {
    const struct queue *q;
    bool matches;
    for (uint32_t i = 0; (q = next_queue(m, &i)) != NULL;) {
        char vhost[VHOST_MAX_BYTES + 1];
        struct span name = amqp_queue_split(span_text(q->def.name), vhost);
        if (strcmp(vhost, p->vhost) == 0 && pattern_try(p->compiled, name, &matches) != 0) {
            return false;
        }
    }
    return true;
}

static void emit_defined(const struct model *m, struct decision *d, const struct change *change,
                         const struct policy_texts *in) {
    size_t begun = decision_begin(d, FACT_POLICY_DEFINED, 1);
    int rc = 0;
    put_policy(d->facts, &rc, change->index, in);
    d->failed |= rc != 0;
    decision_end(d, begun);
    emit_changes(m, d, change);
}

static enum refusal decide_define(const struct model *m, struct decision *d, struct request *r) {
    const struct exchanges *s = m->exchanges;
    struct policy_texts in;
    enum refusal refusal = check_policy(m, r, &in);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    char key[POLICY_KEY_BYTES];
    uint32_t index =
        roster_find(&s->policies, policy_key(in.vhost, in.name, r->in.policy.operator_policy, key));
    if (index != 0 && same(policy_at(s, index), &in)) {
        return REFUSAL_NONE;
    }
    if (index == 0 && s->policies.live >= POLICIES_MAX) {
        return request_refuse(r, REFUSAL_LIMIT, "no more policies: there are 1,000");
    }
    struct policy *p = NULL;
    int rc = policy_make(&in, r, &p);
    if (rc == 0 && affordable(m, p)) {
        struct change change = {.to = p,
                                .index = index != 0 ? index : roster_next_index(&s->policies)};
        emit_defined(m, d, &change, &in);
    } else if (rc == 0) {
        refusal = request_invalid(r, "/pattern", "takes too many steps on names that are here");
    }
    policy_free(p);
    d->failed |= rc == E_NOMEM;
    return rc != 0 && rc != E_NOMEM ? REFUSAL_INVALID : refusal;
}

static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r) {
    char key[POLICY_KEY_BYTES];
    struct span full = policy_key(r->vhost, r->name, r->in.policy.operator_policy, key);
    struct change change = {.index =
                                full.size == 0 ? 0 : roster_find(&m->exchanges->policies, full)};
    if (change.index == 0) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "no policy");
    }
    emit_changes(m, d, &change);
    size_t begun = decision_begin(d, FACT_POLICY_DELETED, 1);
    decision_put_u32(d, change.index);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static const char *apply_to_name(uint8_t flags) {
    flags &= OF_QUEUES | OF_EXCHANGES;
    return flags == OF_QUEUES ? "queues" : flags == OF_EXCHANGES ? "exchanges" : "all";
}

static void list_policy(struct saver *out, const struct policy *p) {
    size_t at = 0;
    out->rc = out->rc != 0 ? out->rc : sized_begin(out->chunk, &at);
    save_key(out, span_text(p->vhost));
    save_key(out, span_text(p->name));
    out->rc = out->rc != 0 ? out->rc : buffer_put_bytes(out->chunk, span_text(p->pattern));
    save_key(out, span_text(apply_to_name(p->flags)));
    save_u32(out, (uint32_t)p->priority);
    out->rc = out->rc != 0
                  ? out->rc
                  : buffer_put_bytes(out->chunk, span_of(p->definition.data, p->definition.size));
    save_u32(out, p->index);
    save_u8(out, (p->flags & OF_OPERATOR) != 0);
    if (out->rc == 0) {
        sized_end(out->chunk, at);
    }
}

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct exchanges *s = m->exchanges;
    struct saver out = {.chunk = &r->out_bytes};
    for (uint32_t i = roster_after(&s->policies, 0); i != 0; i = roster_after(&s->policies, i)) {
        const struct policy *p = policy_at(s, i);
        if (r->vhost.size == 0 || span_is(r->vhost, p->vhost)) {
            list_policy(&out, p);
            r->count++;
        }
    }
    d->failed |= out.rc != 0;
    return REFUSAL_NONE;
}

enum refusal policy_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_POLICY_DEFINE:
        return decide_define(m, d, r);
    case REQUEST_POLICY_DELETE:
        return decide_delete(m, d, r);
    default:
        return decide_list(m, d, r);
    }
}

/* ---- apply ---- */

/* Those that had the policy before it was replaced. */
static int policy_changed(struct model *m, uint32_t index) {
    struct queue *q;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && (q = next_queue(m, &i)) != NULL;) {
        if (q->policy == index || q->operator_policy == index) {
            rc = queue_policies_changed(m, q);
        }
    }
    return rc;
}

/* What was there keeps its place, and goes when nothing borrows of it any more. */
static int policy_replace(struct model *m, struct policy *present, struct policy *p) {
    if (strcmp(present->key, p->key) != 0) {
        policy_free(p);
        return E_CORRUPT;
    }
    struct policy old = *present;
    *present = *p;
    present->key = old.key;
    old.key = p->key;
    *p = old;
    int rc = policy_changed(m, present->index);
    policy_free(p);
    return rc;
}

static int apply_defined(struct model *m, struct reader *in) {
    struct exchanges *s = m->exchanges;
    uint32_t index = reader_u32(in);
    struct policy_texts texts = {.flags = reader_u8(in)};
    texts.priority = (int32_t)reader_u32(in);
    texts.vhost = reader_key(in);
    texts.name = reader_key(in);
    texts.pattern = reader_bytes(in);
    texts.definition = reader_bytes(in);
    if (in->failed || !amqp_table_valid(texts.definition)) {
        return E_CORRUPT;
    }
    struct request r;
    request_init(&r, REQUEST_POLICY_DEFINE); /* for the words of a refusal, which nobody reads */
    struct policy *p = NULL, *present = policy_at(s, index);
    int rc = policy_make(&texts, &r, &p);
    request_release(&r);
    if (rc != 0) {
        return rc == E_NOMEM ? rc : E_CORRUPT;
    }
    p->index = index;
    if (present != NULL) {
        return policy_replace(m, present, p);
    }
    rc = roster_put(&s->policies, index, p, p->key);
    if (rc != 0) {
        policy_free(p);
    }
    return rc;
}

static bool is_named(const struct model *m, uint32_t index) {
    const struct roster *all = &m->exchanges->exchanges;
    const struct queue *q;
    bool named = false;
    for (uint32_t i = 0; !named && (q = next_queue(m, &i)) != NULL;) {
        named = q->policy == index || q->operator_policy == index;
    }
    for (uint32_t i = roster_after(all, 0); !named && i != 0; i = roster_after(all, i)) {
        named = exchange_at(m->exchanges, i)->policy == index;
    }
    return named;
}

static int apply_deleted(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    struct policy *p = policy_at(m->exchanges, index);
    if (in->failed || p == NULL || is_named(m, index)) {
        return E_CORRUPT;
    }
    roster_remove(&m->exchanges->policies, index);
    policy_free(p);
    return 0;
}

/* O1 */
static bool may_name(const struct model *m, uint32_t policy, const char *full) {
    char vhost[VHOST_MAX_BYTES + 1];
    (void)amqp_queue_split(span_text(full), vhost);
    const struct policy *p = policy_at(m->exchanges, policy);
    return policy == 0 || (p != NULL && strcmp(p->vhost, vhost) == 0);
}

static int apply_item(struct model *m, struct reader *in) {
    uint8_t what = reader_u8(in);
    uint32_t index = reader_u32(in), policy = reader_u32(in);
    if (in->failed || what > TO_QUEUE_AS_OPERATOR) {
        return E_CORRUPT;
    }
    if (what == TO_EXCHANGE) {
        struct exchange *x = exchange_at(m->exchanges, index);
        if (x == NULL || !may_name(m, policy, x->full)) {
            return E_CORRUPT;
        }
        x->policy = policy;
        return 0;
    }
    struct queue *q = queue_at(m->queues, index);
    if (q == NULL || !may_name(m, policy, q->def.name)) {
        return E_CORRUPT;
    }
    *(what == TO_QUEUE ? &q->policy : &q->operator_policy) = policy;
    return queue_policies_changed(m, q);
}

/* What the item that is AHEAD items behind will look at. */
static void fetch_item(const struct model *m, const struct reader *in) {
    struct reader peek = *in;
    if (reader_take(&peek, AHEAD * ITEM_BYTES).size == 0) {
        return;
    }
    bool is_queue = reader_u8(&peek) != TO_EXCHANGE;
    const struct queue *q = is_queue ? queue_at(m->queues, reader_u32(&peek)) : NULL;
    if (q != NULL) {
        fetch(q, sizeof *q);
    }
}

static int apply_applied(struct model *m, struct reader *in) {
    uint32_t count = reader_u32(in);
    int rc = in->failed ? E_CORRUPT : 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        fetch_item(m, in);
        rc = apply_item(m, in);
    }
    return rc;
}

int policy_apply(struct model *m, uint16_t kind, struct reader *in) {
    switch (kind) {
    case FACT_POLICY_DEFINED:
        return apply_defined(m, in);
    case FACT_POLICY_DELETED:
        return apply_deleted(m, in);
    default:
        return apply_applied(m, in);
    }
}

void policy_vhost_gone(struct model *m, const char *vhost) {
    struct roster *roster = &m->exchanges->policies;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        struct policy *p = roster_at(roster, i);
        if (strcmp(p->vhost, vhost) == 0) {
            roster_remove(roster, i);
            policy_free(p);
        }
    }
}

/* ---- snapshots, check ---- */

static void save_applied(struct saver *out, enum applied_to what, uint32_t index, uint32_t policy) {
    if (policy != 0) {
        save_u8(out, (uint8_t)what);
        save_u32(out, index);
        save_u32(out, policy);
        save_item_end(out);
    }
}

static uint32_t count_applied(const struct model *m) {
    const struct roster *queues = &m->queues->roster, *all = &m->exchanges->exchanges;
    uint32_t count = 0;
    for (uint32_t i = roster_after(queues, 0); i != 0; i = roster_after(queues, i)) {
        const struct queue *q = queue_at(m->queues, i);
        count += (q->policy != 0) + (q->operator_policy != 0);
    }
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        count += exchange_at(m->exchanges, i)->policy != 0;
    }
    return count;
}

void policy_save(const struct model *m, struct saver *out) {
    const struct exchanges *s = m->exchanges;
    roster_save(&s->policies, out);
    for (uint32_t i = roster_after(&s->policies, 0); i != 0; i = roster_after(&s->policies, i)) {
        const struct policy *p = policy_at(s, i);
        struct policy_texts texts = {.flags = p->flags,
                                     .priority = p->priority,
                                     .vhost = span_text(p->vhost),
                                     .name = span_text(p->name),
                                     .pattern = span_text(p->pattern),
                                     .definition = span_of(p->definition.data, p->definition.size)};
        put_policy(out->chunk, &out->rc, i, &texts);
        save_item_end(out);
    }
    save_u32(out, s->policies.live == 0 ? 0 : count_applied(m));
    if (s->policies.live == 0) {
        return;
    }
    const struct roster *queues = &m->queues->roster, *all = &s->exchanges;
    for (uint32_t i = roster_after(queues, 0); i != 0; i = roster_after(queues, i)) {
        save_applied(out, TO_QUEUE, i, queue_at(m->queues, i)->policy);
        save_applied(out, TO_QUEUE_AS_OPERATOR, i, queue_at(m->queues, i)->operator_policy);
    }
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        save_applied(out, TO_EXCHANGE, i, exchange_at(s, i)->policy);
    }
}

int policy_load(struct model *m, struct reader *in) {
    uint32_t count = 0;
    int rc = roster_load(&m->exchanges->policies, in, &count);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = apply_defined(m, in);
    }
    return rc != 0 ? rc : apply_applied(m, in);
}

/* O2: what holds is what its own settings and the policies come to. */
static void check_rules(const struct model *m, const struct queue *q) {
    if (q->own == NULL) {
        return;
    }
    struct queue_rules rules = *q->own;
    bool merged = policy_merge(m, q, &rules);
    assert(merged);
    assert(rules.max_messages == q->def.max_messages && rules.max_bytes == q->def.max_bytes);
    assert(rules.expires_ns == q->def.expires_ns && rules.overflow == q->def.overflow);
    assert(rules.message_ttl_ns == q->def.message_ttl_ns);
    assert(rules.dead_letter_exchange == q->def.dead_letter_exchange);
    assert(rules.dead_letter_key == q->def.dead_letter_key);
}

void policy_check(const struct model *m) {
    const struct roster *queues = &m->queues->roster, *all = &m->exchanges->exchanges;
    roster_check(&m->exchanges->policies);
    for (uint32_t i = roster_after(queues, 0); i != 0; i = roster_after(queues, i)) {
        const struct queue *q = queue_at(m->queues, i);
        assert(may_name(m, q->policy, q->def.name));
        assert(may_name(m, q->operator_policy, q->def.name));
        assert((q->own != NULL) == ((q->policy | q->operator_policy) != 0)); /* O2 */
        check_rules(m, q);
    }
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        const struct exchange *x = exchange_at(m->exchanges, i);
        assert(may_name(m, x->policy, x->full));
    }
}
