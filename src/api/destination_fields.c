#include "api/definition_fields.h"

#include "base/clock.h"
#include "base/error.h"

#define DAY (86400 * NS_PER_SECOND)

/* ---- what a good text is ---- */

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

static bool url_or_empty(struct span text) {
    return text.size == 0 || url_valid(text);
}

static bool method_valid(struct span text) {
    return span_is(text, "POST") || span_is(text, "PUT") || span_is(text, "PATCH") ||
           span_is(text, "DELETE") || span_is(text, "GET") ||
           (text.size > 0 && text.data[0] == '{');
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

bool definition_statuses_valid(struct span text) {
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

static bool secret_or_empty(struct span text) {
    return text.size == 0 || (text.size >= 16 && text.size <= 255);
}

static bool pointer_or_empty(struct span text) {
    return text.size == 0 || definition_pointer_valid(text);
}

/* ---- the tables ---- */

static const struct field limit_fields[] = {
    {"maxDispatches", FIELD_INTEGER, FIELD_AT(struct pace_def, count), .max = PACE_COUNT_MAX,
     .about = "Most attempts started in any period. 0: no limit."},
    {"per", FIELD_DURATION, FIELD_AT(struct pace_def, period_ns), .min = NS_PER_MS,
     .max = 366 * DAY, .about = "The period."},
    {"maxDispatchesPerSecond", FIELD_RATE, 0, 0, .only_read = true,
     .about = "Another way to give maxDispatches and per."},
    {"maxBurstSize", FIELD_INTEGER, FIELD_AT(struct pace_def, burst), .max = PACE_COUNT_MAX,
     .about = "Attempts that may start at once after a pause. 0: what 16/1000 (smooth) or 1/10 "
              "(strict) of the period let pass."},
    {"maxConcurrentDispatches", FIELD_INTEGER, FIELD_AT(struct pace_def, concurrency),
     .max = PACE_COUNT_MAX, .about = "Most attempts under way at a time. 0: no limit."},
    {"mode", FIELD_WORD, FIELD_AT(struct pace_def, mode), .words = pace_words,
     .about = "strict: the limit holds in any window of the receiver's own clock."},
    FIELD_END};
static const struct field limits_field = {"rateLimits",
                                          FIELD_LIST,
                                          FIELD_AT(struct destination_def, limits),
                                          .max = LIMITS_MAX,
                                          .members = limit_fields,
                                          .item_bytes = sizeof(struct pace_def),
                                          .init = limit_def_init};

static const struct field endpoint_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct endpoint_def, name), .valid = definition_name_or_empty,
     .expects = NAME_EXPECTS, .about = "What it is known by. Empty: its URL."},
    {"url", FIELD_TEXT, FIELD_AT(struct endpoint_def, url), .valid = url_valid, .required = true,
     .expects = URL_EXPECTS, .about = "Where requests go."},
    {"weight", FIELD_INTEGER, FIELD_AT(struct endpoint_def, weight), .min = 1,
     .max = ENDPOINT_WEIGHT_MAX, .about = "Its share beside the others."},
    FIELD_END};

static const struct field ramp_fields[] = {
    {"duration", FIELD_DURATION, FIELD_AT(struct ramp_def, duration_ns), .max = DAY,
     .about = "How long the rate climbs from a tenth to the whole. \"0s\": it does not."},
    {"afterIdle", FIELD_DURATION, FIELD_AT(struct ramp_def, idle_ns), .max = 365 * DAY,
     .about = "Also after so long without an attempt. \"0s\": only after the breaker closes."},
    FIELD_END};

static const struct field adaptive_fields[] = {
    {"min", FIELD_INTEGER, FIELD_AT(struct adaptive_def, floor), .min = 1, .max = 100000,
     .about = "Attempts under way that are always allowed."},
    {"max", FIELD_INTEGER, FIELD_AT(struct adaptive_def, ceiling), .max = 100000,
     .about = "Attempts under way that are never exceeded. 0: not adaptive."},
    FIELD_END};

