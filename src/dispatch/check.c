#include "dispatch/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/guard.h"
#include "dispatch/internal.h"
#include "model/destination.h"

#define LOOK_NS              NS_PER_SECOND
#define TICK_MS              50u
#define DEFINITIONS_MAX      (64u << 20)
#define CHECK_RESPONSE_BYTES (64u << 10)

enum verdict { VERDICT_NONE = 0, VERDICT_UP, VERDICT_DOWN };

/* Of one endpoint. */
struct check {
    enum handle_kind kind; /* first: see internal.h */
    struct list_node node;
    struct checks *all; /* borrows */
    CURL *easy;         /* owns */
    uint32_t destination, endpoint;
    struct check_def def; /* owns its texts */
    struct guard guard;
    struct header_list headers;
    struct header_list none;
    uint64_t due_ns; /* monotonic */
    uint64_t received_bytes;
    struct lookup_name name;
    struct lookup lookup;
    bool running;
    uint32_t good, bad; /* in a row */
    enum verdict told;
};

/* ---- what curl calls ---- */

static size_t on_response_bytes(char *bytes, size_t one, size_t size, void *context) {
    struct check *c = context;
    c->received_bytes += size;
    return c->received_bytes <= CHECK_RESPONSE_BYTES ? size : 0;
}

/* ---- one check ---- */

static void check_free(struct check *c) {
    if (c->easy != NULL) {
        curl_easy_cleanup(c->easy);
    }
    header_list_release(&c->headers);
    header_list_release(&c->none);
    free(c->def.path);
    free(c->def.statuses);
    free(c);
}

/* Scheme and authority of the endpoint, and the path of the check. */
static int set_url(struct check *c, const char *endpoint_url) {
    const char *host = strstr(endpoint_url, "://") + 3;
    size_t size = (size_t)(host - endpoint_url) + strcspn(host, "/?#");
    struct buffer url;
    buffer_init(&url, 8u << 10);
    int rc = buffer_printf(&url, "%.*s%s", (int)size, endpoint_url, c->def.path);
    rc = rc != 0 ? rc : buffer_put_u8(&url, 0);
    if (rc == 0 && curl_easy_setopt(c->easy, CURLOPT_URL, (const char *)url.data) != CURLE_OK) {
        rc = E_NOMEM;
    }
    buffer_release(&url);
    return rc;
}

static int set_handle(struct check *c, const struct destination_def *def, const char *user_agent) {
    CURL *h = c->easy;
    CURLcode rc = curl_easy_setopt(h, CURLOPT_PRIVATE, c);
    rc = rc != CURLE_OK ? rc : guard_set(h, &c->guard);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_response_bytes);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    rc = rc != CURLE_OK ? rc : lookup_set(h, &c->lookup);
    rc = rc != CURLE_OK ? rc : call_set_safety(h, def);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_USERAGENT, user_agent);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
    rc = rc != CURLE_OK
             ? rc
             : curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)(c->def.timeout_ns / NS_PER_MS + 1));
    rc = rc != CURLE_OK
             ? rc
             : curl_easy_setopt(h, CURLOPT_HTTPHEADER, header_list_curl(&c->headers, &c->none));
    return rc == CURLE_OK ? 0 : E_NOMEM;
}

static struct check *check_create(struct checks *all, uint32_t destination,
                                  const struct destination_def *def,
                                  const struct endpoint_def *endpoint) {
    struct check *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    header_list_init(&c->headers);
    header_list_init(&c->none);
    header_list_add_lines(&c->headers, span_text(def->headers), NULL);
    c->kind = HANDLE_CHECK;
    c->all = all;
    c->destination = destination;
    c->endpoint = endpoint_id(span_text(endpoint_def_name(endpoint)));
    c->guard.allow_private = def->allow_private;
    c->lookup = (struct lookup){.all = &all->owner->lookups, .name = &c->name};
    c->def = def->check;
    c->def.path = strdup(def->check.path);
    c->def.statuses = strdup(def->check.statuses);
    c->easy = curl_easy_init();
    if (c->def.path == NULL || c->def.statuses == NULL || c->easy == NULL ||
        c->headers.failed != 0 || set_url(c, endpoint->url) != 0 ||
        set_handle(c, def, all->owner->user_agent) != 0) {
        check_free(c);
        return NULL;
    }
    return c;
}

/* The engine answers at once but for a flush, and verdicts change seldom: nothing else is held up for long. */
static bool tell(const struct check *c, bool up) {
    struct request r;
    request_init(&r, REQUEST_ENDPOINT_CHECKED);
    r.in.checked =
        (struct endpoint_checked){.destination = c->destination, .endpoint = c->endpoint, .up = up};
    int rc = engine_call(c->all->owner->engine, &r);
    bool told = rc == 0 && r.refusal == REFUSAL_NONE;
    request_release(&r);
    return told;
}

