/*
 * A message's properties as JSON: names of AMQP, only those that are there.
 */
#include "amqp/codec.h"
#include "amqp/message.h"
#include "base/error.h"
#include "manage/calls.h"

static const struct {
    const char *name;
    uint16_t flag;
    size_t offset;
} texts[] = {
    {"content_type", AMQP_HAS_CONTENT_TYPE, offsetof(struct amqp_properties, content_type)},
    {"content_encoding", AMQP_HAS_CONTENT_ENCODING,
     offsetof(struct amqp_properties, content_encoding)},
    {"correlation_id", AMQP_HAS_CORRELATION_ID, offsetof(struct amqp_properties, correlation_id)},
    {"reply_to", AMQP_HAS_REPLY_TO, offsetof(struct amqp_properties, reply_to)},
    {"expiration", AMQP_HAS_EXPIRATION, offsetof(struct amqp_properties, expiration)},
    {"message_id", AMQP_HAS_MESSAGE_ID, offsetof(struct amqp_properties, message_id)},
    {"type", AMQP_HAS_TYPE, offsetof(struct amqp_properties, type)},
    {"user_id", AMQP_HAS_USER_ID, offsetof(struct amqp_properties, user_id)},
    {"app_id", AMQP_HAS_APP_ID, offsetof(struct amqp_properties, app_id)},
    {"cluster_id", AMQP_HAS_CLUSTER_ID, offsetof(struct amqp_properties, cluster_id)},
};

static struct span *text_at(struct amqp_properties *p, size_t i) {
    return (struct span *)(void *)((char *)p + texts[i].offset);
}

/* False: more than a property can hold. */
static bool read_texts(const json_t *object, struct amqp_properties *p) {
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        const json_t *value = json_object_get(object, texts[i].name);
        if (value == NULL)
            continue;
        struct span text = member_text(object, texts[i].name);
        if (!json_is_string(value) || text.size > UINT8_MAX)
            return false;
        *text_at(p, i) = text;
        p->flags |= texts[i].flag;
    }
    return true;
}

static bool read_octet(const json_t *object, const char *name, uint16_t flag,
                       struct amqp_properties *p, uint8_t *into) {
    if (json_object_get(object, name) == NULL)
        return true;
    int64_t value = member_integer(object, name);
    if (value < 0 || value > UINT8_MAX)
        return false;
    *into = (uint8_t)value;
    p->flags |= flag;
    return true;
}

static bool expiration_valid(const struct amqp_properties *p) {
    uint64_t ms;
    return (p->flags & AMQP_HAS_EXPIRATION) == 0 || amqp_expiration_read(p->expiration, &ms);
}

int properties_from_json(const json_t *object, struct buffer *out) {
    struct amqp_properties p = {.flags = 0};
    struct buffer table;
    buffer_clear(out);
    buffer_init(&table, out->max);
    const json_t *headers = json_object_get(object, "headers");
    bool good = read_texts(object, &p) && expiration_valid(&p) &&
                read_octet(object, "delivery_mode", AMQP_HAS_DELIVERY_MODE, &p, &p.delivery_mode) &&
                read_octet(object, "priority", AMQP_HAS_PRIORITY, &p, &p.priority);
    int error = good ? table_from_json(headers, &table, &p.headers) : E_INVALID;
    if (p.headers.size > 0)
        p.flags |= AMQP_HAS_HEADERS;
    if (json_object_get(object, "timestamp") != NULL) {
        p.flags |= AMQP_HAS_TIMESTAMP;
        p.timestamp = (uint64_t)member_integer(object, "timestamp");
    }
    if (error == 0)
        error = amqp_properties_write(out, &p);
    buffer_release(&table);
    return error;
}

json_t *properties_to_json(struct span encoded) {
    struct amqp_properties p;
    json_t *o = json_object();
    if (encoded.size == 0 || amqp_properties_read(encoded, &p) != 0)
        return o;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if ((p.flags & texts[i].flag) != 0)
            json_object_set_new(o, texts[i].name, text_to_json(*text_at(&p, i)));
    }
    if ((p.flags & AMQP_HAS_DELIVERY_MODE) != 0)
        json_object_set_new(o, "delivery_mode", json_integer(p.delivery_mode));
    if ((p.flags & AMQP_HAS_PRIORITY) != 0)
        json_object_set_new(o, "priority", json_integer(p.priority));
    if ((p.flags & AMQP_HAS_TIMESTAMP) != 0)
        json_object_set_new(o, "timestamp", json_integer((json_int_t)p.timestamp));
    if ((p.flags & AMQP_HAS_HEADERS) != 0)
        json_object_set_new(o, "headers", table_to_json(p.headers));
    return o;
}
