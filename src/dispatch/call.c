/*
 * A call: one HTTP request of one attempt, from its body in the log to its report.
 *
 * Handles are kept per destination with all that does not change set once, so an attempt sets its body, its
 * headers and its timeout. Connections are curl's, shared by all destinations at the same host; since one
 * destination may be allowed private addresses and another not, the address is checked when a socket is
 * opened *and* before each request on a connection that is used again (on_request_leaves).
 *
 * A connection that breaks before the first byte of an answer would be tried again by curl itself. The far
 * side may have seen the request by then, so that would be a second request on one token:
 * on_request_leaves lets only one leave per attempt. The attempt then ends as any broken connection
 * does, and the model decides about the next.
 */
#include "dispatch/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/address.h"
#include "dispatch/batch.h"
#include "dispatch/making.h"
#include "model/destination.h"

#define DNS_CACHE_S       30L
#define DNS_AGAIN_NS      NS_PER_SECOND /* for one that cannot be reached */
#define LINE_MAX_BYTES    (64u << 10)
#define CONNECTION_LIFE_S 300L

/* ---- what curl calls ---- */

static curl_socket_t on_socket_opens(void *context, curlsocktype purpose,
                                     struct curl_sockaddr *address) {
    struct call *c = context;
    if (!c->target->def.allow_private && !address_is_public(&address->addr)) {
        c->address_refused = true;
        return CURL_SOCKET_BAD;
    }
    curl_socket_t s = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (s != CURL_SOCKET_BAD) {
        atomic_fetch_add_explicit(&c->owner->connections_opened, 1, memory_order_relaxed);
    }
    return s;
}

static int on_request_leaves(void *context, char *remote_address, char *local_address,
                             int remote_port, int local_port) {
    struct call *c = context;
    if (!c->target->def.allow_private && !address_text_is_public(remote_address)) {
        c->address_refused = true;
        return CURL_PREREQFUNC_ABORT;
    }
    return c->sent++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t on_response_bytes(char *bytes, size_t one, size_t size, void *context) {
    struct call *c = context;
    size_t room = sizeof c->excerpt - c->excerpt_bytes;
    size_t kept = size < room ? size : room;
    memcpy(c->excerpt + c->excerpt_bytes, bytes, kept);
    c->excerpt_bytes += kept;
    c->received_bytes += size;
    if (c->batch != NULL && buffer_append(&c->batch->answer, bytes, size) != 0) {
        return 0;
    }
    if (c->received_bytes > c->response_max_bytes) {
        c->cut = true;
        return 0; /* ends the transfer and its connection */
    }
    return size;
}

/* ---- handles ---- */

static CURLcode set_callbacks(struct call *c) {
    CURL *h = c->easy;
    CURLcode rc = curl_easy_setopt(h, CURLOPT_PRIVATE, c);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_socket_opens);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, c);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_request_leaves);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PREREQDATA, c);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_response_bytes);
    return rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
}

CURLcode call_set_safety(CURL *h, const struct destination_def *def) {
    CURLcode rc = curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    rc = rc != CURLE_OK ? rc
                        : curl_easy_setopt(h, CURLOPT_PROXY,
                                           def->making.proxy); /* "": not by the environment */
    rc = rc != CURLE_OK
             ? rc
             : curl_easy_setopt(h, CURLOPT_NOPROXY, def->making.proxy[0] == '\0' ? "*" : "");
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    /* Addresses are asked for anew, and all of them used; a busy connection does not outlive a move for ever. */
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    rc = rc != CURLE_OK ? rc
                        : curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (rc == CURLE_OK && def->ca_file[0] != '\0') {
        rc = curl_easy_setopt(h, CURLOPT_CAINFO, def->ca_file);
    }
    if (rc == CURLE_OK && def->making.client_certificate[0] != '\0') {
        rc = curl_easy_setopt(h, CURLOPT_SSLCERT, def->making.client_certificate);
        rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_SSLKEY, def->making.client_key);
    }
    return rc;
}

