/*
 * model/request.h - what can be asked of the model, and what it answers.
 *
 * Shape: one struct with a kind, typed input (spans borrow from whoever made the request until it is
 *        answered) and typed output (plain values; lists and definitions as encoded bytes in
 *        `out_bytes`, owned by the request).
 *        decide fills the output; nothing of it may be shown before the record is durable.
 */
#ifndef SLUICE_MODEL_REQUEST_H
#define SLUICE_MODEL_REQUEST_H

#include "base/buffer.h"
#include "base/hash.h"
#include "model/amqp.h"
#include "model/definition.h"
#include "model/module.h"

/* Module in the high byte. */
#define REQUEST_TABLE(X)                                                                           \
    X(QUEUE_DEFINE, 0x0101)                                                                        \
    X(QUEUE_DELETE, 0x0102)                                                                        \
    X(QUEUE_GET, 0x0103)                                                                           \
    X(QUEUE_LIST, 0x0104)                                                                          \
    X(QUEUE_PUBLISH, 0x0105)                                                                       \
    X(QUEUE_MESSAGES, 0x0106)                                                                      \
    X(QUEUE_PAUSE, 0x0107)                                                                         \
    X(QUEUE_RESUME, 0x0108)                                                                        \
    X(QUEUE_PURGE, 0x0109)                                                                         \
    X(QUEUE_REDRIVE, 0x010a)                                                                       \
    X(MESSAGE_GET, 0x0110)                                                                         \
    X(MESSAGE_DELETE, 0x0111)                                                                      \
    X(MESSAGE_MOVE, 0x0112) /* compaction, from the engine only */                                 \
    X(MESSAGE_EDIT, 0x0113)                                                                        \
    X(MESSAGE_TRANSFER, 0x0114) /* to another queue */                                             \
    X(AMQP_QUEUE_DECLARE, 0x0120)                                                                  \
    X(AMQP_QUEUE_DELETE, 0x0121)                                                                   \
    X(AMQP_QUEUE_PURGE, 0x0122)                                                                    \
    X(STOCK_DEFINE, 0x0201)                                                                        \
    X(STOCK_DELETE, 0x0202)                                                                        \
    X(STOCK_GET, 0x0203)                                                                           \
    X(STOCK_LIST, 0x0204)                                                                          \
    X(STOCK_RESERVE, 0x0205)                                                                       \
    X(STOCK_RELEASE, 0x0206)                                                                       \
    X(STOCK_CONFIRM, 0x0207)                                                                       \
    X(STOCK_RESERVATION_GET, 0x0208)                                                               \
    X(CAMPAIGN_DEFINE, 0x0301)                                                                     \
    X(CAMPAIGN_DELETE, 0x0302)                                                                     \
    X(CAMPAIGN_GET, 0x0303)                                                                        \
    X(CAMPAIGN_LIST, 0x0304)                                                                       \
    X(CAMPAIGN_ENTER, 0x0305)                                                                      \
    X(CAMPAIGN_ENTRY_GET, 0x0306)                                                                  \
    X(CAMPAIGN_ENTRIES, 0x0307)                                                                    \
    X(DESTINATION_DEFINE, 0x0501)                                                                  \
    X(DESTINATION_DELETE, 0x0502)                                                                  \
    X(DESTINATION_GET, 0x0503)                                                                     \
    X(DESTINATION_LIST, 0x0504)                                                                    \
    X(DESTINATION_PAUSE, 0x0505)                                                                   \
    X(DESTINATION_RESUME, 0x0506)                                                                  \
    X(ATTEMPT_FINISH, 0x0507)   /* from dispatch only */                                           \
    X(DESTINATION_OPEN, 0x0508) /* the breaker */                                                  \
    X(DESTINATION_CLOSE, 0x0509)                                                                   \
    X(DESTINATION_FAILOVER, 0x050a) /* to the second destination */                                \
    X(DESTINATION_RETURN, 0x050b)                                                                  \
    X(ENDPOINT_EJECT, 0x050c)                                                                      \
    X(ENDPOINT_RETURN, 0x050d)                                                                     \
    X(ENDPOINT_CHECKED, 0x050e) /* from dispatch only */                                           \
    X(CONFIRM, 0x050f)          /* what became of a message that a destination took */             \
    X(TRANSACTION, 0x0601)                                                                         \
    X(RECEIPT_GET, 0x0701)                                                                         \
    X(NOTHING, 0x0702) /* answers when everything before it is durable: readiness, benchmarks */   \
    X(AUDIT_NOTE, 0x0901) /* an entry about the program: name is the action, in.note the text */   \
    X(AUDIT_LIST, 0x0902)                                                                          \
    X(AUDIT_WRITTEN, 0x0903) /* from the engine only */                                            \
    X(AMQP_PUBLISH, 0x0801)                                                                        \
    X(AMQP_TRANSACTION, 0x0802)                                                                    \
    X(EXCHANGE_DECLARE, 0x0803)                                                                    \
    X(EXCHANGE_DELETE, 0x0804)                                                                     \
    X(EXCHANGE_LIST, 0x0805)                                                                       \
    X(AMQP_BIND, 0x0806)                                                                           \
    X(AMQP_UNBIND, 0x0807)                                                                         \
    X(BINDING_LIST, 0x0808)                                                                        \
    X(VHOST_DEFINE, 0x0809)                                                                        \
    X(VHOST_DELETE, 0x080a)                                                                        \
    X(VHOST_LIST, 0x080b)                                                                          \
    X(POLICY_DEFINE, 0x080c)                                                                       \
    X(POLICY_DELETE, 0x080d)                                                                       \
    X(POLICY_LIST, 0x080e)                                                                         \
    X(USER_DEFINE, 0x0a01)                                                                         \
    X(USER_DELETE, 0x0a02)                                                                         \
    X(USER_LIST, 0x0a03)                                                                           \
    X(PERMISSION_DEFINE, 0x0a04)                                                                   \
    X(PERMISSION_DELETE, 0x0a05)                                                                   \
    X(PERMISSION_LIST, 0x0a06)                                                                     \
    X(ACCESS_GET, 0x0a07) /* a user, and what it may do in a vhost */                              \
    X(JOB_START, 0x0d01)                                                                           \
    X(JOB_CANCEL, 0x0d02)                                                                          \
    X(JOB_GET, 0x0d03)                                                                             \
    X(JOB_LIST, 0x0d04)                                                                            \
    X(JOB_NEXT, 0x0d05) /* from whoever runs them: which is due? */                                \
    X(JOB_STEP, 0x0d06) /* the same */                                                             \
    X(CONSUME, 0x0b01)                                                                             \
    X(CONSUMER_CANCEL, 0x0b02)                                                                     \
    X(CONSUMER_CREDIT, 0x0b03)                                                                     \
    X(CONSUMER_LIST, 0x0b04)                                                                       \
    X(QOS, 0x0b05)                                                                                 \
    X(BASIC_GET, 0x0b06)                                                                           \
    X(SETTLE, 0x0b07)                                                                              \
    X(CHANNEL_CLOSE, 0x0b08)                                                                       \
    X(SESSION_CLOSE, 0x0b09)

