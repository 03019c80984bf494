/*
 * A message on its way in: basic.publish, then a header, then bodies until as many bytes are there as the
 * header said. All of it lies behind its op: first the method's payload, then the properties as they
 * came, then the body, for which there is room at once up to BODY_AT_ONCE and as it comes beyond that:
 * a promise of 16 MiB costs its maker nothing, so it must not cost us 16 MiB.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "amqp/message.h"
#include "amqp/reply.h"
#include "base/amqp_table.h"
#include "base/error.h"

#define BODY_AT_ONCE (128u << 10)

void amqp_content_drop(struct amqp_channel *ch) {
    if (ch->content == NULL)
        return;
    amqp_let_go(ch->connection, ch->content->room_bytes);
    amqp_let_others(ch->connection);
    amqp_op_free(ch->content);
    ch->content = NULL;
    ch->has_header = false;
}

void amqp_content_begin(struct amqp_channel *ch, struct span payload) {
    struct amqp_connection *c = ch->connection;
    struct amqp_op *op = amqp_op_create_method(c->host->pool, AMQP_OP_PUBLISH, payload);
    if (op == NULL) {
        amqp_fail_nomem(c);
        return;
    }
    if (op->method.as.basic_publish.immediate) {
        amqp_op_free(op);
        amqp_fail(c, AMQP_NOT_IMPLEMENTED, AMQP_BASIC_PUBLISH, "immediate=true");
        return;
    }
    op->in.publish.encoded.size = payload.size; /* where the properties will begin */
    ch->content = op;
    ch->has_header = false;
    amqp_hold_more(c, op->room_bytes);
}

/* Spans lie behind the op, which may have been moved. */
static int point_into(struct amqp_op *op, size_t method_bytes, size_t property_bytes) {
    uint8_t *room = amqp_op_room(op);
    struct amqp_publish *p = &op->in.publish;
    int error = amqp_method_read(span_of(room, method_bytes), &op->method);
    if (error != 0)
        return error;
    p->exchange = op->method.as.basic_publish.exchange;
    p->routing_key = op->method.as.basic_publish.routing_key;
    p->mandatory = op->method.as.basic_publish.mandatory;
    p->encoded = span_of(room + method_bytes, property_bytes);
    return amqp_properties_read(p->encoded, &p->properties);
}

/* False: see amqp_hold. */
static bool grow(struct amqp_channel *ch, size_t room_bytes) {
    struct amqp_connection *c = ch->connection;
    size_t more = room_bytes - ch->content->room_bytes;
    if (!amqp_hold(c, more))
        return false;
    struct amqp_op *op = amqp_op_grow(ch->content, room_bytes);
    if (op == NULL) {
        amqp_let_go(c, more);
        amqp_fail_nomem(c);
        return false;
    }
    ch->content = op;
    return true;
}

/* ---- the whole message ---- */

/* Further routing keys: an array, where the header is there. */
static bool keys_valid(const struct amqp_properties *q, const char *name) {
    struct amqp_field f;
    return q->headers.size == 0 || !amqp_table_find(q->headers, name, &f) || f.type == 'A';
}

/* False: the channel failed. */
static bool acceptable(struct amqp_channel *ch, const struct amqp_publish *p) {
    const struct amqp_properties *q = &p->properties;
    struct span user = amqp_connection_user(ch->connection);
    uint64_t ms;
    if ((q->flags & AMQP_HAS_EXPIRATION) && !amqp_expiration_read(q->expiration, &ms)) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "invalid expiration '%.*s'", SPAN_ARG(q->expiration));
        return false;
    }
    if ((q->flags & AMQP_HAS_DELIVERY_MODE) && q->delivery_mode != 1 && q->delivery_mode != 2) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "invalid delivery mode %u", q->delivery_mode);
        return false;
    }
    if (!keys_valid(q, "CC") || !keys_valid(q, "BCC")) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "a header CC or BCC is no array");
        return false;
    }
    bool imported = amqp_message_is_import(p); /* its user and routes were another broker's */
    if (!imported && !amqp_message_keys_fit(q->headers)) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "more than %u keys in CC and BCC", AMQP_KEYS_MAX);
        return false;
    }
    if ((q->flags & AMQP_HAS_USER_ID) && !imported && !span_equal(q->user_id, user)) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "user_id property set to '%.*s' but authenticated user was '%.*s'",
                          SPAN_ARG(q->user_id), SPAN_ARG(user));
        return false;
    }
    return true;
}

/* What it is held for has its memory from now on. */
static void hand_on(struct amqp_channel *ch, struct amqp_op *op) {
    if ((op->in.publish.properties.flags & AMQP_HAS_REPLY_TO) &&
        amqp_is_reply_to(op->in.publish.properties.reply_to)) {
        op = amqp_reply_put_address(ch, op);
        if (op == NULL)
            return;
    }
    if (ch->mode == AMQP_MODE_TX) {
        amqp_tx_publish(ch, op);
        return;
    }
    if (ch->mode == AMQP_MODE_CONFIRM)
        op->sequence = ++ch->published;
    op->bytes = op->room_bytes;
    amqp_channel_ask(ch, op);
}

