/*
 * The headers of an attempt. The same message has the same Idempotency-Key in every attempt; the span id
 * of traceparent is another one each time, since each attempt is a span of its own under the message's.
 */
#include "dispatch/internal.h"
#include "model/destination.h"

#include <stdio.h>

#include "base/clock.h"

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
    char span[18];
    uint64_t id = rng_next(&c->owner->random);
    receipt_format(id != 0 ? id : 1, span); /* all zeros means none; digits as a receipt has them */
    memcpy(text, e->traceparent.data, TRACEPARENT_BYTES);
    memcpy(text + TRACEPARENT_SPAN_AT, span + 1, 16);
    text[TRACEPARENT_BYTES] = '\0';
    header_list_add_text(&c->headers, "traceparent", text);
    if (e->tracestate.size > 0) {
        header_list_add(&c->headers, "tracestate", e->tracestate);
    }
}

void call_time(uint64_t ns, char out[TIME_TEXT_BYTES]) {
    (void)time_format(ns - ns % NS_PER_MS, out);
}

/* Where the far side may tell what became of it, without a token of ours. */
static void add_callback(struct call *c, const char *id) {
    const char *secret = c->target->def.confirm.secret;
    char path[40 + 18 + CONFIRM_SIGNATURE_BYTES], signature[CONFIRM_SIGNATURE_BYTES + 1];
    if (secret[0] == '\0') {
        return;
    }
    confirm_sign(secret, c->start.message, signature);
    snprintf(path, sizeof path, "/v1/receipts/%s/confirmation/%s", id, signature);
    header_list_add_text(&c->headers, "Sluice-Confirmation", path);
}

/* Its messages have nothing in common that a header could say. */
static void batch_headers(struct call *c) {
    struct header_list *l = &c->headers;
    header_list_suppress(l, "Expect");
    header_list_add_text(l, "Content-Type",
                         c->target->def.batch.format == BATCH_NDJSON ? "application/x-ndjson"
                                                                     : "application/json");
    header_list_add_text(l, "Idempotency-Key", c->key);
    header_list_add_text(l, "Sluice-Queue", c->start.queue);
}

/* Receipts count from 1 in each data folder; whoever is called must not take one for another's. */
static void set_key(struct call *c, const char id[18]) {
    char folder[18];
    receipt_format(engine_folder_id(c->owner->engine), folder);
    folder[0] = '-';
    size_t size = (size_t)(stpcpy(stpcpy(c->key, id), folder) - c->key);
    if (c->stored.version > 0) {
        /* What a receiver remembers of the one before is no answer to this. */
        snprintf(c->key + size, sizeof c->key - size, "-%u", c->stored.version);
    }
}

void call_own_headers(struct call *c, bool structured) {
    if (c->batch != NULL) {
        batch_headers(c);
        return;
    }
    struct header_list *l = &c->headers;
    const struct envelope *e = &c->stored.envelope;
    char id[18], scheduled[TIME_TEXT_BYTES], attempt[20];
    receipt_format(c->start.message, id);
    set_key(c, id);
    struct span number = span_of(attempt, u64_format(c->start.attempt, attempt));
    header_list_suppress(l, "Expect"); /* no round trip of 100-continue before a large body */
    if (structured) {
        header_list_add_text(l, "Content-Type", "application/cloudevents+json; charset=utf-8");
    } else if (e->content_type.size > 0) {
        header_list_add(l, "Content-Type", e->content_type);
    } else {
        header_list_suppress(l, "Content-Type"); /* curl would call it a form */
    }
    header_list_add_text(l, "Idempotency-Key", c->key);
    header_list_add_text(l, "Sluice-Queue", c->start.queue);
    header_list_add_text(l, "Sluice-Message", id);
    header_list_add(l, "Sluice-Attempt", number);
    add_callback(c, id);
    /* what the publisher asked for, else when it came */
    call_time(c->stored.schedule_ns != 0 ? c->stored.schedule_ns : c->start.scheduled_ns,
              scheduled);
    header_list_add_text(l, "Sluice-Scheduled-For", scheduled);
    add_trace(c);
}

void call_message_headers(struct call *c) {
    const struct envelope *e = &c->stored.envelope;
    if (e->correlation_id.size > 0) {
        header_list_add(&c->headers, "X-Correlation-Id", e->correlation_id);
    }
    header_list_add_lines(&c->headers, e->headers, &c->target->headers);
}
