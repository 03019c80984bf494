/*
 * What the facts of attempts and of deliveries do to a message: taken, put back, confirming, done, buried; given to a consumer
 * and back. Each looks first whether the message is where such a fact needs it; if not the log is corrupt.
 */
#include "model/queue_state.h"

#include "base/error.h"
#include "model/queue_tenant.h"
#include "model/session_state.h"

/* ---- attempts ---- */

static int message_expect(struct model *m, uint64_t id, enum message_state state,
                          uint32_t *ret_slot) {
    uint32_t slot = message_find(m->queues, id);
    if (slot == 0 || message_at(m->queues, slot)->state != state ||
        message_at(m->queues, slot)->held) {
        return E_CORRUPT;
    }
    *ret_slot = slot;
    return 0;
}

/* Ready -> in flight: a turn of its tenant. */
static int message_serve(struct model *m, struct queue *q, uint32_t slot) {
    uint32_t served = tenant_served(m->queues, q, message_at(m->queues, slot));
    int rc = message_move(m, slot, MESSAGE_IN_FLIGHT, PLACE_TAIL);
    tenant_turn(m, q, served);
    return rc;
}

int queue_message_take(struct model *m, const struct applied *w, uint64_t id, uint32_t attempt) {
    uint32_t slot = 0;
    int rc = message_expect(m, id, MESSAGE_READY, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    struct queue *q = queue_at(m->queues, g->queue);
    g->attempts = attempt;
    q->attempts++;
    if (q->def.retry.max_duration_ns != 0) {
        rc = message_need_times(m->queues, g);
        if (rc != 0) {
            return rc;
        }
        struct message_times *t = times_at(m->queues, g->times);
        t->first_attempt_ns = t->first_attempt_ns != 0 ? t->first_attempt_ns : w->time_ns;
    }
    return message_serve(m, q, slot);
}

/* The end of an attempt, or what was told of it; that may come late, when it was put back already. */
static int message_expect_sent(struct model *m, uint64_t id, uint32_t *ret_slot) {
    uint32_t slot = message_find(m->queues, id);
    const struct message *g = slot == 0 ? NULL : message_at(m->queues, slot);
    if (g == NULL || g->state == MESSAGE_DEAD || g->held || g->attempts == 0) {
        return E_CORRUPT;
    }
    *ret_slot = slot;
    return 0;
}

int queue_message_confirming(struct model *m, uint64_t id, uint64_t deadline_ns, uint16_t status) {
    uint32_t slot = 0;
    int rc = message_expect(m, id, MESSAGE_IN_FLIGHT, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    message_set_outcome(g, status, 0);
    uint64_t expires = message_times_of(m->queues, g).expires_ns;
    rc = message_set_times(m, slot, deadline_ns, expires);
    return rc != 0 ? rc : message_move(m, slot, MESSAGE_CONFIRMING, PLACE_TAIL);
}

int queue_message_done(struct model *m, const struct applied *w, uint64_t id, uint16_t status) {
    uint32_t slot = 0;
    int rc = message_expect_sent(m, id, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    message_set_outcome(g, status, 0);
    queue_at(m->queues, g->queue)->completed++;
    return message_end(m, w, slot, MESSAGE_DONE, DEAD_NONE);
}

/* Until then it is not ready; when it expires stays as it was. */
static int message_delay(struct model *m, uint32_t slot, uint64_t due_ns) {
    const struct message *g = message_at(m->queues, slot);
    int rc = message_set_times(m, slot, due_ns, message_times_of(m->queues, g).expires_ns);
    return rc != 0 ? rc : message_move(m, slot, MESSAGE_DELAYED, PLACE_TAIL);
}

int queue_message_retry(struct model *m, const struct applied *w, uint64_t id, uint64_t due_ns,
                        uint16_t status, uint8_t error, bool outcome_unknown) {
    uint32_t slot = 0;
    int rc = message_expect_sent(m, id, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    message_set_outcome(g, status, error);
    g->outcome_unknown |= outcome_unknown;
    if (outcome_unknown || due_ns <= w->time_ns) {
        return message_move(m, slot, MESSAGE_READY, PLACE_BY_AGE);
    }
    return message_delay(m, slot, due_ns);
}

int queue_message_defer(struct model *m, uint64_t id, uint64_t due_ns) {
    uint32_t slot = 0;
    int rc = message_expect(m, id, MESSAGE_READY, &slot);
    if (rc != 0) {
        return rc;
    }
    return message_delay(m, slot, due_ns);
}

int queue_message_bury(struct model *m, const struct applied *w, uint64_t id,
                       enum dead_reason reason, uint16_t status, uint8_t error) {
    uint32_t slot = 0;
    int rc = message_expect_sent(m, id, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    message_set_outcome(g, status, error);
    queue_at(m->queues, g->queue)->died++;
    return message_die(m, w, slot, reason);
}

/* ---- consumers ---- */

int message_deliver(struct model *m, const struct applied *w, uint32_t slot, uint32_t consumer) {
    struct message *g = message_at(m->queues, slot);
    struct queue *q = queue_at(m->queues, g->queue);
    struct consumer *c = consumer_at(m->sessions, consumer);
    g->attempts++;
    q->attempts++;
    c->delivered++;
    pace_start(&q->pace, w->time_ns);
    uint32_t served = tenant_served(m->queues, q, g);
    g->outcome = consumer;
    g->held = 1;
    int rc = message_move(m, slot, MESSAGE_IN_FLIGHT, PLACE_TAIL);
    tenant_turn(m, q, served);
    if (c->getter) {
        queue_use_changed(m, q);
    } else {
        consumer_rotate(m, consumer);
    }
    session_queue_turn(m, q, w->time_ns);
    return rc;
}

int message_requeue(struct model *m, uint32_t slot, bool counts) {
    struct message *g = message_at(m->queues, slot);
    if (!counts && g->attempts > 0) {
        g->attempts--;
    }
    return message_move(m, slot, MESSAGE_READY, PLACE_BY_AGE);
}
