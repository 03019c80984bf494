#include "model/unique.h"

#include "base/amqp_table.h"
#include "model/dedup.h"

#define SCOPE       UINT64_C(0x616d71702e646570) /* stands in the log */
#define AMQP_HEADER "x-deduplication-id"

struct span unique_key(const struct queue *q, const struct publish *p) {
    if (q->def.dedup == DEDUP_NONE) {
        return span_of(NULL, 0);
    }
    struct span value = span_of(NULL, 0);
    if (q->def.unique_header[0] != '\0') {
        value = header_line_find(p->envelope.headers, span_text(q->def.unique_header));
    }
    return value.size > 0 ? value : p->unique_key;
}

struct span unique_key_of_amqp(const struct queue *q, const struct amqp_message *in) {
    const char *name = q->def.unique_header[0] != '\0' ? q->def.unique_header : AMQP_HEADER;
    struct amqp_field f;
    struct span text;
    if (q->def.dedup == DEDUP_BY_HEADER && amqp_table_find(in->headers, name, &f)) {
        return amqp_field_text(&f, &text) ? text : f.encoded;
    }
    return q->def.dedup == DEDUP_NONE ? span_of(NULL, 0) : in->message_id;
}

static struct idempotency scoped(const struct queue *q, struct span key) {
    return (struct idempotency){.key = key, .scope = SCOPE ^ hash_u64(q->index)};
}

bool unique_find(const struct model *m, uint64_t now_ns, const struct queue *q, struct span key,
                 struct receipt *ret) {
    struct idempotency k = scoped(q, key);
    uint64_t fingerprint;
    return key.size > 0 && dedup_find(m, now_ns, &k, &fingerprint, ret);
}

void unique_emit(const struct model *m, struct decision *d, const struct queue *q, struct span key,
                 const struct receipt *receipt) {
    struct idempotency k = scoped(q, key);
    if (q->def.unique_until == UNIQUE_UNTIL_DELIVERED) {
        dedup_emit_held(d, &k, receipt);
    } else {
        dedup_emit(m, d, &k, receipt, q->def.dedup_ttl_ns);
    }
}

enum refusal unique_check(struct request *r, const struct queue_def *def) {
    bool says = def->unique_header[0] != '\0' || def->dedup_ttl_ns != 0 ||
                def->unique_until != UNIQUE_FOR_WINDOW ||
                def->unique_answer != UNIQUE_GIVES_RECEIPT;
    if (def->dedup == DEDUP_NONE && says) {
        return request_invalid(r, "/unique/by", "key or messageId, with what else is said of it");
    }
    if (def->unique_until == UNIQUE_UNTIL_DELIVERED && def->dedup_ttl_ns != 0) {
        return request_invalid(r, "/unique/window", "none, when a key stands until delivered");
    }
    return REFUSAL_NONE;
}
