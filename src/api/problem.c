#include "api/problem.h"

#include "base/clock.h"

const struct problem_type problem_types[PROBLEM_COUNT] = {
#define X(name, type, status, title, next) {type, status, title, next},
    PROBLEM_TABLE(X)
#undef X
};

static const enum problem of_refusal[REFUSAL_COUNT] = {
    [REFUSAL_NONE] = PROBLEM_INTERNAL,
    [REFUSAL_NOT_FOUND] = PROBLEM_NOT_FOUND,
    [REFUSAL_REFERENCE] = PROBLEM_INVALID,
    [REFUSAL_INVALID] = PROBLEM_INVALID,
    [REFUSAL_NOT_OPEN] = PROBLEM_NOT_OPEN,
    [REFUSAL_CLOSED] = PROBLEM_CLOSED,
    [REFUSAL_ALREADY_CLAIMED] = PROBLEM_ALREADY_CLAIMED,
    [REFUSAL_MEMBER_LIMIT] = PROBLEM_MEMBER_LIMIT,
    [REFUSAL_SOLD_OUT] = PROBLEM_SOLD_OUT,
    [REFUSAL_CANCELLED] = PROBLEM_CANCELLED,
    [REFUSAL_DEADLINE] = PROBLEM_DEADLINE,
    [REFUSAL_QUEUE_FULL] = PROBLEM_QUEUE_FULL,
    [REFUSAL_DISK_FULL] = PROBLEM_DISK_FULL,
    [REFUSAL_KEY_REUSED] = PROBLEM_KEY_REUSED,
    [REFUSAL_STALE] = PROBLEM_BUSY, /* changed again and again while we tried */
    [REFUSAL_CONFLICT] = PROBLEM_CONFLICT,
    [REFUSAL_LIMIT] = PROBLEM_LIMIT,
    [REFUSAL_BUSY] = PROBLEM_BUSY,
    [REFUSAL_STOPPING] = PROBLEM_STOPPING,
    [REFUSAL_TOO_LARGE] = PROBLEM_TOO_LARGE,
    [REFUSAL_PRECONDITION] = PROBLEM_CONFLICT,
    [REFUSAL_LOCKED] = PROBLEM_CONFLICT,
    [REFUSAL_FORBIDDEN] = PROBLEM_CONFLICT,
    [REFUSAL_NOT_ALLOWED] = PROBLEM_LIMIT,
    [REFUSAL_COMMAND] = PROBLEM_INVALID,
};

enum problem problem_of_refusal(enum refusal r) {
    return of_refusal[r];
}

enum problem problem_of_status(int status) {
    if (status == 503) {
        return PROBLEM_BUSY; /* from the server itself: too many connections */
    }
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (problem_types[i].status == status) {
            return (enum problem)i;
        }
    }
    return status < 500 ? PROBLEM_INVALID : PROBLEM_INTERNAL;
}

enum problem problem_find(struct span name) {
    int i = 0;
    while (i < PROBLEM_COUNT && !span_is(name, problem_types[i].name)) {
        i++;
    }
    return (enum problem)i;
}

static void write_error(const char *pointer, const char *detail, struct json_out *out) {
    out_open(out, '{');
    out_key(out, "pointer");
    out_text(out, pointer);
    out_key(out, "detail");
    out_text(out, detail);
    out_close(out, '}');
}

static void write_errors(const struct problem_facts *p, struct json_out *out) {
    out_key(out, "errors");
    out_open(out, '[');
    if (p->pointer != NULL && p->pointer[0] != '\0') {
        write_error(p->pointer, p->detail != NULL ? p->detail : "not valid", out);
    }
    for (uint32_t i = 0; p->errors != NULL && i < p->errors->count && i < FIELD_ERRORS_MAX; i++) {
        write_error(p->errors->list[i].pointer, p->errors->list[i].detail, out);
    }
    out_close(out, ']');
}

static void write_extensions(const struct problem_facts *p, struct json_out *out) {
    if (p->opens_ns != 0) {
        out_key(out, "opensAt");
        out_time(out, p->opens_ns);
    }
    if (p->receipt != 0) {
        char text[18];
        receipt_format(p->receipt, text);
        out_key(out, "receipt");
        out_text(out, text);
    }
    if (p->number != 0) {
        out_key(out, "number");
        out_u64(out, p->number);
    }
    if (p->kind == PROBLEM_INVALID) {
        write_errors(p, out);
    }
    /* What tools of RabbitMQ's management API show to people. */
    if (p->instance.size > 5 && memcmp(p->instance.data, "/api/", 5) == 0) {
        const struct problem_type *t = &problem_types[p->kind];
        out_key(out, "error");
        out_text(out, t->status == 400 ? "bad_request" : t->name);
        out_key(out, "reason");
        out_text(out, p->detail != NULL && p->detail[0] != '\0' ? p->detail : t->title);
    }
    if (p->correlation_id.size > 0) {
        out_key(out, "correlationId");
        out_span(out, p->correlation_id);
    }
}

void problem_write(const struct problem_facts *p, struct json_out *out) {
    const struct problem_type *t = &problem_types[p->kind];
    out_open(out, '{');
    out_key(out, "type");
    out_raw(out, span_text("\"/problems/"));
    out->comma = false;
    out_raw(out, span_text(t->name));
    out->comma = false;
    out_raw(out, span_text("\""));
    out_key(out, "title");
    out_text(out, t->title);
    out_key(out, "status");
    out_u64(out, (uint64_t)t->status);
    if (p->detail != NULL && p->detail[0] != '\0') {
        out_key(out, "detail");
        out_text(out, p->detail);
    }
    if (p->instance.size > 0) {
        out_key(out, "instance");
        out_span(out, p->instance);
    }
    out_key(out, "next");
    out_text(out, t->next);
    write_extensions(p, out);
    out_close(out, '}');
}

uint64_t problem_retry_after_s(const struct problem_facts *p, uint64_t now_ns) {
    int status = problem_types[p->kind].status;
    if (p->opens_ns != 0) {
        uint64_t wait_ns = p->opens_ns > now_ns ? p->opens_ns - now_ns : 0;
        return wait_ns == 0 ? 1 : (wait_ns + NS_PER_SECOND - 1) / NS_PER_SECOND;
    }
    if (p->wait_ns != 0) {
        return (p->wait_ns + NS_PER_SECOND - 1) / NS_PER_SECOND;
    }
    return status == 507 ? 5 : status == 503 || status == 429 ? 1 : 0;
}
