/*
 * cli/top.h - `sluice top`: the server's figures, live in a terminal.
 *
 * Promise: follows GET /v1/events and connects again for as long as it takes when the server goes away;
 *          follows the size of the terminal; q, Ctrl-C and SIGTERM end it, and the terminal is then as it was.
 *          Without a terminal: one line a second.
 * Errors:  the exit code: 0 ended by the user, 1 the terminal or memory failed or the server does not know the
 *          token, 2 wrong use.
 */
#ifndef SLUICE_CLI_TOP_H
#define SLUICE_CLI_TOP_H

#include <stdio.h>

struct top_options {
    const char *url;   /* "http://127.0.0.1:8080" */
    const char *token; /* bearer token; NULL: none */
    const char *ca; /* file of the authorities that vouch for the server, PEM; NULL: the system's */
    const char *campaign;  /* NULL: the first */
    const char *provider;  /* base URL whose /stats is asked, too; NULL: none */
    const char *note_file; /* its last lines stand at the foot; NULL: none */
};

int top_run(const struct top_options *options);
/* argv[0] is "top"; --url, --token, --ca, --campaign, --provider, --note override what `defaults` says. */
int top_main(int argc, char **argv, const struct top_options *defaults);
void top_usage(FILE *out);

#endif
