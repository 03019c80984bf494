#include "api/openapi.h"

#include <stdio.h>

#include "api/filter.h"
#include "api/info.h"
#include "api/problem.h"
#include "api/routes.h"
#include "base/error.h"

/* ---- schemas that no table of fields describes ---- */

#define TEXT    "{\"type\":\"string\"}"
#define NUMBER  "{\"type\":\"integer\",\"minimum\":0}"
#define BOOLEAN "{\"type\":\"boolean\"}"
#define TIME    "{\"type\":\"string\",\"format\":\"date-time\"}"
#define RECEIPT "{\"type\":\"string\",\"pattern\":\"^r[0-9a-f]{16}$\"}"
#define REF(s)  "{\"$ref\":\"#/components/schemas/" s "\"}"
#define OBJECT(properties, required)                                                               \
    "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required "]}"
#define LIST(plural, item)                                                                         \
    OBJECT("\"" plural "\":{\"type\":\"array\",\"items\":" REF(item) "},\"nextPageToken\":" TEXT,  \
           "\"" plural "\"")
#define RECEIPT_PROPERTIES                                                                         \
    "\"receipt\":" RECEIPT ",\"number\":" NUMBER ",\"position\":" NUMBER ",\"acceptedAt\":" TIME   \
    ",\"eta\":" TIME ",\"links\":{\"type\":\"object\"}"
#define RECEIPT_REQUIRED "\"receipt\",\"position\",\"acceptedAt\""
#define ETA                                                                                        \
    ",\"eta\":" TIME ",\"waitsFor\":{\"enum\":[\"queue-resumed\",\"destination-resumed\","         \
    "\"breaker-closed\",\"endpoint-returned\"]}"
#define MESSAGE_PROPERTIES                                                                         \
    "\"id\":" RECEIPT ",\"state\":" TEXT ",\"priority\":" NUMBER ",\"attempts\":" NUMBER           \
    ",\"bodyBytes\":" NUMBER ",\"acceptedAt\":" TIME ",\"changedAt\":" TIME ",\"dueAt\":" TIME ETA \
    ",\"expiresAt\":" TIME ",\"deadReason\":" TEXT ",\"lastStatus\":" NUMBER                       \
    ",\"lastError\":" TEXT
#define MESSAGE_REQUIRED "\"id\",\"state\",\"priority\",\"attempts\",\"bodyBytes\""