enum request_kind {
#define X(name, number) REQUEST_##name = number,
    REQUEST_TABLE(X)
#undef X
};

/* "queue-publish"-like texts are not needed anywhere: this one is for logs. */
const char *request_kind_name(enum request_kind k);

struct idempotency {
    struct span key;      /* empty: none */
    uint64_t scope;       /* hash of method and resource: the same key elsewhere is another key */
    uint64_t fingerprint; /* hash of what was asked; another one under the same key: KEY_REUSED */
};

/* The durable proof. `id` names it outside (receipt_format). */
struct receipt {
    uint64_t id; /* 0: none */
    uint64_t accepted_ns;
    uint64_t number; /* of the stock unit, 0 without */
    uint64_t eta_ns; /* absolute; 0: not known */
};

enum message_state {
    MESSAGE_READY = 1,
    MESSAGE_DELAYED = 2,
    MESSAGE_IN_FLIGHT = 3,
    MESSAGE_DEAD = 4,
    MESSAGE_BLOCKED = 5,    /* waits for an earlier message of its ordering key */
    MESSAGE_DONE = 6,       /* only in receipts */
    MESSAGE_DROPPED = 7,    /* only in receipts: deleted, purged, expired without dead letters */
    MESSAGE_CONFIRMING = 8, /* the destination took it; somebody will tell what became of it */
};

