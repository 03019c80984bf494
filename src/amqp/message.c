#include "amqp/message.h"

#include <assert.h>

#include "base/amqp_table.h"
#include "base/clock.h"
#include "base/error.h"

#define EARLIER_DEATHS_MAX 64u
#define EXPIRATION_MAX_MS  UINT64_C(315360000000) /* ten years, as RabbitMQ */

/* ---- in ---- */

bool amqp_expiration_read(struct span text, uint64_t *ret_ms) {
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t ms = 0;
    if (negative || (text.size > 0 && text.data[0] == '+'))
        text = span_of(text.data + 1, text.size - 1);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < '0' || c > '9' || (ms = ms * 10 + (c - '0')) > EXPIRATION_MAX_MS)
            return false;
    }
    *ret_ms = ms;
    return text.size > 0 && (!negative || ms == 0);
}

static uint32_t take_keys(struct span headers, const char *name, struct span *keys,
                          uint32_t count) {
    struct amqp_field list, key;
    if (!amqp_table_find(headers, name, &list) || list.type != 'A')
        return count;
    while (count < AMQP_KEYS_MAX && amqp_array_next(&list.as.bytes, &key)) {
        if (amqp_field_text(&key, &keys[count]) && keys[count].size <= UINT8_MAX)
            count++;
    }
    return count;
}

static uint32_t keys_of(struct span headers, const char *name) {
    struct amqp_field list, key;
    uint32_t count = 0;
    if (headers.size == 0 || !amqp_table_find(headers, name, &list) || list.type != 'A')
        return 0;
    while (amqp_array_next(&list.as.bytes, &key))
        count++;
    return count;
}

bool amqp_message_keys_fit(struct span headers) {
    return keys_of(headers, "CC") + keys_of(headers, "BCC") <= AMQP_KEYS_MAX;
}

/* The properties again, with this table for headers. */
static int put_properties(const struct amqp_properties *from, struct span headers,
                          struct buffer *out) {
    struct amqp_properties p = *from;
    p.headers = headers;
    p.flags = headers.size > 0 ? p.flags | AMQP_HAS_HEADERS : p.flags & (uint16_t)~AMQP_HAS_HEADERS;
    return amqp_properties_write(out, &p);
}

/* Properties without the header of this name. */
static int strip(const struct amqp_publish *from, const char *name, struct buffer *out,
                 struct amqp_message *ret) {
    struct amqp_table_out t;
    struct amqp_field f;
    struct buffer table;
    buffer_init(&table, from->encoded.size + 16);
    amqp_table_begin(&t, &table);
    for (struct span rest = from->properties.headers; amqp_table_next(&rest, &f);) {
        if (!span_is(f.name, name))
            amqp_put_field(&t, &f);
    }
    int error = amqp_table_end(&t);
    buffer_clear(out);
    if (error == 0)
        error = put_properties(&from->properties, span_of(table.data + 4, table.size - 4), out);
    buffer_release(&table);
    if (error == 0)
        ret->properties = buffer_span(out);
    return error;
}

bool amqp_message_is_import(const struct amqp_publish *from) {
    struct amqp_field f;
    return from->exchange.size == 0 && from->routing_key.size > 0 &&
           amqp_table_find(from->properties.headers, AMQP_IMPORT_HEADER, &f) && f.type == 'F';
}

static void take_text(struct span table, const char *name, struct span *ret) {
    struct amqp_field f;
    if (amqp_table_find(table, name, &f))
        (void)amqp_field_text(&f, ret);
}

/* It goes to one queue as it was published elsewhere: nothing of it asks for routes or delays any more. */
static void take_import(const struct amqp_publish *from, struct amqp_message *ret) {
    struct amqp_field import, f;
    (void)amqp_table_find(from->properties.headers, AMQP_IMPORT_HEADER, &import);
    ret->to_queue = from->routing_key;
    ret->routing_key = span_of(NULL, 0);
    take_text(import.as.bytes, "exchange", &ret->exchange);
    take_text(import.as.bytes, "routing-key", &ret->routing_key);
    take_text(import.as.bytes, "id", &ret->import_id);
    ret->import_again =
        amqp_table_find(import.as.bytes, "again", &f) && f.type == 't' && f.as.boolean;
}