static const struct field budget_fields[] = {
    {"percent", FIELD_INTEGER, FIELD_AT(struct budget_def, percent), .max = 100,
     .about = "Share of the attempts that may be retries. 100: no limit."},
    {"minPerSecond", FIELD_INTEGER, FIELD_AT(struct budget_def, min_per_second), .max = 1000000,
     .about = "Retries that are allowed whatever the traffic."},
    {"window", FIELD_DURATION, FIELD_AT(struct budget_def, window_ns), .min = NS_PER_MS, .max = DAY,
     .about = "Time over which both are counted."},
    FIELD_END};

static const struct field breaker_fields[] = {
    {"windowCalls", FIELD_INTEGER, FIELD_AT(struct breaker_def, window_calls),
     .max = BREAKER_CALLS_MAX, .about = "Judge the last so many attempts."},
    {"window", FIELD_DURATION, FIELD_AT(struct breaker_def, window_ns), .max = DAY,
     .about = "Or those of the last so long. With neither there is no breaker."},
    {"failurePercent", FIELD_INTEGER, FIELD_AT(struct breaker_def, failure_percent), .max = 100,
     .about = "Share of failed attempts at which it opens. 0: they do not count."},
    {"slowCallDuration", FIELD_DURATION, FIELD_AT(struct breaker_def, slow_ns), .max = DAY,
     .about = "An attempt of at least so long is slow. \"0s\": none is."},
    {"slowCallPercent", FIELD_INTEGER, FIELD_AT(struct breaker_def, slow_percent), .min = 1,
     .max = 100, .about = "Share of slow attempts at which it opens."},
    {"minimumCalls", FIELD_INTEGER, FIELD_AT(struct breaker_def, minimum_calls), .min = 1,
     .max = UINT32_MAX, .about = "Fewer in the window prove nothing."},
    {"probes", FIELD_INTEGER, FIELD_AT(struct breaker_def, probes), .min = 1,
     .max = BREAKER_CALLS_MAX, .about = "Attempts that decide whether it closes again."},
    {"openTime", FIELD_DURATION, FIELD_AT(struct breaker_def, open_ns), .min = NS_PER_MS,
     .max = DAY, .about = "How long it is open at first; twice as long each time in a row."},
    {"maxOpenTime", FIELD_DURATION, FIELD_AT(struct breaker_def, open_max_ns), .min = NS_PER_MS,
     .max = 365 * DAY, .about = "How long it is open at most."},
    FIELD_END};

/* In the order of the enums of model/endpoint.h. */
static const char *const policy_words[] = {
    "roundRobin",     "weighted",          "dynamicWeighted", "leastConnections",
    "consistentHash", "leastResponseTime", "powerOfTwo",      NULL};
static const char *const key_words[] = {"none", "orderingKey", "member", "tenant", NULL};

static const struct field balance_fields[] = {
    {"policy", FIELD_WORD, FIELD_AT(struct balance_def, policy), .words = policy_words,
     .about = "How the endpoint of an attempt is chosen."},
    {"key", FIELD_WORD, FIELD_AT(struct balance_def, key), .words = key_words,
     .about = "What consistentHash and pinning go by."},
    {"pinFor", FIELD_DURATION, FIELD_AT(struct balance_def, pin_ns), .max = 365 * DAY,
     .about = "A key stays with its endpoint until so long after its last attempt. \"0s\": no."},
    {"ejectAfterErrors", FIELD_INTEGER, FIELD_AT(struct balance_def, eject_errors), .max = 1000000,
     .about = "Failures in a row after which an endpoint is left out. 0: never for that."},
    {"ejectBelowSuccessPercent", FIELD_INTEGER, FIELD_AT(struct balance_def, eject_success_percent),
     .max = 100, .about = "Left out when fewer of 10 s of attempts succeed. 0: never for that."},
    {"ejectMinimumCalls", FIELD_INTEGER, FIELD_AT(struct balance_def, eject_minimum),
     .max = 1000000, .about = "Fewer in 10 s prove nothing."},
    {"ejectFor", FIELD_DURATION, FIELD_AT(struct balance_def, eject_ns), .min = NS_PER_MS,
     .max = DAY, .about = "How long; so much longer each time in a row."},
    {"maxEjectedPercent", FIELD_INTEGER, FIELD_AT(struct balance_def, eject_max_percent),
     .max = 100, .about = "Most of the endpoints that may be left out at a time."},
    {"slowStart", FIELD_DURATION, FIELD_AT(struct balance_def, slow_start_ns), .max = DAY,
     .about = "How long the weight of an endpoint climbs after it returned."},
    FIELD_END};

