/*
 * test/sim/parcels.h - what publishers and consumers know of every message that went through the broker.
 *
 * A parcel is one publish; it has a copy in each box (an AMQP queue that all runs have) that it is routed to. As with
 * letters, `may` is the set of what can have become of a copy by the answers seen. A request widens it when it
 * is asked for, its answer makes it narrow again, and so do deliveries and the audit:
 *
 *      NONE --confirmed--> IN ... DEAD (in the box of the dead letters) ... GONE
 *
 *   P1 what was confirmed is in each of its boxes until it was delivered and settled there;
 *   P2 what was acknowledged, and that was answered, never comes back;
 *   P3 what was not confirmed is in all of its boxes or in none;
 *   P4 a copy is in one place; one that is dead-lettered says where it died;
 *   P5 delivery counts never go down (but by SETTLE_RETURN), and `redelivered` says the same;
 *   P6 of one ordering key one is out at a time, in the order in which they were published;
 *   P7 after a restart nothing is held.
 */
#ifndef SLUICE_TEST_SIM_PARCELS_H
#define SLUICE_TEST_SIM_PARCELS_H

#include "base/map.h"
#include "model/request.h"
#include "rules.h"
#include "sim.h"

#define BOXES            6u
#define BOXES_FOR_ROUTES 4u /* the others are for what dies */
#define PARCEL_KEYS      36u
#define PARCEL_BYTES_MAX 2048u
#define NO_HOLDER        UINT32_MAX

enum { BOX_PLAIN, BOX_KEYED, BOX_SINGLE, BOX_BRIEF, BOX_DEAD_PLAIN, BOX_DEAD_BRIEF };
enum { COPY_NONE = 1, COPY_IN = 2, COPY_DEAD = 4, COPY_GONE = 8 };

struct box_facts {
    const char *name;
    struct rule max_messages; /* ready ones; 0: no limit */
    bool changing;            /* it: asked for, no answer so far */
    uint64_t ttl_ns;
    uint32_t delivery_limit;
    int dead; /* the box of its dead letters; -1: none */
};

struct copy {
    uint64_t id;     /* of the message; 0: not known */
    uint32_t holder; /* index of the consumer that has it, or NO_HOLDER */
    uint32_t held_at;
    uint32_t deliveries; /* at least so many so far, in the place where it is */
    uint32_t serial;     /* of its last delivery */
    uint32_t acked_life; /* in which it was said that it is done; 0: never */
    uint32_t audit;
    uint8_t may;
    uint8_t place; /* the box where it was seen last */
};

struct parcel {
    uint64_t asked_ns; /* engine's time */
    uint32_t size;
    uint8_t boxes;    /* bit of each box that it goes to */
    uint8_t key;      /* in BOX_KEYED */
    bool asked;       /* no answer yet, or never */
    uint32_t partner; /* of the same transaction; 0: none */
    struct copy copies[BOXES_FOR_ROUTES];
};

struct parcels {
    struct box_facts boxes[BOXES];
    struct parcel *items; /* owns: index is the tag; 0 unused */
    uint32_t count, capacity;
    uint32_t first; /* those before are over for certain */
    struct map by_id;
    struct {
        uint32_t *tags; /* owns: in the order of publishing */
        uint32_t count, capacity, first, out;
    } keys[PARCEL_KEYS];
    uint32_t audit, life;
};

struct parcels *parcels_create(struct sim *s);
void parcels_free(struct parcels *p);
static inline struct parcel *parcel_at(const struct sim *s, uint32_t tag) {
    return &s->parcels->items[tag];
}

uint32_t parcel_make(struct sim *s, uint8_t boxes, uint8_t key, uint32_t size);
/* Sixteen bytes at least, the same each time. */
void parcel_fill(uint32_t tag, uint32_t size, uint8_t *out);
/* The tag in a body, checked byte by byte. */
uint32_t parcel_of_body(const struct sim *s, struct span body);
/* With what time may have done to it. */
unsigned copy_may(const struct sim *s, uint32_t tag, unsigned box);

void parcel_confirmed(struct sim *s, uint32_t tag);
/* A box was full: it has none, the others have. */
void parcel_refused_by(struct sim *s, uint32_t tag, unsigned box);
void parcel_refused(struct sim *s, uint32_t tag);
/* Of those that may be in this box now. */
uint32_t parcels_in_box(const struct sim *s, unsigned box);

/* The message of a delivery or list: its tag, and *ret_box where it was first. 0: it cannot be read now. */
uint32_t parcel_find(struct sim *s, uint64_t id, uint64_t stored_id, uint64_t address,
                     unsigned place, unsigned *ret_box);
/* It was delivered out of `place`; everything that must hold then. */
void copy_delivered(struct sim *s, uint32_t tag, unsigned box, unsigned place,
                    const struct delivery *d);
/* A verdict is asked for, and answered: what it makes of the copy. */
void copy_settling(struct sim *s, uint32_t tag, unsigned box, enum settle_verdict verdict);
void copy_settled(struct sim *s, uint32_t tag, unsigned box, uint32_t serial,
                  enum settle_verdict verdict);
/* Whoever has it lets go, by a close that is asked for or by the end of the process. */
void copy_let_go(struct sim *s, uint32_t tag, unsigned box);

/* The audit: begins, one message that is there, ends with what was not seen. */
void parcels_audit_begin(struct sim *s);
void parcel_seen(struct sim *s, const struct message_info *info, unsigned place);
void parcels_see_held(struct sim *s, unsigned place);
void parcels_audit_end(struct sim *s);
bool parcels_all_gone(const struct sim *s);

#endif
