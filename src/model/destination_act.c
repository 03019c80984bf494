/*
 * What people, checks and evaluations change: breaker and endpoints by hand, failover and the way back.
 *
 * DESTINATION_STATUS             DESTINATION_BREAKER           ENDPOINT_CHANGED
 *   offset  size                   offset  size                  offset  size
 *        0     4  index                 0     4  index                0     4  index
 *        4     1  health                4     1  1 opened,            4     4  endpoint id
 *        5     1  flags; 1: by hand              0 closed             8     1  enum endpoint_change
 *        6     4  failures seen
 *
 * A status that a person should know of goes to a queue of the user's choice as a message in the same record, so
 * that it is told exactly when it is so. An evaluation that changes nothing is a DESTINATION_STATUS as well: it
 * arms the next one.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "model/destination_state.h"

#define STATUS_BY_HAND  1u
#define EVENT_MAX_BYTES 768u

/* ---- status ---- */

int destination_set_timer(struct model *m, struct destination *t) {
    return timer_set(m, TIMER_DESTINATION, t->index, 0, t->failover.evaluate_ns, &t->timer_ns);
}

/* Named, and not there: it is looked up when it is needed, since either may be defined first. */
static bool second_is_missing(const struct model *m, const struct failover_def *def) {
    return def->destination[0] != '\0' &&
           destination_at(m, destination_find(m, span_text(def->destination))) == NULL;
}

/* Names are letters, digits, '.', '_' and '-', so nothing here needs escaping. */
static void emit_event(const struct model *m, struct decision *d, const struct destination *t,
                       enum health to, bool by_hand, uint32_t failures) {
    const struct failover_def *def = &t->def.failover;
    bool alert = to == HEALTH_CRITICAL || t->failover.health == HEALTH_CRITICAL;
    bool over = to == HEALTH_CRITICAL && def->destination[0] != '\0' && !second_is_missing(m, def);
    const char *now_by = over ? def->destination : t->name;
    char body[EVENT_MAX_BYTES];
    int size = snprintf(body, sizeof body,
                        "{\"type\":\"destination-status\",\"destination\":\"%s\",\"from\":\"%s\","
                        "\"to\":\"%s\",\"by\":\"%s\",\"failures\":%" PRIu32
                        ",\"sendsBy\":\"%s\",\"alert\":%s}",
                        t->name, health_name(t->failover.health), health_name(to),
                        by_hand ? "person" : "rule", failures, now_by, alert ? "true" : "false");
    assert(size > 0 && (size_t)size < sizeof body);
    struct publish p = {
        .queue = span_text(def->queue),
        .envelope = {.content_type = span_text("application/json"),
                     .headers = span_text(alert ? "Sluice-Alert: true\n" : ""),
                     .body = span_of(body, (size_t)size)},
    };
    struct request scratch;
    struct receipt receipt;
    uint32_t queue;
    request_init(&scratch, REQUEST_QUEUE_PUBLISH);
    if (queue_check_publish(m, d, &p, &scratch, &queue) == REFUSAL_NONE) {
        queue_emit_put(m, d, queue, &p, NULL, &receipt);
    }
    request_release(&scratch);
}

void destination_emit_status(const struct model *m, struct decision *d, const struct destination *t,
                             enum health to, bool by_hand) {
    uint32_t failures = failover_failures(&t->failover, d->now_ns);
    size_t begun = decision_begin(d, FACT_DESTINATION_STATUS, 1);
    decision_put_u32(d, t->index);
    decision_put_u8(d, (uint8_t)to);
    decision_put_u8(d, by_hand ? STATUS_BY_HAND : 0);
    decision_put_u32(d, failures);
    decision_end(d, begun);
    if (to != t->failover.health && t->def.failover.queue[0] != '\0') {
        emit_event(m, d, t, to, by_hand, failures);
    }
}

void destination_on_timer(const struct model *m, struct decision *d, uint32_t timer_kind,
                          uint64_t ref) {
    assert(timer_kind == TIMER_DESTINATION);
    const struct destination *t = destination_at(m, (uint32_t)ref);
    enum health to = failover_evaluate(&t->failover, &t->def.failover, d->now_ns);
    destination_emit_status(m, d, t, to, false);
}

int destination_apply_status(struct model *m, const struct applied *w, struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint8_t health = reader_u8(in), flags = reader_u8(in);
    (void)reader_u32(in);
    if (!reader_done(in) || t == NULL || health > HEALTH_CRITICAL || flags > STATUS_BY_HAND) {
        return E_CORRUPT;
    }
    failover_set(&t->failover, &t->def.failover, (enum health)health, flags == STATUS_BY_HAND,
                 w->time_ns);
    return destination_set_timer(m, t);
}

/* ---- breaker ---- */

