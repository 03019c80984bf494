/*
 * sluice-demo-provider - the voucher service of somebody else, as it behaves in real life.
 *
 *   POST /vouchers        Idempotency-Key: ...  {"member": "m000017", ...}
 *   GET  /stats           what it saw, as JSON
 *   POST /flush           writes the record out
 *
 * Rules, in this order:
 *   1. more than `limit` requests let in within the last second: 429 and Retry-After;
 *   2. a share of requests, drawn from a seeded generator, meets a bad moment: 503;
 *   3. a share of keys, chosen by their hash and so for good, is refused: 422;
 *   4. a key that was fulfilled before: 200 again, counted as a repeat, no second effect;
 *   5. else the voucher is issued: 200.
 * The effect happens on arrival, the answer leaves about `latency` later. Who goes away in between
 * does not learn of it, and must ask again under the same key.
 *
 * Every request is counted in the sliding second when its last byte is there, whatever its answer,
 * and stands in the record file as one line:
 *
 *   time_ns <tab> key <tab> attempt <tab> status <tab> member
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "fates.h"
#include "httpd.h"
#include "window.h"

#define HISTORY_STEP_NS (100 * NS_PER_MS)
#define HISTORY_STEPS   600u /* a minute */
#define HISTORY_SHOWN   100u
#define MEMBER_MAX      128u

struct options {
    const char *host;
    const char *record;
    uint16_t port;
    uint32_t limit, latency_ms, jitter_ms;
    double fail_share, refuse_share;
    uint64_t seed;
};

struct history {
    uint32_t seen[HISTORY_STEPS];
    uint64_t step; /* the one now counted, since the clock's zero */
};

struct provider {
    struct options options;
    uv_loop_t loop;
    uv_signal_t on_interrupt, on_terminate;
    uv_timer_t flush_timer;
    struct httpd *httpd; /* owns */
    struct fates *fates; /* owns */
    FILE *record;        /* owns; NULL: none */
    struct rng rng;
    struct window seen;     /* every request */
    struct window admitted; /* those that were not answered 429 */
    struct history history;
    uint64_t start_real_ns, start_ns;
    uint64_t requests, ok, fulfilled, limited, failed, refused, repeats, bad;
};

/* ---- what it saw ---- */

static void history_turn(struct history *h, uint64_t now_ns) {
    uint64_t step = now_ns / HISTORY_STEP_NS;
    if (step - h->step >= HISTORY_STEPS)
        *h = (struct history){.step = step};
    while (h->step < step) {
        h->step++;
        h->seen[h->step % HISTORY_STEPS] = 0;
    }
}

static void record_line(struct provider *p, uint64_t now_ns, const struct httpd_request *r,
                        int status, const char *member) {
    if (p->record == NULL)
        return;
    fprintf(p->record, "%" PRIu64 "\t%.*s\t%.*s\t%d\t%s\n",
            p->start_real_ns + (now_ns - p->start_ns), SPAN_ARG(r->key), SPAN_ARG(r->attempt),
            status, member);
}

/* Text of the body's "member", cleaned for the record; "" when there is none. */
static void member_of(struct span body, char out[MEMBER_MAX]) {
    json_t *json = json_loadb((const char *)body.data, body.size, 0, NULL);
    const char *member = json_string_value(json_object_get(json, "member"));
    snprintf(out, MEMBER_MAX, "%s", member == NULL ? "" : member);
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            *c = '?';
    json_decref(json);
}

/* ---- the rules ---- */

static double draw(struct provider *p) {
    return (double)(rng_next(&p->rng) >> 11) * 0x1p-53;
}

static int fulfil(struct provider *p, struct fate *fate) {
    p->ok++;
    if (fate->fulfilled) {
        p->repeats++;
        return 200;
    }
    fate->fulfilled = true;
    p->fulfilled++;
    return 200;
}

static int judge(struct provider *p, const struct httpd_request *r, uint64_t now_ns) {
    struct fate *fate;
    if (window_count(&p->admitted, now_ns) >= p->options.limit) {
        p->limited++;
        return 429;
    }
    if (window_add(&p->admitted, now_ns) != 0 || draw(p) < p->options.fail_share ||
        fates_get(p->fates, r->key, &fate) != 0) {
        p->failed++;
        return 503;
    }
    fate->requests++;
    if (fate_refused(r->key, p->options.refuse_share)) {
        p->refused++;
        return 422;
    }
    return fulfil(p, fate);
}

