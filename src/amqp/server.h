/*
 * amqp/server.h - AMQP connections on the I/O loops: sockets, TLS, time and back-pressure around
 *                 amqp/connection.h.
 *
 * Promise: what a turn of the loop made leaves together: one write and one run of confirms a connection. A
 *          client that does not read, or floods, is not read from; its consumers pause.
 * Shape:   one server per listener and loop. Ops go to `ask`, with everything that the turn collected
 *          before `before_wait`; answers come by amqp_connection_answer on the loop's thread.
 * Threads: all on the loop's thread (or before net_loop_run), but amqp_server_stats, which any may call.
 * Errors:  E_INVALID, E_IO: error_text says why.
 */
#ifndef SLUICE_AMQP_SERVER_H
#define SLUICE_AMQP_SERVER_H

#include "amqp/connection.h"
#include "net/loop.h"

struct amqp_server;
struct amqp_reply_address;
struct tls_context;

struct amqp_server_options {
    const char *host;
    uint16_t port; /* 0: any, see amqp_server_port */
    bool joins;    /* the server of another loop listens there already */
    struct amqp_limits limits;
    uint32_t connections_max; /* 0: 10000; further ones are closed at once */
    /* Likewise; 0: half of them, but this machine's not counted. */
    uint32_t connections_per_address;
    uint32_t write_timeout_ms; /* 0: 30000; the peer takes nothing of what is to be sent */
    struct tls_context *tls;   /* borrows; NULL: plain */
    bool external;             /* EXTERNAL is offered; needs client certificates */
    const char *version;       /* borrows: the program's */
    void *context;             /* borrows: for ask */
    /* Takes the op until amqp_connection_answer, which it must not call inside. */
    void (*ask)(void *context, struct amqp_op *op);
};

MUST_CHECK int amqp_server_start(struct net_loop *loop, const struct amqp_server_options *options,
                                 char error_text[256], struct amqp_server **ret_server);
uint16_t amqp_server_port(const struct amqp_server *s);
/* Says what the turn made; to be called in the loop's before_wait, ahead of what submits the ops. */
void amqp_server_before_wait(struct amqp_server *s);
/* Stops accepting and closes connections with 320; `done` when the last is gone and no op is out. */
void amqp_server_stop(struct amqp_server *s, void (*done)(void *arg), void *arg);
/* After `done`, or to cut everything off: then memory goes when the last op was answered. */
void amqp_server_free(struct amqp_server *s);

/* Disk or memory; `reason` is static. */
void amqp_server_alarm(struct amqp_server *s, bool on, const char *reason);
/* What follows concerns this connection: its deliveries go out at the end of the turn. */
void amqp_server_deliver(struct amqp_connection *c, const struct amqp_delivery *d);
void amqp_server_cancelled(struct amqp_connection *c, uint16_t channel, uint64_t consumer);
/* See amqp_reply_deliver. */
bool amqp_server_reply(struct amqp_connection *c, const struct amqp_reply_address *a,
                       const struct amqp_publish *p);
void amqp_server_answer(struct amqp_op *op);
/* Should more be delivered now? Asked again in each turn: what was sent has made one. */
bool amqp_server_has_room(const struct amqp_connection *c);

struct amqp_peer {
    char text[64]; /* "127.0.0.1:51234" */
    bool loopback;
    bool tls;
};
const struct amqp_peer *amqp_server_peer(const struct amqp_connection *c);
/* Where the peer has reached us: "127.0.0.1:5672". */
void amqp_server_local(const struct amqp_connection *c, char text[64]);
/* Ends it with 320, at the end of the turn. */
void amqp_server_close_one(struct amqp_connection *c, const char *reason);

struct amqp_traffic {
    uint64_t connected_ns, bytes_in, bytes_out;
};
void amqp_server_traffic(const struct amqp_connection *c, struct amqp_traffic *ret);
/* Common name of the client's certificate; its length, 0: none. */
size_t amqp_server_certificate_name(const struct amqp_connection *c, char *text, size_t size);

struct amqp_server_stats {
    uint64_t accepted, bytes_in, bytes_out;
    uint32_t open_connections;
};
void amqp_server_stats(const struct amqp_server *s, struct amqp_server_stats *ret);

#endif
