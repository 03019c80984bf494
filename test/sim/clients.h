/*
 * test/sim/clients.h - who asks: clients with one request out at a time, and the dispatcher's ends of attempts.
 *
 * Promise: what a client asks for is a function of the seed, the client and how often it asked. Every answer
 *          is checked against what is known, and becomes known; a request that stays without an answer
 *          makes less known (letters.h, units.h).
 */
#ifndef SLUICE_TEST_SIM_CLIENTS_H
#define SLUICE_TEST_SIM_CLIENTS_H

#include "letters.h"
#include "sim.h"
#include "units.h"

#define CALL_OPERATIONS 3u
#define NO_CLIENT       UINT32_MAX
#define CALL_SETTLES    8u
#define CALL_PARCELS    2u

struct call {
    struct engine_request q; /* first: the port gives it back */
    struct call *next;       /* link: free, or out */
    struct call *before;
    const struct traffic *traffic; /* borrows; NULL: asked by the oracle itself */
    uint32_t client;               /* NO_CLIENT: the dispatcher, the oracle */
    uint32_t letter, unit, member; /* 0: none */
    uint32_t flight;               /* of an attempt's end */
    unsigned queue, stock, campaign, destination;
    bool answered;
    struct operation operations[CALL_OPERATIONS];
    uint64_t session; /* of the broker; `connection` is its place */
    uint32_t connection, consumer;
    uint32_t parcels[CALL_PARCELS]; /* tags; 0: none */
    struct exchange_publish publishes[CALL_PARCELS];
    struct settle settles[CALL_SETTLES];
    struct {
        uint32_t tag, serial;
        uint8_t box;
    } settled[CALL_SETTLES];
    uint32_t settle_count;
    uint32_t slip, chore; /* 0: none */
    uint64_t order, base; /* see slips.h: when it was asked, which versions were seen */
    uint8_t desk, to, version;
    struct stored_message stored;
    char header_text[32];
    uint32_t act; /* of the ledger; 0: unsigned */
    char actor[24];
    char key[24], purchase[24], member_text[24], order_text[24], dedup_text[24];
    struct destination_def destination_def; /* zero, or to be released */
    struct stock_def stock_def;             /* likewise */
    struct queue_def queue_def;
    struct campaign_def campaign_def;
    void (*finished)(struct sim *s, void *context); /* of the last of a chain by calls_finish */
    void *context;
    uint8_t *body; /* owns: LETTER_BYTES_MAX, kept when it is given back; NULL: never needed */
};

struct clients *clients_create(struct sim *s);
void clients_free(struct clients *c);

/* Defines what all runs work on; to be called again after each start: what is there stays. */
bool clients_define(struct sim *s);
/* The requests of all clients that have something to ask now, and of the dispatcher, are submitted. */
void clients_ask(struct sim *s);
/* When the next client asks; UINT64_MAX: all wait for answers. */
uint64_t clients_next_ns(const struct sim *s);
bool clients_all_answered(const struct sim *s);
/* The process is gone: what is out stays without an answer. */
void clients_restart(struct sim *s);

/* A definition of the run: true, it is in force. Takes the call. */
bool clients_ask_now(struct sim *s, struct call *c);
/* The same of a queue. Releases def. */
bool clients_define_queue(struct sim *s, struct queue_def *def);
/* As it is to be now. */
void clients_fill_queue(const struct sim *s, unsigned q, struct queue_def *ret);
void clients_fill_campaign(const struct sim *s, unsigned campaign, struct campaign_def *ret);
/* False: no answer. */
bool clients_exists(struct sim *s, enum request_kind kind, const char *name, bool *ret_there);

/* For others who ask. */
struct call *call_take(struct sim *s, enum request_kind kind);
void call_give(struct sim *s, struct call *c);
/* To be submitted with the next clients_ask. */
void call_queue(struct sim *s, struct call *c);
/*
 * Submits a chain now and turns the engine until all is answered; `finished` (or NULL) is called then, before anything
 * else happens. False: the engine died, and the calls are gone.
 */
bool calls_finish(struct sim *s, struct call **calls, size_t count,
                  void (*finished)(struct sim *s, void *context), void *context);

#endif
