/*
 * POST /v1/queues/{queue}/messages: the body is the payload, stored as it came, whatever its content
 * type. What is wished of the queue stands in Sluice-* fields, so that a payload needs no envelope.
 */
#include <stdio.h>

#include "api/routes.h"
#include "api/info.h"
#include "base/units.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/u64.h"
#include "model/retry.h"

#define FORWARD_PREFIX    "sluice-forward-"
#define FORWARD_MAX_BYTES 4096u
#define OPTION_NAME_BYTES 32u

/* Reads one option; false: not what it expects. */
typedef bool read_option(struct publish *p, struct span value);

static bool read_delay(struct publish *p, struct span value) {
    uint64_t ns;
    if (duration_parse(value, &ns) != 0 || p->schedule_ns != 0) {
        return false;
    }
    p->schedule_ns = ns == 0 ? 0 : clock_real_ns() + ns;
    return true;
}

static bool read_schedule(struct publish *p, struct span value) {
    return p->schedule_ns == 0 && time_parse(value, &p->schedule_ns) == 0;
}

static bool read_priority(struct publish *p, struct span value) {
    uint64_t priority;
    if (u64_parse(value, &priority) != 0 || priority > PRIORITY_MAX) {
        return false;
    }
    p->priority = (uint8_t)priority;
    return true;
}

static bool read_ttl(struct publish *p, struct span value) {
    return duration_parse(value, &p->ttl_ns) == 0 && p->ttl_ns > 0;
}

/* A time, or a duration from now. */
static bool read_deadline(struct publish *p, struct span value) {
    uint64_t ns;
    if (duration_parse(value, &ns) == 0) {
        p->deadline_ns = clock_real_ns() + ns;
        return true;
    }
    return time_parse(value, &p->deadline_ns) == 0 && p->deadline_ns > 0;
}

static bool read_ordering_key(struct publish *p, struct span value) {
    p->envelope.ordering_key = value;
    return value.size > 0 && value.size <= KEY_MAX_BYTES;
}

static bool read_unique_key(struct publish *p, struct span value) {
    p->unique_key = value;
    return value.size > 0 && value.size <= KEY_MAX_BYTES;
}

/* In the order of enum retry_member. */
static const char *const retry_names[RETRY_MEMBERS] = {
    "maxAttempts",      "minBackoff", "maxBackoff",  "maxDoublings",
    "maxRetryDuration", "backoffs",   "retryErrors", "retryStatuses",
};

static const char *retry_fault(struct call *c, const struct field_error *e) {
    size_t size = sizeof "Sluice-Retry-Config: : " + strlen(e->pointer) + strlen(e->detail);
    char *text = call_alloc(c, size);
    if (text != NULL) {
        snprintf(text, size, "Sluice-Retry-Config: %s: %s", e->pointer, e->detail);
    }
    return text;
}

/* {"maxAttempts": 3, "backoffs": ["1s"]}: NULL, or what is wrong. */
static const char *read_retry(struct call *c, struct publish *p, struct span value) {
    struct retry_def def = {.statuses = NULL};
    struct field_reader reader = call_reader(c);
    json_t *object = json_loadb((const char *)value.data, value.size, JSON_REJECT_DUPLICATES, NULL);
    bool good =
        json_is_object(object) && fields_read(retry_fields, object, &def, NULL, &reader) == 0;
    uint8_t members = 0;
    for (int i = 0; i < RETRY_MEMBERS; i++) {
        members |= (uint8_t)((json_object_get(object, retry_names[i]) != NULL) << i);
    }
    json_decref(object);
    struct buffer bytes;
    buffer_init(&bytes, RETRY_OVERRIDE_MAX_BYTES);
    uint8_t *kept = NULL;
    if (good && retry_override_encode(&def, members, &bytes) == 0) {
        kept = call_alloc(c, bytes.size);
    }
    if (kept != NULL) {
        memcpy(kept, bytes.data, bytes.size);
        p->envelope.retry = span_of(kept, bytes.size);
    }
    buffer_release(&bytes);
    def_free_text(def.statuses);
    if (kept != NULL) {
        return NULL;
    }
    const char *why = reader.errors->count > 0 ? retry_fault(c, &reader.errors->list[0]) : NULL;
    return why != NULL ? why
                       : "Sluice-Retry-Config: expected members of retryConfig as a JSON object, "
                         "such as {\"maxAttempts\": 3}";
}

static const struct {
    const char *name; /* in lower case */
    read_option *read;
    const char *expects;
} options[] = {
    {"sluice-delay", read_delay,
     "Sluice-Delay: expected a duration such as 1.5s, and no other delay or time"},
    {"sluice-schedule-time", read_schedule,
     "Sluice-Schedule-Time: expected a time such as 2030-01-31T09:00:00Z, and no other delay or "
     "time"},
    {"sluice-priority", read_priority, "Sluice-Priority: expected a number from 0 to 255"},
    {"sluice-ttl", read_ttl, "Sluice-Ttl: expected a duration such as 10m"},
    {"sluice-dispatch-deadline", read_deadline,
     "Sluice-Dispatch-Deadline: expected a duration such as 30s, or a time such as "
     "2030-01-31T09:00:00Z"},
    {"sluice-ordering-key", read_ordering_key, "Sluice-Ordering-Key: expected 1 to 255 characters"},
    {"sluice-unique-key", read_unique_key, "Sluice-Unique-Key: expected 1 to 255 characters"},
};

