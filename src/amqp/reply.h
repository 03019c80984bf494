/*
 * amqp/reply.h - direct reply-to: answers to a question that a channel asked, without a queue.
 *
 *   asks     basic.consume "amq.rabbitmq.reply-to", no-ack     the channel gets an address that nobody can guess
 *            basic.publish, reply-to "amq.rabbitmq.reply-to"   its address is put there
 *   answers  basic.publish to the default exchange, key "amq.rabbitmq.reply-to.<address>"
 *                                                              straight to the channel, or unroutable
 *
 *        address = session "." channel "." secret, in hexadecimal digits
 *
 * Promise: at most once: an answer is lost when its channel is gone (and returned, if mandatory), or has more
 *          unread than AMQP connections may have.
 */
#ifndef SLUICE_AMQP_REPLY_H
#define SLUICE_AMQP_REPLY_H

#include "amqp/broker.h"

#define AMQP_REPLY_TO "amq.rabbitmq.reply-to"

struct amqp_reply_address {
    uint64_t session, secret;
    uint16_t channel;
};

/* What a channel that asks keeps. */
struct amqp_reply_consumer {
    uint64_t secret;
    uint8_t tag_size;
    char tag[];
};

/* The name alone. */
bool amqp_is_reply_to(struct span name);
/* The name with an address. */
bool amqp_reply_address_read(struct span name, struct amqp_reply_address *ret);
/* The name with an address as text. */
void amqp_reply_address_write(const struct amqp_reply_address *a, char text[64]);

/* ---- the channel's side ---- */

/* basic.consume of the name. */
void amqp_reply_consume(struct amqp_channel *ch, const struct amqp_method *m);
/* Does the tag belong to it? */
bool amqp_reply_has_tag(const struct amqp_channel *ch, struct span tag);
void amqp_reply_drop(struct amqp_channel *ch);
/* Puts the address into the properties of a publish. NULL: the channel failed, the op is gone. */
struct amqp_op *amqp_reply_put_address(struct amqp_channel *ch, struct amqp_op *op);

/* ---- the bridge's side ---- */

/* False: no such consumer there, or it reads too slowly. p NULL: only looks. */
bool amqp_reply_deliver(struct amqp_connection *c, const struct amqp_reply_address *a,
                        const struct amqp_publish *p);

#endif