static void complete(struct amqp_channel *ch) {
    struct amqp_op *op = ch->content;
    struct amqp_publish *p = &op->in.publish;
    size_t before = (size_t)(p->encoded.data + p->encoded.size - amqp_op_room(op));
    p->body = span_of(amqp_op_room(op) + before, ch->body_size);
    amqp_let_go(ch->connection, op->room_bytes);
    ch->content = NULL;
    ch->has_header = false;
    if (acceptable(ch, p))
        hand_on(ch, op);
    else
        amqp_op_free(op);
    amqp_let_others(ch->connection);
}

/* ---- header and bodies ---- */

static void content_header(struct amqp_channel *ch, struct span payload) {
    struct amqp_connection *c = ch->connection;
    const struct amqp_limits *l = &c->host->limits;
    struct amqp_content_header h;
    if (amqp_content_header_read(payload, &h) != 0) {
        amqp_fail(c, AMQP_FRAME_ERROR, AMQP_BASIC_PUBLISH, "cannot decode a content header");
        return;
    }
    if (h.class_id != AMQP_CLASS_BASIC) {
        amqp_fail(c, AMQP_UNEXPECTED_FRAME, AMQP_BASIC_PUBLISH,
                  "expected content header for class 60, got one for class %u instead", h.class_id);
        return;
    }
    if (h.body_size > l->message_bytes) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "message size %" PRIu64 " is larger than configured max size %" PRIu64,
                          h.body_size, l->message_bytes);
        return;
    }
    size_t method_bytes = ch->content->in.publish.encoded.size;
    size_t at_once = h.body_size < BODY_AT_ONCE ? h.body_size : BODY_AT_ONCE;
    if (!grow(ch, method_bytes + h.encoded.size + at_once))
        return;
    memcpy(amqp_op_room(ch->content) + method_bytes, h.encoded.data, h.encoded.size);
    if (point_into(ch->content, method_bytes, h.encoded.size) != 0)
        return; /* both were read before */
    ch->has_header = true;
    ch->body_size = h.body_size;
    ch->body_have = 0;
    if (h.body_size == 0)
        complete(ch);
}

/* Room for `more` bytes of the body; doubled, so that it is copied at most twice in all. */
static bool body_room(struct amqp_channel *ch, size_t more) {
    struct amqp_op *op = ch->content;
    size_t method_bytes = (size_t)(op->in.publish.encoded.data - amqp_op_room(op));
    size_t property_bytes = op->in.publish.encoded.size;
    size_t before = method_bytes + property_bytes, needed = ch->body_have + more;
    if (op->room_bytes - before >= needed)
        return true;
    size_t doubled =
        2 * (op->room_bytes - before) > needed ? 2 * (op->room_bytes - before) : needed;
    if (!grow(ch, before + (doubled < ch->body_size ? doubled : ch->body_size)))
        return false;
    return point_into(ch->content, method_bytes, property_bytes) == 0;
}

static bool append_body(struct amqp_channel *ch, struct span bytes) {
    if (!body_room(ch, bytes.size))
        return false;
    const struct amqp_publish *p = &ch->content->in.publish;
    size_t before = (size_t)(p->encoded.data + p->encoded.size - amqp_op_room(ch->content));
    if (bytes.size > 0)
        memcpy(amqp_op_room(ch->content) + before + ch->body_have, bytes.data, bytes.size);
    ch->body_have += bytes.size;
    amqp_progress(ch->connection, bytes.size);
    return true;
}

static void content_body(struct amqp_channel *ch, struct span payload) {
    if (payload.size > ch->body_size - ch->body_have) {
        amqp_fail(ch->connection, AMQP_UNEXPECTED_FRAME, AMQP_BASIC_PUBLISH,
                  "a body is longer than its header said");
        return;
    }
    if (append_body(ch, payload) && ch->body_have == ch->body_size)
        complete(ch);
}

bool amqp_content_part(struct amqp_channel *ch, struct span part, size_t frame_bytes) {
    bool expected = ch->state == AMQP_CHANNEL_OPEN_ && ch->content != NULL && ch->has_header &&
                    frame_bytes <= ch->body_size - ch->body_have;
    return expected && append_body(ch, part);
}

bool amqp_content_frame(struct amqp_channel *ch, const struct amqp_frame *frame) {
    struct amqp_connection *c = ch->connection;
    bool header = frame->type == AMQP_FRAME_HEADER_;
    if (ch->content == NULL || header == ch->has_header)
        amqp_fail(c, AMQP_UNEXPECTED_FRAME, 0, "expected %s, got a content %s instead",
                  ch->content == NULL ? "method frame"
                  : ch->has_header    ? "content body"
                                      : "content header",
                  header ? "header" : "body");
    else if (header)
        content_header(ch, frame->payload);
    else
        content_body(ch, frame->payload);
    return !amqp_budget_waits(&c->holder);
}
