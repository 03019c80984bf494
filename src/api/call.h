/*
 * api/call.h - one HTTP request on its way through the engine and back. Internal to api/.
 *
 * Life of a call, all on its loop's thread:
 *
 *      api_handle: take from the pool, head, route, rate, rights, query, body type
 *          route->handle(c):  either answers at once (call_json, call_problem, ...)
 *                             or fills c->request, sets c->answer and calls call_submit
 *      api_before_wait: the chain of the turn goes to the engine
 *      ... answered: c->answer(c), which renders, or submits again (STALE, next page of a purge)
 *      http_reply, back to the pool
 *
 * Lists are large while they wait for the loop to render them, which the engine is quicker than. So calls that list have
 * LIST_ITEMS_MAX items at a time, from their first list to their end; the others wait here, each before its first.
 *
 * Memory: spans of the exchange are borrowed until it is answered. What a request needs besides comes
 * from call_alloc and goes with the call; answers are rendered into buffers of the loop.
 */
#ifndef SLUICE_API_CALL_H
#define SLUICE_API_CALL_H

#include <jansson.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/definitions.h"
#include "api/json_out.h"
#include "api/json_scan.h"
#include "api/place.h"
#include "api/rate.h"
#include "api/problem.h"
#include "base/histogram.h"
#include "http/router.h"

#define CALL_ARENA_BYTES  512u
#define CORRELATION_BYTES 64u
#define LIST_ITEMS_MAX    16384u /* of a loop; no less than what gather.h asks for at once */

struct route;
struct gather;
struct campaign_hints;
struct events;

/* The header fields that we read, found in one walk. */
struct call_head {
    struct span content_type, idempotency_key, correlation_id, traceparent, tracestate;
    struct span authorization, origin, host, if_match;
    bool has_options; /* some Sluice-* field stands there */
};

enum call_view { VIEW_BASIC, VIEW_FULL, VIEW_BODY };

/* Query parameters, with their defaults. */
struct call_query {
    uint32_t page_size;
    uint64_t after;
    uint8_t place[PLACE_DIGITS]; /* of a list of messages: its token */
    bool has_place;
    enum message_state filter; /* 0: all */
    enum call_view view;
    bool keep_body;
    struct span reason; /* of a discard */
};

struct call_block {
    struct call_block *next; /* owns */
};

struct call {
    struct engine_request request;
    struct net_item item; /* carries an answered chain to the loop */
    struct call *next;    /* link: pool, or lists that wait */
    struct api_loop *loop;
    struct http_exchange *x; /* NULL: our own question, see gather.h */
    const struct route *route;
    bool rated; /* `rate` is to be told */
    struct rate_state rate;
    struct principal principal; /* who asks, as far as the route had to know */
    void (*answer)(struct call *c);
    struct call_head head;
    struct call_query query;
    struct http_match match;
    uint64_t started_ns;
    char correlation[CORRELATION_BYTES];
    uint8_t correlation_size;

    /* ---- of single routes ---- */
    struct definition definition; /* define; owned when has_definition */
    bool has_definition;
    json_t *tree;                /* owns: bodies read whole */
    uint32_t tries;              /* of one that is submitted again */
    uint64_t count;              /* purge, redrive: done so far */
    struct gather *gather;       /* borrows */
    struct call *company;        /* link: lists that are asked for with it, at one moment */
    struct buffer *kept;         /* owns: a tenant's list so far, or NULL */
    uint32_t items;              /* of lists, its company's too: admitted until it is given back */
    bool quiet;                  /* what is asked now only looks: nobody has to answer for it */
    void *own;                   /* owns: of routes in api_more ... */
    void (*own_free)(void *own); /* ... and how it goes */

    struct call_block *blocks; /* owns: what did not fit the arena */
    uint32_t arena_used;
    _Alignas(16) uint8_t arena[CALL_ARENA_BYTES];
};

struct api_loop {
    struct engine_port port;
    struct api *api;
    struct net_loop *loop;
    struct api_loop *next; /* link: loops of the api */
    struct call *pool;     /* owns: calls that are free */
    uint32_t calls, calls_max;
    /* Collected in this turn. */
    struct engine_request *first, *last;
    uint32_t collected;
    /* Lists: those that are admitted, and those that wait for it, oldest first. */
    uint32_t items;
    struct call *waiting, *last_waiting; /* link */
    /* Rendering room, valid within one answer. */
    struct buffer text, headers;
    struct field_errors *errors;  /* owns */
    struct campaign_hints *hints; /* owns */
    struct events *events;        /* owns */
    uint64_t correlation_seed;
    struct http_server *servers[API_SERVERS_MAX]; /* borrow */
    atomic_uint server_count;
    /* Under `lock`, so that another loop may read it. */
    pthread_mutex_t lock;
    struct histogram latency;
};

