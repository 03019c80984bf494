#include "cli/commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cli/help.h"
#include "cli/queue_tool.h"
#include "cli/table.h"

#define PATH_BYTES 2048

struct command {
    const char *noun;
    const char *verb;
    const char *arguments; /* for help; as many words as path has {} */
    const char *method;
    const char *path;    /* each {} takes one argument, percent-encoded */
    const char *body;    /* file argument follows when "@" */
    const char *columns; /* lists: "title=json.path title=json.path"; NULL: print the JSON */
    const char *help;
};

#define QUEUE_COLUMNS                                                                              \
    "QUEUE=name READY=stats.ready DELAYED=stats.delayed IN-FLIGHT=stats.inFlight "                 \
    "BLOCKED=stats.blocked DEAD=stats.dead COMPLETED=stats.completed DESTINATION=destination "     \
    "PAUSED=paused"
#define STOCK_COLUMNS                                                                              \
    "STOCK=name TOTAL=total USED=stats.used HELD=stats.held LEFT=stats.left "                      \
    "SOLD-OUT=stats.soldOut"
#define CAMPAIGN_COLUMNS                                                                           \
    "CAMPAIGN=name OPEN=stats.open ENTRIES=stats.entries SENT=stats.sent FAILED=stats.failed "     \
    "LEFT=stats.left OPENS=opensAt CLOSES=closesAt"
#define DESTINATION_COLUMNS                                                                        \
    "DESTINATION=name ATTEMPTS=stats.attempts OK=stats.succeeded FAILED=stats.failed "             \
    "IN-FLIGHT=stats.inFlight WAITING=stats.waiting PAUSED=stats.paused "                          \
    "BREAKER=stats.breaker.state HEALTH=stats.health URL=url"

static const struct command commands[] = {
    {"status", NULL, "", "GET", "/readyz", NULL, NULL, "is the server accepting, and if not why"},
    {"queue", "list", "", "GET", "/v1/queues", NULL, QUEUE_COLUMNS, "all queues"},
    {"queue", "show", "NAME", "GET", "/v1/queues/{}", NULL, NULL, "definition and counters"},
    {"queue", "define", "NAME FILE", "PUT", "/v1/queues/{}", "@", NULL,
     "create or replace from a JSON file ('-': standard input)"},
    {"queue", "delete", "NAME", "DELETE", "/v1/queues/{}", NULL, NULL, "an empty queue"},
    {"queue", "messages", "NAME", "GET", "/v1/queues/{}/messages", NULL,
     "ID=id STATE=state PRIORITY=priority ATTEMPTS=attempts BYTES=bodyBytes REASON=deadReason "
     "STATUS=lastStatus DUE=dueAt",
     "list without consuming"},
    {"queue", "pause", "NAME", "POST", "/v1/queues/{}:pause", NULL, NULL, "nothing leaves"},
    {"queue", "resume", "NAME", "POST", "/v1/queues/{}:resume", NULL, NULL, "go on"},
    {"queue", "purge", "NAME", "POST", "/v1/queues/{}:purge", NULL, NULL,
     "drop everything but what is under way"},
    {"stock", "list", "", "GET", "/v1/stocks", NULL, STOCK_COLUMNS, "all stocks"},
    {"stock", "show", "NAME", "GET", "/v1/stocks/{}", NULL, NULL, "definition and counters"},
    {"stock", "define", "NAME FILE", "PUT", "/v1/stocks/{}", "@", NULL, "create or replace"},
    {"stock", "delete", "NAME", "DELETE", "/v1/stocks/{}", NULL, NULL, "an unused stock"},
    {"campaign", "list", "", "GET", "/v1/campaigns", NULL, CAMPAIGN_COLUMNS, "all campaigns"},
    {"campaign", "show", "NAME", "GET", "/v1/campaigns/{}", NULL, NULL, "definition and counters"},
    {"campaign", "define", "NAME FILE", "PUT", "/v1/campaigns/{}", "@", NULL, "create or replace"},
    {"campaign", "delete", "NAME", "DELETE", "/v1/campaigns/{}", NULL, NULL, "a campaign"},
    {"campaign", "entries", "NAME", "GET", "/v1/campaigns/{}/entries", NULL,
     "NUMBER=number MEMBER=member STATE=state RECEIPT=receipt ACCEPTED=acceptedAt",
     "who got in, in order"},
    {"destination", "list", "", "GET", "/v1/destinations", NULL, DESTINATION_COLUMNS,
     "all destinations"},
    {"destination", "show", "NAME", "GET", "/v1/destinations/{}", NULL, NULL,
     "definition and counters"},
    {"destination", "define", "NAME FILE", "PUT", "/v1/destinations/{}", "@", NULL,
     "create or replace"},
    {"destination", "delete", "NAME", "DELETE", "/v1/destinations/{}", NULL, NULL,
     "one that no queue uses"},
    {"destination", "pause", "NAME", "POST", "/v1/destinations/{}:pause", NULL, NULL,
     "start no attempts"},
    {"destination", "resume", "NAME", "POST", "/v1/destinations/{}:resume", NULL, NULL, "go on"},
    {"destination", "open", "NAME", "POST", "/v1/destinations/{}:open", NULL, NULL,
     "open its circuit breaker"},
    {"destination", "close", "NAME", "POST", "/v1/destinations/{}:close", NULL, NULL,
     "close it, and end the time that a provider asked for"},
    {"destination", "failover", "NAME", "POST", "/v1/destinations/{}:failover", NULL, NULL,
     "send by its second provider"},
    {"destination", "return", "NAME", "POST", "/v1/destinations/{}:return", NULL, NULL,
     "send by itself again"},
    {"destination", "eject", "NAME ENDPOINT", "POST", "/v1/destinations/{}/endpoints/{}:eject",
     NULL, NULL, "leave one of its endpoints out"},
    {"destination", "restore", "NAME ENDPOINT", "POST", "/v1/destinations/{}/endpoints/{}:return",
     NULL, NULL, "use it again"},
    {"receipt", "show", "RECEIPT", "GET", "/v1/receipts/{}", NULL, NULL,
     "what became of an accepted request"},
};

