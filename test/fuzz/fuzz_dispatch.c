/*
 * What a provider answers: any bytes, through the way of a real attempt, to the model. Twice: by libcurl, the real one,
 * and over a plain connection of ours.
 *
 * Up to four responses, set apart by "\n--\n", each the answer to the next attempt that may start. A connection is one
 * end of a socket pair. For libcurl the response lies in it already and then it is closed; a plain one stays as long as
 * it may, the next response comes on it, and the far side hangs up only if an attempt still waits. No thread.
 *
 * Each attempt ends exactly once, with a status that was there, an excerpt fit to be shown, a time to come that is
 * bounded; and the model takes it. What both understand is the same answer. A connection that stays has no byte left in it.
 */
#include <assert.h>
#include <curl/curl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "dispatch/internal.h"
#include "fake_engine.h"
#include "state.h"

#define RESPONSES_MAX  4u
#define RESPONSE_BYTES 60000u                /* fits the socket's buffer */
#define START_NS       (600 * NS_PER_SECOND) /* what the state has under way is over then */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the transport: one transfer, run where it stands ---- */

static transport_done *done;
static void *done_context;
static CURL *added;
static bool connects; /* that is all it shall do */
static struct span response;

int transport_init(struct transport *t, uv_loop_t *loop, uint32_t connections_max,
                   transport_done *then, void *context) {
    *t = (struct transport){.loop = loop, .handed = CURL_SOCKET_BAD};
    (void)connections_max;
    done = then;
    done_context = context;
    return 0;
}

int transport_add(struct transport *t, CURL *easy) {
    (void)t;
    assert(added == NULL);
    added = easy;
    connects = false;
    return 0;
}

int transport_connect(struct transport *t, CURL *easy) {
    int rc = transport_add(t, easy);
    connects = true;
    return rc;
}

void transport_remove(struct transport *t, CURL *easy) {
    (void)t;
    (void)easy;
    added = NULL;
}

void transport_kick(struct transport *t) {
    (void)t;
}

bool transport_is_silent(const struct transport *t) {
    (void)t;
    return false;
}

void transport_release(struct transport *t) {
    (void)t;
}

/* The one plain connection there is. */
struct watch {
    int socket, far;
    transport_ready *ready;
    void *context;
};
static struct watch plain = {.socket = -1};

struct watch *transport_take(struct transport *t, transport_ready *ready, void *context) {
    plain.socket = t->handed;
    plain.ready = ready;
    plain.context = context;
    t->handed = CURL_SOCKET_BAD;
    return &plain;
}

curl_socket_t transport_socket(const struct watch *w) {
    return w->socket;
}

int transport_watch(struct watch *w, int events) {
    (void)w;
    (void)events;
    return 0;
}

void transport_drop(struct transport *t, struct watch *w) {
    (void)t;
    close(w->socket);
    close(w->far);
    w->socket = -1;
}

/* ---- curl's connections ---- */

static void respond(int far) {
    ssize_t written = response.size > 0 ? write(far, response.data, response.size) : 0;
    assert(written == (ssize_t)response.size);
}

/* Our end; the other one has said everything and hung up for writing. */
static curl_socket_t open_socket(void *context, curlsocktype purpose,
                                 struct curl_sockaddr *address) {
    int *other = context;
    int pair[2];
    (void)purpose;
    (void)address;
    int rc = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    assert(rc == 0);
    respond(pair[1]);
    shutdown(pair[1], SHUT_WR);
    *other = pair[1];
    return pair[0];
}

static int is_connected(void *context, curl_socket_t s, curlsocktype purpose) {
    (void)context;
    (void)s;
    (void)purpose;
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static void connect_plain(struct transport *t) {
    int pair[2];
    CURL *easy = added;
    int rc = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    assert(rc == 0);
    added = NULL;
    t->handed = pair[0];
    plain.far = pair[1];
    done(done_context, easy, CURLE_OK);
}

/* The answer to what was asked on the plain connection. */
static void answer_plain(struct dispatch *d) {
    respond(plain.far);
    for (unsigned turns = 0; d->plains.asked > 0; turns++) {
        assert(turns < 1000);
        if (turns == 1) {
            shutdown(plain.far, SHUT_WR);
        }
        plain.ready(plain.context, 0, UV_READABLE);
    }
    char byte;
    assert(plain.socket < 0 || recv(plain.socket, &byte, 1, MSG_DONTWAIT) < 0);
    (void)uv_run(&d->loop, UV_RUN_NOWAIT); /* frees what was closed */
}

static void transfer(void) {
    CURL *easy = added;
    int other = -1;
    CURLcode rc = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    rc = rc == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &other) : rc;
    rc = rc == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, is_connected) : rc;
    rc = rc == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_URL, "http://127.0.0.1/") : rc;
    rc = rc == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) : rc;
    rc = rc == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, NULL) : rc;
    assert(rc == CURLE_OK);
    rc = curl_easy_perform(easy);
    added = NULL;
    if (other >= 0) {
        close(other);
    }
    done(done_context, easy, rc);
}

