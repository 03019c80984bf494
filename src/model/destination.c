/*
 * Destinations: definitions, pausing, and what others ask about them. The life of attempts is in
 * attempt*.c, whose turn it is in destination_ready.c.
 *
 * DESTINATION_DEFINED                 DESTINATION_DELETED       DESTINATION_PAUSED
 *   offset  size                        offset  size              offset  size
 *        0     4  index                      0     4  index            0     4  index
 *        4     8  hash of the file's                                   4     1  1: paused, 0: not
 *                 definition, 0: none
 *       12     .  the encoded definition
 */
#include "model/confirm.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

#define DESTINATIONS_DEFAULT 10000u
#define QUEUES_DEFAULT       100000u

/* ---- life ---- */

int destinations_create(const struct model *m, struct destinations **ret) {
    struct destinations *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    list_init(&s->active);
    uint32_t queues = m->limits.queues != 0 ? m->limits.queues : QUEUES_DEFAULT;
    s->ready_slots = queues + 2;
    s->ready = calloc(s->ready_slots, sizeof *s->ready); /* untouched pages cost nothing */
    s->lanes = calloc(s->ready_slots, sizeof *s->lanes);
    roster_init(&s->roster, m->hash);
    attempts_init(s);
    if (s->ready == NULL || s->lanes == NULL) {
        destinations_free(s);
        return E_NOMEM;
    }
    *ret = s;
    return 0;
}

void destination_free(struct destination *t) {
    if (t == NULL) {
        return;
    }
    destination_def_release(&t->def);
    limits_release(&t->limits);
    breaker_release(&t->breaker);
    endpoints_release(&t->endpoints);
    destination_ready_release(t);
    free(t->name);
    free(t);
}

void destinations_free(struct destinations *s) {
    if (s == NULL) {
        return;
    }
    uint32_t i = 0;
    while (s->roster.live > 0 && (i = roster_after(&s->roster, i)) != 0) {
        destination_free(roster_at(&s->roster, i));
    }
    roster_release(&s->roster);
    attempts_release(s);
    free(s->ready);
    free(s->lanes);
    free(s);
}

/*
 * All limits of a definition. The cap of our own stands in for a missing one; the definition stays as it was
 * given.
 */
