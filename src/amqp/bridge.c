/*
 *      connection ─ask─► crossing ─► chain of the turn ─► engine_submit (at SUBMIT_AT, and before the wait)
 *      connection ◄─answer─ op ◄─ finish ◄─ loop ◄─ port.deliver (a chain rides on its first crossing)
 *
 *      engine ─► hub: sorts by bridge ─► loop ─► route: waits for room ─► body is read ─► connection
 */
#include "amqp/bridge.h"

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/access.h"
#include "amqp/bridge_ops.h"
#include "amqp/census.h"
#include "amqp/connection_state.h"
#include "amqp/message.h"
#include "base/error.h"

#define SUBMIT_AT      32u  /* requests collected: the engine may begin while the turn goes on */
#define POOL_MAX       256u /* crossings kept */
#define PROPERTIES_MAX (4u << 20)

struct amqp_bridge {
    struct engine_port port;
    struct amqp_hub *hub;                                 /* borrows */
    struct engine *engine;                                /* borrows */
    struct net_loop *loop;                                /* borrows */
    struct amqp_server *servers[AMQP_BRIDGE_SERVERS_MAX]; /* borrow */
    size_t server_count;
    struct amqp_crossing *pool; /* owns */
    uint32_t pooled;
    /* Collected in this turn. */
    struct engine_request *first, *last;
    uint32_t collected;
    /* Ops that need no engine, answered before the wait. */
    struct amqp_crossing *known, *known_last;
    struct amqp_routes routes;
    struct list access; /* what users may do, as of this generation of the engine's */
    uint64_t access_generation;
    struct list waiting;      /* routes with deliveries */
    struct log_ahead bodies;  /* of deliveries */
    struct buffer properties; /* room for those of one delivery */
};

struct amqp_hub {
    struct amqp_bridge *bridges[AMQP_BRIDGES_MAX]; /* borrow */
    uint32_t count;
    bool guest;
    atomic_uint between; /* items on their way from loop to loop */
};

/* Deliveries on their way to a loop. */
struct handed {
    struct net_item item;
    struct amqp_bridge *bridge;
    uint32_t count;
    struct delivery items[];
};

struct room_item {
    struct net_item item;
    struct amqp_bridge *bridge;
    const char *reason; /* static; NULL: none */
};

struct engine *amqp_bridge_engine(struct amqp_bridge *b) {
    return b->engine;
}

struct amqp_routes *amqp_bridge_routes(struct amqp_bridge *b) {
    return &b->routes;
}

struct list *amqp_bridge_access(struct amqp_bridge *b) {
    return &b->access;
}

bool amqp_bridge_knows_guest(const struct amqp_bridge *b) {
    return b->hub->guest;
}

/* ---- crossings ---- */

static struct amqp_crossing *take(struct amqp_bridge *b) {
    struct amqp_crossing *x = b->pool;
    if (x == NULL) {
        x = calloc(1, sizeof *x);
        if (x == NULL)
            abort(); /* an op that is never answered would hold its connection for ever */
        x->bridge = b;
        buffer_init(&x->properties, PROPERTIES_MAX);
        return x;
    }
    b->pool = x->next;
    b->pooled--;
    return x;
}

static void give(struct amqp_crossing *x) {
    struct amqp_bridge *b = x->bridge;
    request_release(&x->request.r);
    amqp_crossing_clear(x);
    if (b->pooled == POOL_MAX) {
        free(x);
        return;
    }
    x->next = b->pool;
    b->pool = x;
    b->pooled++;
}

static void answer(struct amqp_crossing *x) {
    struct amqp_op *op = x->op;
    give(x);
    if (op != NULL)
        amqp_server_answer(op);
}

/* ---- passwords ---- */

static void work(uv_work_t *w) {
    amqp_crossing_check_password(CONTAINER_OF(w, struct amqp_crossing, work));
}

static void after_work(uv_work_t *w, int status) {
    struct amqp_crossing *x = CONTAINER_OF(w, struct amqp_crossing, work);
    (void)status;
    amqp_crossing_checked(x);
    answer(x);
}

