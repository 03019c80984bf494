/*
 * The model as a whole: its parts made and freed, requests and facts sent to their module, timers.
 */
#include "model/model.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/audit.h"
#include "model/campaign.h"
#include "model/dedup.h"
#include "model/destination.h"
#include "model/exchange.h"
#include "model/fact.h"
#include "model/history.h"
#include "model/job.h"
#include "model/queue.h"
#include "model/receipt.h"
#include "model/session.h"
#include "model/state.h"
#include "model/stock.h"
#include "model/user.h"

#define MODULE_OF(kind) ((kind) >> 8)

static void limits_fill(struct model_limits *l) {
    const struct model_limits defaults = {
        .queues = 100000,
        .messages = 50000000,
        .stocks = 10000,
        .purchases = 20000000,
        .campaigns = 10000,
        .entries = 20000000,
        .dedup_keys = 20000000,
        .dedup_ttl_ns = 24 * 3600 * NS_PER_SECOND,
        .tenants = 10000,
        .destinations = 10000,
        .receipts = 1000000,
        .receipt_ttl_ns = 24 * 3600 * NS_PER_SECOND,
        .tombstone_ttl_ns = 24 * 3600 * NS_PER_SECOND,
        .vhosts = 1000,
        .exchanges = 100000,
        .bindings = 10000000,
        .consumers = 1000000,
        .sessions = 100000,
        .users = 10000,
        .history_bytes = (uint64_t)256 << 20,
        .list_looks = 5000,
    };
#define FILL(field) l->field = l->field != 0 ? l->field : defaults.field
    FILL(queues);
    FILL(messages);
    FILL(stocks);
    FILL(purchases);
    FILL(campaigns);
    FILL(entries);
    FILL(dedup_keys);
    FILL(dedup_ttl_ns);
    FILL(tenants);
    FILL(destinations);
    FILL(receipts);
    FILL(receipt_ttl_ns);
    FILL(tombstone_ttl_ns);
    FILL(vhosts);
    FILL(exchanges);
    FILL(bindings);
    FILL(consumers);
    FILL(sessions);
    FILL(users);
    FILL(history_bytes);
    FILL(list_looks);
#undef FILL
}

static int model_create_parts(struct model *m) {
    int rc = queues_create(m, &m->queues);
    if (rc == 0) {
        rc = stocks_create(m, &m->stocks);
    }
    if (rc == 0) {
        rc = campaigns_create(m, &m->campaigns);
    }
    if (rc == 0) {
        rc = dedups_create(m, &m->dedups);
    }
    if (rc == 0) {
        rc = destinations_create(m, &m->destinations);
    }
    if (rc == 0) {
        rc = receipts_create(m, &m->receipts);
    }
    rc = rc != 0 ? rc : sessions_create(m, &m->sessions);
    rc = rc != 0 ? rc : exchanges_create(m, &m->exchanges);
    rc = rc != 0 ? rc : users_create(m, &m->users);
    rc = rc != 0 ? rc : histories_create(m, &m->histories);
    rc = rc != 0 ? rc : jobs_create(m, &m->jobs);
    return rc != 0 ? rc : audits_create(&m->audits);
}

int model_create(const struct model_limits *limits, struct hash_key hash,
                 struct model **ret_model) {
    struct model *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return E_NOMEM;
    }
    m->limits = *limits;
    limits_fill(&m->limits);
    m->hash = hash;
    agenda_init(&m->timers);
    bodies_init(&m->bodies);
    int rc = model_create_parts(m);
    if (rc != 0) {
        model_free(m);
        return rc;
    }
    *ret_model = m;
    return 0;
}

void model_free(struct model *m) {
    if (m == NULL) {
        return;
    }
    audits_free(m->audits);
    histories_free(m->histories);
    jobs_free(m->jobs);
    receipts_free(m->receipts);
    destinations_free(m->destinations);
    dedups_free(m->dedups);
    campaigns_free(m->campaigns);
    stocks_free(m->stocks);
    queues_free(m->queues);
    exchanges_free(m->exchanges);
    sessions_free(m->sessions);
    users_free(m->users);
    bodies_release(&m->bodies);
    agenda_release(&m->timers);
    free(m);
}