static uint32_t limits_in_force(const struct destination_def *def,
                                struct pace_def out[LIMITS_MAX]) {
    uint32_t count = 0;
    bool capped = false;
    if (def->limits.count == 0 || def->pace.count != 0 || def->pace.concurrency != 0) {
        out[count++] = def->pace;
    }
    for (uint32_t i = 0; i < def->limits.count && count < LIMITS_MAX; i++) {
        out[count++] = def->limits.items[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        capped |= out[i].concurrency != 0;
    }
    if (!capped) {
        out[0].concurrency = DESTINATION_IN_FLIGHT_MAX;
    }
    return count;
}

/* What the parts rely on. That a definition makes sense as well was looked at when it was decided. */
static bool parts_valid(const struct destination_def *def, const struct pace_def *paces,
                        uint32_t count) {
    bool valid = breaker_def_valid(&def->breaker) && adaptive_def_valid(&def->adaptive) &&
                 ramp_def_valid(&def->ramp) && budget_def_valid(&def->budget) &&
                 balance_def_valid(&def->balance) && failover_def_valid(&def->failover);
    for (uint32_t i = 0; i < count; i++) {
        valid &= pace_def_valid(&paces[i]);
    }
    for (uint32_t i = 0; i < def->endpoints.count; i++) {
        uint32_t weight = def->endpoints.items[i].weight;
        valid &= weight >= 1 && weight <= ENDPOINT_WEIGHT_MAX;
    }
    return valid;
}

static int set_parts(struct destination *t, uint64_t now_ns) {
    struct pace_def paces[LIMITS_MAX];
    uint32_t count = limits_in_force(&t->def, paces);
    if (!parts_valid(&t->def, paces, count)) {
        return E_CORRUPT;
    }
    int rc = limits_define(&t->limits, paces, count, now_ns);
    if (rc == 0) {
        rc = breaker_define(&t->breaker, &t->def.breaker);
    }
    if (rc == 0) {
        rc = endpoints_define(&t->endpoints, t->def.endpoints.items, t->def.endpoints.count,
                              &t->def.balance);
    }
    adaptive_define(&t->adaptive, &t->def.adaptive);
    budget_define(&t->budget, &t->def.budget);
    failover_define(&t->failover, &t->def.failover);
    return rc;
}

/* Takes over `def`, also on failure. */
static int destination_set(struct destinations *s, struct destination *t,
                           struct destination_def *def, uint64_t now_ns) {
    destination_def_release(&t->def);
    t->def = *def;
    *def = (struct destination_def){0};
    t->generation = ++s->generation;
    s->changes++;
    return set_parts(t, now_ns);
}

int destination_make(struct model *m, uint32_t index, struct destination_def *def, uint64_t now_ns,
                     struct destination **ret) {
    struct destinations *s = m->destinations;
    struct destination *t = calloc(1, sizeof *t);
    if (t == NULL) {
        destination_def_release(def);
        return E_NOMEM;
    }
    t->index = index;
    limits_init(&t->limits);
    breaker_init(&t->breaker);
    endpoints_init(&t->endpoints);
    destination_ready_init(s, t);
    t->name = strdup(def->name);
    int rc = destination_set(s, t, def, now_ns);
    if (rc == 0 && t->name != NULL) {
        rc = destination_ready_reserve(t, queue_count_naming(m, t->name));
    }
    if (rc == 0) {
        rc = t->name == NULL ? E_NOMEM : roster_put(&s->roster, index, t, t->name);
    }
    if (rc != 0) {
        destination_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

/* ---- asked by others ---- */

uint32_t destination_find(const struct model *m, struct span name) {
    return roster_find(&m->destinations->roster, name);
}

const struct destination_def *destination_definition(const struct model *m, uint32_t destination) {
    const struct destination *t = destination_at(m, destination);
    return t != NULL ? &t->def : NULL;
}

bool destination_snapshot(const struct model *m, uint32_t destination, uint32_t *ret_generation,
                          struct buffer *out) {
    const struct destination *t = destination_at(m, destination);
    if (t == NULL || destination_def_encode(&t->def, out) != 0) {
        return false;
    }
    *ret_generation = t->generation;
    return true;
}

static int put_checked(const struct destination *t, struct buffer *out) {
    size_t at;
    int rc = buffer_put_u32(out, t->index);
    rc = rc != 0 ? rc : sized_begin(out, &at);
    rc = rc != 0 ? rc : destination_def_encode(&t->def, out);
    if (rc == 0) {
        sized_end(out, at);
    }
    return rc;
}

bool destination_checked(const struct model *m, uint32_t *version, struct buffer *out) {
    const struct destinations *s = m->destinations;
    if (*version == s->changes) {
        return false;
    }
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct destination *t = destination_at(m, i);
        if (t->def.check.path[0] != '\0' && t->def.endpoints.count > 0 &&
            put_checked(t, out) != 0) {
            return false; /* no memory: asked again */
        }
    }
    *version = s->changes;
    return true;
}

/* Ready messages of all queues that push here. */
static uint64_t waiting_for(const struct model *m, uint32_t destination) {
    uint32_t first = queue_next_of_destination(m, destination, 0);
    uint64_t waiting = 0;
    uint32_t q = first;
    while (q != 0) {
        waiting += queue_ready_count(m, q);
        q = queue_next_of_destination(m, destination, q);
        q = q != first ? q : 0;
    }
    return waiting;
}

static struct limit_info describe_limit(const struct pace *p, uint64_t now_ns) {
    return (struct limit_info){
        .left = pace_left(p, now_ns),
        .period_ns = p->def.period_ns,
        .count = p->def.count,
        .burst = p->def.count != 0 ? pace_burst(&p->def) : 0,
        .concurrency = p->def.concurrency,
        .strict = p->def.mode == PACE_STRICT,
    };
}

static void describe_endpoint(const struct destination *t, uint32_t i, uint64_t now_ns,
                              struct endpoint_info *ret) {
    const struct endpoint *n = &t->endpoints.items[i];
    uint64_t whole = (uint64_t)n->weight * 1000;
    *ret = (struct endpoint_info){
        .started = n->started,
        .succeeded = n->succeeded,
        .failed = n->failed,
        .in_flight = n->in_flight,
        .average_us = n->average_us,
        .ejected_until_ns = n->ejected_until_ns > now_ns ? n->ejected_until_ns : 0,
        .success_percent = endpoint_success_percent(n, now_ns),
        .weight_percent = (uint32_t)(endpoint_weight(n, &t->def.balance, now_ns) * 100 / whole),
        .in = endpoint_is_in(n, now_ns, NULL),
        .down = n->down,
        .out = n->out,
    };
    const char *name = endpoint_def_name(&t->def.endpoints.items[i]);
    size_t size = strlen(name) < sizeof ret->name ? strlen(name) : sizeof ret->name - 1;
    memcpy(ret->name, name, size);
}

static void describe_info(const struct model *m, const struct destination *t, uint64_t now_ns,
                          struct destination_info *ret) {
    struct call_count calls = breaker_counts(&t->breaker, now_ns);
    *ret = (struct destination_info){
        .attempts = t->started,
        .succeeded = t->succeeded,
        .failed = t->failed,
        .in_flight = limits_in_flight(&t->limits),
        .waiting = waiting_for(m, t->index),
        .deferred = t->deferred,
        .closed_until_ns = t->closed_until_ns,
        .paused = t->paused,
        .pause_reason = t->pause_reason,
        .breaker = t->breaker.state,
        .breaker_until_ns = t->breaker.until_ns,
        .breaker_calls = calls.total,
        .breaker_bad = calls.bad,
        .breaker_slow = calls.slow,
        .concurrency_limit =
            t->def.adaptive.ceiling != 0 ? adaptive_limit(&t->adaptive, &t->def.adaptive) : 0,
        .health = t->failover.health,
        .health_since_ns = t->failover.since_ns,
        .failures = failover_failures(&t->failover, now_ns),
        .endpoint_count = t->endpoints.count,
        .limit_count = t->limits.count,
    };
}

size_t destination_describe(const struct model *m, const struct destination *t, uint64_t now_ns,
                            struct destination_detail *ret) {
    describe_info(m, t, now_ns, &ret->info);
    for (uint32_t i = 0; i < t->limits.count; i++) {
        ret->limits[i] = describe_limit(&t->limits.paces[i], now_ns);
    }
    for (uint32_t i = t->limits.count; i < LIMITS_MAX; i++) {
        ret->limits[i] = (struct limit_info){0};
    }
    for (uint32_t i = 0; i < t->endpoints.count; i++) {
        describe_endpoint(t, i, now_ns, &ret->endpoints[i]);
        ret->info.endpoints_in += ret->endpoints[i].in;
    }
    return offsetof(struct destination_detail, endpoints) +
           t->endpoints.count * sizeof ret->endpoints[0];
}

/* ---- decide ---- */

static int encode_if_any(const struct destination *t, struct buffer *out) {
    return t != NULL ? destination_def_encode(&t->def, out) : 0;
}

static void emit_defined(struct decision *d, uint32_t index, uint64_t file_hash,
                         struct span definition) {
    size_t begun = decision_begin(d, FACT_DESTINATION_DEFINED, 1);
    decision_put_u32(d, index);
    decision_put_u64(d, file_hash);
    decision_put_span(d, definition);
    decision_end(d, begun);
}

/* `wanted` is complete and fine. */
static enum refusal decide_define_valid(const struct model *m, struct decision *d,
                                        struct request *r, const struct destination_def *wanted) {
    const struct destinations *s = m->destinations;
    uint32_t index = destination_find(m, span_text(wanted->name));
    const struct destination *t = destination_at(m, index);
    uint32_t limit = m->limits.destinations != 0 ? m->limits.destinations : DESTINATIONS_DEFAULT;
    if (t == NULL && s->roster.live >= limit) {
        return request_refuse(r, REFUSAL_LIMIT, "there are as many destinations as allowed");
    }
    if (t == NULL && !d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    struct buffer present, next;
    buffer_init(&present, DESTINATION_DEF_MAX_BYTES);
    buffer_init(&next, DESTINATION_DEF_MAX_BYTES);
    enum refusal refusal = REFUSAL_NONE;
    if (encode_if_any(t, &present) != 0 || destination_def_encode(wanted, &next) != 0) {
        d->failed = true;
    } else {
        bool emit;
        uint64_t file_hash;
        refusal = definition_decide(&r->in.define.how, buffer_span(&present), buffer_span(&next),
                                    t != NULL ? t->file_hash : 0, &emit, &file_hash);
        if (refusal == REFUSAL_NONE && emit) {
            emit_defined(d, t != NULL ? index : roster_next_index(&s->roster), file_hash,
                         buffer_span(&next));
        }
    }
    buffer_release(&present);
    buffer_release(&next);
    return refusal != REFUSAL_CONFLICT
               ? refusal
               : request_refuse(r, refusal, "a destination of this name exists already");
}

static enum refusal decide_define(const struct model *m, struct decision *d, struct request *r) {
    const struct destination_def *wanted = r->in.define.destination;
    if (r->name.size > 0 && !span_is(r->name, wanted->name)) {
        return request_invalid(r, "/name", "differs from the name in the path");
    }
    const char *pointer;
    const char *problem = destination_def_problem(wanted, &pointer);
    if (problem != NULL) {
        return request_invalid(r, pointer, problem);
    }
    return decide_define_valid(m, d, r, wanted);
}

bool destination_failover_names(const struct model *m, const char *destination, const char *queue) {
    const struct roster *all = &m->destinations->roster;
    for (uint32_t i = roster_after(all, 0); i != 0; i = roster_after(all, i)) {
        const struct failover_def *f = &destination_at(m, i)->def.failover;
        if ((destination != NULL && strcmp(f->destination, destination) == 0) ||
            (queue != NULL && strcmp(f->queue, queue) == 0)) {
            return true;
        }
    }
    return false;
}

static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r,
                                  const struct destination *t) {
    if (queue_next_of_destination(m, t->index, 0) != 0) {
        return request_refuse(r, REFUSAL_CONFLICT, "a queue pushes to this destination");
    }
    if (destination_failover_names(m, t->def.name, NULL)) {
        return request_refuse(r, REFUSAL_CONFLICT, "another destination fails over to this one");
    }
    if (limits_in_flight(&t->limits) > 0 || t->confirming > 0) {
        return request_refuse(r, REFUSAL_CONFLICT, "attempts are under way");
    }
    size_t begun = decision_begin(d, FACT_DESTINATION_DELETED, 1);
    decision_put_u32(d, t->index);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static enum refusal decide_pause(struct decision *d, const struct destination *t, bool paused) {
    if (t->paused != paused) {
        size_t begun = decision_begin(d, FACT_DESTINATION_PAUSED, 1);
        decision_put_u32(d, t->index);
        decision_put_u8(d, paused);
        decision_end(d, begun);
    }
    return REFUSAL_NONE;
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r,
                               const struct destination *t) {
    struct destination_detail detail;
    r->count = destination_describe(m, t, d->now_ns, &detail);
    r->out.destination = detail.info;
    if (destination_def_encode(&t->def, &r->out_bytes) != 0 ||
        buffer_append(&r->out_bytes, &detail, r->count) != 0) {
        d->failed = true;
    }
    r->generation = t->generation;
    return REFUSAL_NONE;
}

static int put_list_item(const struct model *m, const struct destination *t, uint64_t now_ns,
                         struct buffer *out) {
    size_t at;
    int rc = sized_begin(out, &at);
    if (rc == 0) {
        rc = destination_def_encode(&t->def, out);
    }
    if (rc != 0) {
        return rc;
    }
    sized_end(out, at);
    struct destination_detail detail;
    size_t size = destination_describe(m, t, now_ns, &detail);
    return buffer_put_bytes(out, span_of(&detail, size));
}

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct roster *roster = &m->destinations->roster;
    uint32_t max = request_list_max(r);
    uint32_t i = roster_after(roster, (uint32_t)r->in.list.after);
    for (r->count = 0; i != 0 && r->count < max; r->count++) {
        if (put_list_item(m, destination_at(m, i), d->now_ns, &r->out_bytes) != 0) {
            d->failed = true;
            return REFUSAL_NONE;
        }
        r->next = i;
        i = roster_after(roster, i);
    }
    if (i == 0) {
        r->next = 0;
    }
    return REFUSAL_NONE;
}

static enum refusal decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_DESTINATION_DEFINE:
        return decide_define(m, d, r);
    case REQUEST_DESTINATION_LIST:
        return decide_list(m, d, r);
    case REQUEST_CONFIRM:
        return confirm_decide(m, d, r);
    case REQUEST_ATTEMPT_FINISH:
        return attempt_decide_finish(m, d, r);
    case REQUEST_ENDPOINT_CHECKED:
        return destination_decide_checked(m, d, r);
    default:
        break;
    }
    const struct destination *t = destination_at(m, destination_find(m, r->name));
    if (t == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no destination by this name");
    }
    switch (r->kind) {
    case REQUEST_DESTINATION_DELETE:
        return decide_delete(m, d, r, t);
    case REQUEST_DESTINATION_GET:
        return decide_get(m, d, r, t);
    case REQUEST_DESTINATION_PAUSE:
        return decide_pause(d, t, true);
    case REQUEST_DESTINATION_RESUME:
        return decide_pause(d, t, false);
    default:
        return destination_act(m, d, r, t);
    }
}

