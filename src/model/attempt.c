/*
 * Attempts: started when pace allows, finished once, or found unfinished after a restart.
 *
 *      decide_start --ATTEMPT_STARTED--> under way --ATTEMPT_FINISHED--> done | retry | dead | confirming
 *                                            |
 *                                            +--- the program ended ---> unknown: ready again, marked
 *                                            +--- the message is gone -> gone: only the token ends
 *
 * The table of attempts under way says where each started and when, so that its end is counted there
 * even if its message was deleted or its queue turned to another destination meanwhile, and so that a
 * finish of an attempt that was given up already is known as stale.
 *
 * ATTEMPT_FINISHED of version 1 has the same bytes, and goes into no history (history.h).
 *
 * ATTEMPT_STARTED (v1: 16 bytes, v2: 24)  ATTEMPT_FINISHED (22 bytes and what the verdict adds)
 *   offset  size                        offset  size
 *        0     4  destination index          0     1  verdict (enum verdict)
 *        4     8  message                    1     1  reason (enum dead_reason)
 *       12     4  attempt, from 1            2     1  error (enum attempt_error)
 *       16     4  endpoint id, 0: none       3     1  flags; 1: closes the destination, 2: pauses it
 *       20     4  home: the queue's own      4     8  message
 *    v3 24     8  lead: the message whose request it shares, 0: none; 32  1  1: its token, too
 *                                           12     4  attempt
 *                                           16     2  status, 0: no response
 *                                           18     4  duration in us, at most 2^32-1
 *                                           22     8  retry: due time; unknown: end of the token; confirming: deadline
 *                                            .     8  closes: the destination is closed until then
 *                                            .     2+ retry, dead: length and excerpt of the response
 *
 * ATTEMPT_DEFERRED (20 bytes): destination index (4), message (8), due time (8). A retry that is next in its
 * queue, but over the destination's budget of retries, is put off, so that those behind it can go.
 *
 * What breaker, endpoints, adaptive limit and failover learn from an end they learn in apply, from the fact: its
 * status, error and duration. So the facts stay as small as they were, and replay learns the same.
 */
#include "model/destination_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "model/balance.h"
#include "model/campaign.h"
#include "model/confirm.h"
#include "model/exchange.h"
#include "model/history.h"
#include "model/outcome.h"
#include "model/receipt.h"
#include "model/retry.h"

#define RETRY_AFTER_MAX_NS (24 * 3600 * NS_PER_SECOND)
#define EXCERPT_MAX_BYTES  512u
#define ATTEMPT_SHARDS     16u
#define STATUS_GONE        410u
#define FLAG_CLOSES        1u
#define FLAG_PAUSES        2u

/* ATTEMPT_FINISHED in memory. */
struct finished {
    enum verdict verdict;
    enum dead_reason reason;
    uint8_t error;
    uint64_t message;
    uint32_t attempt;
    uint16_t status;
    uint32_t duration_us;
    uint64_t at_ns;           /* due time of RETRY, end of UNKNOWN, deadline of CONFIRMING */
    uint64_t closed_until_ns; /* 0: stays as it is */
    bool pauses;
    struct span excerpt;
};

/* ---- the table ---- */

static bool attempt_matches(const void *owner, uint32_t slot, const void *key) {
    const struct destinations *s = owner;
    const struct attempt *a = slab_at(&s->attempt_cells, slot);
    return a->message == *(const uint64_t *)key;
}

int attempts_init(struct destinations *s) {
    slab_init(&s->attempt_cells, sizeof(struct attempt), UINT32_MAX - 1);
    list_init(&s->started);
    list_init(&s->confirming);
    return map_init(&s->attempts, ATTEMPT_SHARDS, s, attempt_matches);
}

static void release_notes(struct list *attempts) {
    for (struct list_node *n = list_first(attempts); n != NULL; n = list_next(attempts, n)) {
        key_text_release(&CONTAINER_OF(n, struct attempt, node)->note);
    }
}

void attempts_release(struct destinations *s) {
    release_notes(&s->started);
    release_notes(&s->confirming);
    map_release(&s->attempts);
    slab_release(&s->attempt_cells);
}

