/*
 * How a call's request goes: over a plain connection that we keep (plain.h), or by curl.
 *
 *      origin usable? --yes--> one kept? --yes--> ask it
 *           |                     +--no--> curl connects --done--> it is ours: ask it
 *           +--no--> curl makes the whole request
 *
 * Every connection is made by curl, so names, addresses, time-outs and checks are the same both ways. Curl's
 * connections are shared by all destinations at the same host; since one may be allowed private addresses and another
 * not, the address is checked when a socket is opened *and* before each request on a connection that is used again
 * (on_request_leaves). Ours belong to one definition of one destination: the first check is all there is to ask.
 *
 * A connection that breaks before the first byte of an answer would be tried again by curl itself. The far
 * side may have seen the request by then, so that would be a second request on one token:
 * on_request_leaves lets only one leave per attempt. The attempt then ends as any broken connection
 * does, and the model decides about the next. Plain connections have it so by themselves.
 */
#include "dispatch/internal.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/address.h"
#include "dispatch/batch.h"
#include "dispatch/making.h"
#include "model/destination.h"

#define DNS_CACHE_S       30L
#define DNS_AGAIN_NS      NS_PER_SECOND /* for one that cannot be reached */
#define CONNECTION_LIFE_S 300L

/* ---- the first byte of an answer that curl reads; a plain connection sees to it by itself ---- */

static void on_first_byte_late(uv_timer_t *timer);

static void ring_for_first_byte(struct call *c, uint64_t now_ns) {
    uint64_t ms = c->first_byte_ns > now_ns ? (c->first_byte_ns - now_ns) / NS_PER_MS + 1 : 0;
    /* Cannot fail: it has a callback and is not closing. */
    uv_timer_start(c->first_byte, on_first_byte_late, ms, 0);
}

/* The loop's own idea of the time may be old when a timer is set: then this one rings too early. */
static void on_first_byte_late(uv_timer_t *timer) {
    struct call *c = timer->data;
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns < c->first_byte_ns) {
        ring_for_first_byte(c, now_ns);
        return;
    }
    call_withdraw(c);
    call_end(c, &(struct call_end){.error = ATTEMPT_TIMEOUT});
}

static void await_first_byte(struct call *c) {
    uint64_t now_ns = clock_monotonic_ns();
    c->first_byte_ns = now_ns + c->target->def.first_byte_timeout_ns;
    ring_for_first_byte(c, now_ns);
}

static void first_byte_came(struct call *c) {
    if (c->first_byte != NULL) {
        uv_timer_stop(c->first_byte);
    }
}

static void on_timer_closed(uv_handle_t *timer) {
    free(timer);
}

static CURLcode init_first_byte(struct call *c) {
    uv_timer_t *timer = malloc(sizeof *timer);
    if (timer == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    uv_timer_init(&c->owner->loop, timer); /* cannot fail */
    timer->data = c;
    c->first_byte = timer;
    return CURLE_OK;
}

void call_send_release(struct call *c) {
    if (c->first_byte != NULL) {
        uv_close((uv_handle_t *)c->first_byte, on_timer_closed);
    }
}

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
    if (c->origin != NULL) {
        return CURL_PREREQFUNC_OK; /* it only connects */
    }
    if (c->sent++ > 0) {
        return CURL_PREREQFUNC_ABORT;
    }
    if (c->first_byte != NULL) {
        await_first_byte(c);
    }
    return CURL_PREREQFUNC_OK;
}

static bool on_body(void *context, struct span bytes) {
    struct call *c = context;
    size_t room = sizeof c->excerpt - c->excerpt_bytes;
    size_t kept = bytes.size < room ? bytes.size : room;
    memcpy(c->excerpt + c->excerpt_bytes, bytes.data, kept);
    c->excerpt_bytes += kept;
    c->received_bytes += bytes.size;
    if (c->batch != NULL && buffer_append_span(&c->batch->answer, bytes) != 0) {
        return false;
    }
    c->cut = c->received_bytes > c->response_max_bytes;
    return !c->cut;
}

