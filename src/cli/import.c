/*
 * `sluice import rabbitmq`: definitions by the management API of both, messages queue by queue by AMQP.
 *
 * There is no state of its own: what is still to be moved is what still stands there (import_drain.h), so the same
 * command again goes on, whoever was killed.
 */
#include "cli/import.h"

#include <curl/curl.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/import_drain.h"

#define ANSWER_BYTES_MAX (256u << 20)
#define ITEMS_AT_A_TIME  500u
#define NAMES_MAX        1000u

struct options {
    struct link_options from, to;
    const char *management;  /* NULL: none */
    const char *definitions; /* a file; NULL: none */
    const char *queues[NAMES_MAX];
    size_t queue_count; /* 0: all */
    bool messages, ttl_from_timestamp;
};

struct row {
    char *vhost, *queue; /* own */
    uint64_t moved, again, unsure;
    int64_t left; /* -1: not known */
    char note[360];
};

struct import {
    const struct client *client;
    const struct options *options;
    json_t *definitions; /* owns */
    struct row *rows;    /* owns */
    size_t row_count;
    uint64_t refused; /* lines about definitions */
    bool vhost_given;
    char vhost[256];
};

static volatile bool stopped;

static void on_signal(int number) {
    (void)number;
    stopped = true;
}

static const char *text_of(const json_t *o, const char *key) {
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

/* ---- definitions: from there ---- */

static size_t keep(char *data, size_t size, size_t count, void *arg) {
    return buffer_append(arg, data, size * count) == 0 ? size * count : 0;
}

/* Name and password of the AMQP address, unless the management's has its own. */
static void set_login(CURL *curl, const struct options *o) {
    char *copy = strdup(o->from.uri);
    struct amqp_connection_info info;
    const char *at = strchr(o->management, '@');
    if (copy != NULL && at == NULL && amqp_parse_url(copy, &info) == AMQP_STATUS_OK) {
        curl_easy_setopt(curl, CURLOPT_USERNAME, info.user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, info.password);
    }
    free(copy);
}

static json_t *fetch(const struct options *o, const char *path) {
    char url[1024];
    long status = 0;
    struct buffer raw;
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return NULL;
    buffer_init(&raw, ANSWER_BYTES_MAX);
    size_t size = strlen(o->management);
    bool slash = size > 0 && o->management[size - 1] == '/';
    snprintf(url, sizeof url, "%s%s%s", o->management, slash ? "" : "/", path);
    set_login(curl, o);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &raw);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 120L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (o->from.ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, o->from.ca);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    json_t *answer = code == CURLE_OK && status == 200
                         ? json_loadb((const char *)raw.data, raw.size, 0, NULL)
                         : NULL;
    if (answer == NULL)
        fprintf(stderr, "sluice: %s: %s (status %ld)\n", o->management,
                code != CURLE_OK ? curl_easy_strerror(code) : "no definitions", status);
    curl_easy_cleanup(curl);
    buffer_release(&raw);
    return answer;
}

static json_t *read_definitions(const struct options *o) {
    json_error_t error;
    if (o->management != NULL)
        return fetch(o, "api/definitions");
    json_t *file = json_load_file(o->definitions, 0, &error);
    if (file == NULL)
        fprintf(stderr, "sluice: %s:%d: %s\n", o->definitions, error.line, error.text);
    return file;
}

/* ---- definitions: to here ---- */

/* "/queues/3" of a piece that began at 500 is "/queues/503". */
static void print_line(const json_t *line, size_t first) {
    const char *where = text_of(line, "where"), *slash = strrchr(where, '/');
    if (slash != NULL && slash != where)
        printf("  %.*s/%llu", (int)(slash - where), where,
               strtoull(slash + 1, NULL, 10) + (unsigned long long)first);
    else
        printf("  %s", where);
    printf(": %s: %s\n", text_of(line, "what"), text_of(line, "why"));
}

