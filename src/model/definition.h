/*
 * model/definition.h - what users define: queues, stocks, campaigns, destinations.
 *
 * Promise: a definition is a value. encode and decode are inverse; decode of an older version fills
 *          new fields with their defaults. `free` accepts a zeroed one.
 * Shape:   strings are owned, NUL-terminated, never NULL after *_def_init (empty text instead).
 * Units:   ns for times; 0 means "no limit" unless said otherwise.
 * Names:   1..NAME_MAX_BYTES of [A-Za-z0-9._-], starting with a letter or digit (name_valid).
 */
#ifndef SLUICE_MODEL_DEFINITION_H
#define SLUICE_MODEL_DEFINITION_H

#include "base/buffer.h"
#include "base/reader.h"
#include "model/adaptive.h"
#include "model/budget.h"
#include "model/endpoint.h"
#include "model/failover.h"
#include "model/limits.h"
#include "model/ramp.h"
#include "model/refusal.h"

struct define; /* request.h */

#define NAME_MAX_BYTES 128u
#define KEY_MAX_BYTES  255u /* member keys, purchase numbers, ordering keys, idempotency keys */
#define PRIORITY_MAX   255u

bool name_valid(struct span name);

#define RETRY_BACKOFFS_MAX 6u
struct backoff_list {
    uint32_t count;
    uint32_t ms[RETRY_BACKOFFS_MAX];
};

struct retry_def {
    uint32_t max_attempts;        /* 100; 0: no limit */
    uint32_t max_doublings;       /* 16; then linear by the last step, as in Cloud Tasks */
    uint64_t min_backoff_ns;      /* 100 ms */
    uint64_t max_backoff_ns;      /* 1 h */
    uint64_t max_duration_ns;     /* 0; total age after the first attempt */
    struct backoff_list backoffs; /* none; instead of the above: exactly these waits */
    uint32_t errors;              /* 0: all; bits of the errors that are tried again, see retry.c */
    /* "": as the destination says; owned by a queue's definition, borrowed from an override. */
    char *statuses;
};

/* What happens to a queue of max_messages or max_bytes when more comes. */
enum queue_overflow {
    OVERFLOW_REFUSE = 0, /* QUEUE_FULL, to whoever publishes: AMQP's reject-publish */
    OVERFLOW_DROP_HEAD =
        1, /* what would leave next goes, to the dead-letter exchange if there is one */
    OVERFLOW_REFUSE_DLX = 2, /* QUEUE_FULL, and what was published is dead-lettered */
};
enum queue_key_source { KEY_OF_ENVELOPE = 0, KEY_OF_HEADER = 1, KEY_OF_ROUTING_KEY = 2 };
/* Where the key of a unique message stands: see unique.h. */
enum queue_dedup_source { DEDUP_NONE = 0, DEDUP_BY_HEADER = 1, DEDUP_BY_MESSAGE_ID = 2 };
enum unique_until { UNIQUE_FOR_WINDOW = 0, UNIQUE_UNTIL_DELIVERED = 1 };
enum unique_answer { UNIQUE_GIVES_RECEIPT = 0, UNIQUE_REFUSES = 1 };

/* Owned bytes; data NULL when empty. */
struct def_bytes {
    uint8_t *data;
    uint32_t size;
};

/* Where the end of a message is told: see outcome.h. */
struct outcome_def {
    char *queue; /* "": nowhere */
};

/* Turns that a tenant has in each round; others have one. */
struct weight_def {
    char *tenant;
    uint32_t weight;
};
struct weight_list {
    struct weight_def *items;
    uint32_t count;
};
#define TENANT_WEIGHTS_MAX 256u
#define TENANT_WEIGHT_MAX  1000u

struct queue_def {
    char *name;
    char *destination; /* empty: not pushed */
    bool paused;
    bool dead_letters;       /* true: refused, exhausted and expired messages are kept as dead */
    uint8_t max_priority;    /* 9; higher numbers leave first */
    uint64_t max_messages;   /* 0; publish beyond it: QUEUE_FULL */
    uint64_t max_bytes;      /* 0 */
    uint64_t message_ttl_ns; /* 0; the smaller of this and the message's own wins */
    uint64_t max_dead;       /* 1,000,000; above it the oldest dead one goes */
    struct retry_def retry;
    struct pace_def pace;          /* of this queue alone; the destination's comes on top */
    uint64_t dispatch_deadline_ns; /* 0: the destination's timeout; whole attempt */
    /* Since version 2, for AMQP. */
    bool amqp;          /* declared by AMQP: max_messages and max_bytes count what is ready */
    bool durable;       /* true; else it goes when the program starts again */
    bool auto_delete;   /* goes with its last consumer */
    bool exclusive;     /* goes with the session that declared it */
    bool single_active; /* one consumer at a time gets messages */
    bool has_dead_letter_exchange, has_dead_letter_key;
    uint64_t expires_ns; /* 0; unused for so long: it goes */
    enum queue_overflow overflow;
    uint32_t delivery_limit;        /* 0: none; above it a returned message is dead */
    char *dead_letter_exchange;     /* of the same vhost */
    char *dead_letter_key;          /* else the message's own */
    enum queue_key_source ordering; /* of the ordering key, for what AMQP publishes */
    enum queue_dedup_source dedup;
    char *ordering_header;
    uint64_t dedup_ttl_ns;       /* 0: limits.dedup_ttl_ns */
    struct def_bytes arguments;  /* as declared: entries of a table; for equivalence */
    uint32_t weight;             /* 1; of its lane at the destination, see lane.h */
    uint32_t guaranteed_percent; /* 0; of the destination's starts */
    struct outcome_def on_success, on_failure;
    char *unique_header; /* empty: the key is given as such */
    enum unique_until unique_until;
    enum unique_answer unique_answer; /* to HTTP; AMQP is told nothing */
    char *tenant_header;              /* names the tenant; empty: the queue is not fair */
    struct weight_list tenant_weights;
};

