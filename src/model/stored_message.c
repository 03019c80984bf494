#include "model/message_payload.h"

#include <assert.h>
#include <endian.h>
#include <strings.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "model/fact.h"

#define FIXED_BYTES 28u

enum payload_flag {
    HAS_SCHEDULE = 0x0001,
    HAS_EXPIRES = 0x0002,
    HAS_CONTENT_TYPE = 0x0004,
    HAS_ORDERING_KEY = 0x0008,
    HAS_TRACEPARENT = 0x0010,
    HAS_TRACESTATE = 0x0020,
    HAS_CORRELATION_ID = 0x0040,
    HAS_HEADERS = 0x0080,
    HAS_TIE = 0x0100,
    HAS_PURCHASE_IS_ID = 0x0200,
    HAS_PURCHASE = 0x0400,
    HAS_AMQP = 0x0800,
    HAS_COPIES = 0x1000,
    HAS_DEADLINE = 0x2000,
    HAS_RETRY = 0x4000,
    HAS_MORE = 0x8000,
};

enum payload_more {
    MORE_VERSION = 0x0001,
    MORE_ALL = 0x0001,
};

/* The optional texts of an envelope, in the order of their flags. */
static const struct {
    uint16_t flag;
    size_t offset;
} texts[] = {
    {HAS_CONTENT_TYPE, offsetof(struct envelope, content_type)},
    {HAS_ORDERING_KEY, offsetof(struct envelope, ordering_key)},
    {HAS_TRACEPARENT, offsetof(struct envelope, traceparent)},
    {HAS_TRACESTATE, offsetof(struct envelope, tracestate)},
    {HAS_CORRELATION_ID, offsetof(struct envelope, correlation_id)},
    {HAS_HEADERS, offsetof(struct envelope, headers)},
    {HAS_RETRY, offsetof(struct envelope, retry)},
};

static inline const struct span *text_of(const struct envelope *e, size_t i) {
    return (const struct span *)(const void *)((const char *)e + texts[i].offset);
}

size_t envelope_extra_bytes(const struct envelope *e) {
    size_t bytes = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        bytes += text_of(e, i)->size;
    }
    return bytes;
}

static inline uint8_t *store_u16(uint8_t *at, uint16_t v) {
    v = htole16(v);
    memcpy(at, &v, sizeof v);
    return at + sizeof v;
}

static inline uint8_t *store_u32(uint8_t *at, uint32_t v) {
    v = htole32(v);
    memcpy(at, &v, sizeof v);
    return at + sizeof v;
}

static inline uint8_t *store_u64(uint8_t *at, uint64_t v) {
    v = htole64(v);
    memcpy(at, &v, sizeof v);
    return at + sizeof v;
}

static inline uint8_t *store_span(uint8_t *at, struct span s) {
    if (s.size > 0) {
        memcpy(at, s.data, s.size);
    }
    return at + s.size;
}

static inline uint8_t *store_text(uint8_t *at, struct span s) {
    assert(s.size <= UINT16_MAX);
    return store_span(store_u16(at, (uint16_t)s.size), s);
}

static uint16_t more_of(const struct message_payload *p) {
    return p->stored.version != 0 ? MORE_VERSION : 0;
}

static uint16_t flags_of(const struct message_payload *p) {
    const struct stored_message *s = &p->stored;
    unsigned flags = 0;
    flags |= s->schedule_ns != 0 ? HAS_SCHEDULE : 0;
    flags |= s->expires_ns != 0 ? HAS_EXPIRES : 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        flags |= text_of(&s->envelope, i)->size > 0 ? texts[i].flag : 0;
    }
    if (p->tie.campaign != 0 || p->tie.stock != 0) {
        flags |= HAS_TIE | (p->purchase_is_id ? HAS_PURCHASE_IS_ID : HAS_PURCHASE);
    }
    flags |= p->amqp ? HAS_AMQP : 0;
    flags |= p->by_deadline ? HAS_DEADLINE : 0;
    flags |= p->copies > 1 ? HAS_COPIES : 0;
    flags |= more_of(p) != 0 ? HAS_MORE : 0;
    return (uint16_t)flags;
}

static size_t encoded_max(const struct message_payload *p) {
    const struct stored_message *s = &p->stored;
    return FIXED_BYTES + UINT8_MAX + 3 * sizeof(uint64_t) + 2 * (ARRAY_LENGTH(texts) + 1) +
           envelope_extra_bytes(&s->envelope) + p->tie.purchase.size + 14 + s->exchange.size +
           s->routing_key.size + s->properties.size + s->envelope.body.size;
}

