/*
 * amqp/bridge.h - where ops of AMQP connections become requests of the engine, and the engine's answers and
 *                 deliveries find their connections again.
 *
 * Promise: all ops that a turn of the loop made go to the engine as chains, in the order in which they were asked;
 *          an op is answered when its record is durable. Bodies are read when there is room for them.
 *          Room that ends on the disk is an alarm: publishers wait until there is some again.
 * Shape:   one bridge per I/O loop, with the AMQP servers on it; a hub for all of them, which is what the engine
 *          knows. What a bridge knows by itself it answers in the same turn.
 * Threads: a bridge is its loop's; the hub's deliver and room may be called on any thread.
 */
#ifndef SLUICE_AMQP_BRIDGE_H
#define SLUICE_AMQP_BRIDGE_H

#include "amqp/server.h"
#include "engine/engine.h"

#define AMQP_BRIDGE_SERVERS_MAX 8u

struct amqp_hub;
struct amqp_bridge;

/* Before the engine is opened. `guest`: whoever comes from this machine may be guest, until somebody defines him. */
MUST_CHECK int amqp_hub_create(bool guest, struct amqp_hub **ret);
/*
 * Returns when no question is on its way between loops (a census, a direct reply). Once their connections are closed none
 * begins; then a loop may end, and not before: another would post to it.
 */
void amqp_hub_settle(struct amqp_hub *h);
/* After the engine and all bridges. */
void amqp_hub_free(struct amqp_hub *h);
/* engine_options.deliver and room_changed, with the hub as their context. */
void amqp_hub_deliver(struct amqp_hub *h, struct delivery_batch *first);
void amqp_hub_room(struct amqp_hub *h, enum log_room room, bool short_of_memory);

/* Before any loop runs. E_NOMEM, E_LIMIT. */
MUST_CHECK int amqp_bridge_create(struct amqp_hub *h, struct engine *engine,
                                  struct amqp_bridge **ret);
/* After the engine and the loop have ended. */
void amqp_bridge_free(struct amqp_bridge *b);
/* Before the first listen. */
void amqp_bridge_attach(struct amqp_bridge *b, struct net_loop *loop);
/* Context and ask of the options are the bridge's to fill. Errors of amqp_server_start; E_LIMIT. */
MUST_CHECK int amqp_bridge_listen(struct amqp_bridge *b, struct amqp_server_options *options,
                                  char error_text[256], struct amqp_server **ret_server);
/* amqp_server_free, and the bridge forgets it. */
void amqp_bridge_close(struct amqp_bridge *b, struct amqp_server *server);
/* In the loop's before_wait. */
void amqp_bridge_before_wait(struct amqp_bridge *b);

#endif
