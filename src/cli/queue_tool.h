/*
 * cli/queue_tool.h - `sluice queue search|message|edit|move|redrive|discard|jobs|cancel`: what waits or is dead.
 *
 * Each is a few calls that anyone could make with curl (docs/guide/dead-letters.md shows both).
 */
#ifndef SLUICE_CLI_QUEUE_TOOL_H
#define SLUICE_CLI_QUEUE_TOOL_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/client.h"

/* Is `queue VERB` one of these? */
bool queue_tool_knows(const char *verb);
/* argv: verb and what stands behind it. 0 done, 1 refused, 2 wrong use (usage printed). */
int queue_tool_run(struct client *c, int argc, char **argv);
/* One line a command. */
void queue_tool_help(FILE *out);

#endif
