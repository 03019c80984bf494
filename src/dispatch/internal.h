/*
 * dispatch/internal.h - the parts of dispatch as they see each other. Included under dispatch/ only.
 *
 *      dispatch_start --inbox--> early --> waiting --launch--> call under way --done--> report --engine_submit-->
 *      (any thread)       (till its turn)  (FIFO)              (curl or plain)          (one chain a loop turn)
 *                               ^------------- late ones too close together
 *
 * Everything but the inbox, the free reports and the numbers belongs to the loop's thread.
 */
#ifndef SLUICE_DISPATCH_INTERNAL_H
#define SLUICE_DISPATCH_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/rng.h"
#include "base/slab.h"
#include "base/units.h"
#include "dispatch/check.h"
#include "dispatch/dispatch.h"
#include "dispatch/excerpt.h"
#include "dispatch/header_list.h"
#include "dispatch/lookup.h"
#include "dispatch/origin.h"
#include "dispatch/plain.h"
#include "dispatch/token.h"
#include "dispatch/transport.h"

/* Bodies of calls under way may fill this much memory before new ones wait. */
#define BODIES_UNDER_WAY_MAX (256u << 20)
#define RECORD_KEPT_BYTES    (64u << 10) /* a call that is kept for later keeps at most this */
#define IDLE_CALLS_MAX       64u         /* kept per destination, */
#define IDLE_CALLS_ALL_MAX   1024u       /* and of all, those that were used last */

/* ---- report.c: the ends of attempts on their way to the engine ---- */

/* One ATTEMPT_FINISH request. Made before its call starts, so that an end can always be told. */
struct report {
    struct engine_request request; /* first: the engine's links lead back here */
    struct dispatch *owner;
    uint8_t excerpt[EXCERPT_MAX_BYTES];
    uint8_t ordering_key[KEY_MAX_BYTES], correlation_id[KEY_MAX_BYTES], retry[KEY_MAX_BYTES];
};

struct reports {
    struct engine_port port;
    struct dispatch *owner;
    pthread_mutex_t lock;                /* of `returned` only */
    struct engine_request *free;         /* link */
    struct engine_request *returned;     /* link; answered, not looked at */
    struct engine_request *first, *last; /* ended, not submitted */
    uint32_t ended;
    _Atomic uint32_t out; /* taken and not free again */
    bool wait;            /* the engine was busy: submit again at the next tick */
};

MUST_CHECK int reports_init(struct reports *p, struct dispatch *owner);
void reports_release(struct reports *p);
/* NULL: no memory. */
struct report *report_take(struct reports *p);
void report_give_back(struct reports *p, struct report *r);
/* The end of `start`'s attempt, to be lined up once. */
void report_fill(struct report *r, const struct attempt_start *start,
                 const struct attempt_finish *finish);
void report_line_up(struct reports *p, struct report *r);
/* Both. */
void report_end(struct reports *p, struct report *r, const struct attempt_start *start,
                const struct attempt_finish *finish);
/* Hands the engine what has ended. */
void reports_submit(struct reports *p, struct engine *engine);
/* Ended or submitted, and not answered yet. */
bool reports_pending(const struct reports *p);

/* ---- target.c: definitions of destinations ---- */

struct call;
struct batch;

struct target {
    struct dispatch *owner; /* borrows */
    uint32_t index, generation;
    uint32_t refs; /* the table's own, and one a call under way */
    struct destination_def def;
    struct header_list headers; /* the same for every message */
    bool url_has_places, method_has_places, headers_have_places;
    struct token token;
    struct origin *origins; /* owns */
    uint32_t origin_count;
    bool unreachable; /* by the addresses that are known: ask for its name again */
    uint64_t asked_again_ns;
    struct lookup_name *names; /* owns: of its own URL, then of its endpoints' */
    uint64_t gap_ns;           /* between requests, by its smooth limits; 0: it has none */
    uint64_t next_ns; /* monotonic: the next free place for what leaves later than was decided */
    struct list line; /* struct call: those that wait for its token, then for their place */
    struct list_node in_lines; /* in dispatch.lines, once the token is there */
    struct list idle;          /* struct call.node: handles ready to be used again */
    uint32_t idle_count;
};

