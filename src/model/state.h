/*
 * model/state.h - struct model as the modules see it. Included under model/ only.
 *
 * Each module owns one member, made and freed by its own functions. Mutators that another module may call
 * in its apply stand in the owner's header.
 */
#ifndef SLUICE_MODEL_STATE_H
#define SLUICE_MODEL_STATE_H

#include "base/hash.h"
#include "base/heap.h"
#include "model/bodies.h"
#include "model/model.h"

struct queues;
struct stocks;
struct campaigns;
struct dedups;
struct destinations;
struct receipts;
struct exchanges;
struct users;
struct sessions;
struct audits;
struct histories;
struct jobs;

/* Module in the high byte, as everywhere. `ref` of the heap entry is a slot of that module. */
enum timer_kind {
    TIMER_MESSAGE = 0x0101,     /* delay over or time to live over */
    TIMER_QUEUE = 0x0102,       /* an unused queue expires */
    TIMER_HOLD = 0x0201,        /* a hold or tombstone ends */
    TIMER_DESTINATION = 0x0501, /* its failures are to be evaluated; `ref` is its index */
};

struct model {
    struct model_limits limits;
    struct hash_key hash;
    struct heap timers;
    struct bodies bodies;
    struct queues *queues;             /* owns */
    struct stocks *stocks;             /* owns */
    struct campaigns *campaigns;       /* owns */
    struct dedups *dedups;             /* owns */
    struct destinations *destinations; /* owns */
    struct receipts *receipts;         /* owns */
    struct exchanges *exchanges;       /* owns */
    struct users *users;               /* owns */
    struct sessions *sessions;         /* owns */
    uint64_t applied_ns;               /* time of the record that is being applied */
    struct audits *audits;             /* owns */
    struct histories *histories;       /* owns */
    struct jobs *jobs;                 /* owns */
    bool fact_told;                    /* the fact that is being applied goes into histories */
    uint32_t section_version;          /* while a module loads: of the section it reads; else 0 */
};

/* heap_moved dispatches to the owner of the timer. */
void queue_timer_moved(struct model *m, uint32_t timer_kind, uint32_t ref, uint32_t index);
void destination_timer_moved(struct model *m, uint32_t timer_kind, uint32_t ref, uint32_t index);
void stock_timer_moved(struct model *m, uint32_t timer_kind, uint32_t ref, uint32_t index);

#endif