static uint32_t attempt_slot(const struct destinations *s, uint64_t message) {
    return map_find(&s->attempts, hash_u64(message), &message);
}

struct attempt *attempt_find(const struct destinations *s, uint64_t message) {
    uint32_t slot = attempt_slot(s, message);
    return slot != 0 ? slab_at(&s->attempt_cells, slot) : NULL;
}

int attempt_add(struct destinations *s, const struct attempt *values) {
    uint32_t slot;
    if (attempt_slot(s, values->message) != 0) {
        return E_CORRUPT;
    }
    int rc = slab_take(&s->attempt_cells, &slot);
    if (rc != 0) {
        return rc;
    }
    struct attempt *a = slab_at(&s->attempt_cells, slot);
    *a = *values;
    a->node = (struct list_node){0};
    rc = map_insert(&s->attempts, hash_u64(a->message), slot);
    if (rc != 0) {
        slab_give(&s->attempt_cells, slot);
        return rc;
    }
    list_append(a->confirming ? &s->confirming : &s->started, &a->node);
    return 0;
}

static void attempt_remove(struct destinations *s, struct attempt *a) {
    uint32_t slot = attempt_slot(s, a->message);
    key_text_release(&a->note);
    list_remove(&a->node);
    map_remove(&s->attempts, hash_u64(a->message), slot);
    slab_give(&s->attempt_cells, slot);
}

/* ---- start ---- */

static uint64_t timeout_of(const struct model *m, const struct destination *t, uint32_t queue) {
    const struct queue_def *q = queue_definition(m, queue);
    return q != NULL && q->dispatch_deadline_ns != 0 ? q->dispatch_deadline_ns : t->def.timeout_ns;
}

static void describe_start(const struct model *m, const struct destination *t,
                           const struct message_view *v, uint32_t endpoint,
                           struct attempt_start *ret) {
    const struct queue_def *q = queue_definition(m, v->queue);
    *ret = (struct attempt_start){
        .message = v->id,
        .address = v->address,
        .attempt = v->attempts + 1,
        .outcome_unknown_before = v->outcome_unknown,
        .destination = t->index,
        .destination_generation = t->generation,
        .endpoint = endpoint,
        .timeout_ns = timeout_of(m, t, v->queue),
        .scheduled_ns = v->due_ns != 0 ? v->due_ns : v->accepted_ns_hint,
    };
    size_t size = strlen(q->name);
    assert(size < sizeof ret->queue);
    memcpy(ret->queue, q->name, size + 1);
}

/* An attempt after one of unknown outcome says nothing about the far side, so it is none here. */
static bool is_retry(const struct message_view *v) {
    return v->attempts > 0 && !v->outcome_unknown;
}

static void emit_deferred(struct decision *d, const struct destination *t,
                          const struct message_view *v) {
    size_t begun = decision_begin(d, FACT_ATTEMPT_DEFERRED, 1);
    decision_put_u32(d, t->index);
    decision_put_u64(d, v->id);
    decision_put_u64(d, budget_slot(&t->budget, &t->def.budget, d->now_ns));
    decision_end(d, begun);
}

static void emit_started(struct decision *d, const struct destination *t,
                         const struct destination *home, const struct message_view *v,
                         uint32_t endpoint, uint64_t lead, bool shares_token) {
    size_t begun = decision_begin(d, FACT_ATTEMPT_STARTED, 3);
    decision_put_u32(d, t->index);
    decision_put_u64(d, v->id);
    decision_put_u32(d, v->attempts + 1);
    decision_put_u32(d, endpoint);
    decision_put_u32(d, home->index);
    decision_put_u64(d, lead);
    decision_put_u8(d, shares_token);
    decision_end(d, begun);
}