static const struct {
    const char *name, *schema;
} schemas[] = {
    {"QueueList", LIST("queues", "Queue")},
    {"StockList", LIST("stocks", "Stock")},
    {"CampaignList", LIST("campaigns", "Campaign")},
    {"DestinationList", LIST("destinations", "Destination")},
    {"Switch", OBJECT("\"name\":" TEXT ",\"paused\":" BOOLEAN, "\"name\",\"paused\"")},
    {"Acted", OBJECT("\"name\":" TEXT, "\"name\"")},
    {"Purged", OBJECT("\"purged\":" NUMBER ",\"stoppedBy\":" TEXT, "\"purged\"")},
    {"Redriven", OBJECT("\"redriven\":" NUMBER ",\"stoppedBy\":" TEXT, "\"redriven\"")},
    {"Receipt", OBJECT(RECEIPT_PROPERTIES, RECEIPT_REQUIRED)},
    {"ReceiptState", OBJECT("\"receipt\":" RECEIPT ",\"position\":" NUMBER ",\"number\":" NUMBER
                            ",\"state\":" TEXT ",\"queue\":" TEXT ",\"attempts\":" NUMBER
                            ",\"deadReason\":" TEXT ",\"lastStatus\":" NUMBER ",\"lastError\":" TEXT
                            ",\"dueAt\":" TIME ETA ",\"changedAt\":" TIME ",\"confirmBy\":" TIME
                            ",\"confirmation\":" TEXT ",\"links\":{\"type\":\"object\"}",
                            "\"receipt\",\"position\",\"state\"")},
    {"Confirmation", OBJECT("\"outcome\":{\"enum\":[\"succeeded\",\"failed\",\"retry\"]},"
                            "\"note\":{\"type\":\"string\",\"maxLength\":255}",
                            "\"outcome\"")},
    {"Confirmed", OBJECT("\"receipt\":" RECEIPT ",\"outcome\":" TEXT, "\"receipt\",\"outcome\"")},
    {"Message", OBJECT(MESSAGE_PROPERTIES
                       ",\"queue\":" TEXT ",\"scheduleTime\":" TIME
                       ",\"history\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}"
                       ",\"historyForgotten\":" NUMBER ",\"etag\":" TEXT ",\"version\":" NUMBER
                       ",\"contentType\":" TEXT ",\"orderingKey\":" TEXT ",\"traceparent\":" TEXT
                       ",\"tracestate\":" TEXT ",\"correlationId\":" TEXT ",\"headers\":" TEXT
                       ",\"body\":{},\"bodyBase64\":" TEXT,
                       MESSAGE_REQUIRED)},
    {"MessageList", LIST("messages", "Message")},
    {"Edited", OBJECT("\"id\":" RECEIPT ",\"version\":" NUMBER, "\"id\",\"version\"")},
    {"MoveInput", OBJECT("\"to\":" TEXT, "\"to\"")},
    {"Moved", OBJECT("\"id\":" RECEIPT ",\"queue\":" TEXT, "\"id\",\"queue\"")},
    {"JobInput",
     OBJECT(
         "\"action\":{\"enum\":[\"redrive\",\"move\",\"discard\"]},\"filter\":{\"type\":\"object\"}"
         ",\"to\":" TEXT ",\"perSecond\":{\"type\":\"number\",\"exclusiveMinimum\":0}"
         ",\"reason\":" TEXT,
         "\"action\"")},
    {"Job", OBJECT("\"id\":" TEXT ",\"action\":" TEXT ",\"status\":" TEXT ",\"total\":" NUMBER
                   ",\"searched\":" NUMBER ",\"done\":" NUMBER ",\"failed\":" NUMBER
                   ",\"beganAt\":" TIME ",\"endedAt\":" TIME ",\"filter\":{\"type\":\"object\"}"
                   ",\"to\":" TEXT ",\"reason\":" TEXT ",\"startedBy\":" TEXT
                   ",\"perSecond\":{\"type\":\"number\"}",
                   "\"id\",\"action\",\"status\",\"done\"")},
    {"JobList", LIST("jobs", "Job")},
    {"JobCancelled", OBJECT("\"id\":" TEXT ",\"done\":" NUMBER, "\"id\",\"done\"")},
    {"ReservationInput", OBJECT("\"member\":{\"type\":\"string\",\"minLength\":1},"
                                "\"purchase\":{\"type\":\"string\",\"minLength\":1},\"hold\":" TEXT,
                                "")},
    {"Reservation", OBJECT("\"stock\":" TEXT ",\"purchase\":" TEXT ",\"state\":" TEXT
                           ",\"expiresAt\":" TIME "," RECEIPT_PROPERTIES,
                           "\"stock\",\"purchase\"")},
    {"Entry", OBJECT("\"member\":" TEXT ",\"receipt\":" RECEIPT ",\"number\":" NUMBER
                     ",\"state\":" TEXT ",\"acceptedAt\":" TIME,
                     "\"member\",\"receipt\",\"number\",\"state\"")},
    {"EntryList", LIST("entries", "Entry")},
    {"Transaction",
     OBJECT("\"operations\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":64,"
            "\"items\":{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":1}}",
            "\"operations\"")},
    {"TransactionReceipt",
     OBJECT(RECEIPT_PROPERTIES
            ",\"operations\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}",
            RECEIPT_REQUIRED)},
    {"AuditList", OBJECT("\"count\":" NUMBER ",\"written\":" NUMBER ",\"head\":" TEXT
                         ",\"entries\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}"
                         ",\"nextPageToken\":" TEXT,
                         "\"count\",\"written\",\"head\",\"entries\"")},
    {"Health", OBJECT("\"status\":" TEXT ",\"version\":" TEXT, "\"status\",\"version\"")},
    {"Ready", OBJECT("\"ready\":" BOOLEAN ",\"reasons\":{\"type\":\"array\",\"items\":" TEXT
                     "},\"version\":" TEXT
                     ",\"starting\":" OBJECT("\"step\":" TEXT ",\"done\":" NUMBER ",\"of\":" NUMBER,
                                             "\"step\",\"done\",\"of\""),
                     "\"ready\",\"reasons\"")},
    {"Nothing", OBJECT("", "")},
    {"OpenApi", OBJECT("\"openapi\":" TEXT, "\"openapi\"")},
    {"Problem", OBJECT("\"type\":" TEXT ",\"title\":" TEXT ",\"status\":" NUMBER ",\"detail\":" TEXT
                       ",\"instance\":" TEXT ",\"next\":" TEXT ",\"correlationId\":" TEXT
                       ",\"opensAt\":" TIME ",\"receipt\":" RECEIPT ",\"number\":" NUMBER
                       ",\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}",
                       "\"type\",\"title\",\"status\",\"next\"")},
    {"Payload", "{}"},
    {"Managed", "{}"},
};

