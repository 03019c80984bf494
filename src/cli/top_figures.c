#include "cli/top_figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

void top_figures_init(struct top_figures *f, const char *campaign) {
    *f = (struct top_figures){0};
    snprintf(f->wanted, sizeof(f->wanted), "%s", campaign == NULL ? "" : campaign);
}

static void total_set(struct top_total *t, uint64_t value) {
    if (value < t->last)
        t->before += t->last;
    t->last = value;
}

uint64_t top_total_value(const struct top_total *t) {
    return t->before + t->last;
}

/* ---- reading JSON ---- */

static void read_u64(const json_t *object, const char *key, uint64_t *ret) {
    const json_t *value = json_object_get(object, key);
    if (json_is_number(value) && json_number_value(value) >= 0)
        *ret = json_is_integer(value) ? (uint64_t)json_integer_value(value)
                                      : (uint64_t)json_number_value(value);
}

static void read_double(const json_t *object, const char *key, double *ret) {
    const json_t *value = json_object_get(object, key);
    if (json_is_number(value))
        *ret = json_number_value(value);
}

static void read_text(const json_t *object, const char *key, char out[TOP_NAME_MAX]) {
    const char *text = json_string_value(json_object_get(object, key));
    if (text != NULL)
        snprintf(out, TOP_NAME_MAX, "%s", text);
}

static void read_total(const json_t *object, const char *key, struct top_total *t) {
    uint64_t value = t->last;
    read_u64(object, key, &value);
    total_set(t, value);
}

/* The items of `list` added up, so that a server with one queue and one with ten read alike. */
static uint64_t sum_of(const json_t *list, const char *key) {
    uint64_t sum = 0;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        uint64_t value = 0;
        read_u64(item, key, &value);
        sum += value;
    }
    return sum;
}

/* ---- campaigns ---- */

static const json_t *campaign_choose(const struct top_figures *f, const json_t *campaigns) {
    size_t i;
    json_t *item;
    json_array_foreach(campaigns, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (f->wanted[0] == '\0' || (name != NULL && strcmp(name, f->wanted) == 0))
            return item;
    }
    return NULL;
}

static struct top_reason *reason_get(struct top_figures *f, const char *name) {
    for (uint32_t i = 0; i < f->reason_count; i++)
        if (strncmp(f->reasons[i].name, name, TOP_NAME_MAX - 1) == 0)
            return &f->reasons[i];
    if (f->reason_count == TOP_REASONS_MAX)
        return NULL;
    struct top_reason *r = &f->reasons[f->reason_count++];
    snprintf(r->name, sizeof(r->name), "%s", name);
    return r;
}

/* A reason that is absent has not occurred since the server's start: its counter is 0 again. */
static void reasons_read(struct top_figures *f, const json_t *refused) {
    const char *name;
    json_t *value;
    if (!json_is_object(refused))
        return;
    json_object_foreach((json_t *)(uintptr_t)refused, name, value) {
        if (json_number_value(value) > 0)
            (void)reason_get(f, name);
    }
    for (uint32_t i = 0; i < f->reason_count; i++) {
        value = json_object_get(refused, f->reasons[i].name);
        total_set(&f->reasons[i].total, (uint64_t)json_number_value(value));
    }
}

uint64_t top_figures_refused(const struct top_figures *f) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < f->reason_count; i++)
        sum += top_total_value(&f->reasons[i].total);
    return sum;
}

static void campaign_read(struct top_figures *f, const json_t *counters) {
    const json_t *c = campaign_choose(f, json_object_get(counters, "campaigns"));
    f->has_campaign = c != NULL;
    if (c == NULL) {
        reasons_read(f, json_object_get(counters, "refused"));
        return;
    }
    read_text(c, "name", f->campaign);
    read_text(c, "opensAt", f->opens_at);
    f->open = json_is_true(json_object_get(c, "open"));
    read_u64(c, "entries", &f->entries);
    read_u64(c, "sent", &f->sent);
    read_u64(c, "failed", &f->failed);
    read_u64(c, "left", &f->left);
    read_u64(c, "total", &f->total);
    reasons_read(f, json_object_get(c, "refused"));
}

static void queues_read(struct top_figures *f, const json_t *counters) {
    const json_t *queues = json_object_get(counters, "queues");
    const json_t *destinations = json_object_get(counters, "destinations");
    f->ready = sum_of(queues, "ready");
    f->delayed = sum_of(queues, "delayed");
    f->in_flight = sum_of(queues, "inFlight");
    f->blocked = sum_of(queues, "blocked");
    f->dead = sum_of(queues, "dead");
    total_set(&f->started, sum_of(destinations, "attempts"));
    if (!f->has_campaign)
        f->sent = sum_of(destinations, "succeeded");
}

static void destination_read(const json_t *from, struct top_destination *to) {
    *to = (struct top_destination){.paused = json_is_true(json_object_get(from, "paused"))};
    read_text(from, "name", to->name);
    read_text(from, "breaker", to->breaker);
    read_text(from, "health", to->health);
    read_double(from, "rate", &to->rate);
    read_u64(from, "waiting", &to->waiting);
    read_u64(from, "inFlight", &to->in_flight);
    read_u64(from, "endpoints", &to->endpoints);
    read_u64(from, "endpointsIn", &to->endpoints_in);
}

