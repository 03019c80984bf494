#include "amqp/census.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amqp/connection_state.h"
#include "amqp/route.h"
#include "base/amqp_table.h"
#include "base/clock.h"

#define LIST_MAX_BYTES ((size_t)256 << 20)
#define STEP_ROUTES    100u /* about half a millisecond, when all about them is listed */

void amqp_census_init(struct amqp_census *c) {
    *c = (struct amqp_census){.connections = false};
    buffer_init(&c->connection_list, LIST_MAX_BYTES);
    buffer_init(&c->channel_list, LIST_MAX_BYTES);
}

void amqp_census_release(struct amqp_census *c) {
    buffer_release(&c->connection_list);
    buffer_release(&c->channel_list);
}

void amqp_connection_name(const struct amqp_connection *c, char text[AMQP_CONNECTION_NAME_BYTES]) {
    char local[64];
    amqp_server_local(c, local);
    snprintf(text, AMQP_CONNECTION_NAME_BYTES, "%s -> %s", amqp_server_peer(c)->text, local);
}

/* "[::1]:5672" as host and port. */
static void put_address(struct amqp_table_out *t, const char *host_name, const char *port_name,
                        const char *text) {
    const char *colon = strrchr(text, ':');
    struct span host = colon == NULL ? span_text("") : span_of(text, (size_t)(colon - text));
    if (host.size >= 2 && host.data[0] == '[')
        host = span_of(host.data + 1, host.size - 2);
    amqp_put_text(t, host_name, host);
    amqp_put_i32(t, port_name, colon == NULL ? 0 : (int32_t)strtol(colon + 1, NULL, 10));
}

static const char *state_of(const struct amqp_connection *c) {
    return c->state == AMQP_LEAVING || c->state == AMQP_CLOSING ? "closing"
           : c->told_blocked                                    ? "blocked"
                                                                : "running";
}

static void put_details(struct amqp_table_out *t, const struct amqp_connection *c) {
    struct amqp_traffic traffic;
    char local[64];
    amqp_server_local(c, local);
    amqp_server_traffic(c, &traffic);
    amqp_put_text(t, "type", span_text("network"));
    amqp_put_text(t, "protocol", span_text("AMQP 0-9-1"));
    amqp_put_text(t, "state", span_text(state_of(c)));
    amqp_put_text(t, "vhost", span_text(c->vhost));
    put_address(t, "peer_host", "peer_port", amqp_server_peer(c)->text);
    put_address(t, "host", "port", local);
    amqp_put_bool(t, "ssl", amqp_server_peer(c)->tls);
    amqp_put_text(t, "auth_mechanism", span_text(c->mechanism));
    amqp_put_i32(t, "channels", (int32_t)c->channel_count);
    amqp_put_i32(t, "channel_max", c->channel_max);
    amqp_put_i64(t, "frame_max", c->frame_max);
    amqp_put_i32(t, "timeout", c->heartbeat_s);
    amqp_put_i64(t, "connected_at", (int64_t)(traffic.connected_ns / NS_PER_MS));
    amqp_put_i64(t, "recv_oct", (int64_t)traffic.bytes_in);
    amqp_put_i64(t, "send_oct", (int64_t)traffic.bytes_out);
    size_t properties = amqp_put_open(t, "client_properties", 'F');
    struct span rest = span_of(c->client_properties, c->client_properties_size);
    for (struct amqp_field f; amqp_table_next(&rest, &f);)
        amqp_put_field(t, &f);
    amqp_put_close(t, properties);
}

static void put_connection(struct amqp_census *s, const struct amqp_route *route,
                           const char *name) {
    struct amqp_table_out t;
    amqp_table_begin(&t, &s->connection_list);
    amqp_put_text(&t, "name", span_text(name));
    amqp_put_i64(&t, "session", (int64_t)route->session);
    amqp_put_text(&t, "user", span_text(route->connection->user));
    if (s->connections)
        put_details(&t, route->connection);
    s->failed |= amqp_table_end(&t) != 0;
}

static void put_channel(struct amqp_census *s, const struct amqp_channel *ch, const char *name) {
    const struct amqp_connection *c = ch->connection;
    struct amqp_table_out t;
    char text[AMQP_CONNECTION_NAME_BYTES + 16];
    snprintf(text, sizeof text, "%s (%u)", name, ch->number);
    bool confirm = ch->mode == AMQP_MODE_CONFIRM;
    amqp_table_begin(&t, &s->channel_list);
    amqp_put_text(&t, "name", span_text(text));
    amqp_put_i32(&t, "number", ch->number);
    amqp_put_text(&t, "state", span_text("running"));
    amqp_put_text(&t, "user", span_text(c->user));
    amqp_put_text(&t, "vhost", span_text(c->vhost));
    amqp_put_i64(&t, "consumer_count", ch->consumer_count);
    amqp_put_i32(&t, "prefetch_count", ch->prefetch);
    amqp_put_bool(&t, "confirm", confirm);
    amqp_put_bool(&t, "transactional", ch->mode == AMQP_MODE_TX);
    amqp_put_i64(&t, "messages_unacknowledged", (int64_t)ch->unacked.count);
    amqp_put_i64(&t, "messages_unconfirmed",
                 confirm ? (int64_t)(ch->published - ch->confirmed_to - ch->confirms) : 0);
    amqp_put_i64(&t, "messages_uncommitted", (int64_t)ch->tx_publishes);
    amqp_put_i64(&t, "acks_uncommitted", (int64_t)ch->tx_settled_count);
    size_t details = amqp_put_open(&t, "connection_details", 'F');
    amqp_put_text(&t, "name", span_text(name));
    put_address(&t, "peer_host", "peer_port", amqp_server_peer(c)->text);
    amqp_put_close(&t, details);
    s->failed |= amqp_table_end(&t) != 0;
}

static void take_named(struct amqp_census *s, const struct amqp_route *route) {
    struct amqp_connection *c = route->connection;
    char name[AMQP_CONNECTION_NAME_BYTES];
    amqp_connection_name(c, name);
    if (s->connections || s->names)
        put_connection(s, route, name);
    for (uint32_t n = 0; s->channels && n < c->channel_capacity; n++) {
        if (c->channels[n] != NULL)
            put_channel(s, c->channels[n], name);
    }
    if (s->close.size > 0 && span_is(s->close, name) && c->state == AMQP_RUNNING) {
        char reason[256];
        snprintf(reason, sizeof reason, "%.*s", SPAN_ARG(s->reason));
        amqp_server_close_one(c, reason);
        s->closed++;
    }
}

/* A name costs a system call, so those who only count go without. */
static void take_one(struct amqp_census *s, const struct amqp_route *route) {
    const struct amqp_connection *c = route->connection;
    if (c->state < AMQP_RUNNING || c->state == AMQP_ENDED)
        return;
    s->connection_count++;
    for (uint32_t n = 0; n < c->channel_capacity; n++)
        s->channel_count += c->channels[n] != NULL;
    if (s->connections || s->names || s->channels || s->close.size > 0)
        take_named(s, route);
}

bool amqp_census_take(struct amqp_census *c, const struct amqp_routes *routes) {
    uint32_t taken = 0;
    for (; c->slot < routes->capacity && taken < STEP_ROUTES; c->slot++) {
        if (routes->slots[c->slot] == NULL)
            continue;
        take_one(c, routes->slots[c->slot]);
        taken++;
    }
    return c->slot >= routes->capacity;
}