/* ---- to the engine and back ---- */

static void run_answers(struct engine_request *first) {
    while (first != NULL) {
        struct amqp_crossing *x = CONTAINER_OF(first, struct amqp_crossing, request);
        first = first->next;
        if (amqp_crossing_finish(x))
            answer(x);
        else if (uv_queue_work(net_loop_uv(x->bridge->loop), &x->work, work, after_work) != 0)
            abort(); /* only for a callback that is missing */
    }
}

static void run_item(struct net_item *item) {
    run_answers(&CONTAINER_OF(item, struct amqp_crossing, item)->request);
}

/* Any thread. */
static void port_deliver(struct engine_port *port, struct engine_request *first,
                         struct engine_request *last) {
    struct amqp_bridge *b = CONTAINER_OF(port, struct amqp_bridge, port);
    struct amqp_crossing *x = CONTAINER_OF(first, struct amqp_crossing, request);
    last->next = NULL;
    x->item.run = run_item;
    net_loop_post(b->loop, &x->item);
}

/* Answered before the wait. */
static void know(struct amqp_bridge *b, struct amqp_crossing *x) {
    x->next = NULL;
    if (b->known == NULL)
        b->known = x;
    else
        b->known_last->next = x;
    b->known_last = x;
}

/* The engine took none of them. */
static void refuse_chain(struct amqp_bridge *b, struct engine_request *first, int error) {
    while (first != NULL) {
        struct amqp_crossing *x = CONTAINER_OF(first, struct amqp_crossing, request);
        first = first->next;
        x->request.r.refusal =
            error == E_BUSY || error == E_NOMEM ? REFUSAL_BUSY : REFUSAL_STOPPING;
        if (!amqp_crossing_finish(x))
            amqp_crossing_checked(x);
        know(b, x);
    }
}

static void submit(struct amqp_bridge *b) {
    struct engine_request *first = b->first, *last = b->last;
    uint32_t count = b->collected;
    b->first = b->last = NULL;
    b->collected = 0;
    int error = count > 0 ? engine_submit(b->engine, first, last, count) : 0;
    if (error != 0)
        refuse_chain(b, first, error);
}

/* A client is told of neither; lost by a crash, a settlement is a redelivery, as if it had not come. */
static bool nobody_waits(const struct amqp_crossing *x) {
    return x->op != NULL && (x->op->kind == AMQP_OP_SETTLE || x->op->kind == AMQP_OP_CREDIT);
}

static void collect(struct amqp_crossing *x) {
    struct amqp_bridge *b = x->bridge;
    x->request.port = &b->port;
    x->request.may_wait = nobody_waits(x);
    x->request.next = NULL;
    if (b->first == NULL)
        b->first = &x->request;
    else
        b->last->next = &x->request;
    b->last = &x->request;
    if (++b->collected >= SUBMIT_AT)
        submit(b);
}

/*
 * Rights were changed somewhere: they are asked for again. What comes in the meantime, a flush at most after a
 * loop has noticed, is decided as before. With nobody there the engine is not asked: the loop outlives it.
 */
static void refresh_access(struct amqp_bridge *b) {
    if (list_empty(&b->access))
        return;
    uint64_t generation = engine_access_generation(b->engine);
    if (generation == b->access_generation)
        return;
    b->access_generation = generation;
    for (struct amqp_access *a = amqp_access_first(&b->access); a != NULL;
         a = amqp_access_next(&b->access, a)) {
        struct amqp_crossing *x = take(b);
        amqp_access_ref(a);
        x->access = a;
        amqp_crossing_begin_access(x);
        collect(x);
    }
}

/* ---- direct replies: to the loop of whoever asked, and back ---- */

static void run_back(struct net_item *item) {
    struct amqp_crossing *x = CONTAINER_OF(item, struct amqp_crossing, item);
    struct amqp_hub *h = x->bridge->hub;
    answer(x);
    atomic_fetch_sub(&h->between, 1);
}

