/*
 * cli/audit_tool.h - `sluice audit verify|show FOLDER`: the audit file of a data folder.
 */
#ifndef SLUICE_CLI_AUDIT_TOOL_H
#define SLUICE_CLI_AUDIT_TOOL_H

#include <stdio.h>

/* argv[0] is "audit"'s first argument's place: "verify" or "show". Exit code. */
int audit_tool_run(int argc, char **argv);
void audit_tool_usage(FILE *out);

#endif
