/*
 * How an attempt ends: done, to be tried again, dead, awaiting what becomes of it, or not known. Which attempts
 * there are, and how they start: attempt.c.
 *
 * ATTEMPT_FINISHED (22 bytes and what the verdict adds; version 1 has the same, and goes into no history: history.h)
 *   offset  size
 *        0     1  verdict (enum verdict)
 *        1     1  reason (enum dead_reason)
 *        2     1  error (enum attempt_error)
 *        3     1  flags; 1: closes the destination, 2: pauses it; 4, 8: its request, of several messages, was answered well, failed
 *        4     8  message
 *       12     4  attempt
 *       16     2  status, 0: no response
 *       18     4  duration in us, at most 2^32-1
 *       22     8  retry: due time; unknown: end of the token; confirming: deadline
 *        .     8  closes: the destination is closed until then
 *        .     2+ retry, dead: length and excerpt of the response
 *
 * What breaker, endpoints, adaptive limit and failover learn from an end they learn in apply, from the fact: its
 * status, error and duration. So the facts stay as small as they were, and replay learns the same. Where several messages
 * shared a request they learn once, from the end of the one that has its token, whose flags say how the request fared.
 */
#include "model/destination_state.h"

#include <assert.h>

#include "base/clock.h"
#include "base/u64.h"
#include "model/campaign.h"
#include "model/confirm.h"
#include "model/exchange.h"
#include "model/history.h"
#include "model/outcome.h"
#include "model/receipt.h"
#include "model/retry.h"

#define RETRY_AFTER_MAX_NS (24 * 3600 * NS_PER_SECOND)
#define HELD_MAX_NS        (60 * NS_PER_SECOND) /* a start waits for its record and a connection */
#define EXCERPT_MAX_BYTES  512u
#define STATUS_GONE        410u
#define FLAG_CLOSES        1u
#define FLAG_PAUSES        2u
#define FLAG_ANSWERED      4u
#define FLAG_FAILED        8u

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
    bool answered, failed; /* of a shared request; neither: it is as its message says */
    struct span excerpt;
};

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

/* What the destination's list does not say, such as that a token was not taken, holds whatever the queue's list says. */
static bool may_come_again(const struct model *m, const struct attempt *a,
                           const struct retry_def *retry, const struct attempt_finish *in) {
    const char *usual = destination_at(m, a->destination)->def.retry_statuses;
    if (in->error != ATTEMPT_OK) {
        return in->retriable && retry_takes_error(retry, in->error);
    }
    return retry_takes_status(retry, usual, in->status) ||
           (in->retriable && !status_list_has(usual, in->status));
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
    if ((in->shared ? in->answer_status : in->status) == STATUS_GONE) {
        /* Not the message's fault: it waits until a person has looked. */
        f->pauses = true;
        f->verdict = VERDICT_RETRY;
        f->at_ns = d->now_ns;
        return;
    }
    uint64_t retry_after_ns = u64_min(in->retry_after_ns, RETRY_AFTER_MAX_NS);
    if (retry_after_ns != 0 && (in->status == 429 || in->status == 503)) {
        f->closed_until_ns = d->now_ns + retry_after_ns;
    }
    bool retriable = may_come_again(m, a, &retry, in);
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

static uint8_t flags_of(const struct finished *f) {
    return (uint8_t)((f->closed_until_ns != 0 ? FLAG_CLOSES : 0) | (f->pauses ? FLAG_PAUSES : 0) |
                     (f->answered ? FLAG_ANSWERED : 0) | (f->failed ? FLAG_FAILED : 0));
}

static void emit_finished(struct decision *d, const struct finished *f) {
    size_t begun = decision_begin(d, FACT_ATTEMPT_FINISHED, 2);
    decision_put_u8(d, (uint8_t)f->verdict);
    decision_put_u8(d, (uint8_t)f->reason);
    decision_put_u8(d, f->error);
    decision_put_u8(d, flags_of(f));
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
        size_t size = u64_min(f->excerpt.size, EXCERPT_MAX_BYTES);
        decision_put_u16(d, (uint16_t)size);
        decision_put_span(d, span_of(f->excerpt.data, size));
    }
    decision_end(d, begun);
}

/*
 * How the far side did. An answer that may come again when asked again (429, 5xx) is its failure; one that
 * will not (404, 422) says something about the message, and that the far side is well.
 */
static enum call_outcome judge(const struct destination *t, uint8_t error, uint16_t status) {
    switch (error) {
    case ATTEMPT_OK:
        return status_list_has(t->def.retry_statuses, status) ? OUTCOME_BAD : OUTCOME_GOOD;
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

static enum call_outcome outcome_of(const struct destination *t, const struct finished *f) {
    if (f->answered || f->failed) {
        return f->failed ? OUTCOME_BAD : OUTCOME_GOOD;
    }
    bool good = f->verdict == VERDICT_DONE || f->verdict == VERDICT_CONFIRMING;
    return good ? OUTCOME_GOOD : judge(t, f->error, f->status);
}

/* The request as a whole, where it is what counts. */
static void take_answer(const struct model *m, const struct attempt *a,
                        const struct attempt_finish *in, struct finished *f) {
    const struct destination *t = destination_at(m, a->destination);
    if (in->shared && a->lead == 0 && t->def.batch.token == BATCH_TOKEN_REQUEST) {
        enum call_outcome outcome = judge(t, in->answer_error, in->answer_status);
        f->answered = outcome == OUTCOME_GOOD;
        f->failed = outcome == OUTCOME_BAD;
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
        .duration_us = (uint32_t)u64_min(in->duration_ns / NS_PER_US, UINT32_MAX),
        .excerpt = in->excerpt,
    };
    take_answer(m, a, in, &f);
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

/*
 * It left after it was decided, when that was on disk and there was a connection for it: which may have been just before the
 * program ended. From then on it may be under way for its timeout.
 */
static uint64_t unknown_until_ns(const struct attempt *a, uint64_t now_ns) {
    uint64_t left_ns = u64_min(now_ns, a->started_ns + HELD_MAX_NS);
    return u64_max(now_ns, left_ns + a->timeout_ns);
}

bool destination_decide_recovery(const struct model *m, struct decision *d) {
    const struct list_node *n = list_first(&m->destinations->started);
    if (n == NULL) {
        return false;
    }
    const struct attempt *a = CONTAINER_OF(n, const struct attempt, node);
    struct message_view view;
    struct finished f = {
        .verdict = is_in_flight(m, a->message, &view) ? VERDICT_UNKNOWN : VERDICT_GONE,
        .error = ATTEMPT_UNKNOWN,
        .message = a->message,
        .attempt = a->attempt,
        .at_ns = unknown_until_ns(a, d->now_ns),
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
    f.answered = (flags & FLAG_ANSWERED) != 0;
    f.failed = (flags & FLAG_FAILED) != 0;
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
