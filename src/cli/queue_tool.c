#include "cli/queue_tool.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/help.h"
#include "cli/table.h"

#define PATH_BYTES  8192
#define POLL_US     250000
#define WORDS_MAX   4
#define SINCE_MAX_S 3e9 /* a hundred years */
#define MESSAGE_TABLE                                                                              \
    "ID=id STATE=state REASON=deadReason STATUS=lastStatus ERROR=lastError ATTEMPTS=attempts "     \
    "BYTES=bodyBytes CHANGED=changedAt"
#define JOB_TABLE                                                                                  \
    "JOB=id ACTION=action STATUS=status DONE=done FAILED=failed SEARCHED=searched TOTAL=total "    \
    "BEGAN=beganAt"

/* What stands behind a verb, read. */
struct given {
    struct client *client; /* borrows */
    const char *verb;
    char *words[WORDS_MAX];
    int word_count;
    json_t *filter;   /* owns: members of a filter */
    const char *rate; /* NULL: none */
    const char *why, *type, *priority, *tag;
    bool detach;
};

enum {
    OPTION_SINCE = CLIENT_OPTIONS_END,
    OPTION_RATE,
    OPTION_WHY,
    OPTION_TYPE,
    OPTION_PRIORITY,
    OPTION_TAG,
    OPTION_DETACH,
    OPTION_FILTER
};
#define OPTIONS_OWN ((size_t)(OPTION_FILTER - CLIENT_URL)) /* before those of a filter */

/* Those from OPTION_FILTER on are members of a filter. */
static const struct {
    const char *option, *member;
    bool number;
} members[] = {
    {"state", "state", false},
    {"reason", "reason", false},
    {"error", "error", false},
    {"status", "status", true},
    {"min-attempts", "minAttempts", true},
    {"accepted-from", "acceptedFrom", false},
    {"accepted-to", "acceptedTo", false},
    {"changed-from", "changedFrom", false},
    {"changed-to", "changedTo", false},
    {"key", "orderingKey", false},
    {"header", "header", false},
    {"pointer", "pointer", false},
    {"equals", "equals", false},
    {"contains", "contains", false},
};
#define FILTER_HELP                                                                                \
    "  which:  --state STATE  --reason REASON  --status N  --error ERROR  --min-attempts N\n"      \
    "          --since 2h  --accepted-from|--accepted-to|--changed-from|--changed-to TIME\n"       \
    "          --key KEY  --header 'Name: value'  --pointer /a/b [--equals TEXT]  --contains "     \
    "TEXT\n"

/* ---- options ---- */

/* "2h" ago, as a time. False: no such duration. */
static bool set_since(json_t *filter, const char *text) {
    char *unit = NULL, when[40];
    double number = strtod(text, &unit);
    double seconds = strcmp(unit, "s") == 0   ? number
                     : strcmp(unit, "m") == 0 ? number * 60
                     : strcmp(unit, "h") == 0 ? number * 3600
                     : strcmp(unit, "d") == 0 ? number * 86400
                                              : -1;
    bool good = seconds >= 0 && seconds <= SINCE_MAX_S; /* neither is what is no number */
    time_t at = time(NULL) - (good ? (time_t)seconds : 0);
    struct tm tm;
    if (!good || gmtime_r(&at, &tm) == NULL) {
        fprintf(stderr, "sluice: --since: expected a duration such as 30m, 2h or 1d\n");
        return false;
    }
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_object_set_new(filter, "changedFrom", json_string(when)) == 0;
}

static bool set_member(json_t *filter, size_t i, const char *text) {
    char *end = NULL;
    long long number = strtoll(text, &end, 10);
    bool is_number = members[i].number && *text != '\0' && *end == '\0';
    json_t *value = is_number ? json_integer(number) : json_string(text);
    if (value == NULL) {
        fprintf(stderr, "sluice: --%s: not UTF-8\n", members[i].option);
    }
    return json_object_set_new(filter, members[i].member, value) == 0;
}

