#include "cli/import_drain.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "model/amqp.h"

#define FIRST_WAIT_MS   500u
#define NEXT_WAIT_MS    5u
#define BATCH_BYTES_MAX (16u << 20)
#define IDLE_ROUNDS_MAX 10u
#define ID_BYTES        16u

/* ---- one message ---- */

static void add_bytes(crypto_generichash_state *hash, amqp_bytes_t bytes) {
    uint64_t size = bytes.len;
    crypto_generichash_update(hash, (const uint8_t *)&size, sizeof size);
    crypto_generichash_update(hash, bytes.bytes, bytes.len);
}

static void make_id(const amqp_envelope_t *e, char out[2 * ID_BYTES + 1]) {
    crypto_generichash_state hash;
    uint8_t id[ID_BYTES];
    crypto_generichash_init(&hash, NULL, 0, sizeof id);
    add_bytes(&hash, e->message.properties.message_id);
    add_bytes(&hash, e->exchange);
    add_bytes(&hash, e->routing_key);
    add_bytes(&hash, e->message.body);
    crypto_generichash_final(&hash, id, sizeof id);
    sodium_bin2hex(out, 2 * ID_BYTES + 1, id, sizeof id);
}

static amqp_table_entry_t text_entry(const char *name, amqp_bytes_t text) {
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = text}};
}

static void shorten_life(amqp_basic_properties_t *p, char text[24]) {
    const amqp_flags_t both = AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_TIMESTAMP_FLAG;
    if ((p->_flags & both) != both || p->expiration.len == 0 || p->expiration.len > 19)
        return;
    memcpy(text, p->expiration.bytes, p->expiration.len);
    text[p->expiration.len] = '\0';
    uint64_t now = (uint64_t)time(NULL), left_ms = strtoull(text, NULL, 10);
    uint64_t waited_ms = now > p->timestamp ? (now - p->timestamp) * 1000 : 0;
    left_ms = left_ms > waited_ms ? left_ms - waited_ms : 0;
    snprintf(text, 24, "%llu", (unsigned long long)left_ms);
    p->expiration = amqp_cstring_bytes(text);
}

static int send_one(struct drain *d, const amqp_envelope_t *e) {
    char id[2 * ID_BYTES + 1] = "", expiration[24];
    amqp_basic_properties_t p = e->message.properties;
    bool has_id = (p._flags & AMQP_BASIC_MESSAGE_ID_FLAG) != 0 && p.message_id.len > 0;
    if (has_id)
        make_id(e, id);
    if (d->ttl_from_timestamp)
        shorten_life(&p, expiration);
    amqp_table_entry_t import[] = {
        text_entry("exchange", e->exchange),
        text_entry("routing-key", e->routing_key),
        text_entry("id", amqp_cstring_bytes(id)),
        {.key = amqp_cstring_bytes("again"),
         .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = e->redelivered != 0}},
    };
    int before = (p._flags & AMQP_BASIC_HEADERS_FLAG) != 0 ? p.headers.num_entries : 0;
    amqp_table_entry_t *headers = calloc((size_t)before + 1, sizeof *headers);
    if (headers == NULL) {
        snprintf(d->to->error, sizeof d->to->error, "out of memory");
        return -1;
    }
    if (before > 0)
        memcpy(headers, p.headers.entries, (size_t)before * sizeof *headers);
    headers[before] = (amqp_table_entry_t){
        .key = amqp_cstring_bytes(AMQP_IMPORT_HEADER),
        .value = {.kind = AMQP_FIELD_KIND_TABLE,
                  .value.table = {.num_entries = ARRAY_LENGTH(import), .entries = import}}};
    p.headers = (amqp_table_t){.num_entries = before + 1, .entries = headers};
    p._flags |= AMQP_BASIC_HEADERS_FLAG;
    int rc = link_publish(d->to, d->queue, &p, e->message.body);
    free(headers);
    d->sent += rc == 0;
    d->again += rc == 0 && e->redelivered && has_id;
    d->unsure += rc == 0 && e->redelivered && !has_id;
    return rc;
}

/* ---- batches ---- */

struct batch {
    amqp_envelope_t messages[LINK_WINDOW];
    uint32_t count;
    size_t bytes;
};

static void batch_clear(struct batch *b) {
    for (uint32_t i = 0; i < b->count; i++)
        amqp_destroy_envelope(&b->messages[i]);
    b->count = 0;
    b->bytes = 0;
}

static int take(struct drain *d, struct batch *b) {
    while (b->count < LINK_WINDOW && b->bytes < BATCH_BYTES_MAX) {
        amqp_envelope_t *e = &b->messages[b->count];
        int rc = link_next(d->from, b->count == 0 ? FIRST_WAIT_MS : NEXT_WAIT_MS, e);
        if (rc <= 0)
            return rc;
        b->bytes += e->message.body.len;
        b->count++;
    }
    return 0;
}

static int move(struct drain *d, struct batch *b) {
    for (uint32_t i = 0; i < b->count; i++) {
        if (send_one(d, &b->messages[i]) != 0)
            return -1;
    }
    if (link_confirmed(d->to, &d->confirmed, d->sent) != 0)
        return -1;
    d->moved += b->count;
    return link_acknowledge(d->from, b->messages[b->count - 1].delivery_tag); /* D1 */
}

/* What is ready and does not come is somebody else's, who has consumed it before us. */
static int drain_all(struct drain *d, struct batch *b) {
    for (uint32_t idle = 0; idle < IDLE_ROUNDS_MAX && !*d->stop;) {
        if (take(d, b) != 0)
            return -1;
        if (b->count > 0) {
            if (move(d, b) != 0)
                return -1;
            batch_clear(b);
            idle = 0;
            d->progress(d);
            continue;
        }
        int64_t left = link_count(d->from, d->queue);
        if (left <= 0)
            return left < 0 ? -1 : 0;
        idle++;
    }
    return 0;
}

int drain_queue(struct drain *d) {
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL) {
        snprintf(d->from->error, sizeof d->from->error, "out of memory");
        return -1;
    }
    int rc = link_consume(d->from, d->queue);
    rc = rc != 0 ? rc : drain_all(d, b);
    batch_clear(b);
    free(b);
    return rc;
}
