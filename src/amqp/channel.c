/*
 * A channel's life, and its line: ops in the order in which they were asked. What a client is told about
 * them leaves in that order, whatever the order of the answers; confirms of a run of publishes become one
 * ack (C4: it goes before whatever else the line has to say).
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "amqp/message.h"
#include "amqp/reply.h"
#include "base/error.h"

/* ---- the table ---- */

#define TABLE_MIN 8u

static int make_place(struct amqp_connection *c, uint16_t number) {
    if (number < c->channel_capacity)
        return 0;
    uint32_t capacity = c->channel_capacity > 0 ? c->channel_capacity : TABLE_MIN;
    while (capacity <= number)
        capacity *= 2;
    struct amqp_channel **grown = realloc(c->channels, capacity * sizeof(struct amqp_channel *));
    if (grown == NULL)
        return E_NOMEM;
    memset(grown + c->channel_capacity, 0,
           (capacity - c->channel_capacity) * sizeof(struct amqp_channel *));
    c->channels = grown;
    c->channel_capacity = capacity;
    return 0;
}

void amqp_channel_start(struct amqp_connection *c, uint16_t number) {
    if (number > c->channel_max) {
        amqp_fail(c, AMQP_NOT_ALLOWED, AMQP_CHANNEL_OPEN,
                  "number of channels opened (%u) has reached the negotiated channel_max (%u)",
                  c->channel_count, c->channel_max);
        return;
    }
    struct amqp_channel *ch = calloc(1, sizeof *ch);
    if (ch == NULL || make_place(c, number) != 0) {
        free(ch);
        amqp_fail_nomem(c);
        return;
    }
    ch->connection = c;
    ch->number = number;
    amqp_unacked_init(&ch->unacked);
    c->channels[number] = ch;
    c->channel_count++;
    amqp_send(c, number, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN_OK});
}

/* C1: with nothing in its line. */
static void free_channel(struct amqp_channel *ch) {
    assert(ch->first == NULL && ch->content == NULL && ch->consumer_count == 0);
    free(ch->last_queue);
    free(ch->consumers);
    free(ch);
}

void amqp_channel_detach(struct amqp_channel *ch) {
    struct amqp_connection *c = ch->connection;
    assert(!ch->detached && c->channels[ch->number] == ch);
    c->channels[ch->number] = NULL;
    c->channel_count--;
    ch->detached = true;
    ch->state = AMQP_CHANNEL_GONE;
    list_append(&c->gone, &ch->node);
}

void amqp_channels_reap(struct amqp_connection *c) {
    struct list_node *next;
    for (struct list_node *n = list_first(&c->gone); n != NULL; n = next) {
        next = list_next(&c->gone, n);
        struct amqp_channel *ch = CONTAINER_OF(n, struct amqp_channel, node);
        if (ch->first == NULL) {
            list_remove(n);
            free_channel(ch);
        }
    }
}

/* ---- what it holds ---- */

static void drop_consumers(struct amqp_channel *ch, bool given_back) {
    while (ch->consumer_count > 0) {
        struct amqp_consumer *k = ch->consumers[ch->consumer_count - 1];
        if (!given_back && k->id != 0)
            amqp_consumer_ask_cancel(ch, k->id, NULL);
        amqp_consumer_remove(ch, k);
    }
}

void amqp_channel_release(struct amqp_channel *ch, bool given_back) {
    if (list_linked(&ch->dirty))
        list_remove(&ch->dirty);
    ch->confirms = 0;
    amqp_content_drop(ch);
    if (!given_back) {
        amqp_tx_give_back(ch);
        amqp_channel_give_back(ch, AMQP_VERDICT_REQUEUE);
        amqp_settle_now(ch->connection);
        amqp_limit_drop(ch);
    }
    amqp_tx_drop(ch);
    amqp_early_drop(ch, given_back);
    amqp_reply_drop(ch);
    drop_consumers(ch, given_back);
    amqp_unacked_release(&ch->unacked);
}

