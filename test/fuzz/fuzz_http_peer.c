/*
 * Our reading of a request against that of http-parser alone: what we accept it accepts, with the same meaning.
 *
 * Ours is http-parser behind a gate (src/http/gate.h) and a second opinion (src/http/head.h), so the other way round
 * must not hold: what we refuse and it accepts is what the gate is for. With FUZZ_TELL=1 in the environment each request
 * is told as a line of JSON, after a line "input" for each input: for scripts/run-fuzz --classes and compare-node.js.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define http_method foreign_http_method
#include <http_parser.h>
#undef http_method

#include "http/request.h"

#define HEADERS_MAX 64u

static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_limits LIMITS = {
    .request_line_bytes = 2000, .header_bytes = 4000, .header_count = 60, .body_bytes = 4000};

/* ---- theirs ---- */

struct theirs {
    struct buffer target, body;
    struct buffer names[HEADERS_MAX], values[HEADERS_MAX];
    size_t headers; /* begun */
    bool in_value;
    bool head_done, done;
    enum http_errno error;
    unsigned method;
    bool keep_alive;
};

static void add(struct buffer *b, const char *at, size_t size) {
    int rc = buffer_append(b, at, size);
    assert(rc == 0);
}

static int on_url(http_parser *p, const char *at, size_t size) {
    add(&((struct theirs *)p->data)->target, at, size);
    return 0;
}

static int on_field(http_parser *p, const char *at, size_t size) {
    struct theirs *t = p->data;
    if (t->head_done) {
        return 0; /* of a trailer: we check those and throw them away */
    }
    if (t->headers == 0 || t->in_value) {
        if (t->headers == HEADERS_MAX) {
            return 1;
        }
        t->headers++;
        t->in_value = false;
    }
    add(&t->names[t->headers - 1], at, size);
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t size) {
    struct theirs *t = p->data;
    if (!t->head_done) {
        t->in_value = true;
        add(&t->values[t->headers - 1], at, size);
    }
    return 0;
}

static int on_head(http_parser *p) {
    struct theirs *t = p->data;
    t->head_done = true;
    t->method = p->method;
    t->keep_alive = http_should_keep_alive(p) != 0; /* a trailer has no say in it */
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t size) {
    add(&((struct theirs *)p->data)->body, at, size);
    return 0;
}

