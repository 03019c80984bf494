/*
 * Requests to every route of the API, with a real model behind.
 *
 *      byte 0     bit 0: tokens are asked for; bit 1: at the end the state is exercised (slower)
 *      then       requests, set apart by NUL:   METHOD target LF  fields, one a line  LF LF  body
 *
 * Content-Length and Host are added where they are missing, a field "As: admin" or "As: tenant" becomes that one's
 * token. What the real parser makes of it goes to api_handle. Each request is answered once; what is called JSON is JSON;
 * a problem says its own status; nothing is our fault (500).
 */
#include <assert.h>
#include <jansson.h>
#include <strings.h>

#include "api/call.h"
#include "base/clock.h"
#include "base/error.h"
#include "fake_engine.h"
#include "fake_http.h"
#include "state.h"

#define REQUESTS_MAX 8u
#define HEAD_MAX     ((size_t)64 << 10)
#define PROBLEM      "application/problem+json"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char tokens[2][TOKEN_TEXT_BYTES];

static struct auth *make_auth(void) {
    static char hashes[2][TOKEN_HASH_BYTES];
    static const char *const patterns[] = {"queues/st*", "campaigns/giveaway", "shop.*"};
    struct auth *auth;
    token_make(tokens[0], hashes[0]);
    token_make(tokens[1], hashes[1]);
    const struct token_def defs[] = {
        {"admin", hashes[0], SCOPE_ADMIN, NULL, 0},
        {"tenant", hashes[1], scope_parse(span_text("produce")) | scope_parse(span_text("consume")),
         patterns, ARRAY_LENGTH(patterns)},
    };
    int rc = auth_create(defs, ARRAY_LENGTH(defs), &auth);
    assert(rc == 0);
    return auth;
}

/* One open, one with tokens; they live as long as the process, on an engine that is put in for each run. */
static struct api *api_of(bool with_tokens) {
    static struct api *apis[2];
    struct api **api = &apis[with_tokens];
    if (*api == NULL) {
        struct api_options options = {.version = "0.0.0", .open_loopback = !with_tokens};
        options.auth = with_tokens ? make_auth() : NULL;
        int rc = api_create(&options, api);
        assert(rc == 0);
    }
    return *api;
}

/* ---- requests ---- */

static struct span cut(struct span *left, const char *separator) {
    size_t size = strlen(separator) > 0 ? strlen(separator) : 1; /* "": NUL */
    const uint8_t *at = left->size >= size ? memmem(left->data, left->size, separator, size) : NULL;
    struct span part = span_of(left->data, at != NULL ? (size_t)(at - left->data) : left->size);
    size_t used = at != NULL ? part.size + size : left->size;
    *left = span_of(left->data + used, left->size - used);
    return part;
}

static void put(struct buffer *out, struct span s) {
    int rc = buffer_append_span(out, s);
    assert(rc == 0);
}

static void put_field(struct buffer *out, struct span line) {
    if (span_is(line, "As: admin") || span_is(line, "As: tenant")) {
        put(out, span_text("Authorization: Bearer "));
        line = span_text(tokens[line.data[4] == 't']);
    }
    put(out, line);
    put(out, span_text("\r\n"));
}

static void write_request(struct span text, struct buffer *out) {
    struct span head = cut(&text, "\n\n");
    struct span line = cut(&head, "\n");
    char length[48];
    put(out, line);
    put(out, span_text(" HTTP/1.1\r\n"));
    if (memmem(head.data, head.size, "Host:", 5) == NULL) {
        put(out, span_text("Host: localhost\r\n"));
    }
    while (head.size > 0) {
        put_field(out, cut(&head, "\n"));
    }
    snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", text.size);
    put(out, span_text(text.size > 0 ? length : "\r\n"));
    put(out, text);
}

/* False: the parser refuses it. */
static bool parse(struct http_request *r, struct span bytes) {
    static const struct http_limits limits = {.request_line_bytes = 8192,
                                              .header_bytes = 16384,
                                              .header_count = 100,
                                              .body_bytes = 1u << 20};
    while (bytes.size > 0 && r->phase != REQUEST_BAD && r->phase != REQUEST_DONE) {
        size_t used = http_request_take(r, &limits, bytes);
        bytes = span_of(bytes.data + used, bytes.size - used);
    }
    return r->phase == REQUEST_DONE;
}

