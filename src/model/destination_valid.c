/*
 * What the definition of a destination may say. Everything here ends up in a request line, in headers or
 * in a timer, so bytes that could end a line early are refused at the door.
 */
#include "model/destination_state.h"

#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "model/template.h"

#define URL_MAX_BYTES     2048u
#define METHOD_MAX_BYTES  16u
#define HEADERS_MAX_BYTES (16u << 10)
#define PATH_MAX_BYTES    4096u
#define TIMEOUT_MAX_NS    (24 * 3600 * NS_PER_SECOND)
#define RESPONSE_MAX      (64u << 20)

static bool is_token_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Behind the name, or behind the brackets of an IPv6 address. */
static bool is_port_possible(const char *host, size_t size) {
    const char *bracket = memchr(host, ']', size), *end = host + size;
    const char *from = bracket != NULL ? bracket : host;
    const char *colon = memchr(from, ':', (size_t)(end - from));
    if (colon == NULL || colon + 1 == end) {
        return true;
    }
    uint32_t port = 0;
    for (const char *p = colon + 1; p < end; p++) {
        if (*p < '0' || *p > '9' || port > UINT16_MAX) {
            return false;
        }
        port = port * 10 + (uint32_t)(*p - '0');
    }
    return port >= 1 && port <= UINT16_MAX;
}

static const char *url_problem(const char *url) {
    size_t size = strlen(url);
    size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                    : strncasecmp(url, "https://", 8) == 0 ? 8
                                                           : 0;
    if (scheme == 0) {
        return "must start with http:// or https://";
    }
    if (size > URL_MAX_BYTES) {
        return "is longer than 2048 bytes";
    }
    for (const char *p = url; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f) {
            return "may hold printable ASCII only: encode the rest as %XX";
        }
    }
    size_t host = strcspn(url + scheme, "/?#");
    if (host == 0 || url[scheme] == ':') {
        return "names no host";
    }
    if (memchr(url + scheme, '@', host) != NULL) {
        return "may not hold a user name or password: use a header";
    }
    if (!is_port_possible(url + scheme, host)) {
        return "has no port from 1 to 65535 behind the host";
    }
    return NULL;
}

static const char *method_problem(const char *method) {
    size_t size = strlen(method);
    if (template_has_places(method)) {
        return template_problem(method);
    }
    if (size == 0 || size > METHOD_MAX_BYTES) {
        return "must be a method name of 1 to 16 letters";
    }
    for (const char *p = method; *p != '\0'; p++) {
        if (*p < 'A' || *p > 'Z') {
            return "must be a method name of 1 to 16 capital letters";
        }
    }
    return NULL;
}

/* These are made by us or by the connection. */
static bool is_reserved_header(const char *name, size_t size) {
    static const char *const reserved[] = {"Content-Length",  "Transfer-Encoding",
                                           "Connection",      "Keep-Alive",
                                           "Upgrade",         "TE",
                                           "Trailer",         "Expect",
                                           "Idempotency-Key", "Proxy-Connection"};
    for (size_t i = 0; i < ARRAY_LENGTH(reserved); i++) {
        if (strlen(reserved[i]) == size && strncasecmp(reserved[i], name, size) == 0) {
            return true;
        }
    }
    return false;
}

static const char *header_line_problem(const char *line, size_t size) {
    size_t name = 0;
    while (name < size && is_token_byte(line[name])) {
        name++;
    }
    if (name == 0 || name == size || line[name] != ':') {
        return "must be lines of \"Name: value\"";
    }
    if (is_reserved_header(line, name)) {
        return "may not hold headers that belong to the connection or to Sluice";
    }
    for (size_t i = name; i < size; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return "may not hold control characters";
        }
    }
    return NULL;
}

static const char *headers_problem(const char *headers) {
    if (strlen(headers) > HEADERS_MAX_BYTES) {
        return "are longer than 16 KiB";
    }
    while (*headers != '\0') {
        size_t size = strcspn(headers, "\n");
        const char *problem = header_line_problem(headers, size);
        if (problem != NULL) {
            return problem;
        }
        headers += size + (headers[size] == '\n');
    }
    return NULL;
}

/* ---- "408,425,429,500-599" ---- */

/* Three digits of 100..599, NULL if there is anything else. */
static const char *parse_status(const char *text, unsigned *ret_status) {
    unsigned status = 0;
    for (int i = 0; i < 3; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return NULL;
        }
        status = status * 10 + (unsigned)(text[i] - '0');
    }
    if (status < 100 || status > 599) {
        return NULL;
    }
    *ret_status = status;
    return text + 3;
}