static const struct field check_fields[] = {
    {"path", FIELD_TEXT, FIELD_AT(struct check_def, path), .valid = path_valid,
     .expects = "a path that starts with /, or an empty text",
     .about = "Asked for by GET at each endpoint, besides the limits. Empty: no checks."},
    {"statuses", FIELD_TEXT, FIELD_AT(struct check_def, statuses),
     .valid = definition_statuses_valid, .expects = "statuses and ranges such as \"200-399\"",
     .about = "Answers that are well."},
    {"interval", FIELD_DURATION, FIELD_AT(struct check_def, interval_ns), .min = 100 * NS_PER_MS,
     .max = DAY, .about = "Time between two checks of an endpoint."},
    {"timeout", FIELD_DURATION, FIELD_AT(struct check_def, timeout_ns), .min = NS_PER_MS,
     .max = DAY, .about = "Longest duration of a check."},
    {"rise", FIELD_INTEGER, FIELD_AT(struct check_def, rise), .min = 1, .max = 1000,
     .about = "Good checks in a row after which an endpoint is used again."},
    {"fall", FIELD_INTEGER, FIELD_AT(struct check_def, fall), .min = 1, .max = 1000,
     .about = "Bad checks in a row after which it is not."},
    FIELD_END};

static const struct field failover_fields[] = {
    {"destination", FIELD_TEXT, FIELD_AT(struct failover_def, destination),
     .valid = definition_name_or_empty, .expects = "the name of a destination, or an empty text",
     .about = "Where messages go while this one is critical. Empty: they stay."},
    {"queue", FIELD_TEXT, FIELD_AT(struct failover_def, queue), .valid = definition_name_or_empty,
     .expects = "the name of a queue, or an empty text",
     .about = "Queue that changes of the status are told to."},
    {"failures", FIELD_INTEGER, FIELD_AT(struct failover_def, failures), .max = UINT32_MAX,
     .about = "More failed attempts than this within the time are too many. 0: no rule."},
    {"within", FIELD_DURATION, FIELD_AT(struct failover_def, within_ns), .min = NS_PER_MS,
     .max = 365 * DAY, .about = "That time."},
    {"evaluateEvery", FIELD_DURATION, FIELD_AT(struct failover_def, every_ns),
     .min = 10 * NS_PER_MS, .max = 365 * DAY, .about = "How often the rule is looked at."},
    {"pending", FIELD_DURATION, FIELD_AT(struct failover_def, pending_ns), .max = 365 * DAY,
     .about = "How long it is caution before it is critical."},
    {"manualReturn", FIELD_BOOL, FIELD_AT(struct failover_def, manual_return),
     .about = "Only a person ends critical."},
    {"returnAfter", FIELD_DURATION, FIELD_AT(struct failover_def, return_after_ns),
     .max = 365 * DAY, .about = "Else so long after it became critical probes are made."},
    {"probes", FIELD_INTEGER, FIELD_AT(struct failover_def, probes), .min = 1,
     .max = BREAKER_CALLS_MAX, .about = "So many must succeed in a row."},
    FIELD_END};

