/*
 * amqp/connection.h - one client's connection as a pure state machine: bytes in, bytes and ops out.
 *
 * Promise: takes any bytes in any cuts; answers each violation with the close code that clients know from
 *          RabbitMQ; nothing a client sends makes it hold more than its limits. No socket, no clock, no
 *          thread: the host has these, so tests and the fuzzer drive it as the server does.
 * Shape:   made by create; freed by its host when it has ended and no op of it is out (`unused`).
 *
 *    HEADER ─► START ─► LOGIN ─► TUNE ─► OPEN ─► OPENING ─► RUNNING ─► CLOSING ──► ENDED
 *      │    start sent   (asked)  tune sent        (asked)             close sent,    ▲
 *      └── another protocol: ours is named, and the end ──────────     waits for ok   ┘
 *
 *          In CLOSING all but close and close-ok is ignored. The client's own close is answered when
 *          what it held has been given back durably, and then it is the client that hangs up, or its time is over.
 */
#ifndef SLUICE_AMQP_CONNECTION_H
#define SLUICE_AMQP_CONNECTION_H

#include "amqp/broker.h"
#include "amqp/budget.h"

#define AMQP_NEVER UINT64_MAX

struct amqp_limits {
    uint32_t frame_max;            /* 131072, offered */
    uint16_t channel_max;          /* 2047, offered */
    uint16_t heartbeat_s;          /* 60, offered */
    uint64_t message_bytes;        /* 16 MiB, of a body; above it 406 */
    uint32_t asked_max;            /* 4096 ops of a connection not answered; then reading stops */
    uint64_t asked_bytes;          /* 32 MiB of bodies in them, likewise */
    uint64_t assembled_bytes;      /* 64 MiB in half messages of a connection; above it 506 */
    uint64_t memory_bytes;         /* 256 MiB in messages of all connections that share a budget */
    uint32_t partial_timeout_ms;   /* 30000 without progress of half a message, while others wait */
    uint32_t transaction_ops;      /* 65536 publishes and settlements of a tx; above it 506 */
    uint32_t consumers;            /* 65536 of a connection; above it 530 */
    uint32_t handshake_timeout_ms; /* 10000 */
    uint32_t close_timeout_ms;     /* 15000 for close-ok, and for hanging up after it */
};
void amqp_limits_default(struct amqp_limits *l);

/* What a connection is told about its surroundings, and how it reaches them. Shared by many. */
struct amqp_host {
    struct amqp_limits limits;
    const char *version;               /* borrows: the program's */
    bool external;                     /* EXTERNAL is offered */
    struct amqp_op_pool *pool;         /* borrows: of messages; NULL: none */
    struct amqp_budget *budget;        /* borrows: served by the host, after each turn */
    uint64_t (*now_ms)(void *context); /* monotonic */
    /* Takes the op until amqp_connection_answer. */
    void (*ask)(void *context, struct amqp_op *op);
    /* Where to append; NULL: it can send nothing any more. */
    struct buffer *(*out)(void *context);
    /* It has ended: send what is there and close the socket. Called once, at most. */
    void (*ended)(void *context);
    /* It waited for memory of the budget and is not stalled any more. */
    void (*resumed)(void *context);
    /* Ended, and its last op has been answered: may be freed, also from here. */
    void (*unused)(void *context);
    /* Unpredictable, for names that nobody else may guess. */
    void (*random)(void *context, uint8_t *bytes, size_t size);
};

struct amqp_connection;

/* For all connections of a host. */
void amqp_connection_budget_init(struct amqp_budget *b, const struct amqp_limits *l);
MUST_CHECK int amqp_connection_create(const struct amqp_host *host, void *context,
                                      struct amqp_connection **ret);
void amqp_connection_free(struct amqp_connection *c);

/*
 * Takes bytes off the front; how many. Less than all: a frame is not whole, or it is stalled (alarm, too
 * much asked, no memory): then the rest comes again after `stalled` has become false.
 */
size_t amqp_connection_feed(struct amqp_connection *c, struct span bytes);
bool amqp_connection_stalled(const struct amqp_connection *c);
/* An op of this connection, or of what was it. The op is the connection's again, and may be freed. */
void amqp_connection_answer(struct amqp_op *op);
/* What became of the turn that is best said once: confirms, settlements. After each run of the above. */
void amqp_connection_flush(struct amqp_connection *c);
/* The socket has gone: what the client held is given back. `ended` is not called any more. */
void amqp_connection_lost(struct amqp_connection *c);
/* Ends it from our side: 320, with a reason for people. */
void amqp_connection_shut_down(struct amqp_connection *c, const char *reason);
bool amqp_connection_ended(const struct amqp_connection *c);
bool amqp_connection_is_unused(const struct amqp_connection *c);

/* ---- from the broker ---- */
void amqp_connection_deliver(struct amqp_connection *c, const struct amqp_delivery *d);
/* Its queue has gone. */
void amqp_connection_cancelled(struct amqp_connection *c, uint16_t channel, uint64_t consumer);
/* Disk or memory: publishers wait while it is on. `reason` is static. */
void amqp_connection_alarm(struct amqp_connection *c, bool on, const char *reason);
/* The host's output is above (or again below) its mark: consumers get no more credit meanwhile. */
void amqp_connection_pause(struct amqp_connection *c, bool paused);

/* ---- time ---- */
/* When amqp_connection_tick has something to do; AMQP_NEVER. */
uint64_t amqp_connection_due_ms(const struct amqp_connection *c);
/* Heartbeats out; a silent peer, an unfinished handshake or a missing close-ok ends it. */
void amqp_connection_tick(struct amqp_connection *c);

/* The host's own, NULL at first: what the broker knows the connection by. */
void amqp_connection_set_link(struct amqp_connection *c, void *link);
void *amqp_connection_link(const struct amqp_connection *c);
/* What direct replies find it by; with its vhost. */
void amqp_connection_set_address(struct amqp_connection *c, uint64_t address);
/* As given to create. */
void *amqp_connection_context(const struct amqp_connection *c);
struct span amqp_connection_user(const struct amqp_connection *c);
struct span amqp_connection_vhost(const struct amqp_connection *c);

#endif