static int post_piece(struct import *i, const char *part, json_t *items, size_t first) {
    json_t *piece = json_pack("{s:o}", part, items), *answer = NULL, *line;
    char *text = piece != NULL ? json_dumps(piece, JSON_COMPACT) : NULL;
    json_decref(piece);
    if (text == NULL)
        return -1;
    int rc = client_call(i->client, "POST", "/api/definitions", span_text(text), &answer);
    free(text);
    size_t k;
    json_array_foreach(answer, k, line) {
        print_line(line, first);
        i->refused++;
    }
    json_decref(answer);
    return rc;
}

/* Small enough for the server's limit of a body, in the order in which they lean on each other. */
static int post_part(struct import *i, const char *part) {
    const json_t *all = json_object_get(i->definitions, part);
    json_t *items = json_array();
    size_t k, first = 0;
    json_t *item;
    int rc = 0;
    json_array_foreach(all, k, item) {
        if (rc == 0 && json_array_size(items) == ITEMS_AT_A_TIME) {
            rc = post_piece(i, part, items, first);
            items = json_array();
            first = k;
        }
        json_array_append(items, item);
    }
    if (rc == 0 && json_array_size(items) > 0)
        return post_piece(i, part, items, first);
    json_decref(items);
    return rc;
}

static int post_definitions(struct import *i) {
    static const char *const parts[] = {"vhosts",      "users",
                                        "permissions", "topic_permissions",
                                        "parameters",  "global_parameters",
                                        "policies",    "exchanges",
                                        "queues",      "bindings"};
    printf("definitions (what could not be honoured):\n");
    int rc = 0;
    for (size_t k = 0; rc == 0 && k < ARRAY_LENGTH(parts); k++)
        rc = post_part(i, parts[k]);
    if (rc == 0 && i->refused == 0)
        printf("  nothing: all is here\n");
    return rc;
}

/* ---- which queues ---- */

static bool is_wanted(const struct import *i, const char *vhost, const char *queue) {
    if (i->vhost_given && strcmp(vhost, i->vhost) != 0)
        return false;
    bool named = i->options->queue_count == 0;
    for (size_t k = 0; k < i->options->queue_count; k++)
        named = named || strcmp(i->options->queues[k], queue) == 0;
    return named;
}

static void add_row(struct import *i, const char *vhost, const char *queue) {
    struct row *grown = realloc(i->rows, (i->row_count + 1) * sizeof *grown);
    if (grown == NULL)
        abort();
    i->rows = grown;
    grown[i->row_count++] =
        (struct row){.vhost = strdup(vhost), .queue = strdup(queue), .left = -1};
}

static int by_vhost(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    int order = strcmp(x->vhost, y->vhost);
    return order != 0 ? order : strcmp(x->queue, y->queue);
}

static int list_queues(struct import *i) {
    const struct options *o = i->options;
    json_t *live = o->management != NULL ? fetch(o, "api/queues") : NULL, *item;
    const json_t *all = live != NULL ? live : json_object_get(i->definitions, "queues");
    size_t k;
    if (o->management != NULL && live == NULL)
        return -1;
    json_array_foreach(all, k, item) {
        if (is_wanted(i, text_of(item, "vhost"), text_of(item, "name")))
            add_row(i, text_of(item, "vhost"), text_of(item, "name"));
        if (json_is_true(json_object_get(item, "exclusive")) && i->row_count > 0)
            snprintf(i->rows[i->row_count - 1].note, sizeof i->rows->note,
                     "not moved: exclusive to a connection");
    }
    json_decref(live);
    for (size_t n = 0; i->definitions == NULL && n < o->queue_count; n++)
        add_row(i, i->vhost_given ? i->vhost : "/", o->queues[n]);
    if (i->row_count > 0)
        qsort(i->rows, i->row_count, sizeof *i->rows, by_vhost);
    return 0;
}

/* ---- messages ---- */

static void show_progress(const struct drain *d) {
    static time_t last;
    time_t now = time(NULL);
    if (now == last)
        return;
    last = now;
    fprintf(stderr, "%s: %llu moved\n", d->queue, (unsigned long long)d->moved);
}