enum dead_reason {
    DEAD_NONE = 0,
    DEAD_REFUSED = 1,   /* the destination said no for good */
    DEAD_EXHAUSTED = 2, /* attempts or age used up */
    DEAD_EXPIRED = 3,   /* its time to live ended */
    DEAD_DELETED = 4,   /* by a person; only in receipts */
    DEAD_REJECTED = 5,  /* by a consumer */
    DEAD_MAXLEN = 6, /* the queue was full and drops its head, or dead-letters what is published */
    DEAD_DELIVERY_LIMIT = 7,
    DEAD_DEADLINE = 8,    /* not sent by its dispatch deadline */
    DEAD_UNCONFIRMED = 9, /* nobody told what became of it */
    DEAD_REASON_MAX = DEAD_UNCONFIRMED,
};
const char *message_state_name(enum message_state s);

/* What has no time, since a person or the far side ends it. */
enum waits_for {
    WAITS_FOR_NOBODY = 0,
    WAITS_FOR_QUEUE = 1,       /* it is paused */
    WAITS_FOR_DESTINATION = 2, /* it is paused, or has paused itself */
    WAITS_FOR_BREAKER = 3,     /* it was opened by hand */
    WAITS_FOR_ENDPOINT = 4,    /* all are out by hand, or by their checks */
};
/* As the API says it: what has to be done. */
const char *waits_for_name(enum waits_for w);
/* When a message leaves, as far as that is known. */
struct eta {
    uint64_t at_ns;           /* absolute; 0: not known, or it has left, ... */
    enum waits_for waits_for; /* ... or this must be done first */
};

const char *dead_reason_name(enum dead_reason r);

/* What a message carries; stored once, in its PUT fact. */
struct envelope {
    struct span content_type;
    struct span ordering_key;
    struct span traceparent;
    struct span tracestate;
    struct span correlation_id;
    struct span headers; /* "Name: value\n" lines to send along */
    struct span retry;   /* instead of the queue's: see retry.h */
    struct span body;
};

struct publish {
    struct span queue;
    uint64_t schedule_ns; /* absolute; 0: at once */
    uint64_t ttl_ns;      /* 0: none of its own */
    uint64_t deadline_ns; /* absolute; to be sent by then; 0: none */
    uint8_t priority;
    struct span unique_key; /* see unique.h; empty: none */
    struct envelope envelope;
};

struct reserve {
    struct span stock;
    struct span purchase; /* empty: one is made from the receipt id */
    struct span member;   /* empty: no per-member limit applies */
    uint64_t hold_ns;     /* 0: the stock's own */
};

enum operation_kind {
    OPERATION_RESERVE = 1,
    OPERATION_RELEASE = 2,
    OPERATION_CONFIRM = 3,
    OPERATION_ENQUEUE = 4,
    OPERATION_DEDUP = 5, /* refuse the whole when this key was seen: scope = caller's text */
};
#define TRANSACTION_OPERATIONS_MAX 64u

struct operation {
    enum operation_kind kind;
    struct publish enqueue;
    struct reserve reserve; /* also release, confirm */
    /* ENQUEUE: when the message ends dead, release this reservation in the same record. */
    struct span compensate_stock, compensate_purchase;
    struct span dedup_key;
    uint64_t dedup_ttl_ns;
    uint64_t dedup_space; /* keys of one space do not meet those of another; 0: everybody's */
    /* out */
    struct receipt receipt;
};

