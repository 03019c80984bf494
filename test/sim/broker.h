/*
 * test/sim/broker.h - connections to the broker: sessions, consumers, and what they hold.
 *
 * Promise: each delivery is checked as it comes: to a consumer that is there and has room (prefetch of its own
 *          and of its channel, credit), of the box that it consumes, the single active one where there is one;
 *          then as a parcel (parcels.h). A session ends by its close, or with the process.
 */
#ifndef SLUICE_TEST_SIM_BROKER_H
#define SLUICE_TEST_SIM_BROKER_H

#include "clients.h"
#include "parcels.h"

#define SESSIONS        5u
#define CONSUMERS_EACH  4u
#define CONSUMERS       (SESSIONS * CONSUMERS_EACH)
#define GETTER(session) (CONSUMERS + (session)) /* the holder of what a session got by GET */
#define BROKER_CHANNEL  1u
#define EXCHANGES       4u

enum { EXCHANGE_NUMBER_DIRECT, EXCHANGE_NUMBER_FAN, EXCHANGE_NUMBER_TOPIC, EXCHANGE_NUMBER_DEAD };
extern const char *const exchange_names[EXCHANGES];

struct consumer_facts {
    uint32_t number; /* 0: there is none */
    uint32_t held;
    uint64_t delivered, credit;
    uint16_t prefetch;
    uint8_t box;
    bool no_ack, cancelled;
};

struct session_facts {
    uint64_t id; /* 0: not connected */
    uint32_t next_number;
    uint32_t held;      /* on its channel, by consumers */
    uint32_t limit;     /* of its channel; 0: none */
    char exclusive[24]; /* the queue that it owns; empty: none */
    struct consumer_facts consumers[CONSUMERS_EACH];
};

struct in_hand {
    uint32_t tag;
    uint8_t box;
    uint64_t message;
};

struct broker {
    struct session_facts sessions[SESSIONS];
    uint64_t last_session;
    struct in_hand *items; /* owns */
    uint32_t count, capacity;
    uint32_t active; /* holder that BOX_SINGLE was delivered to last */
    uint64_t active_session;
};

struct broker *broker_create(void);
void broker_free(struct broker *b);

/* Exchanges, boxes, bindings; what is there stays. False: the engine died, or has no room. */
bool broker_define(struct sim *s);
/* Whether its limits come by a policy; that, as it is to be now, into a call with a body. */
bool broker_is_by_policy(const struct sim *s, unsigned box);
void broker_fill_policy(const struct sim *s, struct call *c, unsigned box);
/* engine_options.deliver */
void broker_deliver(void *sim, struct delivery_batch *first);
/* One message came: to a consumer, or as the answer to GET (holder). */
void broker_take(struct sim *s, const struct delivery *d, unsigned place, uint32_t holder);
/* What was delivered without acknowledgement, or while all is drained, is settled; and others come to consume all. */
void broker_work(struct sim *s);
/* One of the held leaves the hand of its holder: its verdict was asked for. */
void broker_settling(struct sim *s, uint32_t at, enum settle_verdict verdict);
/* The session's end was asked for. */
void broker_disconnect(struct sim *s, unsigned session);
/* All connections end, and say so. */
void broker_disconnect_all(struct sim *s);
void broker_restart(struct sim *s);

/* Which session a holder belongs to. */
static inline unsigned session_of(uint32_t holder) {
    return holder < CONSUMERS ? holder / CONSUMERS_EACH : holder - CONSUMERS;
}
/* A connected one; connects it when it was not. */
struct session_facts *broker_session(struct sim *s, unsigned session);

#endif
