/*
 * model/job_state.h - the memory of the job module. Included by job*.c only.
 */
#ifndef SLUICE_MODEL_JOB_STATE_H
#define SLUICE_MODEL_JOB_STATE_H

#include "model/job.h"
#include "model/state.h"

enum { TEXT_QUEUE, TEXT_TO, TEXT_FILTER, TEXT_REASON, TEXT_ACTOR, TEXTS };

struct job {
    struct job *next; /* owns */
    struct job_info info;
    uint32_t queue, to; /* indices */
    uint8_t *texts;     /* owns: all of them, each with a u32 length before it */
    uint32_t texts_size;
};

struct jobs {
    struct job *first; /* owns */
    uint32_t count, running;
};

/* NULL: there is none, or it is forgotten. */
struct job *job_find(const struct model *m, uint64_t id);
void job_emit_ended(struct decision *d, const struct job *j, enum job_status status);

/* ---- job_step.c ---- */

enum refusal job_decide_step(const struct model *m, struct decision *d, struct request *r);

#endif
