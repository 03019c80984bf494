/*
 * dispatch/dispatch.h - the way out: makes the attempts that the engine has started.
 *
 * Promise: an attempt leaves only after its start is durable; each ends in exactly one ATTEMPT_FINISH
 *          request, whatever happens (response, timeout, refusal, lost body); a paced provider is never called outside
 *          what the engine allowed. The body is checked against the log's CRC before it is sent.
 * Shape:   one thread with a libuv loop and one libcurl multi handle (sockets by uv_poll).
 *          Definitions are kept by {index, generation} and fetched with engine_destination.
 */
#ifndef SLUICE_DISPATCH_DISPATCH_H
#define SLUICE_DISPATCH_DISPATCH_H

#include "engine/engine.h"

struct dispatch;

struct dispatch_options {
    const char *user_agent;       /* "sluice/0.1.0" */
    uint32_t connections_max;     /* open at once in all; 0: 1024 */
    uint32_t responses_max_bytes; /* 0: 64 KiB read per response */
};

/* Before the engine exists: starts may be posted at once, they wait for dispatch_run. */
MUST_CHECK int dispatch_create(const struct dispatch_options *options, struct dispatch **ret);
/* Gives it its engine and starts the thread. */
MUST_CHECK int dispatch_run(struct dispatch *d, struct engine *engine);
/* For engine_options.start_attempts; any thread. */
void dispatch_start(struct dispatch *d, const struct attempt_start *starts, size_t count);
/*
 * Lets what was decided ahead leave in its turn and attempts under way end, for up to grace_ms, then abandons them (their
 * outcome is unknown to the log, which says so at the next start). The engine must still take requests, and start no
 * more (engine_hold_starts): what it starts later than this may be abandoned.
 */
void dispatch_stop(struct dispatch *d, uint32_t grace_ms);
/* After engine_close, which delivers the last answers. */
void dispatch_free(struct dispatch *d);

struct dispatch_stats {
    uint64_t started, succeeded, failed, timeouts, abandoned;
    uint32_t under_way;
    uint64_t connections_opened;
};
void dispatch_stats(const struct dispatch *d, struct dispatch_stats *ret);

#endif
