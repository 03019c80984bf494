/*
 * What keeps a connection from going on: memory for messages that are not whole, the alarms of the broker, answers that
 * are due. The client is told of the first two, if it wants to know (connection.blocked), and is not read meanwhile.
 */
#include <inttypes.h>

#include "amqp/connection_state.h"

#define BLOCKED_AFTER_MS      1000u /* of waiting for memory: mostly it is there at once */
#define PROGRESS_BYTES_PER_MS 64u

/* ---- memory of messages that are not whole ---- */

bool amqp_hold(struct amqp_connection *c, uint64_t bytes) {
    uint64_t most = c->host->limits.assembled_bytes;
    if (bytes > most - c->assembled_bytes) {
        amqp_fail(c, AMQP_RESOURCE_ERROR, AMQP_BASIC_PUBLISH,
                  "half messages of more than %" PRIu64 " bytes", most);
        return false;
    }
    if (!amqp_budget_take(c->host->budget, &c->holder, bytes)) {
        c->waits_since_ms = c->host->now_ms(c->context);
        return false;
    }
    c->assembled_bytes += bytes;
    return true;
}

void amqp_hold_more(struct amqp_connection *c, uint64_t bytes) {
    if (c->assembled_bytes == 0)
        c->progress_ms = c->heard_ms;
    c->assembled_bytes += bytes;
    amqp_budget_add(c->host->budget, bytes);
}

void amqp_let_go(struct amqp_connection *c, uint64_t bytes) {
    c->assembled_bytes -= bytes;
    amqp_budget_give(c->host->budget, bytes);
}

void amqp_let_others(struct amqp_connection *c) {
    amqp_budget_progress(c->host->budget, &c->holder, c->assembled_bytes);
}

/* A client that sends a byte now and then stands still, too. */
void amqp_progress(struct amqp_connection *c, uint64_t bytes) {
    c->progress_ms += bytes / PROGRESS_BYTES_PER_MS + 1;
    if (c->progress_ms > c->heard_ms)
        c->progress_ms = c->heard_ms;
}

static void tell_unblocked(struct amqp_connection *c) {
    if (c->told_blocked && c->state == AMQP_RUNNING)
        amqp_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_UNBLOCKED});
    c->told_blocked = false;
}

static void go_on(struct amqp_holder *h) {
    struct amqp_connection *c = CONTAINER_OF(h, struct amqp_connection, holder);
    c->progress_ms = c->host->now_ms(c->context);
    if (!c->alarm)
        tell_unblocked(c);
    c->host->resumed(c->context);
}

void amqp_connection_budget_init(struct amqp_budget *b, const struct amqp_limits *l) {
    amqp_budget_init(b, l->memory_bytes, go_on);
}

uint64_t amqp_pressure_due_ms(const struct amqp_connection *c) {
    if (amqp_budget_waits(&c->holder))
        return c->told_blocked || !c->can_block ? AMQP_NEVER : c->waits_since_ms + BLOCKED_AFTER_MS;
    return c->assembled_bytes > 0 ? c->progress_ms + c->host->limits.partial_timeout_ms
                                  : AMQP_NEVER;
}

void amqp_pressure_tick(struct amqp_connection *c, uint64_t now_ms) {
    if (amqp_budget_waits(&c->holder))
        amqp_tell_blocked(c, "low on memory");
    else if (amqp_connection_stalled(c) || !amqp_budget_short(c->host->budget))
        c->progress_ms = now_ms; /* it is not its fault, or it is in nobody's way */
    else
        amqp_fail(c, AMQP_RESOURCE_ERROR, AMQP_BASIC_PUBLISH,
                  "half a message stood still for %u s while others wait for its memory",
                  c->host->limits.partial_timeout_ms / 1000);
}

/* ---- alarms and back-pressure ---- */

void amqp_tell_blocked(struct amqp_connection *c, const char *reason) {
    if (c->told_blocked || !c->can_block)
        return;
    struct amqp_method m = {AMQP_CONNECTION_BLOCKED, .as.connection_blocked = {span_text(reason)}};
    amqp_send(c, 0, &m);
    c->told_blocked = true;
}

void amqp_connection_alarm(struct amqp_connection *c, bool on, const char *reason) {
    c->alarm = on;
    c->alarm_reason = reason;
    if (on)
        return;
    c->held = false;
    c->progress_ms = c->host->now_ms(c->context);
    tell_unblocked(c);
}

bool amqp_connection_stalled(const struct amqp_connection *c) {
    if (c->state >= AMQP_LEAVING)
        return false; /* only looks for close-ok */
    const struct amqp_limits *l = &c->host->limits;
    return c->held || c->state == AMQP_AWAITS_LOGIN || c->state == AMQP_OPENING ||
           c->asked >= l->asked_max || c->asked_bytes >= l->asked_bytes ||
           amqp_budget_waits(&c->holder);
}

/* While it is paused, credit is used up and not raised: so what is delivered then has a bound. */
void amqp_connection_pause(struct amqp_connection *c, bool paused) {
    if (c->state != AMQP_RUNNING || c->paused == paused)
        return;
    c->paused = paused;
    for (uint32_t i = 0; !paused && i < c->channel_capacity; i++) {
        const struct amqp_channel *ch = c->channels[i];
        for (uint32_t k = 0; ch != NULL && k < ch->consumer_count; k++)
            amqp_consumer_credit(c, ch->consumers[k]);
    }
}
