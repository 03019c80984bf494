/*
 * The data of a `counters` event: absolute numbers, so that a viewer that misses some loses nothing;
 * rates are the viewer's to compute. Only the latencies are of the last few seconds.
 */
#include <stdlib.h>

#include "api/campaigns.h"
#include "api/gather.h"
#include "api/info.h"
#include "base/clock.h"

#define WINDOW_NS (2 * NS_PER_SECOND)

static double seconds(uint64_t ns) {
    return (double)ns / 1e9;
}

static void info_seconds(struct json_out *out, const char *key, uint64_t ns) {
    out_key(out, key);
    out_double(out, seconds(ns));
}

static void write_refused(const uint64_t by[REFUSAL_COUNT], struct json_out *out) {
    out_key(out, "refused");
    out_open(out, '{');
    for (int i = REFUSAL_NONE + 1; i < REFUSAL_COUNT; i++) {
        if (by[i] > 0 && i != REFUSAL_STALE) {
            info_u64(out, refusal_name((enum refusal)i), by[i]);
        }
    }
    out_close(out, '}');
}

/* ---- by kind ---- */

struct writer {
    const struct gather *g;
    struct json_out *out;
};

static uint64_t age_of(const struct gather *g, uint64_t since_ns) {
    return since_ns != 0 && g->now_ns > since_ns ? g->now_ns - since_ns : 0;
}

static void write_queue(void *arg, const struct definition *d, const void *info) {
    const struct writer *w = arg;
    const struct queue_info *q = info;
    out_open(w->out, '{');
    info_text(w->out, "name", definition_name(d));
    info_u64(w->out, "ready", q->ready);
    info_u64(w->out, "delayed", q->delayed);
    info_u64(w->out, "inFlight", q->in_flight);
    info_u64(w->out, "blocked", q->blocked);
    info_u64(w->out, "dead", q->dead);
    info_u64(w->out, "published", q->published);
    info_u64(w->out, "completed", q->completed);
    info_seconds(w->out, "oldestAge", age_of(w->g, q->oldest_ns));
    out_close(w->out, '}');
}

/* Starts a second in the long run; 0: no limit. */
static double least_rate(const struct destination_detail *detail) {
    double least = 0;
    for (uint32_t i = 0; i < detail->info.limit_count; i++) {
        const struct limit_info *l = &detail->limits[i];
        double rate = l->count == 0 ? 0 : l->count / seconds(l->period_ns);
        least = rate > 0 && (least == 0 || rate < least) ? rate : least;
    }
    return least;
}

static void write_destination(void *arg, const struct definition *d, const void *info) {
    const struct writer *w = arg;
    const struct destination_detail *detail = info;
    const struct destination_info *i = &detail->info;
    out_open(w->out, '{');
    info_text(w->out, "name", definition_name(d));
    info_u64(w->out, "attempts", i->attempts);
    info_u64(w->out, "succeeded", i->succeeded);
    info_u64(w->out, "failed", i->failed);
    info_u64(w->out, "inFlight", i->in_flight);
    info_u64(w->out, "waiting", i->waiting);
    info_bool(w->out, "paused", i->paused);
    info_time(w->out, "closedUntil", i->closed_until_ns > w->g->now_ns ? i->closed_until_ns : 0);
    out_key(w->out, "rate");
    out_double(w->out, least_rate(detail));
    info_text(w->out, "breaker", breaker_state_name((enum breaker_state)i->breaker));
    info_text(w->out, "health", health_name((enum health)i->health));
    info_u64(w->out, "endpoints", i->endpoint_count);
    info_u64(w->out, "endpointsIn", i->endpoints_in);
    out_close(w->out, '}');
}

static void write_stock(void *arg, const struct definition *d, const void *info) {
    const struct writer *w = arg;
    const struct stock_info *s = info;
    out_open(w->out, '{');
    info_text(w->out, "name", definition_name(d));
    info_u64(w->out, "total", s->total);
    info_u64(w->out, "used", s->used);
    info_u64(w->out, "held", s->held);
    info_bool(w->out, "soldOut", s->sold_out);
    out_close(w->out, '}');
}

/* Units that the campaign can give in all: what its stock has beyond the safety stock. */
struct total {
    const struct campaign_def *campaign;
    uint64_t units;
};

static void find_total(void *arg, const struct definition *d, const void *info) {
    struct total *t = arg;
    const struct stock_info *s = info;
    if (strcmp(definition_name(d), t->campaign->stock) == 0 &&
        s->total > t->campaign->safety_stock) {
        t->units = s->total - t->campaign->safety_stock;
    }
}