/* Whatever comes of it, both are the caller's to close. */
static int open_both(struct import *i, const char *vhost, struct link *from, struct link *to) {
    struct link_options there = i->options->from, here = i->options->to;
    there.vhost = here.vhost = vhost;
    if (link_open(from, &there) != 0) {
        fprintf(stderr, "sluice: %s\n", from->error);
        return -1;
    }
    if (link_open(to, &here) != 0 || link_confirms(to) != 0) {
        fprintf(stderr, "sluice: %s: %s\n", here.uri, to->error);
        return -1;
    }
    return 0;
}

/* A connection for each queue: closing it gives back what was taken and not moved. */
static void move_queue(struct import *i, struct row *row) {
    struct link from = {.connection = NULL}, to = {.connection = NULL};
    if (open_both(i, row->vhost, &from, &to) != 0) {
        snprintf(row->note, sizeof row->note, "not moved: %s",
                 from.error[0] != '\0' ? from.error : to.error);
        link_close(&to);
        link_close(&from);
        return;
    }
    struct drain d = {.from = &from,
                      .to = &to,
                      .queue = row->queue,
                      .ttl_from_timestamp = i->options->ttl_from_timestamp,
                      .stop = &stopped,
                      .progress = show_progress};
    int rc = drain_queue(&d);
    row->moved = d.moved;
    row->again = d.again;
    row->unsure = d.unsure;
    if (rc != 0)
        snprintf(row->note, sizeof row->note, "stopped: %s",
                 to.error[0] != '\0' ? to.error : from.error);
    else if (!from.exclusive)
        snprintf(row->note, sizeof row->note, "others consume from it: their order is theirs");
    bool alive = from.error[0] == '\0';
    link_close(&to);
    link_close(&from);
    struct link_options there = i->options->from;
    there.vhost = row->vhost;
    if (alive && link_open(&from, &there) == 0)
        row->left = link_count(&from, row->queue);
    link_close(&from);
}

static int print_table(const struct import *i) {
    uint64_t moved = 0, unsure = 0;
    bool complete = true;
    printf("\n%-12s %-32s %10s %10s %10s %10s\n", "VHOST", "QUEUE", "MOVED", "AGAIN", "UNSURE",
           "LEFT");
    for (size_t k = 0; k < i->row_count; k++) {
        const struct row *r = &i->rows[k];
        char left[24] = "?";
        if (r->left >= 0)
            snprintf(left, sizeof left, "%lld", (long long)r->left);
        printf("%-12s %-32s %10llu %10llu %10llu %10s %s\n", r->vhost, r->queue,
               (unsigned long long)r->moved, (unsigned long long)r->again,
               (unsigned long long)r->unsure, left, r->note);
        moved += r->moved;
        unsure += r->unsure;
        complete = complete && r->left == 0;
    }
    printf("%zu queues, %llu messages moved\n", i->row_count, (unsigned long long)moved);
    if (unsure > 0)
        printf("%llu of them were handed out before and have no message-id: those that an earlier "
               "import had\n"
               "moved already are here twice\n",
               (unsigned long long)unsure);
    if (!complete)
        printf("not all is here: run the same command again\n");
    return complete ? 0 : 1;
}

static int move_messages(struct import *i) {
    for (size_t k = 0; k < i->row_count && !stopped; k++) {
        if (i->rows[k].note[0] == '\0')
            move_queue(i, &i->rows[k]);
    }
    return print_table(i);
}

/* ---- the command ---- */

void import_usage(FILE *out) {
    fprintf(
        out,
        "usage: sluice [--url URL] [--token TOKEN] import rabbitmq "
        "amqp://user:password@host:port[/vhost]\n"
        "  --management URL      its management API: definitions, and which queues there are\n"
        "  --definitions FILE    a definitions file instead\n"
        "  --queue NAME          only this one, several times if need be\n"
        "  --to AMQP-URL         this server (amqp://guest:guest@127.0.0.1:5672); the user must be "
        "administrator\n"
        "  --no-messages         definitions only\n"
        "  --ttl-from-timestamp  a message's expiration counts from its timestamp, not from now\n"
        "  --ca FILE  --certificate FILE  --key FILE   for amqps\n");
}

