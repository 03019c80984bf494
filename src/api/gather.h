/*
 * api/gather.h - all counters at one moment, for events and metrics. Internal to api/.
 *
 * Promise: the four lists are asked for as one chain, so they are of one moment of the engine; at most
 *          LIST_MAX of each kind are shown.
 */
#ifndef SLUICE_API_GATHER_H
#define SLUICE_API_GATHER_H

#include "api/call.h"

struct gather {
    struct api_loop *loop;
    struct call
        *lists[DEFINITION_KINDS]; /* owns: answered list requests; NULL: could not be asked */
    unsigned missing;
    struct engine_stats stats;
    uint64_t now_ns; /* real time, when the engine decided the lists */
    void (*done)(struct gather *g, void *arg);
    void *arg;
};

/* `done` runs on the loop, in a later step of this turn or another; what it is given is freed after. */
MUST_CHECK int gather_start(struct api_loop *l, void (*done)(struct gather *g, void *arg),
                            void *arg);

/* Walks one kind. info points at that kind's *_info struct. */
typedef void gather_visit(void *arg, const struct definition *d, const void *info);
void gather_each(const struct gather *g, enum definition_kind kind, gather_visit *visit, void *arg);

/* Sums over the loops. */
struct http_server_stats gather_http(struct api *api);
void gather_latency(struct api *api, struct histogram *ret);

/* The data of a `counters` event. */
void counters_write(const struct gather *g, struct json_out *out);
/* Prometheus text. E_NOMEM, E_LIMIT. */
MUST_CHECK int metrics_write(const struct gather *g, struct buffer *out);

#endif
