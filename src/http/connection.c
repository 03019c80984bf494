/*
 * The life of a connection.
 *
 * Input: bytes go to `reading`; when that request is whole it joins the line and the handler is
 * called. No stream comes back to us while a handler is on the stack: what was sent (at the end of the turn, a large
 * answer at once) and what was closed is told later, by `drained` and `closed`.
 *
 *   I1  every exchange in the line points here; so does `reading`, and each that a handler still holds
 *       after the stream has closed: `exchanges` counts them, and the memory goes at zero
 *   I2  the first in line is never ANSWERED: it would have left
 *   I3  paused => the line is full, or much is unsent, or the server's memory is used up, or it had its
 *       share of this turn; each of these ends with an event that resumes (drained, recycle, the next turn)
 *       or with the stream's end
 *
 * Time: a client owes us a head (from its first byte), a body (with a least rate), or nothing but a
 * next request some day; whichever it is, the deadline is since_ms plus the limit for it. A body that
 * came on fast enough by then gets as much time again. While the client waits for us there is no
 * deadline, and while it does not read, the stream's own write time-out runs.
 */
#include "http/connection.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "http/server_internal.h"

#define BODY_LEAST_BYTES_PER_S 1024u

static const char CONTINUE_LINE[] = "HTTP/1.1 100 Continue\r\n\r\n";

static struct http_connection *of_stream(struct net_stream *s) {
    return CONTAINER_OF(s, struct http_connection, stream);
}

static void free_if_unused(struct http_connection *c) {
    if (!c->gone || c->exchanges > 0)
        return;
    struct http_server *s = c->server;
    free(c);
    http_server_connection_freed(s);
}

static void count_bytes(struct http_connection *c) {
    struct http_server_stats *stats = &c->server->stats;
    stat_add(&stats->bytes_in, c->stream.bytes_in - c->counted_in);
    stat_add(&stats->bytes_out, c->stream.bytes_out - c->counted_out);
    c->counted_in = c->stream.bytes_in;
    c->counted_out = c->stream.bytes_out;
}

/* ---- time ---- */

static bool in_message(const struct http_connection *c) {
    return c->reading != NULL && c->reading->request.phase != REQUEST_BEFORE;
}

static uint64_t due_ms(const struct http_connection *c) {
    const struct http_limits *l = &c->server->options.limits;
    bool starved = list_linked(&c->starved);
    if (c->deaf || (c->paused && !starved))
        return WHEEL_NEVER;
    if (!in_message(c))
        return c->waiting > 0 ? WHEEL_NEVER : c->since_ms + l->idle_timeout_ms;
    if (!http_request_in_body(&c->reading->request))
        return c->since_ms + l->head_timeout_ms;
    return c->since_ms + l->body_timeout_ms;
}

static void set_deadline(struct http_connection *c) {
    net_stream_set_deadline(&c->stream, due_ms(c));
}

static void begin_wait(struct http_connection *c) {
    c->since_ms = net_loop_now_ms(c->server->loop);
}

/* ---- backpressure ---- */

static bool memory_used_up(const struct http_server *s) {
    return s->budget.used_bytes >= s->options.limits.memory_bytes;
}

/* Only the last can: nothing has been read since. */
static bool line_is_held(const struct http_connection *c) {
    return c->last != NULL && c->last->holds_line && c->last->state == EXCHANGE_ASKED;
}

static bool may_read(const struct http_connection *c) {
    return !line_is_held(c) && c->waiting < c->server->options.limits.pipeline_depth &&
           net_stream_unsent(&c->stream) < CONNECTION_UNSENT_HIGH && !memory_used_up(c->server);
}

/* What is answered at once never fills the line: without a share one client would keep all others waiting. */
static bool had_its_share(struct http_connection *c) {
    uint64_t turn = net_loop_turn(c->server->loop);
    if (c->turn != turn) {
        c->turn = turn;
        c->asked = 0;
    }
    return c->asked >= c->server->options.limits.pipeline_depth;
}

static bool has_more_than(const struct http_connection *c, uint64_t bytes) {
    size_t held = net_stream_unsent(&c->stream);
    for (const struct http_exchange *x = c->first; x != NULL; x = x->next)
        held += x->reply.capacity;
    return held > bytes;
}

static uint64_t share_bytes(const struct http_server *s) {
    return s->options.limits.memory_bytes / s->connection_count;
}

