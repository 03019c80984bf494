/*
 * What a client may ask of an open channel. What needs the broker becomes an op with a copy of the method;
 * what the channel knows by itself is answered in its turn.
 */
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "base/error.h"

/* ---- the queue that was declared last stands for an empty name ---- */

/* False: there is none, and the channel failed. */
static bool expand_queue(struct amqp_channel *ch, enum amqp_method_id id, struct span *queue) {
    if (queue->size > 0)
        return true;
    if (ch->last_queue == NULL) {
        amqp_channel_fail(ch, AMQP_NOT_FOUND, id, "no previously declared queue");
        return false;
    }
    *queue = span_text(ch->last_queue);
    return true;
}

/* An empty key of a bind stands for the queue's name, if that was left out as well. */
static bool expand_binding(struct amqp_channel *ch, enum amqp_method_id id, struct span *queue,
                           struct span *key) {
    bool both = queue->size == 0 && key->size == 0;
    if (!expand_queue(ch, id, queue))
        return false;
    if (both)
        *key = *queue;
    return true;
}

static bool expand(struct amqp_channel *ch, struct amqp_method *m) {
    switch (m->id) {
    case AMQP_QUEUE_BIND:
        return expand_binding(ch, m->id, &m->as.queue_bind.queue, &m->as.queue_bind.routing_key);
    case AMQP_QUEUE_UNBIND:
        return expand_binding(ch, m->id, &m->as.queue_unbind.queue,
                              &m->as.queue_unbind.routing_key);
    case AMQP_QUEUE_PURGE:
        return expand_queue(ch, m->id, &m->as.queue_purge.queue);
    case AMQP_QUEUE_DELETE:
        return expand_queue(ch, m->id, &m->as.queue_delete.queue);
    case AMQP_BASIC_CONSUME:
        return expand_queue(ch, m->id, &m->as.basic_consume.queue);
    case AMQP_BASIC_GET:
        return expand_queue(ch, m->id, &m->as.basic_get.queue);
    case AMQP_QUEUE_DECLARE:
        return !m->as.queue_declare.passive || expand_queue(ch, m->id, &m->as.queue_declare.queue);
    default:
        return true;
    }
}

/*
 * last_queue may change before the op is answered, so the name is copied by writing the expanded method and
 * reading that.
 */
struct amqp_op *amqp_channel_op(struct amqp_channel *ch, enum amqp_op_kind kind,
                                const struct amqp_method *m) {
    struct amqp_method expanded = *m;
    if (!expand(ch, &expanded))
        return NULL;
    struct buffer bytes;
    buffer_init(&bytes, AMQP_FRAME_OVERHEAD + ch->connection->frame_max + 2 * UINT8_MAX);
    struct amqp_op *op = NULL;
    if (amqp_method_write(&bytes, ch->number, &expanded) == 0)
        op = amqp_op_create_method(
            NULL, kind, span_of(bytes.data + AMQP_FRAME_HEADER, bytes.size - AMQP_FRAME_OVERHEAD));
    buffer_release(&bytes);
    if (op == NULL)
        amqp_fail_nomem(ch->connection);
    return op;
}

/* ---- exchange.*, queue.* ---- */

static bool is_silent(const struct amqp_method *m) {
    switch (m->id) {
    case AMQP_EXCHANGE_DECLARE:
        return m->as.exchange_declare.nowait;
    case AMQP_EXCHANGE_DELETE:
        return m->as.exchange_delete.nowait;
    case AMQP_EXCHANGE_BIND:
        return m->as.exchange_bind.nowait;
    case AMQP_EXCHANGE_UNBIND:
        return m->as.exchange_unbind.nowait;
    case AMQP_QUEUE_DECLARE:
        return m->as.queue_declare.nowait;
    case AMQP_QUEUE_BIND:
        return m->as.queue_bind.nowait;
    case AMQP_QUEUE_PURGE:
        return m->as.queue_purge.nowait;
    case AMQP_QUEUE_DELETE:
        return m->as.queue_delete.nowait;
    default:
        return false;
    }
}

static void ask_method(struct amqp_channel *ch, const struct amqp_method *m) {
    struct amqp_op *op = amqp_channel_op(ch, AMQP_OP_METHOD, m);
    if (op == NULL)
        return;
    op->silent = is_silent(m);
    amqp_channel_ask(ch, op);
}

/* ---- the channel itself ---- */

static void flow(struct amqp_channel *ch, const struct amqp_method *m) {
    if (m->as.channel_flow.active)
        amqp_channel_reply(ch, &(struct amqp_method){AMQP_CHANNEL_FLOW_OK,
                                                     .as.channel_flow_ok = {.active = true}});
    else
        amqp_channel_fail(ch, AMQP_NOT_IMPLEMENTED, m->id, "active=false");
}

static void confirm_select(struct amqp_channel *ch, const struct amqp_method *m) {
    if (ch->mode == AMQP_MODE_TX) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, m->id,
                          "cannot switch from tx to confirm mode");
        return;
    }
    ch->mode = AMQP_MODE_CONFIRM;
    if (!m->as.confirm_select.nowait)
        amqp_channel_reply(ch, &(struct amqp_method){.id = AMQP_CONFIRM_SELECT_OK});
}

static void unexpected(struct amqp_channel *ch, const struct amqp_method *m) {
    amqp_channel_fail(ch, AMQP_COMMAND_INVALID, m->id, "unexpected method %s",
                      amqp_method_text(m->id));
}

static void channel_class(struct amqp_channel *ch, const struct amqp_method *m) {
    if (m->id == AMQP_CHANNEL_OPEN)
        amqp_channel_fail(ch, AMQP_CHANNEL_ERROR, m->id, "second 'channel.open' seen");
    else if (m->id == AMQP_CHANNEL_FLOW)
        flow(ch, m);
    else if (m->id != AMQP_CHANNEL_FLOW_OK && m->id != AMQP_CHANNEL_CLOSE_OK)
        unexpected(ch, m);
}

void amqp_channel_method(struct amqp_channel *ch, const struct amqp_method *m) {
    if (amqp_method_sender(m->id) == AMQP_SENT_BY_SERVER) {
        unexpected(ch, m);
        return;
    }
    switch (amqp_class_of(m->id)) {
    case AMQP_CLASS_CHANNEL:
        channel_class(ch, m);
        break;
    case AMQP_CLASS_ACCESS:
        amqp_channel_reply(ch, &(struct amqp_method){AMQP_ACCESS_REQUEST_OK,
                                                     .as.access_request_ok = {.ticket = 1}});
        break;
    case AMQP_CLASS_EXCHANGE:
    case AMQP_CLASS_QUEUE:
        ask_method(ch, m);
        break;
    case AMQP_CLASS_BASIC:
        amqp_basic_method(ch, m);
        break;
    case AMQP_CLASS_CONFIRM:
        confirm_select(ch, m);
        break;
    case AMQP_CLASS_TX:
        amqp_tx_method(ch, m);
        break;
    default:
        unexpected(ch, m);
    }
}
