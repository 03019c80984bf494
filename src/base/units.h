/*
 * base/units.h - times, durations and numbers as text.
 *
 * Shape: times are RFC 3339 text on the outside ("2030-01-02T03:04:05.678Z"), ns since the epoch
 *        inside; durations are "1.5s" (also ms, m, h, d when read), ns inside.
 * Errors: E_INVALID; outputs are then untouched.
 */
#ifndef SLUICE_BASE_UNITS_H
#define SLUICE_BASE_UNITS_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

/* Both fit with their NUL. */
#define TIME_TEXT_BYTES     32u
#define DURATION_TEXT_BYTES 32u

/* In UTC, with as many of 3, 6 or 9 digits of fraction as it takes. Returns the length. */
size_t time_format(uint64_t ns, char out[TIME_TEXT_BYTES]);
/* Strict; any offset; years 1970 to 2500. */
MUST_CHECK int time_parse(struct span text, uint64_t *ret_ns);

/* In seconds: "0s", "1.5s", "3600s". Returns the length. */
size_t duration_format(uint64_t ns, char out[DURATION_TEXT_BYTES]);
/* A decimal number and a unit without a space between. At most 9 digits of fraction, 100,000 days. */
MUST_CHECK int duration_parse(struct span text, uint64_t *ret_ns);

/* Decimal digits only, no sign, no leading zero. */
MUST_CHECK int u64_parse(struct span text, uint64_t *ret_value);
/* Writes without a terminator, returns the length (at most 20). */
size_t u64_format(uint64_t value, char *out);

#endif
