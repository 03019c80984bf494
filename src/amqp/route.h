/*
 * amqp/route.h - the way from a session of the model back to its connection, and what waits on it.
 *
 * Shape:   a bridge's routes stand in slots; the session's number says bridge, slot and a serial that tells it from
 *          earlier ones of that slot, so a delivery that comes too late finds nothing.
 *
 *              session = serial << 32 | slot << 8 | bridge          never 0: serials begin at 1
 *
 * Promise: deliveries wait here, unread, while their connection has enough unsent: a slow client costs 96 bytes
 *          a message, and at most its credit of them.
 */
#ifndef SLUICE_AMQP_ROUTE_H
#define SLUICE_AMQP_ROUTE_H

#include "base/list.h"
#include "base/compiler.h"
#include "model/amqp.h"

struct amqp_access;
struct amqp_connection;

#define AMQP_BRIDGES_MAX 256u

struct amqp_route {
    struct amqp_connection *connection; /* borrows */
    struct amqp_access *access;         /* owns a reference */
    uint64_t session;
    bool used;                /* the model may know the session: it has to be closed there */
    struct delivery *waiting; /* owns, and their origins */
    size_t first, end, capacity;
    struct list_node node; /* in the bridge's waiting, while some wait */
};

struct amqp_routes {
    struct amqp_route **slots; /* owns */
    uint32_t capacity, count, serial, free_hint;
    uint8_t bridge;
};

static inline uint32_t amqp_session_bridge(uint64_t session) {
    return (uint32_t)(session & 0xff);
}

void amqp_routes_init(struct amqp_routes *r, uint8_t bridge);
void amqp_routes_release(struct amqp_routes *r);
/* E_NOMEM */
MUST_CHECK int amqp_route_add(struct amqp_routes *r, struct amqp_connection *c,
                              struct amqp_route **ret);
void amqp_route_remove(struct amqp_routes *r, struct amqp_route *route);
/* NULL: there is no such session any more. */
struct amqp_route *amqp_route_find(const struct amqp_routes *r, uint64_t session);

/* Takes the origin. E_NOMEM: it is still the caller's. */
MUST_CHECK int amqp_route_push(struct amqp_route *route, const struct delivery *d);
/* The oldest, or NULL; `pop` lets go of it, origin included. */
struct delivery *amqp_route_head(const struct amqp_route *route);
void amqp_route_pop(struct amqp_route *route);

#endif
