#include "api/api.h"

#include <sodium.h>
#include <stdlib.h>

#include "api/campaigns.h"
#include "api/clerk.h"
#include "api/events.h"
#include "api/head.h"
#include "api/openapi.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/error.h"

#define CALLS_DEFAULT      65536u
#define TEXT_MAX_BYTES     ((size_t)128 << 20) /* a full page of the longest definitions */
#define HEADERS_MAX_BYTES  8192u
#define OPENAPI_MAX_BYTES  ((size_t)1 << 20)
#define COUNTERS_MAX_BYTES ((size_t)8 << 20)
#define SUBMIT_AT          32u /* requests collected: the engine may begin while the turn goes on */
#define CONTEXT_BYTES      256u

/* ---- the process's ---- */

static int collect_routes(struct api *api) {
    const struct api_more *more = api->options.more;
    size_t count = more != NULL ? more->route_count : 0;
    api->routes = calloc(api_route_count + count, sizeof *api->routes);
    if (api->routes == NULL) {
        return E_NOMEM;
    }
    memcpy(api->routes, api_routes, api_route_count * sizeof *api->routes);
    if (count > 0) {
        memcpy(api->routes + api_route_count, more->routes, count * sizeof *api->routes);
    }
    api->route_count = api_route_count + count;
    return 0;
}

static int create_router(struct api *api) {
    struct http_route *routes = calloc(api->route_count, sizeof *routes);
    if (routes == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < api->route_count; i++) {
        routes[i] = (struct http_route){api->routes[i].method, api->routes[i].pattern};
    }
    size_t bad;
    int error = http_router_create(routes, api->route_count, &bad, &api->router);
    free(routes); /* the router borrows only the patterns */
    return error;
}

int api_create(const struct api_options *options, struct api **ret) {
    struct api *api = calloc(1, sizeof *api);
    if (api == NULL) {
        return E_NOMEM;
    }
    api->options = *options;
    api->started_ns = clock_monotonic_ns();
    /* Fixed: idempotency scopes and fingerprints stand in the log and must survive a restart. */
    api->hash = (struct hash_key){0x736c756963652d69, 0x6465706d706f7465};
    buffer_init(&api->openapi, OPENAPI_MAX_BYTES);
    buffer_init(&api->counters, COUNTERS_MAX_BYTES);
    histogram_init(&api->earlier[0]);
    histogram_init(&api->earlier[1]);
    pthread_mutex_init(&api->lock, NULL);
    int error = sodium_init() < 0 ? E_UNSUPPORTED : collect_routes(api);
    api->process = randombytes_random();
    if (error == 0 && options->requests_per_second != 0) {
        error = rate_create(options->requests_per_second, options->requests_burst, &api->rate);
    }
    if (error == 0) {
        error = create_router(api);
    }
    if (error == 0) {
        error = openapi_write(api->routes, api->route_count, options->version, &api->openapi);
    }
    if (error != 0) {
        api_free(api);
        return error;
    }
    *ret = api;
    return 0;
}

void api_free(struct api *api) {
    http_router_free(api->router);
    rate_free(api->rate);
    free(api->routes);
    campaign_refusals_free(api->refusals);
    clerk_free(api->clerk);
    buffer_release(&api->openapi);
    buffer_release(&api->counters);
    pthread_mutex_destroy(&api->lock);
    free(api);
}

int api_work(struct api *api) {
    return clerk_create(api->options.engine, &api->clerk);
}

void api_stop(struct api *api) {
    /* Under the lock, so that nobody is reading the counters of servers that are freed from now on. */
    pthread_mutex_lock(&api->lock);
    atomic_store(&api->stopping, true);
    pthread_mutex_unlock(&api->lock);
    if (api->clerk != NULL) {
        clerk_stop(api->clerk);
    }
}

/* ---- a loop's ---- */

static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last);

static int loop_parts(struct api_loop *l) {
    l->errors = calloc(1, sizeof *l->errors);
    if (l->errors == NULL) {
        return E_NOMEM;
    }
    int error = campaign_hints_create(&l->hints);
    return error != 0 ? error : events_create(l, &l->events);
}

int api_loop_create(struct api *api, struct api_loop **ret) {
    struct api_loop *l = calloc(1, sizeof *l);
    if (l == NULL) {
        return E_NOMEM;
    }
    l->api = api;
    l->port.deliver = deliver;
    l->calls_max = api->options.calls_max != 0 ? api->options.calls_max : CALLS_DEFAULT;
    buffer_init(&l->text, TEXT_MAX_BYTES);
    buffer_init(&l->headers, HEADERS_MAX_BYTES);
    histogram_init(&l->latency);
    pthread_mutex_init(&l->lock, NULL);
    randombytes_buf(&l->correlation_seed, sizeof l->correlation_seed);
    pthread_mutex_lock(&api->lock);
    l->next = api->loops;
    api->loops = l;
    pthread_mutex_unlock(&api->lock);
    int error = loop_parts(l);
    if (error != 0) {
        api_loop_free(l);
        return error;
    }
    *ret = l;
    return 0;
}

void api_loop_attach(struct api_loop *l, struct net_loop *loop) {
    l->loop = loop;
}

int api_loop_watch(struct api_loop *l, struct http_server *server) {
    unsigned count = atomic_load(&l->server_count);
    if (count == API_SERVERS_MAX) {
        return E_LIMIT;
    }
    l->servers[count] = server;
    atomic_store(&l->server_count, count + 1);
    return 0;
}

