/*
 * MESSAGE_CONFIRMED v1
 *        0    8  message
 *        8    1  outcome: 1 succeeded, 2 failed, 3 retry, 4 nobody told by the deadline
 *        9    1  what becomes of it (enum verdict: done, retry, dead); 0: kept until its attempt ends
 *       10    1  reason (enum dead_reason)
 *       11    8  due time of a retry
 *       19  1+.  note
 */
#include "model/confirm.h"

#include <assert.h>
#include <sodium.h>

#include "model/campaign.h"
#include "model/exchange.h"
#include "model/history.h"
#include "model/outcome.h"
#include "model/put.h"
#include "model/receipt.h"

struct confirmed {
    uint64_t message;
    enum confirm_outcome outcome;
    struct confirm_verdict what;
    struct span note;
};

void confirm_sign(const char *secret, uint64_t message, char out[CONFIRM_SIGNATURE_BYTES + 1]) {
    uint8_t key[crypto_auth_hmacsha256_KEYBYTES], mac[crypto_auth_hmacsha256_BYTES];
    char id[18];
    receipt_format(message, id);
    crypto_generichash(key, sizeof key, (const uint8_t *)secret, strlen(secret), NULL, 0);
    crypto_auth_hmacsha256(mac, (const uint8_t *)id, strlen(id), key);
    sodium_memzero(key, sizeof key);
    sodium_bin2hex(out, CONFIRM_SIGNATURE_BYTES + 1, mac, sizeof mac);
}

struct confirm_verdict confirm_judge(const struct model *m, struct decision *d,
                                     const struct attempt *a, const struct message_view *v,
                                     enum confirm_outcome outcome, struct span retry) {
    struct confirm_verdict done = {.verdict = VERDICT_DONE};
    const struct destination *t = destination_at(m, a->destination);
    if (outcome == CONFIRM_SUCCEEDED) {
        return done;
    }
    struct confirm_verdict dead = {.verdict = VERDICT_DEAD, .reason = DEAD_REFUSED};
    if (outcome == CONFIRM_FAILED) {
        return dead;
    }
    dead.reason = outcome == CONFIRM_MISSED ? DEAD_UNCONFIRMED : DEAD_EXHAUSTED;
    if (outcome == CONFIRM_MISSED && t->def.confirm.at_deadline == CONFIRM_DEADLINE_DEAD) {
        return dead;
    }
    struct confirm_verdict again = {.verdict = VERDICT_RETRY};
    return attempt_retry_at(m, d, a, v, retry, &again.at_ns) ? again : dead;
}

/* ---- emit ---- */

static void emit(struct decision *d, const struct confirmed *c) {
    size_t begun = decision_begin(d, FACT_MESSAGE_CONFIRMED, 1);
    decision_put_u64(d, c->message);
    decision_put_u8(d, (uint8_t)c->outcome);
    decision_put_u8(d, (uint8_t)c->what.verdict);
    decision_put_u8(d, (uint8_t)c->what.reason);
    decision_put_u64(d, c->what.at_ns);
    decision_put_key(d, c->note);
    decision_end(d, begun);
}

/* With all that the end of a message brings about. */
static void emit_settled(const struct model *m, struct decision *d, const struct message_view *v,
                         const struct confirmed *c, const struct confirm *in) {
    if (c->what.verdict == VERDICT_DEAD &&
        !exchange_emit_attempted(m, d, c->message, c->what.reason)) {
        return;
    }
    emit(d, c);
    if (c->what.verdict == VERDICT_RETRY) {
        return;
    }
    bool done = c->what.verdict == VERDICT_DONE;
    if (v->tie.campaign != 0 || v->tie.stock != 0) {
        campaign_emit_settlement(m, d, c->message, &v->tie, done);
    }
    struct outcome o = {.message = c->message,
                        .queue = v->queue,
                        .success = done,
                        .reason = c->what.reason,
                        .status = v->last_status,
                        .attempts = v->attempts,
                        .excerpt = c->note};
    if (in != NULL) {
        o.ordering_key = in->ordering_key;
        o.correlation_id = in->correlation_id;
    }
    outcome_emit(m, d, &o);
}

