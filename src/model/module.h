/*
 * model/module.h - what every state machine of the model looks like.
 *
 * decide   reads the model and a request, returns a refusal or emits facts; changes nothing.
 * apply    is the only code that changes state: the same live and on replay. It may call the mutators
 *          of modules that stand before its own in the table (queue before destination, ...).
 * on_timer is decide for something that has become due.
 * save/load write and read the module's part of a snapshot.
 * check    asserts the module's invariants (tests, --paranoid).
 *
 * Nothing under model/ reads a clock, a file, a socket or a random source: time and randomness come in
 * with the decision.
 */
#ifndef SLUICE_MODEL_MODULE_H
#define SLUICE_MODEL_MODULE_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/reader.h"
#include "base/rng.h"
#include "model/refusal.h"

struct model;
struct request;

/* The module is the high byte of fact kinds, request kinds and timer kinds. Never renumbered. */
enum module_id {
    MODULE_QUEUE = 1,
    MODULE_STOCK = 2,
    MODULE_CAMPAIGN = 3,
    MODULE_DEDUP = 4,
    MODULE_DESTINATION = 5,
    MODULE_TRANSACTION = 6,
    MODULE_RECEIPT = 7,
    MODULE_EXCHANGE = 8, /* vhosts, exchanges, bindings, policies */
    MODULE_AUDIT = 9,
    MODULE_USER = 10,    /* users and what they may do */
    MODULE_SESSION = 11, /* AMQP connections and their consumers */
    MODULE_HISTORY = 12, /* what happened to messages */
    MODULE_JOB = 13,     /* what is done to many of them */
    MODULE_COUNT
};

/* Ids of what a record creates: its position and the index of the operation in it. */
#define ID_OPERATION_BITS 6u
static inline uint64_t id_make(uint64_t position, uint32_t operation) {
    return position << ID_OPERATION_BITS | operation;
}
static inline uint64_t id_position(uint64_t id) {
    return id >> ID_OPERATION_BITS;
}

/*
 * A record that needs more than 64 ids (a message to a thousand queues, a long transaction) takes those of
 * positions before its own: records without any ids (IDS_RESERVED) are appended first to leave them free. So ids
 * still grow with the order in which they were made.
 */
#define IDS_PER_POSITION (1u << ID_OPERATION_BITS)
#define IDS_MAX          (1u << 16) /* of one record */

/* The arguments of one decide, and the facts it emits. */
struct decision {
    uint64_t now_ns;    /* time of the record, never less than any before */
    uint64_t position;  /* that the record will get */
    struct rng *random; /* borrows */
    bool may_grow;      /* false: the disk is nearly full; refuse what adds bodies or state */
    uint32_t operation; /* index of the next id, advanced by whoever creates one; see decision_id */
    uint32_t reserved;  /* positions right before this one whose ids are free for this record */
    uint32_t ids_wanted; /* set where too few were found: all is dropped and asked again */
    uint16_t fact_count;
    struct buffer *facts; /* borrows: encoded facts */
    bool failed;          /* an emit ran out of memory or room: the engine drops the decision */
};

/* The next id of this record; there must be one (decision_has_ids). */
uint64_t decision_id(struct decision *d);
/* Are there `count` more? If not, ids_wanted is set, and the caller emits no more. */
bool decision_has_ids(struct decision *d, uint32_t count);

/* Emits one fact: begin, write the payload to d->facts, end. Failures are kept in d->failed. */
size_t decision_begin(struct decision *d, uint16_t kind, uint16_t version);
void decision_end(struct decision *d, size_t begun);
/* The payload, field by field, little-endian; failures are kept in d->failed. */
void decision_put_u8(struct decision *d, uint8_t v);
void decision_put_u16(struct decision *d, uint16_t v);
void decision_put_u32(struct decision *d, uint32_t v);
void decision_put_u64(struct decision *d, uint64_t v);
/* Raw bytes, no length before them. */
void decision_put_span(struct decision *d, struct span s);
/* u32 length, then the bytes. */
void decision_put_bytes(struct decision *d, struct span s);

/* Where the record of the facts being applied stands. */
struct applied {
    uint64_t time_ns;
    uint64_t position;
    uint64_t address; /* for log_read of bodies; 0 when the record carries none */
};

struct module {
    const char *name;
    enum refusal (*decide)(const struct model *m, struct decision *d, struct request *r);
    /* Optional: brings into the cache what decide and apply of `r` look up: what leads there first. See model.h. */
    void (*prefetch)(const struct model *m, const struct request *r, unsigned step);
    /* 0, E_CORRUPT (undecodable or impossible), E_VERSION (newer than this program), E_NOMEM. */
    int (*apply)(struct model *m, const struct applied *where, uint16_t kind, uint16_t version,
                 struct reader *payload);
    void (*on_timer)(const struct model *m, struct decision *d, uint32_t timer_kind, uint64_t ref);
    int (*save)(const struct model *m, struct buffer *chunk,
                int (*flush)(void *sink, struct buffer *chunk), void *sink);
    int (*load)(struct model *m, struct reader *section);
    void (*check)(const struct model *m);
    uint64_t (*memory_bytes)(const struct model *m); /* may be NULL: little or nothing */
    uint32_t section_version; /* of what save writes; a newer one is refused with E_VERSION */
};

/*
 * save: append to `chunk`; whenever it holds more than SNAPSHOT_CHUNK_BYTES call flush, which writes
 * it out and empties it. Whatever is left at the end is flushed by the caller. The order of items is a
 * function of the state alone, so equal states give equal bytes.
 * load: `section` is all that save wrote, in one piece (chunk borders do not show), and must be used up.
 * Modules are loaded in the order of their numbers; what lies after a module is not there yet.
 */
#define SNAPSHOT_CHUNK_BYTES (256u << 10)

/* The table: index is enum module_id; entries may lack functions. */
extern const struct module *const modules[MODULE_COUNT];

#endif
