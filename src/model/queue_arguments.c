#include "model/queue_arguments.h"

#include <stdio.h>

#include "base/amqp_table.h"
#include "base/clock.h"

#define TTL_MAX_MS    UINT64_C(315360000000) /* ten years, as RabbitMQ */
#define NS_PER_MS_U64 UINT64_C(1000000)

enum queue_kind { KIND_CLASSIC = 1, KIND_QUORUM = 2, KIND_BOTH = 3, KIND_OTHER = 4 };

struct reading {
    struct request *r;
    struct queue_def *def;
    const char *name;
};

static enum refusal refuse_name(struct request *r, const char *name, const char *detail) {
    char pointer[sizeof r->error_pointer];
    snprintf(pointer, sizeof pointer, "/arguments/%.48s", name);
    return request_refuse_at(r, REFUSAL_PRECONDITION, pointer, detail);
}

static enum refusal refuse(const struct reading *x, const char *detail) {
    return refuse_name(x->r, x->name, detail);
}

static enum refusal get_number(const struct reading *x, const struct amqp_field *f, uint64_t low,
                               uint64_t high, uint64_t *ret) {
    int64_t v;
    if (f->type == 'T' || !amqp_field_integer(f, &v)) {
        return refuse(x, "invalid arg: unacceptable type");
    }
    if (v < 0 || (uint64_t)v < low || (uint64_t)v > high) {
        return refuse(x, "invalid arg: value out of range");
    }
    *ret = (uint64_t)v;
    return REFUSAL_NONE;
}

static enum refusal get_text(const struct reading *x, const struct amqp_field *f, char **field) {
    struct span text;
    if (!amqp_field_text(f, &text) || text.size > 255 ||
        (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)) {
        return refuse(x, "invalid arg: unacceptable type");
    }
    return def_set_text(field, text) == 0 ? REFUSAL_NONE : REFUSAL_LIMIT;
}

/* ---- one by one ---- */

typedef enum refusal read_argument(const struct reading *x, const struct amqp_field *f);

static enum refusal read_ttl(const struct reading *x, const struct amqp_field *f) {
    uint64_t ms = 0;
    enum refusal refusal = get_number(x, f, 0, TTL_MAX_MS, &ms);
    x->def->message_ttl_ns =
        ms == 0 ? 1 : ms * NS_PER_MS_U64; /* 0: only to a consumer that waits */
    return refusal;
}

static enum refusal read_expires(const struct reading *x, const struct amqp_field *f) {
    uint64_t ms = 0;
    enum refusal refusal = get_number(x, f, 1, TTL_MAX_MS, &ms);
    x->def->expires_ns = ms * NS_PER_MS_U64;
    return refusal;
}

static enum refusal read_length(const struct reading *x, const struct amqp_field *f) {
    uint64_t n = 0;
    enum refusal refusal = get_number(x, f, 0, INT64_MAX, &n);
    x->def->max_messages = n == 0 ? QUEUE_HOLDS_NOTHING : n;
    return refusal;
}

static enum refusal read_bytes(const struct reading *x, const struct amqp_field *f) {
    uint64_t n = 0;
    enum refusal refusal = get_number(x, f, 0, INT64_MAX, &n);
    x->def->max_bytes = n == 0 ? QUEUE_HOLDS_NOTHING : n;
    return refusal;
}

static enum refusal read_overflow(const struct reading *x, const struct amqp_field *f) {
    struct span text;
    if (!amqp_field_text(f, &text)) {
        return refuse(x, "invalid arg: unacceptable type");
    }
    if (span_is(text, "drop-head")) {
        x->def->overflow = OVERFLOW_DROP_HEAD;
    } else if (span_is(text, "reject-publish")) {
        x->def->overflow = OVERFLOW_REFUSE;
    } else if (span_is(text, "reject-publish-dlx")) {
        x->def->overflow = OVERFLOW_REFUSE_DLX;
    } else {
        return refuse(x, "invalid arg: not a way to overflow");
    }
    return REFUSAL_NONE;
}

static enum refusal read_exchange(const struct reading *x, const struct amqp_field *f) {
    x->def->has_dead_letter_exchange = true;
    return get_text(x, f, &x->def->dead_letter_exchange);
}

