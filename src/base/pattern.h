/*
 * base/pattern.h - regular expressions that clients write: of permissions, policies, filters of lists.
 *
 * Promise: Perl's syntax as PCRE2 has it, which is what RabbitMQ's patterns are written in; found anywhere in the
 *          name unless anchored. What matching may cost is bounded: of one place in the name PATTERN_STEPS_MAX
 *          steps back and 1 MiB of memory; a pattern that wants more matches nothing.
 * Shape:   opaque, not copied; used by one thread at a time, as what matching needs is kept with it.
 * Errors:  of pattern_compile: E_INVALID (no expression), E_LIMIT (over PATTERN_MAX_BYTES), E_NOMEM.
 */
#ifndef SLUICE_BASE_PATTERN_H
#define SLUICE_BASE_PATTERN_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"

#define PATTERN_MAX_BYTES 4096u
#define PATTERN_STEPS_MAX 1000u

struct pattern;

MUST_CHECK int pattern_compile(struct span text, struct pattern **ret);
void pattern_free(struct pattern *p);
bool pattern_matches(const struct pattern *p, struct span name);
/* The same; E_LIMIT: it gave up. */
MUST_CHECK int pattern_try(const struct pattern *p, struct span name, bool *ret_matches);

#endif
