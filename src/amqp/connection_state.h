/*
 * amqp/connection_state.h - what a connection and its channels are made of. Internal to amqp/.
 *
 *   C1  `asked` counts the ops that the host holds; of a channel's, all stand in its line, in the order in
 *       which they were asked; so a connection or channel lives until its last op is answered
 *   C2  a channel is in `channels` from open until close-ok; after that, or after the connection's end,
 *       it is only held by its line (`detached`)
 *   C3  a consumer whose id is 0 has a CONSUME in the line; the others ascend by id before it
 *   C4  settlements and confirms that wait for the end of the turn are sent before anything of the same
 *       channel whose order to them a client can see
 */
#ifndef SLUICE_AMQP_CONNECTION_STATE_H
#define SLUICE_AMQP_CONNECTION_STATE_H

#include "amqp/connection.h"
#include "amqp/unacked.h"
#include "base/list.h"

enum amqp_connection_state {
    AMQP_AWAITS_HEADER,
    AMQP_AWAITS_START_OK,
    AMQP_AWAITS_LOGIN, /* our own answer */
    AMQP_AWAITS_TUNE_OK,
    AMQP_AWAITS_OPEN,
    AMQP_OPENING, /* our own answer */
    AMQP_RUNNING,
    AMQP_LEAVING, /* the client's close is answered when all is given back */
    AMQP_CLOSING, /* our close was sent */
    AMQP_ENDED,
};

enum amqp_channel_state {
    AMQP_CHANNEL_OPEN_,
    AMQP_CHANNEL_LEAVING, /* the client's close is in the line */
    AMQP_CHANNEL_CLOSING, /* our close was sent */
    AMQP_CHANNEL_GONE,
};

enum amqp_channel_mode { AMQP_MODE_PLAIN, AMQP_MODE_CONFIRM, AMQP_MODE_TX };

struct amqp_consumer {
    uint64_t id;                /* 0: asked */
    uint64_t delivered, credit; /* in all; credit 0: its prefetch is bound enough */
    bool no_ack;
    uint8_t tag_size;
    char tag[];
};

/* A delivery that came before its consume-ok could be sent. */
struct amqp_early {
    struct amqp_early *next; /* link */
    struct amqp_delivery delivery;
    uint8_t room[];
};

/* What a transaction has settled so far. */
struct amqp_uncommitted {
    struct amqp_unacked_entry entry;
    enum amqp_verdict verdict;
};

struct amqp_channel {
    struct amqp_connection *connection; /* borrows */
    uint16_t number;
    enum amqp_channel_state state;
    enum amqp_channel_mode mode;
    bool detached;
    bool limited;      /* as a whole: ends with it, the next of this number has no limit */
    uint16_t prefetch; /* for consumers to come */
    struct amqp_op *first, *last;
    /* Of `content`: the method is here, and then the header when `body_left` counts. */
    struct amqp_op *content; /* owns */
    bool has_header;
    uint64_t body_size, body_have;
    char *last_queue; /* owns; NULL: none was declared */
    /* Confirms: given to publishes, sent, and good ones not sent. */
    uint64_t published, confirmed_to, confirms;
    struct list_node node;  /* in the connection's gone, when detached */
    struct list_node dirty; /* in the connection's dirty, while `confirms` > 0 */
    struct amqp_unacked unacked;
    struct amqp_consumer **consumers; /* owns */
    uint32_t consumer_count, consumer_capacity;
    uint32_t consumes_asked;
    struct amqp_early *early;          /* owns */
    struct amqp_reply_consumer *reply; /* owns; NULL: it asks no questions */
    /* Of the transaction that is open. */
    struct amqp_op *tx_first, *tx_last; /* owns */
    size_t tx_publishes;
    struct amqp_uncommitted *tx_settled; /* owns */
    size_t tx_settled_count, tx_settled_capacity;
};