static const char *explain(int status) {
    switch (status) {
    case 200:
        return "{\"status\":\"issued\"}";
    case 422:
        return "{\"error\":\"this number cannot receive vouchers\"}";
    case 429:
        return "{\"error\":\"too many requests\"}";
    case 503:
        return "{\"error\":\"try again\"}";
    default:
        return "{\"error\":\"Idempotency-Key and a JSON body are needed\"}";
    }
}

static uint32_t latency(struct provider *p) {
    uint32_t spread = p->options.jitter_ms * 2 + 1;
    int64_t ms = (int64_t)p->options.latency_ms - p->options.jitter_ms;
    ms += (int64_t)rng_below(&p->rng, spread);
    return ms < 0 ? 0 : (uint32_t)ms;
}

static void voucher_request(struct provider *p, const struct httpd_request *r,
                            struct httpd_answer *answer) {
    uint64_t now_ns = clock_monotonic_ns();
    char member[MEMBER_MAX];
    p->requests++;
    history_turn(&p->history, now_ns);
    p->history.seen[p->history.step % HISTORY_STEPS]++;
    int counted = window_add(&p->seen, now_ns);
    if (counted != 0)
        fprintf(stderr, "provider: request not counted: %s\n", error_text(counted));
    member_of(r->body, member);
    if (r->key.size == 0 || r->body.size == 0) {
        p->bad++;
        answer->status = 400;
    } else {
        answer->status = judge(p, r, now_ns);
    }
    if (answer->status == 429)
        answer->retry_after_s = 1;
    answer->delay_ms = answer->status == 429 ? 0 : latency(p);
    record_line(p, now_ns, r, answer->status, member);
    if (buffer_append_text(answer->body, explain(answer->status)) != 0)
        answer->status = 500;
}

/* ---- GET /stats ---- */

static int stats_history(struct provider *p, struct buffer *out) {
    int rc = buffer_append_text(out, "[");
    /* The step under way is left out: it is not whole yet. */
    for (uint32_t i = HISTORY_SHOWN; i > 0 && rc == 0; i--) {
        uint64_t step = p->history.step - i;
        rc = buffer_printf(out, "%u%s", p->history.seen[step % HISTORY_STEPS], i > 1 ? "," : "]");
    }
    return rc;
}

static int stats_write(struct provider *p, struct buffer *out) {
    uint64_t now_ns = clock_monotonic_ns();
    history_turn(&p->history, now_ns);
    int rc = buffer_printf(
        out,
        "{\"seen\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"fulfilled\":%" PRIu64 ",\"429\":%" PRIu64
        ",\"503\":%" PRIu64 ",\"422\":%" PRIu64 ",\"400\":%" PRIu64 ",\"repeats\":%" PRIu64
        ",\"limit\":%u,\"maxInAnySecond\":%u,\"rate\":%u,\"history\":",
        p->requests, p->ok, p->fulfilled, p->limited, p->failed, p->refused, p->bad, p->repeats,
        p->options.limit, p->seen.most, window_count(&p->seen, now_ns));
    if (rc == 0)
        rc = stats_history(p, out);
    return rc == 0 ? buffer_append_text(out, "}\n") : rc;
}

static void provider_handle(void *context, const struct httpd_request *r,
                            struct httpd_answer *answer) {
    struct provider *p = context;
    bool post = strcmp(r->method, "POST") == 0;
    if (post && span_is(r->path, "/vouchers")) {
        voucher_request(p, r, answer);
    } else if (post && span_is(r->path, "/flush")) {
        answer->status = p->record == NULL || fflush(p->record) == 0 ? 200 : 500;
    } else if (strcmp(r->method, "GET") == 0 && span_is(r->path, "/stats")) {
        answer->status = stats_write(p, answer->body) == 0 ? 200 : 500;
    } else {
        answer->status = 404;
    }
}

/* ---- the program ---- */

static void on_signal(uv_signal_t *signal, int number) {
    struct provider *p = signal->data;
    (void)number;
    httpd_stop(p->httpd);
    uv_close((uv_handle_t *)&p->on_interrupt, NULL);
    uv_close((uv_handle_t *)&p->on_terminate, NULL);
    uv_close((uv_handle_t *)&p->flush_timer, NULL);
}

static void on_flush(uv_timer_t *timer) {
    struct provider *p = timer->data;
    if (p->record != NULL && fflush(p->record) != 0)
        fprintf(stderr, "provider: record file: %s\n", strerror(errno));
}

