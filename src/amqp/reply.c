#include "amqp/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "base/error.h"

#define PREFIX AMQP_REPLY_TO "."

bool amqp_is_reply_to(struct span name) {
    return span_is(name, AMQP_REPLY_TO);
}

/* Digits up to `end`, behind which *at stands then. */
static bool read_hex(struct span text, size_t *at, char end, uint64_t *ret) {
    uint64_t v = 0;
    size_t digits = 0;
    for (; *at < text.size && text.data[*at] != (uint8_t)end; ++*at, digits++) {
        uint8_t c = text.data[*at];
        bool letter = c >= 'a' && c <= 'f';
        if (digits == 16 || (!letter && (c < '0' || c > '9')))
            return false;
        v = v << 4 | (uint64_t)(letter ? c - 'a' + 10 : c - '0');
    }
    ++*at;
    *ret = v;
    return digits > 0 && *at <= text.size + (end == '\0');
}

bool amqp_reply_address_read(struct span name, struct amqp_reply_address *ret) {
    size_t at = sizeof PREFIX - 1;
    uint64_t session, channel, secret;
    if (name.size < at || memcmp(name.data, PREFIX, at) != 0)
        return false;
    if (!read_hex(name, &at, '.', &session) || !read_hex(name, &at, '.', &channel) ||
        !read_hex(name, &at, '\0', &secret) || channel > UINT16_MAX)
        return false;
    *ret = (struct amqp_reply_address){session, secret, (uint16_t)channel};
    return true;
}

void amqp_reply_address_write(const struct amqp_reply_address *a, char text[64]) {
    snprintf(text, 64, PREFIX "%" PRIx64 ".%x.%016" PRIx64, a->session, a->channel, a->secret);
}

/* ---- the channel's side ---- */

void amqp_reply_consume(struct amqp_channel *ch, const struct amqp_method *m) {
    struct amqp_connection *c = ch->connection;
    struct span tag = m->as.basic_consume.consumer_tag;
    if (!m->as.basic_consume.no_ack || ch->reply != NULL) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, m->id,
                          ch->reply != NULL ? "reply consumer already set"
                                            : "reply consumer cannot acknowledge");
        return;
    }
    struct amqp_reply_consumer *r = calloc(1, sizeof *r + tag.size);
    if (r == NULL) {
        amqp_fail_nomem(c);
        return;
    }
    c->host->random(c->context, (uint8_t *)&r->secret, sizeof r->secret);
    r->tag_size = (uint8_t)tag.size;
    memcpy(r->tag, tag.data, tag.size);
    ch->reply = r;
    if (m->as.basic_consume.nowait)
        return;
    amqp_channel_say(ch, &(struct amqp_method){AMQP_BASIC_CONSUME_OK,
                                               .as.basic_consume_ok = {.consumer_tag = tag}});
}

bool amqp_reply_has_tag(const struct amqp_channel *ch, struct span tag) {
    return ch->reply != NULL && span_equal(tag, span_of(ch->reply->tag, ch->reply->tag_size));
}

void amqp_reply_drop(struct amqp_channel *ch) {
    free(ch->reply);
    ch->reply = NULL;
}

/* The properties with the address go behind what is there: spans before them stay where they are. */
static struct amqp_op *append_properties(struct amqp_op *op, struct span encoded) {
    size_t before = op->room_bytes;
    size_t body_at = (size_t)(op->in.publish.body.data - amqp_op_room(op));
    size_t method_bytes = (size_t)(op->in.publish.encoded.data - amqp_op_room(op));
    struct amqp_op *grown = amqp_op_grow(op, before + encoded.size);
    if (grown == NULL)
        return NULL;
    uint8_t *room = amqp_op_room(grown);
    struct amqp_publish *p = &grown->in.publish;
    memcpy(room + before, encoded.data, encoded.size);
    p->encoded = span_of(room + before, encoded.size);
    p->body.data = room + body_at;
    if (amqp_method_read(span_of(room, method_bytes), &grown->method) != 0 ||
        amqp_properties_read(p->encoded, &p->properties) != 0)
        p->properties.flags = 0; /* both were read before */
    p->exchange = grown->method.as.basic_publish.exchange;
    p->routing_key = grown->method.as.basic_publish.routing_key;
    return grown;
}

struct amqp_op *amqp_reply_put_address(struct amqp_channel *ch, struct amqp_op *op) {
    if (ch->reply == NULL) {
        amqp_op_free(op);
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, AMQP_BASIC_PUBLISH,
                          "fast reply consumer does not exist");
        return NULL;
    }
    struct amqp_reply_address address = {
        .session = ch->connection->address, .channel = ch->number, .secret = ch->reply->secret};
    char text[64];
    amqp_reply_address_write(&address, text);
    struct amqp_properties properties = op->in.publish.properties;
    properties.reply_to = span_text(text);
    struct buffer encoded;
    buffer_init(&encoded, op->in.publish.encoded.size + sizeof text);
    struct amqp_op *grown = NULL;
    if (amqp_properties_write(&encoded, &properties) == 0)
        grown = append_properties(op, buffer_span(&encoded));
    buffer_release(&encoded);
    if (grown == NULL) {
        amqp_op_free(op);
        amqp_fail_nomem(ch->connection);
    }
    return grown;
}

/* ---- the bridge's side ---- */

bool amqp_reply_deliver(struct amqp_connection *c, const struct amqp_reply_address *a,
                        const struct amqp_publish *p) {
    struct amqp_channel *ch = a->channel < c->channel_capacity ? c->channels[a->channel] : NULL;
    if (ch == NULL || ch->state != AMQP_CHANNEL_OPEN_ || ch->reply == NULL ||
        ch->reply->secret != a->secret)
        return false;
    if (p == NULL)
        return true;
    struct amqp_method m = {
        AMQP_BASIC_DELIVER,
        .as.basic_deliver = {.consumer_tag = span_of(ch->reply->tag, ch->reply->tag_size),
                             .delivery_tag = amqp_unacked_skip(&ch->unacked),
                             .exchange = p->exchange,
                             .routing_key = p->routing_key}};
    amqp_send_content(c, ch->number, &m, p->encoded, p->body);
    return true;
}
