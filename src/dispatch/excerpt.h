/*
 * dispatch/excerpt.h - the beginning of a response, fit to be shown.
 *
 * Promise: valid UTF-8 without control characters, at most EXCERPT_MAX_BYTES: other bytes become '?',
 *          white space of any kind one space; a character that was cut off at the end is dropped.
 */
#ifndef SLUICE_DISPATCH_EXCERPT_H
#define SLUICE_DISPATCH_EXCERPT_H

#include "base/span.h"

#define EXCERPT_MAX_BYTES 512u

/* Returns the size written to out, which has EXCERPT_MAX_BYTES; never more than raw.size. */
size_t excerpt_clean(struct span raw, uint8_t *out);

#endif