static bool take_option(struct given *g, int option, const char *text) {
    switch (option) {
    case OPTION_SINCE:
        return set_since(g->filter, text);
    case OPTION_RATE:
        g->rate = text;
        return true;
    case OPTION_WHY:
        g->why = text;
        return true;
    case OPTION_TYPE:
        g->type = text;
        return true;
    case OPTION_PRIORITY:
        g->priority = text;
        return true;
    case OPTION_TAG:
        g->tag = text;
        return true;
    case OPTION_DETACH:
        g->detach = true;
        return true;
    default:
        return client_take_option(g->client, option, text) ||
               (option >= OPTION_FILTER &&
                set_member(g->filter, (size_t)option - OPTION_FILTER, text));
    }
}

/* False: explained. */
static bool read_given(struct given *g, int argc, char **argv) {
    struct option options[OPTIONS_OWN + ARRAY_LENGTH(members) + 1] = {
        CLIENT_OPTIONS,
        {"since", required_argument, NULL, OPTION_SINCE},
        {"rate", required_argument, NULL, OPTION_RATE},
        {"why", required_argument, NULL, OPTION_WHY},
        {"type", required_argument, NULL, OPTION_TYPE},
        {"priority", required_argument, NULL, OPTION_PRIORITY},
        {"if-match", required_argument, NULL, OPTION_TAG},
        {"detach", no_argument, NULL, OPTION_DETACH},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        options[OPTIONS_OWN + i] =
            (struct option){members[i].option, required_argument, NULL, OPTION_FILTER + (int)i};
    }
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?' || !take_option(g, option, optarg)) {
            return false;
        }
    }
    for (; optind < argc && g->word_count < WORDS_MAX; optind++) {
        g->words[g->word_count++] = argv[optind];
    }
    return optind == argc;
}

/* ---- calls ---- */

static void append(char *path, const char *text) {
    strncat(path, text, PATH_BYTES - strlen(path) - 1);
}

/* "/v1/queues/mail<middle>r000...<end>" */
static void make_path(const struct given *g, const char *middle, const char *id, const char *end,
                      char path[PATH_BYTES]) {
    strcpy(path, "/v1/queues/");
    client_path_add(path, PATH_BYTES, g->words[0]);
    append(path, middle);
    client_path_add(path, PATH_BYTES, id != NULL ? id : "");
    append(path, end);
}

static int call(const struct given *g, const char *method, const char *path, json_t *body,
                json_t **ret) {
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    int error = client_call(g->client, method, path,
                            text != NULL ? span_text(text) : span_of(NULL, 0), ret);
    free(text);
    json_decref(body);
    return error;
}

static int print(const struct given *g, int error, json_t *answer) {
    if (error == 0 && answer != NULL) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(answer);
    return error == 0 ? 0 : 1;
}

static int simple(const struct given *g, const char *method, const char *path, json_t *body) {
    json_t *answer = NULL;
    int error = call(g, method, path, body, &answer);
    return print(g, error, answer);
}

/* ---- search, message, jobs ---- */

static void append_query(const json_t *filter, char path[PATH_BYTES]) {
    const char *key;
    json_t *value;
    char number[32];
    json_object_foreach((json_t *)filter, key, value) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        append(path, "&");
        append(path, key);
        append(path, "=");
        client_path_add(path, PATH_BYTES,
                        json_is_integer(value) ? number : json_string_value(value));
    }
}

static int run_search(struct given *g) {
    char path[PATH_BYTES];
    if (json_object_size(g->filter) == 0) { /* then only what it is asked for counts */
        json_object_set_new(g->filter, "state", json_string("any"));
    }
    make_path(g, "/messages?page_size=500", NULL, "", path);
    append_query(g->filter, path);
    return table_list(g->client, path, MESSAGE_TABLE);
}

static int run_message(struct given *g) {
    char path[PATH_BYTES];
    make_path(g, "/messages/", g->words[1], "?view=full", path);
    return simple(g, "GET", path, NULL);
}

