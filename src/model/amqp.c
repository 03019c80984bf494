/*
 * Names of queues across vhosts, and where a dead-lettered message has been.
 *
 * Origin of a message (its bytes stand in facts, in memory and in snapshots alike):
 *   offset  size  what
 *        0     8  stored id: by which the body is found in its record; 0: the message's own
 *        8     2  number of deaths; with 0x8000: what routes it follows them; 0x4000, in facts only: without its headers
 *       10   1+.  exchange that it was last published to   (u8 length, bytes)
 *        .   1+.  routing key of that
 *        .     .  deaths, the latest first:
 *                    reason (1; with 128: the first death), time (8), count (8), queue, exchange, routing key
 *                    (each u8 length, bytes)
 *   with 0x8000:
 *        .     2  number of its further keys, those of CC and BCC, then those (u8 length, bytes)
 *        .     .  to the end: its headers, entries of a table
 */
#include "model/amqp.h"

#include <assert.h>
#include <stdlib.h>

#include "base/amqp_table.h"
#include "model/put.h"
#include "model/request.h"

/* ---- names ---- */

static char *escape(char *at, struct span text) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '/' || c == '%') {
            *at++ = '%';
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        } else {
            *at++ = (char)c;
        }
    }
    return at;
}

static bool has_byte(struct span text, int c) {
    return text.size > 0 && memchr(text.data, c, text.size) != NULL;
}

struct span amqp_queue_name(struct span vhost, struct span queue,
                            char buffer[QUEUE_NAME_MAX_BYTES + 1]) {
    if (vhost.size == 0 || vhost.size > VHOST_MAX_BYTES || queue.size == 0 || queue.size > 255 ||
        has_byte(vhost, '\0') || has_byte(queue, '\0')) {
        return span_of(NULL, 0);
    }
    if (vhost.size == 1 && vhost.data[0] == '/' && !has_byte(queue, '/')) {
        return queue;
    }
    char *at = escape(buffer, vhost);
    *at++ = '/';
    memcpy(at, queue.data, queue.size);
    at += queue.size;
    *at = '\0';
    return span_of(buffer, (size_t)(at - buffer));
}

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 0;
}

struct span amqp_queue_split(struct span name, char ret_vhost[VHOST_MAX_BYTES + 1]) {
    const uint8_t *slash = name.size == 0 ? NULL : memchr(name.data, '/', name.size);
    if (slash == NULL) {
        memcpy(ret_vhost, "/", 2);
        return name;
    }
    size_t used = 0;
    for (const uint8_t *at = name.data; at < slash && used < VHOST_MAX_BYTES; at++) {
        uint8_t c = *at;
        if (c == '%' && slash - at > 2) {
            c = (uint8_t)(hex_digit(at[1]) << 4 | hex_digit(at[2]));
            at += 2;
        }
        ret_vhost[used++] = (char)c;
    }
    ret_vhost[used] = '\0';
    size_t skipped = (size_t)(slash + 1 - name.data);
    return span_of(slash + 1, name.size - skipped);
}

/* ---- origins ---- */

bool amqp_origin_next(struct span *deaths, struct amqp_death *ret) {
    struct reader in;
    reader_init(&in, *deaths);
    uint8_t reason = reader_u8(&in);
    struct amqp_death d = {.reason = reason & 0x7f, .first = reason >= 0x80};
    d.time_ns = reader_u64(&in);
    d.count = reader_u64(&in);
    d.queue = reader_key(&in);
    d.exchange = reader_key(&in);
    d.routing_key = reader_key(&in);
    if (in.failed) {
        return false;
    }
    *deaths = span_of(in.next, in.left);
    *ret = d;
    return true;
}

bool amqp_origin_next_key(struct span *keys, struct span *ret) {
    struct reader in;
    reader_init(&in, *keys);
    struct span key = reader_key(&in);
    if (in.failed) {
        return false;
    }
    *keys = span_of(in.next, in.left);
    *ret = key;
    return true;
}

static int read_deaths(struct span *rest, struct amqp_origin *o) {
    const uint8_t *begin = rest->data;
    struct amqp_death death;
    for (uint32_t i = 0; i < o->death_count; i++) {
        if (!amqp_origin_next(rest, &death)) {
            return E_CORRUPT;
        }
    }
    o->deaths = span_of(begin, (size_t)(rest->data - begin));
    return 0;
}

