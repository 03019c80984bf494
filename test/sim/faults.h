/*
 * test/sim/faults.h - brings the faults of a plan to their places, and counts which fault met which place.
 *
 * A site is a place where something can go wrong: an operation on a kind of file, while opening or while
 * running, or a step of the engine's housekeeper. The watcher of the simulated disk and the engine's step
 * callback come by here; a fault that waits for the site they name happens there.
 */
#ifndef SLUICE_TEST_SIM_FAULTS_H
#define SLUICE_TEST_SIM_FAULTS_H

#include "base/rng.h"
#include "engine/engine.h"
#include "plan.h"
#include "sim_disk.h"

#define FILE_CLASS_TABLE(X)                                                                        \
    X(SEGMENT, "segment")                                                                          \
    X(SPARE, "spare segment")                                                                      \
    X(SNAPSHOT, "snapshot")                                                                        \
    X(TMP, "unpublished snapshot")                                                                 \
    X(LOCK, "lock")                                                                                \
    X(LOG_FOLDER, "log folder")                                                                    \
    X(SNAPSHOT_FOLDER, "snapshot folder")                                                          \
    X(AUDIT, "audit file")                                                                         \
    X(AUDIT_FOLDER, "audit folder")                                                                \
    X(FOLDER, "data folder")

enum file_class {
#define X(name, text) CLASS_##name,
    FILE_CLASS_TABLE(X)
#undef X
        FILE_CLASSES
};

enum file_class file_class_of(const char *path);

#define PHASE_OPENING   0u
#define PHASE_RUNNING   1u
#define SITES_OF_DISK   (2u * SIM_OPERATIONS * FILE_CLASSES)
#define SITES           (SITES_OF_DISK + ENGINE_STEP_COUNT)
#define SITE_ANY        UINT32_MAX
#define SITE_NAME_BYTES 80

uint32_t site_of_disk(unsigned phase, enum sim_operation operation, enum file_class class);
uint32_t site_of_step(enum engine_step step);
void site_name(uint32_t site, char out[SITE_NAME_BYTES]);
bool site_is_of_start(uint32_t site);
/* Whether that kind of fault can happen there at all. */
bool site_can_meet(uint32_t site, enum fault_kind kind);
/* One of those that are known to occur and that the kind can meet. */
uint32_t site_draw(struct rng *rng, enum fault_kind kind);

struct coverage {
    uint32_t seen[SITES];
    uint16_t hit[SITES][FAULT_KINDS];
};
void coverage_add(struct coverage *to, const struct coverage *from);

struct sim;

/* What the disk and the engine's steps are asked through. */
int faults_watch(void *sim, enum sim_operation operation, const char *path);
void faults_step(struct sim *s, enum engine_step step);
/* Those that are due by the count of operations: jumps, stops in order; others begin to wait. */
void faults_due(struct sim *s);

#endif