/* On the other loop, while the op waits here: its message is not copied. */
static void run_reply(struct net_item *item) {
    struct amqp_crossing *x = CONTAINER_OF(item, struct amqp_crossing, item);
    struct amqp_bridge *there = x->bridge->hub->bridges[amqp_session_bridge(x->address.session)];
    const struct amqp_route *route = amqp_route_find(&there->routes, x->address.session);
    bool publish = x->op->kind == AMQP_OP_PUBLISH;
    bool found = route != NULL && amqp_server_reply(route->connection, &x->address,
                                                    publish ? &x->op->in.publish : NULL);
    x->op->routed = found;
    x->op->consumer_count = found;
    if (!found && !publish)
        amqp_op_refuse(x->op, AMQP_NOT_FOUND, "no queue '%s' in vhost '%s'", x->op->name,
                       x->op->connection->vhost);
    x->item.run = run_back;
    net_loop_post(x->bridge->loop, &x->item);
}

/* False: it is nothing of that kind. */
static bool reply(struct amqp_crossing *x) {
    struct amqp_op *op = x->op;
    bool declare = op->kind == AMQP_OP_METHOD && op->method.id == AMQP_QUEUE_DECLARE;
    bool publish = op->kind == AMQP_OP_PUBLISH && op->in.publish.exchange.size == 0;
    if (!declare && !publish)
        return false;
    struct span name = declare ? op->method.as.queue_declare.queue : op->in.publish.routing_key;
    bool bare = declare && amqp_is_reply_to(name);
    if (!bare && !amqp_reply_address_read(name, &x->address))
        return false;
    if (declare && amqp_op_set_name(op, name) != 0)
        amqp_op_refuse(op, AMQP_INTERNAL_ERROR, "out of memory");
    op->consumer_count = bare;
    if (bare || op->code != 0 || amqp_session_bridge(x->address.session) >= x->bridge->hub->count) {
        know(x->bridge, x);
        return true;
    }
    x->item.run = run_reply;
    atomic_fetch_add(&x->bridge->hub->between, 1);
    net_loop_post(x->bridge->hub->bridges[amqp_session_bridge(x->address.session)]->loop, &x->item);
    return true;
}

static void ask(void *context, struct amqp_op *op) {
    struct amqp_bridge *b = context;
    struct amqp_crossing *x = take(b);
    x->op = op;
    x->route = amqp_connection_link(op->connection);
    if (reply(x))
        return;
    if (amqp_crossing_begin(x)) {
        collect(x);
    } else {
        know(b, x);
    }
}

static void answer_known(struct amqp_bridge *b) {
    while (b->known != NULL) {
        struct amqp_crossing *x = b->known;
        b->known = x->next;
        answer(x);
    }
}

/* ---- deliveries ---- */

/* A body that does not read is a dead letter: handed out it would only come back. */
static void deliver_one(struct amqp_bridge *b, struct amqp_route *route, const struct delivery *d) {
    struct amqp_connection *c = route->connection;
    if (d->kind == DELIVERY_CANCELLED) {
        amqp_server_cancelled(c, d->channel, d->consumer);
        return;
    }
    struct stored_message stored;
    struct amqp_delivery out;
    int error = engine_read_message_ahead(b->engine, d->stored_id, d->address, &b->bodies, &stored);
    if (error == 0)
        error = amqp_message_out(&stored, d, &b->properties, &out);
    if (error != 0) {
        amqp_settle(c, d->message, AMQP_VERDICT_REJECT);
        return;
    }
    out.channel = d->channel;
    out.consumer = d->consumer;
    amqp_server_deliver(c, &out);
}

/* As far as there is room. True: something was delivered. */
static bool pump(struct amqp_bridge *b, struct amqp_route *route) {
    bool any = false;
    struct delivery *d;
    while ((d = amqp_route_head(route)) != NULL && amqp_server_has_room(route->connection)) {
        deliver_one(b, route, d);
        amqp_route_pop(route);
        any = true;
    }
    if (d == NULL)
        list_remove(&route->node);
    return any;
}

