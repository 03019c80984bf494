/*
 * Definitions as tables of fields: one walk each for init, release, encode and decode.
 *
 * How they stand encoded, and what may become of a table: model/field_table.h. In version 3 a burst
 * came to mean the one that was asked for; before, it was the one that held.
 */
#include "model/definition.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/field_table.h"
#include "model/request.h"

/* A field that came in version `v` of its table. */
#define SINCE(v, t, s, f) .type = t, .since = v, .offset = offsetof(struct s, f)
#define TEXT_SINCE(v, s, f, d)                                                                     \
    { SINCE(v, FIELD_TEXT, s, f), .text = d }
#define BOOL_SINCE(v, s, f)                                                                        \
    { SINCE(v, FIELD_BOOL, s, f) }
#define U32_SINCE(v, s, f)                                                                         \
    { SINCE(v, FIELD_U32, s, f) }
#define U64_SINCE(v, s, f)                                                                         \
    { SINCE(v, FIELD_U64, s, f) }
#define ENUM_SINCE(v, s, f, m)                                                                     \
    { SINCE(v, FIELD_ENUM, s, f), .max = m }
#define LIST_SINCE(v, s, f, m, t)                                                                  \
    { SINCE(v, FIELD_LIST, s, f), .max = m, .items = &t }
#define BYTES_SINCE(v, s, f)                                                                       \
    { SINCE(v, FIELD_BYTES, s, f) }
#define TEXT(s, f, d) TEXT_SINCE(1, s, f, d)
#define BOOL(s, f)    BOOL_SINCE(1, s, f)
#define U8(s, f)                                                                                   \
    { SINCE(1, FIELD_U8, s, f) }
#define U32(s, f)     U32_SINCE(1, s, f)
#define U64(s, f)     U64_SINCE(1, s, f)
#define ENUM(s, f, m) ENUM_SINCE(1, s, f, m)
#define BURST_SINCE(v, s, f)                                                                       \
    { SINCE(v, FIELD_BURST, s, f) }
#define PACE(s, f)                                                                                 \
    ENUM(s, f.mode, PACE_STRICT), U32(s, f.count), U64(s, f.period_ns),                            \
        BURST_SINCE(1, s, f.burst), U32(s, f.concurrency)
#define TABLE(v, f)                                                                                \
    { .version = v, .count = ARRAY_LENGTH(f), .fields = f }

static const struct field weight_fields[] = {
    TEXT_SINCE(2, weight_def, tenant, ""),
    U32_SINCE(2, weight_def, weight),
};
static const struct field_table weight_table = {.count = ARRAY_LENGTH(weight_fields),
                                                .fields = weight_fields,
                                                .item_bytes = sizeof(struct weight_def),
                                                .init = weight_def_init};