static int provider_open(struct provider *p) {
    const struct options *o = &p->options;
    rng_init(&p->rng, o->seed);
    p->start_ns = clock_monotonic_ns();
    p->start_real_ns = clock_real_ns();
    p->history.step = p->start_ns / HISTORY_STEP_NS;
    int rc = window_init(&p->seen, NS_PER_SECOND);
    if (rc == 0)
        rc = window_init(&p->admitted, NS_PER_SECOND);
    if (rc == 0)
        rc = fates_create(&p->fates);
    if (rc == 0 && o->record != NULL) {
        p->record = fopen(o->record, "w");
        rc = p->record == NULL ? E_IO : 0;
    }
    return rc;
}

static int provider_listen(struct provider *p) {
    if (uv_loop_init(&p->loop) != 0)
        return E_NOMEM;
    int rc = httpd_start(&p->loop, p->options.host, p->options.port, provider_handle, p, &p->httpd);
    if (rc != 0)
        return rc;
    uv_signal_init(&p->loop, &p->on_interrupt);
    uv_signal_init(&p->loop, &p->on_terminate);
    uv_timer_init(&p->loop, &p->flush_timer);
    p->on_interrupt.data = p->on_terminate.data = p->flush_timer.data = p;
    uv_signal_start(&p->on_interrupt, on_signal, SIGINT);
    uv_signal_start(&p->on_terminate, on_signal, SIGTERM);
    uv_timer_start(&p->flush_timer, on_flush, 1000, 1000);
    return 0;
}

static int provider_close(struct provider *p) {
    httpd_free(p->httpd);
    fates_free(p->fates);
    window_release(&p->seen);
    window_release(&p->admitted);
    if (p->record != NULL && fclose(p->record) != 0) {
        fprintf(stderr, "provider: record file: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static const struct option LONG_OPTIONS[] = {
    {"host", required_argument, NULL, 'h'},      {"port", required_argument, NULL, 'p'},
    {"limit", required_argument, NULL, 'l'},     {"latency-ms", required_argument, NULL, 'm'},
    {"jitter-ms", required_argument, NULL, 'j'}, {"fail", required_argument, NULL, 'f'},
    {"refuse", required_argument, NULL, 'r'},    {"seed", required_argument, NULL, 's'},
    {"record", required_argument, NULL, 'o'},    {NULL, 0, NULL, 0},
};

static void usage(void) {
    fputs("usage: sluice-demo-provider [--host 127.0.0.1] [--port 8090] [--record FILE]\n"
          "  --limit N       requests let in within any second (500)\n"
          "  --latency-ms N  time to an answer (20), --jitter-ms N more or less (5)\n"
          "  --fail X        share of requests answered 503 (0.01)\n"
          "  --refuse X      share of keys answered 422, for good (0.001)\n"
          "  --seed N        of what is drawn (1)\n",
          stderr);
}

static bool options_parse(int argc, char **argv, struct options *o) {
    int c;
    *o = (struct options){.host = "127.0.0.1",
                          .port = 8090,
                          .limit = 500,
                          .latency_ms = 20,
                          .jitter_ms = 5,
                          .fail_share = 0.01,
                          .refuse_share = 0.001,
                          .seed = 1};
    while ((c = getopt_long(argc, argv, "", LONG_OPTIONS, NULL)) != -1) {
        switch (c) {
        case 'h':
            o->host = optarg;
            break;
        case 'p':
            o->port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            o->limit = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            o->latency_ms = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'j':
            o->jitter_ms = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            o->fail_share = strtod(optarg, NULL);
            break;
        case 'r':
            o->refuse_share = strtod(optarg, NULL);
            break;
        case 's':
            o->seed = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            o->record = optarg;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv) {
    static struct provider provider;
    struct provider *p = &provider;
    if (!options_parse(argc, argv, &p->options)) {
        usage();
        return EXIT_FAILURE;
    }
    int rc = provider_open(p);
    if (rc == 0)
        rc = provider_listen(p);
    if (rc != 0) {
        fprintf(stderr, "provider: %s:%u: %s\n", p->options.host, p->options.port, error_text(rc));
        return EXIT_FAILURE;
    }
    uv_run(&p->loop, UV_RUN_DEFAULT);
    uv_loop_close(&p->loop);
    return provider_close(p);
}