/* In the order of enum body_format. */
static const char *const format_words[] = {"asReceived", "cloudEventsBinary",
                                           "cloudEventsStructured", NULL};

static const struct field event_fields[] = {
    {"type", FIELD_TEXT, FIELD_AT(struct making_def, event_type),
     .about = "Type of the event. May have places such as {queue}."},
    {"source", FIELD_TEXT, FIELD_AT(struct making_def, event_source),
     .about = "Source of the event. Empty: \"/queues/{queue}\"."},
    FIELD_END};

static const struct field signing_fields[] = {
    {"keys", FIELD_TEXT, FIELD_AT(struct making_def, signing_keys), .secret = true,
     .expects = "a text (it is not shown by GET)",
     .about = "Keys of Standard Webhooks, \"whsec_...\", separated by blanks, the newest first: "
              "requests are signed with each. Shown as null."},
    FIELD_END};

static const struct field oauth_fields[] = {
    {"tokenUrl", FIELD_TEXT, FIELD_AT(struct making_def, token_url),
     .about = "Where tokens are asked for (client credentials). Empty: none are."},
    {"clientId", FIELD_TEXT, FIELD_AT(struct making_def, client_id), .about = "Who we are there."},
    {"clientSecret", FIELD_TEXT, FIELD_AT(struct making_def, client_secret), .secret = true,
     .expects = "a text (it is not shown by GET)", .about = "How we show it. Shown as null."},
    {"scope", FIELD_TEXT, FIELD_AT(struct making_def, scope), .about = "Scopes to ask for."},
    {"audience", FIELD_TEXT, FIELD_AT(struct making_def, audience),
     .about = "Audience to ask for."},
    FIELD_END};

static const struct field authorization_fields[] = {
    {"bearer", FIELD_TEXT, FIELD_AT(struct making_def, bearer), .secret = true,
     .expects = "a text (it is not shown by GET)",
     .about = "A token that does not end. Shown as null."},
    {"user", FIELD_TEXT, FIELD_AT(struct making_def, user), .about = "User of HTTP Basic."},
    {"password", FIELD_TEXT, FIELD_AT(struct making_def, password), .secret = true,
     .expects = "a text (it is not shown by GET)",
     .about = "Password of HTTP Basic. Shown as null."},
    {"oauth2", FIELD_OBJECT, .offset = 0, .size = sizeof(struct making_def),
     .members = oauth_fields},
    FIELD_END};

static const struct field tls_fields[] = {
    {"clientCertificate", FIELD_TEXT, FIELD_AT(struct making_def, client_certificate),
     .valid = path_valid, .expects = "an absolute path, or an empty text",
     .about = "PEM file with the certificate that we show."},
    {"clientKey", FIELD_TEXT, FIELD_AT(struct making_def, client_key), .valid = path_valid,
     .expects = "an absolute path, or an empty text", .about = "PEM file with its key."},
    FIELD_END};

static const char *const batch_format_words[] = {"jsonArray", "ndjson", NULL};
static const char *const batch_token_words[] = {"request", "message", NULL};
static const char *const batch_match_words[] = {"index", "id", NULL};

static const struct field result_fields[] = {
    {"split", FIELD_BOOL, FIELD_AT(struct batch_def, has_results),
     .about = "The answer has a result for each message. Else all share its status."},
    {"pointer", FIELD_TEXT, FIELD_AT(struct batch_def, results), .valid = pointer_or_empty,
     .expects = "a JSON pointer, or an empty text",
     .about = "JSON pointer to the list of results in the answer. Empty: the answer is the list."},
    {"by", FIELD_WORD, FIELD_AT(struct batch_def, match), .words = batch_match_words,
     .about = "index: in the order of the messages; id: by what stands in both."},
    {"id", FIELD_TEXT, FIELD_AT(struct batch_def, result_id), .valid = pointer_or_empty,
     .expects = "a JSON pointer", .about = "Where the id stands in a result."},
    {"messageId", FIELD_TEXT, FIELD_AT(struct batch_def, item_id), .valid = pointer_or_empty,
     .expects = "a JSON pointer", .about = "Where it stands in the body of the message."},
    {"status", FIELD_TEXT, FIELD_AT(struct batch_def, result_status), .valid = pointer_or_empty,
     .expects = "a JSON pointer",
     .about = "Where a result has its status, a number like one of HTTP. Empty: it is the result."},
    FIELD_END};

