/*
 * sluice-demo-crowd - the people: they click when they like (open loop), whatever the server does.
 *
 * A click is due at its moment of the plan, then waits for a free connection, is asked, and answered
 * once for good:
 *
 *   plan --due--> ready --a connection is free--> asked --answer--> one line in the ledger
 *                   ^                               |
 *                   +--- again, RETRY_MS later <----+   connection lost, or busy (429, 5xx)
 *
 * Nobody who lost an answer knows whether the entry counted, so the click is sent again as it was. When
 * the first one did count, the second is told "already claimed" and shows the first receipt.
 *
 * Latecomers trickle in by a share of those who remain, so that they never run out before the end;
 * SIGUSR1 (everything is sent) lets the rest come at once. Latency is counted from the moment a click
 * was due, so a server that stalls does not hide the people whom it kept waiting.
 *
 * Ledger, one line a click:
 *   click <tab> member <tab> answer <tab> status <tab> type <tab> receipt <tab> number <tab>
 *   due_us <tab> answered_us <tab> tries            (times from the opening)
 * Standard output: one JSON object each 200 ms, and {"event":"milestone",...} at --milestone wins.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "answer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/histogram.h"
#include "caller.h"
#include "plan.h"

#define RETRY_MS        300u
#define TIMEOUT_MS      10000u
#define STATS_MS        200u
#define LATE_SECONDS    15 /* the trickle: 1/15 of those who remain, each second */
#define LATE_MIN_RATE   4.0
#define LATE_END_RATE   8000.0 /* after SIGUSR1 */
#define REQUEST_MAX     640u
#define CONNECTIONS_MAX 10000u

struct options {
    const char *host, *campaign, *ledger;
    uint16_t port;
    uint32_t connections, milestone;
    uint64_t opens_at_ms; /* since the epoch */
    struct plan_options plan;
};

/* Clicks in a circle; each click is in at most one circle, so `count` places are enough. */
struct ring {
    uint32_t *clicks; /* owns */
    uint32_t size, first, count;
};

struct progress {
    uint32_t tries;
    int32_t again_ms;
};

struct crowd {
    struct options options;
    struct plan plan;
    uv_loop_t loop;
    uv_timer_t tick, stats_timer;
    uv_signal_t on_finish, on_interrupt, on_terminate;
    struct sockaddr_in address;
    struct caller_events events;
    struct caller *callers; /* owns */
    uint32_t *idle;         /* owns; stack of callers' indexes */
    bool *parked;           /* owns; per caller: stands in `idle` */
    uint32_t idle_count;
    struct progress *progress; /* owns; per click */
    struct ring ready, again;
    uint32_t next_due, next_late;
    double late_allowance;
    uint64_t late_ns;  /* when the allowance was last raised */
    uint64_t opens_ns; /* monotonic */
    bool *has_won;     /* owns; per member */
    FILE *ledger;      /* owns */
    struct histogram latency;
    uint64_t requests, answered, wins, lost, answers[ANSWER_KINDS];
    bool finishing, stopped;
};

/* ---- time and rings ---- */

static int64_t since_opening_us(const struct crowd *c) {
    return ((int64_t)clock_monotonic_ns() - (int64_t)c->opens_ns) / 1000;
}

static int ring_init(struct ring *r, uint32_t size) {
    *r = (struct ring){.clicks = calloc(size, sizeof(uint32_t)), .size = size};
    return r->clicks == NULL ? E_NOMEM : 0;
}

static void ring_put(struct ring *r, uint32_t click) {
    r->clicks[(r->first + r->count++) % r->size] = click;
}

static uint32_t ring_take(struct ring *r) {
    uint32_t click = r->clicks[r->first];
    r->first = (r->first + 1) % r->size;
    r->count--;
    return click;
}

/* ---- asking ---- */

static size_t request_format(const struct crowd *c, uint32_t click, char out[REQUEST_MAX]) {
    char body[128];
    int body_size = snprintf(body, sizeof(body), "{\"member\":\"m%06u\",\"answer\":\"%c\"}",
                             c->plan.clicks[click].member, 'A' + (int)(click % 4));
    int size = snprintf(out, REQUEST_MAX,
                        "POST /v1/campaigns/%s/entries HTTP/1.1\r\nHost: %s:%u\r\n"
                        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                        c->options.campaign, c->options.host, c->options.port, body_size, body);
    return (size_t)size;
}

static void ask(struct crowd *c, struct caller *caller, uint32_t click) {
    char request[REQUEST_MAX];
    c->progress[click].tries++;
    c->requests++;
    caller_ask(caller, click, span_of(request, request_format(c, click, request)));
}