static void judge(struct check *c, bool well) {
    c->good = well ? c->good + 1 : 0;
    c->bad = well ? 0 : c->bad + 1;
    enum verdict verdict = c->good >= c->def.rise  ? VERDICT_UP
                           : c->bad >= c->def.fall ? VERDICT_DOWN
                                                   : VERDICT_NONE;
    if (verdict != VERDICT_NONE && verdict != c->told && tell(c, verdict == VERDICT_UP)) {
        c->told = verdict;
    }
}

void check_done(struct check *c, CURLcode result) {
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    bool whole = result == CURLE_OK || (result == CURLE_WRITE_ERROR && status != 0);
    c->running = false;
    lookup_done(&c->lookup, c->easy, result);
    judge(c, whole && status_list_has(c->def.statuses, (unsigned)status));
}

static void start_due(struct checks *all, uint64_t now_ns) {
    bool any = false;
    for (struct list_node *n = list_first(&all->all); n != NULL; n = list_next(&all->all, n)) {
        struct check *c = CONTAINER_OF(n, struct check, node);
        if (c->running || c->due_ns > now_ns) {
            continue;
        }
        c->due_ns = now_ns + c->def.interval_ns;
        c->received_bytes = 0;
        c->running = transport_add(&all->owner->transport, c->easy) == 0;
        any |= c->running;
    }
    if (any) {
        transport_kick(&all->owner->transport);
    }
}

/* ---- what there is to check ---- */

static void end_one(struct checks *all, struct check *c) {
    if (c->running) {
        transport_remove(&all->owner->transport, c->easy);
    }
    list_remove(&c->node);
    check_free(c);
}

static void end_all(struct checks *all, struct list *list) {
    struct list_node *n;
    while ((n = list_first(list)) != NULL) {
        end_one(all, CONTAINER_OF(n, struct check, node));
    }
}

/* What an earlier check of the same endpoint knew: a new definition of something else must not begin it anew. */
static void go_on_from(struct check *c, const struct list *old) {
    for (struct list_node *n = list_first(old); n != NULL; n = list_next(old, n)) {
        const struct check *o = CONTAINER_OF(n, struct check, node);
        if (o->destination == c->destination && o->endpoint == c->endpoint) {
            c->good = o->good;
            c->bad = o->bad;
            c->due_ns = o->due_ns < c->due_ns ? o->due_ns : c->due_ns;
        }
    }
}

/* New ones begin spread over their interval, so that they do not all ask at once for ever. */
static void add_destination(struct checks *all, const struct list *old, uint32_t destination,
                            const struct destination_def *def) {
    uint64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < def->endpoints.count; i++) {
        struct check *c = check_create(all, destination, def, &def->endpoints.items[i]);
        if (c != NULL) {
            c->due_ns = now_ns + c->def.interval_ns * i / def->endpoints.count;
            go_on_from(c, old);
            list_append(&all->all, &c->node);
        }
    }
}

static void look(struct checks *all) {
    struct buffer found;
    buffer_init(&found, DEFINITIONS_MAX);
    if (engine_checked_destinations(all->owner->engine, &all->version, &found)) {
        struct list old, *list = &all->all;
        list_init(&old);
        for (struct list_node *n; (n = list_pop(list)) != NULL;) {
            list_append(&old, n);
        }
        struct reader r;
        reader_init(&r, buffer_span(&found));
        while (r.left > 0 && !r.failed) {
            uint32_t index = reader_u32(&r);
            struct reader one;
            struct destination_def def;
            reader_init(&one, reader_bytes(&r));
            if (!r.failed && destination_def_decode(&one, &def) == 0) {
                add_destination(all, &old, index, &def);
                destination_def_release(&def);
            }
        }
        end_all(all, &old);
    }
    buffer_release(&found);
}

static void on_tick(uv_timer_t *tick) {
    struct checks *all = tick->data;
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns >= all->next_look_ns) {
        all->next_look_ns = now_ns + LOOK_NS;
        look(all);
    }
    start_due(all, now_ns);
    bool any = list_first(&all->all) != NULL;
    uv_timer_start(&all->tick, on_tick, any ? TICK_MS : LOOK_NS / NS_PER_MS, 0);
}

void checks_init(struct checks *c, struct dispatch *owner) {
    *c = (struct checks){.owner = owner};
    list_init(&c->all);
    uv_timer_init(&owner->loop, &c->tick);
    c->tick.data = c;
}

void checks_start(struct checks *c) {
    uv_timer_start(&c->tick, on_tick, 0, 0);
}

void checks_stop(struct checks *c) {
    end_all(c, &c->all);
    uv_close((uv_handle_t *)&c->tick, NULL);
}