void amqp_channel_fail(struct amqp_channel *ch, enum amqp_code code, uint32_t method,
                       const char *format, ...) {
    if (ch->state != AMQP_CHANNEL_OPEN_)
        return;
    char text[UINT8_MAX + 1];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (amqp_code_closes_connection(code)) {
        amqp_fail(ch->connection, code, method, "%s", text);
        return;
    }
    amqp_channel_confirm(ch);
    char reply[UINT8_MAX + 1];
    snprintf(reply, sizeof reply, "%s - %.200s", amqp_code_name(code), text);
    struct amqp_method m = {AMQP_CHANNEL_CLOSE,
                            .as.channel_close = {.reply_code = (uint16_t)code,
                                                 .reply_text = span_text(reply),
                                                 .failed_class = amqp_class_of(method),
                                                 .failed_method = amqp_number_of(method)}};
    ch->state = AMQP_CHANNEL_CLOSING;
    amqp_send(ch->connection, ch->number, &m);
    if (!ch->detached)
        amqp_channel_release(ch, false);
}

/* ---- the line ---- */

static void join_line(struct amqp_channel *ch, struct amqp_op *op) {
    op->channel = ch;
    op->next = NULL;
    if (ch->first == NULL)
        ch->first = op;
    else
        ch->last->next = op;
    ch->last = op;
}

void amqp_channel_ask(struct amqp_channel *ch, struct amqp_op *op) {
    if (op->kind != AMQP_OP_PUBLISH)
        amqp_settle_now(ch->connection);
    join_line(ch, op);
    amqp_ask(ch->connection, op);
}

void amqp_channel_reply(struct amqp_channel *ch, const struct amqp_method *m) {
    if (ch->first == NULL) {
        amqp_channel_confirm(ch);
        amqp_send(ch->connection, ch->number, m);
        return;
    }
    struct amqp_op *op = amqp_op_create(AMQP_OP_NOTHING, 0);
    if (op == NULL) {
        amqp_fail_nomem(ch->connection);
        return;
    }
    op->method = *m;
    op->connection = ch->connection;
    op->answered = true;
    join_line(ch, op);
}

void amqp_channel_say(struct amqp_channel *ch, const struct amqp_method *m) {
    if (ch->first == NULL) {
        amqp_channel_reply(ch, m);
        return;
    }
    struct amqp_op *op = amqp_channel_op(ch, AMQP_OP_NOTHING, m);
    if (op == NULL)
        return;
    op->connection = ch->connection;
    op->answered = true;
    join_line(ch, op);
}

/* ---- confirms ---- */

void amqp_channel_confirm(struct amqp_channel *ch) {
    if (ch->confirms == 0)
        return;
    struct amqp_method m = {AMQP_BASIC_ACK, .as.basic_ack = {.delivery_tag = ch->confirmed_to,
                                                             .multiple = ch->confirms > 1}};
    ch->confirms = 0;
    list_remove(&ch->dirty);
    amqp_send(ch->connection, ch->number, &m);
}

static void confirm(struct amqp_channel *ch, uint64_t sequence) {
    if (ch->confirms++ == 0)
        list_append(&ch->connection->dirty, &ch->dirty);
    ch->confirmed_to = sequence;
}

static void nack(struct amqp_channel *ch, uint64_t sequence) {
    amqp_channel_confirm(ch);
    struct amqp_method m = {AMQP_BASIC_NACK, .as.basic_nack = {.delivery_tag = sequence}};
    amqp_send(ch->connection, ch->number, &m);
}

static void return_message(struct amqp_channel *ch, const struct amqp_publish *p) {
    amqp_channel_confirm(ch);
    struct amqp_method m = {AMQP_BASIC_RETURN,
                            .as.basic_return = {.reply_code = AMQP_NO_ROUTE,
                                                .reply_text = span_text("NO_ROUTE"),
                                                .exchange = p->exchange,
                                                .routing_key = p->routing_key}};
    struct buffer without;
    buffer_init(&without, p->encoded.size);
    struct span properties = amqp_message_returned(p, &without);
    amqp_send_content(ch->connection, ch->number, &m, properties, p->body);
    buffer_release(&without);
}

