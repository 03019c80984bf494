/*
 * test/sim/shadow.h - a second model that applies every durable record since the first one, and no snapshot ever.
 *
 * Promise: it is what a replay of the whole log from its beginning gives, also where the log's first segments
 *          were given back long ago. shadow_compare asserts that the live state, however it came about
 *          (snapshot, replay, decisions), has the same bytes; and that no durable record ever went.
 */
#ifndef SLUICE_TEST_SIM_SHADOW_H
#define SLUICE_TEST_SIM_SHADOW_H

#include "sim.h"

struct shadow *shadow_create(const struct model_limits *limits);
void shadow_free(struct shadow *h);
/* Of a folder that was imported: begins with its state instead of nothing. */
void shadow_adopt(struct sim *s);
/* What became durable since. */
void shadow_follow(struct sim *s);
/* Before the engine is closed. */
void shadow_let_go(struct sim *s);
void shadow_compare(struct sim *s);
/* The last record that was durable. */
uint64_t shadow_position(const struct sim *s);
/* The state as model_save writes it; the caller releases. */
struct buffer state_of(const struct model *m);

#endif