/* ---- attempts ---- */

/* What is about to be told the engine. */
static void check_finish(const struct attempt_finish *f, const struct attempt_start *start) {
    assert(f->message == start->message && f->attempt == start->attempt);
    assert(f->status == 0 || (f->status >= 100 && f->status <= 999));
    assert(!f->success || (f->status >= 200 && f->status <= 299));
    assert(f->retry_after_ns <= UINT32_MAX * NS_PER_SECOND);
    assert(f->excerpt.size <= EXCERPT_MAX_BYTES && utf8_valid(f->excerpt));
    for (size_t i = 0; i < f->excerpt.size; i++) {
        assert(f->excerpt.data[i] >= 0x20 && f->excerpt.data[i] != 0x7f);
    }
}

static struct attempt_finish attempt(struct dispatch *d, const struct attempt_start *start,
                                     bool by_curl) {
    struct target *t;
    int rc = target_get(d, start, &t);
    assert(rc == 0);
    for (uint32_t i = 0; i < t->origin_count; i++) {
        t->origins[i].usable = !by_curl;
    }
    struct report *r = report_take(&d->reports);
    assert(r != NULL);
    call_launch(d, t, r, start);
    if (added != NULL && !connects) {
        transfer();
    } else {
        assert(!by_curl);
        if (added != NULL) {
            connect_plain(&d->transport);
        }
        answer_plain(d);
    }
    assert(d->under_way_count == 0 && d->reports.first == &r->request);
    struct attempt_finish f = r->request.r.in.finish;
    check_finish(&f, start);
    reports_submit(&d->reports, d->engine);
    assert(r->request.r.refusal == REFUSAL_NONE);
    reports_submit(&d->reports, d->engine); /* looks at what came back */
    assert(!reports_pending(&d->reports));
    return f;
}

static struct span next_response(struct span *left) {
    const uint8_t *at = left->size >= 4 ? memmem(left->data, left->size, "\n--\n", 4) : NULL;
    struct span part = span_of(left->data, at != NULL ? (size_t)(at - left->data) : left->size);
    size_t used = at != NULL ? part.size + 4 : left->size;
    *left = span_of(left->data + used, left->size - used);
    return part;
}

static struct dispatch *the_dispatch(void) {
    static struct dispatch *d;
    if (d == NULL) {
        const struct dispatch_options options = {.user_agent = "fuzz"};
        int rc = dispatch_create(&options, &d);
        assert(rc == 0);
    }
    return d;
}

static void publish(struct engine *e) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("mail");
    r.in.publish.envelope = (struct envelope){.content_type = span_text("text/plain"),
                                              .headers = span_text("X-One: 1\n"),
                                              .body = span_text("a body")};
    int rc = engine_call(e, &r);
    assert(rc == 0 && r.refusal == REFUSAL_NONE);
    request_release(&r);
}

/* Returns how the first attempt ended. */
static struct attempt_finish run(struct dispatch *d, struct span left, bool by_curl) {
    struct attempt_finish first = {.error = ATTEMPT_UNKNOWN};
    d->engine = fake_engine_create();
    fake_engine_advance(d->engine, START_NS);
    publish(d->engine);
    for (unsigned i = 0; i < RESPONSES_MAX && left.size > 0; i++) {
        struct attempt_start start;
        response = next_response(&left);
        fake_engine_advance(d->engine, NS_PER_SECOND);
        bool starts = fake_engine_start(d->engine, &start);
        assert(starts || i > 0);
        if (starts) {
            struct attempt_finish f = attempt(d, &start, by_curl);
            first = i == 0 ? f : first;
        }
    }
    while (plains_close_idlest(&d->plains)) {
        (void)uv_run(&d->loop, UV_RUN_NOWAIT);
    }
    model_check(fake_engine_model(d->engine));
    fake_engine_free(d->engine);
    return first;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct dispatch *d = the_dispatch();
    if (size > RESPONSE_BYTES) {
        return 0;
    }
    struct attempt_finish theirs = run(d, span_of(data, size), true);
    struct attempt_finish ours = run(d, span_of(data, size), false);
    assert(ours.error != ATTEMPT_OK || theirs.error != ATTEMPT_OK || ours.status == theirs.status);
    return 0;
}