/* `t` may be called now, for this message. */
static void decide_to(const struct model *m, struct decision *d, const struct destination *t,
                      const struct destination *home, const struct message_view *v,
                      struct attempt_start *ret_start) {
    if (is_retry(v) && !budget_allows(&t->budget, &t->def.budget, d->now_ns)) {
        emit_deferred(d, t, v);
        *ret_start = (struct attempt_start){.message = 0};
        return;
    }
    uint32_t endpoint = 0;
    if (t->endpoints.count > 0) {
        uint64_t key = destination_key(m, t, v);
        endpoint = balance_choose(&t->endpoints, &t->def.balance, key, d->now_ns, d->random);
        assert(endpoint != 0); /* P5: the gate saw one that is in */
    }
    emit_started(d, t, home, v, endpoint, 0, false);
    describe_start(m, t, v, endpoint, ret_start);
}

/* One more message in the request that was decided last, in this very record. */
static bool decide_join(const struct model *m, struct decision *d,
                        struct attempt_start *ret_start) {
    const struct batch_open *b = &m->destinations->batch;
    const struct destination *t =
        b->position == d->position && b->left > 0 ? destination_at(m, b->destination) : NULL;
    const struct destination *home = t == NULL ? NULL : destination_at(m, b->home);
    struct message_view v;
    if (home == NULL || !queue_peek(m, b->queue, &v) || v.body_bytes > b->left_bytes) {
        return false;
    }
    bool shares = t->def.batch.token == BATCH_TOKEN_REQUEST;
    uint64_t ahead_ns;
    bool gated = !shares && (destination_wait_ns(t, d->now_ns) != 0 ||
                             destination_turn_ns(m, t, b->queue, d->now_ns, &ahead_ns) != 0 ||
                             pace_wait_ns(queue_pace_view(m, b->queue), d->now_ns) != 0);
    if (gated || (is_retry(&v) && !budget_allows(&t->budget, &t->def.budget, d->now_ns))) {
        return false;
    }
    emit_started(d, t, home, &v, b->endpoint, b->lead, shares);
    describe_start(m, t, &v, b->endpoint, ret_start);
    ret_start->lead = b->lead;
    return true;
}

bool destination_decide_start(const struct model *m, struct decision *d,
                              struct attempt_start *ret_start) {
    if (decide_join(m, d, ret_start)) {
        return true;
    }
    const struct list *active = &m->destinations->active;
    for (struct list_node *n = list_first(active); n != NULL; n = list_next(active, n)) {
        const struct destination *home = CONTAINER_OF(n, struct destination, active);
        struct message_view view;
        uint64_t wait_ns, next_ns, ahead_ns;
        const struct destination *t = destination_route(m, home, d->now_ns, &wait_ns);
        if (wait_ns == 0 && destination_pick(m, home, d->now_ns, &view, &next_ns) != 0 &&
            destination_turn_ns(m, t, view.queue, d->now_ns, &ahead_ns) == 0) {
            decide_to(m, d, t, home, &view, ret_start);
            ret_start->ahead_ns = ahead_ns;
            return true;
        }
    }
    return false;
}

int attempt_apply_deferred(struct model *m, struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint64_t message = reader_u64(in);
    uint64_t due_ns = reader_u64(in);
    if (!reader_done(in) || t == NULL) {
        return E_CORRUPT;
    }
    t->deferred++;
    budget_give_slot(&t->budget, due_ns);
    return queue_message_defer(m, message, due_ns);
}

static int read_started(struct reader *in, uint16_t version, struct attempt *ret) {
    *ret = (struct attempt){.destination = reader_u32(in)};
    ret->message = reader_u64(in);
    ret->attempt = reader_u32(in);
    ret->endpoint = version >= 2 ? reader_u32(in) : 0;
    ret->home = version >= 2 ? reader_u32(in) : 0;
    ret->lead = version >= 3 ? reader_u64(in) : 0;
    ret->shares_token = version >= 3 && reader_u8(in) == 1;
    return reader_done(in) ? 0 : E_CORRUPT;
}