static int on_done(http_parser *p) {
    struct theirs *t = p->data;
    t->done = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings SETTINGS = {.on_url = on_url,
                                              .on_header_field = on_field,
                                              .on_header_value = on_value,
                                              .on_headers_complete = on_head,
                                              .on_body = on_body,
                                              .on_message_complete = on_done};

static void theirs_init(struct theirs *t) {
    *t = (struct theirs){.headers = 0};
    buffer_init(&t->target, 1u << 20);
    buffer_init(&t->body, 1u << 20);
    for (size_t i = 0; i < HEADERS_MAX; i++) {
        buffer_init(&t->names[i], 1u << 20);
        buffer_init(&t->values[i], 1u << 20);
    }
}

static void theirs_release(struct theirs *t) {
    buffer_release(&t->target);
    buffer_release(&t->body);
    for (size_t i = 0; i < HEADERS_MAX; i++) {
        buffer_release(&t->names[i]);
        buffer_release(&t->values[i]);
    }
}

/* The first request of `bytes`. Returns how many bytes it took. */
static size_t theirs_read(struct theirs *t, struct span bytes) {
    http_parser p;
    theirs_init(t);
    http_parser_init(&p, HTTP_REQUEST);
    p.data = t;
    size_t used = http_parser_execute(&p, &SETTINGS, (const char *)bytes.data, bytes.size);
    t->error = HTTP_PARSER_ERRNO(&p);
    t->done = t->done && (t->error == HPE_PAUSED || t->error == HPE_OK);
    return used;
}

/*
 * It takes "Transfer-EncodingX: y" for a Transfer-Encoding that it does not know, because it looks at the name only
 * up to there. We have no such field, read no body because of it, and need not refuse it.
 */
static bool name_goes_on(const struct theirs *t) {
    static const char name[] = "transfer-encoding";
    bool longer = false;
    for (size_t i = 0; i < t->headers; i++) {
        struct span s = buffer_span(&t->names[i]);
        bool begins = s.size >= sizeof name - 1 &&
                      strncasecmp((const char *)s.data, name, sizeof name - 1) == 0;
        longer = longer || (begins && s.size > sizeof name - 1);
    }
    return longer && t->error == HPE_INVALID_TRANSFER_ENCODING;
}

/* Fields about length have no meaning in a trailer (RFC 9110 section 6.5.1), and we give them none. */
static bool trailer_about_length(const struct theirs *t) {
    return t->head_done &&
           (t->error == HPE_INVALID_CONTENT_LENGTH || t->error == HPE_UNEXPECTED_CONTENT_LENGTH ||
            t->error == HPE_INVALID_TRANSFER_ENCODING);
}

/* ---- ours ---- */

static size_t ours_read(struct http_request *r, struct span bytes) {
    size_t used = 0;
    http_request_init(r);
    while (used < bytes.size && r->phase != REQUEST_BAD && r->phase != REQUEST_DONE) {
        used += http_request_take(r, &LIMITS, span_of(bytes.data + used, bytes.size - used));
    }
    return used;
}

/* ---- the same meaning ---- */

static struct span trimmed(const struct buffer *b) {
    struct span s = buffer_span(b);
    while (s.size > 0 && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t')) {
        s.size--;
    }
    return s;
}

/* "/a?b" of "http://host/a?b": we cut the origin off. */
static bool ends_with(struct span whole, struct span end) {
    return whole.size >= end.size &&
           span_equal(span_of(whole.data + whole.size - end.size, end.size), end);
}

static void check_target(const struct http_request *r, const struct theirs *t) {
    struct buffer ours;
    buffer_init(&ours, 1u << 20);
    struct span target = buffer_span(&t->target);
    bool has_query = memchr(target.data, '?', target.size) != NULL;
    int rc = buffer_append_span(&ours, r->path);
    rc = rc == 0 && has_query ? buffer_append_text(&ours, "?") : rc;
    rc = rc == 0 ? buffer_append_span(&ours, r->query) : rc;
    assert(rc == 0);
    bool no_path = span_is(r->path, "/"); /* "http://host?x" and "http://host" have none */
    struct span rest = span_of(ours.data + 1, ours.size - 1);
    assert(ends_with(target, buffer_span(&ours)) || (no_path && ends_with(target, rest)));
    assert(target.data[0] != '/' || span_equal(target, buffer_span(&ours)));
    buffer_release(&ours);
}

static void check_same(const struct http_request *r, const struct theirs *t) {
    assert(strcmp(http_method_str(t->method), METHODS[r->method]) == 0);
    check_target(r, t);
    assert(t->headers == r->header_count);
    for (size_t i = 0; i < t->headers; i++) {
        assert(span_equal(buffer_span(&t->names[i]), r->headers[i].name));
        assert(span_equal(trimmed(&t->values[i]), r->headers[i].value));
    }
    assert(span_equal(buffer_span(&t->body), buffer_span(&r->body)));
    assert(r->keep_alive == (t->keep_alive && !r->version_1_0)); /* we close after 1.0 */
}

/* ---- for others to compare: one line a request ---- */

static void tell_text(struct span s) {
    putchar('"');
    for (size_t i = 0; i < s.size; i++) {
        bool plain = s.data[i] >= 0x20 && s.data[i] < 0x7f && s.data[i] != '"' && s.data[i] != '\\';
        printf(plain ? "%c" : "\\u%04x", s.data[i]);
    }
    putchar('"');
}

static void tell_understood(const struct http_request *r) {
    printf(", \"method\": \"%s\", \"path\": ", METHODS[r->method]);
    tell_text(r->path);
    printf(", \"body\": %zu, \"fields\": [", r->body.size);
    for (size_t i = 0; i < r->header_count; i++) {
        printf(i > 0 ? ", " : "");
        tell_text(r->headers[i].name);
    }
    printf("]");
}

static void tell(const struct http_request *r, const struct theirs *t, size_t used) {
    if (r->phase != REQUEST_BAD && r->phase != REQUEST_DONE) {
        return; /* it goes on beyond the input */
    }
    printf("{\"used\": %zu, \"parserAccepts\": %s", used, t->done ? "true" : "false");
    if (r->phase == REQUEST_DONE) {
        tell_understood(r);
    } else {
        printf(", \"status\": %d, \"detail\": ", r->status);
        tell_text(span_text(r->detail));
    }
    printf("}\n");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_request r;
    struct theirs t;
    bool told = getenv("FUZZ_TELL") != NULL;
    if (told) {
        puts("input");
    }
    if (size == 0) {
        return 0;
    }
    struct span left = span_of(data + 1, size - 1); /* as in fuzz_http.c: the same seeds */
    for (bool more = true; more && left.size > 0;) {
        size_t used = ours_read(&r, left);
        size_t theirs_used = theirs_read(&t, left);
        more = r.phase == REQUEST_DONE;
        if (more) {
            assert(t.done || name_goes_on(&t) || trailer_about_length(&t));
        }
        if (more && t.done) {
            check_same(&r, &t);
            assert(theirs_used == used || theirs_used + 1 == used);
        }
        if (told) {
            tell(&r, &t, used);
        }
        left = span_of(left.data + used, left.size - used);
        http_request_release(&r);
        theirs_release(&t);
    }
    return 0;
}