static void emit_breaker(struct decision *d, const struct destination *t, bool open) {
    size_t begun = decision_begin(d, FACT_DESTINATION_BREAKER, 2);
    decision_put_u32(d, t->index);
    decision_put_u8(d, open);
    decision_end(d, begun);
}

/* Closed by hand it lets attempts go: since version 2 whatever time the far side asked for, which may have been a slip. */
int destination_apply_breaker(struct model *m, const struct applied *w, uint16_t version,
                              struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint8_t open = reader_u8(in);
    if (!reader_done(in) || t == NULL || open > 1) {
        return E_CORRUPT;
    }
    if (version >= 2 && open == 0) {
        t->closed_until_ns = 0;
    }
    if (open == 0 && t->breaker.state == BREAKER_CLOSED) {
        return 0; /* what it has seen stays seen */
    }
    breaker_force(&t->breaker, open == 1, w->time_ns);
    if (open == 0) {
        ramp_begin(&t->ramp, &t->def.ramp, w->time_ns);
    }
    return 0;
}

/* ---- endpoints ---- */

static void emit_endpoint(struct decision *d, const struct destination *t, uint32_t endpoint,
                          enum endpoint_change change) {
    size_t begun = decision_begin(d, FACT_ENDPOINT_CHANGED, 1);
    decision_put_u32(d, t->index);
    decision_put_u32(d, endpoint);
    decision_put_u8(d, (uint8_t)change);
    decision_end(d, begun);
}

int destination_apply_endpoint(struct model *m, const struct applied *w, struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint32_t id = reader_u32(in);
    uint8_t change = reader_u8(in);
    struct endpoint *n = t != NULL ? endpoint_find(&t->endpoints, id) : NULL;
    if (!reader_done(in) || n == NULL || change < ENDPOINT_OUT || change > ENDPOINT_UP) {
        return E_CORRUPT;
    }
    endpoint_change(n, (enum endpoint_change)change, w->time_ns);
    return 0;
}

static enum refusal decide_endpoint(struct decision *d, struct request *r,
                                    const struct destination *t, enum endpoint_change change) {
    uint32_t id = endpoint_id(r->in.endpoint);
    const struct endpoint *n = endpoint_find(&t->endpoints, id);
    if (n == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "the destination has no such endpoint");
    }
    if (endpoint_changes(n, change, d->now_ns)) {
        emit_endpoint(d, t, id, change);
    }
    return REFUSAL_NONE;
}

/* What is not there any more has nothing to be said of. */
enum refusal destination_decide_checked(const struct model *m, struct decision *d,
                                        struct request *r) {
    const struct endpoint_checked *in = &r->in.checked;
    const struct destination *t = destination_at(m, in->destination);
    const struct endpoint *n = t != NULL ? endpoint_find(&t->endpoints, in->endpoint) : NULL;
    enum endpoint_change change = in->up ? ENDPOINT_UP : ENDPOINT_DOWN;
    if (n != NULL && endpoint_changes(n, change, d->now_ns)) {
        emit_endpoint(d, t, in->endpoint, change);
    }
    return REFUSAL_NONE;
}

/* ---- by hand ---- */

enum refusal destination_act(const struct model *m, struct decision *d, struct request *r,
                             const struct destination *t) {
    enum health health = t->failover.health;
    switch (r->kind) {
    case REQUEST_DESTINATION_OPEN:
        if (t->breaker.state != BREAKER_FORCED) {
            emit_breaker(d, t, true);
        }
        return REFUSAL_NONE;
    case REQUEST_DESTINATION_CLOSE:
        if (t->breaker.state != BREAKER_CLOSED || t->closed_until_ns > d->now_ns) {
            emit_breaker(d, t, false);
        }
        return REFUSAL_NONE;
    case REQUEST_DESTINATION_FAILOVER:
        if (t->def.failover.destination[0] == '\0' || second_is_missing(m, &t->def.failover)) {
            return request_refuse(r, REFUSAL_CONFLICT,
                                  "failover.destination names no destination that exists: nothing "
                                  "would take over");
        }
        if (health != HEALTH_CRITICAL || !t->failover.by_hand) {
            destination_emit_status(m, d, t, HEALTH_CRITICAL, true);
        }
        return REFUSAL_NONE;
    case REQUEST_DESTINATION_RETURN:
        if (health != HEALTH_HEALTHY) {
            destination_emit_status(m, d, t, HEALTH_HEALTHY, true);
        }
        return REFUSAL_NONE;
    case REQUEST_ENDPOINT_EJECT:
        return decide_endpoint(d, r, t, ENDPOINT_OUT);
    case REQUEST_ENDPOINT_RETURN:
        return decide_endpoint(d, r, t, ENDPOINT_IN);
    default:
        return REFUSAL_INVALID;
    }
}