/* Takes a token of everything that `a` needs one of. */
static void take_tokens(struct model *m, struct destination *t, struct destination *home,
                        const struct message_view *v, struct attempt *a) {
    uint64_t now_ns = a->started_ns;
    limits_start(&t->limits, now_ns);
    pace_start(queue_pace(m, v->queue), now_ns);
    t->started++;
    if (a->home == 0) {
        return;
    }
    ramp_start(&t->ramp, &t->def.ramp, &t->limits, now_ns);
    if (t == home && failover_may_probe(&t->failover, &t->def.failover, now_ns)) {
        a->failover_probe = failover_probe(&t->failover);
    }
    a->breaker_probe = breaker_start(&t->breaker, now_ns);
    budget_start(&t->budget, is_retry(v), now_ns);
    balance_started(&t->endpoints, &t->def.balance, a->endpoint, destination_key(m, t, v), now_ns);
}

/* Only the request that was started just before, by the same record. */
static bool may_share(const struct model *m, const struct attempt *a, uint32_t queue) {
    const struct batch_open *b = &m->destinations->batch;
    return a->lead != 0 && b->lead == a->lead && b->left > 0 && b->queue == queue &&
           b->destination == a->destination && attempt_find(m->destinations, a->lead) != NULL;
}

static void note_batch(struct destinations *s, const struct destination *t, uint64_t position,
                       const struct attempt *a, const struct message_view *v) {
    struct batch_open *b = &s->batch;
    if (a->lead == 0) {
        *b = (struct batch_open){.position = position,
                                 .lead = a->message,
                                 .destination = a->destination,
                                 .home = a->home,
                                 .queue = v->queue,
                                 .endpoint = a->endpoint,
                                 .left = t->def.batch.max_messages,
                                 .left_bytes = t->def.batch.max_bytes};
    }
    b->left -= b->left > 0;
    b->left_bytes -= v->body_bytes < b->left_bytes ? v->body_bytes : b->left_bytes;
}

int attempt_apply_started(struct model *m, const struct applied *w, uint16_t version,
                          struct reader *in) {
    struct attempt values;
    int rc = read_started(in, version, &values);
    struct destination *t = destination_at(m, values.destination);
    struct destination *home = values.home != 0 ? destination_at(m, values.home) : t;
    struct message_view view;
    if (rc != 0 || t == NULL || home == NULL || !queue_message_view(m, values.message, &view)) {
        return E_CORRUPT;
    }
    if (values.shares_token ? !may_share(m, &values, view.queue)
                            : limits_wait_ns(&t->limits, w->time_ns) != 0 ||
                                  pace_wait_ns(queue_pace_view(m, view.queue), w->time_ns) != 0 ||
                                  breaker_wait_ns(&t->breaker, w->time_ns) != 0) {
        return E_CORRUPT;
    }
    values.started_ns = w->time_ns;
    values.timeout_ns = timeout_of(m, t, view.queue);
    if (values.shares_token) {
        t->started++;
    } else {
        take_tokens(m, t, home, &view, &values);
    }
    note_batch(m->destinations, t, w->position, &values, &view);
    rc = attempt_add(m->destinations, &values);
    if (rc == 0) {
        rc = queue_message_take(m, w, values.message, values.attempt);
    }
    if (rc == 0) {
        destination_ready_turn(m, home, view.queue, w->time_ns);
    }
    return rc;
}

/* ---- finish ---- */

static uint64_t at_most(uint64_t value, uint64_t limit) {
    return value < limit ? value : limit;
}

static bool may_retry(const struct retry_def *r, const struct message_view *v,
                      const struct attempt *a, uint64_t now_ns, bool overridden) {
    if (r->max_attempts != 0 && a->attempt >= r->max_attempts) {
        return false;
    }
    uint64_t first_ns = v->first_attempt_ns != 0 ? v->first_attempt_ns
                        : overridden             ? v->accepted_ns_hint /* it is not kept for it */
                                                 : a->started_ns;
    return r->max_duration_ns == 0 || now_ns < first_ns + r->max_duration_ns;
}

bool attempt_retry_at(const struct model *m, struct decision *d, const struct attempt *a,
                      const struct message_view *v, struct span override, uint64_t *ret_ns) {
    struct retry_def retry = queue_definition(m, v->queue)->retry;
    bool overridden = override.size > 0 && retry_override_apply(override, &retry) == 0;
    if (!may_retry(&retry, v, a, d->now_ns, overridden)) {
        return false;
    }
    uint64_t backoff_ns = retry_backoff_ns(&retry, a->attempt);
    bool drawn = backoff_ns != 0 && !retry_is_exact(&retry);
    *ret_ns = d->now_ns + (drawn ? rng_below(d->random, backoff_ns) : backoff_ns);
    return true;
}