static enum refusal read_key(const struct reading *x, const struct amqp_field *f) {
    x->def->has_dead_letter_key = true;
    return get_text(x, f, &x->def->dead_letter_key);
}

static enum refusal read_priority(const struct reading *x, const struct amqp_field *f) {
    uint64_t n = 0;
    enum refusal refusal = get_number(x, f, 0, PRIORITY_MAX, &n);
    x->def->max_priority = (uint8_t)n;
    return refusal;
}

static enum refusal read_limit(const struct reading *x, const struct amqp_field *f) {
    uint64_t n = 0;
    enum refusal refusal = get_number(x, f, 0, UINT32_MAX - 1, &n);
    x->def->delivery_limit = (uint32_t)n;
    return refusal;
}

static enum refusal read_single(const struct reading *x, const struct amqp_field *f) {
    if (f->type != 't') {
        return refuse(x, "invalid arg: unacceptable type");
    }
    x->def->single_active = f->as.boolean;
    return REFUSAL_NONE;
}

static enum refusal read_ordering(const struct reading *x, const struct amqp_field *f) {
    enum refusal refusal = get_text(x, f, &x->def->ordering_header);
    bool by_key = refusal == REFUSAL_NONE && strcmp(x->def->ordering_header, "routing-key") == 0;
    x->def->ordering = by_key ? KEY_OF_ROUTING_KEY : KEY_OF_HEADER;
    return refusal;
}

/* 0.5: one in two seconds. */
static enum refusal read_pace(const struct reading *x, const struct amqp_field *f) {
    int64_t n;
    struct pace_def p = {.mode = PACE_SMOOTH, .period_ns = NS_PER_SECOND};
    if (amqp_field_integer(f, &n)) {
        if (n < 1 || n > PACE_COUNT_MAX) {
            return refuse(x, "invalid arg: 1 to 1,000,000 a second, or a fraction");
        }
        p.count = (uint32_t)n;
    } else if ((f->type == 'd' || f->type == 'f') && f->as.real >= 1e-6 && f->as.real <= 1e6) {
        p.count = f->as.real >= 1 ? (uint32_t)f->as.real : 1;
        p.period_ns = (uint64_t)((double)NS_PER_SECOND * p.count / f->as.real);
    } else {
        return refuse(x, "invalid arg: a number of messages a second");
    }
    x->def->pace = p;
    return pace_def_valid(&p) ? REFUSAL_NONE : refuse(x, "invalid arg: a rate out of range");
}

static enum refusal read_dedup(const struct reading *x, const struct amqp_field *f) {
    struct span text;
    if (f->type == 't') {
        x->def->dedup = f->as.boolean ? DEDUP_BY_HEADER : DEDUP_NONE;
    } else if (amqp_field_text(f, &text) && span_is(text, "header")) {
        x->def->dedup = DEDUP_BY_HEADER;
    } else if (amqp_field_text(f, &text) && span_is(text, "message-id")) {
        x->def->dedup = DEDUP_BY_MESSAGE_ID;
    } else {
        return refuse(x, "invalid arg: true, header or message-id");
    }
    return REFUSAL_NONE;
}

static enum refusal read_window(const struct reading *x, const struct amqp_field *f) {
    uint64_t ms = 0;
    enum refusal refusal = get_number(x, f, 1, TTL_MAX_MS, &ms);
    x->def->dedup_ttl_ns = ms * NS_PER_MS_U64;
    return refusal;
}

static enum refusal read_mode(const struct reading *x, const struct amqp_field *f) {
    struct span text;
    bool known = amqp_field_text(f, &text) && (span_is(text, "default") || span_is(text, "lazy"));
    return known ? REFUSAL_NONE : refuse(x, "invalid arg: default or lazy");
}

static enum refusal read_type(const struct reading *x, const struct amqp_field *f) {
    struct span text;
    if (amqp_field_text(f, &text) && (span_is(text, "classic") || span_is(text, "quorum"))) {
        return REFUSAL_NONE;
    }
    return refuse(x, "invalid arg: unsupported queue type");
}

/* ---- without effect here: refused only where RabbitMQ refuses it ---- */

