/*
 * What a provider answers: any bytes, through libcurl and the way of a real attempt, to the model.
 *
 * Up to four responses, set apart by "\n--\n", each the answer to the next attempt that may start. libcurl is the real
 * one; its connection is one end of a socket pair, the response lies in it already and then it is closed. No thread.
 *
 * Each attempt ends exactly once, with a status that was there, an excerpt fit to be shown, a time to come that is
 * bounded; and the model takes it.
 */
#include <assert.h>
#include <curl/curl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/internal.h"
#include "fake_engine.h"
#include "http/percent.h"
#include "state.h"

#define RESPONSES_MAX  4u
#define RESPONSE_BYTES 60000u /* fits the socket's buffer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the transport: one transfer, run where it stands ---- */

static transport_done *done;
static void *done_context;
static CURL *added;
static struct span response;

int transport_init(struct transport *t, uv_loop_t *loop, uint32_t connections_max,
                   transport_done *then, void *context) {
    (void)t;
    (void)loop;
    (void)connections_max;
    done = then;
    done_context = context;
    return 0;
}

int transport_add(struct transport *t, CURL *easy) {
    (void)t;
    assert(added == NULL);
    added = easy;
    return 0;
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

/* Our end; the other one has said everything and hung up for writing. */
static curl_socket_t open_socket(void *context, curlsocktype purpose,
                                 struct curl_sockaddr *address) {
    int *other = context;
    int pair[2];
    (void)purpose;
    (void)address;
    int rc = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    assert(rc == 0);
    ssize_t written = response.size > 0 ? write(pair[1], response.data, response.size) : 0;
    assert(written == (ssize_t)response.size);
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

/* True: a transfer was under way, and ended. */
static bool transfer(void) {
    CURL *easy = added;
    int other = -1;
    if (easy == NULL) {
        return false;
    }
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
    return true;
}

/* ---- attempts ---- */

/* What is about to be told the engine. */
static void check_finish(const struct attempt_finish *f, const struct attempt_start *start) {
    assert(f->message == start->message && f->attempt == start->attempt);
    assert(f->status == 0 || (f->status >= 100 && f->status <= 999));
    assert(!f->success || (f->status >= 200 && f->status <= 299));
    assert(f->retry_after_ns <= UINT32_MAX * NS_PER_SECOND);
    assert(f->excerpt.size <= EXCERPT_MAX_BYTES && percent_utf8_valid(f->excerpt));
    for (size_t i = 0; i < f->excerpt.size; i++) {
        assert(f->excerpt.data[i] >= 0x20 && f->excerpt.data[i] != 0x7f);
    }
}

static void attempt(struct dispatch *d, const struct attempt_start *start) {
    struct target *t;
    int rc = target_get(d, start, &t);
    assert(rc == 0);
    struct report *r = report_take(&d->reports);
    assert(r != NULL);
    call_launch(d, t, r, start);
    (void)transfer();
    assert(d->under_way_count == 0 && d->reports.first == &r->request);
    check_finish(&r->request.r.in.finish, start);
    reports_submit(&d->reports, d->engine);
    assert(r->request.r.refusal == REFUSAL_NONE);
    reports_submit(&d->reports, d->engine); /* looks at what came back */
    assert(!reports_pending(&d->reports));
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct dispatch *d = the_dispatch();
    struct span left = span_of(data, size);
    if (size > RESPONSE_BYTES) {
        return 0;
    }
    d->engine = fake_engine_create();
    for (unsigned i = 0; i < RESPONSES_MAX && left.size > 0; i++) {
        struct attempt_start start;
        response = next_response(&left);
        fake_engine_advance(d->engine, NS_PER_SECOND);
        if (fake_engine_start(d->engine, &start)) {
            attempt(d, &start);
        }
    }
    model_check(fake_engine_model(d->engine));
    fake_engine_free(d->engine);
    return 0;
}
