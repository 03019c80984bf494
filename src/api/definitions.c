#include "api/definitions.h"

#include "api/json_scan.h"
#include "base/clock.h"
#include "base/error.h"

#define COUNT_MAX   UINT64_C(1000000000000)
#define BACKOFF_MAX (30 * 86400 * NS_PER_SECOND)

/* ---- what a good text is ---- */

static bool name_or_empty(struct span text) {
    return text.size == 0 || name_valid(text);
}

static bool url_valid(struct span text) {
    const char *schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (text.size > size && memcmp(text.data, schemes[i], size) == 0) {
            return text.data[size] != '/' && text.data[size] != ':';
        }
    }
    return false;
}

static bool method_valid(struct span text) {
    return span_is(text, "POST") || span_is(text, "PUT") || span_is(text, "PATCH") ||
           span_is(text, "DELETE") || span_is(text, "GET");
}

static bool pointer_valid(struct span text) {
    struct json_pointer p;
    return json_pointer_parse(text, &p) == 0 && p.count > 0;
}

/* A status of three digits at *at. */
static bool take_status(struct span text, size_t *at, uint32_t *ret) {
    uint32_t value = 0;
    size_t end = *at + 3;
    for (; *at < end; ++*at) {
        if (*at >= text.size || text.data[*at] < '0' || text.data[*at] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)(text.data[*at] - '0');
    }
    *ret = value;
    return value >= 100 && value <= 599;
}

static bool statuses_valid(struct span text) {
    for (size_t at = 0; at < text.size; at++) {
        uint32_t first, last;
        if (!take_status(text, &at, &first)) {
            return false;
        }
        last = first;
        if (at < text.size && text.data[at] == '-') {
            at++;
            if (!take_status(text, &at, &last)) {
                return false;
            }
        }
        if (last < first || (at < text.size && (text.data[at] != ',' || at + 1 == text.size))) {
            return false;
        }
    }
    return true;
}

static bool path_valid(struct span text) {
    return text.size == 0 || text.data[0] == '/';
}

#define NAME_EXPECTS                                                                               \
    "a name of 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit"

/* ---- the tables ---- */

static const char *const pace_words[] = {"smooth", "strict", NULL};

static const struct field pace_fields[] = {
    {"maxDispatchesPerSecond", FIELD_RATE, 0, 0,
     .about = "Most attempts started in a second; may be a fraction. 0: no limit."},
    {"maxBurstSize", FIELD_INTEGER, FIELD_AT(struct pace_def, burst), .max = PACE_COUNT_MAX,
     .about = "Attempts that may start at once after a pause. 0: what 8 ms (smooth) or 100 ms "
              "(strict) let pass."},
    {"maxConcurrentDispatches", FIELD_INTEGER, FIELD_AT(struct pace_def, concurrency),
     .max = PACE_COUNT_MAX, .about = "Most attempts under way at a time. 0: no limit."},
    {"mode", FIELD_WORD, FIELD_AT(struct pace_def, mode), .words = pace_words,
     .about = "strict: the limit holds in any window of the receiver's own clock."},
    FIELD_END};

static const struct field retry_fields[] = {
    {"maxAttempts", FIELD_INTEGER, FIELD_AT(struct retry_def, max_attempts), .max = UINT32_MAX,
     .about = "Attempts before a message is dead. 0: no limit."},
    {"minBackoff", FIELD_DURATION, FIELD_AT(struct retry_def, min_backoff_ns), .min = NS_PER_MS,
     .max = BACKOFF_MAX, .about = "Wait after the first failed attempt."},
    {"maxBackoff", FIELD_DURATION, FIELD_AT(struct retry_def, max_backoff_ns), .min = NS_PER_MS,
     .max = BACKOFF_MAX, .about = "Longest wait between attempts."},
    {"maxDoublings", FIELD_INTEGER, FIELD_AT(struct retry_def, max_doublings), .max = 62,
     .about = "How often the wait doubles before it grows by equal steps."},
    {"maxRetryDuration", FIELD_DURATION, FIELD_AT(struct retry_def, max_duration_ns),
     .max = 365 * 86400 * NS_PER_SECOND,
     .about = "Age after the first attempt at which retrying ends. \"0s\": no limit."},
    FIELD_END};