static size_t on_head_bytes(char *bytes, size_t one, size_t size, void *context) {
    (void)bytes;
    first_byte_came(context);
    return size * one;
}

/* 0 ends the transfer and its connection. */
static size_t on_response_bytes(char *bytes, size_t one, size_t size, void *context) {
    return on_body(context, span_of(bytes, size * one)) ? size * one : 0;
}

/* ---- handles ---- */

static CURLcode set_callbacks(struct call *c) {
    CURL *h = c->easy;
    CURLcode rc = curl_easy_setopt(h, CURLOPT_PRIVATE, c);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_socket_opens);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, c);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_request_leaves);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PREREQDATA, c);
    rc = rc != CURLE_OK ? rc : lookup_set(h, &c->lookup);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_head_bytes);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_response_bytes);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->curl_said);
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
        /* Else OpenSSL asks at the terminal for that of a key that has one. */
        rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_KEYPASSWD, "");
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

CURLcode call_send_init(struct call *c) {
    const struct destination_def *def = &c->target->def;
    CURLcode rc = def->first_byte_timeout_ns != 0 ? init_first_byte(c) : CURLE_OK;
    rc = rc != CURLE_OK ? rc : set_callbacks(c);
    rc = rc != CURLE_OK ? rc : call_set_safety(c->easy, def);
    rc = rc != CURLE_OK ? rc : set_request_line(c->easy, def);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(c->easy, CURLOPT_USERAGENT, c->owner->user_agent);
    return rc != CURLE_OK ? rc
                          : curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS,
                                             ms_of(def->connect_timeout_ns));
}

/* ---- the request ---- */

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
    if (rc == CURLE_OK && c->target->def.endpoints.count > 0 && !c->target->url_has_places) {
        rc = curl_easy_setopt(h, CURLOPT_URL, c->url);
    }
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, ms_of(left_ns));
    rc = rc != CURLE_OK
             ? rc
             : curl_easy_setopt(h, CURLOPT_DNS_CACHE_TIMEOUT, dns_cache_s(c->target, now_ns));
    if (rc == CURLE_OK && method_has_body(method_of(c))) {
        rc = curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body.size);
        const char *bytes = c->body.size > 0 ? (const char *)c->body.data : "";
        rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_POSTFIELDS, bytes);
    }
    return rc;
}

/* ---- the end ---- */

