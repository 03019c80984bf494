/*
 * test/sim/chores.h - jobs on the messages of the desks, as those who started them know them.
 *
 * The steps are made by the runner of the program itself (api/job_runner.h), which asks the engine like anybody else.
 * The oracle learns of a job when it is started, when it is asked for, and by what has become of the slips:
 *
 *   J1 while it may run, it can do to a slip what it is for, and only to one that was there, as it was, when it began;
 *   J2 when it has ended well, none of those is left;
 *   J3 it is never faster than its pace, also over restarts; what it has done is never less than it was;
 *   J4 what was answered as started is there after each restart, and goes on.
 */
#ifndef SLUICE_TEST_SIM_CHORES_H
#define SLUICE_TEST_SIM_CHORES_H

#include "clients.h"
#include "slips.h"

#define CHORES_MAX 6u

struct chore {
    uint32_t number;          /* says its reason; 0: none here */
    uint64_t id;              /* 0: not known */
    uint64_t asked, answered; /* slips.asked then; answered 0: not yet */
    enum job_action action;
    enum message_state state; /* DEAD or READY */
    uint8_t from, to;
    bool odd_only, stopping; /* a cancel may have come */
    uint64_t interval_ns;
    uint64_t done; /* at least */
};

struct chores;
struct chores *chores_create(void);
void chores_free(struct chores *h);

/* A place for one that is about to be asked for; NULL: enough of them may be running. */
struct chore *chore_make(struct sim *s);
struct chore *chore_at(struct sim *s, uint32_t number);
/* One of those that were answered as started and may run. NULL: there is none. */
struct chore *chore_draw(struct sim *s, uint64_t draw);
void chore_refused(struct sim *s, struct chore *h);
/* It does nothing any more. done: and came to its end, so what was meant has left its place. */
void chore_over(struct sim *s, struct chore *h, bool done);
/* Adds to `may` what running jobs may have made of the slip. */
unsigned chores_may(const struct sim *s, uint32_t tag, unsigned may);
/* One that redrives or moves may have had it. */
bool chores_may_renew(const struct sim *s, uint32_t tag);
/* At this desk nobody knows for certain what is there. */
bool chores_work_at(const struct sim *s, unsigned desk);

/* One turn of the runner. */
void chores_work(struct sim *s);
/* By the engine's last word there is nothing to be done. */
bool chores_idle(const struct sim *s);
/* The answer of JOB_LIST for a desk, behind all lists of its messages. */
void chores_audit(struct sim *s, const struct request *list);
/* All lists were looked at. */
void chores_audit_end(struct sim *s);
/* One job as told. */
void chore_seen(struct sim *s, const struct job_info *info, uint32_t number, bool audited);
/* The number in the texts of a job. */
uint32_t chore_number(struct reader *in, struct job_info *ret);

#endif