/* One "429" or "500-599". */
static const char *parse_range(const char *text, unsigned *ret_first, unsigned *ret_last) {
    while (*text == ' ') {
        text++;
    }
    text = parse_status(text, ret_first);
    if (text == NULL) {
        return NULL;
    }
    *ret_last = *ret_first;
    if (*text == '-') {
        text = parse_status(text + 1, ret_last);
    }
    return text != NULL && *ret_last >= *ret_first ? text : NULL;
}

bool status_list_valid(const char *list) {
    while (*list != '\0') {
        unsigned first, last;
        list = parse_range(list, &first, &last);
        if (list == NULL || (*list != '\0' && *list != ',')) {
            return false;
        }
        if (*list == ',' && *++list == '\0') {
            return false;
        }
    }
    return true;
}

bool status_list_has(const char *list, unsigned status) {
    while (*list != '\0') {
        unsigned first, last;
        list = parse_range(list, &first, &last);
        if (list == NULL) {
            return false;
        }
        if (status >= first && status <= last) {
            return true;
        }
        list += *list == ',';
    }
    return false;
}

/* ---- the whole ---- */

static const char *pace_problem(const struct pace_def *pace, const char **ret_pointer) {
    *ret_pointer = "/rateLimits/maxDispatchesPerSecond";
    if (pace->count > PACE_COUNT_MAX) {
        return "may be at most 1000000 per period";
    }
    struct pace_def rate = *pace;
    rate.burst = 1;
    if (!pace_def_valid(&rate)) {
        return "is a rate that cannot be kept: the period is out of range";
    }
    *ret_pointer = "/rateLimits/maxBurstSize";
    return pace_def_valid(pace) ? NULL : "is out of range for this rate";
}

static const char *times_problem(const struct destination_def *def, const char **ret_pointer) {
    *ret_pointer = "/timeout";
    if (def->timeout_ns < NS_PER_MS || def->timeout_ns > TIMEOUT_MAX_NS) {
        return "must be 1 ms to 24 h";
    }
    *ret_pointer = "/connectTimeout";
    if (def->connect_timeout_ns < NS_PER_MS || def->connect_timeout_ns > TIMEOUT_MAX_NS) {
        return "must be 1 ms to 24 h";
    }
    *ret_pointer = "/firstByteTimeout";
    return def->first_byte_timeout_ns > TIMEOUT_MAX_NS ? "must be at most 24 h" : NULL;
}

static const char *limits_problem(const struct destination_def *def, const char **ret_pointer) {
    const char *problem = pace_problem(&def->pace, ret_pointer);
    if (problem != NULL) {
        return problem;
    }
    *ret_pointer = "/rateLimits";
    bool single = def->pace.count != 0 || def->pace.concurrency != 0;
    if (def->limits.count + single > LIMITS_MAX) {
        return "may hold at most 8 limits";
    }
    for (uint32_t i = 0; i < def->limits.count; i++) {
        if (!pace_def_valid(&def->limits.items[i])) {
            return "hold a rate or a burst that is out of range";
        }
    }
    return NULL;
}

static const char *endpoints_problem(const struct destination_def *def, const char **ret_pointer) {
    const struct endpoint_list *list = &def->endpoints;
    *ret_pointer = "/endpoints";
    for (uint32_t i = 0; i < list->count; i++) {
        const struct endpoint_def *e = &list->items[i];
        const char *problem = url_problem(e->url);
        if (problem != NULL) {
            return problem;
        }
        if (e->url[strcspn(e->url, "\"\\")] != '\0') {
            return "may not have quotes or backslashes in their URLs";
        }
        if (e->weight < 1 || e->weight > ENDPOINT_WEIGHT_MAX) {
            return "must have weights of 1 to 1000";
        }
        if (e->name[0] != '\0' && !name_valid(span_text(e->name))) {
            return "must have names of 1 to 128 of A-Z a-z 0-9 . _ -, starting with a letter or "
                   "digit";
        }
        for (uint32_t k = 0; k < i; k++) {
            if (endpoint_id(span_text(endpoint_def_name(e))) ==
                endpoint_id(span_text(endpoint_def_name(&list->items[k])))) {
                return "must have names of their own";
            }
        }
    }
    *ret_pointer = "/url";
    return list->count > 0 && def->url[0] == '\0' ? NULL : url_problem(def->url);
}

static const char *check_problem(const struct destination_def *def, const char **ret_pointer) {
    const struct check_def *c = &def->check;
    *ret_pointer = "/healthCheck";
    if (c->path[0] == '\0') {
        return NULL;
    }
    for (const char *p = c->path; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f) {
            return "must have a path of printable ASCII";
        }
    }
    if (c->path[0] != '/' || strlen(c->path) > URL_MAX_BYTES) {
        return "must have a path that starts with /";
    }
    if (!status_list_valid(c->statuses) || c->statuses[0] == '\0') {
        return "must have statuses and ranges of 100 to 599, like 200-399";
    }
    if (c->interval_ns < 100 * NS_PER_MS || c->interval_ns > TIMEOUT_MAX_NS ||
        c->timeout_ns < NS_PER_MS || c->timeout_ns > c->interval_ns || c->rise < 1 || c->fall < 1) {
        return "must have an interval of 100 ms to 24 h, a timeout within it, rise and fall of at "
               "least 1";
    }
    return NULL;
}