/* A parked caller may have lost its connection: it comes back by itself through on_ready. */
static struct caller *idle_take(struct crowd *c) {
    while (c->idle_count > 0) {
        uint32_t index = c->idle[--c->idle_count];
        c->parked[index] = false;
        if (c->callers[index].state == CALLER_IDLE)
            return &c->callers[index];
    }
    return NULL;
}

static void serve_ready(struct crowd *c) {
    while (c->ready.count > 0) {
        struct caller *caller = idle_take(c);
        if (caller == NULL)
            return;
        ask(c, caller, ring_take(&c->ready));
    }
}

static void on_ready(void *context, struct caller *caller) {
    struct crowd *c = context;
    uint32_t index = (uint32_t)(caller - c->callers);
    if (c->ready.count > 0) {
        ask(c, caller, ring_take(&c->ready));
    } else if (!c->parked[index]) {
        c->parked[index] = true;
        c->idle[c->idle_count++] = index;
    }
}

/* ---- answers ---- */

static void ask_again(struct crowd *c, uint32_t click) {
    c->progress[click].again_ms = (int32_t)(since_opening_us(c) / 1000 + RETRY_MS);
    ring_put(&c->again, click);
}

static void ledger_line(struct crowd *c, uint32_t click, const struct answer *a, int64_t now_us) {
    fprintf(c->ledger, "%u\tm%06u\t%s\t%d\t%s\t%s\t%lld\t%" PRId64 "\t%" PRId64 "\t%u\n", click,
            c->plan.clicks[click].member, answer_name(a->kind), a->status, a->type, a->receipt,
            a->number, (int64_t)c->plan.clicks[click].due_ms * 1000, now_us,
            c->progress[click].tries);
}

static void note_win(struct crowd *c, uint32_t member) {
    if (c->has_won[member])
        return;
    c->has_won[member] = true;
    c->wins++;
    if (c->wins == c->options.milestone) {
        printf("{\"event\":\"milestone\",\"wins\":%" PRIu64 "}\n", c->wins);
        fflush(stdout);
    }
}

static void on_answered(void *context, struct caller *caller, uint32_t click, int status,
                        struct span body) {
    struct crowd *c = context;
    struct answer a;
    int64_t now_us = since_opening_us(c);
    (void)caller;
    answer_read(status, body, &a);
    c->answers[a.kind]++;
    if (answer_ask_again(a.kind)) {
        ask_again(c, click);
        return;
    }
    c->answered++;
    int64_t waited_us = now_us - (int64_t)c->plan.clicks[click].due_ms * 1000;
    histogram_add(&c->latency, waited_us < 0 ? 0 : (uint64_t)waited_us * 1000);
    if (a.kind == ANSWER_WON || a.kind == ANSWER_CLAIMED)
        note_win(c, c->plan.clicks[click].member);
    ledger_line(c, click, &a, now_us);
}

static void on_lost(void *context, struct caller *caller, uint32_t click) {
    struct crowd *c = context;
    (void)caller;
    c->lost++;
    ask_again(c, click);
}

/* ---- the passing of time ---- */

static void trickle(struct crowd *c, int64_t now_ms) {
    uint64_t now_ns = clock_monotonic_ns();
    double passed_s = (double)(now_ns - c->late_ns) / 1e9;
    double remaining = c->plan.count - c->next_late;
    double rate =
        remaining / LATE_SECONDS < LATE_MIN_RATE ? LATE_MIN_RATE : remaining / LATE_SECONDS;
    c->late_ns = now_ns;
    if (now_ms < (int64_t)c->options.plan.burst_ms)
        return;
    c->late_allowance += passed_s * (c->finishing ? LATE_END_RATE : rate);
    while (c->late_allowance >= 1 && c->next_late < c->plan.count) {
        c->late_allowance -= 1;
        c->plan.clicks[c->next_late].due_ms = (int32_t)now_ms;
        ring_put(&c->ready, c->next_late++);
    }
}

static void on_stop(uv_signal_t *signal, int number);

static void on_tick(uv_timer_t *timer) {
    struct crowd *c = timer->data;
    int64_t now_ms = since_opening_us(c) / 1000;
    while (c->next_due < c->plan.late_first && c->plan.clicks[c->next_due].due_ms <= now_ms)
        ring_put(&c->ready, c->next_due++);
    while (c->again.count > 0 && c->progress[c->again.clicks[c->again.first]].again_ms <= now_ms)
        ring_put(&c->ready, ring_take(&c->again));
    trickle(c, now_ms);
    serve_ready(c);
    if (c->answered == c->plan.count)
        on_stop(&c->on_terminate, 0);
}