static bool wants_confirmation(const struct model *m, const struct attempt *a,
                               const struct attempt_finish *in) {
    const struct destination *t = destination_at(m, a->destination);
    return t->def.confirm.statuses[0] != '\0' &&
           status_list_has(t->def.confirm.statuses, in->status);
}

static void decide_verdict(const struct model *m, struct decision *d, const struct attempt *a,
                           const struct message_view *v, const struct attempt_finish *in,
                           struct finished *f) {
    struct retry_def retry = queue_definition(m, v->queue)->retry;
    if (in->retry.size > 0 && retry_override_apply(in->retry, &retry) != 0) {
        retry = queue_definition(m, v->queue)->retry;
    }
    if (in->success && wants_confirmation(m, a, in)) {
        f->verdict = VERDICT_CONFIRMING;
        f->at_ns = d->now_ns + destination_at(m, a->destination)->def.confirm.deadline_ns;
        return;
    }
    if (in->success) {
        f->verdict = VERDICT_DONE;
        return;
    }
    if (in->status == STATUS_GONE) {
        /* Not the message's fault: it waits until a person has looked. */
        f->pauses = true;
        f->verdict = VERDICT_RETRY;
        f->at_ns = d->now_ns;
        return;
    }
    uint64_t retry_after_ns = at_most(in->retry_after_ns, RETRY_AFTER_MAX_NS);
    if (retry_after_ns != 0 && (in->status == 429 || in->status == 503)) {
        f->closed_until_ns = d->now_ns + retry_after_ns;
    }
    bool retriable = in->retriable && retry_takes_error(&retry, in->error);
    if (!retriable || !attempt_retry_at(m, d, a, v, in->retry, &f->at_ns)) {
        f->verdict = VERDICT_DEAD;
        f->reason = retriable ? DEAD_EXHAUSTED : DEAD_REFUSED;
        return;
    }
    f->verdict = VERDICT_RETRY;
    f->at_ns = f->at_ns > d->now_ns + retry_after_ns ? f->at_ns : d->now_ns + retry_after_ns;
}

static bool has_time(enum verdict v) {
    return v == VERDICT_RETRY || v == VERDICT_UNKNOWN || v == VERDICT_CONFIRMING;
}

static void emit_finished(struct decision *d, const struct finished *f) {
    size_t begun = decision_begin(d, FACT_ATTEMPT_FINISHED, 2);
    decision_put_u8(d, (uint8_t)f->verdict);
    decision_put_u8(d, (uint8_t)f->reason);
    decision_put_u8(d, f->error);
    decision_put_u8(
        d, (uint8_t)((f->closed_until_ns != 0 ? FLAG_CLOSES : 0) | (f->pauses ? FLAG_PAUSES : 0)));
    decision_put_u64(d, f->message);
    decision_put_u32(d, f->attempt);
    decision_put_u16(d, f->status);
    decision_put_u32(d, f->duration_us);
    if (has_time(f->verdict)) {
        decision_put_u64(d, f->at_ns);
    }
    if (f->closed_until_ns != 0) {
        decision_put_u64(d, f->closed_until_ns);
    }
    if (f->verdict == VERDICT_RETRY || f->verdict == VERDICT_DEAD) {
        size_t size = at_most(f->excerpt.size, EXCERPT_MAX_BYTES);
        decision_put_u16(d, (uint16_t)size);
        decision_put_span(d, span_of(f->excerpt.data, size));
    }
    decision_end(d, begun);
}

/*
 * How the far side did. An answer that may come again when asked again (429, 5xx) is its failure; one that
 * will not (404, 422) says something about the message, and that the far side is well.
 */
