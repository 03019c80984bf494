/*
 * test/sim/units.h - what the clients know of stocks: who has which unit, and of campaigns: who entered.
 *
 * As with letters, `may` is what can have become of a purchase by the answers seen; one bit: it is known.
 * A number that was given is checked against all others at once:
 *   U1 nobody else has it for certain;
 *   U2 it is not above the units that can be in use with it: numbers are gapless, the smallest free one is given;
 *   U3 those in use for certain are at most the total (less the safety stock of a campaign).
 */
#ifndef SLUICE_TEST_SIM_UNITS_H
#define SLUICE_TEST_SIM_UNITS_H

#include "rules.h"
#include "sim.h"

#define STOCKS    4u
#define CAMPAIGNS 2u
#define MEMBERS   1500u
#define PURCHASES 2000u /* purchase numbers that clients use of the stock of reservations */

enum { STOCK_SEATS, STOCK_COUPONS, STOCK_LOTS, STOCK_TICKETS };
enum { CAMPAIGN_COUPONS, CAMPAIGN_LOTS };
enum { UNIT_NONE = 1, UNIT_HELD = 2, UNIT_FINAL = 4, UNIT_CANCELLED = 8 };
#define UNIT_IN_USE (UNIT_HELD | UNIT_FINAL)

struct unit {
    uint64_t receipt;  /* of the reservation or entry; 0: not known */
    uint64_t until_ns; /* of the hold, engine's time; 0: final */
    uint32_t number;   /* 0: not known or none */
    uint32_t member;   /* 0: none */
    uint32_t letter;   /* that gives it back when it dies; 0: none */
    uint8_t stock;
    uint8_t may;
    bool cancel_asked; /* a release was asked for at some time */
};

struct entry_facts {
    uint64_t receipt;
    uint32_t unit;
    uint32_t letter; /* 0: the campaign queues nothing */
    bool asked;      /* an entry of this member has no answer */
};

struct stock_facts {
    const char *name;
    uint64_t total;
    uint64_t total_asked; /* a higher one was asked for, without an answer: 0: none */
    uint64_t per_member;
    uint64_t hold_ns;
};

struct campaign_facts {
    const char *name;
    unsigned stock;
    unsigned policy; /* enum campaign_failure */
    uint64_t opens_ns;
    struct rule safety, generation;
    bool changing; /* these: asked for, no answer so far */
    bool has_queue;
    struct entry_facts members[MEMBERS + 1];
};

struct units {
    struct unit *items; /* owns; 0 unused */
    uint32_t count, capacity;
    uint32_t
        purchases[PURCHASES]; /* unit of a purchase number of STOCK_SEATS; 0: never asked for */
    struct stock_facts stocks[STOCKS];
    struct campaign_facts campaigns[CAMPAIGNS];
};

struct units *units_create(void);
void units_free(struct units *u);
static inline struct unit *unit_at(const struct sim *s, uint32_t unit) {
    return &s->units->items[unit];
}
uint32_t unit_make(struct sim *s, unsigned stock, uint32_t member);
/* The text that names it: purchase number, or the receipt of its entry. */
void unit_key(const struct sim *s, uint32_t unit, char out[24]);
/* With what time may have done to it. */
unsigned unit_may(const struct sim *s, const struct unit *u);

struct unit_count {
    uint64_t certain, maybe; /* in use; maybe includes the certain ones */
};
/* member 0: all; `without` is left out. */
struct unit_count units_count(const struct sim *s, unsigned stock, uint32_t member,
                              uint32_t without);

/* An answer gave it this number: U1, U2, U3. until_ns 0: final. */
void unit_given(struct sim *s, uint32_t unit, uint64_t number, uint64_t until_ns, uint64_t safety);
/* The whole stock as found at one moment: no number twice, as many as the stock says. */
void units_check_numbers(struct sim *s, unsigned stock, uint64_t used);

/* A letter that gives its unit back died: by the policy of what it is tied to. */
void unit_letter_died(struct sim *s, uint32_t tag);
/* It is alive again; `known`: the answer said so, its new number is not known. */
void unit_letter_redriven(struct sim *s, uint32_t tag);
/* What became of the letter is not known (or is known again by the audit). */
void unit_letter_unsure(struct sim *s, uint32_t tag);

#endif
