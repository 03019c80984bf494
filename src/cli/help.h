/*
 * cli/help.h - how help looks: a command and what it does on a line; a command that is too long has one of its own.
 */
#ifndef SLUICE_CLI_HELP_H
#define SLUICE_CLI_HELP_H

#include <stdbool.h>
#include <stdio.h>

void help_line(FILE *out, const char *usage, const char *what);
/* --help or -h stands among the arguments behind the command's name. */
bool help_is_wanted(int argc, char **argv);

#endif