struct amqp_connection {
    const struct amqp_host *host; /* borrows */
    void *context;                /* borrows: the host's */
    void *link;                   /* borrows: the broker's */
    enum amqp_connection_state state;
    uint32_t frame_max;
    uint16_t channel_max;
    uint16_t heartbeat_s; /* ours; 0: none */
    uint16_t silence_s;   /* the client's, after two of which it is taken for dead; 0: never */
    bool can_cancel, can_block, can_fail_login; /* what the client said about itself */
    bool session;                               /* the vhost is open: CLOSE has to be asked */
    bool closed;                                /* CLOSE was asked */
    bool lost;
    bool alarm, told_blocked;
    const char *alarm_reason; /* static */
    bool held;                /* a publish waits for the end of an alarm */
    bool paused;
    bool spoke; /* since the last tick */
    uint64_t since_ms, heard_ms, tick_ms;
    char *user, *vhost;         /* own */
    char mechanism[16];         /* that it logged in by */
    uint8_t *client_properties; /* owns: entries, for lists of connections; NULL: none */
    uint32_t client_properties_size;
    uint64_t address;               /* for replies: see amqp/reply.h */
    struct amqp_channel **channels; /* owns; by number, 0 unused */
    uint32_t channel_capacity;
    uint32_t channel_count;
    uint32_t asked;
    uint32_t consumer_count, consumer_numbers;
    uint64_t asked_bytes, assembled_bytes; /* both of the host's budget */
    struct amqp_holder holder;             /* waits in the budget for memory */
    uint64_t waits_since_ms;               /* while it does */
    /* Half messages are as old as if all had come at PROGRESS_BYTES_PER_MS since then. */
    uint64_t progress_ms;
    uint32_t part_left; /* of a body's frame that was taken in part; 0: of none */
    uint16_t part_channel;
    struct list dirty; /* channels with confirms to send */
    struct list
        gone; /* detached channels: freed between the events, so that no caller loses its own */
    struct amqp_settlement *settled; /* owns: of this turn */
    size_t settled_count, settled_capacity;
};

/* ---- connection.c ---- */
void amqp_send(struct amqp_connection *c, uint16_t channel, const struct amqp_method *m);
/* Method, header and body. */
void amqp_send_content(struct amqp_connection *c, uint16_t channel, const struct amqp_method *m,
                       struct span properties, struct span body);
/* Tells the client and closes. `method`: what was wrong, or 0. */
void amqp_fail(struct amqp_connection *c, enum amqp_code code, uint32_t method, const char *format,
               ...) PRINTF_LIKE(4, 5);
void amqp_fail_nomem(struct amqp_connection *c);
void amqp_ask(struct amqp_connection *c, struct amqp_op *op);
/* For the SETTLE of this turn. */
void amqp_settle(struct amqp_connection *c, uint64_t message, enum amqp_verdict verdict);
/* Ask what waits for the end of the turn. */
void amqp_settle_now(struct amqp_connection *c);

/* ---- connection_pressure.c ---- */
/* Memory for messages that are not whole. False: it waits for it and is stalled, or it has failed. */
MUST_CHECK bool amqp_hold(struct amqp_connection *c, uint64_t bytes);
/* The same without asking: little, or what was held already. */
void amqp_hold_more(struct amqp_connection *c, uint64_t bytes);
void amqp_let_go(struct amqp_connection *c, uint64_t bytes);
/* So much of one has come. */
void amqp_progress(struct amqp_connection *c, uint64_t bytes);
/* After amqp_let_go, when what followed from it was asked or held. */
void amqp_let_others(struct amqp_connection *c);
/* Once for each time that publishes have to wait, if it wants to know. */
void amqp_tell_blocked(struct amqp_connection *c, const char *reason);
/* When it has waited, or stood still, for too long; AMQP_NEVER. */
uint64_t amqp_pressure_due_ms(const struct amqp_connection *c);
/* Then. */
void amqp_pressure_tick(struct amqp_connection *c, uint64_t now_ms);

/* ---- channel.c ---- */
void amqp_channel_start(struct amqp_connection *c, uint16_t number);
/* A frame for an open channel number. False: it was not taken, the connection is stalled. */
MUST_CHECK bool amqp_channel_frame(struct amqp_channel *ch, const struct amqp_frame *frame);
/* Closes the channel, or the connection if the code is one of those. */
void amqp_channel_fail(struct amqp_channel *ch, enum amqp_code code, uint32_t method,
                       const char *format, ...) PRINTF_LIKE(4, 5);
