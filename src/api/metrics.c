/*
 * /metrics in Prometheus text format 0.0.4. Names have the prefix sluice_ and base units; labels are
 * names of resources and refusals, nothing that a client can invent without end.
 */
#include <stdlib.h>
#include <string.h>

#include "api/gather.h"
#include "api/json_out.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"

struct metrics {
    const struct gather *g;
    struct buffer *out;
    int error;
};

#define PUT(m, ...)                                                                                \
    ((m)->error = (m)->error != 0 ? (m)->error : buffer_printf((m)->out, __VA_ARGS__))

static bool is_plain(uint8_t c) {
    return c < 0x80 && c != '"' && c != '\\' && c != '\n';
}

/*
 * The value of a label. A queue that AMQP declared may be called anything, and a scraper refuses a whole page for one
 * bad name.
 */
static void put_label(struct metrics *m, const char *value) {
    const uint8_t *p = (const uint8_t *)value;
    size_t left = strlen(value);
    while (left > 0) {
        size_t length = 0;
        while (length < left && is_plain(p[length]))
            length++;
        if (length > 0 || (*p >= 0x80 && (length = utf8_length(p, left)) > 0)) {
            PUT(m, "%.*s", (int)length, (const char *)p);
        } else {
            PUT(m, "%s", *p == '\n' ? "\\n" : *p == '"' ? "\\\"" : *p == '\\' ? "\\\\" : "\uFFFD");
            length = 1;
        }
        p += length;
        left -= length;
    }
}

