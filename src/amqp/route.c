#include "amqp/route.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "amqp/access.h"
#include "base/error.h"

#define SLOTS_MIN    16u
#define SLOTS_MAX    (1u << 24)
#define CAPACITY_MIN 8u

void amqp_routes_init(struct amqp_routes *r, uint8_t bridge) {
    *r = (struct amqp_routes){.bridge = bridge};
}

void amqp_routes_release(struct amqp_routes *r) {
    assert(r->count == 0);
    free(r->slots);
}

static uint32_t slot_of(uint64_t session) {
    return (uint32_t)(session >> 8) & (SLOTS_MAX - 1);
}

static int grow(struct amqp_routes *r) {
    uint32_t capacity = r->capacity > 0 ? 2 * r->capacity : SLOTS_MIN;
    if (capacity > SLOTS_MAX)
        return E_NOMEM;
    struct amqp_route **slots = realloc(r->slots, capacity * sizeof(*slots));
    if (slots == NULL)
        return E_NOMEM;
    memset(slots + r->capacity, 0, (capacity - r->capacity) * sizeof(*slots));
    r->free_hint = r->capacity;
    r->slots = slots;
    r->capacity = capacity;
    return 0;
}

int amqp_route_add(struct amqp_routes *r, struct amqp_connection *c, struct amqp_route **ret) {
    if (r->count == r->capacity) {
        int error = grow(r);
        if (error != 0)
            return error;
    }
    struct amqp_route *route = calloc(1, sizeof *route);
    if (route == NULL)
        return E_NOMEM;
    while (r->slots[r->free_hint] != NULL)
        r->free_hint = (r->free_hint + 1) % r->capacity;
    route->connection = c;
    route->session = (uint64_t)++r->serial << 32 | (uint64_t)r->free_hint << 8 | r->bridge;
    r->slots[r->free_hint] = route;
    r->count++;
    *ret = route;
    return 0;
}

void amqp_route_remove(struct amqp_routes *r, struct amqp_route *route) {
    uint32_t slot = slot_of(route->session);
    assert(r->slots[slot] == route);
    while (amqp_route_head(route) != NULL)
        amqp_route_pop(route);
    if (list_linked(&route->node))
        list_remove(&route->node);
    r->slots[slot] = NULL;
    r->free_hint = slot;
    r->count--;
    amqp_access_unref(route->access);
    free(route->waiting);
    free(route);
}

struct amqp_route *amqp_route_find(const struct amqp_routes *r, uint64_t session) {
    uint32_t slot = slot_of(session);
    struct amqp_route *route = slot < r->capacity ? r->slots[slot] : NULL;
    return route != NULL && route->session == session ? route : NULL;
}

int amqp_route_push(struct amqp_route *route, const struct delivery *d) {
    if (route->end == route->capacity && route->first > route->capacity / 2) {
        memmove(route->waiting, route->waiting + route->first,
                (route->end - route->first) * sizeof *d);
        route->end -= route->first;
        route->first = 0;
    } else if (route->end == route->capacity) {
        size_t capacity = route->capacity > 0 ? 2 * route->capacity : CAPACITY_MIN;
        struct delivery *grown = realloc(route->waiting, capacity * sizeof *grown);
        if (grown == NULL)
            return E_NOMEM;
        route->waiting = grown;
        route->capacity = capacity;
    }
    route->waiting[route->end++] = *d;
    return 0;
}

struct delivery *amqp_route_head(const struct amqp_route *route) {
    return route->first < route->end ? &route->waiting[route->first] : NULL;
}

void amqp_route_pop(struct amqp_route *route) {
    free(route->waiting[route->first++].origin);
    if (route->first < route->end)
        return;
    free(route->waiting); /* nothing is kept for one that has caught up */
    route->waiting = NULL;
    route->first = route->end = route->capacity = 0;
}