static const struct field queue_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct queue_def, name), .valid = name_valid,
     .expects = NAME_EXPECTS, .about = "Name of the queue."},
    {"destination", FIELD_TEXT, FIELD_AT(struct queue_def, destination), .valid = name_or_empty,
     .expects = "the name of a destination, or an empty text",
     .about = "Destination that messages are pushed to. Empty: none."},
    {"paused", FIELD_BOOL, FIELD_AT(struct queue_def, paused),
     .about = "Nothing leaves a paused queue."},
    {"maxPriority", FIELD_INTEGER, FIELD_AT(struct queue_def, max_priority), .max = PRIORITY_MAX,
     .about = "Highest priority of a message; higher ones leave first."},
    {"maxMessages", FIELD_INTEGER, FIELD_AT(struct queue_def, max_messages), .max = COUNT_MAX,
     .about = "Messages beyond this are refused as queue-full. 0: no limit."},
    {"maxBytes", FIELD_INTEGER, FIELD_AT(struct queue_def, max_bytes), .max = UINT64_C(1) << 50,
     .about = "Bodies beyond this are refused as queue-full. 0: no limit."},
    {"messageTtl", FIELD_DURATION, FIELD_AT(struct queue_def, message_ttl_ns),
     .max = 3650 * 86400 * NS_PER_SECOND, .about = "Longest life of a message. \"0s\": no limit."},
    {"deadLetters", FIELD_BOOL, FIELD_AT(struct queue_def, dead_letters),
     .about = "Keep messages that were refused, exhausted or expired."},
    {"maxDeadLetters", FIELD_INTEGER, FIELD_AT(struct queue_def, max_dead), .max = COUNT_MAX,
     .about = "Above this the oldest dead letter goes."},
    {"retryConfig", FIELD_OBJECT, FIELD_AT(struct queue_def, retry), .members = retry_fields},
    {"rateLimits", FIELD_OBJECT, FIELD_AT(struct queue_def, pace), .members = pace_fields},
    {"dispatchDeadline", FIELD_DURATION, FIELD_AT(struct queue_def, dispatch_deadline_ns),
     .max = 86400 * NS_PER_SECOND,
     .about = "Longest duration of one attempt. \"0s\": as the destination says."},
    FIELD_END};

static const struct field stock_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct stock_def, name), .valid = name_valid,
     .expects = NAME_EXPECTS, .about = "Name of the stock."},
    {"total", FIELD_INTEGER, FIELD_AT(struct stock_def, total), .max = COUNT_MAX, .required = true,
     .expects = "how many units there are", .about = "Units that there are."},
    {"perMember", FIELD_INTEGER, FIELD_AT(struct stock_def, per_member), .max = COUNT_MAX,
     .about = "Units that one member may have. 0: no limit."},
    {"onSale", FIELD_BOOL, FIELD_AT(struct stock_def, on_sale),
     .about = "Once true it stays true, and total can only rise."},
    {"hold", FIELD_DURATION, FIELD_AT(struct stock_def, hold_ns),
     .max = 365 * 86400 * NS_PER_SECOND,
     .about = "How long a reservation is held unless confirmed. \"0s\": reservations are final."},
    FIELD_END};

static const char *const failure_words[] = {"release", "releaseAndReenter", "keep", NULL};

static const struct field campaign_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct campaign_def, name), .valid = name_valid,
     .expects = NAME_EXPECTS, .about = "Name of the campaign."},
    {"opensAt", FIELD_TIME, FIELD_AT(struct campaign_def, opens_ns),
     .about = "Entries before it are refused as not-open-yet. Absent: open from the start."},
    {"closesAt", FIELD_TIME, FIELD_AT(struct campaign_def, closes_ns),
     .about = "Entries from then on are refused as closed. Absent: never."},
    {"stock", FIELD_TEXT, FIELD_AT(struct campaign_def, stock), .valid = name_valid,
     .expects = "the name of a stock", .required = true, .about = "Stock that entries take from."},
    {"queue", FIELD_TEXT, FIELD_AT(struct campaign_def, queue), .valid = name_or_empty,
     .expects = "the name of a queue, or an empty text",
     .about = "Queue that accepted entries go to. Empty: nothing is sent."},
    {"memberPointer", FIELD_TEXT, FIELD_AT(struct campaign_def, member_pointer),
     .valid = pointer_valid, .required = true,
     .expects = "a JSON pointer into the body of an entry, such as \"/member\"",
     .about = "Where in the body the member stands: a string or an integer."},
    {"safetyStock", FIELD_INTEGER, FIELD_AT(struct campaign_def, safety_stock), .max = COUNT_MAX,
     .about = "Units of the stock that this campaign leaves untouched."},
    {"onFailure", FIELD_WORD, FIELD_AT(struct campaign_def, on_failure), .words = failure_words,
     .about = "What becomes of the unit when sending fails for good."},
    {"priority", FIELD_INTEGER, FIELD_AT(struct campaign_def, priority), .max = PRIORITY_MAX,
     .about = "Priority of the queued message."},
    FIELD_END};