static const struct field queue_fields[] = {
    TEXT(queue_def, name, ""),
    TEXT(queue_def, destination, ""),
    BOOL(queue_def, paused),
    U8(queue_def, max_priority),
    U64(queue_def, max_messages),
    U64(queue_def, max_bytes),
    U64(queue_def, message_ttl_ns),
    BOOL(queue_def, dead_letters),
    U64(queue_def, max_dead),
    U32(queue_def, retry.max_attempts),
    U64(queue_def, retry.min_backoff_ns),
    U64(queue_def, retry.max_backoff_ns),
    U32(queue_def, retry.max_doublings),
    U64(queue_def, retry.max_duration_ns),
    PACE(queue_def, pace),
    U64(queue_def, dispatch_deadline_ns),
    BOOL_SINCE(2, queue_def, amqp),
    BOOL_SINCE(2, queue_def, durable),
    BOOL_SINCE(2, queue_def, auto_delete),
    BOOL_SINCE(2, queue_def, exclusive),
    BOOL_SINCE(2, queue_def, single_active),
    BOOL_SINCE(2, queue_def, has_dead_letter_exchange),
    BOOL_SINCE(2, queue_def, has_dead_letter_key),
    U64_SINCE(2, queue_def, expires_ns),
    ENUM_SINCE(2, queue_def, overflow, OVERFLOW_REFUSE_DLX),
    U32_SINCE(2, queue_def, delivery_limit),
    TEXT_SINCE(2, queue_def, dead_letter_exchange, ""),
    TEXT_SINCE(2, queue_def, dead_letter_key, ""),
    ENUM_SINCE(2, queue_def, ordering, KEY_OF_ROUTING_KEY),
    TEXT_SINCE(2, queue_def, ordering_header, ""),
    ENUM_SINCE(2, queue_def, dedup, DEDUP_BY_MESSAGE_ID),
    U64_SINCE(2, queue_def, dedup_ttl_ns),
    BYTES_SINCE(2, queue_def, arguments),
    U32_SINCE(2, queue_def, weight),
    U32_SINCE(2, queue_def, guaranteed_percent),
    TEXT_SINCE(2, queue_def, on_success.queue, ""),
    TEXT_SINCE(2, queue_def, on_failure.queue, ""),
    U32_SINCE(2, queue_def, retry.backoffs.count),
    U32_SINCE(2, queue_def, retry.backoffs.ms[0]),
    U32_SINCE(2, queue_def, retry.backoffs.ms[1]),
    U32_SINCE(2, queue_def, retry.backoffs.ms[2]),
    U32_SINCE(2, queue_def, retry.backoffs.ms[3]),
    U32_SINCE(2, queue_def, retry.backoffs.ms[4]),
    U32_SINCE(2, queue_def, retry.backoffs.ms[5]),
    U32_SINCE(2, queue_def, retry.errors),
    TEXT_SINCE(2, queue_def, unique_header, ""),
    ENUM_SINCE(2, queue_def, unique_until, UNIQUE_UNTIL_DELIVERED),
    ENUM_SINCE(2, queue_def, unique_answer, UNIQUE_REFUSES),
    TEXT_SINCE(2, queue_def, tenant_header, ""),
    LIST_SINCE(2, queue_def, tenant_weights, TENANT_WEIGHTS_MAX, weight_table),
    TEXT_SINCE(4, queue_def, retry.statuses, ""),
};
static const struct field_table queue_table = TABLE(4, queue_fields);

static const struct field stock_fields[] = {
    TEXT(stock_def, name, ""), U64(stock_def, total),   U64(stock_def, per_member),
    BOOL(stock_def, on_sale),  U64(stock_def, hold_ns),
};
static const struct field_table stock_table = TABLE(1, stock_fields);

static const struct field campaign_fields[] = {
    TEXT(campaign_def, name, ""),    U64(campaign_def, opens_ns),
    U64(campaign_def, closes_ns),    TEXT(campaign_def, stock, ""),
    TEXT(campaign_def, queue, ""),   TEXT(campaign_def, member_pointer, ""),
    U64(campaign_def, safety_stock), ENUM(campaign_def, on_failure, CAMPAIGN_FAILURE_KEEP),
    U8(campaign_def, priority),
};
static const struct field_table campaign_table = TABLE(1, campaign_fields);

static const struct field limit_fields[] = {
    ENUM_SINCE(2, pace_def, mode, PACE_STRICT), U32_SINCE(2, pace_def, count),
    U64_SINCE(2, pace_def, period_ns),          BURST_SINCE(2, pace_def, burst),
    U32_SINCE(2, pace_def, concurrency),
};
static const struct field_table limit_table = {.count = ARRAY_LENGTH(limit_fields),
                                               .fields = limit_fields,
                                               .item_bytes = sizeof(struct pace_def),
                                               .init = limit_def_init};

static const struct field endpoint_fields[] = {
    TEXT_SINCE(2, endpoint_def, name, ""),
    TEXT_SINCE(2, endpoint_def, url, ""),
    U32_SINCE(2, endpoint_def, weight),
};
static const struct field_table endpoint_table = {.count = ARRAY_LENGTH(endpoint_fields),
                                                  .fields = endpoint_fields,
                                                  .item_bytes = sizeof(struct endpoint_def),
                                                  .init = endpoint_def_init};