/* By the slot of the destination's index: where one was deleted the next one stands, so they are few. */
struct targets {
    struct target **cells; /* owns; NULL: nothing was sent there yet */
    uint32_t count;
};

void targets_release(struct targets *t);
/* The present definition; the caller holds a reference. E_NOT_FOUND, E_NOMEM, E_CORRUPT. */
MUST_CHECK int target_get(struct dispatch *d, const struct attempt_start *start,
                          struct target **ret);
void target_unref(struct target *t);
/* When a start whose turn has come leaves, monotonic: now, or later since others that were late left just before. */
uint64_t target_leaves_ns(struct target *t, struct attempt_start *start, uint64_t now_ns);
/* Whether a request that waited may leave: then it has taken its place in the line, `gaps` long. */
bool target_takes_place(struct target *t, uint64_t gaps, uint64_t now_ns);
/* By the very text of its definition; NULL: its requests are curl's. */
struct origin *target_origin(struct target *t, const char *url);
/* By the same. */
struct lookup_name *target_name(struct target *t, const char *url);

/* First in whatever a curl handle's private pointer leads to. */
enum handle_kind { HANDLE_CALL = 1, HANDLE_CHECK = 2, HANDLE_TOKEN = 3 };

/* ---- call.c: one attempt ---- */

struct call {
    enum handle_kind kind;
    struct list_node node;    /* in dispatch.under_way or target.idle */
    struct list_node in_idle; /* in dispatch.idle, while in target.idle */
    struct dispatch *owner;
    struct target *target; /* owns a reference while under way */
    CURL *easy;            /* owns */
    struct lookup lookup;
    struct report *report; /* owns while under way */
    struct batch *batch;   /* owns; NULL: only its own message */
    struct attempt_start start;
    uint64_t began_ns; /* monotonic */
    uint64_t left_ns;  /* monotonic: later, where it stood in line */
    struct buffer record;
    struct stored_message stored; /* borrows `record` */
    struct header_list headers;
    char key[48];        /* Idempotency-Key */
    char method[17];     /* of this message, when the destination leaves it to them */
    char place_text[32]; /* see making.c */
    json_t *json;        /* owns while it is made: the body, when a place asks for it */
    struct span body;    /* what is sent; borrows `record` or `made` */
    struct buffer line, made;
    const char *url;       /* borrows: where it goes, unless that was made of places */
    struct origin *origin; /* borrows, the target's; NULL: curl makes the whole request */
    struct plain *plain;   /* borrows: it was asked; NULL: it is with curl, maybe only to connect */
    struct list_node in_line; /* in target.line: with neither yet */
    bool impatient;           /* counted in dispatch.impatient_count */
    uv_timer_t *first_byte;   /* owns: for an answer that does not begin; NULL: no limit */
    uint64_t first_byte_ns;   /* monotonic: when that is */
    uint64_t received_bytes;
    uint64_t response_max_bytes;
    uint8_t excerpt[EXCERPT_MAX_BYTES]; /* raw */
    size_t excerpt_bytes;
    char curl_said[CURL_ERROR_SIZE];
    uint32_t sent; /* requests that left on a connection */
    bool address_refused;
    bool cut; /* the response was longer than allowed */
};

/* Takes over report and the reference; the call is under way, or has ended at once (then it is reported). */
void call_launch(struct dispatch *d, struct target *t, struct report *r,
                 const struct attempt_start *start);
/* The message of `start` into `record`, wherever it stands by now. E_NOT_FOUND, E_CORRUPT, E_NOMEM. */
MUST_CHECK int call_read_body(struct dispatch *d, struct attempt_start *start,
                              struct buffer *record, struct stored_message *ret);
/* What became of a request. */
struct call_end {
    enum attempt_error error;
    unsigned status; /* 0: none */
    uint64_t retry_after_s;
};
/* It is over. */
void call_end(struct call *c, const struct call_end *end);
/* What every handle towards a destination must never do. */
CURLcode call_set_safety(CURL *h, const struct destination_def *def);
/* POST, PUT, ...: how curl is told. */
CURLcode call_set_method(CURL *h, const char *method);
/* The token of `t` came, or did not: those who wait for it go on, or end. */
void call_token_known(struct target *t);
/* Those that waited, as their places come. */
void calls_go_on(struct dispatch *d, uint64_t now_ns);
/* Without an end; its report is given back. */
void call_abandon(struct call *c);
/* One that is idle. */
void call_end_idle(struct call *c);

