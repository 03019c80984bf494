/*
 * bench/model_run.h - one model that is asked and applied to, without log, threads or sockets: for bench/micro_*.c.
 *
 * What fails ends the program.
 */
#ifndef SLUICE_BENCH_MODEL_RUN_H
#define SLUICE_BENCH_MODEL_RUN_H

#include "model/model.h"

struct model_run {
    struct model *model;
    struct buffer facts;
    struct rng rng;
    uint64_t now_ns, position;
};

void run_check(bool good, const char *what);
void run_init(struct model_run *run);
void run_release(struct model_run *run);
/* A model that stores its bodies as a run of this kind says. */
struct model *run_model_create(uint64_t receipts);
struct decision run_begin(struct model_run *run);
/* Applies what was decided. */
void run_commit(struct model_run *run);
void run_ask(struct model_run *run, struct request *r);
/* Those of a turn, as the engine asks: what they look up is fetched together. At most RUN_TURN. */
#define RUN_TURN 32u
void run_ask_turn(struct model_run *run, struct request *requests, uint32_t count);
void run_define_queue(struct model_run *run, const char *name, const char *destination);
/* Of `count` times; sorts them. */
uint64_t run_median_ns(uint64_t *times, uint32_t count);

#endif
