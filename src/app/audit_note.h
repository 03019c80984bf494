/*
 * app/audit_note.h - what the program itself leaves in the audit, and of the audit in its own log.
 *
 * Promise: a full disk does not hold up a start; that the entry is missing is said.
 */
#ifndef SLUICE_APP_AUDIT_NOTE_H
#define SLUICE_APP_AUDIT_NOTE_H

#include "app/server.h"

/* That it started, with which tokens, and what a salvage gave up: `report`, empty: nothing. */
void audit_note_start(struct engine *e, const struct server_options *o, const char *report);
/* The head of the chain into the program's own log: a copy out of the reach of the folder's thief. */
void audit_note_head(struct engine *e);

#endif
