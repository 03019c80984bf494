/*
 * model/message_payload.h - the payload of MESSAGE_PUT and MESSAGE_MOVED, encoder and decoder.
 *
 *   offset  size  what (version 1)
 *        0     8  message id
 *        8     8  accepted, ns since epoch
 *       16     4  queue index
 *       20     1  priority
 *       21     1  length n of the queue's name, 1..128
 *       22     2  flags: which of the following stand there
 *       24     4  length of the body
 *       28     n  name of the queue at that time
 *   then, in this order, for each flag that is set:
 *   0x0001     8  schedule, ns since epoch
 *   0x0002     8  expires, ns since epoch
 *   0x0004   2+.  content type            (u16 length, bytes)
 *   0x0008   2+.  ordering key
 *   0x0010   2+.  traceparent
 *   0x0020   2+.  tracestate
 *   0x0040   2+.  correlation id
 *   0x0080   2+.  headers, "Name: value\n" lines
 *   0x4000   2+.  what it says of retries instead of its queue (retry.h)
 *   0x0100     8  tie: campaign index (4), stock index (4)
 *   0x0200     0  the tied purchase is the receipt text of the message id
 *   0x0400   2+.  the tied purchase, when it is another
 *   0x0800        published by AMQP: exchange, routing key (u16 length, bytes), properties (u32 length, bytes)
 *   0x1000     2  n: the body belongs to messages of n ids, from this one
 *   0x2000     0  the time above at which it expires is a dispatch deadline
 *   0x8000     2  further flags, and for each that is set:
 *   .. 0x0001  2  how often it was edited
 *   and at the end the body.
 *
 * MOVED has the same bytes: apply takes the new place of the body from it and nothing else.
 */
#ifndef SLUICE_MODEL_MESSAGE_PAYLOAD_H
#define SLUICE_MODEL_MESSAGE_PAYLOAD_H

#include "model/queue.h"

/* Of all optional fields together; the body has its own limit. */
#define MESSAGE_EXTRA_MAX_BYTES (32u << 10)
#define MESSAGE_BODY_MAX_BYTES  (16u << 20)
#define EXTRA_BYTES_MAX         ((1u << 20) - 1) /* of a payload besides the body */

struct message_payload {
    struct stored_message stored;
    uint32_t queue;      /* index */
    bool purchase_is_id; /* the purchase of its tie is its own receipt, and not stored */
    bool amqp;           /* stored has exchange, routing_key, properties */
    uint16_t copies;     /* ids from stored.id that this body belongs to; 0: one */
    struct tie tie;
    bool by_deadline; /* stored.expires_ns is a dispatch deadline */
};

/* Ties it to what is settled at its end; its id is known already. */
void message_payload_tie(struct message_payload *p, const struct tie *tie);
/* Appends. stored.payload is not looked at. E_NOMEM, E_LIMIT. */
MUST_CHECK int message_payload_encode(const struct message_payload *p, struct buffer *out);
/* Spans borrow `payload`. E_CORRUPT. */
MUST_CHECK int message_payload_decode(struct span payload, struct message_payload *ret);
/* Bytes of the optional texts of an envelope, for the limit. */
size_t envelope_extra_bytes(const struct envelope *e);

#endif
