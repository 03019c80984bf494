/*
 * cli/log_tool.h - `sluice log verify | dump | stat`: reads a data folder, changes nothing.
 *
 * Exit codes: 0 sound, 1 damaged (verify) or unreadable, 2 wrong use.
 */
#ifndef SLUICE_CLI_LOG_TOOL_H
#define SLUICE_CLI_LOG_TOOL_H

#include <stdio.h>

/* argv: "verify" | "dump" | "stat", data folder, for dump optionally the first position. */
int log_tool_run(int argc, char **argv);
void log_tool_usage(FILE *out);
/* Why a data folder could not be read, for people. */
const char *log_tool_reason(const char *folder, int error);

#endif