CURLcode call_set_method(CURL *h, const char *method) {
    if (strcmp(method, "GET") == 0) {
        CURLcode rc = curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
        return rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, NULL);
    }
    if (strcmp(method, "HEAD") == 0) {
        return curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    }
    CURLcode rc = curl_easy_setopt(h, CURLOPT_POST, 1L);
    return rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
}

static CURLcode set_request_line(CURL *h, const struct destination_def *def) {
    CURLcode rc = curl_easy_setopt(h, CURLOPT_URL, def->url);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
    rc = rc != CURLE_OK ? rc : call_set_method(h, def->method);
    long version = def->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_HTTP_VERSION, version);
    /* Rather a stream of a connection that is being made than one more connection. */
    return rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PIPEWAIT, (long)def->http2);
}

static long ms_of(uint64_t ns) {
    uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);
    return ms < INT32_MAX ? (long)ms : INT32_MAX;
}

static CURLcode set_constant(struct call *c, const char *user_agent) {
    const struct destination_def *def = &c->target->def;
    CURLcode rc = set_callbacks(c);
    rc = rc != CURLE_OK ? rc : call_set_safety(c->easy, def);
    rc = rc != CURLE_OK ? rc : set_request_line(c->easy, def);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(c->easy, CURLOPT_USERAGENT, user_agent);
    return rc != CURLE_OK ? rc
                          : curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS,
                                             ms_of(def->connect_timeout_ns));
}

static struct call *call_create(struct dispatch *d, struct target *t) {
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->kind = HANDLE_CALL;
    c->owner = d;
    c->target = t;
    buffer_init(&c->record, RECORD_MAX_BYTES);
    buffer_init(&c->line, LINE_MAX_BYTES);
    buffer_init(&c->made, 2 * RECORD_MAX_BYTES);
    header_list_init(&c->headers);
    c->response_max_bytes =
        t->def.max_response_bytes != 0 ? t->def.max_response_bytes : d->options.responses_max_bytes;
    c->easy = curl_easy_init();
    if (c->easy == NULL || set_constant(c, d->user_agent) != CURLE_OK) {
        call_free(c);
        return NULL;
    }
    return c;
}

void call_free(struct call *c) {
    batch_free(c->batch);
    if (c->easy != NULL) {
        curl_easy_cleanup(c->easy);
    }
    buffer_release(&c->record);
    buffer_release(&c->line);
    buffer_release(&c->made);
    header_list_release(&c->headers);
    free(c);
}

static struct call *call_take(struct dispatch *d, struct target *t) {
    struct list_node *n = list_pop(&t->idle);
    if (n == NULL) {
        return call_create(d, t);
    }
    t->idle_count--;
    return CONTAINER_OF(n, struct call, node);
}

static void call_keep(struct call *c) {
    struct target *t = c->target;
    batch_free(c->batch);
    c->batch = NULL;
    if (t->idle_count >= IDLE_CALLS_MAX || t->refs == 1) {
        call_free(c);
    } else {
        if (c->record.capacity > RECORD_KEPT_BYTES) {
            buffer_release(&c->record);
            buffer_init(&c->record, RECORD_MAX_BYTES);
        }
        if (c->made.capacity > RECORD_KEPT_BYTES) {
            buffer_release(&c->made);
            buffer_init(&c->made, 2 * RECORD_MAX_BYTES);
        }
        list_prepend(&t->idle, &c->node);
        t->idle_count++;
    }
    target_unref(t);
}

/* ---- the way out ---- */

/* Where the body is by now. E_NOT_FOUND: where it was, or nowhere. */
static int ask_address(struct dispatch *d, struct attempt_start *start) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = start->message;
    int rc = engine_call(d->engine, &r);
    bool moved = rc == 0 && r.refusal == REFUSAL_NONE && r.out.message.address != 0 &&
                 r.out.message.address != start->address;
    if (moved) {
        start->address = r.out.message.address;
    }
    request_release(&r);
    return moved ? 0 : rc != 0 ? rc : E_NOT_FOUND;
}