static void write_campaign(void *arg, const struct definition *d, const void *info) {
    const struct writer *w = arg;
    const struct campaign_info *i = info;
    struct total total = {&d->u.campaign, 0};
    uint64_t refused[REFUSAL_COUNT] = {0};
    struct campaign_refusals *r =
        campaign_refusals_find(w->g->loop->api, span_text(definition_name(d)));
    for (int k = 0; r != NULL && k < REFUSAL_COUNT; k++) {
        refused[k] = atomic_load_explicit(&r->by[k], memory_order_relaxed);
    }
    gather_each(w->g, DEFINITION_STOCK, find_total, &total);
    out_open(w->out, '{');
    info_text(w->out, "name", definition_name(d));
    info_bool(w->out, "open", i->open);
    info_time(w->out, "opensAt", d->u.campaign.opens_ns);
    info_time(w->out, "closesAt", d->u.campaign.closes_ns);
    info_u64(w->out, "entries", i->entries);
    info_u64(w->out, "sent", i->sent);
    info_u64(w->out, "failed", i->failed);
    info_u64(w->out, "left", i->left);
    info_u64(w->out, "total", total.units);
    write_refused(refused, w->out);
    out_close(w->out, '}');
}

static void write_kind(struct writer *w, enum definition_kind kind, gather_visit *visit) {
    out_key(w->out, definition_types[kind].plural);
    out_open(w->out, '[');
    gather_each(w->g, kind, visit, w);
    out_close(w->out, ']');
}

/* ---- the whole ---- */

/* Latencies since two to four seconds ago. */
static void recent_latency(struct api *api, struct histogram *h) {
    uint64_t now = clock_monotonic_ns();
    gather_latency(api, h);
    pthread_mutex_lock(&api->lock);
    struct histogram *older = &api->earlier[0], *newer = &api->earlier[1];
    if (now - api->earlier_ns[1] >= WINDOW_NS) {
        *older = *newer;
        *newer = *h;
        api->earlier_ns[0] = api->earlier_ns[1];
        api->earlier_ns[1] = now;
    }
    /* Another loop may have gone on meanwhile: then ours shows everything since the start. */
    if (older->count <= h->count) {
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            h->counts[i] -= older->counts[i];
        }
        h->count -= older->count;
    }
    pthread_mutex_unlock(&api->lock);
}

static void write_latency(struct api *api, struct json_out *out) {
    struct histogram *h = malloc(sizeof *h);
    out_key(out, "latency");
    out_open(out, '{');
    if (h != NULL) {
        recent_latency(api, h);
        info_seconds(out, "p50", histogram_quantile_ns(h, 0.5));
        info_seconds(out, "p99", histogram_quantile_ns(h, 0.99));
        info_seconds(out, "p999", histogram_quantile_ns(h, 0.999));
    }
    out_close(out, '}');
    free(h);
}

static void write_log(const struct engine_stats *s, struct json_out *out) {
    info_u64(out, "position", s->next_position > 0 ? s->next_position - 1 : 0);
    info_u64(out, "durable", s->durable_position);
    info_u64(out, "waiting", s->waiting);
    info_u64(out, "requests", s->requests);
    info_u64(out, "logBytes", s->log.written_bytes);
    info_u64(out, "flushes", s->log.flushes);
    info_u64(out, "memoryBytes", s->memory_bytes);
    info_u64(out, "snapshotPosition", s->snapshot_position);
}

static const char *room_name(enum log_room room) {
    return room == LOG_ROOM_OK ? "ok" : room == LOG_ROOM_RESERVE ? "reserve" : "none";
}

static void write_http(struct api *api, struct json_out *out) {
    struct http_server_stats s = gather_http(api);
    out_key(out, "http");
    out_open(out, '{');
    info_u64(out, "requests", s.requests);
    info_u64(out, "openConnections", s.open_connections);
    out_close(out, '}');
}

void counters_write(const struct gather *g, struct json_out *out) {
    struct api *api = g->loop->api;
    struct writer w = {g, out};
    uint64_t refused[REFUSAL_COUNT];
    memcpy(refused, g->stats.refused, sizeof refused);
    refused[REFUSAL_BUSY] += atomic_load_explicit(&api->counts.busy, memory_order_relaxed);
    out_open(out, '{');
    info_time(out, "time", g->now_ns);
    info_seconds(out, "uptime", clock_monotonic_ns() - api->started_ns);
    info_u64(out, "accepted", atomic_load_explicit(&api->counts.accepted, memory_order_relaxed));
    write_log(&g->stats, out);
    info_text(out, "room", room_name(engine_room(api->options.engine)));
    write_refused(refused, out);
    write_kind(&w, DEFINITION_CAMPAIGN, write_campaign);
    write_kind(&w, DEFINITION_QUEUE, write_queue);
    write_kind(&w, DEFINITION_DESTINATION, write_destination);
    write_kind(&w, DEFINITION_STOCK, write_stock);
    write_http(api, out);
    write_latency(api, out);
    out_close(out, '}');
}