struct attempt_finish {
    uint64_t message;
    uint32_t attempt;
    uint16_t status; /* 0: no response */
    uint8_t error;   /* enum attempt_error */
    bool retriable;  /* by the destination; what the queue and the message say then decides */
    bool success;
    uint64_t duration_ns;
    uint64_t retry_after_ns;                  /* relative; 0: not said */
    struct span excerpt;                      /* <= 512 bytes of the response, printable UTF-8 */
    struct span ordering_key, correlation_id; /* of the message, for its outcome; empty: not read */
    struct span retry;                        /* the same, what the message says of it */
    bool shared; /* its request had room for several: `status` may be of this one alone, */
    uint16_t answer_status; /* and these are of the request */
    uint8_t answer_error;
};

/* Stands in the log. */
enum confirm_outcome {
    CONFIRM_NONE = 0,
    CONFIRM_SUCCEEDED = 1,
    CONFIRM_FAILED = 2,
    CONFIRM_RETRY = 3,
    CONFIRM_MISSED = 4, /* the deadline was over */
};
/* "succeeded"; empty for NONE. */
const char *confirm_outcome_name(enum confirm_outcome o);

struct confirm {
    enum confirm_outcome outcome;             /* SUCCEEDED, FAILED, RETRY */
    struct span note;                         /* <= 255 bytes, UTF-8 */
    struct span signature;                    /* empty: the caller had the right anyway */
    struct span ordering_key, correlation_id; /* of the message, for its outcome; empty: not read */
    struct span retry;                        /* the same, what the message says of it */
};

enum attempt_error {
    ATTEMPT_OK = 0,
    ATTEMPT_CONNECT = 1, /* nothing of the request has left */
    ATTEMPT_TIMEOUT = 2,
    ATTEMPT_TLS = 3,
    ATTEMPT_DNS = 4,
    ATTEMPT_PROTOCOL = 5,
    ATTEMPT_ADDRESS_REFUSED = 6, /* private range */
    ATTEMPT_UNKNOWN = 7,         /* the program ended while it was under way */
    ATTEMPT_BODY_LOST = 8,       /* the stored body is corrupt: never sent */
    ATTEMPT_NOT_MADE = 9,        /* the message lacks what its destination's templates ask for */
    ATTEMPT_NO_TOKEN = 10,       /* the authorization server gave none */
    ATTEMPT_BROKEN = 11,         /* it broke before the answer was whole: it may have been done */
    ATTEMPT_ERROR_MAX = ATTEMPT_BROKEN,
};
const char *attempt_error_name(enum attempt_error e);

/* One more message in the request of another one's attempt. */
struct attempt_item {
    uint64_t message, address;
    uint32_t attempt;
};

/*
 * Everything that dispatch needs to make one attempt; made by model_decide_start. message 0: something else
 * was decided (a retry was put off), and nothing is to be sent.
 */
struct attempt_start {
    uint64_t message;
    uint64_t address;            /* where its body is */
    uint32_t attempt;            /* from 1 */
    bool outcome_unknown_before; /* an earlier attempt's outcome is not known */
    uint32_t destination;        /* index and generation: dispatch keeps definitions by them */
    uint32_t destination_generation;
    uint32_t endpoint; /* id, see endpoint_id; 0: the destination's own URL */
    uint64_t timeout_ns;
    uint64_t scheduled_ns;
    uint64_t ahead_ns;   /* so long after the decision is its turn: it must not leave before */
    uint64_t gap_ns;     /* between turns, which those that are late keep; 0: it has no turn */
    uint64_t decided_ns; /* monotonic; the engine's */
    bool put_off;        /* dispatch's: ahead_ns is a place in the line of those that were late */
    uint64_t lead; /* not 0: it joins the request of this message, which was decided before it */
    struct attempt_item *items; /* owned by whoever has the start: those that joined; NULL: none */
    uint32_t item_count;
    char queue[QUEUE_NAME_MAX_BYTES + 1]; /* last: see attempt_start_copy */
};

/* As `*to = *from`, but for what lies behind the name: most are short, and a start is handed on half a dozen times. */
static inline void attempt_start_copy(struct attempt_start *to, const struct attempt_start *from) {
    memcpy(to, from, offsetof(struct attempt_start, queue) + strlen(from->queue) + 1);
}

