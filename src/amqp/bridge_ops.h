/*
 * amqp/bridge_ops.h - what each op asks of the engine, and what the engine's answer means. Internal to amqp/.
 */
#ifndef SLUICE_AMQP_BRIDGE_OPS_H
#define SLUICE_AMQP_BRIDGE_OPS_H

#include "amqp/broker.h"
#include "amqp/reply.h"
#include "amqp/route.h"
#include "engine/engine.h"
#include "net/loop.h"

struct amqp_bridge;

/* What an op needs while it is with the engine. */
struct amqp_crossing {
    struct engine_request request;
    struct net_item item;              /* carries an answered chain to the loop */
    struct amqp_crossing *next;        /* link */
    struct amqp_bridge *bridge;        /* borrows */
    struct amqp_op *op;                /* borrows: from ask to answer */
    struct amqp_route *route;          /* borrows; NULL before the vhost is open */
    struct amqp_access *access;        /* owns a reference; to be read again: then there is no op */
    void *memory;                      /* owns: what the request points to besides */
    struct buffer properties;          /* likewise */
    struct amqp_reply_address address; /* of one that goes to a connection, not to the engine */
    uv_work_t work;                    /* a password takes long to check */
    char hash[256];                    /* of LOGIN: what is kept of the password */
    bool known;
};

/* The op's question as a request. False: it is answered already, without the engine. */
bool amqp_crossing_begin(struct amqp_crossing *x);
/* The request is answered, and so is the op. False: its password has to be checked first. */
bool amqp_crossing_finish(struct amqp_crossing *x);
/* What begin took goes. */
void amqp_crossing_clear(struct amqp_crossing *x);

/* ---- bridge_login.c: begin and finish as above ---- */
bool amqp_login_begin(struct amqp_crossing *x);
bool amqp_login_finish(struct amqp_crossing *x);
/* Any thread; takes a tenth of a second. */
void amqp_crossing_check_password(struct amqp_crossing *x);
/* After that. */
void amqp_crossing_checked(struct amqp_crossing *x);
bool amqp_open_begin(struct amqp_crossing *x);
void amqp_open_finish(struct amqp_crossing *x);
/* Asks again what x->access is about; `finish` then answers no op. */
void amqp_crossing_begin_access(struct amqp_crossing *x);
/* What came of that. */
void amqp_access_learn(struct amqp_crossing *x);

/* ---- bridge.c ---- */
struct engine *amqp_bridge_engine(struct amqp_bridge *b);
struct amqp_routes *amqp_bridge_routes(struct amqp_bridge *b);
/* What users may do, by user and vhost. */
struct list *amqp_bridge_access(struct amqp_bridge *b);
/* See amqp_hub_create. */
bool amqp_bridge_knows_guest(const struct amqp_bridge *b);

#endif