/* Each where it belongs among those that were kept so far. */
static void destinations_read(struct top_figures *f, const json_t *destinations) {
    struct top_destination d;
    f->destination_count = 0;
    for (size_t i = 0; i < json_array_size(destinations); i++) {
        destination_read(json_array_get(destinations, i), &d);
        uint32_t at = f->destination_count;
        while (at > 0 && f->destinations[at - 1].waiting < d.waiting)
            at--;
        if (at == TOP_DESTINATIONS)
            continue;
        uint32_t last =
            f->destination_count < TOP_DESTINATIONS ? f->destination_count++ : TOP_DESTINATIONS - 1;
        for (uint32_t k = last; k > at; k--)
            f->destinations[k] = f->destinations[k - 1];
        f->destinations[at] = d;
    }
}

static void server_read(struct top_figures *f, const json_t *counters) {
    const json_t *latency = json_object_get(counters, "latency");
    double uptime_s = f->uptime_s;
    read_double(counters, "uptime", &uptime_s);
    if (f->seen_any && uptime_s < f->uptime_s)
        f->restarts++;
    f->uptime_s = uptime_s;
    read_u64(counters, "position", &f->position);
    read_u64(counters, "memoryBytes", &f->memory_bytes);
    read_u64(json_object_get(counters, "http"), "openConnections", &f->connections);
    read_text(counters, "room", f->room);
    read_double(latency, "p50", &f->p50_s);
    read_double(latency, "p99", &f->p99_s);
    read_total(counters, "accepted", &f->accepted);
}

/* ---- rates ---- */

/* The newest earlier sample that is at least a second old, else the oldest there is. */
static const struct top_sample *sample_a_second_ago(const struct top_figures *f, uint64_t now_ns) {
    uint32_t kept = f->sample_count < TOP_RATE_SAMPLES ? f->sample_count : TOP_RATE_SAMPLES;
    const struct top_sample *found = NULL;
    for (uint32_t back = 1; back <= kept; back++) {
        found = &f->samples[(f->sample_count - back) % TOP_RATE_SAMPLES];
        /* Events come each quarter of a second, give or take a few ms. */
        if (now_ns - found->at_ns >= NS_PER_SECOND - 50 * NS_PER_MS)
            break;
    }
    return found;
}

static void rates_take(struct top_figures *f, const struct top_sample *now) {
    const struct top_sample *then = sample_a_second_ago(f, now->at_ns);
    if (then == NULL || now->at_ns <= then->at_ns)
        return;
    double seconds = (double)(now->at_ns - then->at_ns) / (double)NS_PER_SECOND;
    /* A limit may be used up within less than a second: what happened in one is not blown up. */
    bool whole = seconds >= 0.95;
    if (whole && seconds < 1)
        seconds = 1;
    for (uint32_t i = 0; i < TOP_RATES; i++) {
        uint64_t more = now->totals[i] > then->totals[i] ? now->totals[i] - then->totals[i] : 0;
        f->rates[i] = (double)more / seconds;
        f->history[i][f->sample_count % TOP_HISTORY] = f->rates[i];
    }
    if (whole && f->rates[TOP_STARTED] > (double)f->most_started)
        f->most_started = (uint64_t)f->rates[TOP_STARTED];
}

/* "2030-01-02T03:04:05.678Z"; what is heard may be a fraction of a second old. */
static uint64_t time_read(const json_t *counters, uint64_t now_ns) {
    struct tm t = {0};
    const char *text = json_string_value(json_object_get(counters, "time"));
    const char *rest = text == NULL ? NULL : strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    if (rest == NULL)
        return now_ns;
    double fraction = *rest == '.' ? strtod(rest, NULL) : 0;
    return (uint64_t)timegm(&t) * NS_PER_SECOND + (uint64_t)(fraction * 1e9);
}

void top_figures_add(struct top_figures *f, const json_t *counters, uint64_t now_ns) {
    server_read(f, counters);
    campaign_read(f, counters);
    queues_read(f, counters);
    destinations_read(f, json_object_get(counters, "destinations"));
    struct top_sample now = {time_read(counters, now_ns), {0}};
    now.totals[TOP_ACCEPTED] = f->has_campaign ? f->entries : top_total_value(&f->accepted);
    now.totals[TOP_REFUSED] = top_figures_refused(f);
    now.totals[TOP_SENT] = f->sent;
    now.totals[TOP_STARTED] = top_total_value(&f->started);
    rates_take(f, &now);
    f->samples[f->sample_count % TOP_RATE_SAMPLES] = now;
    f->sample_count++;
    f->seen_any = true;
    f->connected = true;
}

void top_figures_provider(struct top_figures *f, const json_t *stats) {
    f->has_provider = true;
    read_u64(stats, "seen", &f->provider_seen);
    read_u64(stats, "limit", &f->provider_limit);
    read_u64(stats, "maxInAnySecond", &f->provider_most);
    read_u64(stats, "rate", &f->provider_rate);
    read_u64(stats, "503", &f->provider_failed);
    read_u64(stats, "422", &f->provider_refused);
    read_u64(stats, "429", &f->provider_limited);
    read_u64(stats, "repeats", &f->provider_repeats);
}