static int run_jobs(struct given *g) {
    char path[PATH_BYTES];
    make_path(g, "/jobs?page_size=500", NULL, "", path);
    return table_list(g->client, path, JOB_TABLE);
}

static int run_cancel(struct given *g) {
    char path[PATH_BYTES];
    make_path(g, "/jobs/", g->words[1], ":cancel", path);
    return simple(g, "POST", path, NULL);
}

/* ---- edit ---- */

static int run_edit(struct given *g) {
    char path[PATH_BYTES], type[300], priority[64], tag[128];
    const char *headers[4];
    size_t n = 0;
    bool keep = g->word_count == 2;
    if (keep && g->type == NULL && g->priority == NULL) {
        fputs(
            "sluice: nothing to change: give a FILE ('-': standard input), --type or --priority\n",
            stderr);
        return 2;
    }
    struct buffer body;
    buffer_init(&body, BODY_MAX_BYTES);
    int error = keep ? 0 : client_read_body(g->words[2], &body);
    snprintf(type, sizeof type, "Content-Type:%s%s", g->type != NULL ? " " : "",
             g->type != NULL ? g->type : ""); /* without a value curl sends none: it stays */
    headers[n++] = type;
    if (g->priority != NULL) {
        snprintf(priority, sizeof priority, "Sluice-Priority: %s", g->priority);
        headers[n++] = priority;
    }
    if (g->tag != NULL) {
        snprintf(tag, sizeof tag, "If-Match: %s", g->tag);
        headers[n++] = tag;
    }
    headers[n] = NULL;
    struct client with = *g->client;
    with.headers = headers;
    make_path(g, "/messages/", g->words[1], keep ? "?body=keep" : "", path);
    json_t *answer = NULL;
    error = error != 0 ? error : client_call(&with, "PUT", path, buffer_span(&body), &answer);
    buffer_release(&body);
    return print(g, error, answer);
}

/* ---- many: a job, and waiting for it ---- */

static int64_t number_of(const json_t *job, const char *member) {
    return json_integer_value(json_object_get(job, member));
}

static void show_progress(const json_t *job, bool last) {
    if (!isatty(STDERR_FILENO) && !last) {
        return;
    }
    fprintf(stderr, "%s%s %s: %lld done, %lld failed, %lld of %lld looked at%s",
            isatty(STDERR_FILENO) ? "\r" : "", json_string_value(json_object_get(job, "id")),
            json_string_value(json_object_get(job, "status")), (long long)number_of(job, "done"),
            (long long)number_of(job, "failed"), (long long)number_of(job, "searched"),
            (long long)number_of(job, "total"), last ? "\n" : "");
}

/* It goes on when this ends. */
static int follow(const struct given *g, const char *id) {
    char path[PATH_BYTES];
    make_path(g, "/jobs/", id, "", path);
    for (;;) {
        json_t *job = NULL;
        if (client_call(g->client, "GET", path, span_of(NULL, 0), &job) != 0) {
            return 1;
        }
        const char *status = json_string_value(json_object_get(job, "status"));
        bool running = status != NULL && strcmp(status, "running") == 0;
        bool good = status != NULL && strcmp(status, "done") == 0;
        show_progress(job, !running);
        json_decref(job);
        if (!running) {
            return good ? 0 : 1;
        }
        usleep(POLL_US);
    }
}

static int start_job(struct given *g, const char *to) {
    char path[PATH_BYTES], *end = NULL;
    json_t *job = json_pack("{s:s,s:O}", "action", g->verb, "filter", g->filter), *answer = NULL;
    double rate = g->rate != NULL ? strtod(g->rate, &end) : 0;
    if (g->rate != NULL && (*g->rate == '\0' || *end != '\0')) {
        fprintf(stderr, "sluice: --rate: expected messages per second, such as 50 or 0.5\n");
        json_decref(job);
        return 2;
    }
    if (g->rate != NULL) {
        json_object_set_new(job, "perSecond", json_real(rate));
    }
    if (to != NULL) {
        json_object_set_new(job, "to", json_string(to));
    }
    if (g->why != NULL) {
        json_object_set_new(job, "reason", json_string(g->why));
    }
    make_path(g, "/jobs", NULL, "", path);
    if (call(g, "POST", path, job, &answer) != 0) {
        return 1;
    }
    char id[64];
    snprintf(id, sizeof id, "%s", json_string_value(json_object_get(answer, "id")));
    json_decref(answer);
    puts(id);
    fflush(stdout);
    return g->detach ? 0 : follow(g, id);
}