static const struct field batch_fields[] = {
    {"maxMessages", FIELD_INTEGER, FIELD_AT(struct batch_def, max_messages),
     .max = BATCH_MESSAGES_MAX, .about = "Most messages in one request. 0: one, as it is."},
    {"maxBytes", FIELD_INTEGER, FIELD_AT(struct batch_def, max_bytes), .min = 1, .max = 16u << 20,
     .about = "Most bytes of bodies in one request; a larger one goes alone."},
    {"maxWait", FIELD_DURATION, FIELD_AT(struct batch_def, wait_ns), .max = 3600 * NS_PER_SECOND,
     .about = "Age of the next message at which it leaves with fewer."},
    {"format", FIELD_WORD, FIELD_AT(struct batch_def, format), .words = batch_format_words,
     .about = "How the bodies, each of them JSON, stand in the request."},
    {"tokenPer", FIELD_WORD, FIELD_AT(struct batch_def, token), .words = batch_token_words,
     .about = "What rateLimits and the breaker count; the retry budget counts messages."},
    {"results", FIELD_OBJECT, .offset = 0, .size = sizeof(struct batch_def),
     .members = result_fields},
    FIELD_END};

static const char *const confirm_words[] = {"retry", "dead", NULL};

static const struct field confirm_fields[] = {
    {"statuses", FIELD_TEXT, FIELD_AT(struct confirm_def, statuses),
     .valid = definition_statuses_valid,
     .expects = "statuses such as \"202\" or \"201-202\", or an empty text",
     .about = "After which a message waits until it is told what became of it. Empty: none."},
    {"deadline", FIELD_DURATION, FIELD_AT(struct confirm_def, deadline_ns), .min = NS_PER_MS,
     .max = 365 * DAY, .about = "How long it waits at most."},
    {"onDeadline", FIELD_WORD, FIELD_AT(struct confirm_def, at_deadline), .words = confirm_words,
     .about = "What becomes of it then."},
    {"holdsPlace", FIELD_BOOL, FIELD_AT(struct confirm_def, holds_place),
     .about = "It counts for the concurrency until then, not only until it was answered."},
    {"secret", FIELD_TEXT, FIELD_AT(struct confirm_def, secret), .secret = true,
     .valid = secret_or_empty, .expects = "a text of 16 to 255 bytes (it is not shown by GET)",
     .about = "Makes the signed path that requests bring for the callback. Shown as null."},
    FIELD_END};

