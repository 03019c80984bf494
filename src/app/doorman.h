/*
 * app/doorman.h - answers at the HTTP listeners while a long start is under way, and gives it up when told to.
 *
 * Promise: after a second of starting, and until doorman_free, /healthz says that the program lives (200), /readyz that it
 *          starts and how far it is (503), everything else 503 with Retry-After; every ten seconds a line in the
 *          log. SIGTERM and SIGINT end the process at once, whatever the start is doing: nothing was answered yet and
 *          nothing sent, and the disk is as after a kill, which any start goes on from.
 * Shape:   opaque; threads of its own. The signals are blocked before; those that come after doorman_free, and a
 *          SIGHUP before it, wait for sigwait.
 * Errors:  E_NOMEM: no memory or thread. A door that cannot be opened stays shut.
 */
#ifndef SLUICE_APP_DOORMAN_H
#define SLUICE_APP_DOORMAN_H

#include "app/server.h"

struct doorman;

/* Borrows all of it, `tls` by listener. */
MUST_CHECK int doorman_create(const struct server_options *options, struct tls_context *const *tls,
                              const struct engine_progress *progress, struct doorman **ret);
/* The doors are shut when it returns, so that others may open them. NULL: nothing. */
void doorman_free(struct doorman *d);

#endif