static enum call_outcome outcome_of(const struct destination *t, const struct finished *f) {
    if (f->verdict == VERDICT_DONE || f->verdict == VERDICT_CONFIRMING) {
        return OUTCOME_GOOD;
    }
    switch (f->error) {
    case ATTEMPT_OK:
        return status_list_has(t->def.retry_statuses, f->status) ? OUTCOME_BAD : OUTCOME_GOOD;
    case ATTEMPT_UNKNOWN:
    case ATTEMPT_BODY_LOST:
    case ATTEMPT_NOT_MADE:
    case ATTEMPT_NO_TOKEN:
    case ATTEMPT_ADDRESS_REFUSED:
        return OUTCOME_NONE;
    default:
        return OUTCOME_BAD;
    }
}

/* The last good probe brings the messages back, in the record of its end. */
static void decide_return(const struct model *m, struct decision *d, const struct attempt *a,
                          const struct finished *f) {
    const struct destination *t = destination_at(m, a->destination);
    if (failover_would_return(&t->failover, &t->def.failover, a->failover_probe,
                              outcome_of(t, f))) {
        destination_emit_status(m, d, t, HEALTH_HEALTHY, false);
    }
}

static bool is_in_flight(const struct model *m, uint64_t message, struct message_view *ret) {
    return queue_message_view(m, message, ret) && ret->state == MESSAGE_IN_FLIGHT;
}

static void tell_outcome(const struct model *m, struct decision *d, const struct message_view *v,
                         const struct attempt_finish *in, const struct finished *f) {
    outcome_emit(m, d,
                 &(struct outcome){.message = v->id,
                                   .queue = v->queue,
                                   .success = f->verdict == VERDICT_DONE,
                                   .reason = f->reason,
                                   .status = f->status,
                                   .error = f->error,
                                   .attempts = f->attempt,
                                   .excerpt = f->excerpt,
                                   .ordering_key = in->ordering_key,
                                   .correlation_id = in->correlation_id});
}

/* What somebody told meanwhile is later and better knowledge than how the attempt ended. */
static void take_confirmation(const struct model *m, struct decision *d, const struct attempt *a,
                              const struct message_view *v, struct span retry, struct finished *f) {
    struct confirm_verdict what =
        confirm_judge(m, d, a, v, (enum confirm_outcome)a->confirmed, retry);
    f->verdict = what.verdict;
    f->reason = what.reason;
    f->at_ns = what.at_ns;
    f->excerpt = key_text_span(&a->note);
}

static void emit_end(const struct model *m, struct decision *d, const struct attempt *a,
                     const struct message_view *v, const struct attempt_finish *in,
                     const struct finished *f) {
    if (f->verdict == VERDICT_DEAD && !exchange_emit_attempted(m, d, f->message, f->reason)) {
        return;
    }
    emit_finished(d, f);
    bool ends = f->verdict == VERDICT_DONE || f->verdict == VERDICT_DEAD;
    if (ends && (v->tie.campaign != 0 || v->tie.stock != 0)) {
        campaign_emit_settlement(m, d, f->message, &v->tie, f->verdict == VERDICT_DONE);
    }
    if (!a->shares_token) {
        decide_return(m, d, a, f);
    }
    if (ends) {
        tell_outcome(m, d, v, in, f);
    }
}

enum refusal attempt_decide_finish(const struct model *m, struct decision *d, struct request *r) {
    const struct attempt_finish *in = &r->in.finish;
    const struct attempt *a = attempt_find(m->destinations, in->message);
    if (a == NULL || a->attempt != in->attempt || a->confirming) {
        return REFUSAL_NONE; /* given up before: there is nothing left to be said */
    }
    struct finished f = {
        .verdict = VERDICT_GONE,
        .error = in->error,
        .message = in->message,
        .attempt = in->attempt,
        .status = in->status,
        .duration_us = (uint32_t)at_most(in->duration_ns / NS_PER_US, UINT32_MAX),
        .excerpt = in->excerpt,
    };
    struct message_view view;
    if (!is_in_flight(m, in->message, &view)) {
        emit_finished(d, &f);
        return REFUSAL_NONE;
    }
    if (a->confirmed != CONFIRM_NONE) {
        take_confirmation(m, d, a, &view, in->retry, &f);
    } else {
        decide_verdict(m, d, a, &view, in, &f);
    }
    emit_end(m, d, a, &view, in, &f);
    return REFUSAL_NONE;
}

