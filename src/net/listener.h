/*
 * net/listener.h - a listening TCP socket on a loop.
 *
 * Promise: each loop of the program listens for itself (SO_REUSEPORT), and the kernel spreads connections over
 *          them; but no two programs share an address: of those that listen there first, one succeeds,
 *          whatever the moment. IPv4 and IPv6, addresses or names (the first that resolves).
 * Shape:   caller-owned storage, alive until `closed`.
 * Errors:  E_INVALID (host), E_IO (bind, listen); error_text says why in one line.
 */
#ifndef SLUICE_NET_LISTENER_H
#define SLUICE_NET_LISTENER_H

#include <stdbool.h>

#include "net/loop.h"

struct net_listener {
    uv_tcp_t tcp;
    uv_tcp_t rejected; /* takes connections to close them, one at a time */
    bool rejecting;    /* `rejected` is in use */
    bool waiting;      /* a connection waits for `rejected`; libuv accepts no other meanwhile */
    bool tcp_closed;
    uint16_t port; /* the one bound */
    /* A connection waits: take it with net_stream_accept or net_listener_reject, at once. */
    void (*ready)(struct net_listener *l);
    void (*closed)(struct net_listener *l); /* last call */
};

struct net_listener_options {
    const char *host;
    uint16_t port; /* 0: any */
    bool joins;    /* another listener of this program is there already: share with it */
    int backlog;
    void (*ready)(struct net_listener *l);
    void (*closed)(struct net_listener *l);
};

/*
 * Is the address free now? Binds and lets go: a start that would fail at its end fails at its beginning.
 * Port 0: always. E_INVALID, E_IO; error_text says why.
 */
MUST_CHECK int net_listener_probe(const char *host, uint16_t port, char error_text[256]);

/* After a failure the storage is still in use until `closed`, when *ret_closing is set. */
MUST_CHECK int net_listener_open(struct net_listener *l, struct net_loop *loop,
                                 const struct net_listener_options *options, char error_text[256],
                                 bool *ret_closing);
/*
 * Takes the waiting connection and closes it. For want of memory or above a limit: a connection that is
 * left waiting would stop the listener.
 */
void net_listener_reject(struct net_listener *l);
/* Leads to `closed`, later. */
void net_listener_close(struct net_listener *l);

#endif
