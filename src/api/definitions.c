#include "api/definitions.h"

#include "api/definition_fields.h"
#include "api/json_scan.h"
#include "base/clock.h"
#include "base/error.h"
#include "model/lane.h"
#include "model/retry.h"

#define COUNT_MAX   UINT64_C(1000000000000)
#define BACKOFF_MAX (30 * 86400 * NS_PER_SECOND)

/* ---- what a good text is ---- */

bool definition_name_or_empty(struct span text) {
    return text.size == 0 || name_valid(text);
}

bool definition_pointer_valid(struct span text) {
    struct json_pointer p;
    return json_pointer_parse(text, &p) == 0 && p.count > 0;
}

static bool tenant_valid(struct span text) {
    return text.size >= 1 && text.size <= KEY_MAX_BYTES;
}

/* A token of RFC 9110. */
static bool header_or_empty(struct span text) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || strchr(marks, c) == NULL)) {
            return false;
        }
    }
    return text.size <= 128;
}

static bool retry_statuses_or_empty(struct span text) {
    return text.size <= RETRY_STATUSES_MAX_BYTES && definition_statuses_valid(text);
}

/* ---- the tables ---- */

const char *const pace_words[] = {"smooth", "strict", NULL};

const struct field pace_fields[] = {
    {"maxDispatchesPerSecond", FIELD_RATE, 0, 0,
     .about = "Most attempts started in a second; may be a fraction. 0: no limit."},
    {"maxBurstSize", FIELD_INTEGER, FIELD_AT(struct pace_def, burst), .max = PACE_COUNT_MAX,
     .about = "Attempts that may start at once after a pause. 0: what 16 ms (smooth) or 100 ms "
              "(strict) let pass."},
    {"maxConcurrentDispatches", FIELD_INTEGER, FIELD_AT(struct pace_def, concurrency),
     .max = PACE_COUNT_MAX, .about = "Most attempts under way at a time. 0: no limit."},
    {"mode", FIELD_WORD, FIELD_AT(struct pace_def, mode), .words = pace_words,
     .about = "strict: the limit holds in any window of the receiver's own clock."},
    FIELD_END};

/* In the order of the bits of retry_takes_error. */
static const char *const error_words[] = {"connect",  "timeout",         "tls",    "dns",
                                          "protocol", "address-refused", "broken", NULL};

const struct field retry_fields[] = {
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
    {"backoffs", FIELD_DURATIONS, FIELD_AT(struct retry_def, backoffs), .min = NS_PER_MS,
     .max = BACKOFF_MAX, .about = "Exactly these waits, the last again and again. None: as above."},
    {"retryErrors", FIELD_WORDS, FIELD_AT(struct retry_def, errors), .words = error_words,
     .expects =
         "a list of \"connect\", \"timeout\", \"tls\", \"dns\", \"protocol\", \"address-refused\", "
         "\"broken\"",
     .about = "Ends without a response after which an attempt is repeated. None: after all."},
    {"retryStatuses", FIELD_TEXT, FIELD_AT(struct retry_def, statuses),
     .valid = retry_statuses_or_empty,
     .expects = "at most 64 bytes of statuses and ranges such as \"429,500-599\"",
     .about = "Statuses after which an attempt is repeated. Empty: as the destination says."},
    FIELD_END};

static const struct field outcome_fields[] = {
    {"queue", FIELD_TEXT, FIELD_AT(struct outcome_def, queue), .valid = definition_name_or_empty,
     .expects = "the name of a queue, or an empty text",
     .about = "Queue that gets a message about the end. Empty: none."},
    FIELD_END};

static const char *const unique_words[] = {"none", "key", "messageId", NULL};
static const char *const until_words[] = {"window", "delivered", NULL};
static const char *const duplicate_words[] = {"receipt", "refuse", NULL};

static const struct field unique_fields[] = {
    {"by", FIELD_WORD, FIELD_AT(struct queue_def, dedup), .words = unique_words,
     .about = "What makes a message unique: its unique key, or AMQP's message-id. none: nothing."},
    {"header", FIELD_TEXT, FIELD_AT(struct queue_def, unique_header), .valid = header_or_empty,
     .expects = "the name of a header, or an empty text",
     .about = "Header of the message whose value is its unique key."},
    {"window", FIELD_DURATION, FIELD_AT(struct queue_def, dedup_ttl_ns),
     .max = 3650 * 86400 * NS_PER_SECOND,
     .about = "How long a key stands. \"0s\": limits.dedupTtl."},
    {"until", FIELD_WORD, FIELD_AT(struct queue_def, unique_until), .words = until_words,
     .about = "delivered: a key stands until its message is delivered, dead or gone."},
    {"onDuplicate", FIELD_WORD, FIELD_AT(struct queue_def, unique_answer), .words = duplicate_words,
     .about = "Answer 200 with the receipt of the first, or refuse as already-claimed."},
    FIELD_END};

