/*
 * test/unit/model/amqp_world.h - the world of a test of AMQP's queues and exchanges, and a table in the making.
 */
#ifndef SLUICE_TEST_UNIT_MODEL_AMQP_WORLD_H
#define SLUICE_TEST_UNIT_MODEL_AMQP_WORLD_H

#include "rabbit.h"

extern struct world w;
extern struct buffer table;
extern struct amqp_table_out t;
extern const struct span none;

/* What cmocka calls around each test: whatever it did must pass model_check and survive replay and reload. */
int amqp_setup(void **state);
int amqp_teardown(void **state);
/* The same, and then the restart after a crash, which ends all sessions. */
int amqp_teardown_recovering(void **state);

/* begin(), amqp_put_...(&t, ...), end(): the arguments of a declaration or a binding. */
void begin(void);
struct span end(void);

#endif