/* Since the process started. */
struct api_counts {
    atomic_ullong accepted; /* receipts given, replays not counted */
    atomic_ullong busy;     /* the engine's queue or the pool was full */
    atomic_ullong limited;  /* refused by the rate of their client */
    atomic_ullong replayed;
    atomic_ullong entries; /* accepted campaign entries */
    atomic_ullong published;
};

struct campaign_refusals;
struct clerk;

struct api {
    struct api_options options;
    struct http_router *router;
    struct route *routes; /* owns: ours, then those of options.more */
    size_t route_count;
    struct buffer openapi;
    struct clerk *clerk;  /* owns; NULL: api_work was not called */
    struct hash_key hash; /* idempotency scope and fingerprint: the same in every process */
    uint64_t started_ns;  /* monotonic */
    uint32_t process;     /* random: of page tokens that end with it */
    struct rate *rate;    /* owns; NULL: no limit */
    struct api_counts counts;
    atomic_bool stopping;
    pthread_mutex_t lock; /* for what follows */
    struct api_loop *loops;
    struct campaign_refusals *refusals; /* owns: list, see campaigns.c */
    struct buffer counters;             /* the last event's data */
    uint64_t counters_ns;               /* when it was made, monotonic */
    /* All latencies up to two moments in the past, so that events show the last seconds. */
    struct histogram earlier[2];
    uint64_t earlier_ns[2];
};

/* ---- calls ---- */
/* NULL: calls_max reached or no memory. */
struct call *call_take(struct api_loop *l);
void call_give(struct call *c);
/* As long as the call. NULL: no memory. */
MUST_CHECK void *call_alloc(struct call *c, size_t size);
/* Capture `i` of the path. */
struct span call_capture(const struct call *c, size_t i);
/* Fills in idempotency and puts it into this turn's chain; `answer` runs when it is durable. */
void call_submit(struct call *c, void (*answer)(struct call *c));
/* The same for a list with a filter, by the clerk. */
void call_search(struct call *c, void (*answer)(struct call *c));
/* Who asks is known (c->principal): rights, query, body, handler. */
void call_go_on(struct call *c);
/* Another question of the same call, ready to be filled in. */
struct request *call_request(struct call *c, enum request_kind kind);
/* May somebody on this machine do everything, and is this somebody? */
bool call_is_open(const struct call *c);
/* Again with the same input: STALE, or a request that is done in steps. */
void call_resubmit(struct call *c);
/* The body as a tree in c->tree. False: answered with a problem. */
MUST_CHECK bool call_read_tree(struct call *c);
/* What the request takes along from its head: content type, tracing, correlation id. */
void call_envelope(struct call *c, struct envelope *e);

/* ---- answers: each ends the call ---- */
/* A header line for the answer to come; value must have no line end. */
void call_header(struct call *c, const char *name, struct span value);
struct json_out call_json_begin(struct call *c);
void call_json_end(struct call *c, int status, const struct json_out *out);
void call_text(struct call *c, int status, const char *content_type, struct span body);
void call_empty(struct call *c, int status);
void call_problem(struct call *c, enum problem kind, const char *detail);
/* 400 about one field. */
void call_invalid(struct call *c, const char *pointer, const char *detail);
void call_problem_facts(struct call *c, struct problem_facts *facts);
/* 400 with all of loop->errors. */
void call_errors(struct call *c);
/* True: the engine refused, and that was answered. */
MUST_CHECK bool call_refused(struct call *c);

/* A reader of fields that collects into the loop's errors. */
struct field_reader call_reader(struct call *c);

/* A list of `kind` over c->query's page, for the resource of the first capture if there is one. */
void call_list(struct call *c, enum request_kind kind, void (*answer)(struct call *c));
/* "nextPageToken", when there is a next page. */
void call_page_token(struct call *c, struct json_out *out);
/* The same of a list of messages: place.h. */
void call_place_token(struct call *c, struct json_out *out);
/* Where such a list goes on. False: answered, the token is not of this list. */
bool call_take_place(struct call *c);

/* {"receipt":..., "number":..., ...}: the members that every accepted request has. */
void call_receipt_members(struct call *c, struct json_out *out);
/* Location, Idempotency-Replayed, counts. */
void call_receipt_headers(struct call *c);

#endif
