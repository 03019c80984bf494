/*
 * engine/audit_verify.h - is the audit file what was written? Read from the outside, beside a running server too.
 *
 * Promise: finds a line that was changed, removed, put in, moved, and an end that was cut off, against the
 *          chain in the file and against what log and snapshot know. Changes nothing.
 *          Somebody who can rewrite the whole folder, log included, can make all of it fit together: what
 *          such a person cannot change is a hash that was noted elsewhere; give it as `noted`.
 * Errors:  E_NOT_FOUND: there is no data folder; E_IO, E_NOMEM. Findings are no errors.
 */
#ifndef SLUICE_ENGINE_AUDIT_VERIFY_H
#define SLUICE_ENGINE_AUDIT_VERIFY_H

#include "base/compiler.h"
#include "model/audit.h"

struct audit_report {
    uint64_t lines;           /* of the file */
    uint64_t last;            /* number of its last line */
    struct audit_state known; /* by the log */
    uint64_t waiting;         /* entries that the log has and the file has not got yet */
    uint32_t findings;
};

/* `finding` gets one line of text each. `noted`: 64 hexadecimal digits, or NULL. */
MUST_CHECK int audit_verify(const char *directory, const char *noted,
                            void (*finding)(void *context, const char *text), void *context,
                            struct audit_report *ret);

#endif
