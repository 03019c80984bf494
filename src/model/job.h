/*
 * model/job.h - something done to many messages of a queue, one after the other, at a pace: redrive, move, discard.
 *
 * Promise: a job touches only what was in the queue, and as it was, when the job began: what dies again meanwhile is not
 *          sent again. Each step is one record: what it does to messages, how far it came and when the next
 *          may be. So a crash neither loses nor repeats one, and a restart goes on at the same pace.
 * Shape:   here stands what a job is and what a step may do. Which messages a filter takes, which needs their
 *          bodies, is found by whoever asks for the steps (api/job_runner.h): JOB_NEXT says which is due, JOB_STEP does it.
 * Limits:  JOBS_RUNNING_MAX at a time; JOBS_KEPT_MAX are remembered, then those that ended first go.
 *
 * Invariants: J1 ids rise in the list; J2 counts of running jobs equal those in the list.
 */
#ifndef SLUICE_MODEL_JOB_H
#define SLUICE_MODEL_JOB_H

#include "model/model.h"

#define JOBS_RUNNING_MAX   64u
#define JOBS_KEPT_MAX      256u
#define JOB_TEXT_MAX_BYTES 8192u                     /* of each text */
#define JOB_BATCH_MAX      256u                      /* messages of a step */
#define JOB_BURST_NS       (100 * UINT64_C(1000000)) /* of pace, in one step */

struct jobs;
extern const struct module job_module;

MUST_CHECK int jobs_create(const struct model *m, struct jobs **ret);
void jobs_free(struct jobs *s);

/* Messages that one step may have, by the job's pace. */
uint32_t job_step_max(const struct job_info *i);

const char *job_action_name(enum job_action a);
const char *job_status_name(enum job_status s);

#endif
