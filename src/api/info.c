#include "api/info.h"

#include "base/error.h"

void info_u64(struct json_out *out, const char *key, uint64_t value) {
    out_key(out, key);
    out_u64(out, value);
}

void info_bool(struct json_out *out, const char *key, bool value) {
    out_key(out, key);
    out_bool(out, value);
}

void info_text(struct json_out *out, const char *key, const char *value) {
    out_key(out, key);
    out_text(out, value);
}

void info_span(struct json_out *out, const char *key, struct span value) {
    out_key(out, key);
    out_span(out, value);
}

void info_time(struct json_out *out, const char *key, uint64_t ns) {
    if (ns != 0) {
        out_key(out, key);
        out_time(out, ns);
    }
}

void info_receipt(struct json_out *out, const char *key, uint64_t id) {
    char text[18];
    receipt_format(id, text);
    info_text(out, key, text);
}

const char *reservation_state_name(enum reservation_state s) {
    switch (s) {
    case RESERVATION_HELD:
        return "held";
    case RESERVATION_FINAL:
        return "final";
    case RESERVATION_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

const char *entry_state_name(enum entry_state s) {
    switch (s) {
    case ENTRY_ACCEPTED:
        return "accepted";
    case ENTRY_SENT:
        return "sent";
    case ENTRY_FAILED:
        return "failed";
    }
    return "unknown";
}

static void queue_stats(const void *info, struct json_out *out) {
    const struct queue_info *q = info;
    info_u64(out, "ready", q->ready);
    info_u64(out, "delayed", q->delayed);
    info_u64(out, "inFlight", q->in_flight);
    info_u64(out, "blocked", q->blocked);
    info_u64(out, "confirming", q->confirming);
    if (q->tenants > 0) {
        info_u64(out, "tenants", q->tenants);
    }
    info_u64(out, "dead", q->dead);
    info_u64(out, "bytes", q->bytes);
    info_u64(out, "published", q->published);
    info_u64(out, "completed", q->completed);
    info_u64(out, "died", q->died);
    info_u64(out, "expired", q->expired);
    info_u64(out, "deleted", q->deleted);
    info_u64(out, "attempts", q->attempts);
    info_time(out, "oldestAt", q->oldest_ns);
}

static void stock_stats(const void *info, struct json_out *out) {
    const struct stock_info *s = info;
    info_u64(out, "used", s->used);
    info_u64(out, "held", s->held);
    info_u64(out, "left", s->total - s->used);
    info_u64(out, "tombstones", s->tombstones);
    info_bool(out, "soldOut", s->sold_out);
    info_time(out, "soldOutSince", s->sold_out_since_ns);
}

static void campaign_stats(const void *info, struct json_out *out) {
    const struct campaign_info *c = info;
    info_bool(out, "open", c->open);
    info_u64(out, "entries", c->entries);
    info_u64(out, "sent", c->sent);
    info_u64(out, "failed", c->failed);
    info_u64(out, "left", c->left);
}

static void breaker_stats(const struct destination_info *d, struct json_out *out) {
    out_key(out, "breaker");
    out_open(out, '{');
    info_text(out, "state", breaker_state_name((enum breaker_state)d->breaker));
    info_time(out, "openUntil", d->breaker_until_ns);
    info_u64(out, "calls", d->breaker_calls);
    info_u64(out, "failed", d->breaker_bad);
    info_u64(out, "slow", d->breaker_slow);
    out_close(out, '}');
}

static void limit_stats(const struct limit_info *l, struct json_out *out) {
    out_open(out, '{');
    info_u64(out, "maxDispatches", l->count);
    out_key(out, "per");
    out_duration(out, l->period_ns);
    info_text(out, "mode", l->strict ? "strict" : "smooth");
    info_u64(out, "burst", l->burst);
    info_u64(out, "maxConcurrentDispatches", l->concurrency);
    if (l->left != UINT64_MAX) {
        info_u64(out, "left", l->left);
    }
    out_close(out, '}');
}

static void endpoint_stats(const struct endpoint_info *e, struct json_out *out) {
    const char *state = e->out                     ? "out"
                        : e->down                  ? "down"
                        : e->ejected_until_ns != 0 ? "ejected"
                        : e->weight_percent < 100  ? "slow-start"
                                                   : "in";
    out_open(out, '{');
    info_text(out, "name", e->name);
    info_text(out, "state", state);
    info_time(out, "ejectedUntil", e->ejected_until_ns);
    info_u64(out, "attempts", e->started);
    info_u64(out, "succeeded", e->succeeded);
    info_u64(out, "failed", e->failed);
    info_u64(out, "inFlight", e->in_flight);
    info_u64(out, "successPercent", e->success_percent);
    out_key(out, "averageDuration");
    out_duration(out, e->average_us * 1000);
    out_close(out, '}');
}

static void destination_guards(const struct destination_detail *detail, struct json_out *out) {
    const struct destination_info *d = &detail->info;
    breaker_stats(d, out);
    out_key(out, "limits");
    out_open(out, '[');
    for (uint32_t i = 0; i < d->limit_count; i++) {
        limit_stats(&detail->limits[i], out);
    }
    out_close(out, ']');
    out_key(out, "endpoints");
    out_open(out, '[');
    for (uint32_t i = 0; i < d->endpoint_count; i++) {
        endpoint_stats(&detail->endpoints[i], out);
    }
    out_close(out, ']');
    info_text(out, "health", health_name((enum health)d->health));
    info_time(out, "healthSince", d->health_since_ns);
    info_u64(out, "recentFailures", d->failures);
}

static void destination_stats(const void *info, struct json_out *out) {
    const struct destination_detail *detail = info;
    const struct destination_info *d = &detail->info;
    info_u64(out, "attempts", d->attempts);
    info_u64(out, "succeeded", d->succeeded);
    info_u64(out, "failed", d->failed);
    info_u64(out, "inFlight", d->in_flight);
    info_u64(out, "waiting", d->waiting);
    info_bool(out, "paused", d->paused);
    info_time(out, "closedUntil", d->closed_until_ns);
    if (d->paused) {
        info_text(out, "pausedReason", pause_reason_name(d->pause_reason));
    }
    info_u64(out, "deferredRetries", d->deferred);
    if (d->concurrency_limit != 0) {
        info_u64(out, "concurrencyLimit", d->concurrency_limit);
    }
    destination_guards(detail, out);
}

static const struct {
    size_t size;
    void (*write)(const void *info, struct json_out *out);
} writers[DEFINITION_KINDS] = {
    [DEFINITION_QUEUE] = {sizeof(struct queue_info), queue_stats},
    [DEFINITION_STOCK] = {sizeof(struct stock_info), stock_stats},
    [DEFINITION_CAMPAIGN] = {sizeof(struct campaign_info), campaign_stats},
    [DEFINITION_DESTINATION] = {offsetof(struct destination_detail, endpoints), destination_stats},
};

int info_write_stats(enum definition_kind kind, struct span info, struct json_out *out) {
    /* The bytes of a list answer stand at any address. */
    union {
        struct queue_info queue;
        struct stock_info stock;
        struct campaign_info campaign;
        struct destination_detail destination;
    } aligned;
    bool endpoints = kind == DEFINITION_DESTINATION && info.size <= sizeof aligned;
    if (info.size < writers[kind].size || (!endpoints && info.size != writers[kind].size)) {
        return E_CORRUPT;
    }
    memcpy(&aligned, info.data, info.size);
    out_key(out, "stats");
    out_open(out, '{');
    writers[kind].write(&aligned, out);
    out_close(out, '}');
    return 0;
}

void info_eta(struct json_out *out, const struct eta *eta) {
    info_time(out, "eta", eta->at_ns);
    if (eta->waits_for != WAITS_FOR_NOBODY) {
        info_text(out, "waitsFor", waits_for_name(eta->waits_for));
    }
}

void info_write_message(const struct message_info *m, struct json_out *out) {
    info_receipt(out, "id", m->id);
    info_text(out, "state", message_state_name(m->state));
    info_u64(out, "priority", m->priority);
    info_u64(out, "attempts", m->attempts);
    info_u64(out, "bodyBytes", m->body_bytes);
    info_time(out, "acceptedAt", m->accepted_ns);
    info_time(out, "changedAt", m->changed_ns);
    info_time(out, "dueAt", m->due_ns);
    info_time(out, "expiresAt", m->expires_ns);
    info_eta(out, &m->eta);
    if (m->dead_reason != DEAD_NONE) {
        info_text(out, "deadReason", dead_reason_name(m->dead_reason));
    }
    if (m->last_status != 0) {
        info_u64(out, "lastStatus", m->last_status);
    }
    if (m->last_error != ATTEMPT_OK) {
        info_text(out, "lastError", attempt_error_name((enum attempt_error)m->last_error));
    }
}