struct endpoint_checked {
    uint32_t destination; /* index */
    uint32_t endpoint;    /* id */
    bool up;
};

#define ENDPOINT_NAME_SHOWN 128u

struct queue_info {
    uint64_t ready, delayed, in_flight, dead, blocked, confirming;
    uint64_t bytes;
    uint64_t published, completed, died, expired, deleted, attempts; /* since it was made */
    uint64_t oldest_ns; /* accepted time of the oldest ready message, 0 when none */
    bool paused;
    uint32_t consumers;
    uint32_t policy, operator_policy; /* as POLICY_LIST numbers them; 0: none */
    uint32_t tenants;                 /* that have messages */
};

struct message_info {
    uint64_t id, address;
    uint64_t stored_id; /* by which its body is found at `address` */
    uint64_t accepted_ns;
    uint64_t changed_ns; /* the last thing that happened to it: history.h; else accepted_ns */
    enum message_state state;
    uint8_t priority;
    uint32_t attempts;
    uint32_t body_bytes;
    uint64_t due_ns, expires_ns;
    struct eta eta; /* of one message, not in lists */
    enum dead_reason dead_reason;
    uint16_t last_status;
    uint8_t last_error;
    bool keyed;            /* it has an ordering key */
    uint64_t after, bound; /* in lists: the place behind it */
};

struct stock_info {
    uint64_t total, used, held, tombstones, sold_out_since_ns;
    bool sold_out;
};

enum reservation_state { RESERVATION_HELD = 1, RESERVATION_FINAL = 2, RESERVATION_CANCELLED = 3 };

struct reservation_info {
    enum reservation_state state;
    uint64_t number, expires_ns, made_ns;
};

enum entry_state { ENTRY_ACCEPTED = 1, ENTRY_SENT = 2, ENTRY_FAILED = 3 };

struct campaign_info {
    uint64_t entries, sent, failed, left; /* left: units that may still be won */
    uint64_t refused[REFUSAL_COUNT];      /* not part of the durable state: since start */
    bool open;
};

struct entry_info {
    uint64_t id, number, accepted_ns;
    enum entry_state state;
};

enum pause_reason {
    PAUSE_NONE = 0,
    PAUSE_BY_HAND = 1,
    PAUSE_GONE = 2, /* it answered 410 */
};
const char *pause_reason_name(enum pause_reason r);

struct destination_info {
    uint64_t attempts, succeeded, failed, in_flight, waiting, deferred;
    uint64_t closed_until_ns; /* Retry-After */
    bool paused;
    enum pause_reason pause_reason;
    uint64_t breaker; /* enum breaker_state */
    uint64_t breaker_until_ns;
    uint64_t breaker_calls, breaker_bad, breaker_slow; /* in its window */
    uint64_t concurrency_limit;                        /* adaptive; 0: off */
    uint64_t health;                                   /* enum health */
    uint64_t health_since_ns, failures;                /* in the window of the failover rule */
    uint64_t endpoints_in;                             /* of them, those that may be called */
    uint32_t endpoint_count, limit_count;
};

struct limit_info {
    uint64_t left; /* starts possible at once as far as this limit goes, at most its burst */
    uint64_t period_ns;
    uint32_t count, burst; /* burst: that holds, 0 without a rate */
    uint32_t concurrency;  /* 0: no limit */
    bool strict;
};

struct endpoint_info {
    char name[ENDPOINT_NAME_SHOWN];
    uint64_t started, succeeded, failed, in_flight;
    uint64_t average_us;
    uint64_t ejected_until_ns;                /* 0: not ejected */
    uint32_t success_percent, weight_percent; /* weight_percent: less than 100 in slow start */
    bool in, down, out;
};

/* What a GET or LIST says of a destination: the parts there are, one after the other. */
struct destination_detail {
    struct destination_info info;
    struct limit_info limits[LIMITS_MAX];
    struct endpoint_info endpoints[ENDPOINTS_MAX];
};

