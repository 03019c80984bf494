/*
 *      connection ─ask─► crossing ─► chain of the turn ─► engine_submit (at SUBMIT_AT, and before the wait)
 *      connection ◄─answer─ op ◄─ finish ◄─ loop ◄─ port.deliver (a chain rides on its first crossing)
 *
 * A crossing is what an op needs while it is with the engine; it goes back to a pool with the op's answer. An op
 * that takes several requests (declare: define, then look) sends its crossing over again.
 */
#include "amqp/bridge.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/bridge_ops.h"
#include "base/error.h"
#include "net/wheel.h"

#define SUBMIT_AT     32u  /* requests collected: the engine may begin while the turn goes on */
#define POOL_MAX      256u /* crossings kept */
#define LOOK_EVERY_MS 500u

struct amqp_bridge {
    struct engine_port port;
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
    struct wheel_timer look; /* for room on the disk */
    bool alarm;
};

/* ---- crossings ---- */

static struct amqp_crossing *take(struct amqp_bridge *b) {
    struct amqp_crossing *x = b->pool;
    if (x == NULL) {
        x = calloc(1, sizeof *x);
        if (x != NULL)
            x->bridge = b;
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
    amqp_server_answer(op);
}

/* ---- to the engine and back ---- */

static void run_answers(struct engine_request *first) {
    while (first != NULL) {
        struct amqp_crossing *x = CONTAINER_OF(first, struct amqp_crossing, request);
        first = first->next; /* the crossing may be on its next way */
        if (amqp_crossing_finish(x))
            answer(x);
        else
            amqp_bridge_send(x);
    }
}

static void run_item(struct net_item *item) {
    run_answers(&CONTAINER_OF(item, struct amqp_crossing, item)->request);
}

/* Any thread. */
static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last) {
    struct amqp_bridge *b = CONTAINER_OF(port, struct amqp_bridge, port);
    struct amqp_crossing *x = CONTAINER_OF(first, struct amqp_crossing, request);
    last->next = NULL;
    x->item.run = run_item;
    net_loop_post(b->loop, &x->item);
}

/* The engine took none of them. */
static void refuse_chain(struct engine_request *first, int error) {
    for (struct engine_request *r = first; r != NULL; r = r->next)
        r->r.refusal = error == E_BUSY || error == E_NOMEM ? REFUSAL_BUSY : REFUSAL_STOPPING;
    run_answers(first);
}

/* True: answers came of it at once. */
static bool submit(struct amqp_bridge *b) {
    struct engine_request *first = b->first, *last = b->last;
    uint32_t count = b->collected;
    b->first = b->last = NULL;
    b->collected = 0;
    if (count == 0)
        return false;
    int error = engine_submit(b->engine, first, last, count);
    if (error != 0)
        refuse_chain(first, error);
    return error != 0;
}

void amqp_bridge_send(struct amqp_crossing *x) {
    struct amqp_bridge *b = x->bridge;
    x->request.port = &b->port;
    x->request.next = NULL;
    if (b->first == NULL)
        b->first = &x->request;
    else
        b->last->next = &x->request;
    b->last = &x->request;
    b->collected++;
}

static void answer_known(struct amqp_bridge *b) {
    while (b->known != NULL) {
        struct amqp_crossing *x = b->known;
        b->known = x->next;
        answer(x);
    }
}

static void ask(void *context, struct amqp_op *op) {
    struct amqp_bridge *b = context;
    struct amqp_crossing *x = take(b);
    if (x == NULL)
        abort(); /* an op that can never be answered would hold its connection for ever */
    x->op = op;
    if (amqp_crossing_begin(x)) {
        amqp_bridge_send(x);
        return;
    }
    x->next = NULL;
    if (b->known == NULL)
        b->known = x;
    else
        b->known_last->next = x;
    b->known_last = x;
}

/* Says what was made, answers what is known, until nothing new comes of it. */
void amqp_bridge_before_wait(struct amqp_bridge *b) {
    bool again;
    do {
        answer_known(b);
        for (size_t i = 0; i < b->server_count; i++)
            amqp_server_before_wait(b->servers[i]);
        again = submit(b);
    } while (again || b->known != NULL || b->first != NULL);
}

/* ---- room on the disk ---- */

static void look_for_room(struct wheel_timer *t) {
    struct amqp_bridge *b = CONTAINER_OF(t, struct amqp_bridge, look);
    bool alarm = engine_room(b->engine) != LOG_ROOM_OK;
    wheel_set(net_loop_wheel(b->loop), t, net_loop_now_ms(b->loop) + LOOK_EVERY_MS);
    if (alarm == b->alarm)
        return;
    b->alarm = alarm;
    for (size_t i = 0; i < b->server_count; i++)
        amqp_server_alarm(b->servers[i], alarm, "low on disk");
}

/* ---- beginning and end ---- */

int amqp_bridge_create(struct engine *engine, struct amqp_bridge **ret) {
    struct amqp_bridge *b = calloc(1, sizeof *b);
    if (b == NULL)
        return E_NOMEM;
    b->engine = engine;
    b->port.deliver = deliver;
    *ret = b;
    return 0;
}

void amqp_bridge_attach(struct amqp_bridge *b, struct net_loop *loop) {
    b->loop = loop;
    wheel_timer_init(&b->look, look_for_room);
}

void amqp_bridge_free(struct amqp_bridge *b) {
    if (b == NULL)
        return;
    answer_known(b);
    while (b->pool != NULL) {
        struct amqp_crossing *x = b->pool;
        b->pool = x->next;
        free(x);
    }
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
    if (b->server_count == 0)
        wheel_set(net_loop_wheel(b->loop), &b->look, net_loop_now_ms(b->loop) + LOOK_EVERY_MS);
    b->servers[b->server_count++] = server;
    *ret_server = server;
    return 0;
}

void amqp_bridge_close(struct amqp_bridge *b, struct amqp_server *server) {
    size_t at = 0;
    while (b->servers[at] != server)
        at++;
    b->servers[at] = b->servers[--b->server_count];
    if (b->server_count == 0)
        wheel_cancel(net_loop_wheel(b->loop), &b->look);
    amqp_server_free(server);
}
