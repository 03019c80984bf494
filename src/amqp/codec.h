/*
 * amqp/codec.h - AMQP 0-9-1: bytes <-> structs. Pure.
 *
 *      frame     type u8, channel u16, size u32, payload, 0xCE
 *      METHOD    class u16, method u16, fields                 struct amqp_method
 *      HEADER    class u16, 0 u16, body size u64, flags u16    struct amqp_content_header
 *                (bit 0 would announce more flags: refused), properties
 *      BODY      bytes
 *      HEARTBEAT nothing
 *
 * Promise: reading takes whatever bytes come; what it returns borrows from them. A struct that was written
 *          reads back equal. Writing appends a whole frame or leaves the buffer as it was.
 * Source:  spec/amqp-0-9-1.txt, from which amqp/methods.h and most of the code are made.
 */
#ifndef SLUICE_AMQP_CODEC_H
#define SLUICE_AMQP_CODEC_H

#include "amqp/methods.h"
#include "base/buffer.h"

#define AMQP_FRAME_HEADER   7u
#define AMQP_FRAME_OVERHEAD 8u /* header and end */
#define AMQP_FRAME_END      0xceu
#define AMQP_FRAME_MIN      4096u /* a peer may not ask for less */

enum amqp_frame_type {
    AMQP_FRAME_METHOD = 1,
    AMQP_FRAME_HEADER_ = 2,
    AMQP_FRAME_BODY = 3,
    AMQP_FRAME_HEARTBEAT = 8,
};

struct amqp_frame {
    enum amqp_frame_type type;
    uint16_t channel;
    struct span payload;
};

/*
 * Takes one frame off the front of `bytes`: its whole size, or 0 when it is not all there. Although
 * frame_max counts the overhead, a payload may take all of it: clients miscount, and RabbitMQ lets
 * them. E_TOO_LARGE; E_INVALID: bad end; E_UNSUPPORTED: unknown type.
 */
MUST_CHECK int64_t amqp_frame_read(struct span bytes, uint32_t frame_max, struct amqp_frame *ret);

/* E_UNSUPPORTED: no such class or method, its number is in ret->id; E_INVALID: malformed fields. */
MUST_CHECK int amqp_method_read(struct span payload, struct amqp_method *ret);

struct amqp_content_header {
    uint16_t class_id;
    uint64_t body_size;
    struct span encoded; /* flags and values as they stand, for storing and sending along */
    struct amqp_properties properties;
};
/* E_INVALID */
MUST_CHECK int amqp_content_header_read(struct span payload, struct amqp_content_header *ret);
/* `encoded` of a header. E_INVALID */
MUST_CHECK int amqp_properties_read(struct span encoded, struct amqp_properties *ret);

/* Frames. E_NOMEM, E_LIMIT; E_INVALID: a shortstr of more than 255 bytes. */
MUST_CHECK int amqp_method_write(struct buffer *out, uint16_t channel, const struct amqp_method *m);
/* Properties in their encoded form. */
MUST_CHECK int amqp_content_header_write(struct buffer *out, uint16_t channel, uint64_t body_size,
                                         struct span properties);
/* As many body frames as frame_max asks for; none for an empty body. */
MUST_CHECK int amqp_body_write(struct buffer *out, uint16_t channel, struct span body,
                               uint32_t frame_max);
MUST_CHECK int amqp_heartbeat_write(struct buffer *out);
/* Flags and values, to be sent with a header. */
MUST_CHECK int amqp_properties_write(struct buffer *out, const struct amqp_properties *p);

/* ---- about methods ---- */
enum amqp_sender {
    AMQP_SENT_BY_NOBODY,
    AMQP_SENT_BY_SERVER,
    AMQP_SENT_BY_CLIENT,
    AMQP_SENT_BY_BOTH,
};
/* "queue.declare_ok"; "unknown". */
const char *amqp_method_text(enum amqp_method_id id);
enum amqp_sender amqp_method_sender(enum amqp_method_id id);
/* A header and a body follow. */
bool amqp_method_carries_content(enum amqp_method_id id);

static inline uint16_t amqp_class_of(enum amqp_method_id id) {
    return (uint16_t)((uint32_t)id >> 16);
}
static inline uint16_t amqp_number_of(enum amqp_method_id id) {
    return (uint16_t)id;
}

/* "NOT_FOUND" */
const char *amqp_code_name(enum amqp_code code);
bool amqp_code_closes_connection(enum amqp_code code);

#endif
