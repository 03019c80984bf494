/*
 * `sluice`: the server and its command line in one program. Commands that are calls of the API stand in
 * commands.c; here is only the choice between them.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/auth.h"
#include "app/serve.h"
#include "base/compiler.h"
#include "cli/audit_tool.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/import.h"
#include "cli/log_tool.h"
#include "cli/top.h"
#include "version.h"

static void help(FILE *out) {
    static const char *const lines[][2] = {
        {"serve [--config FILE] ...", "the server"},
        {"config check FILE", "read a configuration, say what is wrong with it"},
        {"top", "live figures in the terminal"},
        {"log verify|stat FOLDER", "check or count the records of a data folder"},
        {"log dump FOLDER [POSITION]", "print the records of a data folder"},
        {"audit verify FOLDER [HASH]", "check that the audit file is what was written"},
        {"audit show FOLDER", "print its entries"},
        {"token new", "make a bearer token and the line to configure"},
        {"version", "print the version"},
        {"import rabbitmq AMQP-URL ...", "move definitions and messages of a RabbitMQ here"},
    };
    fputs("sluice " SLUICE_VERSION ": accepts bursts durably, lets them out at a bearable pace\n\n"
          "usage: sluice COMMAND ... [--url URL] [--token TOKEN] [--ca FILE] [--json]\n"
          "       sluice COMMAND --help\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++)
        help_line(out, lines[i][0], lines[i][1]);
    commands_help(out);
}

static void token_usage(FILE *out) {
    fputs("usage: sluice token new\n", out);
}

static const struct {
    const char *noun;
    void (*usage)(FILE *out);
} tools[] = {
    {"serve", serve_usage},  {"config", serve_config_usage}, {"top", top_usage},
    {"log", log_tool_usage}, {"audit", audit_tool_usage},    {"import", import_usage},
    {"token", token_usage},
};

static int help_of(const char *noun) {
    for (size_t i = 0; i < ARRAY_LENGTH(tools); i++) {
        if (strcmp(tools[i].noun, noun) == 0) {
            tools[i].usage(stdout);
            return 0;
        }
    }
    if (!commands_help_of(stdout, noun))
        help(stdout);
    return 0;
}

static int token_new(int argc, char **argv) {
    if (argc != 2 || strcmp(argv[1], "new") != 0) {
        token_usage(stderr);
        return 2;
    }
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES];
    token_make(token, hash);
    printf("%s\n", token);
    fprintf(stderr,
            "\nThat is the token; it is not shown again. In the configuration file:\n\n"
            "tokens:\n  - name: my-service\n    hash: \"%s\"\n    scopes: [publish]\n",
            hash);
    return 0;
}

static int top(const struct client *c, int argc, char **argv) {
    struct top_options defaults = {.url = c->url, .token = c->token, .ca = c->ca};
    return top_main(argc, argv, &defaults);
}

static int run(struct client *c, int argc, char **argv) {
    const char *noun = argv[0];
    if (help_is_wanted(argc, argv))
        return help_of(noun);
    if (strcmp(noun, "help") == 0)
        return help_of(argc > 1 ? argv[1] : "");
    if (strcmp(noun, "serve") == 0)
        return serve_main(argc, argv);
    if (strcmp(noun, "config") == 0)
        return serve_config_main(argc, argv);
    if (strcmp(noun, "top") == 0)
        return top(c, argc, argv);
    if (strcmp(noun, "log") == 0)
        return log_tool_run(argc - 1, argv + 1);
    if (strcmp(noun, "audit") == 0)
        return audit_tool_run(argc - 1, argv + 1);
    if (strcmp(noun, "import") == 0)
        return import_main(c, argc, argv);
    if (strcmp(noun, "token") == 0)
        return token_new(argc, argv);
    if (strcmp(noun, "version") == 0) {
        puts("sluice " SLUICE_VERSION);
        return 0;
    }
    return commands_run(c, argc, argv);
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        CLIENT_OPTIONS,
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct client given = {0};
    int option;
    /* '+': what stands behind the command is read by the command. */
    while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
        switch (option) {
        case 'V':
            puts("sluice " SLUICE_VERSION);
            return 0;
        case 'h':
            help(stdout);
            return 0;
        default:
            if (!client_take_option(&given, option, optarg))
                return 2;
        }
    }
    if (optind == argc) {
        help(stderr);
        return 2;
    }
    struct client c;
    client_init(&c, &given);
    int first = optind;
    optind = 0; /* the commands parse their own options from the start */
    return run(&c, argc - first, argv + first);
}