static const char *media_type(const char *schema) {
    return strcmp(schema, "Payload") == 0  ? "*/*"
           : strcmp(schema, "Text") == 0   ? "text/*"
           : strcmp(schema, "Events") == 0 ? "text/event-stream"
                                           : "application/json";
}

/* "content": {"application/json": {"schema": {"$ref": ...}}} */
static void write_content(const char *schema, const char *type, struct json_out *out) {
    char ref[96];
    bool text = strcmp(schema, "Text") == 0 || strcmp(schema, "Events") == 0;
    snprintf(ref, sizeof ref, "{\"$ref\":\"#/components/schemas/%s\"}", schema);
    out_key(out, "content");
    out_open(out, '{');
    out_key(out, type);
    out_open(out, '{');
    out_key(out, "schema");
    out_raw(out, span_text(text ? TEXT : ref));
    out_close(out, '}');
    out_close(out, '}');
}

static void write_parameter(const char *name, const char *in, const char *schema, const char *about,
                            struct json_out *out) {
    out_open(out, '{');
    info_text(out, "name", name);
    info_text(out, "in", in);
    info_bool(out, "required", strcmp(in, "path") == 0);
    if (about != NULL) {
        info_text(out, "description", about);
    }
    out_key(out, "schema");
    out_raw(out, span_text(schema));
    out_close(out, '}');
}

static void write_path_parameters(const char *pattern, struct json_out *out) {
    for (const char *at = strchr(pattern, '{'); at != NULL; at = strchr(at + 1, '{')) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 1, "}"), at + 1);
        write_parameter(name, "path", TEXT, NULL, out);
    }
}

static void write_publish_headers(struct json_out *out) {
    static const struct {
        const char *name, *about;
    } fields[] = {
        {"Sluice-Delay", "Leave after this duration."},
        {"Sluice-Schedule-Time", "Leave at this time."},
        {"Sluice-Priority", "0 to 255; higher ones leave first."},
        {"Sluice-Ttl", "Dead when it has not left by then."},
        {"Sluice-Dispatch-Deadline", "Refused, or dead, when it cannot be sent by then."},
        {"Sluice-Retry-Config", "Members of retryConfig, as JSON, instead of the queue's."},
        {"Sluice-Ordering-Key", "Messages of one key leave one after the other."},
        {"Sluice-Unique-Key", "Of one key a queue with `unique` takes one message."},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        write_parameter(fields[i].name, "header", TEXT, fields[i].about, out);
    }
}

/* Each is a member of the filter of a job, too. */
static void write_match_parameters(struct json_out *out) {
    for (const struct field *f = filter_fields; f->name != NULL; f++) {
        write_parameter(f->name, "query", f->type == FIELD_INTEGER ? NUMBER : TEXT, f->about, out);
    }
}

static void write_parameters(const struct route *r, struct json_out *out) {
    out_key(out, "parameters");
    out_open(out, '[');
    write_path_parameters(r->pattern, out);
    if ((r->query & QUERY_PAGE) != 0) {
        write_parameter("page_size", "query",
                        "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":50}",
                        NULL, out);
        write_parameter("page_token", "query", TEXT, "nextPageToken of the page before.", out);
    }
    if ((r->query & QUERY_FILTER) != 0) {
        write_parameter(
            "filter", "query",
            "{\"enum\":[\"ready\",\"delayed\",\"in-flight\",\"dead\",\"blocked\",\"confirming\"]}",
            "Only messages in this state.", out);
    }
    if ((r->query & QUERY_VIEW) != 0) {
        write_parameter("view", "query", "{\"enum\":[\"basic\",\"full\",\"body\"]}", NULL, out);
    }
    if ((r->query & QUERY_MATCH) != 0) {
        write_match_parameters(out);
    }
    if ((r->query & QUERY_KEEP) != 0) {
        write_parameter("body", "query", "{\"enum\":[\"keep\"]}",
                        "The body stays; only header fields that are given are changed.", out);
        write_parameter("If-Match", "header", TEXT,
                        "ETag of the message when it was looked at; else 412.", out);
    }
    if ((r->query & QUERY_REASON) != 0) {
        write_parameter("reason", "query", TEXT, "Why; kept in the audit.", out);
    }
    if (r->handle == queue_publish) {
        write_publish_headers(out);
    }
    if (r->method == HTTP_POST_) {
        write_parameter("Idempotency-Key", "header", "{\"type\":\"string\",\"maxLength\":257}",
                        "Same key and body: the stored answer, marked Idempotency-Replayed. "
                        "Kept 24 hours.",
                        out);
    }
    out_close(out, ']');
}