static enum refusal check_word(const struct reading *x, const struct amqp_field *f,
                               const char *const words[]) {
    struct span text;
    if (!amqp_field_text(f, &text)) {
        return refuse(x, "invalid arg: unacceptable type");
    }
    for (; *words != NULL; words++) {
        if (span_is(text, *words)) {
            return REFUSAL_NONE;
        }
    }
    return refuse(x, "invalid arg: not one of its values");
}

static enum refusal check_master(const struct reading *x, const struct amqp_field *f) {
    static const char *const words[] = {"client-local", "min-masters", "random", NULL};
    return check_word(x, f, words);
}

static enum refusal check_leader(const struct reading *x, const struct amqp_field *f) {
    static const char *const words[] = {"client-local", "balanced", "random", "least-leaders",
                                        NULL};
    return check_word(x, f, words);
}

static enum refusal check_strategy(const struct reading *x, const struct amqp_field *f) {
    static const char *const words[] = {"at-most-once", "at-least-once", NULL};
    return check_word(x, f, words);
}

static enum refusal check_version(const struct reading *x, const struct amqp_field *f) {
    uint64_t n;
    return get_number(x, f, 1, 2, &n);
}

static enum refusal check_group(const struct reading *x, const struct amqp_field *f) {
    uint64_t n;
    return get_number(x, f, 1, INT64_MAX, &n);
}

static enum refusal check_in_memory(const struct reading *x, const struct amqp_field *f) {
    uint64_t n;
    return get_number(x, f, 0, INT64_MAX, &n);
}

/* read NULL: of a type of queue that there is not here. */
static const struct {
    const char *name;
    read_argument *read;
    enum queue_kind kind;
} arguments_known[] = {
    {"x-queue-type", read_type, KIND_BOTH},
    {"x-message-ttl", read_ttl, KIND_BOTH},
    {"x-expires", read_expires, KIND_BOTH},
    {"x-max-length", read_length, KIND_BOTH},
    {"x-max-length-bytes", read_bytes, KIND_BOTH},
    {"x-overflow", read_overflow, KIND_BOTH},
    {"x-dead-letter-exchange", read_exchange, KIND_BOTH},
    {"x-dead-letter-routing-key", read_key, KIND_BOTH},
    {"x-single-active-consumer", read_single, KIND_BOTH},
    {"x-ordering-key", read_ordering, KIND_BOTH},
    {"x-max-deliveries-per-second", read_pace, KIND_BOTH},
    {"x-deduplication", read_dedup, KIND_BOTH},
    {"x-deduplication-window", read_window, KIND_BOTH},
    {"x-max-priority", read_priority, KIND_CLASSIC},
    {"x-queue-mode", read_mode, KIND_CLASSIC},
    {"x-queue-version", check_version, KIND_CLASSIC},
    {"x-queue-master-locator", check_master, KIND_CLASSIC},
    {"x-delivery-limit", read_limit, KIND_QUORUM},
    {"x-queue-leader-locator", check_leader, KIND_QUORUM},
    {"x-quorum-initial-group-size", check_group, KIND_QUORUM},
    {"x-dead-letter-strategy", check_strategy, KIND_QUORUM},
    {"x-max-in-memory-length", check_in_memory, KIND_QUORUM},
    {"x-max-in-memory-bytes", check_in_memory, KIND_QUORUM},
    {"x-max-age", NULL, KIND_OTHER},
    {"x-stream-max-segment-size-bytes", NULL, KIND_OTHER},
    {"x-initial-cluster-size", NULL, KIND_OTHER},
};

bool queue_arguments_quorum(struct span arguments) {
    struct amqp_field f;
    struct span text;
    return amqp_table_find(arguments, "x-queue-type", &f) && amqp_field_text(&f, &text) &&
           span_is(text, "quorum");
}

static enum refusal check_quorum(struct request *r) {
    const struct queue_declare *in = &r->in.queue_declare;
    if (in->exclusive) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/exclusive",
                                 "invalid property 'exclusive-owner' for a quorum queue");
    }
    if (!in->durable) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/durable",
                                 "invalid property 'non-durable' for a quorum queue");
    }
    if (in->auto_delete) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/auto_delete",
                                 "invalid property 'auto-delete' for a quorum queue");
    }
    return REFUSAL_NONE;
}