bool destination_decide_recovery(const struct model *m, struct decision *d) {
    const struct list_node *n = list_first(&m->destinations->started);
    if (n == NULL) {
        return false;
    }
    const struct attempt *a = CONTAINER_OF(n, const struct attempt, node);
    uint64_t over_ns = a->started_ns + a->timeout_ns;
    struct message_view view;
    struct finished f = {
        .verdict = is_in_flight(m, a->message, &view) ? VERDICT_UNKNOWN : VERDICT_GONE,
        .error = ATTEMPT_UNKNOWN,
        .message = a->message,
        .attempt = a->attempt,
        .at_ns = over_ns > d->now_ns ? over_ns : d->now_ns,
    };
    if (f.verdict == VERDICT_UNKNOWN && a->confirmed != CONFIRM_NONE) {
        const struct attempt_finish nothing = {.message = 0};
        take_confirmation(m, d, a, &view, nothing.retry, &f);
        emit_end(m, d, a, &view, &nothing, &f);
    } else {
        emit_finished(d, &f);
    }
    return true;
}

static int read_finished(struct reader *in, struct finished *ret) {
    struct finished f = {.verdict = (enum verdict)reader_u8(in)};
    f.reason = (enum dead_reason)reader_u8(in);
    f.error = reader_u8(in);
    uint8_t flags = reader_u8(in);
    f.message = reader_u64(in);
    f.attempt = reader_u32(in);
    f.status = reader_u16(in);
    f.duration_us = reader_u32(in);
    if (has_time(f.verdict)) {
        f.at_ns = reader_u64(in);
    }
    if (flags & FLAG_CLOSES) {
        f.closed_until_ns = reader_u64(in);
    }
    f.pauses = (flags & FLAG_PAUSES) != 0;
    if (f.verdict == VERDICT_RETRY || f.verdict == VERDICT_DEAD) {
        f.excerpt = reader_take(in, reader_u16(in));
    }
    if (!reader_done(in) || f.verdict < VERDICT_DONE || f.verdict > VERDICT_CONFIRMING) {
        return E_CORRUPT;
    }
    *ret = f;
    return 0;
}

/* Those that succeed leave no history: their message is gone with them. */
static int tell_history(struct model *m, const struct applied *w, const struct attempt *a,
                        const struct finished *f) {
    if (f->verdict == VERDICT_DONE || f->verdict == VERDICT_GONE ||
        f->verdict == VERDICT_CONFIRMING) {
        return 0;
    }
    return history_note(m, f->message,
                        &(struct history_entry){.kind = HISTORY_ATTEMPT,
                                                .time_ns = w->time_ns,
                                                .attempt = f->attempt,
                                                .duration_us = f->duration_us,
                                                .destination = a->destination,
                                                .endpoint = a->endpoint,
                                                .status = f->status,
                                                .error = f->error,
                                                .verdict = (uint8_t)f->verdict,
                                                .excerpt = f->excerpt});
}

static int apply_verdict(struct model *m, const struct applied *w, const struct finished *f) {
    switch (f->verdict) {
    case VERDICT_DONE:
        return queue_message_done(m, w, f->message, f->status);
    case VERDICT_RETRY:
        return queue_message_retry(m, w, f->message, f->at_ns, f->status, f->error, false);
    case VERDICT_DEAD:
        return queue_message_bury(m, w, f->message, f->reason, f->status, f->error);
    case VERDICT_UNKNOWN:
        return queue_message_retry(m, w, f->message, w->time_ns, f->status, f->error, true);
    case VERDICT_GONE:
        return 0;
    case VERDICT_CONFIRMING:
        return queue_message_confirming(m, f->message, f->at_ns, f->status);
    }
    return E_CORRUPT;
}