static void write_responses(const struct route *r, struct json_out *out) {
    char status[8];
    snprintf(status, sizeof status, "%d", r->status);
    out_key(out, "responses");
    out_open(out, '{');
    out_key(out, status);
    out_open(out, '{');
    info_text(out, "description", http_status_text(r->status));
    if (r->answers != NULL) {
        write_content(r->answers, media_type(r->answers), out);
    }
    out_close(out, '}');
    bool publishes = r->handle == queue_publish;
    if ((r->method == HTTP_PUT_ && r->action == ACTION_DEFINE) || publishes) {
        out_key(out, publishes ? "200" : "201");
        out_open(out, '{');
        info_text(out, "description", publishes ? "A duplicate: nothing was queued" : "Created");
        write_content(r->answers, media_type(r->answers), out);
        out_close(out, '}');
    }
    out_key(out, "default");
    out_open(out, '{');
    info_text(out, "description", "A problem (RFC 9457)");
    write_content("Problem", "application/problem+json", out);
    out_close(out, '}');
    out_close(out, '}');
}

/* "security": [{"bearer": [scopes that may]}, {}]; {}: where somebody on this machine needs no token. */
static void write_security(enum action action, struct json_out *out) {
    unsigned scopes = action_scopes(action);
    info_text(out, "x-sluice-action", action_name(action));
    out_key(out, "security");
    out_open(out, '[');
    if (scopes != 0) {
        out_open(out, '{');
        out_key(out, "bearer");
        out_open(out, '[');
        for (unsigned scope = SCOPE_READ; scope <= SCOPE_ADMIN; scope <<= 1) {
            if ((scopes & scope) != 0) {
                out_text(out, scope_name((enum scope)scope));
            }
        }
        out_close(out, ']');
        out_close(out, '}');
        out_raw(out, span_text("{}"));
    }
    out_close(out, ']');
}

static void write_operation(const struct route *r, struct json_out *out) {
    static const char *const methods[] = {
        [HTTP_GET_] = "get", [HTTP_POST_] = "post", [HTTP_PUT_] = "put", [HTTP_DELETE_] = "delete"};
    out_key(out, methods[r->method]);
    out_open(out, '{');
    info_text(out, "operationId", r->id);
    info_text(out, "summary", r->summary);
    write_parameters(r, out);
    if (r->takes != NULL) {
        out_key(out, "requestBody");
        out_open(out, '{');
        info_bool(out, "required", true);
        write_content(r->takes, r->body == BODY_JSON ? "application/json" : media_type(r->takes),
                      out);
        out_close(out, '}');
    }
    write_responses(r, out);
    write_security(r->action, out);
    out_close(out, '}');
}

/* Routes of one pattern stand in one object, whatever their order in the table. */
static bool first_of_pattern(const struct route *routes, size_t i) {
    for (size_t k = 0; k < i; k++) {
        if (strcmp(routes[k].pattern, routes[i].pattern) == 0) {
            return false;
        }
    }
    return true;
}

static void write_paths(const struct route *routes, size_t count, struct json_out *out) {
    out_key(out, "paths");
    out_open(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (!first_of_pattern(routes, i)) {
            continue;
        }
        out_key(out, routes[i].pattern);
        out_open(out, '{');
        for (size_t k = i; k < count; k++) {
            if (strcmp(routes[k].pattern, routes[i].pattern) == 0) {
                write_operation(&routes[k], out);
            }
        }
        out_close(out, '}');
    }
    out_close(out, '}');
}

static void write_components(struct json_out *out) {
    out_key(out, "components");
    out_open(out, '{');
    out_key(out, "securitySchemes");
    out_raw(out, span_text("{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"}}"));
    out_key(out, "schemas");
    out_open(out, '{');
    for (int kind = 0; kind < DEFINITION_KINDS; kind++) {
        out_key(out, definition_types[kind].schema);
        fields_schema(definition_types[kind].fields, out);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(schemas); i++) {
        out_key(out, schemas[i].name);
        out_raw(out, span_text(schemas[i].schema));
    }
    out_close(out, '}');
    out_close(out, '}');
}

int openapi_write(const struct route *routes, size_t count, const char *version,
                  struct buffer *to) {
    struct json_out out;
    out_init(&out, to);
    out_open(&out, '{');
    info_text(&out, "openapi", "3.1.0");
    out_key(&out, "info");
    out_open(&out, '{');
    info_text(&out, "title", "Sluice");
    info_text(&out, "version", version);
    out_close(&out, '}');
    out_key(&out, "security");
    out_raw(&out, span_text("[{\"bearer\":[]},{}]"));
    write_paths(routes, count, &out);
    write_components(&out);
    out_close(&out, '}');
    return out.failed ? E_NOMEM : 0;
}
