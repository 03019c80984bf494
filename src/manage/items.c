/*
 * What the engine lists, as RabbitMQ's tools know it.
 */
#include <assert.h>
#include <sodium.h>
#include <stdio.h>

#include "api/definitions.h"
#include "base/clock.h"
#include "base/password.h"
#include "manage/calls.h"

static struct span take_key(struct reader *r) {
    return reader_take(r, reader_u8(r));
}

void items_begin(struct manage_items *i, const struct manage *m, enum manage_list list) {
    i->list = list;
    reader_init(&i->rest, buffer_span(&m->lists[list]));
}

static void read_exchange(struct reader *r, struct manage_item *ret) {
    ret->vhost = take_key(r);
    ret->name = take_key(r);
    struct span info = reader_bytes(r);
    ret->u.exchange.arguments = reader_bytes(r);
    assert(r->failed || info.size == sizeof ret->u.exchange.info);
    if (!r->failed)
        memcpy(&ret->u.exchange.info, info.data, info.size);
}

static void read_binding(struct reader *r, struct manage_item *ret) {
    struct binding *b = &ret->u.binding;
    ret->vhost = take_key(r);
    b->source = take_key(r);
    b->destination = take_key(r);
    b->to_exchange = reader_u8(r) != 0;
    b->routing_key = take_key(r);
    b->arguments = reader_bytes(r);
    ret->name = b->source;
}

/* Vhost and name out of the name that the model has for a queue. */
static void split_queue(struct span name, struct manage_item *ret) {
    ret->name = amqp_queue_split(name, ret->vhost_room);
    ret->vhost = span_text(ret->vhost_room);
}

static void read_consumer(struct reader *r, struct manage_item *ret) {
    ret->u.consumer.session = reader_u64(r);
    ret->u.consumer.number = reader_u32(r);
    ret->u.consumer.channel = reader_u16(r);
    ret->u.consumer.prefetch = reader_u16(r);
    ret->u.consumer.flags = reader_u8(r);
    ret->u.consumer.priority = reader_u32(r);
    ret->u.consumer.unsettled = reader_u64(r);
    ret->u.consumer.tag = take_key(r);
    split_queue(reader_bytes(r), ret);
}

static void read_policy(struct reader *r, struct manage_item *ret) {
    struct policy_def *p = &ret->u.policy;
    ret->vhost = take_key(r);
    p->name = ret->name = take_key(r);
    p->pattern = reader_bytes(r);
    p->apply_to = take_key(r);
    p->priority = (int32_t)reader_u32(r);
    p->definition = reader_bytes(r);
    p->number = reader_u32(r);
    p->operator_policy = reader_u8(r) != 0;
}

static void read_user(struct reader *r, struct manage_item *ret) {
    ret->u.user.name = ret->name = take_key(r);
    ret->u.user.hash = reader_bytes(r);
    ret->u.user.tags = reader_bytes(r);
}

static void read_permission(struct reader *r, struct manage_item *ret) {
    struct permission_def *p = &ret->u.permission;
    p->user = ret->name = take_key(r);
    p->vhost = ret->vhost = take_key(r);
    p->configure = reader_bytes(r);
    p->write = reader_bytes(r);
    p->read = reader_bytes(r);
}

/* Names stand in the definition; the item keeps copies. */
static bool read_queue(struct span encoded, struct span info, struct manage_item *ret) {
    struct definition d;
    if (info.size != sizeof ret->u.queue.info ||
        definition_decode(DEFINITION_QUEUE, encoded, &d) != 0)
        return false;
    split_queue(span_text(d.u.queue.name), ret);
    memcpy(ret->name_room, ret->name.data, ret->name.size);
    ret->name = span_of(ret->name_room, ret->name.size);
    definition_release(&d);
    ret->u.queue.encoded = encoded;
    memcpy(&ret->u.queue.info, info.data, info.size);
    return true;
}

bool items_next(struct manage_items *i, struct manage_item *ret) {
    struct reader r;
    if (i->rest.left == 0 || i->rest.failed)
        return false;
    struct span bytes = reader_bytes(&i->rest);
    *ret = (struct manage_item){.vhost = span_text("")};
    if (i->list == LIST_QUEUE) {
        struct span info = reader_bytes(&i->rest);
        return !i->rest.failed && read_queue(bytes, info, ret);
    }
    static void (*const readers[])(struct reader *, struct manage_item *) = {
        [LIST_EXCHANGE] = read_exchange, [LIST_BINDING] = read_binding,
        [LIST_CONSUMER] = read_consumer, [LIST_POLICY] = read_policy,
        [LIST_USER] = read_user,         [LIST_PERMISSION] = read_permission,
    };
    reader_init(&r, bytes);
    if (i->list == LIST_VHOST)
        ret->vhost = ret->name = take_key(&r);
    else
        readers[i->list](&r, ret);
    return !i->rest.failed && !r.failed;
}

