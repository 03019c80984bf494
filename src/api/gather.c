#include "api/gather.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

/* When the engine decided: the answers have waited for a flush since, and rates are made of these times. */
static uint64_t decided_ns(const struct gather *g) {
    for (int kind = 0; kind < DEFINITION_KINDS; kind++) {
        const struct call *c = g->lists[kind];
        if (c != NULL && c->request.r.refusal == REFUSAL_NONE) {
            return c->request.decided_ns;
        }
    }
    return clock_real_ns(); /* too busy to be asked */
}

static void answered(struct call *c) {
    struct gather *g = c->gather;
    if (--g->missing > 0) {
        return;
    }
    engine_stats(g->loop->api->options.engine, &g->stats);
    g->now_ns = decided_ns(g);
    g->done(g, g->arg);
    for (int kind = 0; kind < DEFINITION_KINDS; kind++) {
        if (g->lists[kind] != NULL) {
            call_give(g->lists[kind]);
        }
    }
    free(g);
}

_Static_assert(DEFINITION_KINDS *LIST_MAX <= LIST_ITEMS_MAX, "they are admitted together");

int gather_start(struct api_loop *l, void (*done)(struct gather *g, void *arg), void *arg) {
    struct gather *g = calloc(1, sizeof *g);
    if (g == NULL) {
        return E_NOMEM;
    }
    *g = (struct gather){.loop = l, .done = done, .arg = arg};
    struct call *first = NULL;
    for (int kind = DEFINITION_KINDS - 1; kind >= 0; kind--) {
        struct call *c = call_take(l);
        if (c == NULL) {
            continue;
        }
        c->gather = g;
        c->answer = answered;
        c->company = first;
        c->request.r.kind = definition_types[kind].list;
        c->request.r.in.list.max = LIST_MAX;
        g->lists[kind] = first = c;
        g->missing++;
    }
    if (first == NULL) {
        free(g);
        return E_LIMIT;
    }
    call_submit(first, answered);
    return 0;
}

void gather_each(const struct gather *g, enum definition_kind kind, gather_visit *visit,
                 void *arg) {
    union {
        struct queue_info queue;
        struct stock_info stock;
        struct campaign_info campaign;
        struct destination_detail destination;
    } info; /* a copy: the bytes of the answer stand at any address */
    if (g->lists[kind] == NULL) {
        return;
    }
    struct reader r;
    reader_init(&r, buffer_span(&g->lists[kind]->request.r.out_bytes));
    while (r.left > 0) {
        struct definition d;
        struct span encoded = reader_bytes(&r), bytes = reader_bytes(&r);
        if (r.failed || bytes.size > sizeof info || definition_decode(kind, encoded, &d) != 0) {
            return;
        }
        memcpy(&info, bytes.data, bytes.size);
        visit(arg, &d, &info);
        definition_release(&d);
    }
}

struct http_server_stats gather_http(struct api *api) {
    struct http_server_stats sum = {.requests = 0};
    pthread_mutex_lock(&api->lock);
    for (struct api_loop *l = api->loops; l != NULL; l = l->next) {
        unsigned count = atomic_load(&api->stopping) ? 0 : atomic_load(&l->server_count);
        for (unsigned i = 0; i < count; i++) {
            struct http_server_stats one;
            http_server_stats(l->servers[i], &one);
            sum.accepted += one.accepted;
            sum.requests += one.requests;
            sum.responses_5xx += one.responses_5xx;
            sum.protocol_errors += one.protocol_errors;
            sum.timeouts += one.timeouts;
            sum.bytes_in += one.bytes_in;
            sum.bytes_out += one.bytes_out;
            sum.open_connections += one.open_connections;
        }
    }
    pthread_mutex_unlock(&api->lock);
    return sum;
}

void gather_latency(struct api *api, struct histogram *ret) {
    histogram_init(ret);
    pthread_mutex_lock(&api->lock);
    for (struct api_loop *l = api->loops; l != NULL; l = l->next) {
        pthread_mutex_lock(&l->lock);
        histogram_merge(ret, &l->latency);
        pthread_mutex_unlock(&l->lock);
    }
    pthread_mutex_unlock(&api->lock);
}
