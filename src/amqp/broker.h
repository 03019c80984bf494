/*
 * amqp/broker.h - the seam: what a connection asks of the broker behind it, and what comes back.
 *
 * Shape:   an op is one question. The connection makes it, with a copy of all that it borrows, and gives it
 *          to `ask` of its host; amqp_connection_answer brings it back, once, later, never inside of
 *          `ask`. Ops of one connection are decided in the order in which they were asked; answers
 *          may come in any order: each channel puts its own in order again.
 *          An op is decided whole and is durable when it is answered.
 * Errors:  `code` is the close code that the client is to get, 0 when all is well; whether it closes the
 *          channel or the connection follows from the code.
 *
 *      frames ─► connection ─► channel ─► op ─ ask ─► host ─► engine
 *      frames ◄─ connection ◄─ channel ◄─ op ◄─ answer ─┘
 *                connection ◄────────── delivery ──────────────┘
 */
#ifndef SLUICE_AMQP_BROKER_H
#define SLUICE_AMQP_BROKER_H

#include "amqp/codec.h"

struct amqp_connection;
struct amqp_channel;

enum amqp_op_kind {
    AMQP_OP_LOGIN = 1, /* login -> 403 */
    AMQP_OP_OPEN,   /* method: connection.open; 530 when there is no such vhost or no right to it */
    AMQP_OP_METHOD, /* method: exchange.*, queue.*; answered by name and counts */
    AMQP_OP_PUBLISH, /* publish -> routed, refused */
    AMQP_OP_CONSUME, /* method: basic.consume; consume -> consumer */
    AMQP_OP_CANCEL,  /* consumer */
    AMQP_OP_CREDIT,  /* consumer, credit: so many deliveries it may have had in all */
    AMQP_OP_QOS,     /* prefetch of the whole channel */
    AMQP_OP_GET,     /* method: basic.get -> delivery when `found`, message_count */
    AMQP_OP_SETTLE,  /* settle */
    AMQP_OP_COMMIT,  /* commit: one record */
    AMQP_OP_CLOSE, /* the connection goes: unsettled deliveries back, consumers and exclusive queues gone */
    AMQP_OP_NOTHING, /* never asked: an answer that waits for its turn */
};

enum amqp_verdict {
    AMQP_VERDICT_ACK = 1,
    AMQP_VERDICT_REQUEUE = 2,
    AMQP_VERDICT_REJECT = 3,
    AMQP_VERDICT_RETURN = 4, /* was never sent: not a delivery that failed */
};

struct amqp_settlement {
    uint64_t message;
    enum amqp_verdict verdict;
};

/* A message on its way in. */
struct amqp_publish {
    struct span exchange, routing_key;
    bool mandatory;
    struct span encoded; /* the properties as they came: flags and values */
    struct amqp_properties properties;
    struct span body;
};

/* A message on its way out. Spans: borrowed during the call. */
struct amqp_delivery {
    uint16_t channel;
    uint64_t consumer;
    uint64_t message; /* 0: settled already. A no-ack consumer's is settled by the connection */
    bool redelivered;
    struct span exchange, routing_key;
    struct span encoded; /* properties */
    struct span body;
};

struct amqp_op {
    enum amqp_op_kind kind;
    struct amqp_connection *connection; /* borrows: it stays until the op is answered */
    struct amqp_channel *channel;       /* borrows, likewise; NULL: the connection's own */
    struct amqp_op *next;               /* link: the channel's line */
    bool answered;
    bool silent;       /* the client wants no answer */
    uint64_t sequence; /* publish: confirm number, 0 without */
    uint64_t bytes;    /* counted against the connection's asked_bytes */
    struct amqp_method method;
    size_t room_bytes;     /* of the memory behind the op, which holds what its spans point to */
    size_t capacity_bytes; /* of the same; at least as much */
    struct amqp_op_pool *pool; /* borrows: where it goes in the end; NULL: it is freed */

    /* ---- question ---- */
    union {
        struct {
            struct span user, password;
            bool external;
        } login;
        struct amqp_publish publish;
        struct {
            uint32_t number; /* of the consumer: from 1, each once on this connection */
            uint16_t prefetch;
            bool no_ack;
        } consume;
        struct {
            uint64_t consumer;
            uint64_t credit;
        } credit; /* also CANCEL */
        uint16_t prefetch;
        struct {
            struct amqp_settlement *items; /* owns */
            size_t count;
        } settle;
        struct {
            struct amqp_op *publishes; /* owns: a list by `next` */
            size_t publish_count;
            struct amqp_settlement *items; /* owns */
            size_t count;
        } commit;
    } in;

    /* ---- answer ---- */
    enum amqp_code code;
    char *text; /* owns; what stands after "NOT_FOUND - " */
    char *name; /* owns; queue.declare: the queue's; LOGIN: the user's */
    uint32_t message_count, consumer_count;
    uint64_t consumer; /* CONSUME: its id, > 0, greater than any before on this connection */
    uint32_t routed;   /* PUBLISH: into how many queues */
    bool refused;      /* PUBLISH: for want of room; COMMIT never */
    bool found;        /* GET */
    struct amqp_delivery
        delivery; /* GET; its spans point into what the host keeps until amqp_op_free */

    /* ---- the host's own ---- */
    void *host;
    void (*host_free)(struct amqp_op *op); /* before the op's memory goes; NULL: nothing to do */
};

/*
 * Ops of messages that were answered, for those to come: with a body behind them they are larger than what malloc is
 * quick at. Outlives its ops; one thread; at most 2 MiB.
 */
struct amqp_op_pool {
    struct amqp_op *first; /* owns: a list by `next` */
    size_t bytes;          /* behind them */
};
void amqp_op_pool_release(struct amqp_op_pool *pool);

/* With `room_bytes` behind it. NULL: no memory. */
struct amqp_op *amqp_op_create(enum amqp_op_kind kind, size_t room_bytes);
/* More room; what stood there was moved, so spans have to be set again. NULL: `op` is as it was. */
struct amqp_op *amqp_op_grow(struct amqp_op *op, size_t room_bytes);
uint8_t *amqp_op_room(struct amqp_op *op);
/* An op of a method: op->method borrows from the op itself. `pool` may be NULL. NULL: no memory. */
struct amqp_op *amqp_op_create_method(struct amqp_op_pool *pool, enum amqp_op_kind kind,
                                      struct span payload);
void amqp_op_free(struct amqp_op *op);
/* E_NOMEM */
MUST_CHECK int amqp_op_set_name(struct amqp_op *op, struct span name);
/* Sets code and text; without memory no text. */
void amqp_op_refuse(struct amqp_op *op, enum amqp_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