enum {
    OPTION_MANAGEMENT = 256,
    OPTION_DEFINITIONS,
    OPTION_QUEUE,
    OPTION_TO,
    OPTION_NO_MESSAGES,
    OPTION_TIMESTAMP,
    OPTION_CA,
    OPTION_CERTIFICATE,
    OPTION_KEY
};

static bool take_option(struct options *o, int option) {
    switch (option) {
    case OPTION_MANAGEMENT:
        o->management = optarg;
        return true;
    case OPTION_DEFINITIONS:
        o->definitions = optarg;
        return true;
    case OPTION_QUEUE:
        o->queues[o->queue_count] = optarg;
        return ++o->queue_count < NAMES_MAX;
    case OPTION_TO:
        o->to.uri = optarg;
        return true;
    case OPTION_NO_MESSAGES:
        o->messages = false;
        return true;
    case OPTION_TIMESTAMP:
        o->ttl_from_timestamp = true;
        return true;
    case OPTION_CA:
        o->from.ca = o->to.ca = optarg;
        return true;
    case OPTION_CERTIFICATE:
        o->from.certificate = optarg;
        return true;
    case OPTION_KEY:
        o->from.key = optarg;
        return true;
    default:
        return false;
    }
}

static bool read_options(struct options *o, int argc, char **argv) {
    static const struct option known[] = {
        {"management", required_argument, NULL, OPTION_MANAGEMENT},
        {"definitions", required_argument, NULL, OPTION_DEFINITIONS},
        {"queue", required_argument, NULL, OPTION_QUEUE},
        {"to", required_argument, NULL, OPTION_TO},
        {"no-messages", no_argument, NULL, OPTION_NO_MESSAGES},
        {"ttl-from-timestamp", no_argument, NULL, OPTION_TIMESTAMP},
        {"ca", required_argument, NULL, OPTION_CA},
        {"certificate", required_argument, NULL, OPTION_CERTIFICATE},
        {"key", required_argument, NULL, OPTION_KEY},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (!take_option(o, option))
            return false;
    }
    if (argc - optind != 2 || strcmp(argv[optind], "rabbitmq") != 0)
        return false;
    o->from.uri = argv[optind + 1];
    bool known_queues = o->management != NULL || o->definitions != NULL || o->queue_count > 0;
    bool amqp = strncmp(o->from.uri, "amqp://", 7) == 0 || strncmp(o->from.uri, "amqps://", 8) == 0;
    if (!amqp)
        fprintf(stderr, "sluice: %s: expected amqp:// or amqps://\n", o->from.uri);
    else if (!known_queues)
        fprintf(stderr,
                "sluice: which queues? --management or --definitions tells all, --queue one\n");
    return amqp && known_queues;
}

static void import_release(struct import *i) {
    for (size_t k = 0; k < i->row_count; k++) {
        free(i->rows[k].vhost);
        free(i->rows[k].queue);
    }
    free(i->rows);
    json_decref(i->definitions);
}

int import_main(const struct client *c, int argc, char **argv) {
    struct options options = {.messages = true, .to.uri = "amqp://guest:guest@127.0.0.1:5672"};
    if (!read_options(&options, argc, argv)) {
        import_usage(stderr);
        return 2;
    }
    struct import i = {.client = c, .options = &options};
    i.vhost_given = link_vhost(options.from.uri, i.vhost, sizeof i.vhost);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    int rc = 0;
    if (options.management != NULL || options.definitions != NULL) {
        i.definitions = read_definitions(&options);
        rc = i.definitions == NULL ? 1 : post_definitions(&i) != 0;
    }
    if (rc == 0 && options.messages)
        rc = list_queues(&i) != 0 ? 1 : move_messages(&i);
    import_release(&i);
    return rc;
}