void amqp_channel_published(struct amqp_channel *ch, const struct amqp_op *op) {
    if (op->in.publish.mandatory && op->routed == 0 && !op->refused)
        return_message(ch, &op->in.publish);
    if (op->sequence == 0)
        return;
    if (op->refused)
        nack(ch, op->sequence);
    else
        confirm(ch, op->sequence);
}

/* ---- answers ---- */

static void remember_queue(struct amqp_channel *ch, const char *name) {
    char *copy = strdup(name);
    if (copy == NULL)
        return; /* then the client has to name it */
    free(ch->last_queue);
    ch->last_queue = copy;
}

/* Of exchange.* and queue.*: the method's own "-ok". */
static void method_done(struct amqp_channel *ch, const struct amqp_op *op) {
    struct amqp_method m = {.id = op->method.id + 1};
    const char *name = op->name != NULL ? op->name : "";
    if (op->method.id == AMQP_EXCHANGE_UNBIND)
        m.id = AMQP_EXCHANGE_UNBIND_OK; /* the one that is not next */
    if (m.id == AMQP_QUEUE_DECLARE_OK) {
        remember_queue(ch, name);
        m.as.queue_declare_ok.queue = span_text(name);
        m.as.queue_declare_ok.message_count = op->message_count;
        m.as.queue_declare_ok.consumer_count = op->consumer_count;
    } else if (m.id == AMQP_QUEUE_PURGE_OK) {
        m.as.queue_purge_ok.message_count = op->message_count;
    } else if (m.id == AMQP_QUEUE_DELETE_OK) {
        m.as.queue_delete_ok.message_count = op->message_count;
    }
    if (!op->silent)
        amqp_send(ch->connection, ch->number, &m);
}

static void cancelled(struct amqp_channel *ch, const struct amqp_op *op) {
    if (op->silent || op->method.id != AMQP_BASIC_CANCEL)
        return;
    struct amqp_method m = {AMQP_BASIC_CANCEL_OK,
                            .as.basic_cancel_ok = {op->method.as.basic_cancel.consumer_tag}};
    amqp_send(ch->connection, ch->number, &m);
}

static void say_nothing_else(struct amqp_channel *ch, const struct amqp_op *op) {
    if (!op->silent)
        amqp_send(ch->connection, ch->number, &op->method);
    if (op->method.id == AMQP_CHANNEL_CLOSE_OK)
        amqp_channel_detach(ch);
}

static void done(struct amqp_channel *ch, struct amqp_op *op) {
    if (op->kind != AMQP_OP_PUBLISH)
        amqp_channel_confirm(ch);
    switch (op->kind) {
    case AMQP_OP_METHOD:
        method_done(ch, op);
        break;
    case AMQP_OP_PUBLISH:
        amqp_channel_published(ch, op);
        break;
    case AMQP_OP_CONSUME:
        amqp_consumed(ch, op);
        break;
    case AMQP_OP_CANCEL:
        cancelled(ch, op);
        break;
    case AMQP_OP_GET:
        amqp_got(ch, op);
        break;
    case AMQP_OP_COMMIT:
        amqp_committed(ch, op);
        break;
    default:
        say_nothing_else(ch, op);
    }
}

static bool fits(const struct amqp_channel *ch, const struct amqp_op *op) {
    return ch->state == AMQP_CHANNEL_OPEN_ ||
           (ch->state == AMQP_CHANNEL_LEAVING && op->kind == AMQP_OP_NOTHING);
}

/* The channel does not take it any more: what the broker gave goes back. */
static void decline(struct amqp_channel *ch, const struct amqp_op *op) {
    if (ch->connection->closed || op->code != 0)
        return;
    if (op->kind == AMQP_OP_GET && op->found)
        amqp_settle(ch->connection, op->delivery.message, AMQP_VERDICT_RETURN);
    else if (op->kind == AMQP_OP_CONSUME)
        amqp_consumer_ask_cancel(ch, op->consumer, NULL);
}

