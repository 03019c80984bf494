/*
 * amqp/bridge.h - where ops of AMQP connections become requests of the engine, and answers become answers.
 *
 * Promise: all ops that a turn of the loop made go to the engine as chains, in the order in which they were asked;
 *          an op is answered when its record is durable. An engine that has too much to do costs the
 *          client its connection (506), never its message's order.
 *          Room that ends on the disk is an alarm: publishers wait until there is some again.
 * Shape:   one per I/O loop, with the AMQP servers on it. What the bridge knows by itself (logins, vhosts) it
 *          answers in the same turn.
 * Threads: the loop's, but for the engine's port, which only hands over.
 */
#ifndef SLUICE_AMQP_BRIDGE_H
#define SLUICE_AMQP_BRIDGE_H

#include "amqp/server.h"
#include "engine/engine.h"

#define AMQP_BRIDGE_SERVERS_MAX 8u

struct amqp_bridge;

MUST_CHECK int amqp_bridge_create(struct engine *engine, struct amqp_bridge **ret);
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