static const struct field destination_fields[] = {
    TEXT(destination_def, name, ""),
    TEXT(destination_def, url, ""),
    TEXT(destination_def, method, "POST"),
    TEXT(destination_def, headers, ""),
    TEXT(destination_def, ca_file, ""),
    PACE(destination_def, pace),
    U64(destination_def, connect_timeout_ns),
    U64(destination_def, timeout_ns),
    TEXT(destination_def, retry_statuses, "408,425,429,500-599"),
    BOOL(destination_def, http2),
    BOOL(destination_def, allow_private),
    U32(destination_def, max_response_bytes),
    LIST_SINCE(2, destination_def, limits, LIMITS_MAX, limit_table),
    U32_SINCE(2, destination_def, adaptive.floor),
    U32_SINCE(2, destination_def, adaptive.ceiling),
    U64_SINCE(2, destination_def, ramp.duration_ns),
    U64_SINCE(2, destination_def, ramp.idle_ns),
    U32_SINCE(2, destination_def, budget.percent),
    U32_SINCE(2, destination_def, budget.min_per_second),
    U64_SINCE(2, destination_def, budget.window_ns),
    U32_SINCE(2, destination_def, breaker.window_calls),
    U64_SINCE(2, destination_def, breaker.window_ns),
    U32_SINCE(2, destination_def, breaker.failure_percent),
    U64_SINCE(2, destination_def, breaker.slow_ns),
    U32_SINCE(2, destination_def, breaker.slow_percent),
    U32_SINCE(2, destination_def, breaker.minimum_calls),
    U32_SINCE(2, destination_def, breaker.probes),
    U64_SINCE(2, destination_def, breaker.open_ns),
    U64_SINCE(2, destination_def, breaker.open_max_ns),
    LIST_SINCE(2, destination_def, endpoints, ENDPOINTS_MAX, endpoint_table),
    ENUM_SINCE(2, destination_def, balance.policy, BALANCE_TWO_CHOICES),
    ENUM_SINCE(2, destination_def, balance.key, BALANCE_KEY_TENANT),
    U64_SINCE(2, destination_def, balance.pin_ns),
    U32_SINCE(2, destination_def, balance.eject_errors),
    U32_SINCE(2, destination_def, balance.eject_success_percent),
    U32_SINCE(2, destination_def, balance.eject_minimum),
    U64_SINCE(2, destination_def, balance.eject_ns),
    U32_SINCE(2, destination_def, balance.eject_max_percent),
    U64_SINCE(2, destination_def, balance.slow_start_ns),
    TEXT_SINCE(2, destination_def, check.path, ""),
    TEXT_SINCE(2, destination_def, check.statuses, "200-399"),
    U64_SINCE(2, destination_def, check.interval_ns),
    U64_SINCE(2, destination_def, check.timeout_ns),
    U32_SINCE(2, destination_def, check.rise),
    U32_SINCE(2, destination_def, check.fall),
    TEXT_SINCE(2, destination_def, failover.destination, ""),
    TEXT_SINCE(2, destination_def, failover.queue, ""),
    U32_SINCE(2, destination_def, failover.failures),
    U64_SINCE(2, destination_def, failover.within_ns),
    U64_SINCE(2, destination_def, failover.every_ns),
    U64_SINCE(2, destination_def, failover.pending_ns),
    BOOL_SINCE(2, destination_def, failover.manual_return),
    U64_SINCE(2, destination_def, failover.return_after_ns),
    U32_SINCE(2, destination_def, failover.probes),
    ENUM_SINCE(2, destination_def, making.format, FORMAT_EVENT_STRUCTURED),
    TEXT_SINCE(2, destination_def, making.event_type, ""),
    TEXT_SINCE(2, destination_def, making.event_source, ""),
    TEXT_SINCE(2, destination_def, making.signing_keys, ""),
    TEXT_SINCE(2, destination_def, making.bearer, ""),
    TEXT_SINCE(2, destination_def, making.user, ""),
    TEXT_SINCE(2, destination_def, making.password, ""),
    TEXT_SINCE(2, destination_def, making.token_url, ""),
    TEXT_SINCE(2, destination_def, making.client_id, ""),
    TEXT_SINCE(2, destination_def, making.client_secret, ""),
    TEXT_SINCE(2, destination_def, making.scope, ""),
    TEXT_SINCE(2, destination_def, making.audience, ""),
    TEXT_SINCE(2, destination_def, making.client_certificate, ""),
    TEXT_SINCE(2, destination_def, making.client_key, ""),
    TEXT_SINCE(2, destination_def, making.proxy, ""),
    TEXT_SINCE(2, destination_def, confirm.statuses, ""),
    U64_SINCE(2, destination_def, confirm.deadline_ns),
    ENUM_SINCE(2, destination_def, confirm.at_deadline, CONFIRM_DEADLINE_DEAD),
    BOOL_SINCE(2, destination_def, confirm.holds_place),
    TEXT_SINCE(2, destination_def, confirm.secret, ""),
    U32_SINCE(2, destination_def, batch.max_messages),
    U32_SINCE(2, destination_def, batch.max_bytes),
    U64_SINCE(2, destination_def, batch.wait_ns),
    ENUM_SINCE(2, destination_def, batch.format, BATCH_NDJSON),
    ENUM_SINCE(2, destination_def, batch.token, BATCH_TOKEN_MESSAGE),
    BOOL_SINCE(2, destination_def, batch.has_results),
    TEXT_SINCE(2, destination_def, batch.results, ""),
    ENUM_SINCE(2, destination_def, batch.match, BATCH_BY_ID),
    TEXT_SINCE(2, destination_def, batch.result_id, "/id"),
    TEXT_SINCE(2, destination_def, batch.item_id, "/id"),
    TEXT_SINCE(2, destination_def, batch.result_status, "/status"),
    U64_SINCE(4, destination_def, first_byte_timeout_ns),
};
static const struct field_table destination_table = TABLE(4, destination_fields);