static enum attempt_error kind_of(const struct call *c, CURLcode result) {
    switch (result) {
    case CURLE_OK:
        return ATTEMPT_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return c->sent > 0 ? ATTEMPT_TIMEOUT : ATTEMPT_CONNECT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ATTEMPT_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_ABORTED_BY_CALLBACK:
        return c->address_refused ? ATTEMPT_ADDRESS_REFUSED : ATTEMPT_CONNECT;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
        return ATTEMPT_BROKEN;
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

/*
 * When a kept connection breaks, curl makes another one to send the request again; whatever became of that (forbidden by
 * on_request_leaves, or nobody there, or of no trust), the first may have been done. What breaks before a request left, a
 * handshake or the tunnel through a proxy, is a connection that was not made.
 */
static enum attempt_error error_of(const struct call *c, CURLcode result) {
    enum attempt_error e = kind_of(c, result);
    bool of_connecting = e == ATTEMPT_CONNECT || e == ATTEMPT_DNS || e == ATTEMPT_TLS ||
                         e == ATTEMPT_ADDRESS_REFUSED;
    if (c->sent == 0) {
        return e == ATTEMPT_BROKEN ? ATTEMPT_CONNECT : e;
    }
    return of_connecting ? ATTEMPT_BROKEN : e;
}

/* In the place of an answer that never came: which certificate is not trusted and why, which name is not known. */
static void keep_reason(struct call *c, enum attempt_error error) {
    bool says_more = error == ATTEMPT_TLS || error == ATTEMPT_DNS || error == ATTEMPT_PROTOCOL;
    if (says_more && c->received_bytes == 0) {
        c->excerpt_bytes = strlen(c->curl_said);
        memcpy(c->excerpt, c->curl_said, c->excerpt_bytes);
    }
}

/* ---- over a plain connection ---- */

static void on_plain_done(void *context, const struct plain_end *p) {
    struct call *c = context;
    bool lost = p->enough && !c->cut; /* no memory for what the messages of a batch are told by */
    struct call_end e = {.error = lost ? ATTEMPT_PROTOCOL : p->error,
                         .status = p->status,
                         .retry_after_s = p->retry_after_s};
    c->plain = NULL;
    if (p->not_understood) {
        c->origin->usable = false;
        plains_close_kept(&c->origin->kept);
    }
    call_end(c, &e);
}

static enum attempt_error ask(struct call *c, struct plain *p) {
    bool to_head = strcmp(method_of(c), "HEAD") == 0;
    struct origin_request r = {.method = method_of(c),
                               .user_agent = c->owner->user_agent,
                               .body = method_has_body(method_of(c)) ? c->body : span_of(NULL, 0),
                               .headers = &c->headers,
                               .more = &c->target->headers};
    int rc = origin_write_head(c->origin, &r, plain_head(p));
    if (rc != 0) {
        plain_close(p);
        return rc == E_NOMEM ? ATTEMPT_UNKNOWN : ATTEMPT_PROTOCOL;
    }
    c->plain = p;
    c->sent++;
    plain_ask(p,
              &(struct plain_request){.body = r.body,
                                      .to_head = to_head,
                                      .deadline_ns = c->began_ns + c->start.timeout_ns,
                                      .first_byte_within_ns = c->target->def.first_byte_timeout_ns,
                                      .take = on_body,
                                      .done = on_plain_done,
                                      .context = c});
    return ATTEMPT_OK;
}

static void ask_connected(struct call *c) {
    struct plain *p = plain_open(&c->owner->plains, &c->origin->kept);
    struct call_end e = {.error = p != NULL ? ask(c, p) : ATTEMPT_CONNECT};
    if (e.error != ATTEMPT_OK) {
        call_end(c, &e);
    }
}

/* ---- one or the other ---- */

/* What is idle has to go for what is not. */
static void make_room(struct dispatch *d) {
    if (d->transport.sockets >= d->options.connections_max) {
        (void)plains_close_idlest(&d->plains);
    }
}

enum attempt_error call_send(struct call *c) {
    struct dispatch *d = c->owner;
    enum attempt_error error = making_make(c);
    json_decref(c->json);
    c->json = NULL;
    if (error != ATTEMPT_OK) {
        return error;
    }
    struct origin *o = target_origin(c->target, c->url);
    c->origin = o != NULL && origin_may(o, method_of(c)) ? o : NULL;
    struct plain *kept = c->origin != NULL ? plain_take(&o->kept, c->began_ns) : NULL;
    if (kept != NULL) {
        return ask(c, kept);
    }
    make_room(d);
    c->lookup.name = target_name(c->target, c->url);
    if (set_message(c) != CURLE_OK) {
        return ATTEMPT_PROTOCOL;
    }
    int rc = c->origin != NULL ? transport_connect(&d->transport, c->easy)
                               : transport_add(&d->transport, c->easy);
    return rc == 0 ? ATTEMPT_OK : ATTEMPT_CONNECT;
}

void call_curl_done(struct call *c, CURLcode result) {
    lookup_done(&c->lookup, c->easy, result);
    first_byte_came(c);
    if (c->origin != NULL && result == CURLE_OK) {
        ask_connected(c);
        return;
    }
    long status = 0;
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    c->target->unreachable = c->target->unreachable || (result != CURLE_OK && c->sent == 0);
    enum attempt_error error = error_of(c, result);
    keep_reason(c, error);
    call_end(c,
             &(struct call_end){.error = error,
                                .status = status > 0 ? (unsigned)status : 0,
                                .retry_after_s = retry_after_s > 0 ? (uint64_t)retry_after_s : 0});
}

void call_withdraw(struct call *c) {
    if (c->plain != NULL) {
        plain_close(c->plain);
        c->plain = NULL;
    } else {
        first_byte_came(c);
        lookup_withdrawn(&c->lookup, c->sent > 0);
        transport_remove(&c->owner->transport, c->easy);
    }
}
