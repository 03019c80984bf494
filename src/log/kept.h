/*
 * log/kept.h - what was flushed last stays in memory for a while: whoever is told that it is durable reads it next.
 *
 * Promise: a run holds records as they were encoded, all durable, none ever changed: their checksums need not be
 *          looked at again. At most KEPT_RUNS runs of KEPT_RUN_MAX_BYTES each, and one more for each reader.
 * Shape:   a ring of runs in the log, newest in front of kept->next; a run is counted by the ring and by its readers.
 *          A run that nobody reads gives its memory to the next batch.
 */
#ifndef SLUICE_LOG_KEPT_H
#define SLUICE_LOG_KEPT_H

#include <stdatomic.h>

#include "base/buffer.h"

#define KEPT_RUNS          4u
#define KEPT_RUN_MAX_BYTES (2u << 20)

struct kept_run {
    _Atomic uint32_t refs;
    uint64_t address; /* of the first byte */
    struct buffer bytes;
};

struct kept {
    struct kept_run *runs[KEPT_RUNS]; /* refs; NULL: none yet */
    uint32_t next;
};

/*
 * Lock of the log held. Takes `bytes` over, records from `address` on, and gives back an empty buffer for them; or keeps
 * nothing of them: they are too many, or lie in memory that was made for so many.
 */
void kept_add(struct kept *k, uint64_t address, struct buffer *bytes);
/* Lock of the log held. A reference to the run with the byte at `address`, or NULL. */
struct kept_run *kept_find(const struct kept *k, uint64_t address);
/* Any thread, no lock needed. NULL is fine. */
void kept_drop(struct kept_run *run);
void kept_release(struct kept *k);

#endif