/* "queue define NAME FILE" */
static void write_usage(const struct command *k, char line[80]) {
    bool verb = k->verb != NULL, arguments = k->arguments[0] != '\0';
    snprintf(line, 80, "%s%s%s%s%s", k->noun, verb ? " " : "", verb ? k->verb : "",
             arguments ? " " : "", k->arguments);
}

/* Of one noun, or of all. How many there are. */
static size_t print_commands(FILE *out, const char *noun) {
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        const struct command *k = &commands[i];
        char line[80];
        if (noun != NULL && strcmp(k->noun, noun) != 0)
            continue;
        count++;
        write_usage(k, line);
        help_line(out, line, k->help);
        bool last = i + 1 == ARRAY_LENGTH(commands) || strcmp(k->noun, k[1].noun) != 0;
        if (last && strcmp(k->noun, "queue") == 0)
            queue_tool_help(out);
    }
    return count;
}

void commands_help(FILE *out) {
    (void)print_commands(out, NULL);
}

bool commands_help_of(FILE *out, const char *noun) {
    return print_commands(out, noun) > 0;
}

static bool knows(const char *noun) {
    size_t i = 0;
    while (i < ARRAY_LENGTH(commands) && strcmp(commands[i].noun, noun) != 0)
        i++;
    return i < ARRAY_LENGTH(commands);
}

static const struct command *find(int argc, char **argv) {
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        const struct command *k = &commands[i];
        if (strcmp(k->noun, argv[0]) != 0)
            continue;
        if (k->verb == NULL || (argc > 1 && strcmp(k->verb, argv[1]) == 0))
            return k;
    }
    return NULL;
}

/* Replaces each {} by the next argument, percent-encoded. Returns how many were used, -1: too few. */
static int fill_path(const char *pattern, int argc, char **argv, char path[PATH_BYTES]) {
    int used = 0;
    const char *place;
    path[0] = '\0';
    for (; (place = strstr(pattern, "{}")) != NULL; pattern = place + 2) {
        if (used == argc)
            return -1;
        strncat(path, pattern, (size_t)(place - pattern));
        client_path_add(path, PATH_BYTES, argv[used++]);
    }
    strncat(path, pattern, PATH_BYTES - strlen(path) - 1);
    return used;
}

static void print_json(const json_t *answer) {
    if (answer == NULL)
        return;
    json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

static int run_list(const struct client *c, const struct command *k, const char *path) {
    char first[PATH_BYTES + 16];
    snprintf(first, sizeof(first), "%s?page_size=500", path);
    return table_list(c, first, k->columns);
}

static int run_call(const struct client *c, const struct command *k, const char *path,
                    const char *file) {
    struct buffer body;
    json_t *answer = NULL;
    buffer_init(&body, BODY_MAX_BYTES);
    int error = file != NULL ? client_read_body(file, &body) : 0;
    error = error != 0 ? error : client_call(c, k->method, path, buffer_span(&body), &answer);
    if (error == 0)
        print_json(answer);
    json_decref(answer);
    buffer_release(&body);
    return error == 0 ? 0 : 1;
}

/* How many of argv are the options of the call, which then stand first; -1: something else is among them. */
static int take_options(struct client *c, int argc, char **argv) {
    static const struct option options[] = {CLIENT_OPTIONS, {NULL, 0, NULL, 0}};
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!client_take_option(c, option, optarg))
            return -1;
    }
    return optind - 1; /* the noun is not one of them */
}

static int usage(const struct command *k) {
    char line[80];
    write_usage(k, line);
    fprintf(stderr, "usage: sluice %s [--url URL] [--token TOKEN] [--ca FILE] [--json]\n", line);
    return 2;
}

/* Says what there is instead. */
static int unknown(int argc, char **argv) {
    bool noun = knows(argv[0]);
    if (argc > 1 || !noun)
        fprintf(stderr, "sluice: unknown command `%s%s%s`%s\n", argv[0], argc > 1 ? " " : "",
                argc > 1 ? argv[1] : "", noun ? "; there are" : "; `sluice help` lists them");
    if (noun)
        (void)commands_help_of(stderr, argv[0]);
    return 2;
}

int commands_run(struct client *c, int argc, char **argv) {
    if (argc > 1 && strcmp(argv[0], "queue") == 0 && queue_tool_knows(argv[1]))
        return queue_tool_run(c, argc - 1, argv + 1);
    const struct command *k = find(argc, argv);
    int options = take_options(c, argc, argv);
    if (options < 0)
        return k != NULL ? usage(k) : 2;
    argv[options] = argv[0];
    argv += options;
    argc -= options;
    k = find(argc, argv);
    if (k == NULL)
        return unknown(argc, argv);
    int words = k->verb != NULL ? 2 : 1;
    char path[PATH_BYTES];
    int used = fill_path(k->path, argc - words, argv + words, path);
    bool file = k->body != NULL;
    if (used < 0 || argc - words != used + (file ? 1 : 0))
        return usage(k);
    if (k->columns != NULL && !c->as_json)
        return run_list(c, k, path);
    return run_call(c, k, path, file ? argv[words + used] : NULL);
}
