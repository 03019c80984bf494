/*
 * model/refusal.h - why a request was not carried out: the table of business answers.
 *
 * Promise: `decide` returns REFUSAL_NONE (0) or one of these; nothing was changed then. Names are
 *          stable: they stand in metrics (refusal_name) and map one to one to problem types of the API.
 */
#ifndef SLUICE_MODEL_REFUSAL_H
#define SLUICE_MODEL_REFUSAL_H

#define REFUSAL_TABLE(X)                                                                           \
    X(NONE, "none")                                                                                \
    X(NOT_FOUND, "not-found")         /* the resource in the path */                               \
    X(REFERENCE, "unknown-reference") /* a resource that a definition or body names */             \
    X(INVALID, "invalid")             /* a value outside its range; request.error_pointer */       \
    X(NOT_OPEN, "not-open-yet")       /* + opens_ns */                                             \
    X(CLOSED, "closed")                                                                            \
    X(ALREADY_CLAIMED, "already-claimed") /* + receipt of the first entry */                       \
    X(MEMBER_LIMIT, "member-limit")                                                                \
    X(SOLD_OUT, "sold-out")                                                                        \
    X(CANCELLED, "cancelled")           /* a cancel of this purchase came first */                 \
    X(DEADLINE, "deadline-unreachable") /* it cannot be sent by its dispatchDeadline */            \
    X(QUEUE_FULL, "queue-full")                                                                    \
    X(DISK_FULL, "disk-full")                                                                      \
    X(KEY_REUSED, "idempotency-key-reused")                                                        \
    X(STALE, "stale")       /* caller used an older definition; retried inside */                  \
    X(CONFLICT, "conflict") /* the state does not allow it: see error_detail */                    \
    X(LIMIT, "limit")       /* a limit of the limits table; see error_detail */                    \
    X(BUSY, "busy")         /* engine queue full */                                                \
    X(STOPPING, "stopping")                                                                        \
    X(TOO_LARGE, "too-large") /* it can never fit */                                               \
    X(PRECONDITION,                                                                                \
      "precondition-failed")       /* AMQP 406: it is there with other properties, in use */       \
    X(LOCKED, "resource-locked")   /* AMQP 405: exclusive to another connection */                 \
    X(FORBIDDEN, "access-refused") /* AMQP 403 */                                                  \
    X(NOT_ALLOWED, "not-allowed")  /* AMQP 530 */                                                  \
    X(COMMAND, "command-invalid")  /* AMQP 503: an unknown type of exchange */

enum refusal {
#define X(name, text) REFUSAL_##name,
    REFUSAL_TABLE(X)
#undef X
        REFUSAL_COUNT
};

/* "sold-out"; never NULL. */
const char *refusal_name(enum refusal r);

#endif
