/*
 * test/sim/letters.h - what the clients know of every message that they sent.
 *
 * A letter is a message as a client sees it: a body with a number of its own (the tag), which nobody else has.
 * `may` is the set of what can have become of it by the answers seen so far. One bit: it is known. An answer makes
 * it one bit; a request without an answer adds what that request would have done; the audit after a
 * restart finds one of them, and then it is known again. What is found outside of the set is the bug.
 *
 *      ASKED --yes--> ALIVE ... DEAD ... GONE          REFUSED: it must never be seen anywhere
 */
#ifndef SLUICE_TEST_SIM_LETTERS_H
#define SLUICE_TEST_SIM_LETTERS_H

#include "base/map.h"
#include "rules.h"
#include "sim.h"

#define LETTER_BYTES_MAX 4096u
#define QUEUES           9u
#define QUEUE_LANES      3u
#define KEYS             24u /* ordering keys of a queue */

enum { MAY_ALIVE = 1, MAY_DEAD = 2, MAY_GONE = 4 };

/* The queues of every run. */
enum {
    QUEUE_MAIL,
    QUEUE_ORDERS,
    QUEUE_JOBS,
    QUEUE_STORE,
    QUEUE_TICKETS,
    QUEUE_LANE_FIRST, /* QUEUE_LANES of them share one destination */
    QUEUE_TOLD = QUEUE_LANE_FIRST + QUEUE_LANES,
};

struct letter {
    uint64_t id;         /* 0: not known */
    uint64_t expires_ns; /* engine's time; 0: never */
    uint64_t life_ns;    /* asked for; 0: no end of its own */
    uint32_t size;
    uint32_t attempts;  /* begun since it was accepted or redriven */
    uint32_t under_way; /* number of the attempt that a provider has; 0: none */
    uint32_t unit;      /* that is given back when it dies; 0: none */
    uint32_t member;    /* whose entry it is; 0: none */
    uint8_t queue;
    uint8_t key;      /* ordering key + 1, 0: none */
    uint8_t may;      /* MAY_* */
    bool asked;       /* no answer yet, or never */
    bool swept;       /* a purge without an answer came behind it, before it had one */
    bool refused;     /* it was said that it is not there */
    bool keyed;       /* sent with an idempotency key */
    bool unordered;   /* was scheduled or redriven: its place in its key is another */
    bool stranded;    /* in flight from before a start that had no room to say so, perhaps still */
    bool may_be_anew; /* a redrive may have begun to count its attempts again */
    bool redriven;    /* its end of life is known by its lower bound only */
    bool delivered;   /* a provider said yes to it */
    bool tied;        /* of a campaign: its unit's fate is the campaign's policy */
    bool fresh;       /* nothing holds it back, by the answers: it could leave at once */
    uint32_t audit;   /* in which it was seen last */
    uint64_t told;    /* the message about its end; 0: none was seen */
};

struct key_line {
    uint32_t *tags; /* owns: in order of ids */
    uint32_t count, capacity;
    uint32_t first; /* those before are gone or dead for certain */
    uint32_t under_way;
};

struct queue_facts {
    const char *name;
    struct rule max_messages, max_attempts;
    bool changing; /* these: asked for, no answer so far */
    uint64_t ttl_ns;
    uint64_t deadline_ns;     /* of an attempt; 0: the destination's timeout */
    uint32_t weight, percent; /* of its lane */
    uint32_t fresh;           /* letters */
    bool dead_letters;
    bool paused, may_pause; /* what is known; `may_pause`: a pause or resume has no answer */
    uint32_t alive_certain, alive_maybe; /* letters by `may`; maybe includes the certain ones */
    struct key_line keys[KEYS];
};

struct letters {
    struct letter *items; /* owns: index is the tag; 0 unused */
    uint32_t count, capacity;
    struct map by_id;
    struct queue_facts queues[QUEUES];
    uint32_t audit;
};

struct letters *letters_create(void);
void letters_free(struct letters *l);
static inline struct letter *letter_at(const struct sim *s, uint32_t tag) {
    return &s->letters->items[tag];
}
/* A new one that is about to be sent. The tag. */
uint32_t letter_make(struct sim *s, unsigned queue, uint32_t size);
/* Its body, the same each time. */
void letter_fill(uint32_t tag, uint32_t size, uint8_t *out);
/* The tag in a body, checked byte by byte; fails the run when it is nobody's. */
uint32_t letter_of_body(const struct sim *s, struct span body);
/* 0: none is known by this id. */
uint32_t letter_find(const struct sim *s, uint64_t id);
/* What it can be at the engine's time of now: time to live included. */
unsigned letter_may(const struct sim *s, const struct letter *l);
void letter_set(struct sim *s, struct letter *l, unsigned may);

/* It is there under this id, accepted then: by an answer, or because it was seen. */
void letter_accepted(struct sim *s, uint32_t tag, uint64_t id, uint64_t accepted_ns);
void letter_refused(struct sim *s, uint32_t tag);
/* An attempt begins: everything that must hold then. */
void letter_begins(struct sim *s, uint32_t tag, uint32_t attempt);
/* The attempt that was under way is over, whatever came of it. */
void letter_ends(struct sim *s, struct letter *l);
void letter_redriven(struct sim *s, struct letter *l);
/* The process is gone: nothing is under way any more. */
void letters_restart(struct sim *s);

#endif