/* ---- apply ---- */

static int apply_defined(struct model *m, const struct applied *w, struct reader *in) {
    uint32_t index = reader_u32(in);
    uint64_t file_hash = reader_u64(in);
    struct destination_def def;
    int rc = in->failed ? E_CORRUPT : destination_def_decode(in, &def);
    if (rc != 0) {
        return rc;
    }
    struct destination *t = destination_at(m, index);
    bool is_new = t == NULL;
    if (is_new) {
        rc = destination_make(m, index, &def, w->time_ns, &t);
    } else if (strcmp(t->name, def.name) == 0) {
        rc = destination_set(m->destinations, t, &def, w->time_ns);
    } else {
        destination_def_release(&def);
        rc = E_CORRUPT;
    }
    if (rc != 0) {
        return rc;
    }
    t->file_hash = file_hash;
    if (is_new) {
        queue_destination_changed(m, t->name, index);
    }
    return 0;
}

static int apply_deleted(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    struct destination *t = destination_at(m, index);
    if (!reader_done(in) || t == NULL || limits_in_flight(&t->limits) > 0) {
        return E_CORRUPT;
    }
    queue_destination_changed(m, t->name, 0);
    if (list_linked(&t->active)) {
        return E_CORRUPT; /* decide saw no queue that names it */
    }
    t->failover.evaluate_ns = 0;
    int rc = destination_set_timer(m, t);
    assert(rc == 0); /* removing a timer needs no memory */
    roster_remove(&m->destinations->roster, index);
    m->destinations->changes++;
    destination_free(t);
    return 0;
}

