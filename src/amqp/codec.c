#include "amqp/codec.h"

#include "amqp/codec_internal.h"
#include "base/error.h"

/* ---- reading ---- */

static bool known_type(uint8_t type) {
    return (type >= AMQP_FRAME_METHOD && type <= AMQP_FRAME_BODY) || type == AMQP_FRAME_HEARTBEAT;
}

int64_t amqp_frame_read(struct span bytes, uint32_t frame_max, struct amqp_frame *ret) {
    if (bytes.size < AMQP_FRAME_HEADER)
        return 0;
    if (!known_type(bytes.data[0]))
        return E_UNSUPPORTED;
    uint32_t size = wire_load_u32(bytes.data + 3);
    if (size > frame_max)
        return E_TOO_LARGE;
    if (bytes.size - AMQP_FRAME_HEADER <= size)
        return 0;
    if (bytes.data[AMQP_FRAME_HEADER + size] != AMQP_FRAME_END)
        return E_INVALID;
    ret->type = bytes.data[0];
    ret->channel = wire_load_u16(bytes.data + 1);
    ret->payload = span_of(bytes.data + AMQP_FRAME_HEADER, size);
    return (int64_t)size + AMQP_FRAME_OVERHEAD;
}

int amqp_method_read(struct span payload, struct amqp_method *ret) {
    struct reader r;
    reader_init(&r, payload);
    ret->id = wire_get_u32(&r);
    if (r.failed)
        return E_INVALID;
    if (!codec_get_method(&r, ret))
        return E_UNSUPPORTED;
    return reader_done(&r) ? 0 : E_INVALID;
}

int amqp_properties_read(struct span encoded, struct amqp_properties *ret) {
    struct reader r;
    reader_init(&r, encoded);
    *ret = (struct amqp_properties){.flags = wire_get_u16(&r)};
    if ((ret->flags & ~codec_known_properties) != 0)
        return E_INVALID;
    codec_get_properties(&r, ret);
    return reader_done(&r) ? 0 : E_INVALID;
}

int amqp_content_header_read(struct span payload, struct amqp_content_header *ret) {
    struct reader r;
    reader_init(&r, payload);
    ret->class_id = wire_get_u16(&r);
    wire_get_u16(&r); /* weight: unused, and not looked at by anybody */
    ret->body_size = wire_get_u64(&r);
    ret->encoded = span_of(r.next, r.left);
    return r.failed ? E_INVALID : amqp_properties_read(ret->encoded, &ret->properties);
}

/* ---- writing ---- */

/* Room for a whole frame; its header is written. NULL: *ret_error says why. */
static uint8_t *begin_frame(struct buffer *out, enum amqp_frame_type type, uint16_t channel,
                            size_t payload, int *ret_error) {
    if (payload > UINT32_MAX - AMQP_FRAME_OVERHEAD) {
        *ret_error = E_INVALID;
        return NULL;
    }
    *ret_error = buffer_reserve(out, payload + AMQP_FRAME_OVERHEAD);
    if (*ret_error != 0)
        return NULL;
    uint8_t *to = wire_put_u8(out->data + out->size, (uint8_t)type);
    return wire_put_u32(wire_put_u16(to, channel), (uint32_t)payload);
}

static void end_frame(struct buffer *out, uint8_t *to) {
    to = wire_put_u8(to, AMQP_FRAME_END);
    out->size = (size_t)(to - out->data);
}

int amqp_method_write(struct buffer *out, uint16_t channel, const struct amqp_method *m) {
    size_t size;
    if (!codec_method_size(m, &size))
        return E_INVALID;
    int error;
    uint8_t *to = begin_frame(out, AMQP_FRAME_METHOD, channel, size + 4, &error);
    if (to != NULL)
        end_frame(out, codec_put_method(wire_put_u32(to, (uint32_t)m->id), m));
    return error;
}

int amqp_content_header_write(struct buffer *out, uint16_t channel, uint64_t body_size,
                              struct span properties) {
    int error;
    uint8_t *to = begin_frame(out, AMQP_FRAME_HEADER_, channel, 12 + properties.size, &error);
    if (to == NULL)
        return error;
    to = wire_put_u16(to, AMQP_CLASS_BASIC);
    to = wire_put_u16(to, 0);
    to = wire_put_u64(to, body_size);
    end_frame(out, wire_put_span(to, properties));
    return 0;
}

int amqp_body_write(struct buffer *out, uint16_t channel, struct span body, uint32_t frame_max) {
    size_t before = out->size, most = frame_max - AMQP_FRAME_OVERHEAD;
    while (body.size > 0) {
        size_t size = body.size < most ? body.size : most;
        int error;
        uint8_t *to = begin_frame(out, AMQP_FRAME_BODY, channel, size, &error);
        if (to == NULL) {
            out->size = before;
            return error;
        }
        end_frame(out, wire_put_span(to, span_of(body.data, size)));
        body = span_of(body.data + size, body.size - size);
    }
    return 0;
}

int amqp_heartbeat_write(struct buffer *out) {
    int error;
    uint8_t *to = begin_frame(out, AMQP_FRAME_HEARTBEAT, 0, 0, &error);
    if (to != NULL)
        end_frame(out, to);
    return error;
}

int amqp_properties_write(struct buffer *out, const struct amqp_properties *p) {
    if ((p->flags & ~codec_known_properties) != 0 || !codec_properties_fit(p))
        return E_INVALID;
    size_t size = 2 + codec_properties_size(p);
    int error = buffer_reserve(out, size);
    if (error != 0)
        return error;
    codec_put_properties(wire_put_u16(out->data + out->size, p->flags), p);
    out->size += size;
    return 0;
}

/* ---- codes ---- */

const char *amqp_code_name(enum amqp_code code) {
    switch (code) {
#define X(name, number, closes)                                                                    \
    case AMQP_##name:                                                                              \
        return #name;
        AMQP_CODE_TABLE(X)
#undef X
    }
    return "UNKNOWN";
}

bool amqp_code_closes_connection(enum amqp_code code) {
    switch (code) {
#define X(name, number, closes)                                                                    \
    case AMQP_##name:                                                                              \
        return closes;
        AMQP_CODE_TABLE(X)
#undef X
    }
    return false;
}