/*
 * Compaction may have moved the body after the start was decided; its old place may even hold something else
 * by now. So before a body is called lost, the engine is asked where it is.
 */
int call_read_body(struct dispatch *d, struct attempt_start *start, struct buffer *record,
                   struct stored_message *ret) {
    buffer_clear(record);
    int rc = engine_copy_message_ahead(d->engine, start->message, start->address, &d->bodies,
                                       record, ret);
    if ((rc == E_NOT_FOUND || rc == E_CORRUPT) && ask_address(d, start) == 0) {
        buffer_clear(record);
        rc = engine_copy_message_ahead(d->engine, start->message, start->address, &d->bodies,
                                       record, ret);
    }
    return rc;
}

static const char *method_of(const struct call *c) {
    return c->target->method_has_places ? c->method : c->target->def.method;
}

/*
 * Names are asked for again after a while; where nobody could be reached at once, but not more than once a second, since
 * whoever moved is known by another address already.
 */
static long dns_cache_s(struct target *t, uint64_t now_ns) {
    if (!t->unreachable || now_ns < t->asked_again_ns + DNS_AGAIN_NS) {
        return DNS_CACHE_S;
    }
    t->unreachable = false;
    t->asked_again_ns = now_ns;
    return 0;
}

/* What waiting for a token took is part of the attempt's time. */
static CURLcode set_message(struct call *c) {
    CURL *h = c->easy;
    uint64_t now_ns = clock_monotonic_ns(), waited_ns = now_ns - c->began_ns;
    uint64_t left_ns = c->start.timeout_ns > waited_ns ? c->start.timeout_ns - waited_ns : 1;
    CURLcode rc =
        curl_easy_setopt(h, CURLOPT_HTTPHEADER, header_list_curl(&c->headers, &c->target->headers));
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, ms_of(left_ns));
    rc = rc != CURLE_OK
             ? rc
             : curl_easy_setopt(h, CURLOPT_DNS_CACHE_TIMEOUT, dns_cache_s(c->target, now_ns));
    if (rc == CURLE_OK && strcmp(method_of(c), "GET") != 0 && strcmp(method_of(c), "HEAD") != 0) {
        rc = curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body.size);
        const char *bytes = c->body.size > 0 ? (const char *)c->body.data : "";
        rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_POSTFIELDS, bytes);
    }
    return rc;
}

/* Something is chosen or limited by how long answers take, so they must not lie about. */
static bool times_matter(const struct destination_def *def) {
    return def->adaptive.ceiling != 0 || def->endpoints.count > 1;
}

static void call_begin(struct call *c, struct report *r, const struct attempt_start *start) {
    c->report = r;
    c->start = *start;
    c->began_ns = clock_monotonic_ns();
    c->received_bytes = 0;
    c->excerpt_bytes = 0;
    c->sent = 0;
    c->address_refused = false;
    c->cut = false;
    c->awaits_token = false;
    c->impatient = start->ahead_ns == 0 || times_matter(&c->target->def);
}

static void count_end(struct dispatch *d, const struct attempt_finish *f) {
    atomic_fetch_add(f->success ? &d->succeeded : &d->failed, 1);
    if (f->error == ATTEMPT_TIMEOUT) {
        atomic_fetch_add(&d->timeouts, 1);
    }
}

/* Stays as it is while the call is under way. */
static size_t weight_of(const struct call *c) {
    return c->batch != NULL ? c->made.size : c->record.size;
}

static void leave_under_way(struct call *c) {
    struct dispatch *d = c->owner;
    list_remove(&c->node);
    d->under_way_count--;
    d->impatient_count -= c->impatient;
    d->under_way_bytes -= weight_of(c);
}