void model_set_segment_of(struct model *m, uint32_t (*segment_of)(uint64_t address)) {
    m->bodies.segment_of = segment_of;
}

/* ---- decide ---- */

/* Those whose answer is a receipt, and may be asked for again by their key. */
static bool makes_receipt(enum request_kind kind) {
    return kind == REQUEST_QUEUE_PUBLISH || kind == REQUEST_STOCK_RESERVE ||
           kind == REQUEST_CAMPAIGN_ENTER || kind == REQUEST_TRANSACTION;
}

static enum refusal module_decide(const struct model *m, struct decision *d, struct request *r) {
    unsigned id = MODULE_OF((unsigned)r->kind);
    assert(id < MODULE_COUNT && modules[id] != NULL && modules[id]->decide != NULL);
    return modules[id]->decide(m, d, r);
}

void model_prefetch(const struct model *m, const struct request *r, unsigned step) {
    const struct module *module = modules[MODULE_OF((unsigned)r->kind)];
    if (module->prefetch != NULL) {
        module->prefetch(m, r, step);
    }
}

/* The key first: what it knows is answered as it was, whatever the state is now. */
static enum refusal decide_keyed(const struct model *m, struct decision *d, struct request *r) {
    uint64_t fingerprint = 0;
    struct receipt stored = {0};
    if (r->idempotency.key.size > KEY_MAX_BYTES) {
        return request_invalid(r, "/idempotencyKey", "at most 255 bytes");
    }
    if (dedup_find(m, d->now_ns, &r->idempotency, &fingerprint, &stored)) {
        if (fingerprint != r->idempotency.fingerprint) {
            return REFUSAL_KEY_REUSED;
        }
        r->receipt = stored;
        r->replayed = true;
        return REFUSAL_NONE;
    }
    if (!dedup_has_room(m, d->now_ns)) {
        return request_refuse(r, REFUSAL_LIMIT, "no more idempotency keys: limits.dedupKeys");
    }
    enum refusal refusal = module_decide(m, d, r);
    if (refusal == REFUSAL_NONE && r->receipt.id != 0 && !r->replayed) {
        dedup_emit(m, d, &r->idempotency, &r->receipt, 0);
    }
    return refusal;
}

/*
 * What a person changed leaves its entry in the same record; without room for one it does not happen. Whoever decides
 * may find that it is nobody's action after all (a step of a job that goes on), and takes the actor away.
 */
static enum refusal decide_audited(const struct model *m, struct decision *d, struct request *r) {
    if (audit_is_full(m)) {
        return request_refuse(r, REFUSAL_LIMIT, "the audit file cannot be written: see the log");
    }
    uint16_t before = d->fact_count;
    enum refusal refusal = module_decide(m, d, r);
    bool changed = refusal == REFUSAL_NONE && d->fact_count > before;
    if (changed && r->actor.size > 0 && r->kind != REQUEST_AUDIT_NOTE) {
        audit_emit(m, d, r);
    }
    return refusal;
}

enum refusal model_decide(const struct model *m, struct decision *d, struct request *r) {
    size_t facts_before = d->facts->size;
    uint16_t count_before = d->fact_count;
    uint32_t operation_before = d->operation;
    bool keyed = r->idempotency.key.size > 0 && makes_receipt(r->kind);
    bool audited = r->actor.size > 0 && audit_names(r->kind);
    r->refusal = keyed     ? decide_keyed(m, d, r)
                 : audited ? decide_audited(m, d, r)
                           : module_decide(m, d, r);
    if (d->ids_wanted > IDS_MAX) {
        r->refusal =
            request_refuse(r, REFUSAL_TOO_LARGE, "more than 65,536 messages in one record");
    }
    if (r->refusal != REFUSAL_NONE || d->ids_wanted != 0) {
        d->facts->size = facts_before;
        d->fact_count = count_before;
        d->operation = operation_before;
    }
    return r->refusal;
}

