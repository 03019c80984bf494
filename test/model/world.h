/*
 * test/model/world.h - a model, its clock and its log, for tests.
 *
 * world_ask decides and applies one request as the engine would, and keeps the record. The same records
 * applied to a fresh model, or a snapshot loaded into one, must give the same bytes again:
 * world_check_replay and world_reload assert it.
 */
#ifndef SLUICE_TEST_MODEL_WORLD_H
#define SLUICE_TEST_MODEL_WORLD_H

#include "base/buffer.h"
#include "base/rng.h"
#include "model/model.h"

struct world {
    struct model *model; /* owns */
    struct model_limits limits;
    struct rng rng;
    struct buffer facts; /* of the decision under way */
    struct buffer log;   /* every record: u64 time, u64 position, sized facts */
    uint64_t now_ns;     /* moved by the test */
    uint64_t position;   /* of the next record */
    bool disk_is_full;
};

void world_init(struct world *w, const struct model_limits *limits);
void world_release(struct world *w);

/* One request: decided and, when facts came out, applied. */
enum refusal world_ask(struct world *w, struct request *r);
/* For decisions that no request makes: begin, emit, commit. */
struct decision world_begin(struct world *w);
void world_commit(struct world *w, const struct decision *d);
/* Decides and applies all timers that are due. Returns how many. */
uint32_t world_run_timers(struct world *w);

/* The snapshot, into an initialised buffer. */
void world_save(const struct world *w, struct buffer *out);
/* The log, applied to a fresh model with another hash key, gives the same snapshot. */
void world_check_replay(const struct world *w);
/* Goes on with what a snapshot brings back, and asserts that it saves as the same bytes. */
void world_reload(struct world *w);

/* Definitions by request; refusal as it comes. */
enum refusal world_define_stock(struct world *w, const char *name, uint64_t total,
                                uint64_t per_member, uint64_t hold_ns);
enum refusal world_define_queue(struct world *w, const char *name, uint64_t max_messages);
/* With the defaults; destination may be "". */
struct queue_def world_queue_def(const char *name, const char *destination);
/* Releases def. */
enum refusal world_define(struct world *w, struct queue_def *def);

#endif
