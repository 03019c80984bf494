/*
 * amqp/message.h - a message's properties on the way in and out: what the model needs to know of them, and what it
 *                  has to add to them.
 *
 * Promise: in: BCC is stripped, keys of CC and BCC, time to live and delay are taken out. Out: the stored
 *          properties as they came, with x-delivery-count when it was delivered before, and the deaths of
 *          a dead-lettered one (x-death, x-first-death-*, x-last-death-*; no expiration any more).
 *          A message moved in from another broker (AMQP_IMPORT_HEADER, a table: `exchange`, `routing-key`, `id`,
 *          `again`) goes from the default exchange to the queue of its routing key as if published there; the
 *          header is stripped. Only administrators may: access.c.
 * Errors:  E_NOMEM, E_LIMIT; E_CORRUPT: an origin that does not read.
 */
#ifndef SLUICE_AMQP_MESSAGE_H
#define SLUICE_AMQP_MESSAGE_H

#include "amqp/broker.h"
#include "model/amqp.h"
#include "model/request.h"

/* A property `expiration`, "60000": ms, at most ten years, a sign allowed as RabbitMQ allows it. False: it is none. */
bool amqp_expiration_read(struct span text, uint64_t *ret_ms);

bool amqp_message_is_import(const struct amqp_publish *from);

/* Spans borrow from `from`, `out` and `keys`. `out` gets the properties when they had to be changed. */
MUST_CHECK int amqp_message_in(const struct amqp_publish *from, struct buffer *out,
                               struct span keys[AMQP_KEYS_MAX], struct amqp_message *ret);

/* The properties as a message that nobody got goes back to its publisher: without BCC. Borrows of `from` or `out`. */
struct span amqp_message_returned(const struct amqp_publish *from, struct buffer *out);

/* Whether CC and BCC name no more than AMQP_KEYS_MAX keys: a message in must not go to fewer queues than it says. */
bool amqp_message_keys_fit(struct span headers);
/* Fills all of *ret but channel and consumer. Spans borrow from `stored`, d->origin and `out`. */
MUST_CHECK int amqp_message_out(const struct stored_message *stored, const struct delivery *d,
                                struct buffer *out, struct amqp_delivery *ret);

#endif