static const struct field destination_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct destination_def, name), .valid = name_valid,
     .expects = NAME_EXPECTS, .about = "Name of the destination."},
    {"url", FIELD_TEXT, FIELD_AT(struct destination_def, url), .valid = url_valid,
     .expects = "a URL with http:// or https://", .required = true, .about = "Where requests go."},
    {"method", FIELD_TEXT, FIELD_AT(struct destination_def, method), .valid = method_valid,
     .expects = "one of \"POST\", \"PUT\", \"PATCH\", \"DELETE\", \"GET\"",
     .about = "Method of the requests."},
    {"headers", FIELD_LINES, FIELD_AT(struct destination_def, headers),
     .about = "Header fields added to each request. Values are shown as null."},
    {"caFile", FIELD_TEXT, FIELD_AT(struct destination_def, ca_file), .valid = path_valid,
     .expects = "an absolute path, or an empty text",
     .about = "PEM file of trusted authorities. Empty: the system's."},
    {"rateLimits", FIELD_OBJECT, FIELD_AT(struct destination_def, pace), .members = pace_fields},
    {"connectTimeout", FIELD_DURATION, FIELD_AT(struct destination_def, connect_timeout_ns),
     .min = NS_PER_MS, .max = 3600 * NS_PER_SECOND, .about = "Longest time to connect."},
    {"timeout", FIELD_DURATION, FIELD_AT(struct destination_def, timeout_ns), .min = NS_PER_MS,
     .max = 86400 * NS_PER_SECOND, .about = "Longest duration of one attempt."},
    {"retryStatuses", FIELD_TEXT, FIELD_AT(struct destination_def, retry_statuses),
     .valid = statuses_valid, .expects = "statuses and ranges such as \"408,429,500-599\"",
     .about = "Statuses after which an attempt is repeated."},
    {"http2", FIELD_BOOL, FIELD_AT(struct destination_def, http2), .about = "Try HTTP/2 on https."},
    {"allowPrivateAddresses", FIELD_BOOL, FIELD_AT(struct destination_def, allow_private),
     .about = "Allow loopback, link-local and private addresses."},
    {"maxResponseBytes", FIELD_INTEGER, FIELD_AT(struct destination_def, max_response_bytes),
     .max = 64u << 20, .about = "Most that is read of a response."},
    FIELD_END};

const struct definition_type definition_types[DEFINITION_KINDS] = {
    [DEFINITION_DESTINATION] = {"destination", "destinations", "Destination", destination_fields,
                                REQUEST_DESTINATION_DEFINE, REQUEST_DESTINATION_DELETE,
                                REQUEST_DESTINATION_GET, REQUEST_DESTINATION_LIST},
    [DEFINITION_QUEUE] = {"queue", "queues", "Queue", queue_fields, REQUEST_QUEUE_DEFINE,
                          REQUEST_QUEUE_DELETE, REQUEST_QUEUE_GET, REQUEST_QUEUE_LIST},
    [DEFINITION_STOCK] = {"stock", "stocks", "Stock", stock_fields, REQUEST_STOCK_DEFINE,
                          REQUEST_STOCK_DELETE, REQUEST_STOCK_GET, REQUEST_STOCK_LIST},
    [DEFINITION_CAMPAIGN] = {"campaign", "campaigns", "Campaign", campaign_fields,
                             REQUEST_CAMPAIGN_DEFINE, REQUEST_CAMPAIGN_DELETE, REQUEST_CAMPAIGN_GET,
                             REQUEST_CAMPAIGN_LIST},
};