/* Name in lower case; empty when it is too long for any of ours. */
static void lower_name(struct span name, char out[OPTION_NAME_BYTES]) {
    size_t size = name.size < OPTION_NAME_BYTES ? name.size : 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = name.data[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    out[size] = '\0';
}

/* What each request of our dispatch says of itself: so one program can send to another. */
static bool is_said_by_dispatch(const char *name) {
    static const char *const names[] = {"sluice-queue",        "sluice-message",
                                        "sluice-attempt",      "sluice-scheduled-for",
                                        "sluice-confirmation", "sluice-alert"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* "Sluice-Forward-X-Tenant: 7" is sent along as "X-Tenant: 7". */
static const char *read_forward(struct call *c, const struct http_header *h, struct publish *p) {
    const size_t prefix = sizeof FORWARD_PREFIX - 1;
    struct span *lines = &p->envelope.headers;
    size_t size = h->name.size - prefix + 2 + h->value.size + 1;
    if (h->name.size == prefix) {
        return "Sluice-Forward-...: expected the name of a header field";
    }
    if (lines->size + size > FORWARD_MAX_BYTES) {
        return "Sluice-Forward-...: expected at most 4096 bytes in all";
    }
    uint8_t *text = call_alloc(c, lines->size + size);
    if (text == NULL) {
        return "no memory";
    }
    if (lines->size > 0) {
        memcpy(text, lines->data, lines->size);
    }
    uint8_t *at = mempcpy(text + lines->size, h->name.data + prefix, h->name.size - prefix);
    at = mempcpy(at, ": ", 2);
    at = mempcpy(at, h->value.data, h->value.size);
    *at = '\n';
    *lines = span_of(text, lines->size + size);
    return NULL;
}

/* NULL: fine or none of ours; else what is wrong. */
static const char *read_field(struct call *c, const struct http_header *h, struct publish *p) {
    char name[OPTION_NAME_BYTES], start[OPTION_NAME_BYTES];
    const size_t prefix = sizeof FORWARD_PREFIX - 1;
    lower_name(span_of(h->name.data, h->name.size < prefix ? h->name.size : prefix), start);
    if (strcmp(start, FORWARD_PREFIX) == 0) {
        return read_forward(c, h, p);
    }
    lower_name(h->name, name);
    if (strcmp(name, "sluice-retry-config") == 0) {
        return read_retry(c, p, h->value);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        if (strcmp(name, options[i].name) == 0) {
            return options[i].read(p, h->value) ? NULL : options[i].expects;
        }
    }
    return strncmp(start, "sluice-", 7) == 0 && !is_said_by_dispatch(name)
               ? "unknown Sluice-* field; known are Sluice-Delay, Sluice-Schedule-Time, "
                 "Sluice-Priority, Sluice-Ttl, Sluice-Dispatch-Deadline, Sluice-Ordering-Key, "
                 "Sluice-Unique-Key, Sluice-Retry-Config and "
                 "Sluice-Forward-<Name>"
               : NULL;
}

bool publish_outlived(const struct publish *p) {
    if (p->ttl_ns == 0 || p->schedule_ns == 0) {
        return false; /* most: none of them asks for the time */
    }
    uint64_t now_ns = clock_real_ns();
    return p->schedule_ns > now_ns && p->schedule_ns - now_ns > p->ttl_ns;
}

bool publish_options(struct call *c, struct publish *p) {
    size_t count;
    const struct http_header *headers = http_headers(c->x, &count);
    for (size_t i = 0; c->head.has_options && i < count; i++) {
        const char *wrong = read_field(c, &headers[i], p);
        if (wrong != NULL) {
            call_invalid(c, "", wrong);
            return false;
        }
    }
    if (publish_outlived(p)) {
        call_invalid(c, "", "Sluice-Ttl: it is over before the message may leave");
        return false;
    }
    return true;
}

bool publish_no_options(struct call *c) {
    size_t count;
    const struct http_header *headers = http_headers(c->x, &count);
    for (size_t i = 0; c->head.has_options && i < count; i++) {
        char name[OPTION_NAME_BYTES], start[OPTION_NAME_BYTES];
        lower_name(headers[i].name, name);
        lower_name(span_of(headers[i].name.data, u64_min(headers[i].name.size, 7)), start);
        if (strcmp(start, "sluice-") == 0 && !is_said_by_dispatch(name)) {
            call_invalid(c, "",
                         "Sluice-* fields are wishes for a message that is published to a queue: "
                         "this request has none");
            return false;
        }
    }
    return true;
}

static void published(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    char id[18];
    receipt_format(c->request.r.receipt.id, id);
    call_receipt_headers(c);
    bool duplicate = c->request.r.duplicate;
    if (!c->request.r.replayed && !duplicate) {
        atomic_fetch_add_explicit(&c->loop->api->counts.published, 1, memory_order_relaxed);
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    call_receipt_members(c, &out);
    if (duplicate) {
        info_bool(&out, "duplicate", true);
    }
    out_key(&out, "links");
    out_open(&out, '{');
    char link[NAME_MAX_BYTES + 64];
    snprintf(link, sizeof link, "/v1/receipts/%s", id);
    info_text(&out, "receipt", link);
    snprintf(link, sizeof link, "/v1/queues/%.*s/messages/%s", SPAN_ARG(call_capture(c, 0)), id);
    info_text(&out, "message", link);
    out_close(&out, '}');
    out_close(&out, '}');
    call_json_end(c, duplicate ? 200 : 202, &out);
}

void queue_publish(struct call *c) {
    struct request *r = &c->request.r;
    struct publish *p = &r->in.publish;
    r->kind = REQUEST_QUEUE_PUBLISH;
    r->name = p->queue = call_capture(c, 0);
    call_envelope(c, &p->envelope);
    if (publish_options(c, p)) {
        call_submit(c, published);
    }
}