void confirm_emit_missed(const struct model *m, struct decision *d, uint64_t message) {
    const struct attempt *a = attempt_find(m->destinations, message);
    struct message_view view;
    bool there = queue_message_view(m, message, &view);
    assert(a != NULL && there);
    struct confirmed c = {.message = message, .outcome = CONFIRM_MISSED};
    c.what = confirm_judge(m, d, a, &view, CONFIRM_MISSED, span_of(NULL, 0));
    emit_settled(m, d, &view, &c, NULL);
}

/* ---- what is told ---- */

/* NOT_FOUND, for whoever only guesses. `queue` is that of the message, or of its receipt. */
static enum refusal check_signature(const struct model *m, const struct request *r,
                                    const struct attempt *a, uint32_t queue) {
    if (r->in.confirm.signature.size == 0) {
        return REFUSAL_NONE;
    }
    const struct queue_def *q = queue_definition(m, queue);
    uint32_t named = q == NULL ? 0 : destination_find(m, span_text(q->destination));
    const struct destination *t = destination_at(m, a != NULL ? a->destination : named);
    char text[CONFIRM_SIGNATURE_BYTES + 1];
    if (t == NULL || t->def.confirm.secret[0] == '\0' ||
        r->in.confirm.signature.size != CONFIRM_SIGNATURE_BYTES) {
        return REFUSAL_NOT_FOUND;
    }
    confirm_sign(t->def.confirm.secret, r->id, text);
    return sodium_memcmp(text, r->in.confirm.signature.data, CONFIRM_SIGNATURE_BYTES) == 0
               ? REFUSAL_NONE
               : REFUSAL_NOT_FOUND;
}

static enum refusal told_before(struct request *r, enum confirm_outcome before) {
    if (before == r->in.confirm.outcome) {
        r->replayed = true;
        return REFUSAL_NONE;
    }
    return request_refuse(r, REFUSAL_CONFLICT, "something else was told, or it ended otherwise");
}

static enum refusal decide_ended(const struct model *m, const struct decision *d,
                                 struct request *r) {
    enum confirm_outcome outcome;
    uint32_t queue;
    if (!receipt_find_confirmation(m, d->now_ns, r->id, &outcome, &queue) ||
        check_signature(m, r, NULL, queue) != REFUSAL_NONE) {
        return request_refuse(r, REFUSAL_NOT_FOUND, RECEIPT_NOT_KNOWN);
    }
    return told_before(r, outcome);
}

/* It was put back meanwhile: what is told now still holds, but for "again", which it does anyway. */
static void decide_late(const struct model *m, struct decision *d, struct request *r,
                        const struct message_view *v, struct confirmed *c) {
    if (c->outcome == CONFIRM_RETRY) {
        return;
    }
    c->what.verdict = c->outcome == CONFIRM_SUCCEEDED ? VERDICT_DONE : VERDICT_DEAD;
    c->what.reason = c->outcome == CONFIRM_SUCCEEDED ? DEAD_NONE : DEAD_REFUSED;
    emit_settled(m, d, v, c, &r->in.confirm);
}

