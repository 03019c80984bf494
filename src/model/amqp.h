/*
 * model/amqp.h - what AMQP connections ask of the model, and what it hands to them.
 *
 * Names:   a queue of vhost "/" whose name has no '/' is known to all of Sluice by that plain name;
 *          any other one is "<vhost>/<queue>" with '/' and '%' of the vhost written as %2F and %25
 *          (amqp_queue_name). A vhost has 1..VHOST_MAX_BYTES bytes, a queue 1..255, neither has a NUL.
 *
 * Sessions: one per connection, named by the connection itself: a number that no other connection of
 *          this run of the program has or had, not 0. It begins in the model with the first request that
 *          needs it (consume, get, exclusive declare, qos) and ends by SESSION_CLOSE, which a connection sends
 *          when it ends if it ever sent one of those. After a restart recovery has closed them all.
 * Consumers: numbered by the connection too (from 1, once only), so that a delivery which overtakes the
 *          answer to CONSUME is known for what it is: it follows consume-ok.
 *
 * A delivery makes the message `in flight`, held by the consumer (for GET: by the channel), until it is
 * settled, or its channel or session closes. There is no other mode: for no-ack the connection settles
 * by itself (ack) what it has written to the socket. So the body stays in the log until it was written.
 *
 * Room: a consumer gets a message while
 *          held by it < prefetch (0: no limit), held by its channel < the channel's prefetch, and
 *          delivered to it < credit: DELIVERY_CREDIT at first, raised by CONSUMER_CREDIT as the
 *          connection writes to the socket: so what waits in memory for a socket has a bound.
 */
#ifndef SLUICE_MODEL_AMQP_H
#define SLUICE_MODEL_AMQP_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"

#define VHOST_MAX_BYTES      127u
#define QUEUE_NAME_MAX_BYTES (3u * VHOST_MAX_BYTES + 1 + 255) /* as the model names it */
#define DELIVERY_CREDIT      2000u
#define AMQP_KEYS_MAX        256u              /* CC and BCC of one message */
#define AMQP_IMPORT_HEADER   "x-sluice-import" /* see amqp/message.h */

/*
 * The model's name of a queue, into `buffer`; what it returns borrows that, or `queue`. An empty span:
 * not a name.
 */
struct span amqp_queue_name(struct span vhost, struct span queue,
                            char buffer[QUEUE_NAME_MAX_BYTES + 1]);
/* The inverse: the queue's name as AMQP knows it borrows `name`; the vhost is written to `ret_vhost`. */
struct span amqp_queue_split(struct span name, char ret_vhost[VHOST_MAX_BYTES + 1]);

/* ---- publishing ---- */

/*
 * `properties` is stored and handed out as it is: flags and values of the header frame, BCC taken out. All
 * else was taken from it by the connection, so that the model need not parse it.
 */
struct amqp_message {
    struct span exchange;    /* empty: the default exchange */
    struct span routing_key; /* <= 255 bytes */
    struct span properties;
    struct span headers; /* entries of the header table (base/amqp_table.h); empty: none */
    struct span body;
    struct span message_id;
    const struct span *keys; /* borrows: further routing keys, of the headers CC and BCC */
    uint32_t key_count;
    uint64_t ttl_ns; /* of `expiration`, when it has one; 0 then: only to a consumer that waits */
    bool has_ttl;
    uint64_t delay_ns; /* header x-delay; negative or none: 0 */
    uint8_t priority;
    /*
     * Moved in from another broker: the queue `to_queue` alone gets it, whatever exchange and key say, which are
     * those that it was published with there. `import_id` is remembered; `import_again`: the other broker has handed it
     * out before, so it is not taken once more if the id is known. Empty: none of this.
     */
    struct span to_queue, import_id;
    bool import_again;
};

struct exchange_publish {
    struct span vhost;
    struct amqp_message message;
    /* out */
    uint32_t routed; /* how many queues it went to; 0: basic.return if mandatory, and confirm */
    bool refused;    /* by a full queue, while others took it or in a transaction: basic.nack */
};

enum settle_verdict {
    SETTLE_ACK = 1,     /* gone */
    SETTLE_REQUEUE = 2, /* back to its place; dead above the queue's delivery limit */
    SETTLE_REJECT = 3,  /* dead-lettered, or gone */
    SETTLE_RETURN = 4,  /* back to its place: it was never sent, so this delivery does not count */
};

/* What is not held by this session (any more) is passed over. */
struct settle {
    uint64_t message;
    enum settle_verdict verdict;
};

/* ---- what goes to connections ---- */

enum delivery_kind {
    DELIVERY_MESSAGE = 1,
    DELIVERY_CANCELLED = 2, /* the consumer is gone, because its queue is: basic.cancel */
};

/*
 * Made by model_decide_delivery, handed over when durable. The body: engine_read_message(stored_id,
 * address). `origin` is owned: see amqp_origin_read; empty for a message that was never dead-lettered.
 */
struct delivery {
    enum delivery_kind kind;
    uint16_t channel;
    bool redelivered;
    uint32_t consumer; /* the connection's number; 0 for GET */
    uint64_t session;
    uint64_t message; /* to settle it by */
    uint64_t stored_id, address;
    uint32_t body_bytes;
    uint32_t delivery_count; /* deliveries and attempts before this one */
    uint32_t origin_size;
    uint8_t *origin; /* owned by whoever has the delivery: free() */
};

