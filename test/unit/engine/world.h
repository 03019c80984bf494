/*
 * test/unit/engine/world.h - an engine in manual mode on a simulated disk, with a clock that only tests move.
 *
 * Promise: nothing happens but in engine_turn (and calls); the same steps give the same bytes.
 */
#ifndef SLUICE_TEST_ENGINE_WORLD_H
#define SLUICE_TEST_ENGINE_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/clock.h"
#include "engine/internal.h"
#include "sim_disk.h"

#define WORLD_SEGMENT_BYTES (64u << 10)

struct world {
    struct sim_disk *disk;
    struct engine_options options;
    struct engine *engine; /* NULL: closed */
    struct engine_recovery recovery;
    char text[512]; /* what opening said */
    uint64_t now_ns;
    unsigned failures, notes;
    char note[512]; /* the last one */
};

void world_init(struct world *w);
/* Closes without a snapshot and frees. */
void world_release(struct world *w);
/* world_open fails the test when the engine does not open. */
int world_try_open(struct world *w);
void world_open(struct world *w);
void world_close(struct world *w);
/* The machine stops and comes back: what was not flushed is lost as `loss` says. */
void world_crash(struct world *w, enum sim_loss loss);

void world_define_queue(struct world *w, const char *name, const char *destination);
void world_define_destination(struct world *w, uint32_t rate);
enum refusal world_publish(struct world *w, const char *queue, size_t body_bytes,
                           uint64_t schedule_ns, uint64_t *ret_id);
enum refusal world_delete(struct world *w, const char *queue, uint64_t id);
struct queue_info world_queue(struct world *w, const char *name);
/* Where the body of a message stands; fails the test when there is no such message. */
uint64_t world_address(struct world *w, const char *queue, uint64_t id);
int world_read(struct world *w, const char *queue, uint64_t id);
/* The state as model_save writes it; the caller releases. */
struct buffer world_state(struct world *w);

#endif
