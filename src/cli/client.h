/*
 * cli/client.h - one HTTP call to a running server, for the subcommands.
 *
 * Promise: a refused or failed call is explained on stderr in one or two lines (problem title, detail,
 *          what to do), never as a dump.
 * Units:   30 s for a whole call.
 */
#ifndef SLUICE_CLI_CLIENT_H
#define SLUICE_CLI_CLIENT_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"

#define BODY_MAX_BYTES (16u << 20) /* the most that a server takes */

struct client {
    const char *url;   /* borrows: "http://127.0.0.1:8080" */
    const char *token; /* borrows: bearer token, NULL without */
    const char *ca;    /* borrows: PEM file of authorities for the server's; NULL: the system's */
    const char *const *headers; /* borrows: lines, NULL at the end; NULL: the body is JSON */
    bool as_json;               /* answers as they came, no tables */
};

/* The options of every call, before the command or behind it. A command's own begin at CLIENT_OPTIONS_END. */
#define CLIENT_OPTIONS                                                                             \
    {"url", required_argument, NULL, CLIENT_URL},                                                  \
        {"token", required_argument, NULL, CLIENT_TOKEN},                                          \
        {"ca", required_argument, NULL, CLIENT_CA}, {                                              \
        "json", no_argument, NULL, CLIENT_JSON                                                     \
    }
enum { CLIENT_URL = 256, CLIENT_TOKEN, CLIENT_CA, CLIENT_JSON, CLIENT_OPTIONS_END };

/* One that getopt_long returned, with its value. False: it is none of these. */
bool client_take_option(struct client *c, int option, const char *value);

/* What is NULL in `given` comes from SLUICE_URL, SLUICE_TOKEN, SLUICE_CA_FILE, else from the server's default. */
void client_init(struct client *c, const struct client *given);

/*
 * ret_answer: the body as JSON, NULL when it has none; the caller decrefs it. Without data there is no body.
 * 0: 2xx; E_NOT_FOUND, E_DENIED, E_CONFLICT by status; E_IO: no answer. Explained on stderr already.
 */
MUST_CHECK int client_call(const struct client *c, const char *method, const char *path,
                           struct span body, json_t **ret_answer);

/* A file ('-': standard input) for the body of a call; `ret` has its maximum. Explained on stderr already. */
MUST_CHECK int client_read_body(const char *name, struct buffer *ret);
/* Appends to the path in a buffer of `size`, percent-encoded; what does not fit is left out. */
void client_path_add(char *path, size_t size, const char *text);

#endif