/* ---- call_send.c: by curl, or over a plain connection ---- */

/* What never changes. */
CURLcode call_send_init(struct call *c);
void call_send_release(struct call *c);
/* Makes the request and lets it go; unless an error is returned, call_end follows. */
enum attempt_error call_send(struct call *c);
/* What curl was to do is done. */
void call_curl_done(struct call *c, CURLcode result);
/* Without an end. */
void call_withdraw(struct call *c);

/* ---- call_headers.c ---- */

/* What we say of the attempt; first, since nobody may say it otherwise. Fills c->key. */
void call_own_headers(struct call *c, bool structured);
/* What the message brought; last, since the destination's own win. */
void call_message_headers(struct call *c);
/* "2030-01-02T03:04:05.678Z" */
void call_time(uint64_t ns, char out[TIME_TEXT_BYTES]);

/* ---- early.c: starts whose turn is still to come ---- */

struct early {
    struct heap turns; /* ref: a cell */
    struct slab cells; /* struct attempt_start */
    uv_timer_t turn;
    uv_idle_t look; /* runs after a nap: the sockets are looked at, not waited for */
    sem_t wake;
    /* Under dispatch.lock. */
    uint64_t nap_until_ns; /* monotonic; 0: it does not nap */
    bool roused;           /* since the loop looked round */
};

/* When it may leave; monotonic. */
static inline uint64_t start_turn_ns(const struct attempt_start *start) {
    return start->decided_ns + start->ahead_ns;
}
void early_init(struct early *early, uv_loop_t *loop);
/* Its handles; the loop must run once more. */
void early_close(struct early *early);
void early_release(struct early *early);
/* False: no memory. */
MUST_CHECK bool early_put(struct early *early, const struct attempt_start *start);
/* Borrowed until the next call; NULL: none. */
const struct attempt_start *early_first(const struct early *early);
void early_drop_first(struct early *early);
/* Sees to it that the loop comes round for the first one; naps until then if it may. */
void early_wait(struct early *early, pthread_mutex_t *lock, bool nap);
/* Whether the nap, which it ends, made another way of waking the loop needless. Lock held. */
bool early_rouse(struct early *early);
/* Whether the loop finds it in time if it goes on napping. Lock held. */
bool early_may_wait(const struct early *early, const struct attempt_start *start);

/* ---- dispatch.c ---- */

struct starts {
    struct attempt_start *items; /* owns; ring */
    uint32_t first, count, capacity;
};

struct dispatch {
    struct dispatch_options options;
    char *user_agent;      /* owns */
    struct engine *engine; /* borrows from dispatch_run on */

    pthread_mutex_t lock; /* of inbox, stopping, grace */
    struct starts inbox;
    bool running;
    bool stop_wanted;
    bool closed;         /* the loop ended: what comes is abandoned */
    uint64_t give_up_ns; /* monotonic */
    uv_async_t wake;
    pthread_t thread;

    uv_loop_t loop;
    uv_prepare_t before_wait;
    uv_timer_t tick; /* runs only while something must be tried again */
    bool stopping;
    struct transport transport;
    struct plains plains;
    struct targets targets;
    struct reports reports;
    struct checks checks;
    struct lookups lookups;
    struct early early;
    struct log_ahead bodies; /* read a run at a time: they leave in the order in which they came */
    struct starts waiting;
    struct list under_way;
    struct list asking; /* struct token: under way */
    struct list lines;  /* struct target: calls of theirs wait for their places */
    struct list idle;   /* struct call: of all targets, the one that was used last at the end */
    uint32_t idle_count;
    uint32_t under_way_count;
    uint32_t impatient_count; /* of them: their answer is to be read as soon as it comes */
    uint64_t under_way_bytes;
    struct rng random; /* span ids */

    _Atomic uint64_t started, succeeded, failed, timeouts, abandoned;
    _Atomic uint64_t connections_opened;
    _Atomic uint32_t under_way_shown;
};

MUST_CHECK bool starts_put(struct starts *s, const struct attempt_start *start);
/* Any thread: makes the loop look round. */
void dispatch_wake(struct dispatch *d);

#endif
