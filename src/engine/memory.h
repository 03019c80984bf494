/*
 * engine/memory.h - is the program short of memory, and does it keep some that it does not need?
 *
 * Promise: above engine_options.memory_max_bytes what would grow is refused as BUSY until it is at most 15/16 of that
 *          again. What counts is what the system has given the program (resident pages), all connections and threads
 *          included, less the cells of queues and timers that are free to be used again: so it ends when messages
 *          leave.
 * Cost:    one small file of /proc at each look of the keeper, four times a second, and once more when memory was
 *          given back.
 */
#ifndef SLUICE_ENGINE_MEMORY_H
#define SLUICE_ENGINE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* Resident pages in bytes; 0: the system does not say. */
uint64_t memory_resident_bytes(void);
/* What the program may have at most: the machine's memory, or the least that its control groups allow. */
uint64_t memory_available_bytes(void);
/* The least memory.max of a group ("/system.slice/sluice.service") and those it is in, up to `root`. UINT64_MAX: none. */
uint64_t memory_groups_max(const char *root, const char *path);
/* The next verdict after `was`. max_bytes 0: never. */
bool memory_is_short(bool was, uint64_t used_bytes, uint64_t max_bytes);

/*
 * What a flood took stays resident when it is freed, until it is given back: malloc_trim, which walks through all of the
 * heap with its lock held, some 0.1 s a gigabyte, in which nobody else allocates. So it is done seldom: when much came
 * since the last time, nothing has come for MEMORY_CALM_NS, as much is free, and not again for MEMORY_TRIM_EVERY_NS: a
 * flood that comes every second keeps its memory between two of them. To ask what is free takes the lock as well, 20 ms for
 * 150,000 pieces.
 */
#define MEMORY_SLACK_BYTES   ((uint64_t)64 << 20)
#define MEMORY_CALM_NS       (5 * NS_PER_SECOND)
#define MEMORY_ASK_EVERY_NS  (30 * NS_PER_SECOND)
#define MEMORY_TRIM_EVERY_NS (60 * NS_PER_SECOND)

/* All zero at the start. */
struct memory_slack {
    uint64_t least_bytes; /* resident, since it was last given back */
    uint64_t last_bytes;  /* at the look before */
    uint64_t look_at_ns;  /* monotonic: not before */
};

/* At each look: is it worth asking how much of the heap is free? */
bool memory_slack_due(struct memory_slack *s, uint64_t resident_bytes, uint64_t now_ns);
/* How much that is: a walk through what is free. */
uint64_t memory_free_bytes(void);
/* It was given back. */
void memory_slack_gone(struct memory_slack *s, uint64_t resident_bytes, uint64_t now_ns);

#endif
