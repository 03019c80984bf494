/*
 * base/huge.h - blocks of huge pages (2 MiB each), touched before they are wanted.
 *
 * Huge, because a fork copies one entry where it copied 512 (18 ms for 800 MB of small pages, below 1 ms for huge ones
 * that nobody wrote to) and look-ups miss the TLB less. Ahead, because the first touch of one costs whoever does it 0.3 ms, and
 * up to 20 ms where a host has to find the memory first: the writer must not stand still for that. So while a
 * thread prepares them (huge_ahead_start), the next few lie ready. Most of them are made in quiet times: the thread that makes
 * them has to share the processors with a burst that wants them.
 *
 * Promise: huge_take works with and without that thread; a prepared block costs it no page fault. Nothing is prepared before
 *          the first was taken: what is small stays small. Aligned to a huge page; the content is whatever it was.
 * Limits:  HUGE_AHEAD blocks lie ready when nobody took one for a second, HUGE_LEAST as fast as they can be made; in all the process.
 * Threads: any may take and give; start and stop come from one, before and after all others.
 */
#ifndef SLUICE_BASE_HUGE_H
#define SLUICE_BASE_HUGE_H

#include <stddef.h>

#include "base/compiler.h"

#define HUGE_BYTES ((size_t)2 << 20)
#define HUGE_AHEAD 10u /* some 60,000 entries that queue a message, with all that remembers them */
#define HUGE_LEAST 4u

/* `bytes`: a multiple of HUGE_BYTES; only blocks of one are prepared. NULL: no memory. */
MUST_CHECK void *huge_take(size_t bytes);
/* `bytes` as it was taken. */
void huge_give(void *block, size_t bytes);

/* E_NOMEM: no thread; then each is touched by who takes it. */
MUST_CHECK int huge_ahead_start(void);
/* Gives back what was prepared. Also when nothing was started. */
void huge_ahead_stop(void);
/* How many lie ready. */
unsigned huge_ahead_count(void);

#endif
