/*
 * One thread, one libcurl multi handle, two transfers:
 *
 *   events    GET {url}/v1/events, without end; when it ends, again after RECONNECT_MS
 *   provider  GET {provider}/stats, again PROVIDER_MS after it has ended
 *
 * The terminal is switched to its second screen and to reading single keys, both undone in
 * terminal_leave on every way out that a program can take. Signals only set a flag.
 */
#include "cli/top.h"

#include <curl/curl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/top_events.h"
#include "cli/top_figures.h"
#include "cli/top_view.h"

#define RECONNECT_MS  200u
#define PROVIDER_MS   300u
#define DRAW_MS       200u
#define LINE_MS       1000u
#define SILENCE_S     5L /* a stream that says nothing for so long is broken */
#define URL_MAX       1024u
#define ANSWER_MAX    (1u << 20)
#define SCREEN_MAX    (1u << 20)
#define NOTE_TAIL_MAX 2048

struct transfer {
    CURL *curl; /* owns */
    bool running;
    uint64_t next_ns; /* when to start, while not running */
};

struct top {
    const struct top_options *options;
    struct top_figures figures;
    struct top_screen screen;
    struct top_events events;
    CURLM *multi;               /* owns */
    struct curl_slist *headers; /* owns */
    struct transfer stream, provider;
    struct buffer answer; /* of the provider */
    struct buffer out;
    bool terminal;
    const char *refused; /* by the server, for good: why; NULL: not */
    struct termios before;
    uint64_t drawn_ns;
};

static volatile sig_atomic_t ended;

static void on_signal(int number) {
    (void)number;
    ended = 1;
}

/* ---- terminal ---- */

static void write_all(const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        ssize_t written = write(STDOUT_FILENO, at, size);
        if (written <= 0)
            return;
        at += written;
        size -= (size_t)written;
    }
}

static bool terminal_enter(struct top *t) {
    static const char enter[] = "\x1b[?1049h\x1b[?25l\x1b[2J";
    if (tcgetattr(STDIN_FILENO, &t->before) != 0)
        return false;
    struct termios raw = t->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0)
        return false;
    write_all(enter, sizeof(enter) - 1);
    return true;
}

static void terminal_leave(struct top *t) {
    static const char leave[] = "\x1b[0m\x1b[?25h\x1b[?1049l";
    if (!t->terminal)
        return;
    write_all(leave, sizeof(leave) - 1);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

static void terminal_size(struct top *t) {
    struct winsize size;
    t->screen.columns = 80;
    t->screen.rows = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        t->screen.columns = size.ws_col;
        t->screen.rows = size.ws_row;
    }
}

static void read_keys(void) {
    char key;
    while (read(STDIN_FILENO, &key, 1) == 1)
        if (key == 'q' || key == 'Q')
            ended = 1;
}

/* ---- notes ---- */

/* The last lines of the file, oldest first; a file that is not there is no note. */
static void notes_read(struct top *t) {
    char text[NOTE_TAIL_MAX + 1];
    FILE *file = t->options->note_file == NULL ? NULL : fopen(t->options->note_file, "r");
    if (file == NULL)
        return;
    if (fseek(file, -NOTE_TAIL_MAX, SEEK_END) != 0)
        rewind(file);
    size_t size = fread(text, 1, NOTE_TAIL_MAX, file);
    fclose(file);
    text[size] = '\0';
    memset(t->screen.notes, 0, sizeof(t->screen.notes));
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line == '\0')
            continue;
        memmove(t->screen.notes[0], t->screen.notes[1], (TOP_NOTES_MAX - 1) * TOP_NOTE_MAX);
        snprintf(t->screen.notes[TOP_NOTES_MAX - 1], TOP_NOTE_MAX, "%s", line);
    }
}

/* ---- transfers ---- */

static void on_event(void *context, const char *name, struct span data) {
    struct top *t = context;
    if (strcmp(name, "counters") != 0)
        return;
    json_t *json = json_loadb((const char *)data.data, data.size, 0, NULL);
    if (json_is_object(json))
        top_figures_add(&t->figures, json, clock_monotonic_ns());
    json_decref(json);
}

