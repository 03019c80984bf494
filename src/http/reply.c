/*
 * Answers: the text of a head, and where it goes.
 *
 * An answer is one run of bytes appended to the stream's output when the exchange is first in line,
 * else to the exchange's own buffer until it is. Room for the whole of it is reserved at once, so an
 * answer is there completely or, without memory, the connection ends.
 */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "http/server_internal.h"

/* Status line, Date, Content-Type without its value, the longest length and Connection fit easily. */
#define HEAD_FIXED_BYTES 256u

struct writer {
    uint8_t *at; /* into memory that was reserved */
};

static void put(struct writer *w, const void *data, size_t size) {
    if (size > 0)
        memcpy(w->at, data, size);
    w->at += size;
}

#define PUT_LITERAL(w, text) put(w, text, sizeof(text) - 1)

static void put_text(struct writer *w, const char *text) {
    put(w, text, strlen(text));
}

static void put_number(struct writer *w, uint64_t n) {
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    put(w, digits + i, sizeof digits - i);
}

static void put_hex(struct writer *w, uint64_t n) {
    char digits[16];
    size_t i = sizeof digits;
    do {
        digits[--i] = "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n > 0);
    put(w, digits + i, sizeof digits - i);
}

/* ---- the head ---- */

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED };

struct answer {
    int status;
    const char *content_type; /* NULL: none */
    struct span headers;
    enum framing framing;
    struct span body;
    bool body_sent; /* not for HEAD, 204, 304 */
};

static void put_head(struct writer *w, struct http_exchange *x, const struct answer *a) {
    PUT_LITERAL(w, "HTTP/1.1 ");
    put_number(w, (uint64_t)a->status);
    PUT_LITERAL(w, " ");
    put_text(w, http_status_text(a->status));
    PUT_LITERAL(w, "\r\n");
    put(w, http_server_date(x->connection->server), DATE_BYTES);
    if (a->content_type != NULL) {
        PUT_LITERAL(w, "Content-Type: ");
        put_text(w, a->content_type);
        PUT_LITERAL(w, "\r\n");
    }
    if (a->framing == FRAMING_LENGTH) {
        PUT_LITERAL(w, "Content-Length: ");
        put_number(w, a->body.size);
        PUT_LITERAL(w, "\r\n");
    } else if (a->framing == FRAMING_CHUNKED) {
        PUT_LITERAL(w, "Transfer-Encoding: chunked\r\n");
    }
    if (x->close_after)
        PUT_LITERAL(w, "Connection: close\r\n");
    put(w, a->headers.data, a->headers.size);
    PUT_LITERAL(w, "\r\n");
}

/* False: dropped, as the client has gone or memory was short. */
static bool send_answer(struct http_exchange *x, const struct answer *a) {
    struct net_stream *stream = &x->connection->stream;
    struct buffer *out = http_connection_output(x);
    if (out == NULL)
        return false;
    if (http_connection_overdrawn(x->connection)) {
        net_stream_close(stream);
        return false;
    }
    size_t type_size = a->content_type == NULL ? 0 : strlen(a->content_type);
    size_t body_size = a->body_sent ? a->body.size : 0;
    size_t most = HEAD_FIXED_BYTES + type_size + a->headers.size + body_size;
    if (buffer_reserve(out, most) != 0) {
        net_stream_close(stream);
        return false;
    }
    struct writer w = {.at = out->data + out->size};
    put_head(&w, x, a);
    put(&w, a->body.data, body_size);
    out->size = (size_t)(w.at - out->data);
    assert(out->size <= out->capacity);
    /* What is large counts in the budget now, not behind all other answers of the turn. */
    if (out != &x->reply && out->size > CONNECTION_UNSENT_HIGH)
        net_stream_send(stream);
    return true;
}

static void count_status(struct http_exchange *x, int status) {
    if (status >= 500)
        stat_add(&x->connection->server->stats.responses_5xx, 1);
}

static bool bodiless(const struct http_exchange *x, int status) {
    return status == 204 || status == 304 || x->request.method == HTTP_HEAD_;
}

/* ---- whole answers ---- */

static void finish_answer(struct http_exchange *x, bool sent) {
    struct http_connection *c = x->connection;
    if (c->gone) { /* the client left before its answer: x was kept for the handler only */
        http_connection_drop(x);
    } else if (x == c->first) {
        http_connection_answered(x);
    } else {
        x->state = EXCHANGE_ANSWERED;
        if (!sent)
            x->close_after = true;
        http_exchange_account(x);
    }
}