void api_loop_free(struct api_loop *l) {
    pthread_mutex_lock(&l->api->lock);
    struct api_loop **at = &l->api->loops;
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    pthread_mutex_unlock(&l->api->lock);
    while (l->pool != NULL) {
        struct call *c = l->pool;
        l->pool = c->next;
        free(c);
    }
    events_free(l->events);
    campaign_hints_free(l->hints);
    free(l->errors);
    buffer_release(&l->text);
    buffer_release(&l->headers);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- to the engine and back ---- */

static void run_answers(struct engine_request *first) {
    while (first != NULL) {
        struct call *c = CONTAINER_OF(first, struct call, request);
        first = first->next; /* the call may be on its next way when answer returns */
        c->answer(c);
    }
}

static void run_item(struct net_item *item) {
    run_answers(&CONTAINER_OF(item, struct call, item)->request);
}

/* Any thread. One item for the whole chain: it rides on the chain's first call. */
static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last) {
    struct api_loop *l = CONTAINER_OF(port, struct api_loop, port);
    struct call *c = CONTAINER_OF(first, struct call, request);
    last->next = NULL;
    c->item.run = run_item;
    net_loop_post(l->loop, &c->item);
}

static enum refusal refusal_of(int error) {
    return error == E_BUSY || error == E_NOMEM ? REFUSAL_BUSY : REFUSAL_STOPPING;
}

/* The engine took none of them. */
static void refuse_chain(struct api_loop *l, struct engine_request *first, enum refusal refusal) {
    for (struct engine_request *r = first; r != NULL; r = r->next) {
        r->r.refusal = refusal;
        if (refusal == REFUSAL_BUSY) {
            atomic_fetch_add_explicit(&l->api->counts.busy, 1, memory_order_relaxed);
        }
    }
    run_answers(first);
}

void call_search(struct call *c, void (*answer)(struct call *c)) {
    struct clerk *clerk = c->loop->api->clerk;
    c->answer = answer;
    c->request.port = &c->loop->port;
    int error = clerk != NULL ? clerk_search(clerk, &c->request) : E_CLOSED;
    if (error != 0) {
        c->request.next = NULL;
        refuse_chain(c->loop, &c->request, refusal_of(error));
    }
}

static void submit(struct api_loop *l) {
    struct engine_request *first = l->first, *last = l->last;
    uint32_t count = l->collected;
    l->first = l->last = NULL;
    l->collected = 0;
    int error = engine_submit(l->api->options.engine, first, last, count);
    if (error != 0) {
        refuse_chain(l, first, refusal_of(error));
    }
}

void api_before_wait(void *context, struct net_loop *loop) {
    struct api_loop *l = context;
    (void)loop;
    /* Again: an engine that stops refuses at once, and that admits lists that waited. */
    while (l->first != NULL) {
        submit(l);
    }
}

/* ---- the way in ---- */

static void no_route(struct call *c, int error) {
    if (error == E_UNSUPPORTED && http_method(c->x) == HTTP_OPTIONS_) {
        call_header(c, "Allow", span_text(c->match.allow));
        call_empty(c, 204);
    } else if (error == E_UNSUPPORTED) {
        call_header(c, "Allow", span_text(c->match.allow));
        call_problem(c, PROBLEM_METHOD, NULL);
    } else if (error == E_INVALID) {
        call_invalid(c, "", "the path is malformed");
    } else {
        call_problem(c, PROBLEM_NOT_FOUND, "no route has this path: /openapi.json has them all");
    }
}

/* Nothing can be taken from the pool, so this answers without a call. */
static void refuse_busy(struct api_loop *l, struct http_exchange *x) {
    char text[CONTEXT_BYTES * 2];
    size_t size = api_problem(l, 503, "too many requests are under way", text, sizeof text);
    atomic_fetch_add_explicit(&l->api->counts.busy, 1, memory_order_relaxed);
    http_reply(x, 503, "application/problem+json", span_text("Retry-After: 1\r\n"),
               span_of(text, size));
}

void call_go_on(struct call *c) {
    if (head_rights(c) && head_query(c) && head_body_type(c)) {
        c->route->handle(c);
    }
}

/* Tools of RabbitMQ write a slash behind paths of the management API; our own paths have none. */
static struct span routed_path(const struct http_exchange *x) {
    struct span path = http_path(x);
    bool managed = path.size > 5 && memcmp(path.data, "/api/", 5) == 0;
    return managed && path.data[path.size - 1] == '/' ? span_of(path.data, path.size - 1) : path;
}

void api_handle(void *context, struct http_exchange *x) {
    struct api_loop *l = context;
    struct call *c = call_take(l);
    if (c == NULL) {
        refuse_busy(l, x);
        return;
    }
    c->x = x;
    c->started_ns = clock_monotonic_ns();
    head_read(c);
    int error = http_router_match(l->api->router, http_method(x), routed_path(x), &c->match);
    if (error != 0) {
        no_route(c, error);
        return;
    }
    c->route = &l->api->routes[c->match.route];
    if (!head_admit(c)) {
        return;
    }
    if (head_logs_in(c)) {
        l->api->options.more->login(c);
    } else {
        call_go_on(c);
    }
    if (l->collected >= SUBMIT_AT) {
        submit(l);
    }
}

size_t api_problem(void *context, int status, const char *detail, char *out, size_t size) {
    (void)context;
    struct buffer text;
    struct json_out json;
    buffer_init(&text, size);
    out_init(&json, &text);
    struct problem_facts facts = {.kind = problem_of_status(status), .detail = detail};
    problem_write(&facts, &json);
    size_t written = json.failed ? 0 : text.size;
    if (written > 0) {
        memcpy(out, text.data, written);
    }
    buffer_release(&text);
    return written;
}
