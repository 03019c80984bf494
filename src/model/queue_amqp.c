/*
 * What AMQP asks of queues: declare, delete, purge; and how queues that do not stay go.
 *
 *   QUEUE_REMOVED   4 queue index; its messages, consumers and bindings go with it
 *   QUEUE_TOUCHED   4 queue index; it is in use: its time to expire begins anew
 *   QUEUE_OWNED     4 queue index   8 session
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/campaign.h"
#include "model/exchange.h"
#include "model/fact.h"
#include "model/message_payload.h"
#include "model/policy.h"
#include "model/queue_arguments.h"
#include "model/session.h"
#include "model/session_state.h"
#include "model/queue_tenant.h"

#define DEFINITION_BYTES_MAX (128u << 10)
#define GENERATED_PREFIX     "amq.gen-"
#define GENERATED_LETTERS    22u /* 132 bits */

/* ---- finding ---- */

enum refusal queue_for_amqp(const struct model *m, struct request *r, struct span name,
                            struct queue **ret) {
    char buffer[QUEUE_NAME_MAX_BYTES + 1];
    struct span full = amqp_queue_name(r->vhost, name, buffer);
    struct queue *q = full.size == 0 ? NULL : queue_at(m->queues, queue_find(m, full));
    if (q == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "no queue");
    }
    uint64_t owner = session_owner(m, q);
    if (owner != 0 && owner != r->session) {
        return request_refuse(r, REFUSAL_LOCKED, "cannot obtain exclusive access to locked queue");
    }
    *ret = q;
    return REFUSAL_NONE;
}

struct span queue_stored_name(const struct queue *q) {
    char vhost[VHOST_MAX_BYTES + 1];
    struct span name = span_text(q->def.name);
    return name.size <= UINT8_MAX ? name : amqp_queue_split(name, vhost);
}

static void emit_index(struct decision *d, uint16_t kind, uint32_t index) {
    size_t begun = decision_begin(d, kind, 1);
    decision_put_u32(d, index);
    decision_end(d, begun);
}

void queue_emit_touched(struct decision *d, const struct queue *q) {
    if (q->def.expires_ns != 0) {
        emit_index(d, FACT_QUEUE_TOUCHED, q->index);
    }
}

/* ---- declare ---- */

static enum refusal answer(struct decision *d, struct request *r, struct span name, uint64_t ready,
                           uint32_t consumers) {
    r->out.declared = (struct queue_declared){.messages = ready, .consumers = consumers};
    d->failed |= buffer_append_span(&r->out_bytes, name) != 0;
    return REFUSAL_NONE;
}

static enum refusal compare(const struct model *m, struct request *r, const struct queue *q) {
    const struct queue_declare *in = &r->in.queue_declare;
    if (q->def.durable != in->durable) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/durable", "inequivalent arg 'durable'");
    }
    if (q->def.exclusive != in->exclusive) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/exclusive",
                                 "inequivalent arg 'exclusive'");
    }
    if (q->def.auto_delete != in->auto_delete) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/auto_delete",
                                 "inequivalent arg 'auto_delete'");
    }
    struct span present = span_of(q->def.arguments.data, q->def.arguments.size);
    return q->def.amqp ? queue_arguments_compare(r, present, in->arguments) : REFUSAL_NONE;
}

/* Somebody's queue of the HTTP side may be declared as it is: what it is set to there holds. */
static enum refusal declare_present(const struct model *m, struct decision *d, struct request *r,
                                    const struct queue *q, struct span name) {
    enum refusal refusal = r->in.queue_declare.passive ? REFUSAL_NONE : compare(m, r, q);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    queue_emit_touched(d, q);
    return answer(d, r, name, q->counts[MESSAGE_READY] + q->counts[MESSAGE_BLOCKED], q->consumers);
}

static enum refusal fill_definition(struct request *r, struct span full, struct queue_def *def) {
    const struct queue_declare *in = &r->in.queue_declare;
    def->amqp = true;
    def->max_priority = 0;
    def->dead_letters = false;
    def->durable = in->durable;
    def->exclusive = in->exclusive;
    def->auto_delete = in->auto_delete;
    def->overflow = OVERFLOW_DROP_HEAD;
    if (def_set_text(&def->name, full) != 0 || def_set_bytes(&def->arguments, in->arguments) != 0) {
        return REFUSAL_LIMIT;
    }
    return queue_arguments_read(r, in->arguments, def);
}

static void emit_declared(struct decision *d, uint32_t index, const struct queue_def *def) {
    size_t begun = decision_begin(d, FACT_QUEUE_DEFINED, 1);
    decision_put_u32(d, index);
    decision_put_u64(d, 0);
    d->failed |= queue_def_encode(def, d->facts) != 0;
    decision_end(d, begun);
}

static void emit_owned(struct decision *d, uint32_t index, uint64_t session) {
    size_t begun = decision_begin(d, FACT_QUEUE_OWNED, 1);
    decision_put_u32(d, index);
    decision_put_u64(d, session);
    decision_end(d, begun);
}

