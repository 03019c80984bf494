#include "http/request.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "base/error.h"
#include "http/head.h"

#define EMPTY_BYTES_MAX  8u /* four empty lines before a head: some clients send one after a body */
#define KEEP_BYTES       (16u * 1024)
#define HEADERS_AT_FIRST 16u
#define RESERVE_BYTES    (64u * 1024)

void http_request_init(struct http_request *r) {
    *r = (struct http_request){.phase = REQUEST_BEFORE};
    buffer_init(&r->head, UINT32_MAX);
    buffer_init(&r->body, SIZE_MAX / 2);
    gate_init(&r->gate);
}

void http_request_release(struct http_request *r) {
    buffer_release(&r->head);
    buffer_release(&r->body);
    free(r->headers);
    r->headers = NULL;
    r->header_room = 0;
}

static void clear_or_release(struct buffer *b) {
    if (b->capacity > KEEP_BYTES)
        buffer_release(b);
    else
        buffer_clear(b);
}

void http_request_clear(struct http_request *r) {
    clear_or_release(&r->head);
    clear_or_release(&r->body);
    r->phase = REQUEST_BEFORE;
    r->method = HTTP_GET_; /* not what the one before was: a refusal of this one has a body */
    r->empty_bytes = 0;
    r->header_count = 0;
    gate_init(&r->gate);
}

size_t http_request_memory_bytes(const struct http_request *r) {
    return r->head.capacity + r->body.capacity + r->header_room * sizeof *r->headers;
}

static void refuse(struct http_request *r, int status, const char *detail) {
    r->phase = REQUEST_BAD;
    r->status = status;
    r->detail = detail;
}

static size_t take_empty_lines(struct http_request *r, struct span bytes) {
    size_t i = 0;
    while (i < bytes.size) {
        uint8_t c = bytes.data[i];
        bool after_cr = r->empty_bytes % 2 == 1;
        if (c != (after_cr ? '\n' : '\r')) {
            if (after_cr)
                refuse(r, 400, "carriage return without line feed");
            else
                r->phase = REQUEST_HEAD;
            return i;
        }
        i++;
        if (++r->empty_bytes > EMPTY_BYTES_MAX) {
            refuse(r, 400, "too many empty lines");
            return i;
        }
    }
    return i;
}

static int make_header_room(struct http_request *r) {
    size_t needed = r->gate.field_count;
    if (needed <= r->header_room)
        return 0;
    if (needed < HEADERS_AT_FIRST)
        needed = HEADERS_AT_FIRST;
    struct http_header *headers = realloc(r->headers, needed * sizeof *headers);
    if (headers == NULL)
        return E_NOMEM;
    r->headers = headers;
    r->header_room = needed;
    return 0;
}

/* The body is reserved in advance only where that is cheap: a promise of 1 MiB costs a client nothing. */
static void start_body(struct http_request *r, const struct http_limits *limits,
                       const struct head_facts *facts) {
    if (facts->chunked) {
        chunk_init(&r->chunk);
        r->phase = REQUEST_CHUNKS;
    } else if (facts->length > limits->body_bytes) {
        refuse(r, 413, "body larger than limits.bodyBytes");
    } else if (facts->length > 0) {
        r->body_left = facts->length;
        r->phase = REQUEST_LENGTH;
        if (facts->length <= RESERVE_BYTES && buffer_reserve(&r->body, facts->length) != 0)
            refuse(r, 503, "out of memory");
    } else {
        r->phase = REQUEST_DONE;
    }
}

static void finish_head(struct http_request *r, const struct http_limits *limits) {
    struct head_facts facts;
    if (make_header_room(r) != 0) {
        refuse(r, 503, "out of memory");
        return;
    }
    struct parsed_head parsed = {.headers = r->headers, .header_room = r->header_room};
    int status = head_understand(buffer_span(&r->head), &parsed, &facts);
    r->header_count = parsed.header_count;
    if (status != 0) {
        refuse(r, status, facts.detail);
        return;
    }
    r->method = facts.method;
    r->path = facts.path;
    r->query = facts.query;
    r->version_1_0 = parsed.minor == 0;
    r->keep_alive = parsed.keep_alive && !r->version_1_0;
    r->wants_continue = facts.wants_continue;
    start_body(r, limits, &facts);
}

static size_t take_head(struct http_request *r, const struct http_limits *limits,
                        struct span bytes) {
    size_t used = gate_take(&r->gate, limits, bytes);
    if (buffer_append(&r->head, bytes.data, used) != 0)
        refuse(r, 503, "out of memory");
    else if (r->gate.state == GATE_BAD)
        refuse(r, r->gate.status, r->gate.detail);
    else if (r->gate.state == GATE_DONE)
        finish_head(r, limits);
    return used;
}

static void append_body(struct http_request *r, struct span data) {
    if (buffer_append_span(&r->body, data) != 0)
        refuse(r, 503, "out of memory");
}

static size_t take_length(struct http_request *r, struct span bytes) {
    size_t used = bytes.size < r->body_left ? bytes.size : (size_t)r->body_left;
    append_body(r, span_of(bytes.data, used));
    r->body_left -= used;
    if (r->body_left == 0 && r->phase == REQUEST_LENGTH)
        r->phase = REQUEST_DONE;
    return used;
}

static size_t take_chunks(struct http_request *r, const struct http_limits *limits,
                          struct span bytes) {
    struct span data;
    size_t used = chunk_take(&r->chunk, bytes, &data);
    /* An announced chunk is judged before its data comes, as an announced length is. */
    uint64_t announced = r->chunk.state == CHUNK_DATA ? r->chunk.left : 0;
    if (data.size + announced > limits->body_bytes - r->body.size) {
        refuse(r, 413, "body larger than limits.bodyBytes");
        return used;
    }
    append_body(r, data);
    if (r->chunk.state == CHUNK_BAD) {
        refuse(r, 400, "malformed chunk");
    } else if (r->chunk.state == CHUNK_LAST) {
        r->phase = REQUEST_TRAILER;
        gate_init_trailer(&r->gate);
    }
    return used;
}

static size_t take_trailer(struct http_request *r, const struct http_limits *limits,
                           struct span bytes) {
    size_t used = gate_take(&r->gate, limits, bytes);
    if (r->gate.state == GATE_BAD)
        refuse(r, r->gate.status, r->gate.detail);
    else if (r->gate.state == GATE_DONE)
        r->phase = REQUEST_DONE;
    return used;
}

static size_t take_part(struct http_request *r, const struct http_limits *limits,
                        struct span bytes) {
    switch (r->phase) {
    case REQUEST_BEFORE:
        return take_empty_lines(r, bytes);
    case REQUEST_HEAD:
        return take_head(r, limits, bytes);
    case REQUEST_LENGTH:
        return take_length(r, bytes);
    case REQUEST_CHUNKS:
        return take_chunks(r, limits, bytes);
    default:
        return take_trailer(r, limits, bytes);
    }
}

size_t http_request_take(struct http_request *r, const struct http_limits *limits,
                         struct span bytes) {
    assert(r->phase < REQUEST_DONE);
    size_t used = 0;
    while (used < bytes.size && r->phase < REQUEST_DONE) {
        bool in_head = r->phase <= REQUEST_HEAD;
        used += take_part(r, limits, span_of(bytes.data + used, bytes.size - used));
        if (in_head && http_request_in_body(r))
            break;
    }
    return used;
}

struct span http_request_header(const struct http_request *r, const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        if (h->name.size == size && strncasecmp((const char *)h->name.data, name, size) == 0)
            return h->value;
    }
    return span_of(NULL, 0);
}