/* ---- where a dead-lettered message has been ---- */

struct amqp_death {
    uint8_t reason; /* enum dead_reason: amqp_reason_name */
    bool first;     /* its exchange and routing keys (with CC) are those stored with the body */
    struct span queue, exchange, routing_key;
    uint64_t time_ns; /* of the last such death */
    uint64_t count;
};

/*
 * Deaths, the latest first: the x-death list. `exchange` and `routing_key` are those that it was last
 * published with, which is what basic.deliver says when there are deaths; without any, the stored ones hold.
 * A message with deaths has no expiration any more.
 */
struct amqp_origin {
    uint64_t stored_id; /* 0: its own */
    struct span exchange, routing_key;
    uint32_t death_count;
    struct span deaths;  /* encoded: amqp_origin_next */
    struct span keys;    /* encoded: amqp_origin_next_key; those of CC and BCC */
    struct span headers; /* entries of its table, kept to route it when it dies; empty: not kept */
};
/* In the number of deaths: see amqp.c. */
#define ORIGIN_ROUTED   0x8000u /* behind the deaths stands what else routes it */
#define ORIGIN_BORROWS  0x4000u /* in facts: its headers are those of the body or of what died */
#define ORIGIN_DEATHS   0x3fffu
#define ORIGIN_FLAGS_AT 9u /* offset of the byte with both */
/* Spans borrow `bytes`. E_CORRUPT. */
MUST_CHECK int amqp_origin_read(struct span bytes, struct amqp_origin *ret);
bool amqp_origin_next(struct span *deaths, struct amqp_death *ret);
bool amqp_origin_next_key(struct span *keys, struct span *ret);
/* A copy to be freed, with `headers` in their place if the origin of a fact borrows them. NULL: no memory, or no origin. */
uint8_t *amqp_origin_complete(struct span origin, struct span headers, uint32_t *ret_size);
/* A copy to be freed of what a connection tells of it: where it has been. Size 0 and NULL: nothing. E_NOMEM. */
MUST_CHECK int amqp_origin_told(struct span origin, uint8_t **ret, uint32_t *ret_size);
/* "rejected", "expired", "maxlen", "delivery_limit". */
const char *amqp_reason_name(unsigned reason);

/* ---- resources ---- */

enum exchange_type {
    EXCHANGE_DIRECT = 1,
    EXCHANGE_FANOUT = 2,
    EXCHANGE_TOPIC = 3,
    EXCHANGE_HEADERS = 4,
    EXCHANGE_HASH = 5, /* x-consistent-hash */
};
/* "direct", ..., "x-consistent-hash"; with `delayed`: "x-delayed-message". */
const char *exchange_type_name(enum exchange_type type, bool delayed);

struct exchange_declare {
    struct span type; /* as the client wrote it */
    struct span arguments;
    bool passive, durable, auto_delete, internal;
};

/*
 * name: the queue (empty: one is made, amq.gen-...). Answers: out.declared; the name in out_bytes.
 * The same queue may be declared by HTTP (QUEUE_DEFINE) with more settings.
 */
struct queue_declare {
    struct span arguments;
    bool passive, durable, exclusive, auto_delete;
};

struct queue_declared {
    uint64_t messages; /* ready */
    uint32_t consumers;
};

struct queue_remove {
    bool if_unused, if_empty;
};

struct binding {
    struct span source;      /* exchange */
    struct span destination; /* queue or exchange */
    bool to_exchange;
    struct span routing_key;
    struct span arguments;
};

struct consume {
    uint32_t consumer; /* the connection's number for it, from 1 */
    uint16_t channel;
    uint16_t prefetch; /* 0: no limit. no-ack: give 0 */
    bool exclusive, no_ack;
    int32_t priority;  /* x-priority */
    struct span tag;   /* for lists only */
    uint64_t credit;   /* CONSUMER_CREDIT: deliveries in all that it may have had */
    bool channel_wide; /* QOS: prefetch of the channel (global = true) */
};

struct basic_get {
    uint16_t channel;
};

struct settle_list {
    const struct settle *items; /* borrows */
    uint32_t count;
};

/* AMQP_TRANSACTION: all publishes, then all settles, in one record. */
struct exchange_transaction {
    struct exchange_publish *publishes; /* borrows */
    uint32_t publish_count;
    struct settle_list settles;
};

/* ---- lists, for the management API: encoded by the saver below in each, in out_bytes ---- */

struct exchange_info {
    uint64_t bindings;
    enum exchange_type type;
    bool durable, auto_delete, internal, delayed, builtin;
    uint32_t policy; /* as POLICY_LIST numbers them; 0: none */
};

struct policy_def {
    struct span name, pattern, apply_to; /* "queues", "exchanges", "all" */
    int32_t priority;
    struct span definition; /* entries of a table, by RabbitMQ's policy keys ("max-length", ...) */
    bool operator_policy;
    uint32_t number; /* in lists: what queues and exchanges name it by */
};

struct user_def {
    struct span name;
    struct span hash; /* argon2id, as libsodium writes it; empty: no password lets it in */
    struct span tags; /* "administrator,monitoring" */
    /* Not empty: another hash of the same password takes the place of this one, and nothing else changes. STALE when it is
     * not there any more: somebody has changed the password, or deleted the user, since it was looked at. */
    struct span renews;
};

struct permission_def {
    struct span user, vhost;
    struct span configure, write, read; /* regular expressions: base/pattern.h */
};

#endif
