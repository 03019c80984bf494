/*
 * test/sim/slips.h - what the clients know of the messages that people work on, and of queues with rules of their own.
 *
 * A slip is a message in one of the desks, queues that differ in what may be done to their messages: people edit, move,
 * send again and discard them, one by one and as jobs (chores.h); one desk takes a key once, one is fair between
 * tenants, one waits for outside confirmation, one is sent in batches.
 *
 * As with letters, `may` is the set of what can have become of a slip by the answers seen so far, here with the desk: a
 * bit for "waits there", one for "dead there", and one for "gone". So a slip that is in two places, or in none
 * without having been ended, shows. Its text has versions: `versions` is the set of those that it can have; body,
 * length and priority follow from the version, so that an edit that was done in part shows.
 *
 *   T1 what was accepted is in exactly one desk, or gone for a reason that somebody gave;
 *   T2 its text is a version that somebody asked for, whole; what was answered is not undone;
 *   T3 an edit or move that looked at something else is refused;
 *   T4 of one key there is one, as long as the desk says;
 *   T5 what a destination took waits for its outcome, and no longer than the deadline; what was told counts once.
 */
#ifndef SLUICE_TEST_SIM_SLIPS_H
#define SLUICE_TEST_SIM_SLIPS_H

#include "base/map.h"
#include "model/request.h"
#include "sim.h"

#define SLIP_BYTES_MAX 2048u
#define DESKS          6u
#define SLIP_KEYS      40u
#define TENANTS        5u  /* the first is nobody */
#define VERSIONS_MAX   60u /* of one slip */

enum { DESK_WORK, DESK_ASIDE, DESK_ONCE, DESK_FAIR, DESK_BANK, DESK_BULK };

#define SLIP_WAITS(desk) (1u << (2 * (desk)))
#define SLIP_DEAD(desk)  (2u << (2 * (desk)))
#define SLIP_AT(desk)    (SLIP_WAITS(desk) | SLIP_DEAD(desk))
#define SLIP_GONE        (1u << (2 * DESKS))

struct slip {
    uint64_t id;       /* 0: not known */
    uint64_t versions; /* bits of those that its text can have */
    uint64_t settled;  /* number of the latest call that changed it for certain, as it was asked */
    uint64_t since;    /* number when it was first known to be as it is */
    uint64_t ready;    /* number when it was first seen to be ready there; 0: it was not */
    uint64_t accepted_ns;
    uint64_t confirm_from_ns, confirm_until_ns; /* its deadline lies in between, engine's time */
    struct message_seen seen;                   /* as somebody saw it last; address 0: nobody did */
    uint64_t seen_versions;
    uint32_t audit; /* in which it was seen last */
    uint32_t attempts, under_way;
    uint16_t may;
    uint8_t made, last_version; /* versions that were asked for, and the one seen last */
    uint8_t desk;               /* where it was published */
    uint8_t key, tenant;
    uint8_t told;       /* enum confirm_outcome, of the attempt under way */
    uint8_t told_often; /* how many confirmations were asked for */
    uint8_t may_tell;   /* bits of outcomes of which it is not known whether they were taken */
    bool asked, refused;
    bool confirming; /* for certain, until its deadline */
    bool anew;       /* its attempts may be counted from 1 again */
    bool stranded;   /* as of letters */
    bool left_key;   /* it may have died, moved or gone: its key may be free */
    bool lost_key;   /* it has for certain */
    bool fresh;      /* nothing holds it back, by the answers */
};

struct desk_facts {
    const char *name, *destination; /* NULL: not pushed */
    uint32_t max_messages, max_attempts;
    uint32_t certain, maybe; /* slips that wait, by `may` */
};

struct slips {
    struct slip *items; /* owns: index is the tag; 0 unused */
    uint32_t count, capacity;
    struct map by_id;
    struct desk_facts desks[DESKS];
    uint64_t asked;             /* numbers calls in the order in which they were asked */
    uint32_t latest[SLIP_KEYS]; /* by key: the slip that was accepted last */
    bool ghosts[SLIP_KEYS];     /* one may have come and gone and nobody knows its id */
    uint32_t fresh[TENANTS];
    uint32_t audit;
    /* Drawn from the seed. */
    bool until_delivered, refuses_twins;
    uint64_t window_ns;
    uint64_t confirm_ns;
    bool missed_is_dead, holds_place;
    uint32_t places; /* of the bank's concurrency; 0: any */
    uint32_t batch_most;
};

struct slips *slips_create(const struct sim *s);
void slips_free(struct slips *l);
static inline struct slip *slip_at(const struct sim *s, uint32_t tag) {
    return &s->slips->items[tag];
}
uint32_t slip_make(struct sim *s, unsigned desk);
/* 0: none is known by this id. */
uint32_t slip_find(const struct sim *s, uint64_t id);

/* ---- its text ---- */
uint32_t slip_bytes(uint32_t tag, unsigned version);
uint8_t slip_priority(unsigned version);
/* SLIP_BYTES_MAX at `out`. */
void slip_fill(uint32_t tag, unsigned version, uint8_t *out);
/* Which one it is, checked byte by byte, and a version that it can have: that is known then. */
uint32_t slip_of_body(struct sim *s, struct span body);
/* Whether a search for what half of them contain finds it. */
bool slip_is_odd(uint32_t tag);
#define SLIP_ODD_TEXT "odd one"

/* ---- what becomes of it ---- */
/* With what jobs, the time and untold outcomes may have done to it. */
unsigned slip_may(const struct sim *s, uint32_t tag);
void slip_set(struct sim *s, uint32_t tag, unsigned may);
/* A call changes it from now on: jobs from before may have had it already, and will not have it. */
void slip_taken_until_now(struct sim *s, uint32_t tag);
void slip_accepted(struct sim *s, uint32_t tag, uint64_t id, uint64_t accepted_ns);
void slip_begins(struct sim *s, uint32_t tag, unsigned desk, uint32_t attempt);
/* It is ready at `desk` as if it had just come. */
void slip_renewed(struct sim *s, uint32_t tag, unsigned desk);
/* An outcome that was told makes this of it: bits. */
unsigned slip_told(const struct sim *s, uint32_t tag, enum confirm_outcome outcome);
/* The same of all that was, or may have been, told during its attempt; 0: nothing was. */
unsigned slip_may_be_told(const struct sim *s, uint32_t tag);
/* The process is gone. */
void slips_restart(struct sim *s);

/* The questions of an audit; what is made of the answers. */
#define SLIP_QUESTIONS (8u * DESKS)
struct call;
void slips_ask(struct sim *s, struct call *ret_calls[SLIP_QUESTIONS]);
void slips_look(struct sim *s, struct call *const *calls);
/* Nothing is left that will be sent. */
bool slips_all_sent(const struct sim *s);

#endif