static void leave_line(struct amqp_channel *ch, struct amqp_op *op) {
    ch->first = op->next;
    if (ch->first == NULL)
        ch->last = NULL;
    op->next = NULL;
}

static void serve(struct amqp_channel *ch, struct amqp_op *op) {
    if (op->kind == AMQP_OP_COMMIT && op->code != 0 && !ch->connection->closed &&
        !amqp_code_closes_connection(op->code))
        amqp_commit_refused(ch, op);
    if (!fits(ch, op)) {
        decline(ch, op);
    } else if (op->code != 0) {
        if (op->kind == AMQP_OP_CONSUME)
            amqp_consumed(ch, op);
        amqp_channel_fail(ch, op->code, (uint32_t)op->method.id, "%s",
                          op->text != NULL ? op->text : "");
    } else {
        done(ch, op);
    }
}

void amqp_channel_answered(struct amqp_channel *ch, struct amqp_op *op) {
    op->answered = true;
    while (ch->first != NULL && ch->first->answered) {
        struct amqp_op *first = ch->first;
        serve(ch, first);
        leave_line(ch, first);
        amqp_op_free(first);
    }
}

/* ---- frames ---- */

static void client_closes(struct amqp_channel *ch) {
    ch->state = AMQP_CHANNEL_LEAVING;
    amqp_channel_release(ch, false);
    if (ch->first != NULL) {
        amqp_channel_reply(ch, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
        return;
    }
    amqp_send(ch->connection, ch->number, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
    if (!ch->detached)
        amqp_channel_detach(ch);
}

/* After our close all is ignored but its answer, and a close that crossed it. */
static void frame_while_closing(struct amqp_channel *ch, const struct amqp_frame *frame) {
    struct amqp_method m;
    if (frame->type != AMQP_FRAME_METHOD || amqp_method_read(frame->payload, &m) != 0 ||
        ch->state != AMQP_CHANNEL_CLOSING)
        return;
    if (m.id == AMQP_CHANNEL_CLOSE)
        amqp_send(ch->connection, ch->number, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
    if ((m.id == AMQP_CHANNEL_CLOSE || m.id == AMQP_CHANNEL_CLOSE_OK) && !ch->detached)
        amqp_channel_detach(ch);
}

/* A publish waits for the end of an alarm; the client is told why, once. */
static bool hold_publish(struct amqp_connection *c) {
    if (!c->alarm)
        return false;
    c->held = true;
    amqp_tell_blocked(c, c->alarm_reason);
    return true;
}

static bool method_frame(struct amqp_channel *ch, struct span payload) {
    struct amqp_connection *c = ch->connection;
    struct amqp_method m;
    int error = amqp_method_read(payload, &m);
    if (error == E_UNSUPPORTED)
        amqp_fail(c, AMQP_COMMAND_INVALID, m.id, "unknown method");
    else if (error != 0)
        amqp_fail(c, AMQP_FRAME_ERROR, 0, "cannot decode a method");
    else if (ch->content != NULL)
        amqp_fail(c, AMQP_UNEXPECTED_FRAME, AMQP_BASIC_PUBLISH,
                  "expected content %s for class 60, got method %s instead",
                  ch->has_header ? "body" : "header", amqp_method_text(m.id));
    else if (m.id == AMQP_CHANNEL_CLOSE)
        client_closes(ch);
    else if (m.id != AMQP_BASIC_PUBLISH)
        amqp_channel_method(ch, &m);
    else if (hold_publish(c))
        return false;
    else
        amqp_content_begin(ch, payload);
    return true;
}

bool amqp_channel_frame(struct amqp_channel *ch, const struct amqp_frame *frame) {
    if (ch->state != AMQP_CHANNEL_OPEN_) {
        frame_while_closing(ch, frame);
        return true;
    }
    if (frame->type == AMQP_FRAME_METHOD)
        return method_frame(ch, frame->payload);
    return amqp_content_frame(ch, frame);
}