static bool pump_all(struct amqp_bridge *b) {
    bool any = false;
    struct list_node *next;
    for (struct list_node *n = list_first(&b->waiting); n != NULL; n = next) {
        next = list_next(&b->waiting, n);
        any = pump(b, CONTAINER_OF(n, struct amqp_route, node)) || any;
    }
    return any;
}

/* On the loop's thread. Of a session that has gone all was given back when it was closed. */
static void run_handed(struct net_item *item) {
    struct handed *h = CONTAINER_OF(item, struct handed, item);
    struct amqp_bridge *b = h->bridge;
    for (uint32_t i = 0; i < h->count; i++) {
        struct amqp_route *route = amqp_route_find(&b->routes, h->items[i].session);
        if (route == NULL || amqp_route_push(route, &h->items[i]) != 0) {
            free(h->items[i].origin);
            if (route != NULL)
                amqp_fail_nomem(route->connection);
        } else if (!list_linked(&route->node)) {
            list_append(&b->waiting, &route->node);
        }
    }
    net_loop_again(b->loop); /* what was decided in before_wait comes behind it */
    free(h);
}

static uint32_t count_for(const struct delivery_batch *batch, uint32_t bridge) {
    uint32_t count = 0;
    for (; batch != NULL; batch = batch->next) {
        for (uint32_t i = 0; i < batch->count; i++)
            count += amqp_session_bridge(batch->items[i].session) == bridge;
    }
    return count;
}

/* Moves the bridge's part over, origins included. */
static void hand_over(struct amqp_bridge *b, uint32_t number, struct delivery_batch *batch) {
    uint32_t count = count_for(batch, number);
    if (count == 0)
        return;
    struct handed *h = malloc(sizeof *h + count * sizeof h->items[0]);
    if (h == NULL)
        abort(); /* they are durable: nobody would ever hand them out again */
    *h = (struct handed){.item.run = run_handed, .bridge = b};
    for (; batch != NULL; batch = batch->next) {
        for (uint32_t i = 0; i < batch->count; i++) {
            if (amqp_session_bridge(batch->items[i].session) != number)
                continue;
            h->items[h->count++] = batch->items[i];
            batch->items[i].origin = NULL;
        }
    }
    net_loop_post(b->loop, &h->item);
}

void amqp_hub_deliver(struct amqp_hub *h, struct delivery_batch *first) {
    for (uint32_t i = 0; i < h->count; i++)
        hand_over(h->bridges[i], i, first);
    delivery_batch_free(first);
}

/*
 * Says what was made, answers what is known, until nothing new comes of it. Confirms leave before deliveries are made, and
 * what was published meanwhile is on its way to the disk: neither has to wait for bodies to be copied.
 */
void amqp_bridge_before_wait(struct amqp_bridge *b) {
    bool again;
    refresh_access(b);
    do {
        answer_known(b);
        for (size_t i = 0; i < b->server_count; i++)
            amqp_server_before_wait(b->servers[i]);
        submit(b);
        again = pump_all(b);
    } while (again || b->known != NULL || b->first != NULL);
}

/* ---- room on the disk, memory ---- */

static const char *alarm_text(enum log_room room, bool short_of_memory) {
    return room != LOG_ROOM_OK ? "low on disk" : short_of_memory ? "low on memory" : NULL;
}

static void run_room(struct net_item *item) {
    struct room_item *r = CONTAINER_OF(item, struct room_item, item);
    for (size_t i = 0; i < r->bridge->server_count; i++)
        amqp_server_alarm(r->bridge->servers[i], r->reason != NULL, r->reason);
    free(r);
}

void amqp_hub_room(struct amqp_hub *h, enum log_room room, bool short_of_memory) {
    for (uint32_t i = 0; i < h->count; i++) {
        struct room_item *r = malloc(sizeof *r);
        if (r == NULL)
            continue; /* publishes are refused one by one then */
        *r = (struct room_item){.item.run = run_room,
                                .bridge = h->bridges[i],
                                .reason = alarm_text(room, short_of_memory)};
        net_loop_post(h->bridges[i]->loop, &r->item);
    }
}

