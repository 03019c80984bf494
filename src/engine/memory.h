/*
 * engine/memory.h - is the program short of memory?
 *
 * Promise: above engine_options.memory_max_bytes what would grow is refused as BUSY until it is at most 15/16 of that
 *          again. What counts is what the system has given the program (resident pages), all connections and threads
 *          included, less the cells of queues and timers that are free to be used again: so it ends when messages
 *          leave.
 * Cost:    one small file of /proc at each look of the keeper, four times a second.
 */
#ifndef SLUICE_ENGINE_MEMORY_H
#define SLUICE_ENGINE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Resident pages in bytes; 0: the system does not say. */
uint64_t memory_resident_bytes(void);
/* What the program may have at most: the machine's memory, or the least that its control groups allow. */
uint64_t memory_available_bytes(void);
/* The least memory.max of a group ("/system.slice/sluice.service") and those it is in, up to `root`. UINT64_MAX: none. */
uint64_t memory_groups_max(const char *root, const char *path);
/* The next verdict after `was`. max_bytes 0: never. */
bool memory_is_short(bool was, uint64_t used_bytes, uint64_t max_bytes);

#endif
