/*
 * api/job_runner.h - does the steps of jobs (model/job.h): finds which messages are meant, lets the model act on them.
 *
 * Promise: nothing is kept here between two turns: what a job is and how far it came stands in the log. Two runners would
 *          get in each other's way and do nothing twice.
 */
#ifndef SLUICE_API_JOB_RUNNER_H
#define SLUICE_API_JOB_RUNNER_H

#include "engine/engine.h"

/* One step of the job that may go on first, if one may. In how many ns to ask again; UINT64_MAX: when a job is started. */
uint64_t job_runner_turn(struct engine *e);

#endif