int amqp_message_in(const struct amqp_publish *from, struct buffer *out,
                    struct span keys[AMQP_KEYS_MAX], struct amqp_message *ret) {
    const struct amqp_properties *p = &from->properties;
    struct amqp_field f;
    int64_t delay_ms = 0;
    *ret = (struct amqp_message){.exchange = from->exchange,
                                 .routing_key = from->routing_key,
                                 .properties = from->encoded,
                                 .headers = p->headers,
                                 .body = from->body,
                                 .message_id = p->message_id,
                                 .priority = p->priority};
    if (p->flags & AMQP_HAS_EXPIRATION) {
        uint64_t ms = 0;
        ret->has_ttl = amqp_expiration_read(p->expiration, &ms);
        assert(ret->has_ttl); /* looked at when it came */
        ret->ttl_ns = ms * NS_PER_MS;
    }
    if (p->headers.size == 0)
        return 0;
    if (amqp_message_is_import(from)) {
        take_import(from, ret);
        return strip(from, AMQP_IMPORT_HEADER, out, ret);
    }
    if (amqp_table_find(p->headers, "x-delay", &f) && amqp_field_integer(&f, &delay_ms) &&
        delay_ms > 0 && (uint64_t)delay_ms <= UINT64_MAX / NS_PER_MS)
        ret->delay_ns = (uint64_t)delay_ms * NS_PER_MS;
    ret->keys = keys;
    ret->key_count = take_keys(p->headers, "CC", keys, 0);
    ret->key_count = take_keys(p->headers, "BCC", keys, ret->key_count);
    return amqp_table_find(p->headers, "BCC", &f) ? strip(from, "BCC", out, ret) : 0;
}

struct span amqp_message_returned(const struct amqp_publish *from, struct buffer *out) {
    struct amqp_message m = {.properties = from->encoded};
    struct amqp_field f;
    if (amqp_table_find(from->properties.headers, "BCC", &f) && strip(from, "BCC", out, &m) != 0)
        return from->encoded; /* no memory: it is the publisher's own */
    return m.properties;
}

/* ---- out ---- */

/* The keys that it was published with, CC included; BCC nobody sees. */
static void put_keys(struct amqp_table_out *t, struct span key, struct span headers) {
    struct amqp_field list, further;
    size_t keys = amqp_put_open(t, "routing-keys", 'A');
    amqp_put_text(t, NULL, key);
    if (amqp_table_find(headers, "CC", &list) && list.type == 'A') {
        while (amqp_array_next(&list.as.bytes, &further))
            amqp_put_value(t, &further);
    }
    amqp_put_close(t, keys);
}

/* Whether an entry of x-death is of this queue and reason, and its count. */
static bool is_death_of(const struct amqp_field *entry, const struct amqp_death *d,
                        int64_t *ret_count) {
    struct amqp_field f;
    struct span text;
    if (entry->type != 'F' || !amqp_table_find(entry->as.bytes, "queue", &f) ||
        !amqp_field_text(&f, &text) || !span_equal(text, d->queue))
        return false;
    if (!amqp_table_find(entry->as.bytes, "reason", &f) || !amqp_field_text(&f, &text) ||
        !span_is(text, amqp_reason_name(d->reason)))
        return false;
    if (!amqp_table_find(entry->as.bytes, "count", &f) || !amqp_field_integer(&f, ret_count) ||
        *ret_count < 0 || *ret_count > UINT32_MAX)
        *ret_count = 0;
    return true;
}

/* How often it died so before it was published, if the publisher handed its history on. */
static int64_t earlier_count(struct span headers, const struct amqp_death *d) {
    struct amqp_field list, one;
    int64_t count = 0;
    if (!amqp_table_find(headers, "x-death", &list) || list.type != 'A')
        return 0;
    for (uint32_t n = 0; n < EARLIER_DEATHS_MAX && amqp_array_next(&list.as.bytes, &one); n++) {
        if (is_death_of(&one, d, &count))
            return count;
    }
    return 0;
}

static void put_one_death(struct amqp_table_out *t, const struct amqp_death *d,
                          const struct stored_message *stored, const struct amqp_properties *p) {
    size_t entry = amqp_put_open(t, NULL, 'F');
    amqp_put_i64(t, "count", (int64_t)d->count + earlier_count(p->headers, d));
    amqp_put_text(t, "exchange", d->first ? stored->exchange : d->exchange);
    amqp_put_text(t, "queue", d->queue);
    amqp_put_text(t, "reason", span_text(amqp_reason_name(d->reason)));
    struct span key = stored->properties.size == 0 ? stored->queue : stored->routing_key;
    put_keys(t, d->first ? key : d->routing_key, d->first ? p->headers : span_of(NULL, 0));
    amqp_put_time(t, "time", d->time_ns / NS_PER_SECOND);
    if (d->first && (p->flags & AMQP_HAS_EXPIRATION))
        amqp_put_text(t, "original-expiration", p->expiration);
    amqp_put_close(t, entry);
}

static void put_summary(struct amqp_table_out *t, bool first, const struct amqp_death *d,
                        struct span exchange) {
    amqp_put_text(t, first ? "x-first-death-exchange" : "x-last-death-exchange", exchange);
    amqp_put_text(t, first ? "x-first-death-queue" : "x-last-death-queue", d->queue);
    amqp_put_text(t, first ? "x-first-death-reason" : "x-last-death-reason",
                  span_text(amqp_reason_name(d->reason)));
}

/* What it died of before it was published here; the same queue and reason here stands above already. */
static void put_earlier_deaths(struct amqp_table_out *t, struct span headers, struct span deaths) {
    struct amqp_field list, one;
    if (!amqp_table_find(headers, "x-death", &list) || list.type != 'A')
        return;
    for (uint32_t n = 0; n < EARLIER_DEATHS_MAX && amqp_array_next(&list.as.bytes, &one);) {
        struct amqp_death d;
        int64_t count;
        bool here = one.type != 'F';
        for (struct span rest = deaths; !here && amqp_origin_next(&rest, &d);)
            here = is_death_of(&one, &d, &count);
        if (!here) {
            amqp_put_value(t, &one);
            n++;
        }
    }
}