static enum refusal declare_new(const struct model *m, struct decision *d, struct request *r,
                                struct span full, struct span name) {
    if (m->queues->roster.live >= m->limits.queues) {
        return request_refuse(r, REFUSAL_LIMIT, "no more queues: limits.queues is reached");
    }
    if (r->in.queue_declare.arguments.size > DEFINITION_BYTES_MAX / 2) {
        return request_invalid(r, "/arguments", "at most 64 KiB");
    }
    struct queue_def def;
    if (queue_def_init(&def) != 0) {
        d->failed = true;
        return REFUSAL_NONE;
    }
    enum refusal refusal = fill_definition(r, full, &def);
    if (refusal == REFUSAL_NONE && def.exclusive) {
        refusal = session_emit_open(m, d, r);
    }
    if (refusal == REFUSAL_NONE) {
        uint32_t index = roster_next_index(&m->queues->roster);
        emit_declared(d, index, &def);
        policy_emit_queue(m, d, index, full);
        if (def.exclusive) {
            emit_owned(d, index, r->session);
        }
        refusal = answer(d, r, name, 0, 0);
    }
    queue_def_release(&def);
    return refusal;
}

static struct span generate_name(struct decision *d, char text[sizeof GENERATED_PREFIX + 22]) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t at = sizeof GENERATED_PREFIX - 1;
    memcpy(text, GENERATED_PREFIX, at);
    for (unsigned i = 0; i < GENERATED_LETTERS; i++) {
        text[at++] = letters[rng_below(d->random, 64)];
    }
    return span_of(text, at);
}

enum refusal queue_decide_amqp_declare(const struct model *m, struct decision *d,
                                       struct request *r) {
    char made[sizeof GENERATED_PREFIX + GENERATED_LETTERS];
    char buffer[QUEUE_NAME_MAX_BYTES + 1];
    struct span name = r->name;
    bool reserved = name.size >= 4 && memcmp(name.data, "amq.", 4) == 0;
    if (reserved && !r->in.queue_declare.passive) { /* also a name that came from us */
        return request_refuse(r, REFUSAL_FORBIDDEN, "queue name contains reserved prefix 'amq.*'");
    }
    if (name.size == 0) {
        name = generate_name(d, made);
    }
    struct queue *q = NULL;
    enum refusal refusal = queue_for_amqp(m, r, name, &q);
    if (refusal == REFUSAL_NONE) {
        return declare_present(m, d, r, q, name);
    }
    if (refusal != REFUSAL_NOT_FOUND || r->in.queue_declare.passive) {
        return refusal;
    }
    r->error_detail = NULL;
    struct span full = amqp_queue_name(r->vhost, name, buffer);
    if (full.size == 0 || !exchange_vhost_exists(m, r->vhost)) {
        return request_invalid(r, "/name", "a vhost, and 1 to 255 bytes without NUL");
    }
    return declare_new(m, d, r, full, name);
}

/* ---- delete, purge ---- */

/* What is tied to something is settled first; lists of what is not dead. */
static void settle_list(const struct model *m, struct decision *d, uint32_t slot) {
    for (; slot != 0; slot = message_next(m->queues, slot)) {
        queue_emit_settlement(m, d, slot);
    }
}

static void settle_all(const struct model *m, struct decision *d, const struct queue *q) {
    uint64_t tied = 0;
    for (unsigned state = 1; state < STATES_LIVE; state++) {
        tied += state == MESSAGE_DEAD ? 0 : q->tied[state];
    }
    if (tied == 0) {
        return;
    }
    uint32_t at = 0;
    const struct ready_set *set;
    while ((set = tenant_next_set(m->queues, q, &at)) != NULL) {
        for (uint32_t i = 0; i < set->level_count; i++) {
            settle_list(m, d, set->levels->lists[i].first);
        }
    }
    settle_list(m, d, delayed_first(m->queues, q));
    settle_list(m, d, q->in_flight.first);
    settle_list(m, d, q->confirming.first);
    for (uint32_t k = q->keys.first; k != 0; k = key_at(m->queues, k)->next) {
        settle_list(m, d, key_at(m->queues, k)->blocked.first);
    }
    for (uint32_t c = q->holders.first; c != 0; c = consumer_at(m->sessions, c)->of_queue.next) {
        settle_list(m, d, consumer_at(m->sessions, c)->held.first);
    }
}