static size_t on_stream_bytes(char *data, size_t one, size_t size, void *context) {
    struct top *t = context;
    top_events_feed(&t->events, span_of(data, one * size));
    return one * size;
}

static size_t on_provider_bytes(char *data, size_t one, size_t size, void *context) {
    struct top *t = context;
    return buffer_append(&t->answer, data, one * size) == 0 ? one * size : 0;
}

static void provider_read(struct top *t) {
    json_t *json = json_loadb((const char *)t->answer.data, t->answer.size, 0, NULL);
    if (json_is_object(json))
        top_figures_provider(&t->figures, json);
    json_decref(json);
}

static int transfer_init(struct top *t, struct transfer *transfer, const char *base,
                         const char *path, curl_write_callback on_bytes) {
    char url[URL_MAX];
    size_t size = strlen(base);
    while (size > 0 && base[size - 1] == '/')
        size--;
    snprintf(url, sizeof(url), "%.*s%s", (int)size, base, path);
    transfer->curl = curl_easy_init();
    if (transfer->curl == NULL)
        return E_NOMEM;
    curl_easy_setopt(transfer->curl, CURLOPT_URL, url);
    curl_easy_setopt(transfer->curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(transfer->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(transfer->curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(transfer->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(transfer->curl, CURLOPT_CONNECTTIMEOUT, SILENCE_S);
    curl_easy_setopt(transfer->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(transfer->curl, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
    return 0;
}

static void transfer_start_when_due(struct top *t, struct transfer *transfer, uint64_t now_ns) {
    if (transfer->curl == NULL || transfer->running || now_ns < transfer->next_ns)
        return;
    if (transfer == &t->stream)
        top_events_clear(&t->events);
    else
        buffer_clear(&t->answer);
    transfer->running = curl_multi_add_handle(t->multi, transfer->curl) == CURLM_OK;
    transfer->next_ns = now_ns + RECONNECT_MS * NS_PER_MS;
}

/* Trying again does not help against these. */
static const char *refusal_of(const CURLMsg *message) {
    long status = 0;
    if (message->data.result == CURLE_HTTP_RETURNED_ERROR)
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
    switch (status) {
    case 401:
        return "a token is needed that the server knows: SLUICE_TOKEN, or --token";
    case 403:
        return "this token may not look: it needs the scope read, and no resources";
    case 404:
        return "there is something else";
    default:
        return NULL;
    }
}

static void transfer_ended(struct top *t, const CURLMsg *message) {
    bool is_stream = message->easy_handle == t->stream.curl;
    struct transfer *transfer = is_stream ? &t->stream : &t->provider;
    if (is_stream) {
        t->figures.connected = false;
        t->figures.lost = true;
        t->refused = refusal_of(message);
    } else if (message->data.result == CURLE_OK) {
        provider_read(t);
    }
    curl_multi_remove_handle(t->multi, transfer->curl);
    transfer->running = false;
    transfer->next_ns = clock_monotonic_ns() + (is_stream ? RECONNECT_MS : PROVIDER_MS) * NS_PER_MS;
}

static void transfers_turn(struct top *t) {
    int running, left;
    uint64_t now_ns = clock_monotonic_ns();
    transfer_start_when_due(t, &t->stream, now_ns);
    transfer_start_when_due(t, &t->provider, now_ns);
    (void)curl_multi_perform(t->multi, &running);
    for (CURLMsg *message; (message = curl_multi_info_read(t->multi, &left)) != NULL;)
        if (message->msg == CURLMSG_DONE)
            transfer_ended(t, message);
}

/* ---- the loop ---- */

static int draw(struct top *t) {
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns - t->drawn_ns < (t->terminal ? DRAW_MS : LINE_MS) * NS_PER_MS)
        return 0;
    t->drawn_ns = now_ns;
    buffer_clear(&t->out);
    int rc;
    if (t->terminal) {
        terminal_size(t);
        notes_read(t);
        rc = top_view_draw(&t->figures, &t->screen, &t->out);
    } else {
        rc = top_view_line(&t->figures, &t->out);
    }
    if (rc == 0)
        write_all(t->out.data, t->out.size);
    return rc;
}

static int top_loop(struct top *t) {
    struct curl_waitfd keys = {.fd = STDIN_FILENO, .events = CURL_WAIT_POLLIN};
    int rc = 0;
    while (!ended && rc == 0 && t->refused == NULL) {
        transfers_turn(t);
        rc = t->refused == NULL ? draw(t) : E_DENIED;
        (void)curl_multi_poll(t->multi, &keys, t->terminal ? 1 : 0, 50, NULL);
        if (t->terminal)
            read_keys();
    }
    return rc;
}

static int top_open(struct top *t) {
    char authorization[URL_MAX];
    top_figures_init(&t->figures, t->options->campaign);
    top_events_init(&t->events, on_event, t);
    buffer_init(&t->answer, ANSWER_MAX);
    buffer_init(&t->out, SCREEN_MAX);
    t->screen.url = t->options->url;
    t->screen.colour = getenv("NO_COLOR") == NULL;
    t->multi = curl_multi_init();
    if (t->multi == NULL)
        return E_NOMEM;
    int rc = transfer_init(t, &t->stream, t->options->url, "/v1/events", on_stream_bytes);
    if (rc == 0 && t->options->provider != NULL)
        rc = transfer_init(t, &t->provider, t->options->provider, "/stats", on_provider_bytes);
    if (rc == 0 && t->options->ca != NULL)
        curl_easy_setopt(t->stream.curl, CURLOPT_CAINFO, t->options->ca);
    if (rc == 0 && t->options->token != NULL) {
        snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s",
                 t->options->token);
        t->headers = curl_slist_append(NULL, authorization);
        curl_easy_setopt(t->stream.curl, CURLOPT_HTTPHEADER, t->headers);
    }
    return rc;
}

static void transfer_close(struct top *t, struct transfer *transfer) {
    if (transfer->running)
        curl_multi_remove_handle(t->multi, transfer->curl);
    curl_easy_cleanup(transfer->curl);
}

static void top_close(struct top *t) {
    transfer_close(t, &t->stream);
    transfer_close(t, &t->provider);
    curl_multi_cleanup(t->multi);
    curl_slist_free_all(t->headers);
    top_events_release(&t->events);
    buffer_release(&t->answer);
    buffer_release(&t->out);
}

int top_run(const struct top_options *options) {
    static struct top t; /* large: histories */
    t = (struct top){.options = options};
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    int rc = top_open(&t);
    if (rc == 0) {
        bool wanted = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
        t.terminal = wanted && terminal_enter(&t);
        rc = top_loop(&t);
        terminal_leave(&t);
    }
    top_close(&t);
    if (t.refused != NULL)
        fprintf(stderr, "sluice top: %s: %s\n", options->url, t.refused);
    else if (rc != 0)
        fprintf(stderr, "sluice top: %s\n", error_text(rc));
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- command line ---- */

static const struct option LONG_OPTIONS[] = {
    {"url", required_argument, NULL, 'u'},
    {"token", required_argument, NULL, 't'},
    {"ca", required_argument, NULL, 'a'},
    {"campaign", required_argument, NULL, 'c'},
    {"provider", required_argument, NULL, 'p'},
    {"note", required_argument, NULL, 'n'},
    {NULL, 0, NULL, 0},
};

void top_usage(FILE *out) {
    fputs("usage: sluice top [--url URL] [--token TOKEN] [--ca FILE] [--campaign NAME]\n"
          "                  [--provider URL] [--note FILE]\n"
          "  --campaign NAME   the one to show, not the first\n"
          "  --provider URL    counters of the demo's provider beside ours\n"
          "  --note FILE       the lines of this file are shown below, as they come\n",
          out);
}

int top_main(int argc, char **argv, const struct top_options *defaults) {
    struct top_options o = *defaults;
    int c;
    optind = 0; /* from the start: main has read its own options */
    while ((c = getopt_long(argc, argv, "", LONG_OPTIONS, NULL)) != -1) {
        switch (c) {
        case 'u':
            o.url = optarg;
            break;
        case 't':
            o.token = optarg;
            break;
        case 'a':
            o.ca = optarg;
            break;
        case 'c':
            o.campaign = optarg;
            break;
        case 'p':
            o.provider = optarg;
            break;
        case 'n':
            o.note_file = optarg;
            break;
        default:
            top_usage(stderr);
            return 2;
        }
    }
    return top_run(&o);
}
