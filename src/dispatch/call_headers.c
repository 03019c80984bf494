/*
 * The headers of an attempt. The same message has the same Idempotency-Key in every attempt; the span id
 * of traceparent is another one each time, since each attempt is a span of its own under the message's.
 */
#include "dispatch/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

#define KEY_BYTES           40u /* receipt, '-', 16 hex digits */
#define TRACEPARENT_BYTES   55u /* 00-<32>-<16>-<2> */
#define TRACEPARENT_SPAN_AT 36u

static bool is_lower_hex(const uint8_t *s, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f'))) {
            return false;
        }
    }
    return true;
}

static bool is_traceparent(struct span s) {
    const uint8_t *p = s.data;
    return s.size == TRACEPARENT_BYTES && memcmp(p, "00-", 3) == 0 && is_lower_hex(p + 3, 32) &&
           p[35] == '-' && is_lower_hex(p + 36, 16) && p[52] == '-' && is_lower_hex(p + 53, 2);
}

static void add_trace(struct call *c) {
    const struct envelope *e = &c->stored.envelope;
    if (!is_traceparent(e->traceparent)) {
        return;
    }
    char text[TRACEPARENT_BYTES + 1];
    char span[17];
    uint64_t id = rng_next(&c->owner->random);
    snprintf(span, sizeof span, "%016" PRIx64, id != 0 ? id : 1); /* all zeros means none */
    memcpy(text, e->traceparent.data, TRACEPARENT_BYTES);
    memcpy(text + TRACEPARENT_SPAN_AT, span, 16);
    text[TRACEPARENT_BYTES] = '\0';
    header_list_add_text(&c->headers, "traceparent", text);
    if (e->tracestate.size > 0) {
        header_list_add(&c->headers, "tracestate", e->tracestate);
    }
}

/* 2030-01-02T03:04:05.678Z */
static void add_time(struct header_list *l, const char *name, uint64_t ns) {
    time_t seconds = (time_t)(ns / NS_PER_SECOND);
    struct tm tm;
    char day[32], text[48];
    if (gmtime_r(&seconds, &tm) == NULL) {
        return;
    }
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof text, "%s.%03uZ", day, (unsigned)(ns % NS_PER_SECOND / NS_PER_MS));
    header_list_add_text(l, name, text);
}

void call_headers(struct call *c) {
    struct header_list *l = &c->headers;
    const struct envelope *e = &c->stored.envelope;
    char id[18], key[KEY_BYTES], attempt[12];
    header_list_clear(l);
    receipt_format(c->start.message, id);
    /* Receipts count from 1 in each data folder; whoever is called must not take one for another's. */
    snprintf(key, sizeof key, "%s-%016" PRIx64, id, engine_folder_id(c->owner->engine));
    snprintf(attempt, sizeof attempt, "%" PRIu32, c->start.attempt);
    header_list_suppress(l, "Expect"); /* no round trip of 100-continue before a large body */
    if (e->content_type.size > 0) {
        header_list_add(l, "Content-Type", e->content_type);
    } else {
        header_list_suppress(l, "Content-Type"); /* curl would call it a form */
    }
    header_list_add_text(l, "Idempotency-Key", key);
    header_list_add_text(l, "Sluice-Queue", c->start.queue);
    header_list_add_text(l, "Sluice-Message", id);
    header_list_add_text(l, "Sluice-Attempt", attempt);
    uint64_t wanted_ns =
        c->stored.schedule_ns; /* what the publisher asked for, else when it came */
    add_time(l, "Sluice-Scheduled-For", wanted_ns != 0 ? wanted_ns : c->start.scheduled_ns);
    if (e->correlation_id.size > 0) {
        header_list_add(l, "X-Correlation-Id", e->correlation_id);
    }
    add_trace(c);
    header_list_add_lines(l, e->headers, &c->target->headers);
}