bool name_valid(struct span name) {
    if (name.size == 0 || name.size > NAME_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool mark = i > 0 && (c == '.' || c == '_' || c == '-');
        if (!letter && !mark) {
            return false;
        }
    }
    return true;
}

/* A hundred thousand queues have half a million empty texts: one for all of them. */
static char no_text[1];

void def_free_text(char *text) {
    if (text != no_text) {
        free(text);
    }
}

int def_set_text(char **field, struct span value) {
    char *text = malloc(value.size + 1);
    if (text == NULL) {
        return E_NOMEM;
    }
    if (value.size > 0) {
        memcpy(text, value.data, value.size);
    }
    text[value.size] = '\0';
    def_free_text(*field);
    *field = text;
    return 0;
}

int def_share_text(char **field, struct span value) {
    if (value.size > 0) {
        return def_set_text(field, value);
    }
    def_free_text(*field);
    *field = no_text;
    return 0;
}

int def_set_bytes(struct def_bytes *field, struct span value) {
    uint8_t *data = value.size == 0 ? NULL : malloc(value.size);
    if (value.size > UINT32_MAX || (value.size > 0 && data == NULL)) {
        free(data);
        return E_NOMEM;
    }
    if (value.size > 0) {
        memcpy(data, value.data, value.size);
    }
    free(field->data);
    *field = (struct def_bytes){.data = data, .size = (uint32_t)value.size};
    return 0;
}

static struct pace_def pace_def_default(void) {
    return (struct pace_def){.mode = PACE_SMOOTH, .period_ns = NS_PER_SECOND};
}

int limit_def_init(void *item) {
    *(struct pace_def *)item = pace_def_default();
    return 0;
}

int weight_def_init(void *item) {
    struct weight_def *d = item;
    *d = (struct weight_def){.weight = 1};
    return field_table_init(&weight_table, d);
}

int endpoint_def_init(void *item) {
    struct endpoint_def *d = item;
    *d = (struct endpoint_def){.weight = 1};
    return field_table_init(&endpoint_table, d);
}