/* One reservation, then plain stores: this is on the way of every message. */
void message_payload_tie(struct message_payload *p, const struct tie *tie) {
    char receipt[18];
    receipt_format(p->stored.id, receipt);
    p->tie = *tie;
    p->purchase_is_id = span_is(tie->purchase, receipt);
}

int message_payload_encode(const struct message_payload *p, struct buffer *out) {
    const struct stored_message *s = &p->stored;
    assert(s->queue.size >= 1 && s->queue.size <= UINT8_MAX);
    int rc = buffer_reserve(out, encoded_max(p));
    if (rc != 0) {
        return rc;
    }
    uint16_t flags = flags_of(p);
    uint8_t *at = out->data + out->size;
    at = store_u64(at, s->id);
    at = store_u64(at, s->accepted_ns);
    at = store_u32(at, p->queue);
    *at++ = s->priority;
    *at++ = (uint8_t)s->queue.size;
    at = store_u16(at, flags);
    at = store_u32(at, (uint32_t)s->envelope.body.size);
    at = store_span(at, s->queue);
    at = flags & HAS_SCHEDULE ? store_u64(at, s->schedule_ns) : at;
    at = flags & HAS_EXPIRES ? store_u64(at, s->expires_ns) : at;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        at = flags & texts[i].flag ? store_text(at, *text_of(&s->envelope, i)) : at;
    }
    if (flags & HAS_TIE) {
        at = store_u32(at, p->tie.campaign);
        at = store_u32(at, p->tie.stock);
    }
    at = flags & HAS_PURCHASE ? store_text(at, p->tie.purchase) : at;
    if (flags & HAS_AMQP) {
        at = store_text(store_text(at, s->exchange), s->routing_key);
        at = store_span(store_u32(at, (uint32_t)s->properties.size), s->properties);
    }
    at = flags & HAS_COPIES ? store_u16(at, p->copies) : at;
    if (flags & HAS_MORE) {
        at = store_u16(store_u16(at, more_of(p)), s->version);
    }
    at = store_span(at, s->envelope.body);
    out->size = (size_t)(at - out->data);
    return 0;
}

static struct span reader_text(struct reader *r) {
    return reader_take(r, reader_u16(r));
}

/* The first of AMQP's properties, so that what is pushed says what it is. */
static struct span content_type_of(struct span properties) {
    const uint8_t *at = properties.data;
    bool has = properties.size > 3 && (at[0] & 0x80) != 0 && (size_t)at[2] + 3 <= properties.size;
    return has ? span_of(at + 3, at[2]) : span_of(NULL, 0);
}

static void decode_optional(struct reader *r, uint16_t flags, struct message_payload *p) {
    struct stored_message *s = &p->stored;
    s->schedule_ns = flags & HAS_SCHEDULE ? reader_u64(r) : 0;
    s->expires_ns = flags & HAS_EXPIRES ? reader_u64(r) : 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (flags & texts[i].flag) {
            *(struct span *)(void *)((char *)&s->envelope + texts[i].offset) = reader_text(r);
        }
    }
    if (flags & HAS_TIE) {
        p->tie.campaign = reader_u32(r);
        p->tie.stock = reader_u32(r);
    }
    p->purchase_is_id = (flags & HAS_PURCHASE_IS_ID) != 0;
    if (flags & HAS_PURCHASE) {
        p->tie.purchase = reader_text(r);
    }
    p->amqp = (flags & HAS_AMQP) != 0;
    p->by_deadline = (flags & HAS_DEADLINE) != 0;
    if (p->amqp) {
        s->exchange = reader_text(r);
        s->routing_key = reader_text(r);
        s->properties = reader_bytes(r);
        s->envelope.content_type = content_type_of(s->properties);
    }
    p->copies = flags & HAS_COPIES ? reader_u16(r) : 0;
    uint16_t more = flags & HAS_MORE ? reader_u16(r) : 0;
    s->version = more & MORE_VERSION ? reader_u16(r) : 0;
    r->failed |= (more & ~MORE_ALL) != 0;
}