/* What everything that watches the far side learns from this end. */
static void learn(struct destination *t, const struct destination *home, const struct attempt *a,
                  const struct finished *f, uint64_t now_ns) {
    enum call_outcome outcome = outcome_of(t, f);
    uint64_t duration_ns = (uint64_t)f->duration_us * NS_PER_US;
    uint32_t in_flight = limits_in_flight(&t->limits);
    adaptive_end(&t->adaptive, &t->def.adaptive, in_flight, outcome, f->duration_us, now_ns);
    if (breaker_end(&t->breaker, a->breaker_probe, outcome, duration_ns, now_ns)) {
        ramp_begin(&t->ramp, &t->def.ramp, now_ns);
    }
    if (a->endpoint != 0) {
        endpoint_end(&t->endpoints, &t->def.balance, a->endpoint, outcome, f->duration_us, now_ns);
    }
    if (t == home) {
        failover_end(&t->failover, &t->def.failover, a->failover_probe, outcome, now_ns);
    }
}

static void apply_effects(struct destination *t, const struct finished *f) {
    bool good = f->verdict == VERDICT_DONE || f->verdict == VERDICT_CONFIRMING;
    t->succeeded += good;
    if (f->duration_us > 0) {
        t->average_us =
            t->average_us == 0 ? f->duration_us : (t->average_us * 15 + f->duration_us) / 16;
    }
    t->failed += !good && f->verdict != VERDICT_GONE;
    if (f->closed_until_ns > t->closed_until_ns) {
        t->closed_until_ns = f->closed_until_ns;
    }
    if (f->pauses && !t->paused) {
        t->paused = true;
        t->pause_reason = PAUSE_GONE;
    }
}

static void begin_confirming(struct destinations *s, struct destination *t, struct attempt *a) {
    a->confirming = true;
    a->holds_place = t->def.confirm.holds_place;
    list_remove(&a->node);
    list_append(&s->confirming, &a->node);
    t->confirming++;
    t->held_places += a->holds_place;
}

int attempt_apply_finished(struct model *m, const struct applied *w, struct reader *in) {
    struct finished f;
    int rc = read_finished(in, &f);
    if (rc != 0) {
        return rc;
    }
    struct attempt *a = attempt_find(m->destinations, f.message);
    struct destination *t = a != NULL ? destination_at(m, a->destination) : NULL;
    if (t == NULL || a->attempt != f.attempt || a->confirming) {
        return E_CORRUPT;
    }
    uint64_t end_ns = f.verdict == VERDICT_UNKNOWN ? f.at_ns : w->time_ns;
    struct message_view view;
    if (!a->shares_token && is_in_flight(m, f.message, &view)) {
        if (queue_pace_view(m, view.queue)->in_flight == 0) {
            return E_CORRUPT; /* of a snapshot that counted it out */
        }
        pace_end(queue_pace(m, view.queue), end_ns);
        destination_ready_ended(m, view.queue, w->time_ns);
    }
    if (a->home != 0 && !a->shares_token) {
        ramp_end(&t->ramp, end_ns); /* of unknown outcome: it may be under way until then */
        learn(t, destination_at(m, a->home), a, &f, w->time_ns);
    }
    if (!a->shares_token) {
        limits_end(&t->limits, end_ns);
    }
    apply_effects(t, &f);
    rc = is_in_flight(m, f.message, &view) ? tell_history(m, w, a, &f) : 0;
    enum confirm_outcome confirmed = (enum confirm_outcome)a->confirmed;
    if (f.verdict == VERDICT_CONFIRMING) {
        begin_confirming(m->destinations, t, a);
    } else {
        attempt_remove(m->destinations, a);
    }
    rc = rc != 0 ? rc : destination_set_timer(m, t);
    rc = rc != 0 ? rc : apply_verdict(m, w, &f);
    if (confirmed != CONFIRM_NONE) {
        receipt_confirmed(m, f.message, confirmed);
    }
    return rc;
}

void attempt_confirming_left(struct model *m, uint64_t message) {
    struct attempt *a = attempt_find(m->destinations, message);
    assert(a != NULL && a->confirming);
    struct destination *t = destination_at(m, a->destination);
    t->confirming--;
    t->held_places -= a->holds_place;
    attempt_remove(m->destinations, a);
}