/* ---- apply ---- */

/* Those who wrote version 1 of these kept no histories, so replay must not either: their snapshots have none. */
static bool is_told(unsigned kind, unsigned version) {
    return version >= 2 || (kind != FACT_ATTEMPT_FINISHED && kind != FACT_MESSAGE_EXPIRED &&
                            kind != FACT_MESSAGE_REDRIVEN);
}

static int apply_one(struct model *m, const struct applied *where, struct reader *facts) {
    uint16_t kind = reader_u16(facts);
    uint16_t version = reader_u16(facts);
    struct span bytes = reader_bytes(facts);
    if (facts->failed) {
        return E_CORRUPT;
    }
    unsigned known = fact_kind_version(kind);
    if (known == 0 || version > known) {
        return E_VERSION;
    }
    if (version == 0) {
        return E_CORRUPT;
    }
    struct reader payload;
    reader_init(&payload, bytes);
    m->fact_told = is_told(kind, version);
    int rc = modules[MODULE_OF(kind)]->apply(m, where, kind, version, &payload);
    return rc == 0 && payload.failed ? E_CORRUPT : rc;
}

int model_apply(struct model *m, const struct applied *where, struct span facts) {
    struct reader r;
    m->applied_ns = where->time_ns;
    reader_init(&r, facts);
    int rc = 0;
    while (r.left > 0 && rc == 0) {
        rc = apply_one(m, where, &r);
    }
    return rc;
}

/* ---- time ---- */

static const enum module_id timer_modules[] = {
    [TIMER_MESSAGE] = MODULE_QUEUE,
    [TIMER_QUEUE] = MODULE_QUEUE,
    [TIMER_HOLD] = MODULE_STOCK,
    [TIMER_DESTINATION] = MODULE_DESTINATION,
};

static enum timer_kind timer_kind_of(const struct agenda_entry *e) {
    return (enum timer_kind)(e->key >> TIMER_REF_BITS);
}

static uint64_t timer_ref_of(const struct agenda_entry *e) {
    return e->key & ((UINT64_C(1) << TIMER_REF_BITS) - 1);
}

void timer_clear(struct model *m, enum timer_kind kind, uint64_t ref, uint64_t *set_ns) {
    if (*set_ns != 0) {
        agenda_remove(&m->timers, timer_entry(kind, ref, *set_ns));
    }
    *set_ns = 0;
}

int timer_set(struct model *m, enum timer_kind kind, uint64_t ref, uint32_t cell, uint64_t due_ns,
              uint64_t *set_ns) {
    if (*set_ns == due_ns) {
        return 0;
    }
    timer_clear(m, kind, ref, set_ns);
    struct agenda_entry e = timer_entry(kind, ref, due_ns);
    e.cell = cell;
    int rc = due_ns == 0 ? 0 : agenda_insert(&m->timers, e);
    *set_ns = rc == 0 ? due_ns : 0;
    return rc;
}

bool timer_is_true(const struct model *m, enum timer_kind kind, uint64_t ref, uint32_t cell,
                   uint64_t set_ns) {
    struct agenda_entry e = timer_entry(kind, ref, set_ns);
    e.cell = cell;
    return set_ns == 0 || agenda_has(&m->timers, e);
}

uint32_t timer_first_slot(const struct model *m, uint64_t id) {
    const struct agenda_entry *e = agenda_first(&m->timers);
    bool is = e != NULL && timer_kind_of(e) == TIMER_MESSAGE && timer_ref_of(e) == id;
    return is ? e->cell : 0;
}

uint64_t model_next_due_ns(const struct model *m) {
    const struct agenda_entry *e = agenda_first(&m->timers);
    return e == NULL ? UINT64_MAX : e->due_ns;
}

static void prefetch_due(const struct model *m, uint32_t ahead, unsigned step) {
    const struct agenda_entry *e = agenda_ahead(&m->timers, ahead);
    if (e != NULL && timer_kind_of(e) == TIMER_MESSAGE) {
        queue_prefetch_due(m, e->cell, step);
    }
}