/* ---- a census ---- */

static void run_census(struct net_item *item) {
    struct amqp_census *c = CONTAINER_OF(item, struct amqp_census, item);
    struct amqp_hub *h = c->hub;
    if (amqp_census_take(c, &h->bridges[c->at]->routes)) {
        c->at++;
        c->slot = 0;
    }
    if (c->at < h->count) {
        net_loop_post(h->bridges[c->at]->loop, &c->item);
    } else {
        c->done(c); /* may free it */
        atomic_fetch_sub(&h->between, 1);
    }
}

void amqp_hub_census(struct amqp_hub *h, struct amqp_census *c) {
    c->hub = h;
    c->at = c->slot = 0;
    c->item.run = run_census;
    if (h->count == 0) {
        c->done(c);
        return;
    }
    atomic_fetch_add(&h->between, 1);
    net_loop_post(h->bridges[0]->loop, &c->item);
}

void amqp_hub_settle(struct amqp_hub *h) {
    while (atomic_load(&h->between) > 0)
        sched_yield(); /* a few turns of the loops */
}

/* ---- beginning and end ---- */

int amqp_hub_create(bool guest, struct amqp_hub **ret) {
    struct amqp_hub *h = calloc(1, sizeof *h);
    if (h == NULL)
        return E_NOMEM;
    h->guest = guest;
    *ret = h;
    return 0;
}

void amqp_hub_free(struct amqp_hub *h) {
    free(h);
}

int amqp_bridge_create(struct amqp_hub *h, struct engine *engine, struct amqp_bridge **ret) {
    if (h->count == AMQP_BRIDGES_MAX)
        return E_LIMIT;
    struct amqp_bridge *b = calloc(1, sizeof *b);
    if (b == NULL)
        return E_NOMEM;
    b->hub = h;
    b->engine = engine;
    b->port.deliver = port_deliver;
    b->port.chains_in_place = true;
    list_init(&b->waiting);
    list_init(&b->access);
    b->access_generation = engine != NULL ? engine_access_generation(engine) : 0;
    log_ahead_init(&b->bodies);
    buffer_init(&b->properties, PROPERTIES_MAX);
    amqp_routes_init(&b->routes, (uint8_t)h->count);
    h->bridges[h->count++] = b;
    *ret = b;
    return 0;
}

void amqp_bridge_attach(struct amqp_bridge *b, struct net_loop *loop) {
    b->loop = loop;
}

void amqp_bridge_free(struct amqp_bridge *b) {
    if (b == NULL)
        return;
    submit(b);
    answer_known(b);
    while (b->pool != NULL) {
        struct amqp_crossing *x = b->pool;
        b->pool = x->next;
        free(x);
    }
    amqp_routes_release(&b->routes);
    log_ahead_release(&b->bodies);
    buffer_release(&b->properties);
    free(b);
}

int amqp_bridge_listen(struct amqp_bridge *b, struct amqp_server_options *options,
                       char error_text[256], struct amqp_server **ret_server) {
    if (b->server_count == AMQP_BRIDGE_SERVERS_MAX) {
        snprintf(error_text, 256, "more than %u AMQP listeners", AMQP_BRIDGE_SERVERS_MAX);
        return E_LIMIT;
    }
    options->context = b;
    options->ask = ask;
    struct amqp_server *server;
    int error = amqp_server_start(b->loop, options, error_text, &server);
    if (error != 0)
        return error;
    const char *reason = alarm_text(engine_room(b->engine), engine_is_short_of_memory(b->engine));
    if (reason != NULL)
        amqp_server_alarm(server, true, reason);
    b->servers[b->server_count++] = server;
    *ret_server = server;
    return 0;
}

void amqp_bridge_close(struct amqp_bridge *b, struct amqp_server *server) {
    size_t at = 0;
    while (b->servers[at] != server)
        at++;
    b->servers[at] = b->servers[--b->server_count];
    amqp_server_free(server);
}