struct receipt_info {
    uint64_t id, address;     /* address 0: the body is no longer held */
    enum message_state state; /* 0 with a pure reservation or transaction */
    enum dead_reason dead_reason;
    uint16_t last_status;
    uint8_t last_error; /* enum attempt_error */
    uint32_t attempts;
    uint64_t changed_ns; /* when something last happened to it; 0: never, or not remembered */
    uint64_t due_ns, number;
    struct eta eta;
    enum confirm_outcome confirmed;
};

#define AUDIT_HASH_BYTES 32u
struct audit_state {
    uint64_t count;   /* number of the latest entry */
    uint64_t written; /* the audit file has those up to here */
    uint8_t head[AUDIT_HASH_BYTES];
};

/* How a definition came in. A file's wins only when it differs from what that file said last. */
struct define {
    bool from_file;
    uint64_t file_hash; /* of the definition as the file has it */
    bool create_only;   /* POST: CONFLICT when it exists */
    bool ret_created;
    bool ret_unchanged;
};

/* How a message was found by whoever wants to change it; when it is another by now: STALE. */
struct message_seen {
    uint64_t address;
    uint32_t attempts;
    enum message_state state;
};

/* The PUT and MOVED facts carry this; dispatch and the API read it back from a record. */
struct stored_message {
    uint64_t id;
    uint64_t accepted_ns;
    struct span queue; /* name at the time */
    uint64_t schedule_ns, expires_ns;
    uint8_t priority;
    struct envelope envelope;
    uint16_t version;    /* how often it was edited */
    struct span payload; /* the whole fact payload, as MESSAGE_MOVE wants it */
    /* As AMQP published it; properties are empty (not even flags) when it came another way. */
    struct span exchange, routing_key, properties;
};

/* Something done to many messages, one after the other: job.h. */
enum job_action { JOB_REDRIVE = 1, JOB_MOVE = 2, JOB_DISCARD = 3 };
enum job_status { JOB_RUNNING = 1, JOB_DONE = 2, JOB_CANCELLED = 3, JOB_FAILED = 4 };

struct job_info {
    uint64_t id;
    enum job_action action;
    enum job_status status;
    enum message_state state; /* of the messages that are meant */
    uint32_t steps;
    uint64_t began_ns, ended_ns; /* 0: it has not */
    uint64_t interval_ns;        /* between two messages; 0: as fast as it goes */
    uint64_t next_ns;            /* not before */
    uint64_t total;              /* messages in that state when it began */
    uint64_t visited, done, failed;
    uint64_t cursor; /* in.list.after */
};

struct job_start {
    enum job_action action;
    enum message_state state;
    struct span to;
    uint64_t interval_ns;
    struct span filter; /* JSON, as it was said; the model does not read it */
    struct span reason;
};

struct job_item {
    uint64_t id;
    struct stored_message stored; /* MOVE: what its key is made from; the body is not looked at */
};

struct job_step {
    uint32_t step;                /* job_info.steps: no step is done twice */
    const struct job_item *items; /* borrows; in the order of the list */
    uint32_t count;
    uint64_t visited; /* messages looked at */
    uint64_t cursor;  /* behind the last of them */
    bool end;         /* there are no more */
};

struct message_filter;

struct request {
    enum request_kind kind;
    struct idempotency idempotency;
    struct span name; /* the resource of the path */
    uint64_t id;      /* message or receipt of the path; AUDIT_WRITTEN: the number */
    /* Who asks, from where: for the audit. Empty actor: nobody who has to answer for it. */
    struct span actor, address;
    struct span vhost; /* AMQP's; `name` is the queue's name as AMQP knows it then */
    uint64_t session;  /* AMQP's: who asks, for what is exclusive; 0: none */

