/*
 * amqp/census.h - every connection that is open, with its channels: for lists, and to end one by its name.
 *
 * Shape:   connections belong to their loops, so the question goes from loop to loop and is answered on the last: nothing
 *          is kept or locked for it. A loop answers for a hundred connections at a time and looks after the others in
          between. What is listed is of moments close together, not of one.
 *          A connection is a table of AMQP (base/amqp_table.h) with the names of fields that RabbitMQ's management
 *          API has, and `session`, by which the model knows it; u32 length before each.
 * Limits:  256 MiB of answer; beyond it `failed`.
 */
#ifndef SLUICE_AMQP_CENSUS_H
#define SLUICE_AMQP_CENSUS_H

#include "amqp/bridge.h"
#include "amqp/route.h"

struct amqp_census {
    /* ---- question ---- */
    bool connections, channels; /* which lists */
    bool names;         /* of connections only name, session and user: thousands cost little */
    struct span close;  /* the name of one to be ended with 320; empty: none */
    struct span reason; /* for people; borrowed, as `close` */
    /* On the thread of some loop; may free the census. */
    void (*done)(struct amqp_census *c);

    /* ---- answer ---- */
    struct buffer connection_list, channel_list; /* owned by whoever has the census */
    uint32_t connection_count, channel_count, closed;
    bool failed; /* no memory, or too much */

    /* ---- the hub's own ---- */
    struct net_item item;
    struct amqp_hub *hub;
    uint32_t at;   /* the bridge that is asked */
    uint32_t slot; /* of its routes, the next to look at */
};

void amqp_census_init(struct amqp_census *c);
void amqp_census_release(struct amqp_census *c);
/* Any thread. With no bridge it is done at once. */
void amqp_hub_census(struct amqp_hub *h, struct amqp_census *c);

/* "127.0.0.1:51234 -> 127.0.0.1:5672" */
#define AMQP_CONNECTION_NAME_BYTES 132u
void amqp_connection_name(const struct amqp_connection *c, char text[AMQP_CONNECTION_NAME_BYTES]);

/* Some more of one bridge's part: census.c, called by the hub. True: that was the last of it. */
MUST_CHECK bool amqp_census_take(struct amqp_census *c, const struct amqp_routes *routes);

#endif