static const struct field weight_fields[] = {
    {"tenant", FIELD_TEXT, FIELD_AT(struct weight_def, tenant), .valid = tenant_valid,
     .expects = "1 to 255 bytes", .required = true, .about = "As the header says it."},
    {"weight", FIELD_INTEGER, FIELD_AT(struct weight_def, weight), .min = 1,
     .max = TENANT_WEIGHT_MAX, .about = "Messages that it may send in each round."},
    FIELD_END};

static const struct field fairness_fields[] = {
    {"header", FIELD_TEXT, FIELD_AT(struct queue_def, tenant_header), .valid = header_or_empty,
     .expects = "the name of a header, or an empty text",
     .about = "Header of the message that names its tenant. Empty: the queue knows none."},
    {"weights", FIELD_LIST, FIELD_AT(struct queue_def, tenant_weights), .max = TENANT_WEIGHTS_MAX,
     .members = weight_fields, .item_bytes = sizeof(struct weight_def), .init = weight_def_init,
     .about = "Tenants with more than one turn a round."},
    FIELD_END};

static const struct field queue_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct queue_def, name), .valid = name_valid,
     .expects = NAME_EXPECTS, .about = "Name of the queue."},
    {"destination", FIELD_TEXT, FIELD_AT(struct queue_def, destination),
     .valid = definition_name_or_empty, .expects = "the name of a destination, or an empty text",
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
    {"weight", FIELD_INTEGER, FIELD_AT(struct queue_def, weight), .min = 1, .max = LANE_WEIGHT_MAX,
     .about = "Part of the destination's starts, beside its other queues with messages."},
    {"guaranteedPercent", FIELD_INTEGER, FIELD_AT(struct queue_def, guaranteed_percent), .max = 100,
     .about = "Share of the destination's starts that is this queue's whatever the weights."},
    {"onSuccess", FIELD_OBJECT, FIELD_AT(struct queue_def, on_success), .members = outcome_fields},
    {"onFailure", FIELD_OBJECT, FIELD_AT(struct queue_def, on_failure), .members = outcome_fields},
    {"fairness", FIELD_OBJECT, .offset = 0, .size = sizeof(struct queue_def),
     .members = fairness_fields},
    {"unique", FIELD_OBJECT, .offset = 0, .size = sizeof(struct queue_def),
     .members = unique_fields},
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
    {"queue", FIELD_TEXT, FIELD_AT(struct campaign_def, queue), .valid = definition_name_or_empty,
     .expects = "the name of a queue, or an empty text",
     .about = "Queue that accepted entries go to. Empty: nothing is sent."},
    {"memberPointer", FIELD_TEXT, FIELD_AT(struct campaign_def, member_pointer),
     .valid = definition_pointer_valid, .required = true,
     .expects = "a JSON pointer into the body of an entry, such as \"/member\"",
     .about = "Where in the body the member stands: a string or an integer."},
    {"safetyStock", FIELD_INTEGER, FIELD_AT(struct campaign_def, safety_stock), .max = COUNT_MAX,
     .about = "Units of the stock that this campaign leaves untouched."},
    {"onFailure", FIELD_WORD, FIELD_AT(struct campaign_def, on_failure), .words = failure_words,
     .about = "What becomes of the unit when sending fails for good."},
    {"priority", FIELD_INTEGER, FIELD_AT(struct campaign_def, priority), .max = PRIORITY_MAX,
     .about = "Priority of the queued message."},
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
    const struct destination_def *destination = &d->u.destination;
    if (d->kind == DEFINITION_DESTINATION && destination->url[0] == '\0' &&
        destination->endpoints.count == 0) {
        field_expected(r, "url", URL_EXPECTS, NULL);
        return E_INVALID;
    }
    return 0;
}

/* Two ways to say one thing: whichever won, somebody meant the other. */
static int check_rates(const json_t *object, struct field_reader *r) {
    const json_t *list = json_object_get(object, "rateLimits");
    int error = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *limit = json_array_get(list, i);
        if (json_object_get(limit, "maxDispatchesPerSecond") != NULL &&
            (json_object_get(limit, "maxDispatches") != NULL ||
             json_object_get(limit, "per") != NULL)) {
            char name[64];
            snprintf(name, sizeof name, "rateLimits/%zu/maxDispatchesPerSecond", i);
            field_fault(r, name, "expected this, or maxDispatches and per");
            error = E_INVALID;
        }
    }
    return error;
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
    int together = check_together(d, r), rates = check_rates(object, r);
    return error != 0 ? error : together != 0 ? together : rates;
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
