/*
 * model/state.h - struct model as the modules see it. Included under model/ only.
 *
 * Each module owns one member, made and freed by its own functions. Mutators that another module may call
 * in its apply stand in the owner's header.
 */
#ifndef SLUICE_MODEL_STATE_H
#define SLUICE_MODEL_STATE_H

#include <assert.h>

#include "base/agenda.h"
#include "base/hash.h"
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

/* Whose time it is, and what `ref` then names. Of equal times messages come first, in the order of their ids. */
enum timer_kind {
    TIMER_MESSAGE,     /* delay over or time to live over: its id */
    TIMER_QUEUE,       /* an unused queue expires: its index */
    TIMER_HOLD,        /* a hold or tombstone ends: slot of the purchase */
    TIMER_DESTINATION, /* its failures are to be evaluated: its index */
};
/* Ids are positions of records: they stay below for some hundred years. */
#define TIMER_REF_BITS 60u

struct model {
    struct model_limits limits;
    struct hash_key hash;
    struct agenda timers;
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

/* Its owner keeps for which time it was set, and 0 while it is not. */
static inline struct agenda_entry timer_entry(enum timer_kind kind, uint64_t ref, uint64_t due_ns) {
    assert(ref >> TIMER_REF_BITS == 0);
    return (struct agenda_entry){.due_ns = due_ns, .key = (uint64_t)kind << TIMER_REF_BITS | ref};
}
/* The slot that was given with the first timer, if that is the one of this message; else 0. */
uint32_t timer_first_slot(const struct model *m, uint64_t id);
/*
 * Sets, changes or (due_ns == 0) takes away a timer; *set_ns is its owner's, who stands in this cell as long as it is set
 * (0: nobody asks). E_NOMEM: it is not set any more.
 */
MUST_CHECK int timer_set(struct model *m, enum timer_kind kind, uint64_t ref, uint32_t cell,
                         uint64_t due_ns, uint64_t *set_ns);
void timer_clear(struct model *m, enum timer_kind kind, uint64_t ref, uint64_t *set_ns);
/* Of a message whose time comes: 0 its cell, 1 what that leads to. */
void queue_prefetch_due(const struct model *m, uint32_t slot, unsigned step);
#define DUE_STEPS 2u
/* For checks: it is set exactly if *set_ns says so. */
bool timer_is_true(const struct model *m, enum timer_kind kind, uint64_t ref, uint32_t cell,
                   uint64_t set_ns);

#endif