int queue_def_init(struct queue_def *d) {
    *d = (struct queue_def){
        .max_priority = 9,
        .dead_letters = true,
        .durable = true,
        .max_dead = 1000000,
        .weight = 1,
        .retry = {.max_attempts = 100,
                  .min_backoff_ns = 100 * NS_PER_MS,
                  .max_backoff_ns = 3600 * NS_PER_SECOND,
                  .max_doublings = 16},
        .pace = pace_def_default(),
    };
    return field_table_init(&queue_table, d);
}

int stock_def_init(struct stock_def *d) {
    *d = (struct stock_def){0};
    return field_table_init(&stock_table, d);
}

int campaign_def_init(struct campaign_def *d) {
    *d = (struct campaign_def){0};
    return field_table_init(&campaign_table, d);
}

int destination_def_init(struct destination_def *d) {
    *d = (struct destination_def){
        .pace = pace_def_default(),
        .connect_timeout_ns = 5 * NS_PER_SECOND,
        .timeout_ns = 30 * NS_PER_SECOND,
        .max_response_bytes = 64u << 10,
        .adaptive = {.floor = 1},
        .budget = {.percent = 20, .min_per_second = 10, .window_ns = 10 * NS_PER_SECOND},
        .breaker = {.failure_percent = 50,
                    .slow_percent = 100,
                    .minimum_calls = 20,
                    .probes = 5,
                    .open_ns = 10 * NS_PER_SECOND,
                    .open_max_ns = 600 * NS_PER_SECOND},
        .balance = {.eject_errors = 5,
                    .eject_minimum = 20,
                    .eject_ns = 30 * NS_PER_SECOND,
                    .eject_max_percent = 50},
        .confirm = {.deadline_ns = 600 * NS_PER_SECOND},
        .batch = {.max_bytes = 1u << 20, .wait_ns = 10 * NS_PER_MS},
        .check = {.interval_ns = 10 * NS_PER_SECOND,
                  .timeout_ns = 2 * NS_PER_SECOND,
                  .rise = 2,
                  .fall = 3},
        .failover = {.within_ns = 60 * NS_PER_SECOND,
                     .every_ns = 30 * NS_PER_SECOND,
                     .pending_ns = 180 * NS_PER_SECOND,
                     .return_after_ns = 300 * NS_PER_SECOND,
                     .probes = 5},
    };
    return field_table_init(&destination_table, d);
}

#define DEFINE_WALKS(kind)                                                                         \
    void kind##_def_release(struct kind##_def *d) {                                                \
        field_table_release(&kind##_table, d);                                                     \
    }                                                                                              \
    int kind##_def_encode(const struct kind##_def *d, struct buffer *out) {                        \
        return field_table_encode(&kind##_table, d, out);                                          \
    }                                                                                              \
    int kind##_def_decode(struct reader *r, struct kind##_def *ret) {                              \
        struct kind##_def def;                                                                     \
        int rc = kind##_def_init(&def);                                                            \
        if (rc == 0) {                                                                             \
            rc = field_table_decode(&kind##_table, r, &def);                                       \
        }                                                                                          \
        if (rc == 0) {                                                                             \
            *ret = def;                                                                            \
        }                                                                                          \
        return rc;                                                                                 \
    }

DEFINE_WALKS(queue)
DEFINE_WALKS(stock)
DEFINE_WALKS(campaign)
DEFINE_WALKS(destination)

enum refusal definition_decide(struct define *how, struct span present, struct span wanted,
                               uint64_t known_file_hash, bool *ret_emit, uint64_t *ret_file_hash) {
    bool exists = present.size > 0;
    if (exists && how->create_only) {
        return REFUSAL_CONFLICT;
    }
    bool same_file = exists && how->from_file && how->file_hash == known_file_hash;
    bool same = exists && span_equal(present, wanted);
    how->ret_created = !exists;
    how->ret_unchanged = same_file || same;
    *ret_emit = !same_file && (!same || how->from_file);
    *ret_file_hash = how->from_file ? how->file_hash : known_file_hash;
    return REFUSAL_NONE;
}