bool http_connection_overdrawn(const struct http_connection *c) {
    return memory_used_up(c->server) && has_more_than(c, share_bytes(c->server));
}

void http_connection_look(struct http_connection *c) {
    c->stuck_at = net_stream_unsent(&c->stream) > 0 ? c->stream.bytes_out : UINT64_MAX;
}

/* Half a share: when all who have more are gone, there is room for those that wait (http_server_feed_starved). */
bool http_connection_stuck(const struct http_connection *c) {
    return c->stuck_at == c->stream.bytes_out && has_more_than(c, share_bytes(c->server) / 2);
}

static void pause_reading(struct http_connection *c) {
    c->paused = true;
    net_stream_pause(&c->stream);
    if (memory_used_up(c->server) && !list_linked(&c->starved))
        http_server_starve(c->server, &c->starved);
}

/* The wait for the client starts anew: until now it could not go on for our sake. */
static void resume_reading(struct http_connection *c) {
    if (!c->paused || list_linked(&c->rest.node))
        return;
    if (!may_read(c)) {
        pause_reading(c); /* for another reason now, maybe */
        return;
    }
    if (list_linked(&c->starved))
        list_remove(&c->starved);
    else
        begin_wait(c);
    c->paused = false;
    net_stream_resume(&c->stream);
    set_deadline(c);
}

void http_connection_feed(struct http_connection *c) {
    resume_reading(c);
}

static void on_next_turn(struct net_later *rest) {
    resume_reading(CONTAINER_OF(rest, struct http_connection, rest));
}

static void rest_until_next_turn(struct http_connection *c) {
    c->paused = true;
    net_stream_pause(&c->stream);
    net_loop_later(c->server->loop, &c->rest);
}

/* ---- the line ---- */

static void join_line(struct http_connection *c, struct http_exchange *x) {
    assert(x->state == EXCHANGE_READING && x == c->reading);
    c->reading = NULL;
    x->state = EXCHANGE_ASKED;
    x->next = NULL;
    if (c->first == NULL)
        c->first = x;
    else
        c->last->next = x;
    c->last = x;
    c->waiting++;
}

static void leave_line(struct http_connection *c) {
    struct http_exchange *x = c->first;
    c->first = x->next;
    if (c->first == NULL)
        c->last = NULL;
    c->waiting--;
    x->next = NULL;
}

struct buffer *http_connection_output(struct http_exchange *x) {
    struct http_connection *c = x->connection;
    if (c->gone || c->stream.state != NET_OPEN)
        return NULL;
    return x == c->first ? net_stream_out(&c->stream) : &x->reply;
}

void http_connection_drop(struct http_exchange *x) {
    struct http_connection *c = x->connection;
    http_exchange_recycle(x);
    free_if_unused(c);
}

static void send_continue(struct http_connection *c) {
    struct http_exchange *x = c->reading;
    if (x == NULL || !x->request.wants_continue || c->waiting > 0 ||
        !http_request_in_body(&x->request))
        return;
    x->request.wants_continue = false;
    struct buffer *out = net_stream_out(&c->stream);
    if (out == NULL || buffer_append_text(out, CONTINUE_LINE) != 0)
        net_stream_close(&c->stream);
}

/* What the new first in line had to say before its turn. */
static bool send_saved(struct http_connection *c) {
    struct http_exchange *x = c->first;
    if (x->reply.size == 0)
        return true;
    struct buffer *out = net_stream_out(&c->stream);
    if (out == NULL)
        return false;
    int rc = buffer_append_span(out, buffer_span(&x->reply));
    buffer_clear(&x->reply);
    if (rc != 0)
        net_stream_close(&c->stream);
    return rc == 0;
}

/* Takes the finished first out of the line. False: it was the connection's last answer. */
static bool pop_first(struct http_connection *c) {
    struct http_exchange *x = c->first;
    bool last = x->close_after;
    leave_line(c);
    http_exchange_recycle(x);
    if (last || (c->waiting == 0 && c->half_closed)) {
        c->deaf = true;
        net_stream_finish(&c->stream);
        return false;
    }
    return true;
}

void http_connection_answered(struct http_exchange *x) {
    struct http_connection *c = x->connection;
    assert(x == c->first && !c->gone);
    while (pop_first(c) && c->first != NULL) {
        if (!send_saved(c))
            return;
        bool complete = c->first->state == EXCHANGE_ANSWERED ||
                        (c->first->state == EXCHANGE_STREAMING && c->first->ended);
        if (!complete)
            return;
    }
    send_continue(c);
}