static void put_deaths(struct amqp_table_out *t, const struct stored_message *stored,
                       const struct amqp_properties *p, struct span deaths) {
    struct amqp_death d;
    bool latest = true;
    size_t list = amqp_put_open(t, "x-death", 'A');
    for (struct span rest = deaths; amqp_origin_next(&rest, &d);)
        put_one_death(t, &d, stored, p);
    put_earlier_deaths(t, p->headers, deaths);
    amqp_put_close(t, list);
    for (struct span rest = deaths; amqp_origin_next(&rest, &d); latest = false) {
        struct span exchange = d.first ? stored->exchange : d.exchange;
        if (latest)
            put_summary(t, false, &d, exchange);
        if (d.first)
            put_summary(t, true, &d, exchange);
    }
}

/* What this adds goes in the place of what a publisher may have copied there. */
static bool replaced(struct span name, bool deaths) {
    static const char *const names[] = {"x-death",
                                        "x-first-death-exchange",
                                        "x-first-death-queue",
                                        "x-first-death-reason",
                                        "x-last-death-exchange",
                                        "x-last-death-queue",
                                        "x-last-death-reason"};
    for (size_t i = 0; deaths && i < ARRAY_LENGTH(names); i++) {
        if (span_is(name, names[i]))
            return true;
    }
    return span_is(name, "x-delivery-count");
}

static int put_headers(struct buffer *table, const struct amqp_properties *p,
                       const struct stored_message *stored, const struct amqp_origin *origin,
                       uint32_t delivery_count) {
    struct amqp_table_out t;
    struct amqp_field f;
    bool dead = origin->death_count > 0;
    /* A dead-letter routing key takes the place of all keys that it had. */
    bool new_key = dead && !span_equal(origin->routing_key, stored->routing_key);
    amqp_table_begin(&t, table);
    for (struct span rest = p->headers; amqp_table_next(&rest, &f);) {
        if (!replaced(f.name, dead) && !(new_key && span_is(f.name, "CC")))
            amqp_put_field(&t, &f);
    }
    if (delivery_count > 0)
        amqp_put_i64(&t, "x-delivery-count", delivery_count);
    if (origin->death_count > 0)
        put_deaths(&t, stored, p, origin->deaths);
    return amqp_table_end(&t);
}

/* Of one that did not come by AMQP: what its envelope says. */
static struct amqp_properties of_envelope(const struct envelope *e) {
    struct amqp_properties p = {.flags = AMQP_HAS_DELIVERY_MODE, .delivery_mode = 2};
    if (e->content_type.size > 0 && e->content_type.size <= UINT8_MAX) {
        p.flags |= AMQP_HAS_CONTENT_TYPE;
        p.content_type = e->content_type;
    }
    if (e->correlation_id.size > 0 && e->correlation_id.size <= UINT8_MAX) {
        p.flags |= AMQP_HAS_CORRELATION_ID;
        p.correlation_id = e->correlation_id;
    }
    return p;
}

static int change_properties(const struct stored_message *stored, const struct amqp_origin *origin,
                             uint32_t delivery_count, struct buffer *out) {
    struct amqp_properties p = of_envelope(&stored->envelope);
    if (stored->properties.size > 0 && amqp_properties_read(stored->properties, &p) != 0)
        return E_CORRUPT;
    struct buffer table;
    buffer_init(&table, out->max);
    int error = put_headers(&table, &p, stored, origin, delivery_count);
    if (origin->death_count > 0)
        p.flags &= (uint16_t)~AMQP_HAS_EXPIRATION;
    if (error == 0)
        error = put_properties(&p, span_of(table.data + 4, table.size - 4), out);
    buffer_release(&table);
    return error;
}

int amqp_message_out(const struct stored_message *stored, const struct delivery *d,
                     struct buffer *out, struct amqp_delivery *ret) {
    struct amqp_origin origin = {0};
    if (d->origin_size > 0) {
        int error = amqp_origin_read(span_of(d->origin, d->origin_size), &origin);
        if (error != 0)
            return error;
    }
    bool dead = origin.death_count > 0, http = stored->properties.size == 0;
    *ret = (struct amqp_delivery){.message = d->message,
                                  .redelivered = d->redelivered,
                                  .exchange = dead ? origin.exchange : stored->exchange,
                                  .routing_key = dead   ? origin.routing_key
                                                 : http ? stored->queue
                                                        : stored->routing_key,
                                  .encoded = stored->properties,
                                  .body = stored->envelope.body};
    if (!dead && !http && d->delivery_count == 0)
        return 0;
    buffer_clear(out);
    int error = change_properties(stored, &origin, d->delivery_count, out);
    if (error == 0)
        ret->encoded = buffer_span(out);
    return error;
}