enum refusal queue_decide_amqp_delete(const struct model *m, struct decision *d,
                                      struct request *r) {
    struct queue *q;
    enum refusal refusal = queue_for_amqp(m, r, r->name, &q);
    if (refusal == REFUSAL_NOT_FOUND) {
        return REFUSAL_NONE;
    }
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    uint64_t waiting = q->counts[MESSAGE_READY] + q->counts[MESSAGE_BLOCKED];
    if (r->in.remove.if_unused && q->consumers > 0) {
        return request_refuse(r, REFUSAL_PRECONDITION, "queue in use");
    }
    if (r->in.remove.if_empty && waiting > 0) {
        return request_refuse(r, REFUSAL_PRECONDITION, "queue not empty");
    }
    if (campaign_uses_queue(m, q->index)) {
        return request_refuse(r, REFUSAL_PRECONDITION, "a campaign uses this queue");
    }
    r->count = waiting;
    settle_all(m, d, q);
    emit_index(d, FACT_QUEUE_REMOVED, q->index);
    return REFUSAL_NONE;
}

enum refusal queue_decide_amqp_purge(const struct model *m, struct decision *d, struct request *r) {
    struct queue *q;
    enum refusal refusal = queue_for_amqp(m, r, r->name, &q);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    queue_emit_purge(m, d, r, q, STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_BLOCKED), UINT32_MAX);
    return REFUSAL_NONE;
}

/* ---- going by themselves ---- */

bool queue_decide_recovery(const struct model *m, struct decision *d) {
    const struct roster *roster = &m->queues->roster;
    if (m->queues->transient == 0) {
        return false;
    }
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        const struct queue *q = queue_at(m->queues, i);
        if (!q->def.durable) {
            settle_all(m, d, q);
            emit_index(d, FACT_QUEUE_REMOVED, i);
            return true;
        }
    }
    return false;
}

void queue_on_expiry(const struct model *m, struct decision *d, uint32_t index) {
    settle_all(m, d, queue_at(m->queues, index));
    emit_index(d, FACT_QUEUE_REMOVED, index);
}

/* ---- mutators ---- */

static void arm_expiry(struct model *m, struct queue *q) {
    bool idle = q->def.expires_ns != 0 && q->consumers == 0;
    uint64_t due = !idle                                         ? 0
                   : q->used_ns > UINT64_MAX - q->def.expires_ns ? UINT64_MAX
                                                                 : q->used_ns + q->def.expires_ns;
    if (timer_set(m, TIMER_QUEUE, q->index, 0, due, &q->expiry_ns) != 0) {
        q->expiry_ns = 0; /* without memory it does not expire */
    }
}

void queue_use_changed(struct model *m, struct queue *q) {
    if (m->section_version == 0 && q->def.expires_ns != 0) {
        q->used_ns = m->applied_ns;
    }
    if (q->def.expires_ns != 0 || q->expiry_ns != 0) {
        arm_expiry(m, q);
    }
}

static int end_list(struct model *m, const struct applied *w, struct slot_list *l) {
    int rc = 0;
    while (rc == 0 && l->first != 0) {
        rc = message_end(m, w, l->first, MESSAGE_DROPPED, DEAD_DELETED);
    }
    return rc;
}

static int end_delayed(struct model *m, const struct applied *w, struct queue *q) {
    int rc = 0;
    for (uint32_t slot = delayed_first(m->queues, q), next; rc == 0 && slot != 0; slot = next) {
        next = message_next(m->queues,
                            slot); /* from the front each time it would pass those that have left */
        rc = message_end(m, w, slot, MESSAGE_DROPPED, DEAD_DELETED);
    }
    return rc;
}

/* What consumers hold: the last one of a consumer that has left takes its cell away. */
static int end_held(struct model *m, const struct applied *w, struct queue *q) {
    int rc = 0;
    uint32_t c = q->holders.first;
    while (rc == 0 && c != 0) {
        uint32_t next = consumer_at(m->sessions, c)->of_queue.next;
        uint32_t left = consumer_at(m->sessions, c)->held.count;
        for (; rc == 0 && left > 0; left--) {
            rc = message_end(m, w, consumer_at(m->sessions, c)->held.first, MESSAGE_DROPPED,
                             DEAD_DELETED);
        }
        c = next;
    }
    return rc;
}

int queue_remove(struct model *m, const struct applied *w, struct queue *q) {
    q->def.paused = true; /* nothing is given to consumers meanwhile */
    session_queue_changed(m, q);
    int rc = 0;
    for (uint32_t round = 0; rc == 0 && round < 2;
         round++) { /* an end may let one of its key be ready */
        rc = end_held(m, w, q);
        rc = rc != 0 ? rc : end_list(m, w, &q->in_flight);
        rc = rc != 0 ? rc : end_list(m, w, &q->confirming);
        while (rc == 0 && q->keys.first != 0) {
            rc = end_list(m, w, &key_at(m->queues, q->keys.first)->blocked);
        }
        rc = rc != 0 ? rc : end_delayed(m, w, q);
        rc = rc != 0 ? rc : end_list(m, w, &q->dead);
        for (uint32_t slot; rc == 0 && (slot = queue_first_ready(m->queues, q)) != 0;) {
            rc = message_end(m, w, slot, MESSAGE_DROPPED, DEAD_DELETED);
        }
    }
    if (rc == 0) {
        queue_drop(m, q);
    }
    return rc;
}