    union {
        struct {
            struct define how;
            union {
                const struct queue_def *queue;
                const struct stock_def *stock;
                const struct campaign_def *campaign;
                const struct destination_def *destination;
            };
        } define;
        struct publish publish;
        struct reserve reserve;
        struct {
            struct span member;  /* taken from the body by the campaign's pointer */
            uint32_t generation; /* of the definition that was used to take it; else STALE */
            struct envelope envelope;
        } enter;
        struct {
            struct operation *operations; /* borrows */
            uint32_t count;
        } transaction;
        struct attempt_finish finish;
        struct confirm confirm; /* of `id` */
        struct span note;       /* AUDIT_NOTE: what happened; MESSAGE_DELETE: why, for the audit */
        struct endpoint_checked checked;
        struct span endpoint; /* ENDPOINT_EJECT, ENDPOINT_RETURN: its name */
        struct {
            enum message_state state; /* 0: all */
            uint64_t after;           /* id or index to go on after; 0: from the start */
            uint64_t bound;           /* QUEUE_MESSAGES: what belongs to it, next_bound */
            bool in_order;            /* QUEUE_MESSAGES: of one state in its order, for jobs */
            uint32_t max;
            const struct message_filter *filter; /* QUEUE_MESSAGES; borrows; NULL: none */
        } list;
        struct {
            uint64_t id; /* 0: all dead messages of the queue */
            uint32_t max;
            uint64_t after; /* with id 0: `next` of the call before, 0 at first */
        } redrive;
        struct {
            uint64_t *ids;             /* borrows */
            const uint64_t *addresses; /* borrows: where the body of each was read */
            struct span *payloads;     /* borrows: each the PUT payload as read from the log */
            uint32_t count;
        } move;
        struct {
            struct message_seen seen;
            /* Borrows: as it is to be; its id does not count, and properties of AMQP are as they were. */
            const struct stored_message *content;
        } edit;
        struct {
            struct message_seen seen;
            const struct stored_message *stored; /* borrows: as it is */
            struct span to;
        } transfer;
        struct job_start job_start;
        struct job_step job_step;
        struct exchange_publish amqp_publish;
        struct exchange_transaction amqp_transaction;
        struct queue_declare queue_declare;
        struct queue_remove remove; /* AMQP_QUEUE_DELETE; EXCHANGE_DELETE: if_unused */
        struct exchange_declare exchange;
        struct binding binding; /* AMQP_BIND, AMQP_UNBIND */
        struct consume
            consume; /* CONSUME; of it CANCEL, CREDIT, QOS, CHANNEL_CLOSE what they need */
        struct basic_get get;
        struct settle_list settle;
        struct policy_def policy;
        struct user_def user;
        struct permission_def permission; /* ACCESS_GET: user and vhost */
    } in;