enum refusal queue_arguments_read(struct request *r, struct span arguments, struct queue_def *def) {
    enum queue_kind kind = queue_arguments_quorum(arguments) ? KIND_QUORUM : KIND_CLASSIC;
    enum refusal refusal = kind == KIND_QUORUM ? check_quorum(r) : REFUSAL_NONE;
    for (size_t i = 0; refusal == REFUSAL_NONE && i < ARRAY_LENGTH(arguments_known); i++) {
        struct reading x = {.r = r, .def = def, .name = arguments_known[i].name};
        struct amqp_field f;
        if (!amqp_table_find(arguments, x.name, &f)) {
            continue;
        }
        refusal = (arguments_known[i].kind & kind) == 0
                      ? refuse(&x, "invalid arg for this type of queue")
                      : arguments_known[i].read(&x, &f);
    }
    if (refusal == REFUSAL_NONE && def->has_dead_letter_key && !def->has_dead_letter_exchange) {
        return refuse_name(r, "x-dead-letter-routing-key",
                           "invalid arg: routing key but no dead-letter exchange defined");
    }
    return refusal;
}

/* ---- of a policy ---- */

/* read NULL: taken and kept, see policy.h. */
static const struct {
    const char *name;
    read_argument *read;
} policy_known[] = {
    {"message-ttl", read_ttl},
    {"expires", read_expires},
    {"max-length", read_length},
    {"max-length-bytes", read_bytes},
    {"overflow", read_overflow},
    {"dead-letter-exchange", read_exchange},
    {"dead-letter-routing-key", read_key},
    {"delivery-limit", read_limit},
    {"queue-mode", read_mode},
    {"alternate-exchange", NULL},
    {"queue-version", NULL},
    {"queue-master-locator", NULL},
    {"queue-leader-locator", NULL},
    {"ha-mode", NULL},
    {"ha-params", NULL},
    {"ha-sync-mode", NULL},
    {"ha-sync-batch-size", NULL},
    {"ha-promote-on-shutdown", NULL},
    {"ha-promote-on-failure", NULL},
    {"max-in-memory-length", NULL},
    {"max-in-memory-bytes", NULL},
    {"dead-letter-strategy", NULL},
    {"federation-upstream", NULL},
    {"federation-upstream-set", NULL},
    {"max-age", NULL},
    {"stream-max-segment-size-bytes", NULL},
    {"initial-cluster-size", NULL},
    {"shards-per-node", NULL},
};

static enum refusal read_setting(struct request *r, const struct amqp_field *f,
                                 struct queue_def *def) {
    for (size_t i = 0; i < ARRAY_LENGTH(policy_known); i++) {
        struct reading x = {.r = r, .def = def, .name = policy_known[i].name};
        if (!span_is(f->name, x.name)) {
            continue;
        }
        return policy_known[i].read == NULL ? REFUSAL_NONE : policy_known[i].read(&x, f);
    }
    return request_invalid(r, "/definition", "a key that no policy has");
}

enum refusal queue_policy_read(struct request *r, struct span definition, struct queue_def *def) {
    struct amqp_field f;
    enum refusal refusal = REFUSAL_NONE;
    while (refusal == REFUSAL_NONE && amqp_table_next(&definition, &f)) {
        refusal = read_setting(r, &f, def);
    }
    if (refusal == REFUSAL_PRECONDITION) {
        snprintf(r->error_pointer, sizeof r->error_pointer, "/definition/%.*s", SPAN_ARG(f.name));
        refusal = REFUSAL_INVALID;
    }
    return refusal;
}

enum refusal queue_arguments_compare(struct request *r, struct span present, struct span wanted) {
    for (size_t i = 0; i < ARRAY_LENGTH(arguments_known); i++) {
        const char *name = arguments_known[i].name;
        struct amqp_field a, b;
        bool has = amqp_table_find(present, name, &a);
        bool asks = amqp_table_find(wanted, name, &b);
        if (i == 0) {
            has = asks = false; /* the type has a default: compared by what it comes to */
            if (queue_arguments_quorum(present) != queue_arguments_quorum(wanted)) {
                return refuse_name(r, name, "inequivalent arg");
            }
        }
        if (has != asks || (has && !amqp_field_equal(&a, &b))) {
            return refuse_name(r, name, "inequivalent arg");
        }
    }
    return REFUSAL_NONE;
}