/* ---- answers ---- */

/* Complete lines "Name: value", nothing that would end one early. */
static void check_headers(struct span lines) {
    while (lines.size > 0) {
        assert(memmem(lines.data, lines.size, "\r\n", 2) != NULL);
        struct span line = cut(&lines, "\r\n");
        const uint8_t *colon = memchr(line.data, ':', line.size);
        assert(colon != NULL && colon > line.data);
        for (size_t i = 0; i < line.size; i++) {
            assert(gate_is_value(line.data[i]));
        }
    }
}

static void check_json(struct span body, const char *content_type, int status) {
    json_t *tree = json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES, NULL);
    assert(tree != NULL);
    if (strcmp(content_type, PROBLEM) == 0) {
        assert(json_integer_value(json_object_get(tree, "status")) == status);
        const char *type = json_string_value(json_object_get(tree, "type"));
        assert(type != NULL && strncmp(type, "/problems/", 10) == 0);
    }
    json_decref(tree);
}

static void check_answer(const struct http_exchange *x) {
    bool json = strcmp(x->content_type, PROBLEM) == 0 ||
                (strcmp(x->content_type, "application/json") == 0 &&
                 memmem(x->request.query.data, x->request.query.size, "body", 4) == NULL);
    assert(x->replies == 1);
    assert(x->status >= 200 && x->status <= 599 && x->status != 500);
    assert(x->status < 400 || x->body.size == 0 || strcmp(x->content_type, PROBLEM) == 0);
    assert((x->status != 204 && x->status != 304) || x->body.size == 0);
    check_headers(buffer_span(&x->headers));
    if (json && x->body.size > 0 && !x->streaming) {
        check_json(buffer_span(&x->body), x->content_type, x->status);
    }
}

static void close_stream(struct http_exchange *x) {
    if (x->streaming) {
        x->closed(x->closed_arg);
        assert(!x->streaming);
    }
}

static void handle(struct api_loop *l, struct http_exchange *x) {
    api_handle(l, x);
    do {
        api_before_wait(l, NULL);
    } while (fake_loop_run() || l->first != NULL);
    check_answer(x);
    close_stream(x);
}

static void check_refusal(struct api_loop *l, const struct http_request *r) {
    char out[1024];
    size_t size = api_problem(l, r->status, r->detail, out, sizeof out);
    assert(size > 0);
    check_json(span_of(out, size), PROBLEM, r->status);
}

static void ask(struct api_loop *l, struct span text) {
    struct buffer bytes;
    struct http_exchange x;
    buffer_init(&bytes, HEAD_MAX + ((size_t)2 << 20));
    fake_exchange_init(&x);
    write_request(text, &bytes);
    if (parse(&x.request, buffer_span(&bytes))) {
        handle(l, &x);
    } else if (x.request.phase == REQUEST_BAD) {
        check_refusal(l, &x.request);
    }
    fake_exchange_release(&x);
    buffer_release(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > HEAD_MAX) {
        return 0;
    }
    struct api *api = api_of((data[0] & 1) != 0);
    struct api_loop *l;
    fake_loop_reset();
    api->options.engine = fake_engine_create();
    int rc = api_loop_create(api, &l);
    assert(rc == 0);
    struct span left = span_of(data + 1, size - 1);
    for (unsigned i = 0; i < REQUESTS_MAX && left.size > 0; i++) {
        ask(l, cut(&left, ""));
        fake_engine_advance(api->options.engine, NS_PER_SECOND);
    }
    api_loop_free(l);
    if ((data[0] & 2) != 0) {
        fuzz_model_exercise(fake_engine_model(api->options.engine),
                            fake_engine_now_ns(api->options.engine),
                            fake_engine_position(api->options.engine));
    }
    fake_engine_free(api->options.engine);
    return 0;
}
