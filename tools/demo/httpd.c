/*
 * A connection goes round in three steps, and is in exactly one of them:
 *
 *   reading    bytes are appended to `in` and parsed until a request is whole
 *   answering  the parser is paused, the handler has decided; `timer` runs until the answer may leave
 *   writing    the answer is on its way; then what is left in `in` is parsed: reading again
 *
 * Bytes that arrive in the last two steps wait in `in`, up to its limit.
 */
#include "httpd.h"

#include <assert.h>
#include <http_parser.h>
#include <stdlib.h>
#include <strings.h>

#include "base/error.h"
#include "base/list.h"

enum conn_step { CONN_READING, CONN_ANSWERING, CONN_WRITING, CONN_CLOSING };
enum field { FIELD_OTHER, FIELD_KEY, FIELD_ATTEMPT };

#define FIELD_NAME_MAX 64u
#define FIELD_MAX      512u

struct httpd {
    uv_loop_t *loop; /* borrows */
    uv_tcp_t listener;
    httpd_handle *handle;
    void *context; /* borrows */
    struct list conns;
    uint32_t conn_count;
};

struct conn {
    struct list_node node; /* link in httpd.conns */
    struct httpd *httpd;   /* borrows */
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    http_parser parser;
    enum conn_step step;
    int open_handles;
    struct buffer in, body, path, key, attempt, out;
    char name[FIELD_NAME_MAX]; /* of the header field under way */
    size_t name_size;
    bool in_value;
    enum field field;
    bool keep_alive;
};

static void conn_advance(struct conn *c);

/* ---- life of a connection ---- */

static void conn_closed(uv_handle_t *handle) {
    struct conn *c = handle->data;
    if (--c->open_handles > 0)
        return;
    list_remove(&c->node);
    c->httpd->conn_count--;
    buffer_release(&c->in);
    buffer_release(&c->body);
    buffer_release(&c->path);
    buffer_release(&c->key);
    buffer_release(&c->attempt);
    buffer_release(&c->out);
    free(c);
}

static void conn_close(struct conn *c) {
    if (c->step == CONN_CLOSING)
        return;
    c->step = CONN_CLOSING;
    uv_close((uv_handle_t *)&c->tcp, conn_closed);
    uv_close((uv_handle_t *)&c->timer, conn_closed);
}

/* ---- answering ---- */

static void conn_written(uv_write_t *write, int status) {
    struct conn *c = write->data;
    if (c->step == CONN_CLOSING)
        return;
    if (status < 0 || !c->keep_alive) {
        conn_close(c);
        return;
    }
    c->step = CONN_READING;
    conn_advance(c);
}

static void conn_answer_due(uv_timer_t *timer) {
    struct conn *c = timer->data;
    assert(c->step == CONN_ANSWERING);
    c->step = CONN_WRITING;
    uv_buf_t part = uv_buf_init((char *)c->out.data, (unsigned)c->out.size);
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &part, 1, conn_written) != 0)
        conn_close(c);
}

