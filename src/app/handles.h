/*
 * app/handles.h - file handles: as many as the system allows, and shared out so that they never run out.
 *
 * Promise: the log always finds a handle. A segment that cannot be opened ends the process, so clients, who can open
 *          connections as they like, get only what is left when log and dispatch have had their share.
 * Units:   numbers of handles. `servers`: HTTP servers, one for each listener and I/O thread.
 * Errors:  E_LIMIT: fewer than a server can live with; text says how many there are and are needed.
 */
#ifndef SLUICE_APP_HANDLES_H
#define SLUICE_APP_HANDLES_H

#include <stdint.h>

#include "base/compiler.h"

#define HANDLES_MIN 512u

struct handles_share {
    uint32_t connections; /* of one HTTP server */
    uint32_t dispatch;    /* connections to destinations, all together */
};

/* Raises the soft limit of this process to the hard one. How many that are. */
uint64_t handles_raise(void);

/* What is wanted, or less: in *share both ways. */
MUST_CHECK int handles_divide(uint64_t handles, uint32_t servers, struct handles_share *share,
                              char error_text[256]);

#endif