static void head(struct metrics *m, const char *name, const char *type, const char *help) {
    PUT(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void counter(struct metrics *m, const char *name, const char *help, uint64_t value) {
    head(m, name, "counter", help);
    PUT(m, "%s %llu\n", name, (unsigned long long)value);
}

static void gauge(struct metrics *m, const char *name, const char *help, uint64_t value) {
    head(m, name, "gauge", help);
    PUT(m, "%s %llu\n", name, (unsigned long long)value);
}

/* ---- by resource: the format wants all samples of a name together, so one walk for each name ---- */

enum value_type { VALUE_U64, VALUE_BOOL, VALUE_AGE };

struct series {
    const char *name, *type, *help;
    const char *label; /* a second label with its value, or empty */
    enum definition_kind kind;
    size_t offset; /* in the kind's *_info */
    enum value_type value;
};

static const struct series all_series[] = {
    {"sluice_queue_messages", "gauge", "Messages of a queue by state.", ",state=\"ready\"",
     DEFINITION_QUEUE, offsetof(struct queue_info, ready), VALUE_U64},
    {"sluice_queue_messages", "", "", ",state=\"delayed\"", DEFINITION_QUEUE,
     offsetof(struct queue_info, delayed), VALUE_U64},
    {"sluice_queue_messages", "", "", ",state=\"in-flight\"", DEFINITION_QUEUE,
     offsetof(struct queue_info, in_flight), VALUE_U64},
    {"sluice_queue_messages", "", "", ",state=\"blocked\"", DEFINITION_QUEUE,
     offsetof(struct queue_info, blocked), VALUE_U64},
    {"sluice_queue_messages", "", "", ",state=\"dead\"", DEFINITION_QUEUE,
     offsetof(struct queue_info, dead), VALUE_U64},
    {"sluice_queue_bytes", "gauge", "Bodies waiting in a queue.", "", DEFINITION_QUEUE,
     offsetof(struct queue_info, bytes), VALUE_U64},
    {"sluice_queue_oldest_seconds", "gauge", "Age of the oldest ready message.", "",
     DEFINITION_QUEUE, offsetof(struct queue_info, oldest_ns), VALUE_AGE},
    {"sluice_queue_published_total", "counter", "Messages accepted.", "", DEFINITION_QUEUE,
     offsetof(struct queue_info, published), VALUE_U64},
    {"sluice_queue_completed_total", "counter", "Messages delivered.", "", DEFINITION_QUEUE,
     offsetof(struct queue_info, completed), VALUE_U64},
    {"sluice_queue_died_total", "counter", "Messages refused for good or exhausted.", "",
     DEFINITION_QUEUE, offsetof(struct queue_info, died), VALUE_U64},
    {"sluice_queue_expired_total", "counter", "Messages whose time to live ended.", "",
     DEFINITION_QUEUE, offsetof(struct queue_info, expired), VALUE_U64},
    {"sluice_queue_attempts_total", "counter", "Attempts started.", "", DEFINITION_QUEUE,
     offsetof(struct queue_info, attempts), VALUE_U64},
    {"sluice_destination_attempts_total", "counter", "Attempts started.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, attempts), VALUE_U64},
    {"sluice_destination_succeeded_total", "counter", "Attempts that succeeded.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, succeeded), VALUE_U64},
    {"sluice_destination_failed_total", "counter", "Attempts that failed.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, failed), VALUE_U64},
    {"sluice_destination_in_flight", "gauge", "Attempts under way.", "", DEFINITION_DESTINATION,
     offsetof(struct destination_info, in_flight), VALUE_U64},
    {"sluice_destination_waiting", "gauge", "Messages ready for the destination.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, waiting), VALUE_U64},
    {"sluice_destination_deferred_retries_total", "counter", "Retries put off by the budget.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, deferred), VALUE_U64},
    {"sluice_destination_paused", "gauge", "1 while nothing may start.", "", DEFINITION_DESTINATION,
     offsetof(struct destination_info, paused), VALUE_BOOL},
    {"sluice_destination_breaker_state", "gauge",
     "0: closed, 1: open, 2: half-open, 3: opened by hand.", "", DEFINITION_DESTINATION,
     offsetof(struct destination_info, breaker), VALUE_U64},
    {"sluice_destination_health", "gauge", "0: healthy, 1: caution, 2: critical.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, health), VALUE_U64},
    {"sluice_destination_recent_failures", "gauge", "Failures that the failover rule counts.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, failures), VALUE_U64},
    {"sluice_destination_concurrency_limit", "gauge", "What was found by adaptive concurrency.", "",
     DEFINITION_DESTINATION, offsetof(struct destination_info, concurrency_limit), VALUE_U64},
    {"sluice_stock_total_units", "gauge", "Units that there are.", "", DEFINITION_STOCK,
     offsetof(struct stock_info, total), VALUE_U64},
    {"sluice_stock_used_units", "gauge", "Units taken, held ones included.", "", DEFINITION_STOCK,
     offsetof(struct stock_info, used), VALUE_U64},
    {"sluice_stock_held_units", "gauge", "Units held and not confirmed.", "", DEFINITION_STOCK,
     offsetof(struct stock_info, held), VALUE_U64},
    {"sluice_stock_sold_out", "gauge", "1 when nothing is left.", "", DEFINITION_STOCK,
     offsetof(struct stock_info, sold_out), VALUE_BOOL},
    {"sluice_campaign_entries_total", "counter", "Entries accepted.", "", DEFINITION_CAMPAIGN,
     offsetof(struct campaign_info, entries), VALUE_U64},
    {"sluice_campaign_sent_total", "counter", "Entries sent.", "", DEFINITION_CAMPAIGN,
     offsetof(struct campaign_info, sent), VALUE_U64},
    {"sluice_campaign_failed_total", "counter", "Entries whose sending failed for good.", "",
     DEFINITION_CAMPAIGN, offsetof(struct campaign_info, failed), VALUE_U64},
    {"sluice_campaign_left_units", "gauge", "Units that may still be won.", "", DEFINITION_CAMPAIGN,
     offsetof(struct campaign_info, left), VALUE_U64},
    {"sluice_campaign_open", "gauge", "1 while entries are taken.", "", DEFINITION_CAMPAIGN,
     offsetof(struct campaign_info, open), VALUE_BOOL},
};

struct visit {
    struct metrics *m;
    const struct series *s;
};

static void put_sample(void *arg, const struct definition *d, const void *info) {
    const struct visit *v = arg;
    const void *at = (const char *)info + v->s->offset;
    PUT(v->m, "%s{%s=\"", v->s->name, definition_types[d->kind].noun);
    put_label(v->m, definition_name(d));
    PUT(v->m, "\"%s} ", v->s->label);
    uint64_t number = v->s->value == VALUE_BOOL ? *(const bool *)at : *(const uint64_t *)at;
    uint64_t now = v->m->g->now_ns;
    if (v->s->value == VALUE_AGE) {
        PUT(v->m, "%.3f\n", number != 0 && now > number ? (double)(now - number) / 1e9 : 0.0);
    } else {
        PUT(v->m, "%llu\n", (unsigned long long)number);
    }
}

static void put_resources(struct metrics *m) {
    for (size_t i = 0; i < ARRAY_LENGTH(all_series); i++) {
        const struct series *s = &all_series[i];
        if (s->type[0] != '\0') {
            head(m, s->name, s->type, s->help);
        }
        gather_each(m->g, s->kind, put_sample, &(struct visit){m, s});
    }
}

/* ---- by endpoint ---- */

static const struct {
    const char *name, *type, *help;
    size_t offset; /* in struct endpoint_info */
    enum value_type value;
} endpoint_series[] = {
    {"sluice_endpoint_in", "gauge", "1 while it may be called.", offsetof(struct endpoint_info, in),
     VALUE_BOOL},
    {"sluice_endpoint_attempts_total", "counter", "Attempts started.",
     offsetof(struct endpoint_info, started), VALUE_U64},
    {"sluice_endpoint_failed_total", "counter", "Attempts that failed.",
     offsetof(struct endpoint_info, failed), VALUE_U64},
    {"sluice_endpoint_in_flight", "gauge", "Attempts under way.",
     offsetof(struct endpoint_info, in_flight), VALUE_U64},
    {"sluice_endpoint_average_microseconds", "gauge", "Peak-sensitive average of answer times.",
     offsetof(struct endpoint_info, average_us), VALUE_U64},
};

struct endpoint_visit {
    struct metrics *m;
    size_t series;
};

static void put_endpoints(void *arg, const struct definition *d, const void *info) {
    const struct endpoint_visit *v = arg;
    const struct destination_detail *detail = info;
    for (uint32_t i = 0; i < detail->info.endpoint_count; i++) {
        const struct endpoint_info *e = &detail->endpoints[i];
        const void *at = (const char *)e + endpoint_series[v->series].offset;
        bool flag = endpoint_series[v->series].value == VALUE_BOOL;
        uint64_t number = flag ? *(const bool *)at : *(const uint64_t *)at;
        PUT(v->m, "%s{destination=\"%s\",endpoint=\"%s\"} %llu\n", endpoint_series[v->series].name,
            definition_name(d), e->name, (unsigned long long)number);
    }
}

static void put_all_endpoints(struct metrics *m) {
    for (size_t i = 0; i < ARRAY_LENGTH(endpoint_series); i++) {
        head(m, endpoint_series[i].name, endpoint_series[i].type, endpoint_series[i].help);
        gather_each(m->g, DEFINITION_DESTINATION, put_endpoints, &(struct endpoint_visit){m, i});
    }
}

/* ---- of the process ---- */

static void put_latency(struct metrics *m) {
    static const char name[] = "sluice_http_request_duration_seconds";
    struct histogram *h = malloc(sizeof *h);
    if (h == NULL) {
        m->error = E_NOMEM;
        return;
    }
    gather_latency(m->g->loop->api, h);
    head(m, name, "histogram", "From the whole request to its answer.");
    for (uint64_t us = 100; us <= 10000000; us *= 10) {
        static const uint32_t steps[] = {10, 25, 50};
        for (size_t i = 0; i < ARRAY_LENGTH(steps); i++) {
            uint64_t bound_ns = us * NS_PER_US / 10 * steps[i];
            PUT(m, "%s_bucket{le=\"%.9g\"} %llu\n", name, (double)bound_ns / 1e9,
                (unsigned long long)histogram_count_up_to(h, bound_ns));
        }
    }
    PUT(m, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)h->count);
    PUT(m, "%s_sum %.9f\n%s_count %llu\n", name, (double)h->sum_ns / 1e9, name,
        (unsigned long long)h->count);
    free(h);
}

static void put_refused(struct metrics *m) {
    const struct api_counts *counts = &m->g->loop->api->counts;
    head(m, "sluice_refused_total", "counter", "Requests refused, by reason.");
    for (int i = REFUSAL_NONE + 1; i < REFUSAL_COUNT; i++) {
        uint64_t count = m->g->stats.refused[i];
        if (i == REFUSAL_BUSY) {
            count += atomic_load_explicit(&counts->busy, memory_order_relaxed);
        }
        if (i != REFUSAL_STALE) {
            PUT(m, "sluice_refused_total{reason=\"%s\"} %llu\n", refusal_name((enum refusal)i),
                (unsigned long long)count);
        }
    }
    PUT(m, "sluice_refused_total{reason=\"rate-limited\"} %llu\n",
        (unsigned long long)atomic_load_explicit(&counts->limited, memory_order_relaxed));
}

static void put_http(struct metrics *m) {
    struct http_server_stats s = gather_http(m->g->loop->api);
    counter(m, "sluice_http_requests_total", "Requests received.", s.requests);
    counter(m, "sluice_http_connections_total", "Connections accepted.", s.accepted);
    gauge(m, "sluice_http_open_connections", "Connections open.", s.open_connections);
    counter(m, "sluice_http_protocol_errors_total", "Malformed requests.", s.protocol_errors);
    counter(m, "sluice_http_timeouts_total", "Connections closed as too slow.", s.timeouts);
    counter(m, "sluice_http_received_bytes_total", "Bytes read.", s.bytes_in);
    counter(m, "sluice_http_sent_bytes_total", "Bytes written.", s.bytes_out);
}

static void put_engine(struct metrics *m) {
    const struct engine_stats *s = &m->g->stats;
    struct api *api = m->g->loop->api;
    counter(m, "sluice_accepted_total", "Receipts given since start.",
            atomic_load_explicit(&api->counts.accepted, memory_order_relaxed));
    counter(m, "sluice_replayed_total", "Answers repeated for an Idempotency-Key.",
            atomic_load_explicit(&api->counts.replayed, memory_order_relaxed));
    counter(m, "sluice_engine_requests_total", "Requests decided.", s->requests);
    gauge(m, "sluice_engine_waiting_requests", "Requests not answered yet.", s->waiting);
    gauge(m, "sluice_memory_bytes", "Memory held by the state.", s->memory_bytes);
    counter(m, "sluice_log_records_total", "Records appended since start.", s->records);
    counter(m, "sluice_log_appended_bytes_total", "Bytes of those records.", s->log.appended_bytes);
    counter(m, "sluice_log_written_bytes_total", "Bytes written to the log.", s->log.written_bytes);
    counter(m, "sluice_log_flushes_total", "Flushes of the log.", s->log.flushes);
    gauge(m, "sluice_log_prepared_bytes", "Log space written ahead for a burst.",
          s->log.prepared_bytes);
    gauge(m, "sluice_log_disk_bytes", "Disk space of the log.", s->log.disk_bytes);
    gauge(m, "sluice_log_position", "Position of the last record.",
          s->next_position > 0 ? s->next_position - 1 : 0);
    gauge(m, "sluice_log_durable_position", "Last position on disk.", s->durable_position);
    gauge(m, "sluice_log_room", "2: room for everything, 1: only for consuming, 0: none.",
          (uint64_t)(LOG_ROOM_NONE - engine_room(api->options.engine)));
    counter(m, "sluice_snapshots_total", "Snapshots taken since start.", s->snapshots);
    gauge(m, "sluice_snapshot_position", "Position of the last snapshot.", s->snapshot_position);
    counter(m, "sluice_compaction_moved_messages_total", "Messages copied forward.",
            s->moved_messages);
    counter(m, "sluice_compaction_released_segments_total", "Segments given back.",
            s->released_segments);
    gauge(m, "sluice_log_damaged", "Stretches of the log that do not read as written.", s->damaged);
}

int metrics_write(const struct gather *g, struct buffer *out) {
    struct metrics m = {g, out, 0};
    head(&m, "sluice_info", "gauge", "The program.");
    PUT(&m, "sluice_info{version=\"%s\"} 1\n", g->loop->api->options.version);
    put_engine(&m);
    put_refused(&m);
    put_http(&m);
    put_latency(&m);
    put_resources(&m);
    put_all_endpoints(&m);
    return m.error;
}
