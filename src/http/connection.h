/*
 * http/connection.h - internal: one client, and its line of requests not answered yet.
 *
 * Promise: answers leave in the order of the requests, whatever the order of http_reply. Reading
 *          stops while the line is pipeline_depth long, while CONNECTION_UNSENT_HIGH bytes are unsent
 *          or while the server's memory budget is used up, and goes on by itself. After pipeline_depth
 *          requests in one turn of the loop it is the others' turn, however quickly they were answered.
 * Shape:   freed when its stream is closed and no handler holds an exchange of it.
 */
#ifndef SLUICE_HTTP_CONNECTION_H
#define SLUICE_HTTP_CONNECTION_H

#include "base/list.h"
#include "http/exchange.h"
#include "net/stream.h"

#define CONNECTION_UNSENT_HIGH (256u * 1024)

struct http_connection {
    struct net_stream stream;
    struct http_server *server; /* borrows */
    struct list_node node;      /* in the server's connections */
    uint64_t stuck_at;          /* bytes_out at the last look; UINT64_MAX: all was read then */
    struct list_node starved;   /* in the server's starved, while paused for memory */
    struct net_later rest;      /* linked while paused until the next turn */
    uint64_t turn;              /* of the loop, in which `asked` were asked */
    uint32_t asked;
    uint32_t exchanges; /* that point here */
    struct http_exchange *reading;
    struct http_exchange *first, *last; /* the line: ASKED, ANSWERED or STREAMING, oldest first */
    size_t body_seen;                   /* of the body under way, when its time last began */
    uint32_t waiting;                   /* length of the line */
    uint64_t since_ms; /* when the present wait (for a head, a body, a next request) began */
    bool deaf;         /* what still arrives is thrown away: after a fault or the last request */
    bool half_closed;  /* the client sends no more, but may read */
    bool paused;
    bool gone; /* the stream is closed */
    bool loopback;
    uint8_t peer_size;
    char peer[64];
    bool peer_counted; /* in the server's peers, under this bucket */
    uint32_t peer_bucket;
    uint64_t counted_in, counted_out; /* of the stream's bytes, in the server's stats */
};

extern const struct net_stream_handler HTTP_CONNECTION_HANDLER;

/* Accepts what waits at the server's listener. `refused`: over the limit, answer 503 and close. */
void http_connection_accept(struct http_server *s, bool refused);
/* The server stops: close when nothing is under way, else after the last answer. */
void http_connection_wind_up(struct http_connection *c);
/* Memory may be had again. */
void http_connection_feed(struct http_connection *c);

/* The answer of x, the first in line, has been written completely: next ones get their turn. */
void http_connection_answered(struct http_exchange *x);
/* Where an answer or a part of it goes: the socket when it is x's turn, else x's own buffer. NULL: drop it. */
struct buffer *http_connection_output(struct http_exchange *x);
/*
 * Memory is used up and this client does not read what it has asked for: it holds more than its share, and an answer
 * that it asked for before reading paused would add to that.
 */
bool http_connection_overdrawn(const struct http_connection *c);
/* For http_server_starve: how far it has read; then, is it no further, and has too much? */
void http_connection_look(struct http_connection *c);
bool http_connection_stuck(const struct http_connection *c);
/* x is not held by its handler any more. */
void http_connection_drop(struct http_exchange *x);

#endif