/* ---- input ---- */

static void ask(struct http_connection *c, struct http_exchange *x) {
    struct http_server *s = c->server;
    join_line(c, x);
    http_exchange_account(x);
    x->close_after = !x->request.keep_alive || s->stopping;
    c->deaf = x->close_after;
    c->asked++;
    stat_add(&s->stats.requests, 1);
    s->options.handle(s->options.context, x);
}

static void refuse(struct http_connection *c, int status, const char *detail) {
    struct http_exchange *x = c->reading;
    join_line(c, x);
    c->deaf = true;
    http_server_refuse(x, status, detail);
}

static bool take_exchange(struct http_connection *c) {
    if (c->reading != NULL)
        return true;
    c->reading = http_exchange_take(c->server, c);
    if (c->reading == NULL) {
        net_stream_close(&c->stream);
        return false;
    }
    return true;
}

/* A body that is here already needs no invitation. */
static void begin_body(struct http_connection *c, bool invite) {
    begin_wait(c);
    c->body_seen = 0;
    if (invite)
        send_continue(c);
    else
        c->reading->request.wants_continue = false;
}

static size_t take_some(struct http_connection *c, struct span bytes) {
    struct http_exchange *x = c->reading;
    enum http_request_phase before = x->request.phase;
    size_t used = http_request_take(&x->request, &c->server->options.limits, bytes);
    if (before == REQUEST_BEFORE && x->request.phase != REQUEST_BEFORE)
        begin_wait(c);
    if (x->request.phase == REQUEST_DONE) {
        ask(c, x);
    } else if (x->request.phase == REQUEST_BAD) {
        stat_add(&c->server->stats.protocol_errors, 1);
        refuse(c, x->request.status, x->request.detail);
    } else {
        http_exchange_account(x);
        if (before <= REQUEST_HEAD && http_request_in_body(&x->request))
            begin_body(c, used == bytes.size);
    }
    return used;
}

static size_t on_input(struct net_stream *stream, struct span bytes) {
    struct http_connection *c = of_stream(stream);
    size_t used = 0;
    while (used < bytes.size && !c->deaf && stream->state == NET_OPEN && may_read(c) &&
           !had_its_share(c)) {
        if (!take_exchange(c))
            return bytes.size;
        used += take_some(c, span_of(bytes.data + used, bytes.size - used));
    }
    if (c->deaf || stream->state != NET_OPEN)
        used = bytes.size;
    else if (!may_read(c))
        pause_reading(c);
    else if (used < bytes.size)
        rest_until_next_turn(c);
    set_deadline(c);
    return used;
}

static void drop_reading(struct http_connection *c) {
    if (c->reading == NULL)
        return;
    struct http_exchange *x = c->reading;
    c->reading = NULL;
    http_exchange_recycle(x);
}

/* Streams have no end of their own, so a client that stops sending is taken to have left. */
static bool streaming(const struct http_connection *c) {
    for (const struct http_exchange *x = c->first; x != NULL; x = x->next) {
        if (x->state == EXCHANGE_STREAMING)
            return true;
    }
    return false;
}

static void on_input_end(struct net_stream *stream) {
    struct http_connection *c = of_stream(stream);
    c->deaf = c->half_closed = true;
    drop_reading(c);
    if (streaming(c))
        net_stream_close(stream);
    else if (c->waiting == 0)
        net_stream_finish(stream);
}

static void on_drained(struct net_stream *stream) {
    struct http_connection *c = of_stream(stream);
    count_bytes(c);
    http_server_feed_starved(c->server);
    resume_reading(c);
    if (!in_message(c) && c->waiting == 0)
        begin_wait(c);
    set_deadline(c);
}

/* Of a body, since the last look: then it gets as much time again. */
static bool came_on(struct http_connection *c) {
    const struct http_request *r = &c->reading->request;
    uint64_t least = (uint64_t)c->server->options.limits.body_timeout_ms * BODY_LEAST_BYTES_PER_S;
    if (!http_request_in_body(r) || (r->body.size - c->body_seen) * 1000 < least)
        return false;
    c->body_seen = r->body.size;
    begin_wait(c);
    set_deadline(c);
    return true;
}