/* ---- JSON ---- */

static void set_text(json_t *object, const char *name, struct span text) {
    json_object_set_new(object, name, text_to_json(text));
}

static void set_integer(json_t *object, const char *name, uint64_t value) {
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_bool(json_t *object, const char *name, bool value) {
    json_object_set_new(object, name, json_boolean(value));
}

/* ---- policies ---- */

static bool find_policy(const struct manage *m, uint32_t number, struct manage_item *ret) {
    struct manage_items i;
    for (items_begin(&i, m, LIST_POLICY); number != 0 && items_next(&i, ret);) {
        if (ret->u.policy.number == number)
            return true;
    }
    return false;
}

/* Of a number the smaller one holds, of all else what the policy says. */
static void merge_operator(json_t *o, json_t *of_operator) {
    const char *key;
    json_t *value;
    json_object_foreach(of_operator, key, value) {
        const json_t *own = json_object_get(o, key);
        if (own == NULL || (json_is_integer(own) && json_is_integer(value) &&
                            json_integer_value(value) < json_integer_value(own)))
            json_object_set(o, key, value);
    }
    json_decref(of_operator);
}

/* Needs LIST_POLICY. */
static void set_policies(json_t *o, const struct manage *m, uint32_t policy,
                         uint32_t operator_policy) {
    struct manage_item item;
    json_t *effective = json_object();
    bool found = find_policy(m, policy, &item);
    json_object_set_new(o, "policy", found ? text_to_json(item.name) : json_null());
    if (found)
        json_object_update_new(effective, table_to_json(item.u.policy.definition));
    found = find_policy(m, operator_policy, &item);
    json_object_set_new(o, "operator_policy", found ? text_to_json(item.name) : json_null());
    if (found)
        merge_operator(effective, table_to_json(item.u.policy.definition));
    json_object_set_new(o, "effective_policy_definition", effective);
}

static json_t *exchange_json(const struct manage *m, const struct manage_item *item,
                             bool definition) {
    const struct exchange_info *info = &item->u.exchange.info;
    json_t *o = json_object();
    set_text(o, "name", item->name);
    set_text(o, "vhost", item->vhost);
    set_text(o, "type", span_text(exchange_type_name(info->type, info->delayed)));
    set_bool(o, "durable", info->durable);
    set_bool(o, "auto_delete", info->auto_delete);
    set_bool(o, "internal", info->internal);
    json_object_set_new(o, "arguments", table_to_json(item->u.exchange.arguments));
    if (!definition) {
        set_integer(o, "bindings_from", info->bindings);
        set_policies(o, m, info->policy, 0);
    }
    return o;
}

void binding_properties_key(const struct binding *b, char out[PROPERTIES_KEY_BYTES]) {
    size_t at = 0;
    for (size_t i = 0; i < b->routing_key.size; i++) {
        uint8_t c = b->routing_key.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '_' || c == '-';
        if (plain)
            out[at++] = (char)c;
        else if (c == ' ')
            out[at++] = '+';
        else
            at += (size_t)snprintf(out + at, 4, "%%%02X", c);
    }
    out[at] = '\0';
    if (b->arguments.size > 0) {
        uint8_t hash[16];
        crypto_generichash(hash, sizeof hash, b->arguments.data, b->arguments.size, NULL, 0);
        snprintf(out + at, 10, "~%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
    } else if (at == 0) {
        strcpy(out, "~");
    }
}

static json_t *binding_json(const struct manage_item *item, bool definition) {
    const struct binding *b = &item->u.binding;
    json_t *o = json_object();
    set_text(o, "source", b->source);
    set_text(o, "vhost", item->vhost);
    set_text(o, "destination", b->destination);
    set_text(o, "destination_type", span_text(b->to_exchange ? "exchange" : "queue"));
    set_text(o, "routing_key", b->routing_key);
    json_object_set_new(o, "arguments", table_to_json(b->arguments));
    if (!definition) {
        char key[PROPERTIES_KEY_BYTES];
        binding_properties_key(b, key);
        set_text(o, "properties_key", span_text(key));
    }
    return o;
}

json_t *default_binding_json(struct span vhost, struct span queue) {
    struct manage_item item = {
        .vhost = vhost,
        .u.binding = {.source = span_text(""), .destination = queue, .routing_key = queue}};
    return binding_json(&item, false);
}

/* One of the API itself, or that the caller may not see, has a number only. */
static void session_name(const struct manage *m, uint64_t session, char out[160]) {
    const char *name = manage_session_name(m, session);
    if (name != NULL)
        snprintf(out, 160, "%s", name);
    else
        snprintf(out, 160, "session-%llx", (unsigned long long)session);
}

static json_t *consumer_json(const struct manage *m, const struct manage_item *item) {
    json_t *o = json_object(), *queue = json_object(), *channel = json_object();
    char name[160], channel_name[176];
    session_name(m, item->u.consumer.session, name);
    snprintf(channel_name, sizeof channel_name, "%s (%u)", name, item->u.consumer.channel);
    set_text(o, "consumer_tag", item->u.consumer.tag);
    set_bool(o, "exclusive", (item->u.consumer.flags & 1) != 0);
    set_bool(o, "ack_required", (item->u.consumer.flags & 2) == 0);
    set_bool(o, "active", (item->u.consumer.flags & 4) != 0);
    set_text(o, "activity_status", span_text((item->u.consumer.flags & 4) != 0 ? "up" : "waiting"));
    set_integer(o, "prefetch_count", item->u.consumer.prefetch);
    set_integer(o, "messages_unacknowledged", item->u.consumer.unsettled);
    json_object_set_new(
        o, "arguments",
        json_pack("{s:I}", "x-priority", (json_int_t)(int32_t)item->u.consumer.priority));
    set_text(queue, "name", item->name);
    set_text(queue, "vhost", item->vhost);
    json_object_set_new(o, "queue", queue);
    set_text(channel, "name", span_text(channel_name));
    set_integer(channel, "number", item->u.consumer.channel);
    set_text(channel, "connection_name", span_text(name));
    set_text(channel, "node", span_text(MANAGE_NODE));
    json_object_set_new(o, "channel_details", channel);
    return o;
}

static json_t *policy_json(const struct manage_item *item) {
    const struct policy_def *p = &item->u.policy;
    json_t *o = json_object();
    set_text(o, "vhost", item->vhost);
    set_text(o, "name", p->name);
    set_text(o, "pattern", p->pattern);
    set_text(o, "apply-to", p->apply_to);
    json_object_set_new(o, "priority", json_integer(p->priority));
    json_object_set_new(o, "definition", table_to_json(p->definition));
    return o;
}

json_t *operator_policy_parameter(const struct manage_item *item) {
    json_t *value = policy_json(item), *o = json_object();
    json_object_del(value, "vhost");
    json_object_del(value, "name");
    json_object_set_new(o, "value", value);
    set_text(o, "vhost", item->vhost);
    set_text(o, "component", span_text("operator_policy"));
    set_text(o, "name", item->name);
    return o;
}

static json_t *tags_json(struct span tags) {
    json_t *list = json_array();
    while (tags.size > 0) {
        const uint8_t *comma = memchr(tags.data, ',', tags.size);
        size_t size = comma != NULL ? (size_t)(comma - tags.data) : tags.size;
        if (size > 0)
            json_array_append_new(list, text_to_json(span_of(tags.data, size)));
        size += comma != NULL;
        tags = span_of(tags.data + size, tags.size - size);
    }
    return list;
}

static json_t *user_json(const struct manage_item *item) {
    struct span hash;
    const char *algorithm = password_export(item->u.user.hash, &hash);
    json_t *o = json_object();
    set_text(o, "name", item->name);
    set_text(o, "password_hash", hash);
    set_text(o, "hashing_algorithm", span_text(algorithm));
    json_object_set_new(o, "tags", tags_json(item->u.user.tags));
    json_object_set_new(o, "limits", json_object());
    return o;
}

static json_t *permission_json(const struct manage_item *item) {
    const struct permission_def *p = &item->u.permission;
    json_t *o = json_object();
    set_text(o, "user", p->user);
    set_text(o, "vhost", p->vhost);
    set_text(o, "configure", p->configure);
    set_text(o, "write", p->write);
    set_text(o, "read", p->read);
    return o;
}

/* ---- queues ---- */

static bool is_quorum(struct span arguments) {
    struct amqp_field f;
    struct span text;
    return amqp_table_find(arguments, "x-queue-type", &f) && amqp_field_text(&f, &text) &&
           span_is(text, "quorum");
}

static void queue_counts(json_t *o, const struct queue_info *info) {
    uint64_t ready = info->ready + info->blocked;
    set_integer(o, "messages", ready + info->in_flight);
    set_integer(o, "messages_ready", ready);
    set_integer(o, "messages_unacknowledged", info->in_flight);
    set_integer(o, "messages_persistent", ready + info->in_flight);
    set_integer(o, "messages_delayed", info->delayed);
    set_integer(o, "messages_dead", info->dead);
    set_integer(o, "message_bytes", info->bytes);
    set_integer(o, "consumers", info->consumers);
    json_t *stats = json_object();
    set_integer(stats, "publish", info->published);
    set_integer(stats, "deliver_get", info->attempts);
    set_integer(stats, "ack", info->completed);
    json_object_set_new(o, "message_stats", stats);
    json_object_set_new(o, "head_message_timestamp",
                        info->oldest_ns != 0
                            ? json_integer((json_int_t)(info->oldest_ns / NS_PER_SECOND))
                            : json_null());
}

static json_t *queue_json(const struct manage *m, const struct manage_item *item, bool definition) {
    struct definition d;
    if (definition_decode(DEFINITION_QUEUE, item->u.queue.encoded, &d) != 0)
        return NULL;
    const struct queue_def *q = &d.u.queue;
    json_t *o = NULL;
    if (!definition || (!q->exclusive && q->durable)) {
        struct span arguments = span_of(q->arguments.data, q->arguments.size);
        o = json_object();
        set_text(o, "name", item->name);
        set_text(o, "vhost", item->vhost);
        set_bool(o, "durable", q->durable);
        set_bool(o, "auto_delete", q->auto_delete);
        json_object_set_new(o, "arguments", table_to_json(arguments));
        if (!definition) {
            set_bool(o, "exclusive", q->exclusive);
            set_text(o, "type", span_text(is_quorum(arguments) ? "quorum" : "classic"));
            set_text(o, "node", span_text(MANAGE_NODE));
            set_text(o, "state", span_text(q->paused ? "paused" : "running"));
            set_policies(o, m, item->u.queue.info.policy, item->u.queue.info.operator_policy);
            queue_counts(o, &item->u.queue.info);
        }
    }
    definition_release(&d);
    return o;
}

/* ---- all kinds ---- */

/* Of the queues that were asked for with it. */
static void vhost_counts(const struct call *c, const struct manage_item *item, json_t *o) {
    uint64_t ready = 0, unacked = 0;
    struct manage_items i;
    struct manage_item queue;
    for (items_begin(&i, c->own, LIST_QUEUE); items_next(&i, &queue);) {
        if (!span_equal(queue.vhost, item->name))
            continue;
        ready += queue.u.queue.info.ready + queue.u.queue.info.blocked;
        unacked += queue.u.queue.info.in_flight;
    }
    set_integer(o, "messages", ready + unacked);
    set_integer(o, "messages_ready", ready);
    set_integer(o, "messages_unacknowledged", unacked);
}

static json_t *vhost_json(const struct call *c, const struct manage_item *item) {
    json_t *o = json_object(), *cluster = json_object();
    set_text(o, "name", item->name);
    set_text(o, "description", span_text(span_is(item->name, "/") ? "Default virtual host" : ""));
    json_object_set_new(o, "tags", json_array());
    set_bool(o, "tracing", false);
    set_text(cluster, MANAGE_NODE, span_text("running"));
    json_object_set_new(o, "cluster_state", cluster);
    vhost_counts(c, item, o);
    return o;
}

json_t *item_to_json(const struct call *c, enum manage_list list, const struct manage_item *item) {
    switch (list) {
    case LIST_VHOST:
        return vhost_json(c, item);
    case LIST_EXCHANGE:
        return exchange_json(c->own, item, false);
    case LIST_QUEUE:
        return queue_json(c->own, item, false);
    case LIST_BINDING:
        return binding_json(item, false);
    case LIST_CONSUMER:
        return consumer_json(c->own, item);
    case LIST_POLICY:
        return policy_json(item);
    case LIST_USER:
        return user_json(item);
    default:
        return permission_json(item);
    }
}

json_t *item_to_definition(enum manage_list list, const struct manage_item *item) {
    switch (list) {
    case LIST_VHOST:
        return json_pack("{s:o}", "name", text_to_json(item->name));
    case LIST_EXCHANGE:
        return item->u.exchange.info.builtin || !item->u.exchange.info.durable
                   ? NULL
                   : exchange_json(NULL, item, true);
    case LIST_QUEUE:
        return queue_json(NULL, item, true);
    case LIST_BINDING:
        return binding_json(item, true);
    case LIST_POLICY:
        return item->u.policy.operator_policy ? NULL : policy_json(item);
    case LIST_USER:
        return user_json(item);
    case LIST_PERMISSION:
        return permission_json(item);
    default:
        return NULL;
    }
}