/* What it holds goes back; the connection's end does that for all at once (`given_back`). */
void amqp_channel_release(struct amqp_channel *ch, bool given_back);
/* Out of the table; freed by `reap` when its line is empty. */
void amqp_channel_detach(struct amqp_channel *ch);
void amqp_channels_reap(struct amqp_connection *c);
void amqp_channel_answered(struct amqp_channel *ch, struct amqp_op *op);
/* Into the line and to the host. */
void amqp_channel_ask(struct amqp_channel *ch, struct amqp_op *op);
/* In its turn, with a copy of what it points to. */
void amqp_channel_say(struct amqp_channel *ch, const struct amqp_method *m);
/* In its turn. No spans in `m`. */
void amqp_channel_reply(struct amqp_channel *ch, const struct amqp_method *m);
/* Return, confirm or refuse one that has been decided. */
void amqp_channel_published(struct amqp_channel *ch, const struct amqp_op *op);
/* Sends the confirms that wait. */
void amqp_channel_confirm(struct amqp_channel *ch);

/* ---- channel_methods.c ---- */
void amqp_channel_method(struct amqp_channel *ch, const struct amqp_method *m);
/* An op with its own copy of the method, queue names filled in. NULL: the channel has failed. */
struct amqp_op *amqp_channel_op(struct amqp_channel *ch, enum amqp_op_kind kind,
                                const struct amqp_method *m);

/* ---- channel_content.c ---- */
void amqp_content_begin(struct amqp_channel *ch, struct span payload);
/* False: not taken, for want of memory. */
MUST_CHECK bool amqp_content_frame(struct amqp_channel *ch, const struct amqp_frame *frame);
/* The beginning of a body's frame of `frame_bytes`, or more of it. False: nothing was taken, it has to come whole. */
MUST_CHECK bool amqp_content_part(struct amqp_channel *ch, struct span part, size_t frame_bytes);
void amqp_content_drop(struct amqp_channel *ch);

/* ---- channel_basic.c ---- */
void amqp_basic_method(struct amqp_channel *ch, const struct amqp_method *m);
struct amqp_consumer *amqp_consumer_find(struct amqp_channel *ch, struct span tag);
void amqp_consumer_remove(struct amqp_channel *ch, struct amqp_consumer *k);
void amqp_consumer_ask_cancel(struct amqp_channel *ch, uint64_t id, struct amqp_op *op);
/* Its limit as a whole goes with it: the broker knows a channel by its number. */
void amqp_limit_drop(struct amqp_channel *ch);
/* What came too early goes back, or is forgotten with all else. */
void amqp_early_drop(struct amqp_channel *ch, bool given_back);
/* Raises the credit of one that has used much of it. */
void amqp_consumer_credit(struct amqp_connection *c, struct amqp_consumer *k);
void amqp_consumed(struct amqp_channel *ch, struct amqp_op *op);
/* To its consumer, or kept until that is known, or returned. */
void amqp_channel_deliver(struct amqp_channel *ch, const struct amqp_delivery *d);
void amqp_got(struct amqp_channel *ch, struct amqp_op *op);
/* Settles all that is unsettled on the channel. */
void amqp_channel_give_back(struct amqp_channel *ch, enum amqp_verdict verdict);

/* ---- channel_tx.c ---- */
void amqp_tx_method(struct amqp_channel *ch, const struct amqp_method *m);
void amqp_tx_publish(struct amqp_channel *ch, struct amqp_op *op);
void amqp_tx_settle(struct amqp_channel *ch, const struct amqp_unacked_entry *e,
                    enum amqp_verdict verdict);
void amqp_committed(struct amqp_channel *ch, struct amqp_op *op);
/* What it would have settled is still held, and goes back: its channel ends. */
void amqp_commit_refused(struct amqp_channel *ch, const struct amqp_op *op);
void amqp_tx_drop(struct amqp_channel *ch);
/* What was settled and not committed goes back to its queues. */
void amqp_tx_give_back(struct amqp_channel *ch);

#endif