static void on_deadline(struct net_stream *stream) {
    struct http_connection *c = of_stream(stream);
    if (!in_message(c)) {
        net_stream_finish(stream);
    } else if (!came_on(c)) {
        bool body = http_request_in_body(&c->reading->request);
        stat_add(&c->server->stats.timeouts, 1);
        refuse(c, 408, body ? "the body took too long" : "the head took too long");
    }
}

/* ---- beginning and end ---- */

static void tell_stream_closed(struct http_exchange *x) {
    if (x->gone)
        return;
    x->gone = true;
    if (x->closed != NULL)
        x->closed(x->closed_arg);
}

/* What no handler holds goes; the rest is answered into the void later. */
static void empty_line(struct http_connection *c) {
    while (c->first != NULL) {
        struct http_exchange *x = c->first;
        leave_line(c);
        if (x->state == EXCHANGE_ANSWERED || (x->state == EXCHANGE_STREAMING && x->ended))
            http_exchange_recycle(x);
        else if (x->state == EXCHANGE_STREAMING)
            tell_stream_closed(x);
    }
}

static void on_closed(struct net_stream *stream) {
    struct http_connection *c = of_stream(stream);
    struct http_server *s = c->server;
    if (stream->end == NET_END_STALLED)
        stat_add(&s->stats.timeouts, 1);
    count_bytes(c);
    if (list_linked(&c->starved))
        list_remove(&c->starved);
    if (list_linked(&c->rest.node))
        list_remove(&c->rest.node);
    list_remove(&c->node);
    stat_add(&s->stats.open_connections, -1u);
    if (c->peer_counted)
        peers_leave(s->peers, c->peer_bucket);
    c->gone = true;
    c->exchanges++; /* a handler that lets go meanwhile must not free it under us */
    drop_reading(c);
    empty_line(c);
    c->exchanges--;
    http_server_feed_starved(s);
    free_if_unused(c);
}

static struct http_exchange *first_endless(const struct http_connection *c) {
    struct http_exchange *x = c->first;
    while (x != NULL && (x->state != EXCHANGE_STREAMING || x->ended || x->gone))
        x = x->next;
    return x;
}

/* What was asked is answered, all of the line; what is being read is asked yet, and then the last. */
void http_connection_wind_up(struct http_connection *c) {
    if (!in_message(c)) {
        c->deaf = true;
        if (c->waiting == 0)
            net_stream_finish(&c->stream);
        else
            c->last->close_after = true;
        set_deadline(c);
    }
    for (struct http_exchange *x; (x = first_endless(c)) != NULL;)
        tell_stream_closed(x); /* which may end it, and let others out of the line */
}

const struct net_stream_handler HTTP_CONNECTION_HANDLER = {
    .input = on_input,
    .input_end = on_input_end,
    .drained = on_drained,
    .deadline = on_deadline,
    .closed = on_closed,
};

static void turn_away(struct http_connection *c) {
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                               "Retry-After: 1\r\nConnection: close\r\n\r\n";
    c->deaf = true;
    struct buffer *out = net_stream_out(&c->stream);
    if (out != NULL && buffer_append_text(out, text) == 0)
        net_stream_finish(&c->stream);
    else
        net_stream_close(&c->stream);
}

void http_connection_accept(struct http_server *s, bool refused) {
    bool closing;
    struct http_connection *c = calloc(1, sizeof *c);
    int rc = E_NOMEM;
    if (c != NULL)
        rc = net_stream_accept(&c->stream, s->loop, &s->stream_options, &s->listener, &closing);
    if (c == NULL || (rc != 0 && !closing)) {
        free(c);
        net_listener_reject(&s->listener);
        return;
    }
    c->server = s;
    c->rest.run = on_next_turn;
    c->stuck_at = UINT64_MAX;
    s->connection_count++;
    list_append(&s->connections, &c->node);
    stat_add(&s->stats.open_connections, 1);
    stat_add(&s->stats.accepted, 1);
    c->peer_size = (uint8_t)net_stream_peer(&c->stream, c->peer, &c->loopback);
    begin_wait(c);
    const struct http_limits *l = &s->options.limits;
    uint32_t share = peers_share(l->connections, l->connections_per_address, c->loopback);
    if (!refused && share > 0) {
        struct span peer = span_of(c->peer, c->peer_size);
        c->peer_counted = peers_enter(s->peers, peer, share, &c->peer_bucket);
        refused = !c->peer_counted;
    }
    if (refused)
        turn_away(c);
    else
        set_deadline(c);
}
