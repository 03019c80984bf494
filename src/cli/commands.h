/*
 * cli/commands.h - the subcommands that are API calls: one table, one function.
 *
 * Every action of the command line is a call that anyone could make with curl; the table says which.
 */
#ifndef SLUICE_CLI_COMMANDS_H
#define SLUICE_CLI_COMMANDS_H

#include <stdio.h>

#include "cli/client.h"

/*
 * argv: noun, verb, arguments. `as_json` prints the answer as it came. Returns the exit code: 0 done,
 * 1 refused, 2 wrong use (usage printed).
 */
int commands_run(const struct client *c, int argc, char **argv, _Bool as_json);
/* One line per command, for help. */
void commands_help(FILE *out);
/* Those of one noun ("queue"). False: there are none. */
_Bool commands_help_of(FILE *out, const char *noun);

#endif