static int conn_format(struct conn *c, const struct httpd_answer *a, const struct buffer *body) {
    buffer_clear(&c->out);
    int rc = buffer_printf(&c->out,
                           "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                           "Access-Control-Allow-Origin: *\r\nContent-Length: %zu\r\n",
                           a->status, http_status_str((enum http_status)a->status), body->size);
    if (rc == 0 && a->retry_after_s > 0)
        rc = buffer_printf(&c->out, "Retry-After: %u\r\n", a->retry_after_s);
    if (rc == 0)
        rc = buffer_append_text(&c->out, c->keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    return rc == 0 ? buffer_append_span(&c->out, buffer_span(body)) : rc;
}

static struct span without_quotes(struct span s) {
    if (s.size >= 2 && s.data[0] == '"' && s.data[s.size - 1] == '"')
        return span_of(s.data + 1, s.size - 2);
    return s;
}

static void conn_serve(struct conn *c) {
    struct httpd_request request = {
        .method = http_method_str((enum http_method)c->parser.method),
        .path = buffer_span(&c->path),
        .key = without_quotes(buffer_span(&c->key)),
        .attempt = buffer_span(&c->attempt),
        .body = buffer_span(&c->body),
    };
    struct buffer body;
    buffer_init(&body, HTTPD_ANSWER_MAX);
    struct httpd_answer answer = {.status = 500, .body = &body};
    c->httpd->handle(c->httpd->context, &request, &answer);
    int rc = conn_format(c, &answer, &body);
    buffer_release(&body);
    if (rc != 0 || uv_timer_start(&c->timer, conn_answer_due, answer.delay_ms, 0) != 0)
        conn_close(c);
}

/* ---- reading ---- */

static int on_begin(http_parser *parser) {
    struct conn *c = parser->data;
    buffer_clear(&c->body);
    buffer_clear(&c->path);
    buffer_clear(&c->key);
    buffer_clear(&c->attempt);
    c->name_size = 0;
    c->in_value = false;
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t size) {
    struct conn *c = parser->data;
    return buffer_append(&c->path, at, size);
}

static int on_field(http_parser *parser, const char *at, size_t size) {
    struct conn *c = parser->data;
    if (c->in_value)
        c->name_size = 0;
    c->in_value = false;
    /* A name that is too long is none of ours: what fits cannot match. */
    for (size_t i = 0; i < size && c->name_size < FIELD_NAME_MAX; i++)
        c->name[c->name_size++] = at[i];
    return 0;
}

static bool name_is(const struct conn *c, const char *name) {
    return strlen(name) == c->name_size && strncasecmp(name, c->name, c->name_size) == 0;
}

static int on_value(http_parser *parser, const char *at, size_t size) {
    struct conn *c = parser->data;
    if (!c->in_value)
        c->field = name_is(c, "idempotency-key")  ? FIELD_KEY
                   : name_is(c, "sluice-attempt") ? FIELD_ATTEMPT
                                                  : FIELD_OTHER;
    c->in_value = true;
    if (c->field == FIELD_OTHER)
        return 0;
    return buffer_append(c->field == FIELD_KEY ? &c->key : &c->attempt, at, size);
}

static int on_body(http_parser *parser, const char *at, size_t size) {
    struct conn *c = parser->data;
    return buffer_append(&c->body, at, size);
}

static int on_complete(http_parser *parser) {
    struct conn *c = parser->data;
    c->keep_alive = http_should_keep_alive(parser) != 0;
    c->step = CONN_ANSWERING;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings PARSER_SETTINGS = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

static void conn_advance(struct conn *c) {
    if (c->step != CONN_READING || c->in.size == 0)
        return;
    size_t used =
        http_parser_execute(&c->parser, &PARSER_SETTINGS, (const char *)c->in.data, c->in.size);
    enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
    if ((error != HPE_OK && error != HPE_PAUSED) || c->parser.upgrade) {
        conn_close(c);
        return;
    }
    buffer_consume(&c->in, used);
    if (c->step == CONN_ANSWERING) {
        http_parser_pause(&c->parser, 0);
        conn_serve(c);
    }
}

static void conn_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret) {
    struct conn *c = handle->data;
    (void)suggested;
    size_t room = 16384;
    if (c->in.size + room > c->in.max)
        room = c->in.max - c->in.size;
    *ret = uv_buf_init(NULL, 0);
    if (room > 0 && buffer_reserve(&c->in, room) == 0)
        *ret = uv_buf_init((char *)c->in.data + c->in.size, (unsigned)room);
}

static void conn_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *room) {
    struct conn *c = stream->data;
    (void)room;
    if (size < 0) {
        conn_close(c);
        return;
    }
    c->in.size += (size_t)size;
    conn_advance(c);
}

/* ---- listening ---- */

static void conn_init(struct conn *c, struct httpd *h) {
    c->httpd = h;
    list_append(&h->conns, &c->node);
    h->conn_count++;
    buffer_init(&c->in, HTTPD_REQUEST_MAX);
    buffer_init(&c->body, HTTPD_REQUEST_MAX);
    buffer_init(&c->path, FIELD_MAX);
    buffer_init(&c->key, FIELD_MAX);
    buffer_init(&c->attempt, FIELD_MAX);
    buffer_init(&c->out, HTTPD_ANSWER_MAX + 1024);
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    c->write.data = c;
    int rc = uv_tcp_init(h->loop, &c->tcp);
    assert(rc == 0);
    rc = uv_timer_init(h->loop, &c->timer);
    assert(rc == 0);
    c->tcp.data = c->timer.data = c;
    c->open_handles = 2;
}

static void httpd_connection(uv_stream_t *listener, int status) {
    struct httpd *h = listener->data;
    struct conn *c = status == 0 ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL)
        return;
    conn_init(c, h);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 || h->conn_count > HTTPD_CONNECTIONS_MAX ||
        uv_tcp_nodelay(&c->tcp, 1) != 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, conn_room, conn_read) != 0)
        conn_close(c);
}

static void httpd_failed(uv_handle_t *listener) {
    free(listener->data);
}

int httpd_start(uv_loop_t *loop, const char *host, uint16_t port, httpd_handle *handle,
                void *context, struct httpd **ret) {
    struct sockaddr_in address;
    if (uv_ip4_addr(host, port, &address) != 0)
        return E_INVALID;
    struct httpd *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return E_NOMEM;
    *h = (struct httpd){.loop = loop, .handle = handle, .context = context};
    list_init(&h->conns);
    if (uv_tcp_init(loop, &h->listener) != 0) {
        free(h);
        return E_NOMEM;
    }
    h->listener.data = h;
    if (uv_tcp_bind(&h->listener, (const struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&h->listener, 1024, httpd_connection) != 0) {
        uv_close((uv_handle_t *)&h->listener, httpd_failed);
        return E_IO;
    }
    *ret = h;
    return 0;
}

void httpd_stop(struct httpd *h) {
    uv_close((uv_handle_t *)&h->listener, NULL);
    for (struct list_node *n = list_first(&h->conns); n != NULL; n = list_next(&h->conns, n))
        conn_close(CONTAINER_OF(n, struct conn, node));
}

void httpd_free(struct httpd *h) {
    assert(h == NULL || h->conn_count == 0);
    free(h);
}
