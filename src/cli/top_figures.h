/*
 * cli/top_figures.h - from the server's absolute counters to the figures that `sluice top` shows.
 *
 * Promise: rates are over the last second; counters that start again from 0 (a restart of the server)
 *          give neither negative rates nor totals that shrink: what was seen before is kept. The figures
 *          of one campaign are shown: the one named, else the first.
 * Shape:   plain struct, caller-owned, no allocation; time is passed in.
 * Units:   ns monotonic; rates per second.
 */
#ifndef SLUICE_CLI_TOP_FIGURES_H
#define SLUICE_CLI_TOP_FIGURES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/span.h"

#define TOP_NAME_MAX     64u
#define TOP_REASONS_MAX  12u
#define TOP_HISTORY      240u /* samples kept for the small charts */
#define TOP_RATE_SAMPLES 64u
#define TOP_DESTINATIONS 8u /* that are shown: those with the most waiting */

enum top_rate { TOP_ACCEPTED, TOP_REFUSED, TOP_SENT, TOP_STARTED, TOP_RATES };

/* A counter as the viewer counts it: goes on where it was when the server's starts again. */
struct top_total {
    uint64_t before; /* of earlier lives of the server */
    uint64_t last;   /* the server's own */
};

struct top_reason {
    char name[TOP_NAME_MAX];
    struct top_total total;
};

struct top_sample {
    uint64_t at_ns;
    uint64_t totals[TOP_RATES];
};

struct top_destination {
    char name[TOP_NAME_MAX], breaker[TOP_NAME_MAX], health[TOP_NAME_MAX];
    bool paused;
    double rate; /* allowed per second; 0: without a limit */
    uint64_t waiting, in_flight, endpoints, endpoints_in;
};

struct top_figures {
    char wanted[TOP_NAME_MAX];      /* campaign; "" is the first */
    bool connected, seen_any, lost; /* lost: a connection ended, or never came to be */

    char campaign[TOP_NAME_MAX], opens_at[TOP_NAME_MAX], room[TOP_NAME_MAX];
    bool has_campaign, open;
    uint64_t entries, sent, failed, left, total;
    uint64_t ready, delayed, in_flight, blocked, dead;
    uint64_t position, memory_bytes, connections, restarts;
    double uptime_s, p50_s, p99_s;

    struct top_total accepted, started;
    struct top_destination destinations[TOP_DESTINATIONS]; /* the most waiting first */
    uint32_t destination_count;
    struct top_reason reasons[TOP_REASONS_MAX];
    uint32_t reason_count;

    struct top_sample samples[TOP_RATE_SAMPLES]; /* ring */
    uint32_t sample_count;                       /* ever */
    double rates[TOP_RATES];
    double history[TOP_RATES][TOP_HISTORY]; /* ring of rates, by sample_count */
    uint64_t most_started;                  /* in about a second, by the counters */

    bool has_provider;
    uint64_t provider_seen, provider_limit, provider_most, provider_rate;
    uint64_t provider_failed, provider_refused, provider_limited, provider_repeats;
};

void top_figures_init(struct top_figures *f, const char *campaign);
/* One `counters` event, of its own `time`, else of now_ns. Anything missing in it stays as it was. */
void top_figures_add(struct top_figures *f, const json_t *counters, uint64_t now_ns);
/* The provider's /stats. */
void top_figures_provider(struct top_figures *f, const json_t *stats);
uint64_t top_total_value(const struct top_total *t);
/* Of all reasons. */
uint64_t top_figures_refused(const struct top_figures *f);

#endif