/* It never left. */
static struct attempt_finish unsent(enum attempt_error error, struct span excerpt) {
    bool final = error == ATTEMPT_BODY_LOST || error == ATTEMPT_NOT_MADE;
    return (struct attempt_finish){
        .error = (uint8_t)error, .retriable = !final, .excerpt = excerpt};
}

static void end_unsent(struct dispatch *d, struct report *r, const struct attempt_start *start,
                       enum attempt_error error, struct span excerpt) {
    struct attempt_finish f = unsent(error, excerpt);
    count_end(d, &f);
    report_end(&d->reports, r, start, &f);
    batch_end_joined(d, start, &f);
}

static void end_call_unsent(struct call *c, enum attempt_error error) {
    struct span excerpt = span_of(c->excerpt, c->excerpt_bytes);
    if (c->batch == NULL) {
        end_unsent(c->owner, c->report, &c->start, error, excerpt);
        return;
    }
    struct attempt_finish f = unsent(error, excerpt);
    count_end(c->owner, &f);
    batch_end(c, &f);
}

/* False: it has ended, nothing of it can be sent. */
static bool begin_batch(struct call *c) {
    c->batch = batch_create(c->owner, &c->start, c->report);
    if (c->batch == NULL) {
        end_unsent(c->owner, c->report, &c->start, ATTEMPT_UNKNOWN, span_of(NULL, 0));
        return false;
    }
    c->start.items = NULL;
    c->start.item_count = 0;
    if (c->target->def.batch.max_messages <= 1) {
        /* Defined otherwise meanwhile: one by one, then. */
        batch_end(c, &(struct attempt_finish){.error = ATTEMPT_UNKNOWN, .retriable = true});
        return false;
    }
    buffer_clear(&c->record);
    return batch_make(c) > 0;
}

/* Makes the request and hands it to curl. */
static enum attempt_error send_call(struct call *c) {
    enum attempt_error error = making_make(c);
    json_decref(c->json);
    c->json = NULL;
    if (error != ATTEMPT_OK) {
        return error;
    }
    if (set_message(c) != CURLE_OK) {
        return ATTEMPT_PROTOCOL;
    }
    return transport_add(&c->owner->transport, c->easy) == 0 ? ATTEMPT_OK : ATTEMPT_CONNECT;
}

static enum attempt_error prepare(struct dispatch *d, struct call *c) {
    int rc = c->batch != NULL ? 0 : call_read_body(d, &c->start, &c->record, &c->stored);
    if (rc == E_CORRUPT || rc == E_NOT_FOUND) {
        return ATTEMPT_BODY_LOST;
    }
    if (rc != 0) {
        return ATTEMPT_UNKNOWN; /* no memory, a dead log: nothing was sent, so it may come again */
    }
    if (c->target->def.making.token_url[0] == '\0') {
        return send_call(c);
    }
    struct token *k = &c->target->token;
    switch (token_get(k, clock_monotonic_ns())) {
    case TOKEN_GOOD:
        return send_call(c);
    case TOKEN_AWAITED:
        c->awaits_token = true;
        return ATTEMPT_OK;
    case TOKEN_REFUSED:
        break;
    }
    c->excerpt_bytes = strlen(k->why);
    memcpy(c->excerpt, k->why, c->excerpt_bytes);
    return ATTEMPT_NO_TOKEN;
}

void call_launch(struct dispatch *d, struct target *t, struct report *r,
                 const struct attempt_start *start) {
    struct call *c = call_take(d, t);
    if (c == NULL) {
        target_unref(t);
        end_unsent(d, r, start, ATTEMPT_UNKNOWN, span_of(NULL, 0));
        return;
    }
    call_begin(c, r, start);
    bool several = t->def.batch.max_messages > 1 || start->item_count > 0;
    if (several && !begin_batch(c)) {
        call_keep(c);
        return;
    }
    enum attempt_error error = prepare(d, c);
    if (error != ATTEMPT_OK) {
        end_call_unsent(c, error);
        call_keep(c);
        return;
    }
    list_append(&d->under_way, &c->node);
    d->under_way_count++;
    d->impatient_count += c->impatient;
    d->under_way_bytes += weight_of(c);
}