const struct field destination_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct destination_def, name), .valid = name_valid,
     .expects = NAME_EXPECTS, .about = "Name of the destination."},
    {"url", FIELD_TEXT, FIELD_AT(struct destination_def, url), .valid = url_or_empty,
     .expects = URL_EXPECTS, .about = "Where requests go, if there are no endpoints."},
    {"endpoints", FIELD_LIST, FIELD_AT(struct destination_def, endpoints), .max = ENDPOINTS_MAX,
     .members = endpoint_fields, .item_bytes = sizeof(struct endpoint_def),
     .init = endpoint_def_init, .about = "Several places that requests may go to."},
    {"method", FIELD_TEXT, FIELD_AT(struct destination_def, method), .valid = method_valid,
     .expects = "one of \"POST\", \"PUT\", \"PATCH\", \"DELETE\", \"GET\", or a place such as "
                "\"{header.Method}\"",
     .about = "Method of the requests."},
    {"headers", FIELD_LINES, FIELD_AT(struct destination_def, headers),
     .about = "Header fields added to each request. Values are shown as null."},
    {"caFile", FIELD_TEXT, FIELD_AT(struct destination_def, ca_file), .valid = path_valid,
     .expects = "an absolute path, or an empty text",
     .about = "PEM file of trusted authorities. Empty: the system's."},
    {"rateLimits", FIELD_OBJECT, FIELD_AT(struct destination_def, pace), .members = pace_fields,
     .or_list = &limits_field},
    {"rampUp", FIELD_OBJECT, FIELD_AT(struct destination_def, ramp), .members = ramp_fields},
    {"adaptiveConcurrency", FIELD_OBJECT, FIELD_AT(struct destination_def, adaptive),
     .members = adaptive_fields},
    {"retryBudget", FIELD_OBJECT, FIELD_AT(struct destination_def, budget),
     .members = budget_fields},
    {"circuitBreaker", FIELD_OBJECT, FIELD_AT(struct destination_def, breaker),
     .members = breaker_fields},
    {"balancing", FIELD_OBJECT, FIELD_AT(struct destination_def, balance),
     .members = balance_fields},
    {"healthCheck", FIELD_OBJECT, FIELD_AT(struct destination_def, check), .members = check_fields},
    {"failover", FIELD_OBJECT, FIELD_AT(struct destination_def, failover),
     .members = failover_fields},
    {"batch", FIELD_OBJECT, FIELD_AT(struct destination_def, batch), .members = batch_fields},
    {"confirmation", FIELD_OBJECT, FIELD_AT(struct destination_def, confirm),
     .members = confirm_fields},
    {"bodyFormat", FIELD_WORD, FIELD_AT(struct destination_def, making.format),
     .words = format_words, .about = "How the body of a message is sent."},
    {"cloudEvents", FIELD_OBJECT, FIELD_AT(struct destination_def, making),
     .members = event_fields},
    {"signing", FIELD_OBJECT, FIELD_AT(struct destination_def, making), .members = signing_fields},
    {"authorization", FIELD_OBJECT, FIELD_AT(struct destination_def, making),
     .members = authorization_fields},
    {"tls", FIELD_OBJECT, FIELD_AT(struct destination_def, making), .members = tls_fields},
    {"proxy", FIELD_TEXT, FIELD_AT(struct destination_def, making.proxy),
     .about = "Proxy to go by, \"http://host:port\". Empty: none, whatever the environment says."},
    {"connectTimeout", FIELD_DURATION, FIELD_AT(struct destination_def, connect_timeout_ns),
     .min = NS_PER_MS, .max = 3600 * NS_PER_SECOND, .about = "Longest time to connect."},
    {"timeout", FIELD_DURATION, FIELD_AT(struct destination_def, timeout_ns), .min = NS_PER_MS,
     .max = 86400 * NS_PER_SECOND, .about = "Longest duration of one attempt."},
    {"firstByteTimeout", FIELD_DURATION, FIELD_AT(struct destination_def, first_byte_timeout_ns),
     .max = DAY,
     .about =
         "Longest time from when a request leaves until its answer begins. \"0s\": no limit of "
         "its own."},
    {"retryStatuses", FIELD_TEXT, FIELD_AT(struct destination_def, retry_statuses),
     .valid = definition_statuses_valid,
     .expects = "statuses and ranges such as \"408,429,500-599\"",
     .about = "Statuses after which an attempt is repeated."},
    {"http2", FIELD_BOOL, FIELD_AT(struct destination_def, http2), .about = "Try HTTP/2 on https."},
    {"allowPrivateAddresses", FIELD_BOOL, FIELD_AT(struct destination_def, allow_private),
     .about = "Allow loopback, link-local and private addresses."},
    {"maxResponseBytes", FIELD_INTEGER, FIELD_AT(struct destination_def, max_response_bytes),
     .max = 64u << 20, .about = "Most that is read of a response."},
    FIELD_END};
