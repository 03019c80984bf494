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
 * argv: noun, verb, arguments; options of the call among them are read into `c`. Returns the exit code: 0 done,
 * 1 refused, 2 wrong use (usage printed).
 */
int commands_run(struct client *c, int argc, char **argv);
/* One line per command, for help. */
void commands_help(FILE *out);
/* Those of one noun ("queue"). False: there are none. */
_Bool commands_help_of(FILE *out, const char *noun);

#endif
