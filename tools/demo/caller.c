/*
 *   AWAY --timer--> CONNECTING --> IDLE <--> ASKING
 *     ^                 |           |          |
 *     +---- CLOSING <---+-----------+----------+     broken, refused, too slow, "Connection: close"
 *
 * The only way out of a connection is through CLOSING, whose end (caller_closed) starts the pause.
 */
#include "caller.h"

#include <assert.h>
#include <string.h>

#define PAUSE_MIN_MS    40u
#define PAUSE_SPREAD_MS 120u
#define READ_ROOM       65536u

static void caller_connect(uv_timer_t *timer);

static void caller_closed(uv_handle_t *handle) {
    struct caller *c = handle->data;
    c->state = CALLER_AWAY;
    if (!c->stopping)
        uv_timer_start(&c->timer, caller_connect,
                       PAUSE_MIN_MS + rng_below(&c->rng, PAUSE_SPREAD_MS), 0);
}

static void caller_close(struct caller *c) {
    assert(c->state != CALLER_AWAY);
    if (c->state == CALLER_CLOSING)
        return;
    bool asking = c->state == CALLER_ASKING;
    c->state = CALLER_CLOSING;
    uv_close((uv_handle_t *)&c->tcp, caller_closed);
    if (asking && !c->stopping)
        c->events->lost(c->events->context, c, c->click);
}

/* ---- the answer ---- */

static int on_body(http_parser *parser, const char *at, size_t size) {
    struct caller *c = parser->data;
    return buffer_append(&c->body, at, size);
}

static int on_complete(http_parser *parser) {
    struct caller *c = parser->data;
    c->complete = true;
    return 0;
}

static const http_parser_settings PARSER_SETTINGS = {
    .on_body = on_body,
    .on_message_complete = on_complete,
};

static void caller_answered(struct caller *c) {
    bool keep = http_should_keep_alive(&c->parser) != 0;
    c->state = CALLER_IDLE;
    c->events->answered(c->events->context, c, c->click, c->parser.status_code,
                        buffer_span(&c->body));
    if (!keep) {
        caller_close(c);
        return;
    }
    http_parser_init(&c->parser, HTTP_RESPONSE);
    c->events->ready(c->events->context, c);
}

static void caller_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret) {
    /* All callers share it: what is read is parsed before the next read. */
    static char room[READ_ROOM];
    (void)handle;
    (void)suggested;
    *ret = uv_buf_init(room, sizeof(room));
}

static void caller_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *room) {
    struct caller *c = stream->data;
    if (size == 0)
        return;
    if (size < 0 || c->state != CALLER_ASKING) {
        caller_close(c);
        return;
    }
    size_t used = http_parser_execute(&c->parser, &PARSER_SETTINGS, room->base, (size_t)size);
    if (HTTP_PARSER_ERRNO(&c->parser) != HPE_OK || used != (size_t)size)
        caller_close(c);
    else if (c->complete)
        caller_answered(c);
}

/* ---- asking ---- */

/*
 * One request of a few hundred bytes on a connection with nothing else under way fits the socket's
 * buffer; when it does not, the peer has stopped reading and the connection is as good as broken.
 */
void caller_ask(struct caller *c, uint32_t click, struct span request) {
    assert(c->state == CALLER_IDLE);
    buffer_clear(&c->body);
    c->complete = false;
    c->click = click;
    c->asked_ms = uv_now(c->loop);
    c->state = CALLER_ASKING;
    uv_buf_t part = uv_buf_init((char *)(uintptr_t)request.data, (unsigned)request.size);
    if (uv_try_write((uv_stream_t *)&c->tcp, &part, 1) != (int)request.size)
        caller_close(c);
}

void caller_check(struct caller *c, uint64_t timeout_ms) {
    if (c->state == CALLER_ASKING && uv_now(c->loop) - c->asked_ms > timeout_ms)
        caller_close(c);
}

/* ---- connecting ---- */

static void caller_connected(uv_connect_t *connect, int status) {
    struct caller *c = connect->data;
    if (c->state != CALLER_CONNECTING)
        return;
    if (status != 0 || uv_tcp_nodelay(&c->tcp, 1) != 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, caller_room, caller_read) != 0) {
        caller_close(c);
        return;
    }
    http_parser_init(&c->parser, HTTP_RESPONSE);
    c->state = CALLER_IDLE;
    c->events->ready(c->events->context, c);
}

static void caller_connect(uv_timer_t *timer) {
    struct caller *c = timer->data;
    int rc = uv_tcp_init(c->loop, &c->tcp);
    assert(rc == 0);
    c->tcp.data = c;
    c->state = CALLER_CONNECTING;
    if (uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)c->address,
                       caller_connected) != 0)
        caller_close(c);
}

void caller_init(struct caller *c, uv_loop_t *loop, const struct sockaddr_in *address,
                 const struct caller_events *events, uint64_t seed) {
    *c = (struct caller){.loop = loop, .events = events, .address = address};
    rng_init(&c->rng, seed);
    buffer_init(&c->body, CALLER_ANSWER_MAX);
    int rc = uv_timer_init(loop, &c->timer);
    assert(rc == 0);
    c->timer.data = c->connect.data = c->parser.data = c;
    caller_connect(&c->timer);
}

void caller_stop(struct caller *c) {
    c->stopping = true;
    uv_close((uv_handle_t *)&c->timer, NULL);
    if (c->state != CALLER_AWAY)
        caller_close(c);
}

void caller_release(struct caller *c) {
    buffer_release(&c->body);
}