static void reply(struct http_exchange *x, int status, const char *content_type,
                  struct span headers, struct span body) {
    assert(x->state == EXCHANGE_ASKED && "one answer an exchange");
    assert(status >= 200 && status <= 599);
    struct answer a = {.status = status,
                       .content_type = content_type,
                       .headers = headers,
                       .body = body,
                       .body_sent = !bodiless(x, status)};
    a.framing = status == 204 || status == 304 ? FRAMING_NONE : FRAMING_LENGTH;
    count_status(x, status);
    finish_answer(x, send_answer(x, &a));
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct span headers,
                struct span body) {
    reply(x, status, content_type, headers, body);
}

void http_reply_close(struct http_exchange *x, int status, const char *content_type,
                      struct span headers, struct span body) {
    x->close_after = true;
    reply(x, status, content_type, headers, body);
}

void http_server_refuse(struct http_exchange *x, int status, const char *detail) {
    struct http_server *s = x->connection->server;
    char body[1024];
    size_t size = 0;
    if (s->options.problem != NULL)
        size = s->options.problem(s->options.context, status, detail, body, sizeof body);
    assert(size <= sizeof body);
    struct span headers = span_of(NULL, 0);
    if (status == 405)
        headers = span_text("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    http_reply_close(x, status, size > 0 ? "application/problem+json" : NULL, headers,
                     span_of(body, size));
}

/* ---- answers without end ---- */

/* The public handle is the exchange under another name. */
static struct http_exchange *exchange_of(struct http_stream *s) {
    return (struct http_exchange *)(void *)s;
}

struct http_stream *http_stream_start(struct http_exchange *x, int status, const char *content_type,
                                      struct span headers, void (*closed)(void *arg), void *arg) {
    assert(x->state == EXCHANGE_ASKED && "one answer an exchange");
    struct http_connection *c = x->connection;
    x->chunked = !x->request.version_1_0;
    x->silent = bodiless(x, status);
    if (!x->chunked)
        x->close_after = true;
    struct answer a = {.status = status,
                       .content_type = content_type,
                       .headers = headers,
                       .framing = x->chunked ? FRAMING_CHUNKED : FRAMING_NONE};
    count_status(x, status);
    x->state = EXCHANGE_STREAMING;
    x->closed = closed;
    x->closed_arg = arg;
    if (!send_answer(x, &a) && !c->gone)
        net_stream_close(&c->stream);
    if (c->half_closed && !c->gone)
        net_stream_close(&c->stream);
    if (c->gone)
        x->gone = true; /* nobody to call: the first write says E_CLOSED */
    return (struct http_stream *)(void *)x;
}

static bool wholly_dead(const struct http_exchange *x) {
    return x->gone || x->connection->gone || x->connection->stream.state != NET_OPEN;
}

static size_t unsent_bytes(const struct http_exchange *x) {
    const struct http_connection *c = x->connection;
    return x == c->first ? net_stream_unsent(&c->stream) : x->reply.size;
}

int http_stream_write(struct http_stream *s, struct span data) {
    struct http_exchange *x = exchange_of(s);
    assert(x->state == EXCHANGE_STREAMING && !x->ended);
    if (wholly_dead(x))
        return E_CLOSED;
    if (x->silent || data.size == 0)
        return 0;
    if (data.size > HTTP_STREAM_UNSENT_MAX - unsent_bytes(x) ||
        unsent_bytes(x) > HTTP_STREAM_UNSENT_MAX)
        return E_LIMIT;
    struct buffer *out = http_connection_output(x);
    if (out == NULL)
        return E_CLOSED;
    if (buffer_reserve(out, data.size + 32) != 0)
        return E_NOMEM;
    struct writer w = {.at = out->data + out->size};
    if (x->chunked) {
        put_hex(&w, data.size);
        PUT_LITERAL(&w, "\r\n");
    }
    put(&w, data.data, data.size);
    if (x->chunked)
        PUT_LITERAL(&w, "\r\n");
    out->size = (size_t)(w.at - out->data);
    http_exchange_account(x);
    return 0;
}

/* An answer whose last chunk cannot be written has to end with the connection. */
static void put_last_chunk(struct http_exchange *x) {
    struct buffer *out = x->chunked && !x->silent ? http_connection_output(x) : NULL;
    if (out != NULL && buffer_append_text(out, "0\r\n\r\n") != 0)
        net_stream_close(&x->connection->stream);
}

void http_stream_end(struct http_stream *s) {
    struct http_exchange *x = exchange_of(s);
    struct http_connection *c = x->connection;
    assert(x->state == EXCHANGE_STREAMING && !x->ended);
    x->closed = NULL;
    if (c->gone) {
        http_connection_drop(x);
        return;
    }
    put_last_chunk(x);
    x->ended = true;
    if (x == c->first)
        http_connection_answered(x);
}
