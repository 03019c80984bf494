#include <stdlib.h>

#include "api/api.h"
#include "api/rate.h"
#include "app/config/internal.h"
#include "base/clock.h"
#include "base/error.h"

/* Fields of nested objects lie in `struct config` itself: each table counts from its start. */
#define AT(member)     FIELD_AT(struct config, member)
#define SECTION(table) .offset = 0, .size = 0, .members = table
#define COUNT_FIELD(name, member)                                                                  \
    { name, FIELD_INTEGER, AT(member), .min = 1, .max = UINT32_MAX }
#define BYTES_FIELD(name, member, least, most)                                                     \
    { name, FIELD_INTEGER, AT(member), .min = least, .max = most }
#define TIME_FIELD(name, member, least, most)                                                      \
    { name, FIELD_DURATION, AT(member), .min = least, .max = most }

#define MIB         (UINT64_C(1) << 20)
#define GIB         (UINT64_C(1) << 30)
#define YEAR        (365 * 86400 * NS_PER_SECOND)
#define TIMEOUT_MIN (100 * NS_PER_MS)
#define TIMEOUT_MAX (3600 * NS_PER_SECOND)

static const struct field log_fields[] = {
    BYTES_FIELD("segmentBytes", settings.segment_bytes, 64 << 10, GIB),
    BYTES_FIELD("minFreeBytes", settings.min_free_bytes, 0, UINT64_C(1) << 60),
    BYTES_FIELD("preparedBytes", settings.prepared_bytes, 0, GIB),
    BYTES_FIELD("snapshotEveryBytes", settings.snapshot_every_bytes, MIB, UINT64_C(1) << 50),
    FIELD_END};

static const struct field limit_fields[] = {
    COUNT_FIELD("queues", settings.model_limits.queues),
    COUNT_FIELD("messages", settings.model_limits.messages),
    COUNT_FIELD("stocks", settings.model_limits.stocks),
    COUNT_FIELD("purchases", settings.model_limits.purchases),
    COUNT_FIELD("campaigns", settings.model_limits.campaigns),
    COUNT_FIELD("entries", settings.model_limits.entries),
    COUNT_FIELD("dedupKeys", settings.model_limits.dedup_keys),
    TIME_FIELD("dedupTtl", settings.model_limits.dedup_ttl_ns, NS_PER_SECOND, YEAR),
    COUNT_FIELD("tenants", settings.model_limits.tenants),
    COUNT_FIELD("destinations", settings.model_limits.destinations),
    COUNT_FIELD("receipts", settings.model_limits.receipts),
    TIME_FIELD("receiptTtl", settings.model_limits.receipt_ttl_ns, NS_PER_SECOND, YEAR),
    TIME_FIELD("tombstoneTtl", settings.model_limits.tombstone_ttl_ns, NS_PER_SECOND, YEAR),
    BYTES_FIELD("historyBytes", settings.model_limits.history_bytes, 64 << 10, UINT64_C(1) << 40),
    BYTES_FIELD("residentBytes", settings.resident_bytes, 0, UINT64_C(1) << 50),
    BYTES_FIELD("residentPercent", settings.resident_percent, 0, 100),
    COUNT_FIELD("queueMax", settings.queue_max),
    BYTES_FIELD("requestLineBytes", settings.http_limits.request_line_bytes, 256, 32 << 10),
    BYTES_FIELD("headerBytes", settings.http_limits.header_bytes, 1024, 32 << 10),
    COUNT_FIELD("headerCount", settings.http_limits.header_count),
    BYTES_FIELD("bodyBytes", settings.http_limits.body_bytes, 1024, 16 * MIB),
    COUNT_FIELD("pipelineDepth", settings.http_limits.pipeline_depth),
    COUNT_FIELD("connections", settings.http_limits.connections),
    BYTES_FIELD("connectionsPerAddress", settings.http_limits.connections_per_address, 0,
                UINT16_MAX),
    BYTES_FIELD("memoryBytes", settings.http_limits.memory_bytes, MIB, UINT64_C(1) << 40),
    BYTES_FIELD("requestsPerSecond", settings.requests_per_second, 0, RATE_MAX),
    BYTES_FIELD("requestsBurst", settings.requests_burst, 0, RATE_MAX),
    TIME_FIELD("headTimeout", timeouts.head_ns, TIMEOUT_MIN, TIMEOUT_MAX),
    TIME_FIELD("bodyTimeout", timeouts.body_ns, TIMEOUT_MIN, TIMEOUT_MAX),
    TIME_FIELD("idleTimeout", timeouts.idle_ns, TIMEOUT_MIN, TIMEOUT_MAX),
    TIME_FIELD("writeTimeout", timeouts.write_ns, TIMEOUT_MIN, TIMEOUT_MAX),
    FIELD_END};

static const struct field amqp_fields[] = {
    BYTES_FIELD("messageBytes", settings.amqp_limits.message_bytes, 1024, 512 * MIB),
    BYTES_FIELD("frameBytes", settings.amqp_limits.frame_max, 4096, 16 * MIB),
    BYTES_FIELD("channels", settings.amqp_limits.channel_max, 1, UINT16_MAX),
    BYTES_FIELD("unconfirmed", settings.amqp_limits.asked_max, 1, UINT32_MAX),
    BYTES_FIELD("unconfirmedBytes", settings.amqp_limits.asked_bytes, 1024, 16 * GIB),
    BYTES_FIELD("partialBytes", settings.amqp_limits.assembled_bytes, 1024, 16 * GIB),
    COUNT_FIELD("transactionSteps", settings.amqp_limits.transaction_ops),
    COUNT_FIELD("consumers", settings.amqp_limits.consumers),
    TIME_FIELD("heartbeat", timeouts.heartbeat_ns, 0, TIMEOUT_MAX),
    TIME_FIELD("handshakeTimeout", timeouts.handshake_ns, TIMEOUT_MIN, TIMEOUT_MAX),
    TIME_FIELD("partialTimeout", timeouts.partial_ns, TIMEOUT_MIN, TIMEOUT_MAX),
    FIELD_END};

