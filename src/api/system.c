/*
 * What is about the server itself: health, metrics, problems as texts, the console, the no-op.
 */
#include <stdio.h>

#include "api/assets.h"
#include "api/events.h"
#include "api/gather.h"
#include "api/info.h"
#include "api/routes.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void system_noop(struct call *c) {
    call_text(c, 200, "application/json", span_text("{}"));
}

void system_health(struct call *c) {
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_text(&out, "status", "alive");
    info_text(&out, "version", c->loop->api->options.version);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

/* ---- ready ---- */

static void send_ready(struct call *c, const char *reason) {
    struct json_out out = call_json_begin(c);
    if (reason != NULL) {
        call_header(c, "Retry-After", span_text("1"));
    }
    out_open(&out, '{');
    info_bool(&out, "ready", reason == NULL);
    out_key(&out, "reasons");
    out_open(&out, '[');
    if (reason != NULL) {
        out_text(&out, reason);
    }
    out_close(&out, ']');
    info_text(&out, "version", c->loop->api->options.version);
    out_close(&out, '}');
    call_json_end(c, reason == NULL ? 200 : 503, &out);
}

static void readiness_known(struct call *c) {
    enum refusal refusal = c->request.r.refusal;
    send_ready(c, refusal == REFUSAL_NONE ? NULL : refusal_name(refusal));
}

/* Asks the engine for nothing: the answer says that it decides and that the log flushes. */
void system_ready(struct call *c) {
    struct api *api = c->loop->api;
    if (atomic_load(&api->stopping)) {
        send_ready(c, "stopping");
    } else if (engine_room(api->options.engine) != LOG_ROOM_OK) {
        send_ready(c, "disk-full");
    } else if (engine_is_short_of_memory(api->options.engine)) {
        send_ready(c, "memory-short");
    } else {
        c->request.r.kind = REQUEST_NOTHING;
        call_submit(c, readiness_known);
    }
}

/* ---- metrics ---- */

static void metrics_gathered(struct gather *g, void *arg) {
    struct call *c = arg;
    struct buffer *text = &c->loop->text;
    buffer_clear(text);
    if (metrics_write(g, text) != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    call_text(c, 200, METRICS_TYPE, buffer_span(text));
}

void system_metrics(struct call *c) {
    http_hold_line(c->x);
    if (gather_start(c->loop, metrics_gathered, c) != 0) {
        call_problem(c, PROBLEM_BUSY, NULL);
    }
}

void system_events(struct call *c) {
    events_subscribe(c->loop->events, c);
}

/* ---- texts and files ---- */

void system_openapi(struct call *c) {
    call_header(c, "Cache-Control", span_text("no-cache"));
    call_text(c, 200, "application/json", buffer_span(&c->loop->api->openapi));
}

void system_problem(struct call *c) {
    enum problem kind = problem_find(call_capture(c, 0));
    if (kind == PROBLEM_COUNT) {
        call_problem(c, PROBLEM_NOT_FOUND, NULL);
        return;
    }
    char text[1024];
    const struct problem_type *t = &problem_types[kind];
    int size = snprintf(text, sizeof text, "%s (HTTP status %d)\n\n%s.\n\nWhat to do next: %s\n",
                        t->name, t->status, t->title, t->next);
    call_text(c, 200, "text/plain; charset=utf-8", span_of(text, (size_t)size));
}

static void send_asset(struct call *c, struct span name) {
    const struct asset *a = asset_find(name);
    if (a == NULL) {
        call_problem(c, PROBLEM_NOT_FOUND, NULL);
        return;
    }
    call_header(c, "ETag", span_text(a->tag));
    call_header(c, "Cache-Control", span_text("no-cache"));
    call_header(c, "X-Content-Type-Options", span_text("nosniff"));
    call_header(c, "Content-Security-Policy",
                span_text("default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' "
                          "data:; frame-ancestors 'none'"));
    if (span_is(http_header_find(c->x, "If-None-Match"), a->tag)) {
        call_empty(c, 304);
        return;
    }
    call_text(c, 200, a->content_type, span_of(a->data, a->size));
}

void system_console(struct call *c) {
    send_asset(c, span_text("index.html"));
}

void system_asset(struct call *c) {
    send_asset(c, call_capture(c, 0));
}