struct stock_def {
    char *name;
    uint64_t total;
    uint64_t per_member; /* 0 */
    bool on_sale;        /* once true, `total` can only rise, and it cannot become false again */
    uint64_t hold_ns;    /* 0: reservations are final; else held this long unless confirmed */
};

enum campaign_failure {
    CAMPAIGN_FAILURE_RELEASE,         /* unit back in stock; the member's entry stays, failed */
    CAMPAIGN_FAILURE_RELEASE_REENTER, /* unit back; the member may enter again */
    CAMPAIGN_FAILURE_KEEP,            /* unit stays used, for a person to sort out */
};

struct campaign_def {
    char *name;
    uint64_t opens_ns;     /* 0: open from the start */
    uint64_t closes_ns;    /* 0: never */
    char *stock;           /* must exist */
    char *queue;           /* what an accepted entry is queued on; empty: nothing is sent */
    char *member_pointer;  /* RFC 6901, into the JSON body; string or integer there */
    uint64_t safety_stock; /* units of the stock that this campaign leaves untouched */
    enum campaign_failure on_failure;
    uint8_t priority; /* of the queued message */
};

/* One of several places that a destination's requests may go to. */
struct endpoint_def {
    char *name; /* unique in its destination; empty: the URL stands for it */
    char *url;
    uint32_t weight; /* 1 */
};

/* What it is known by. */
static inline const char *endpoint_def_name(const struct endpoint_def *d) {
    return d->name[0] != '\0' ? d->name : d->url;
}

/* Lists own their items, which are as endpoint_def_init and limit_def_init make them. */
struct endpoint_list {
    struct endpoint_def *items;
    uint32_t count;
};
struct limit_list {
    struct pace_def *items;
    uint32_t count;
};

/* Active checks of endpoints: GET `path` at each of them. Off when path is empty. */
struct check_def {
    char *path;           /* "": off; "/health" */
    char *statuses;       /* "200-399" */
    uint64_t interval_ns; /* 10 s */
    uint64_t timeout_ns;  /* 2 s */
    uint32_t rise, fall;  /* 2, 3: so many in a row turn the verdict */
};

/* How a message's body leaves; CloudEvents 1.0. */
enum body_format { FORMAT_AS_RECEIVED, FORMAT_EVENT_BINARY, FORMAT_EVENT_STRUCTURED };

/* How requests of a destination are made, beyond its URL, method and headers. Empty texts: not used. */
struct making_def {
    enum body_format format;
    char *event_type;   /* of CloudEvents; may have places (model/template.h) */
    char *event_source; /* empty: "/queues/{queue}" */
    /* Standard Webhooks: "whsec_<base64>", several separated by blanks, newest first */
    char *signing_keys;
    char *bearer; /* Authorization: Bearer */
    char *user;   /* Authorization: Basic */
    char *password;
    char *token_url; /* OAuth 2.0, client credentials */
    char *client_id;
    char *client_secret;
    char *scope;
    char *audience;
    char *client_certificate; /* PEM files, for mutual TLS */
    char *client_key;
    char *proxy; /* http://host:port */
};

/* Statuses after which a message waits until somebody tells what became of it: see confirm.h. */
enum confirm_deadline { CONFIRM_DEADLINE_RETRY = 0, CONFIRM_DEADLINE_DEAD = 1 };
struct confirm_def {
    char *statuses;       /* "": none */
    uint64_t deadline_ns; /* 10 min */
    enum confirm_deadline at_deadline;
    bool holds_place; /* it counts as under way for the concurrency */
    char *secret;     /* of the signed callback; empty: there is none */
};

