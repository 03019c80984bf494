/*
 * cli/import.h - `sluice import rabbitmq`: definitions and messages of a running RabbitMQ.
 */
#ifndef SLUICE_CLI_IMPORT_H
#define SLUICE_CLI_IMPORT_H

#include <stdio.h>

#include "cli/client.h"

/* argv[0] is "import". 0: all is here; 1: some is not, and the table says what; 2: wrong use. */
int import_main(const struct client *c, int argc, char **argv);
void import_usage(FILE *out);

#endif
