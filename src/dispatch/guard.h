/*
 * dispatch/guard.h - which addresses a curl handle may talk to.
 *
 * Promise: unless private addresses are allowed, no socket is opened to one, and no request leaves on
 *          a connection to one that somebody else was allowed to open.
 * Shape:   plain struct, part of whatever owns the handle, and living as long.
 */
#ifndef SLUICE_DISPATCH_GUARD_H
#define SLUICE_DISPATCH_GUARD_H

#include <curl/curl.h>
#include <stdbool.h>

struct guard {
    bool allow_private;
    bool refused; /* an address was, since it was set to false */
};

CURLcode guard_set(CURL *h, struct guard *g);

#endif