static int run_redrive(struct given *g) {
    char path[PATH_BYTES];
    if (g->word_count == 2) {
        make_path(g, "/messages/", g->words[1], ":redrive", path);
        return simple(g, "POST", path, NULL);
    }
    return start_job(g, NULL);
}

static int run_move(struct given *g) {
    char path[PATH_BYTES];
    if (g->word_count == 3) {
        make_path(g, "/messages/", g->words[2], ":move", path);
        return simple(g, "POST", path, json_pack("{s:s}", "to", g->words[1]));
    }
    return start_job(g, g->words[1]);
}

static int run_discard(struct given *g) {
    char path[PATH_BYTES];
    if (g->why == NULL || g->why[0] == '\0') {
        fprintf(stderr, "sluice: --why is needed: it stands in the audit\n");
        return 2;
    }
    if (g->word_count == 2) {
        make_path(g, "/messages/", g->words[1], "?reason=", path);
        client_path_add(path, PATH_BYTES, g->why);
        return simple(g, "DELETE", path, NULL);
    }
    return start_job(g, NULL);
}

/* ---- verbs ---- */

static const struct verb {
    const char *name, *arguments, *help;
    int least, most; /* words */
    int (*run)(struct given *g);
    bool many; /* takes a filter */
} verbs[] = {
    {"search", "NAME [which]", "find messages: by state, outcome, time, header, body", 1, 1,
     run_search, true},
    {"message", "NAME ID", "a message whole: body, headers, what was tried", 2, 2, run_message,
     false},
    {"edit", "NAME ID [FILE] [--type T] [--priority N] [--if-match TAG]",
     "give it another body ('-': standard input), type or priority", 2, 3, run_edit, false},
    {"redrive", "NAME [ID | which] [--rate N] [--detach]", "send dead letters again, N a second", 1,
     2, run_redrive, true},
    {"move", "NAME TO [ID | which] [--rate N] [--detach]", "to another queue", 2, 3, run_move,
     true},
    {"discard", "NAME [ID | which] --why TEXT [--rate N] [--detach]",
     "for good, with a reason for the audit", 1, 2, run_discard, true},
    {"jobs", "NAME", "redrives, moves and discards of many, and how far they are", 1, 1, run_jobs,
     false},
    {"cancel", "NAME JOB", "end a job; what it did stays done", 2, 2, run_cancel, false},
};

static const struct verb *find(const char *name) {
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

bool queue_tool_knows(const char *verb) {
    return find(verb) != NULL;
}

void queue_tool_help(FILE *out) {
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        char line[160];
        snprintf(line, sizeof line, "queue %s %s", verbs[i].name, verbs[i].arguments);
        help_line(out, line, verbs[i].help);
    }
    fputs(FILTER_HELP, out);
}

int queue_tool_run(struct client *c, int argc, char **argv) {
    const struct verb *v = find(argv[0]);
    struct given g = {.client = c, .verb = v->name, .filter = json_object()};
    bool good = read_given(&g, argc, argv) && g.word_count >= v->least && g.word_count <= v->most;
    bool one = g.word_count == v->most && v->most > v->least;
    if (good && json_object_size(g.filter) > 0 && (!v->many || one)) {
        fprintf(stderr, "sluice: a message that is named needs no filter\n");
        good = false;
    }
    int code = 2;
    if (good) {
        code = v->run(&g);
    } else {
        fprintf(stderr, "usage: sluice queue %s %s\n%s", v->name, v->arguments,
                v->many ? FILTER_HELP : "");
    }
    json_decref(g.filter);
    return code;
}