enum refusal confirm_decide(const struct model *m, struct decision *d, struct request *r) {
    const struct confirm *in = &r->in.confirm;
    struct message_view v;
    if (!queue_message_view(m, r->id, &v)) {
        return decide_ended(m, d, r);
    }
    const struct attempt *a = attempt_find(m->destinations, r->id);
    if (check_signature(m, r, a, v.queue) != REFUSAL_NONE) {
        return request_refuse(r, REFUSAL_NOT_FOUND, RECEIPT_NOT_KNOWN);
    }
    if (in->note.size > KEY_MAX_BYTES) {
        return request_invalid(r, "/note", "at most 255 bytes");
    }
    struct confirmed c = {.message = r->id, .outcome = in->outcome, .note = in->note};
    if (v.state == MESSAGE_CONFIRMING) {
        c.what = confirm_judge(m, d, a, &v, in->outcome, in->retry);
        emit_settled(m, d, &v, &c, in);
        return REFUSAL_NONE;
    }
    if (v.state == MESSAGE_DEAD) {
        return told_before(r, v.dead_reason == DEAD_REFUSED ? CONFIRM_FAILED : CONFIRM_NONE);
    }
    if (a != NULL && a->confirmed != CONFIRM_NONE) {
        return told_before(r, (enum confirm_outcome)a->confirmed);
    }
    if (a != NULL) {
        emit(d, &c);
        return REFUSAL_NONE;
    }
    if (v.attempts == 0 || v.state == MESSAGE_IN_FLIGHT) {
        return request_refuse(r, REFUSAL_CONFLICT, "the message was not sent to a destination");
    }
    decide_late(m, d, r, &v, &c);
    return REFUSAL_NONE;
}

/* ---- apply ---- */

static int read_confirmed(struct reader *in, struct confirmed *ret) {
    *ret = (struct confirmed){.message = reader_u64(in)};
    ret->outcome = (enum confirm_outcome)reader_u8(in);
    ret->what.verdict = (enum verdict)reader_u8(in);
    ret->what.reason = (enum dead_reason)reader_u8(in);
    ret->what.at_ns = reader_u64(in);
    ret->note = reader_key(in);
    bool valid = reader_done(in) && ret->outcome >= CONFIRM_SUCCEEDED &&
                 ret->outcome <= CONFIRM_MISSED && ret->what.verdict <= VERDICT_DEAD &&
                 ret->what.reason <= DEAD_REASON_MAX;
    return valid ? 0 : E_CORRUPT;
}

static int tell_history(struct model *m, const struct applied *w, const struct attempt *a,
                        const struct message_view *v, const struct confirmed *c) {
    if (a == NULL || c->what.verdict == VERDICT_DONE) {
        return 0;
    }
    return history_note(m, c->message,
                        &(struct history_entry){.kind = HISTORY_ATTEMPT,
                                                .time_ns = w->time_ns,
                                                .attempt = a->attempt,
                                                .destination = a->destination,
                                                .endpoint = a->endpoint,
                                                .status = v->last_status,
                                                .verdict = (uint8_t)c->what.verdict,
                                                .excerpt = c->note});
}

static int keep(struct attempt *a, const struct confirmed *c) {
    if (a == NULL || a->confirming || a->confirmed != CONFIRM_NONE) {
        return E_CORRUPT;
    }
    a->confirmed = (uint8_t)c->outcome;
    return key_text_init(&a->note, c->note);
}

int confirm_apply(struct model *m, const struct applied *w, struct reader *in) {
    struct confirmed c;
    struct message_view v;
    int rc = read_confirmed(in, &c);
    if (rc != 0 || !queue_message_view(m, c.message, &v)) {
        return E_CORRUPT;
    }
    struct attempt *a = attempt_find(m->destinations, c.message);
    if (c.what.verdict == 0) {
        return keep(a, &c);
    }
    if (a != NULL && !a->confirming) {
        return E_CORRUPT;
    }
    rc = tell_history(m, w, a, &v, &c);
    if (rc == 0 && c.what.verdict == VERDICT_DONE) {
        rc = queue_message_done(m, w, c.message, v.last_status);
    } else if (rc == 0 && c.what.verdict == VERDICT_RETRY) {
        rc = queue_message_retry(m, w, c.message, c.what.at_ns, v.last_status, 0, false);
    } else if (rc == 0) {
        rc = queue_message_bury(m, w, c.message, c.what.reason, v.last_status, 0);
    }
    receipt_confirmed(m, c.message, c.outcome);
    return rc;
}