static void stats_print(struct crowd *c) {
    uint32_t connected = 0;
    for (uint32_t i = 0; i < c->options.connections; i++)
        connected += c->callers[i].state == CALLER_IDLE || c->callers[i].state == CALLER_ASKING;
    printf("{\"time\":%.3f,\"clicks\":%u,\"answered\":%" PRIu64 ",\"requests\":%" PRIu64
           ",\"wins\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"ready\":%u,\"connected\":%u",
           (double)since_opening_us(c) / 1e6, c->plan.count, c->answered, c->requests, c->wins,
           c->lost, c->ready.count + c->again.count, connected);
    for (uint32_t i = 0; i < ANSWER_KINDS; i++)
        printf(",\"%s\":%" PRIu64, answer_name(i), c->answers[i]);
    printf(",\"p50ms\":%.2f,\"p99ms\":%.2f,\"done\":%s}\n",
           (double)histogram_quantile_ns(&c->latency, 0.5) / 1e6,
           (double)histogram_quantile_ns(&c->latency, 0.99) / 1e6,
           c->answered == c->plan.count ? "true" : "false");
    fflush(stdout);
}

static void on_stats(uv_timer_t *timer) {
    struct crowd *c = timer->data;
    for (uint32_t i = 0; i < c->options.connections; i++)
        caller_check(&c->callers[i], TIMEOUT_MS);
    stats_print(c);
}

static void on_finish(uv_signal_t *signal, int number) {
    struct crowd *c = signal->data;
    (void)number;
    c->finishing = true;
}

static void on_stop(uv_signal_t *signal, int number) {
    struct crowd *c = signal->data;
    (void)number;
    if (c->stopped)
        return;
    c->stopped = true;
    stats_print(c);
    for (uint32_t i = 0; i < c->options.connections; i++)
        caller_stop(&c->callers[i]);
    uv_close((uv_handle_t *)&c->tick, NULL);
    uv_close((uv_handle_t *)&c->stats_timer, NULL);
    uv_close((uv_handle_t *)&c->on_finish, NULL);
    uv_close((uv_handle_t *)&c->on_interrupt, NULL);
    uv_close((uv_handle_t *)&c->on_terminate, NULL);
}

/* ---- the program ---- */

static int crowd_allocate(struct crowd *c) {
    const struct options *o = &c->options;
    int rc = plan_create(&o->plan, &c->plan);
    if (rc == 0)
        rc = ring_init(&c->ready, c->plan.count);
    if (rc == 0)
        rc = ring_init(&c->again, c->plan.count);
    if (rc != 0)
        return rc;
    c->callers = calloc(o->connections, sizeof(*c->callers));
    c->idle = calloc(o->connections, sizeof(*c->idle));
    c->parked = calloc(o->connections, sizeof(*c->parked));
    c->progress = calloc(c->plan.count, sizeof(*c->progress));
    c->has_won = calloc(o->plan.members, sizeof(*c->has_won));
    if (!c->callers || !c->idle || !c->parked || !c->progress || !c->has_won)
        return E_NOMEM;
    c->next_late = c->plan.late_first;
    histogram_init(&c->latency);
    c->ledger = fopen(o->ledger, "w");
    return c->ledger == NULL ? E_IO : 0;
}

static void crowd_watch(struct crowd *c) {
    uv_timer_init(&c->loop, &c->tick);
    uv_timer_init(&c->loop, &c->stats_timer);
    uv_signal_init(&c->loop, &c->on_finish);
    uv_signal_init(&c->loop, &c->on_interrupt);
    uv_signal_init(&c->loop, &c->on_terminate);
    c->tick.data = c->stats_timer.data = c;
    c->on_finish.data = c->on_interrupt.data = c->on_terminate.data = c;
    uv_timer_start(&c->tick, on_tick, 1, 1);
    uv_timer_start(&c->stats_timer, on_stats, STATS_MS, STATS_MS);
    uv_signal_start(&c->on_finish, on_finish, SIGUSR1);
    uv_signal_start(&c->on_interrupt, on_stop, SIGINT);
    uv_signal_start(&c->on_terminate, on_stop, SIGTERM);
}