/* Any other answer ends the attempt, and nobody would be waited for. */
static const char *confirm_problem(const struct destination_def *def, const char **ret_pointer) {
    const char *list = def->confirm.statuses;
    bool valid = status_list_valid(list);
    *ret_pointer = "/confirmation/statuses";
    for (unsigned status = 100; status <= 599 && valid; status++) {
        valid = (status >= 200 && status <= 299) || !status_list_has(list, status);
    }
    return valid ? NULL : "must be statuses and ranges of 200 to 299, like 202";
}

static const char *guards_problem(const struct destination_def *def, const char **ret_pointer) {
    *ret_pointer = "/circuitBreaker";
    if (!breaker_def_valid(&def->breaker)) {
        return "needs one window (windowCalls up to 1000, or window), at most as many "
               "minimumCalls, "
               "percentages up to 100, at least one probe, and maxOpenTime of at least openTime";
    }
    *ret_pointer = "/adaptiveConcurrency";
    if (!adaptive_def_valid(&def->adaptive)) {
        return "needs 1 <= min <= max <= 100000";
    }
    *ret_pointer = "/rampUp";
    if (!ramp_def_valid(&def->ramp)) {
        return "may last 24 h at most";
    }
    *ret_pointer = "/retryBudget";
    if (!budget_def_valid(&def->budget)) {
        return "needs a percent of 0 to 100 and a window of 1 ms to 24 h";
    }
    *ret_pointer = "/balancing";
    if (!balance_def_valid(&def->balance)) {
        return "has a value out of range";
    }
    *ret_pointer = "/failover";
    if (!failover_def_valid(&def->failover)) {
        return "has a value out of range";
    }
    if (strcmp(def->failover.destination, def->name) == 0) {
        return "must name another destination";
    }
    return NULL;
}

/* Templates and events are about one message. */
static const char *batch_problem(const struct destination_def *def, const char **ret_pointer) {
    *ret_pointer = "/batch/maxMessages";
    if (def->batch.max_messages > BATCH_MESSAGES_MAX) {
        return "may be at most 200";
    }
    *ret_pointer = "/batch";
    bool places = template_has_places(def->url) || template_has_places(def->method) ||
                  template_has_places(def->headers);
    for (uint32_t i = 0; i < def->endpoints.count; i++) {
        places = places || template_has_places(def->endpoints.items[i].url);
    }
    if (def->batch.max_messages > 1 && (places || def->making.format != FORMAT_AS_RECEIVED)) {
        return "goes with neither places in url, method or headers nor bodyFormat";
    }
    return NULL;
}

const char *destination_def_problem(const struct destination_def *def, const char **ret_pointer) {
    const char *problem;
    *ret_pointer = "/name";
    if (!name_valid(span_text(def->name))) {
        return "must be 1 to 128 of A-Z a-z 0-9 . _ -, starting with a letter or digit";
    }
    if ((problem = endpoints_problem(def, ret_pointer)) != NULL) {
        return problem;
    }
    *ret_pointer = "/method";
    if ((problem = method_problem(def->method)) != NULL) {
        return problem;
    }
    *ret_pointer = "/headers";
    if ((problem = headers_problem(def->headers)) != NULL) {
        return problem;
    }
    *ret_pointer = "/caFile";
    if (strlen(def->ca_file) > PATH_MAX_BYTES) {
        return "is longer than 4096 bytes";
    }
    *ret_pointer = "/retryStatuses";
    if (!status_list_valid(def->retry_statuses)) {
        return "must be statuses and ranges of 100 to 599, like 408,429,500-599";
    }
    *ret_pointer = "/maxResponseBytes";
    if (def->max_response_bytes > RESPONSE_MAX) {
        return "may be at most 64 MiB";
    }
    if ((problem = batch_problem(def, ret_pointer)) != NULL ||
        (problem = making_problem(def, ret_pointer)) != NULL) {
        return problem;
    }
    if ((problem = times_problem(def, ret_pointer)) != NULL) {
        return problem;
    }
    if ((problem = check_problem(def, ret_pointer)) != NULL ||
        (problem = confirm_problem(def, ret_pointer)) != NULL ||
        (problem = guards_problem(def, ret_pointer)) != NULL) {
        return problem;
    }
    return limits_problem(def, ret_pointer);
}
