/*
 * app/serve.h - `sluice serve` and `sluice config check`: from a command line and a file to a server.
 *
 * Exit codes: 0 done, 1 start failed, 2 wrong use or configuration, 3 the log failed.
 */
#ifndef SLUICE_APP_SERVE_H
#define SLUICE_APP_SERVE_H

#include <stdio.h>

/* argv[0] is "serve". --config FILE, --data FOLDER, --listen HOST:PORT, --paranoid, --salvage. */
int serve_main(int argc, char **argv);
/* argv: "config", "check", file. */
int serve_config_main(int argc, char **argv);

void serve_usage(FILE *out);
void serve_config_usage(FILE *out);

#endif