int message_payload_decode(struct span payload, struct message_payload *ret) {
    struct reader r;
    reader_init(&r, payload);
    struct message_payload p = {.stored = {.payload = payload}};
    struct stored_message *s = &p.stored;
    s->id = reader_u64(&r);
    s->accepted_ns = reader_u64(&r);
    p.queue = reader_u32(&r);
    s->priority = reader_u8(&r);
    uint8_t name_bytes = reader_u8(&r);
    uint16_t flags = reader_u16(&r);
    uint32_t body_bytes = reader_u32(&r);
    s->queue = reader_take(&r, name_bytes);
    decode_optional(&r, flags, &p);
    s->envelope.body = reader_take(&r, body_bytes);
    if (!reader_done(&r) || s->id == 0 || payload.size - body_bytes > EXTRA_BYTES_MAX ||
        name_bytes < 1) {
        return E_CORRUPT;
    }
    *ret = p;
    return 0;
}

/* ---- header fields ---- */

#define PROPERTIES_TYPE     0x8000u
#define PROPERTIES_ENCODING 0x4000u
#define PROPERTIES_HEADERS  0x2000u

/* The table stands behind content type and encoding. */
struct span stored_message_table(const struct stored_message *m) {
    struct reader r;
    reader_init(&r, m->properties);
    unsigned flags = (unsigned)reader_u8(&r) << 8;
    flags |= reader_u8(&r);
    for (unsigned flag = PROPERTIES_TYPE; flag >= PROPERTIES_ENCODING; flag >>= 1) {
        if (flags & flag) {
            (void)reader_take(&r, reader_u8(&r));
        }
    }
    struct span none = span_of(NULL, 0);
    struct span table = flags & PROPERTIES_HEADERS ? amqp_table_get(&r) : none;
    return r.failed ? none : table;
}

static void split_line(struct span line, size_t colon, struct span *ret_name,
                       struct span *ret_value) {
    size_t at = colon + 1;
    while (at < line.size && line.data[at] == ' ') {
        at++;
    }
    *ret_name = span_of(line.data, colon);
    *ret_value = span_of(line.data + at, line.size - at);
}

bool header_line_next(struct span *lines, struct span *ret_name, struct span *ret_value) {
    while (lines->size > 0) {
        const uint8_t *end = memchr(lines->data, '\n', lines->size);
        struct span line = *lines;
        line.size = end != NULL ? (size_t)(end - line.data) : line.size;
        size_t used = line.size + (end != NULL);
        *lines = span_of(lines->data + used, lines->size - used);
        const uint8_t *colon = memchr(line.data, ':', line.size);
        if (colon != NULL) {
            split_line(line, (size_t)(colon - line.data), ret_name, ret_value);
            return true;
        }
    }
    return false;
}

bool header_name_is(struct span name, struct span wanted) {
    return name.size == wanted.size &&
           strncasecmp((const char *)name.data, (const char *)wanted.data, name.size) == 0;
}

struct span header_line_find(struct span lines, struct span wanted) {
    struct span name, value;
    while (header_line_next(&lines, &name, &value)) {
        if (header_name_is(name, wanted)) {
            return value;
        }
    }
    return span_of(NULL, 0);
}

struct span stored_message_header(const struct stored_message *m, struct span name) {
    struct span entries = stored_message_table(m), text;
    struct amqp_field f;
    while (amqp_table_next(&entries, &f)) {
        if (span_equal(f.name, name)) {
            return amqp_field_text(&f, &text) ? text : f.encoded;
        }
    }
    return header_line_find(m->envelope.headers, name);
}

/* Facts that carry a body have its payload at their end. */
static bool payload_of_fact(uint16_t kind, struct span *payload) {
    struct reader r;
    reader_init(&r, *payload);
    switch (kind) {
    case FACT_MESSAGE_PUT:
    case FACT_MESSAGE_MOVED:
    case FACT_MESSAGE_EDITED:
        return true;
    case FACT_MESSAGE_FANOUT:
    case FACT_MESSAGE_RELOCATED:
        (void)reader_bytes(&r);
        *payload = span_of(r.next, r.left);
        return !r.failed;
    default:
        return false;
    }
}

int stored_message_find(struct span facts, uint64_t id, struct stored_message *ret) {
    struct reader r;
    reader_init(&r, facts);
    while (r.left > 0) {
        uint16_t kind = reader_u16(&r);
        uint16_t version = reader_u16(&r);
        struct span payload = reader_bytes(&r);
        if (r.failed) {
            return E_CORRUPT;
        }
        struct message_payload p;
        if (version > fact_kind_version(kind) || !payload_of_fact(kind, &payload)) {
            continue;
        }
        if (message_payload_decode(payload, &p) != 0) {
            return E_CORRUPT;
        }
        if (id >= p.stored.id && id - p.stored.id < (p.copies > 1 ? p.copies : 1)) {
            *ret = p.stored;
            return 0;
        }
    }
    return E_NOT_FOUND;
}