void call_token_known(struct target *t) {
    struct dispatch *d = t->owner;
    for (struct list_node *n = list_first(&d->under_way), *next; n != NULL; n = next) {
        next = list_next(&d->under_way, n);
        struct call *c = CONTAINER_OF(n, struct call, node);
        if (c->target != t || !c->awaits_token) {
            continue;
        }
        c->awaits_token = false;
        enum attempt_error error = ATTEMPT_NO_TOKEN;
        if (t->token.value != NULL) {
            error = send_call(c);
        } else {
            c->excerpt_bytes = strlen(t->token.why);
            memcpy(c->excerpt, t->token.why, c->excerpt_bytes);
        }
        if (error != ATTEMPT_OK) {
            end_call_unsent(c, error);
            leave_under_way(c);
            call_keep(c);
        }
    }
    transport_kick(&d->transport);
}

/* ---- the way back ---- */

static enum attempt_error error_of(const struct call *c, CURLcode result) {
    switch (result) {
    case CURLE_OK:
        return ATTEMPT_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return ATTEMPT_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
        return ATTEMPT_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_ABORTED_BY_CALLBACK:
        return c->address_refused ? ATTEMPT_ADDRESS_REFUSED : ATTEMPT_CONNECT;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
        return ATTEMPT_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return ATTEMPT_TLS;
    case CURLE_WRITE_ERROR:
        return c->cut ? ATTEMPT_OK
                      : ATTEMPT_PROTOCOL; /* the status counts, the rest is not wanted */
    default:
        return ATTEMPT_PROTOCOL;
    }
}

static void describe_end(const struct call *c, CURLcode result, struct attempt_finish *f) {
    long status = 0;
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    enum attempt_error error = error_of(c, result);
    *f = (struct attempt_finish){
        .status = (uint16_t)(status >= 100 && status <= 999 ? status : 0),
        .error = (uint8_t)error,
        .success = error == ATTEMPT_OK && status >= 200 && status <= 299,
        .duration_ns = clock_monotonic_ns() - c->began_ns,
        .excerpt = span_of(c->excerpt, c->excerpt_bytes),
        .ordering_key = c->stored.envelope.ordering_key,
        .correlation_id = c->stored.envelope.correlation_id,
        .retry = c->stored.envelope.retry,
    };
    f->retriable =
        error != ATTEMPT_OK || status_list_has(c->target->def.retry_statuses, (unsigned)f->status);
    if (error == ATTEMPT_OK && retry_after_s > 0) {
        uint64_t s = (uint64_t)retry_after_s;
        f->retry_after_ns = s < UINT32_MAX ? s * NS_PER_SECOND : UINT32_MAX * NS_PER_SECOND;
    }
}

void call_done(struct call *c, CURLcode result) {
    struct dispatch *d = c->owner;
    struct attempt_finish f;
    describe_end(c, result, &f);
    c->target->unreachable = c->target->unreachable || (result != CURLE_OK && c->sent == 0);
    if (f.status == 401 && c->target->def.making.token_url[0] != '\0') {
        token_reject(&c->target->token); /* and another one may be taken */
        f.retriable = true;
    }
    count_end(d, &f);
    if (c->batch != NULL) {
        batch_end(c, &f);
    } else {
        report_end(&d->reports, c->report, &c->start, &f);
    }
    leave_under_way(c);
    call_keep(c);
}

void call_abandon(struct call *c) {
    struct dispatch *d = c->owner;
    struct target *t = c->target;
    if (!c->awaits_token) {
        transport_remove(&d->transport, c->easy);
    }
    if (c->batch != NULL) {
        batch_abandon(c);
    } else {
        report_give_back(&d->reports, c->report);
    }
    leave_under_way(c);
    atomic_fetch_add(&d->abandoned, 1);
    call_free(c);
    target_unref(t);
}
