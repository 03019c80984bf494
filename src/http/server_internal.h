/*
 * http/server_internal.h - internal: the server's own state, for the other files of http/.
 */
#ifndef SLUICE_HTTP_SERVER_INTERNAL_H
#define SLUICE_HTTP_SERVER_INTERNAL_H

#include "base/list.h"
#include "http/connection.h"
#include "http/server.h"
#include "net/listener.h"
#include "net/peers.h"
#include "net/stream.h"
#include "net/tls.h"

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */
#define DATE_BYTES 37u

struct http_server {
    struct net_loop *loop;              /* borrows */
    struct http_server_options options; /* strings in it are not used after start */
    struct net_listener listener;
    bool listener_closed;
    struct tls_context *tls; /* owns; NULL: plain */
    struct net_stream_options stream_options;
    struct net_budget budget;
    struct peers *peers; /* owns */
    struct list connections;
    struct list starved;        /* paused until the budget has room */
    struct wheel_timer relief;  /* set while there are starved: looks for those that read nothing */
    uint32_t connection_count;  /* of memory: also those whose stream is closed */
    struct http_exchange *pool; /* owns */
    uint32_t pooled;
    uint64_t date_until_ms; /* the cached Date holds until then */
    char date[DATE_BYTES + 1];
    bool stopping;
    bool abandoned; /* http_server_free was called */
    void (*done)(void *arg);
    void *done_arg;                 /* borrows */
    struct http_server_stats stats; /* written by the loop's thread, read by any: see stat_add */
};

/* One writer, so a plain sum in an atomic store is enough, and costs no locked instruction. */
#define stat_add(counter, amount)                                                                  \
    __atomic_store_n((counter), __atomic_load_n((counter), __ATOMIC_RELAXED) + (amount),           \
                     __ATOMIC_RELAXED)

/* The Date line for answers of this turn, DATE_BYTES long. */
const char *http_server_date(struct http_server *s);
/* Called when a connection's memory has gone: the server may be done. */
void http_server_connection_freed(struct http_server *s);
/* Paused until the budget has room; meanwhile who reads nothing for a second and has much is cut off. */
void http_server_starve(struct http_server *s, struct list_node *starved);
/* Lets starved connections read again when the budget has room. */
void http_server_feed_starved(struct http_server *s);
/* Answers x with an error that the server found itself, and closes after it. */
void http_server_refuse(struct http_exchange *x, int status, const char *detail);

#endif
