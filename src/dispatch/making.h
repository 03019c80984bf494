/*
 * dispatch/making.h - how the request of one attempt is made out of its message: URL, method, headers, body.
 *
 * Promise: what a template asks for and the message does not have ends the attempt for good (NOT_MADE), with the
 *          place in the excerpt: nothing half-made is sent.
 */
#ifndef SLUICE_DISPATCH_MAKING_H
#define SLUICE_DISPATCH_MAKING_H

#include "dispatch/internal.h"

/* What of a target's definition has places; texts that do not read as templates are taken as they are. */
void making_look(struct target *t);
/* URL, method, headers and body; what places made of URL and method is set in the call's handle. ATTEMPT_OK, or why it cannot be. */
enum attempt_error making_make(struct call *c);

/* NULL: nothing stands there, or `value` is NULL. "": the value itself. */
const json_t *making_at_pointer(const json_t *value, struct span pointer);

#endif