/* Several messages of a queue in one request: see docs/guide/queues.md. */
#define BATCH_MESSAGES_MAX 200u
enum batch_format { BATCH_JSON_ARRAY = 0, BATCH_NDJSON = 1 };
enum batch_token { BATCH_TOKEN_REQUEST = 0, BATCH_TOKEN_MESSAGE = 1 };
enum batch_match { BATCH_BY_INDEX = 0, BATCH_BY_ID = 1 };
struct batch_def {
    uint32_t max_messages; /* 0: none */
    uint32_t max_bytes;    /* 1 MiB of bodies */
    uint64_t wait_ns;      /* 10 ms: how old the next message is when it leaves with fewer */
    enum batch_format format;
    enum batch_token token;
    bool has_results; /* else all share the answer's status */
    char *results;    /* JSON pointer to the list of results in the answer */
    enum batch_match match;
    char *result_id, *item_id; /* pointers into a result and into a message's body */
    char *result_status;       /* into a result */
};

struct destination_def {
    char *name;
    char *url;     /* http:// or https://; empty with endpoints; may have places behind the host */
    char *method;  /* "POST"; or one place */
    char *headers; /* "Name: value\n" lines added to each request; may hold secrets: never logged */
    char *ca_file; /* empty: the system's */
    struct pace_def pace;
    uint64_t connect_timeout_ns;    /* 5 s */
    uint64_t timeout_ns;            /* 30 s, whole attempt */
    uint64_t first_byte_timeout_ns; /* 0: none; from request to beginning of the answer */
    char *retry_statuses;           /* "408,425,429,500-599" */
    bool http2;                     /* try it (ALPN on https) */
    bool allow_private;             /* loopback, link-local and private addresses may be called */
    uint32_t max_response_bytes;    /* 64 KiB read and thrown away beyond the excerpt */
    struct limit_list limits;       /* besides `pace`; all hold */
    struct adaptive_def adaptive;
    struct ramp_def ramp;
    struct budget_def budget;
    struct breaker_def breaker;
    struct endpoint_list endpoints; /* none: url is the only one */
    struct balance_def balance;
    struct check_def check;
    struct failover_def failover;
    struct making_def making;
    struct confirm_def confirm;
    struct batch_def batch;
};

/* One item of a list, at *item, which is zeroed. E_NOMEM. */
MUST_CHECK int endpoint_def_init(void *item);
MUST_CHECK int limit_def_init(void *item);
MUST_CHECK int weight_def_init(void *item);

/* Defaults as in the comments above. E_NOMEM. */
MUST_CHECK int queue_def_init(struct queue_def *d);
MUST_CHECK int stock_def_init(struct stock_def *d);
MUST_CHECK int campaign_def_init(struct campaign_def *d);
MUST_CHECK int destination_def_init(struct destination_def *d);
void queue_def_release(struct queue_def *d);
void stock_def_release(struct stock_def *d);
void campaign_def_release(struct campaign_def *d);
void destination_def_release(struct destination_def *d);

/*
 * Whether a wanted definition is taken, one rule for all kinds. `present` is the encoding of the one in
 * force (size 0: there is none), `wanted` that of the new one, `known_file_hash` what a file said last
 * (0: no file ever named it).
 *   - create_only and it exists: CONFLICT;
 *   - from a file that says what it said last time: nothing to do, so run-time changes win;
 *   - equal to the one in force: nothing to do (but a file's new hash is remembered, hence emitted).
 * Fills how->ret_created and ret_unchanged. *ret_emit: emit a DEFINED fact, with *ret_file_hash in it.
 */
enum refusal definition_decide(struct define *how, struct span present, struct span wanted,
                               uint64_t known_file_hash, bool *ret_emit, uint64_t *ret_file_hash);

/* Replaces an owned string. Definitions share one empty text, which only def_free_text may meet. E_NOMEM. */
MUST_CHECK int def_set_text(char **field, struct span value);
/* The same; empty ones share their byte. */
MUST_CHECK int def_share_text(char **field, struct span value);
void def_free_text(char *text);
MUST_CHECK int def_set_bytes(struct def_bytes *field, struct span value);

MUST_CHECK int queue_def_encode(const struct queue_def *d, struct buffer *out);
MUST_CHECK int stock_def_encode(const struct stock_def *d, struct buffer *out);
MUST_CHECK int campaign_def_encode(const struct campaign_def *d, struct buffer *out);
MUST_CHECK int destination_def_encode(const struct destination_def *d, struct buffer *out);
/* Into an uninitialised def; on failure it is released. E_CORRUPT, E_VERSION, E_NOMEM. */
MUST_CHECK int queue_def_decode(struct reader *r, struct queue_def *ret);
MUST_CHECK int stock_def_decode(struct reader *r, struct stock_def *ret);
MUST_CHECK int campaign_def_decode(struct reader *r, struct campaign_def *ret);
MUST_CHECK int destination_def_decode(struct reader *r, struct destination_def *ret);

#endif