static int read_routing(struct span rest, struct amqp_origin *o) {
    struct reader in;
    reader_init(&in, rest);
    uint16_t count = reader_u16(&in);
    rest = span_of(in.next, in.left);
    const uint8_t *begin = rest.data;
    struct span key;
    for (uint32_t i = 0; i < count; i++) {
        if (in.failed || !amqp_origin_next_key(&rest, &key)) {
            return E_CORRUPT;
        }
    }
    o->keys = span_of(begin, (size_t)(rest.data - begin));
    o->headers = rest;
    return in.failed || !amqp_table_valid(rest) ? E_CORRUPT : 0;
}

int amqp_origin_read(struct span bytes, struct amqp_origin *ret) {
    struct reader in;
    reader_init(&in, bytes);
    struct amqp_origin o = {.stored_id = reader_u64(&in)};
    uint16_t deaths = reader_u16(&in);
    o.death_count = deaths & ORIGIN_DEATHS;
    o.exchange = reader_key(&in);
    o.routing_key = reader_key(&in);
    struct span rest = span_of(in.next, in.left);
    int rc = in.failed ? E_CORRUPT : read_deaths(&rest, &o);
    if (rc == 0 && (deaths & ORIGIN_ROUTED)) {
        rc = read_routing(rest, &o);
    } else if (rc == 0 && rest.size > 0) {
        rc = E_CORRUPT;
    }
    if (rc == 0) {
        *ret = o;
    }
    return rc;
}

uint8_t *amqp_origin_complete(struct span origin, struct span headers, uint32_t *ret_size) {
    bool borrows =
        origin.size > ORIGIN_FLAGS_AT && (origin.data[ORIGIN_FLAGS_AT] & (ORIGIN_BORROWS >> 8));
    size_t more = borrows ? headers.size : 0;
    uint8_t *copy = origin.size <= ORIGIN_FLAGS_AT ? NULL : malloc(origin.size + more);
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, origin.data, origin.size);
    if (more > 0) {
        memcpy(copy + origin.size, headers.data, more);
    }
    copy[ORIGIN_FLAGS_AT] &= (uint8_t) ~(ORIGIN_BORROWS >> 8);
    *ret_size = (uint32_t)(origin.size + more);
    return copy;
}

int amqp_origin_told(struct span origin, uint8_t **ret, uint32_t *ret_size) {
    struct amqp_origin o = {.death_count = 0};
    *ret = NULL;
    *ret_size = 0;
    if (origin.size == 0 || amqp_origin_read(origin, &o) != 0 || o.death_count == 0) {
        return 0;
    }
    size_t size = (size_t)(o.deaths.data + o.deaths.size - origin.data);
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return E_NOMEM;
    }
    memcpy(copy, origin.data, size);
    copy[ORIGIN_FLAGS_AT] &= (uint8_t) ~(ORIGIN_ROUTED >> 8);
    *ret = copy;
    *ret_size = (uint32_t)size;
    return 0;
}

/* ---- texts ---- */

const char *amqp_reason_name(unsigned reason) {
    switch (reason) {
    case DEAD_REJECTED:
    case DEAD_REFUSED:
        return "rejected";
    case DEAD_EXPIRED:
    case DEAD_DEADLINE:
        return "expired";
    case DEAD_MAXLEN:
        return "maxlen";
    default:
        return "delivery_limit"; /* attempts used up, by whichever way it was sent */
    }
}

const char *exchange_type_name(enum exchange_type type, bool delayed) {
    static const char *const names[] = {[EXCHANGE_DIRECT] = "direct",
                                        [EXCHANGE_FANOUT] = "fanout",
                                        [EXCHANGE_TOPIC] = "topic",
                                        [EXCHANGE_HEADERS] = "headers",
                                        [EXCHANGE_HASH] = "x-consistent-hash"};
    assert(type >= EXCHANGE_DIRECT && type <= EXCHANGE_HASH);
    return delayed ? "x-delayed-message" : names[type];
}
