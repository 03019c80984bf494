/*
 * test/fuzz/fake_engine.h - engine.h over a model in memory: decided, applied and answered at once, nothing on disk.
 *
 * Linked in the place of src/engine by targets whose code talks to an engine. Every record's facts are kept, and its
 * address is its position, so that bodies are read back as from a log.
 */
#ifndef SLUICE_TEST_FUZZ_FAKE_ENGINE_H
#define SLUICE_TEST_FUZZ_FAKE_ENGINE_H

#include "engine/engine.h"

/* On the state of state.h. */
struct engine *fake_engine_create(void);
void fake_engine_free(struct engine *e);
struct model *fake_engine_model(struct engine *e);
uint64_t fake_engine_now_ns(const struct engine *e);
uint64_t fake_engine_position(const struct engine *e);
/* Time passes, and what is due is decided. */
void fake_engine_advance(struct engine *e, uint64_t ns);
/* The next attempt that may start now; false: none. */
bool fake_engine_start(struct engine *e, struct attempt_start *ret);

#endif
