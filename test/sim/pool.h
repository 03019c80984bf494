/*
 * test/sim/pool.h - runs plans in children of their own, several at a time.
 *
 * Whatever a run does, an assert or a hang included, ends that child alone and is a result.
 */
#ifndef SLUICE_TEST_SIM_POOL_H
#define SLUICE_TEST_SIM_POOL_H

#include "run.h"

struct outcome {
    struct result *result; /* owns: in memory shared with the child */
    char text[2048];       /* what a failed run said, last */
};

struct pool;
struct pool *pool_create(unsigned jobs);
void pool_free(struct pool *p);
unsigned pool_running(const struct pool *p);
bool pool_has_place(const struct pool *p);
void pool_start(struct pool *p, const struct plan *plan);
/* Waits for one to end. The outcome is borrowed until the next call. */
const struct outcome *pool_wait(struct pool *p, struct plan *ret_plan);

/* One plan, now. True: all was well. */
bool pool_run_one(struct pool *p, const struct plan *plan, const struct outcome **ret);

#endif