    /* ---- answer ---- */
    enum refusal refusal;
    bool replayed;  /* the stored answer of this idempotency key */
    bool duplicate; /* QUEUE_PUBLISH: nothing was queued, the receipt is of the key's first one */
    struct receipt receipt;
    const char *error_detail; /* static text for people, or NULL */
    char error_pointer[64];   /* JSON pointer of the field, or empty */
    uint64_t opens_ns;        /* NOT_OPEN */
    uint32_t generation;      /* STALE, and CAMPAIGN_GET: of the present definition */
    uint64_t next;            /* lists: `after` of the next page, 0 at the end */
    uint64_t next_bound;
    uint64_t visited; /* QUEUE_MESSAGES: how many were looked at */
    uint64_t count;   /* purge, redrive: how many; lists: how many items in out_bytes */
    union {
        struct queue_info queue;
        struct message_info message;
        struct stock_info stock;
        struct reservation_info reservation;
        struct campaign_info campaign;
        struct entry_info entry;
        struct destination_info destination;
        struct receipt_info receipt;
        struct audit_state audit;
        struct queue_declared declared;
        struct job_info job; /* JOB_START */
        struct delivery
            delivery; /* BASIC_GET; kind 0: the queue is empty. `origin` is the asker's */
    } out;
    /*
     * GET: the encoded definition (of a destination: and behind it the parts of struct destination_detail,
     * `count` bytes). LIST of resources: per item the definition, u32-length-prefixed, then the
     * *_info struct's bytes (length-prefixed). QUEUE_MESSAGES: message_info structs. CAMPAIGN_ENTRIES:
     * per entry entry_info, then the member key, both length-prefixed. STALE of ENTER: the member pointer.
     * JOB_GET, JOB_LIST, JOB_NEXT: per job job_info, then with a u32 length before them all its texts, each with one:
     * queue, queue to move to, filter, reason, actor. JOB_NEXT: `next` is in how long it may go on.
     * AUDIT_LIST: per entry its hash (32), then the text, length-prefixed.
     * RECEIPT_GET: the name of the queue (`count` bytes; request_receipt_queue), then that of the campaign that was
     * entered, if any.
     * AMQP_QUEUE_DECLARE: the queue's name. Lists of AMQP (not in pages; `vhost` empty: of all): items, each
     * with a u32 length before it, of keys (u8 length), texts (u32 length) and numbers:
     *   VHOST       key name
     *   EXCHANGE    key vhost, key name, exchange_info's bytes as text, text arguments
     *   BINDING     key vhost, key source, key destination, u8 to exchange, key routing key, text arguments
     *   CONSUMER    u64 session, u32 number, u16 channel, u16 prefetch, u8 flags (1 exclusive, 2 no-ack,
     *               4 active), u32 priority, u64 unsettled, key tag, text model's name of the queue
     *   POLICY      key vhost, key name, text pattern, key apply to, u32 priority, text definition,
     *               u32 number, u8 operator policy
     *   USER        key name, text hash, text tags
     *   PERMISSION  key user, key vhost, text configure, text write, text read
     * ACCESS_GET: the USER item; then the PERMISSION item if there is one; `generation` of all access.
     */
    struct buffer out_bytes;
};

void request_init(struct request *r, enum request_kind kind);
void request_release(struct request *r);
/* Of an answer to RECEIPT_GET, until it is released. Empty: there is none. */
struct span request_receipt_queue(const struct request *r);
struct span request_receipt_campaign(const struct request *r);

/* Notes what is wrong where, and returns REFUSAL_INVALID. Both texts are static. */
enum refusal request_invalid(struct request *r, const char *pointer, const char *detail);
/* Notes a text for people, and returns `refusal`. */
enum refusal request_refuse(struct request *r, enum refusal refusal, const char *detail);
/* The same, with the field that is to blame. */
enum refusal request_refuse_at(struct request *r, enum refusal refusal, const char *pointer,
                               const char *detail);
/* in.list.max between 1 and LIST_MAX; 0 means 100. */
uint32_t request_list_max(const struct request *r);
/* The most items that its answer may list; 0: it lists nothing. */
uint32_t request_list_items(const struct request *r);
#define LIST_MAX        1000u
#define LIST_VISITS_MAX 2000u /* messages that one QUEUE_MESSAGES looks at */

/* Of a receipt that is not there, or not for the caller's eyes. */
#define RECEIPT_NOT_KNOWN "not known, or too long ago"

/* "r" and 16 hex digits; out has 18 bytes. parse: E_INVALID. */
void receipt_format(uint64_t id, char out[18]);
MUST_CHECK int receipt_parse(struct span text, uint64_t *ret_id);

/* Of "Name: value\n" lines, as an envelope has them, the first is taken off. False: there are no more. */
bool header_line_next(struct span *lines, struct span *ret_name, struct span *ret_value);
/* The value of the first of this name, in whatever case. Data NULL: there is none. */
struct span header_line_find(struct span lines, struct span wanted);
bool header_name_is(struct span name, struct span wanted);
/* The entries of AMQP's table of header fields; empty: there is none. */
struct span stored_message_table(const struct stored_message *m);
/* The value of a header field, of AMQP's (a text, else as encoded) or of those sent along. Empty: it is not there. */
struct span stored_message_header(const struct stored_message *m, struct span name);
/* Finds message `id` among the facts of a record. E_NOT_FOUND, E_CORRUPT. */
MUST_CHECK int stored_message_find(struct span facts, uint64_t id, struct stored_message *ret);

#endif