/* ---- one definition ---- */

int definition_init(struct definition *d, enum definition_kind kind) {
    memset(d, 0, sizeof *d);
    d->kind = kind;
    switch (kind) {
    case DEFINITION_DESTINATION:
        return destination_def_init(&d->u.destination);
    case DEFINITION_QUEUE:
        return queue_def_init(&d->u.queue);
    case DEFINITION_STOCK:
        return stock_def_init(&d->u.stock);
    default:
        return campaign_def_init(&d->u.campaign);
    }
}

void definition_release(struct definition *d) {
    switch (d->kind) {
    case DEFINITION_DESTINATION:
        destination_def_release(&d->u.destination);
        return;
    case DEFINITION_QUEUE:
        queue_def_release(&d->u.queue);
        return;
    case DEFINITION_STOCK:
        stock_def_release(&d->u.stock);
        return;
    default:
        campaign_def_release(&d->u.campaign);
    }
}

/* `name` is the first member of each. */
static char **name_of(struct definition *d) {
    return (char **)(void *)&d->u;
}

const char *definition_name(const struct definition *d) {
    return *(char *const *)(const void *)&d->u;
}

/* What no single field can say. */
static int check_together(const struct definition *d, struct field_reader *r) {
    const struct retry_def *retry = &d->u.queue.retry;
    const struct campaign_def *campaign = &d->u.campaign;
    if (d->kind == DEFINITION_QUEUE && retry->max_backoff_ns < retry->min_backoff_ns) {
        field_fault(r, "retryConfig/maxBackoff", "expected at least minBackoff");
        return E_INVALID;
    }
    if (d->kind == DEFINITION_CAMPAIGN && campaign->closes_ns != 0 &&
        campaign->closes_ns <= campaign->opens_ns) {
        field_fault(r, "closesAt", "expected a time after opensAt");
        return E_INVALID;
    }
    return 0;
}

static int check_name(struct definition *d, struct span name, struct field_reader *r) {
    char **present = name_of(d);
    if (name.size == 0 && (*present)[0] == '\0') {
        field_expected(r, "name", NAME_EXPECTS, NULL);
        return E_INVALID;
    }
    if (name.size > 0 && (*present)[0] != '\0' && !span_is(name, *present)) {
        field_fault(r, "name", "expected the name of the path, \"%.*s\", found \"%s\"",
                    SPAN_ARG(name), *present);
        return E_INVALID;
    }
    return name.size > 0 ? def_set_text(present, name) : 0;
}

int definition_read(struct definition *d, const json_t *object, struct span name,
                    struct field_reader *r) {
    int error = fields_read(definition_types[d->kind].fields, object, &d->u, NULL, r);
    if (error != 0) {
        return error;
    }
    error = check_name(d, name, r);
    int together = check_together(d, r);
    return error != 0 ? error : together;
}

void definition_write(const struct definition *d, struct json_out *out) {
    fields_write(definition_types[d->kind].fields, &d->u, out);
}

int definition_decode(enum definition_kind kind, struct span encoded, struct definition *ret) {
    struct reader r;
    reader_init(&r, encoded);
    memset(ret, 0, sizeof *ret);
    ret->kind = kind;
    switch (kind) {
    case DEFINITION_DESTINATION:
        return destination_def_decode(&r, &ret->u.destination);
    case DEFINITION_QUEUE:
        return queue_def_decode(&r, &ret->u.queue);
    case DEFINITION_STOCK:
        return stock_def_decode(&r, &ret->u.stock);
    default:
        return campaign_def_decode(&r, &ret->u.campaign);
    }
}

void definition_request(const struct definition *d, struct request *r) {
    request_init(r, definition_types[d->kind].define);
    r->name = span_text(definition_name(d));
    switch (d->kind) {
    case DEFINITION_DESTINATION:
        r->in.define.destination = &d->u.destination;
        return;
    case DEFINITION_QUEUE:
        r->in.define.queue = &d->u.queue;
        return;
    case DEFINITION_STOCK:
        r->in.define.stock = &d->u.stock;
        return;
    default:
        r->in.define.campaign = &d->u.campaign;
    }
}