/* In the order of the enums of base/logline.h. */
static const char *const format_words[] = {"logfmt", "json", NULL};
static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};
static const struct field logging_fields[] = {
    {"format", FIELD_WORD, AT(settings.log_format), .words = format_words},
    {"level", FIELD_WORD, AT(settings.log_level), .words = level_words},
    FIELD_END};

static bool is_filled(struct span text) {
    return text.size > 0;
}

static const struct field config_fields[] = {
    {"dataDirectory", FIELD_TEXT, AT(data_directory), .valid = is_filled, .expects = "a folder"},
    {"ioThreads", FIELD_INTEGER, AT(settings.io_threads), .min = 1, .max = 64},
    {"log", FIELD_OBJECT, SECTION(log_fields)},
    {"limits", FIELD_OBJECT, SECTION(limit_fields)},
    {"amqp", FIELD_OBJECT, SECTION(amqp_fields)},
    {"logging", FIELD_OBJECT, SECTION(logging_fields)},
    {"user", FIELD_TEXT, AT(user), .expects = "a user of this machine"},
    {"systemCallFilter", FIELD_BOOL, AT(settings.system_call_filter)},
    {"coreDumps", FIELD_BOOL, AT(settings.core_dumps)},
    {"openLoopback", FIELD_BOOL, AT(settings.open_loopback)},
    {"allowRemoteWithoutTls", FIELD_BOOL, AT(allow_remote_without_tls)},
    {"allowRemoteWithoutTokens", FIELD_BOOL, AT(allow_remote_without_tokens)},
    FIELD_END};

int settings_init(struct config *c) {
    struct http_limits *http = &c->settings.http_limits;
    c->settings.log_level = LOGLINE_INFO;
    c->settings.prepared_bytes = 256 * MIB;
    http_limits_default(http);
    amqp_limits_default(&c->settings.amqp_limits);
    c->settings.resident_percent = 70;
    c->timeouts = (struct config_timeouts){http->head_timeout_ms * NS_PER_MS,
                                           http->body_timeout_ms * NS_PER_MS,
                                           http->idle_timeout_ms * NS_PER_MS,
                                           http->write_timeout_ms * NS_PER_MS,
                                           c->settings.amqp_limits.heartbeat_s * NS_PER_SECOND,
                                           c->settings.amqp_limits.handshake_timeout_ms * NS_PER_MS,
                                           c->settings.amqp_limits.partial_timeout_ms * NS_PER_MS};
    c->settings.system_call_filter = true;
    int error = def_set_text(&c->user, span_of(NULL, 0));
    return error != 0 ? error : def_set_text(&c->data_directory, span_text("sluice-data"));
}

/* A message that is allowed has to be able to arrive. */
static void settle_amqp(struct config *c) {
    struct amqp_limits *l = &c->settings.amqp_limits;
    l->heartbeat_s = (uint16_t)(c->timeouts.heartbeat_ns / NS_PER_SECOND);
    l->handshake_timeout_ms = (uint32_t)(c->timeouts.handshake_ns / NS_PER_MS);
    l->partial_timeout_ms = (uint32_t)(c->timeouts.partial_ns / NS_PER_MS);
    l->memory_bytes = c->settings.http_limits.memory_bytes;
    if (l->assembled_bytes < l->message_bytes + MIB)
        l->assembled_bytes = l->message_bytes + MIB;
}

int settings_read(struct config *c, const json_t *root, const char *const *lists,
                  struct field_reader *r) {
    struct http_limits *http = &c->settings.http_limits;
    int error = fields_read(config_fields, root, c, lists, r);
    http->head_timeout_ms = (uint32_t)(c->timeouts.head_ns / NS_PER_MS);
    http->body_timeout_ms = (uint32_t)(c->timeouts.body_ns / NS_PER_MS);
    http->idle_timeout_ms = (uint32_t)(c->timeouts.idle_ns / NS_PER_MS);
    http->write_timeout_ms = (uint32_t)(c->timeouts.write_ns / NS_PER_MS);
    settle_amqp(c);
    return error;
}

bool config_is_loopback(const char *host) {
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.")] == '\0');
}

int settings_check(const struct config *c, struct field_reader *r) {
    int error = 0;
    if (c->text_count > API_SERVERS_MAX) {
        field_fault(r, "listeners", "expected at most %u listeners, found %u", API_SERVERS_MAX,
                    c->text_count);
        error = E_INVALID;
    }
    size_t outer = field_enter(r, "listeners");
    for (uint32_t i = 0; i < c->text_count; i++) {
        const struct listener_texts *l = &c->texts[i];
        if (config_is_loopback(l->host)) {
            continue;
        }
        size_t inner = field_enter_index(r, i);
        if (l->tls.certificate[0] == '\0' && !c->allow_remote_without_tls) {
            field_fault(r, "host",
                        "%s is open to other machines: expected tls, or "
                        "allowRemoteWithoutTls: true",
                        l->host);
            error = E_INVALID;
        }
        if (c->token_count == 0 && !c->allow_remote_without_tokens) {
            field_fault(r, "host",
                        "%s is open to other machines: expected tokens, or "
                        "allowRemoteWithoutTokens: true",
                        l->host);
            error = E_INVALID;
        }
        field_leave(r, inner);
    }
    field_leave(r, outer);
    return error;
}