/* What comes later is fetched run by run, as far ahead as is known, so that the misses of a run pass together. */
static void prefetch_timers(const struct model *m) {
    if (!agenda_begins_run(&m->timers)) {
        return;
    }
    for (unsigned step = 0; step < DUE_STEPS; step++) {
        uint32_t from = AGENDA_AHEAD - (step + 1) * AGENDA_RUN;
        for (uint32_t i = 0; i < AGENDA_RUN; i++) {
            prefetch_due(m, from + i, step);
        }
    }
}

bool model_decide_timer(const struct model *m, struct decision *d) {
    const struct agenda_entry *e = agenda_first(&m->timers);
    if (e == NULL || e->due_ns > d->now_ns) {
        return false;
    }
    prefetch_timers(m);
    size_t before = d->facts->size;
    modules[timer_modules[timer_kind_of(e)]]->on_timer(m, d, timer_kind_of(e), timer_ref_of(e));
    assert(d->failed || d->ids_wanted != 0 ||
           d->facts->size > before); /* else it would be due for ever */
    return true;
}

bool model_decide_start(const struct model *m, struct decision *d,
                        struct attempt_start *ret_start) {
    return destination_decide_start(m, d, ret_start);
}

uint64_t model_next_start_ns(const struct model *m, uint64_t now_ns) {
    return destination_next_start_ns(m, now_ns);
}

bool model_end_is_awaited(const struct model *m, uint64_t now_ns) {
    return destination_end_is_awaited(m, now_ns);
}

bool model_decide_delivery(const struct model *m, struct decision *d, struct delivery *ret) {
    return session_decide_delivery(m, d, ret);
}

uint64_t model_next_delivery_ns(const struct model *m, uint64_t now_ns) {
    return session_next_delivery_ns(m, now_ns);
}

bool model_take_notice(struct model *m, struct delivery *ret) {
    return session_take_notice(m, ret);
}

bool model_has_trim(const struct model *m) {
    return session_has_trim(m);
}

bool model_decide_trim(const struct model *m, struct decision *d) {
    return session_decide_trim(m, d);
}

bool model_decide_recovery(const struct model *m, struct decision *d) {
    return destination_decide_recovery(m, d) || session_decide_recovery(m, d) ||
           queue_decide_recovery(m, d) || exchange_decide_recovery(m, d);
}

/* ---- bodies ---- */

uint64_t model_segment_live_bytes(const struct model *m, uint32_t segment) {
    return bodies_live(&m->bodies, segment);
}

uint32_t model_next_live_segment(const struct model *m, uint32_t from) {
    return bodies_next_live(&m->bodies, from);
}

size_t model_segment_live_ids(const struct model *m, uint32_t segment, struct live_body *ret_bodies,
                              size_t max) {
    return bodies_live(&m->bodies, segment) == 0 ? 0
                                                 : queue_segment_ids(m, segment, ret_bodies, max);
}

/* ---- the whole ---- */

void model_check(const struct model *m) {
    agenda_check(&m->timers);
    for (unsigned i = 0; i < MODULE_COUNT; i++) {
        if (modules[i] != NULL && modules[i]->check != NULL) {
            modules[i]->check(m);
        }
    }
}

uint64_t model_reusable_bytes(const struct model *m) {
    return queue_reusable_bytes(m) + agenda_reusable_bytes(&m->timers);
}

uint64_t model_memory_bytes(const struct model *m) {
    uint64_t bytes = sizeof *m + agenda_memory_bytes(&m->timers) +
                     (uint64_t)m->bodies.capacity * sizeof *m->bodies.live_bytes;
    for (unsigned i = 0; i < MODULE_COUNT; i++) {
        if (modules[i] != NULL && modules[i]->memory_bytes != NULL) {
            bytes += modules[i]->memory_bytes(m);
        }
    }
    return bytes;
}