static int apply_paused(struct model *m, struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint8_t paused = reader_u8(in);
    if (!reader_done(in) || t == NULL || paused > 1) {
        return E_CORRUPT;
    }
    t->paused = paused == 1;
    t->pause_reason = t->paused ? PAUSE_BY_HAND : PAUSE_NONE;
    return 0;
}

static int apply(struct model *m, const struct applied *where, uint16_t kind, uint16_t version,
                 struct reader *payload) {
    switch (kind) {
    case FACT_DESTINATION_DEFINED:
        return apply_defined(m, where, payload);
    case FACT_DESTINATION_DELETED:
        return apply_deleted(m, payload);
    case FACT_DESTINATION_PAUSED:
        return apply_paused(m, payload);
    case FACT_ATTEMPT_STARTED:
        return attempt_apply_started(m, where, version, payload);
    case FACT_ATTEMPT_FINISHED:
        return attempt_apply_finished(m, where, payload);
    case FACT_MESSAGE_CONFIRMED:
        return confirm_apply(m, where, payload);
    case FACT_ATTEMPT_DEFERRED:
        return attempt_apply_deferred(m, payload);
    case FACT_DESTINATION_STATUS:
        return destination_apply_status(m, where, payload);
    case FACT_DESTINATION_BREAKER:
        return destination_apply_breaker(m, where, version, payload);
    case FACT_ENDPOINT_CHANGED:
        return destination_apply_endpoint(m, where, payload);
    default:
        return E_CORRUPT;
    }
}

static uint64_t memory_bytes(const struct model *m) {
    const struct destinations *s = m->destinations;
    uint64_t bytes = roster_memory_bytes(&s->roster) + slab_memory_bytes(&s->attempt_cells) +
                     map_memory_bytes(&s->attempts);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct destination *t = destination_at(m, i);
        bytes += sizeof *t + limits_memory_bytes(&t->limits) + t->def.breaker.window_calls +
                 endpoints_memory_bytes(&t->endpoints);
    }
    return bytes;
}

const struct module destination_module = {
    .name = "destination",
    .decide = decide,
    .apply = apply,
    .on_timer = destination_on_timer,
    .save = destination_save,
    .load = destination_load,
    .check = destination_check,
    .memory_bytes = memory_bytes,
    .section_version = 5, /* with a pace: the burst as it was asked for */
};
