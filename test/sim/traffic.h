/*
 * test/sim/traffic.h - the kinds of requests that clients make, each with what its answer must be.
 *
 *   make      draws one; false: nothing to do for it now
 *   answered  checks the answer against what is known, and notes what it says
 *   lost      there will be no answer: what it would have done may have happened
 */
#ifndef SLUICE_TEST_SIM_TRAFFIC_H
#define SLUICE_TEST_SIM_TRAFFIC_H

#include "clients.h"

struct traffic {
    unsigned weight;
    enum request_kind kind;
    bool (*make)(struct sim *s, struct call *c, struct rng *rng);
    void (*answered)(struct sim *s, struct call *c);
    void (*lost)(struct sim *s, struct call *c);
};

/* One of `count` > 1 tags, 0 excepted; about every other time one of the `latest`. */
static inline uint32_t traffic_recent(struct rng *rng, uint32_t count, uint32_t latest) {
    uint32_t range = rng_below(rng, 2) == 0 && count > latest ? latest : count - 1;
    return count - 1 - (uint32_t)rng_below(rng, range);
}

/* The facts of a run: limits, policies, totals; drawn from the seed. */
void traffic_facts(struct sim *s);
struct call *traffic_draw(struct sim *s, struct rng *rng);
/* The letter is sent again, with the same key. */
struct call *traffic_retry(struct sim *s, uint32_t tag);

/* counts: of its limits, as destination_fill has them. */
void traffic_fill_destination(struct sim *s, struct call *c, unsigned destination,
                              const uint32_t *counts);
void traffic_fill_stock(struct sim *s, struct call *c, unsigned stock, uint64_t total);

/* ---- traffic_messages.c, traffic_units.c: the kinds ---- */
extern const struct traffic traffic_publish, traffic_delete, traffic_purge, traffic_redrive,
    traffic_receipt, traffic_pause_queue;
/* ---- traffic_destination.c ---- */
extern const struct traffic traffic_pause_destination, traffic_limits, traffic_act;
/* One of those by hand or of a check, at the guarded destination. */
void traffic_fill_act(struct sim *s, struct call *c, enum request_kind kind, unsigned endpoint,
                      bool up);
extern const struct traffic traffic_enter, traffic_reserve, traffic_release, traffic_confirm,
    traffic_transaction, traffic_total;

/* ---- traffic_rules.c: definitions that change ---- */
extern const struct traffic traffic_queue, traffic_policy, traffic_campaign;

/* ---- traffic_slips.c, traffic_chores.c; of desk.c the ends of attempts ---- */
extern const struct traffic traffic_slip, traffic_slip_look, traffic_slip_discard,
    traffic_slip_edit, traffic_slip_move, traffic_slip_redrive, traffic_slip_confirm, traffic_chore,
    traffic_chore_look, traffic_chore_cancel, traffic_slip_end;

/* ---- traffic_broker.c: what connections to the broker ask ---- */
extern const struct traffic traffic_amqp_publish, traffic_amqp_transaction, traffic_consume,
    traffic_cancel, traffic_settle, traffic_get, traffic_credit, traffic_disconnect,
    traffic_exclusive;
/* One of the held, and others of its session, are acknowledged. */
struct call *traffic_acknowledge(struct sim *s, uint32_t at);
/* The connection ends. */
struct call *traffic_end_session(struct sim *s, unsigned session);
/* A consumer without limits for what is left in a box. */
struct call *traffic_drain_box(struct sim *s, unsigned box);

/* Shared by them: DISK_FULL is an answer only when the disk may be full. True: it is one. */
bool traffic_is_full(struct sim *s, const struct call *c);
void traffic_unexpected(struct sim *s, const struct call *c) __attribute__((noreturn));
/* An entry that sends `tag` (0: the campaign queues nothing); a transaction that takes a ticket and sends `tag`. */
void traffic_fill_enter(struct sim *s, struct call *c, unsigned campaign, uint32_t member,
                        uint32_t tag);
void traffic_fill_transaction(struct sim *s, struct call *c, uint32_t tag);
/* The letter's body and idempotency key into the call. */
void traffic_fill_letter(struct sim *s, struct call *c, uint32_t tag, struct envelope *e);

#endif
