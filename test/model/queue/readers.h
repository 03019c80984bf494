/*
 * test/model/queue/readers.h - some who list a queue page after page, while all the rest happens.
 *
 * Asserts what docs/http-api.md promises them: each message that is there (in the state that is listed) from the first page to
 * the last is shown, none twice, and there is a last page.
 */
#ifndef SLUICE_TEST_MODEL_QUEUE_READERS_H
#define SLUICE_TEST_MODEL_QUEUE_READERS_H

#include "twin.h"
#include "world.h"

/* After each step: notes what left, and lets one or two of them read a page. */
void readers_step(struct world *w, const struct twin *t, const char *const *names);
/* The process began anew: who had come far in a long list has to begin anew, too. */
void readers_restart(void);
/* All are read to their end, with nothing else going on; how many lists were read in all. */
uint64_t readers_end(struct world *w, const struct twin *t, const char *const *names);

#endif
