/*
 * amqp/handshake.h - from the first byte to connection.open-ok. Internal to amqp/.
 */
#ifndef SLUICE_AMQP_HANDSHAKE_H
#define SLUICE_AMQP_HANDSHAKE_H

#include "amqp/broker.h"

/* The protocol header; how many bytes were used. Another protocol: ours is named, and the end. */
size_t amqp_handshake_header(struct amqp_connection *c, struct span bytes);
/* A method on channel 0 before the connection runs. */
void amqp_handshake_method(struct amqp_connection *c, const struct amqp_method *m);
/* Of LOGIN and OPEN. */
void amqp_handshake_answered(struct amqp_connection *c, struct amqp_op *op);

#endif
