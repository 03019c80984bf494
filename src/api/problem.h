/*
 * api/problem.h - every "no" of the API: RFC 9457 problems from one table.
 *
 * Promise: the name of a problem never changes; its type is the relative reference /problems/<name>,
 *          which the program serves as a text for people. Each says what to do next.
 */
#ifndef SLUICE_API_PROBLEM_H
#define SLUICE_API_PROBLEM_H

#include "api/fields.h"
#include "model/refusal.h"
#include "model/request.h"

/* name, type, status, title, what to do next */
#define PROBLEM_TABLE(X)                                                                           \
    X(INVALID, "invalid", 400, "The request is not valid",                                         \
      "Correct what `detail` and `errors` say and send it again.")                                 \
    X(UNAUTHORIZED, "unauthorized", 401, "A token is needed",                                      \
      "Send Authorization: Bearer with a token that the server knows.")                            \
    X(FORBIDDEN, "forbidden", 403, "Not permitted",                                                \
      "Use a token whose scopes and resources cover this request.")                                \
    X(NOT_FOUND, "not-found", 404, "There is no such resource",                                    \
      "Check the path; create the resource first.")                                                \
    X(METHOD, "method-not-allowed", 405, "The resource does not know this method",                 \
      "Use one of the methods in the Allow field.")                                                \
    X(TIMEOUT, "request-timeout", 408, "The request came too slowly",                              \
      "Send it again on a new connection.")                                                        \
    X(ALREADY_CLAIMED, "already-claimed", 409, "This was claimed before",                          \
      "Nothing: `receipt` is the one that counts.")                                                \
    X(MEMBER_LIMIT, "member-limit", 409, "This member has as many units as allowed",               \
      "Nothing can be had for this member unless units are released.")                             \
    X(CANCELLED, "cancelled", 409, "A cancel of this purchase came first",                         \
      "Use another purchase number for a new purchase.")                                           \
    X(CONFLICT, "conflict", 409, "The present state does not allow it",                            \
      "Read `detail`, look at the resource, and decide again.")                                    \
    X(SOLD_OUT, "sold-out", 410, "Everything is taken",                                            \
      "Nothing is left; units may come back when others are released.")                            \
    X(CLOSED, "closed", 410, "The campaign is over", "Nothing: it does not open again by itself.") \
    X(CHANGED, "changed", 412, "It is not as it was when you looked",                              \
      "Read it again, and decide again.")                                                          \
    X(TOO_LARGE, "too-large", 413, "The body is larger than allowed", "Send a smaller body.")      \
    X(URI_TOO_LONG, "uri-too-long", 414, "The request line is longer than allowed",                \
      "Use shorter names or fewer parameters.")                                                    \
    X(UNSUPPORTED, "unsupported", 415, "The content type is not understood",                       \
      "Send application/json.")                                                                    \
    X(EXPECTATION, "expectation-failed", 417, "The expectation cannot be met",                     \
      "Use Expect: 100-continue, or none.")                                                        \
    X(KEY_REUSED, "idempotency-key-reused", 422, "This key was used for another request",          \
      "Use a new Idempotency-Key for a new request.")                                              \
    X(DEADLINE, "deadline-unreachable", 422, "It cannot be sent by its deadline",                  \
      "Allow more time, or have it done another way.")                                             \
    X(NOT_OPEN, "not-open-yet", 425, "The campaign has not opened",                                \
      "Send it again at `opensAt`; Retry-After says in how many seconds.")                         \
    X(RATE_LIMITED, "rate-limited", 429, "This client makes too many requests",                    \
      "Send it again after Retry-After; RateLimit-Policy says how many may be made.")              \
    X(HEADER_TOO_LARGE, "header-too-large", 431, "The header fields are larger than allowed",      \
      "Send fewer or shorter header fields.")                                                      \
    X(INTERNAL, "internal", 500, "The server failed",                                              \
      "Send it again with the same Idempotency-Key; tell its operator the correlation id.")        \
    X(NOT_IMPLEMENTED, "not-implemented", 501, "Not implemented", "Use another method or coding.") \
    X(QUEUE_FULL, "queue-full", 503, "The queue is full", "Send it again after Retry-After.")      \
    X(LIMIT, "limit", 503, "A limit of the server is reached",                                     \
      "Remove what is not needed, or raise the limit that `detail` names.")                        \
    X(BUSY, "busy", 503, "Too many requests are waiting", "Send it again after Retry-After.")      \
    X(STOPPING, "stopping", 503, "The server is stopping",                                         \
      "Send it again after Retry-After, on a new connection.")                                     \
    X(VERSION, "http-version", 505, "The HTTP version is not supported", "Use HTTP/1.1.")          \
    X(DISK_FULL, "disk-full", 507, "No room is left to store it",                                  \
      "Send it again after Retry-After: reading and consuming go on and make room.")

enum problem {
#define X(name, type, status, title, next) PROBLEM_##name,
    PROBLEM_TABLE(X)
#undef X
        PROBLEM_COUNT
};

struct problem_type {
    const char *name;
    int status;
    const char *title;
    const char *next;
};
extern const struct problem_type problem_types[PROBLEM_COUNT];

enum problem problem_of_refusal(enum refusal r);
enum problem problem_of_status(int status);
/* PROBLEM_COUNT: there is none of that name. */
enum problem problem_find(struct span name);

/* What one occurrence adds; empty or zero members are left out. */
struct problem_facts {
    enum problem kind;
    const char *detail;
    struct span instance; /* path of the request */
    struct span correlation_id;
    uint64_t opens_ns;
    uint64_t wait_ns;
    uint64_t receipt; /* id */
    uint64_t number;
    const char *pointer; /* of the one field that `detail` is about */
    const struct field_errors *errors;
};
void problem_write(const struct problem_facts *p, struct json_out *out);
/* Seconds for Retry-After; 0: none. */
uint64_t problem_retry_after_s(const struct problem_facts *p, uint64_t now_ns);

#endif
