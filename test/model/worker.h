/*
 * test/model/worker.h - jobs in a world: started, and their steps done as src/api/job_runner.c does them, without bodies.
 */
#ifndef SLUICE_TEST_MODEL_WORKER_H
#define SLUICE_TEST_MODEL_WORKER_H

#include "model/job.h"
#include "model/queue_filter.h"
#include "world.h"

struct worker_job {
    const char *queue, *to; /* to: with JOB_MOVE */
    enum job_action action;
    enum message_state state;
    uint64_t interval_ns;
    const char *actor;
};
enum refusal worker_start(struct world *w, struct worker_job job, uint64_t *ret_id);
/* One step of the job that is due, of at most `max` messages. False: none is. */
bool worker_step(struct world *w, const struct message_filter *filter, uint32_t max,
                 enum refusal *ret_refusal);
/* status 0: there is no such job. */
struct job_info worker_look(struct world *w, const char *queue, uint64_t id);

#endif
