/*
 * test/sim/sim.h - one simulated machine: what all files under test/sim share. Included there only.
 *
 * Threads: none. Time moves only in run.c and when the simulated disk is slow.
 *
 *   run.c        time, turns, restarts
 *   clients.c    requests, and what is made of their answers     ---> letters.c, units.c
 *   providers.c  the services behind: attempts, their ends, what pace they saw
 *   letters.c    what the clients know of each message           |  the oracle: requests and
 *   units.c      what they know of each unit, entry, member      |  answers, nothing else
 *   watch.c      one limit as its provider sees it
 *   fuse.c       a circuit breaker
 *   guard.c      what else protects a destination
 *   outcomes.c   what is told of the ends of messages
 *   ledger.c     the audit of administrative actions
 *   shares.c     lanes: who has how many of the starts
 *   broker.c     connections: consumers, deliveries, what they hold
 *   parcels.c    what publishers and consumers know of each message and its copies
 *   slips.c      messages that people work on, and queues with rules of their own
 *   desk.c       what those queues are, and the services behind them
 *   chores.c     jobs on many messages
 *   tenants.c    whose turn it is in a fair queue
 *   audit.c      asks the engine for everything and compares
 *   shadow.c     a second model that follows the log from its beginning
 *   faults.c     brings the plan's faults to their places
 *   damage.c     what is tried on copies of the disk
 */
#ifndef SLUICE_TEST_SIM_SIM_H
#define SLUICE_TEST_SIM_SIM_H

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/heap.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "faults.h"
#include "plan.h"
#include "run.h"
#include "sim_disk.h"

#define SIM_DIRECTORY     "/data"
#define SIM_SEGMENT_BYTES (64u << 10)
#define REAL_BASE_NS      (UINT64_C(2000000000) * NS_PER_SECOND) /* later than what is imported */

struct clients;
struct providers;
struct letters;
struct units;
struct shadow;
struct parcels;
struct broker;
struct shares;
struct outcomes;
struct ledger;
struct slips;
struct chores;
struct tenants;
struct desk_services;

struct waiting_fault {
    const struct fault *fault;
    uint32_t left; /* operations at its site until it happens */
};

struct sim {
    struct plan plan;
    struct result *result; /* borrows: told to whoever started the run */
    struct rng rng;        /* of the machine: delays, downtimes */
    struct sim_disk *disk;
    struct engine_options options;
    struct engine *engine; /* NULL: closed */

    uint64_t now_ns;          /* monotonic */
    int64_t real_ahead;       /* real clock minus monotonic clock */
    uint64_t turn_ns;         /* when the turn under way began */
    uint64_t ended_engine_ns; /* the engine's time when it was stopped last */
    uint64_t turn_engine_ns;  /* the engine's time then, or a little earlier */
    uint64_t jumped_ns;       /* forward, by the wall clock, in all */
    bool jump_unseen;         /* the wall clock jumped ahead and the engine has not looked since */
    unsigned depth;           /* turns within turns */
    unsigned phase;           /* PHASE_* */
    bool unflushed;           /* the housekeeper works between decisions and their flush */
    bool quiet;               /* the oracle looks: no faults, nothing counted */
    bool dead;                /* the engine said that its log failed */
    bool tight;               /* the disk was short of room in this life of the process */
    bool closing;             /* the engine is being closed: it takes nothing */
    bool looking;             /* after a start, until the audit was made: nobody asks */
    bool defined;             /* what all work on is there */
    bool draining;            /* the end: no faults, providers answer well */
    uint32_t errors;          /* faults of files that this life has seen */
    enum fault_kind stopped_by; /* the fault that stopped the machine */

    uint32_t fault_next; /* of the plan */
    struct waiting_fault waiting[PLAN_FAULTS_MAX];
    uint32_t waiting_count;
    const struct fault *damages[PLAN_FAULTS_MAX]; /* to be tried at the next start */
    uint32_t damage_count;
    uint32_t slow_left;  /* operations */
    uint64_t slow_ns;    /* each */
    uint32_t full_until; /* operation count; 0: there is room */
    bool close_wanted, full_wanted;
    uint64_t full_bytes;

    uint64_t durable_before; /* position before the last batch that was flushed */
    struct clients *clients;
    struct providers *providers;
    struct letters *letters;
    struct units *units;
    struct shadow *shadow;
    struct parcels *parcels;
    struct broker *broker;
    struct shares *shares;
    struct outcomes *outcomes;
    struct ledger *ledger;
    struct slips *slips;
    struct chores *chores;
    struct tenants *tenants;
    struct desk_services *desk_services;
};

/* Ends the process: the oracle found what must not be. */
void sim_fail(const struct sim *s, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
#define SIM_CHECK(s, condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sim_fail(s, __VA_ARGS__);                                                              \
    } while (0)

static inline uint64_t sim_real_ns(const struct sim *s) {
    return s->now_ns + (uint64_t)s->real_ahead;
}
/* The engine's time: no decision so far was made later. */
static inline uint64_t sim_engine_ns(const struct sim *s) {
    return s->engine != NULL ? s->engine->timekeeper.time_ns : s->ended_engine_ns;
}
/* A value that depends on its arguments and the seed alone, so that leaving others out does not change it. */
uint64_t sim_draw(const struct sim *s, uint64_t what, uint64_t which);

static inline void *sim_alloc(size_t size) {
    void *p = calloc(1, size);
    assert(p != NULL);
    return p;
}

#endif
