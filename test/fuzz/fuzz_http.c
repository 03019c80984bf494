/*
 * HTTP requests out of arbitrary bytes: nothing crashes, and the same requests, or the same refusal,
 * are seen however the bytes are cut. The first byte of an input picks the cuts.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/rng.h"
#include "http/request.h"

static const struct http_limits LIMITS = {
    .request_line_bytes = 200, .header_bytes = 400, .header_count = 10, .body_bytes = 300};

/* What was seen of a stream of bytes. */
struct transcript {
    uint64_t digest;
    uint32_t requests;
    int status; /* of the refusal that ended it, or 0 */
    enum http_request_phase phase;
};

static void note(struct transcript *t, struct span s) {
    const struct hash_key key = {t->digest, s.size};
    t->digest = hash_bytes(key, s);
}

static void check_inside(const struct http_request *r, struct span s) {
    assert(s.size == 0 ||
           (s.data >= r->head.data && s.data + s.size <= r->head.data + r->head.size) ||
           span_is(s, "/"));
}

static void note_request(struct transcript *t, const struct http_request *r) {
    t->requests++;
    t->digest ^= (uint64_t)r->method << 8 | (uint64_t)r->keep_alive;
    check_inside(r, r->path);
    check_inside(r, r->query);
    assert(r->path.size > 0 && (r->path.data[0] == '/' || span_is(r->path, "*")));
    assert(r->header_count <= LIMITS.header_count && r->body.size <= LIMITS.body_bytes);
    note(t, r->path);
    note(t, r->query);
    for (size_t i = 0; i < r->header_count; i++) {
        check_inside(r, r->headers[i].name);
        check_inside(r, r->headers[i].value);
        assert(r->headers[i].name.size > 0);
        note(t, r->headers[i].name);
        note(t, r->headers[i].value);
    }
    note(t, buffer_span(&r->body));
}

static size_t piece_size(struct rng *rng, size_t left) {
    if (rng == NULL)
        return left;
    size_t size = 1 + rng_below(rng, rng_below(rng, 4) == 0 ? 100 : 5);
    return size < left ? size : left;
}

/* Cuts where `rng` says, or nowhere without one. */
static struct transcript read_stream(struct span s, struct rng *rng) {
    struct transcript t = {0};
    struct http_request r;
    http_request_init(&r);
    while (s.size > 0 && r.phase != REQUEST_BAD) {
        size_t size = piece_size(rng, s.size);
        struct span piece = span_of(s.data, size);
        while (piece.size > 0 && r.phase != REQUEST_BAD) {
            size_t used = http_request_take(&r, &LIMITS, piece);
            assert(used <= piece.size && (used > 0 || r.phase == REQUEST_BAD));
            piece = span_of(piece.data + used, piece.size - used);
            if (r.phase == REQUEST_DONE) {
                note_request(&t, &r);
                http_request_clear(&r);
            }
        }
        s = span_of(s.data + size, s.size - size);
    }
    t.phase = r.phase;
    t.status = r.phase == REQUEST_BAD ? r.status : 0;
    if (r.phase == REQUEST_BAD)
        note(&t, span_text(r.detail));
    http_request_release(&r);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct span stream = span_of(data + 1, size - 1);
    struct transcript whole = read_stream(stream, NULL);
    struct rng rng;
    rng_init(&rng, data[0]);
    for (int i = 0; i < 3; i++) {
        struct transcript cut = read_stream(stream, &rng);
        assert(cut.requests == whole.requests && cut.status == whole.status &&
               cut.phase == whole.phase && cut.digest == whole.digest);
    }
    return 0;
}
