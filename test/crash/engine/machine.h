/*
 * test/crash/engine/machine.h - an engine in manual mode on a simulated disk, with a clock that goes on by itself.
 *
 * Shape: first member of a test's own world, so that a callback's context is both. One thread: all happens in calls
 *        and turns. Each look at the clock is a microsecond.
 */
#ifndef SLUICE_TEST_CRASH_ENGINE_MACHINE_H
#define SLUICE_TEST_CRASH_ENGINE_MACHINE_H

#include "base/clock.h"
#include "engine/engine.h"
#include "sim_disk.h"

struct machine {
    struct sim_disk *disk; /* owns */
    struct engine *engine; /* owns; NULL: closed */
    uint64_t now_ns;
};

static inline struct machine machine_create(uint64_t seed) {
    return (struct machine){.disk = sim_disk_create(seed), .now_ns = 1000 * NS_PER_SECOND};
}

static inline uint64_t machine_clock(void *context) {
    struct machine *m = context;
    return m->now_ns += NS_PER_US;
}

static inline void machine_failed(void *context, const char *message) {
    (void)context, (void)message; /* the test sees it by what is not answered */
}

/* Small segments, no snapshot but those that the test wants. */
static inline struct engine_options machine_options(struct machine *m) {
    return (struct engine_options){
        .directory = "/data",
        .files = sim_disk_ops(m->disk),
        .segment_bytes = 64u << 10,
        .snapshot_every_bytes = 1u << 30,
        .paranoid = true,
        .manual = true,
        .real_ns = machine_clock,
        .monotonic_ns = machine_clock,
        .context = m,
        .failed = machine_failed,
    };
}

static inline void machine_close(struct machine *m) {
    engine_close(m->engine, false);
    m->engine = NULL;
}

#endif