static int crowd_start(struct crowd *c) {
    const struct options *o = &c->options;
    if (uv_ip4_addr(o->host, o->port, &c->address) != 0)
        return E_INVALID;
    if (uv_loop_init(&c->loop) != 0)
        return E_NOMEM;
    int64_t to_opening_ns = (int64_t)(o->opens_at_ms * NS_PER_MS) - (int64_t)clock_real_ns();
    c->late_ns = clock_monotonic_ns();
    c->opens_ns = c->late_ns + (uint64_t)to_opening_ns;
    c->events = (struct caller_events){c, on_ready, on_answered, on_lost};
    for (uint32_t i = 0; i < o->connections; i++)
        caller_init(&c->callers[i], &c->loop, &c->address, &c->events, o->plan.seed + i);
    crowd_watch(c);
    return 0;
}

static int crowd_close(struct crowd *c) {
    int status = fclose(c->ledger) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (status != EXIT_SUCCESS)
        fprintf(stderr, "crowd: ledger: %s\n", strerror(errno));
    for (uint32_t i = 0; i < c->options.connections; i++)
        caller_release(&c->callers[i]);
    free(c->callers);
    free(c->idle);
    free(c->parked);
    free(c->progress);
    free(c->has_won);
    free(c->ready.clicks);
    free(c->again.clicks);
    plan_release(&c->plan);
    return status;
}

static const struct option LONG_OPTIONS[] = {
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"campaign", required_argument, NULL, 'g'},
    {"ledger", required_argument, NULL, 'l'},
    {"connections", required_argument, NULL, 'c'},
    {"entries", required_argument, NULL, 'e'},
    {"members", required_argument, NULL, 'm'},
    {"burst-ms", required_argument, NULL, 'b'},
    {"early-ms", required_argument, NULL, 'y'},
    {"opens-at-ms", required_argument, NULL, 'o'},
    {"milestone", required_argument, NULL, 'w'},
    {"seed", required_argument, NULL, 's'},
    {NULL, 0, NULL, 0},
};

static void usage(void) {
    fputs("usage: sluice-demo-crowd --opens-at-ms EPOCH_MS --ledger FILE\n"
          "  --host 127.0.0.1 --port 8080 --campaign giveaway\n"
          "  --entries 200000 --members 120000 --connections 300\n"
          "  --early-ms 3000     early birds come this long before the opening\n"
          "  --burst-ms 9000     how long the burst lasts\n"
          "  --milestone N       says so when N members have won\n"
          "  --seed 1\n"
          "SIGUSR1: everything is sent, the last latecomers may come.\n",
          stderr);
}

static uint32_t number(const char *text) {
    return (uint32_t)strtoul(text, NULL, 10);
}

static bool options_parse(int argc, char **argv, struct options *o) {
    int c;
    *o = (struct options){
        .host = "127.0.0.1",
        .port = 8080,
        .campaign = "giveaway",
        .connections = 300,
        .plan = {
            .entries = 200000, .members = 120000, .early_ms = 3000, .burst_ms = 9000, .seed = 1}};
    while ((c = getopt_long(argc, argv, "", LONG_OPTIONS, NULL)) != -1) {
        switch (c) {
        case 'h':
            o->host = optarg;
            break;
        case 'p':
            o->port = (uint16_t)number(optarg);
            break;
        case 'g':
            o->campaign = optarg;
            break;
        case 'l':
            o->ledger = optarg;
            break;
        case 'c':
            o->connections = number(optarg);
            break;
        case 'e':
            o->plan.entries = number(optarg);
            break;
        case 'm':
            o->plan.members = number(optarg);
            break;
        case 'b':
            o->plan.burst_ms = number(optarg);
            break;
        case 'y':
            o->plan.early_ms = number(optarg);
            break;
        case 'o':
            o->opens_at_ms = strtoull(optarg, NULL, 10);
            break;
        case 'w':
            o->milestone = number(optarg);
            break;
        case 's':
            o->plan.seed = number(optarg);
            break;
        default:
            return false;
        }
    }
    return optind == argc && o->ledger != NULL && o->opens_at_ms > 0 && o->connections > 0 &&
           o->connections <= CONNECTIONS_MAX && strlen(o->campaign) <= 128;
}

int main(int argc, char **argv) {
    static struct crowd crowd;
    struct crowd *c = &crowd;
    if (!options_parse(argc, argv, &c->options)) {
        usage();
        return EXIT_FAILURE;
    }
    int rc = crowd_allocate(c);
    if (rc == 0)
        rc = crowd_start(c);
    if (rc != 0) {
        fprintf(stderr, "crowd: %s\n", error_text(rc));
        return EXIT_FAILURE;
    }
    uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_loop_close(&c->loop);
    return crowd_close(c);
}
