/*
 * Reading goes into the loop's shared room and straight to the handler; only what the handler leaves
 * is copied into `input`. Writing collects in `out` and goes out with uv_try_write in the deferred
 * step of the turn; only what the kernel refuses becomes an uv_write, one at a time. So a connection
 * that is served without hindrance owns no memory between turns.
 *
 *   I1  writing  <=>  in_flight has memory  =>  the guard is set (or state >= NET_SHUT set it)
 *   I2  out has memory  =>  flush is deferred, or writing, or the TLS handshake is under way
 *   I3  reading  =>  not paused, or state >= NET_FINISHING (input is discarded then)
 */
#include "net/stream.h"

#include <linux/sockios.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "net/tls.h"

static void on_flush(struct net_item *item);

/* ---- small things ---- */

static void account(struct net_stream *s) {
    size_t held = s->out.capacity + s->in_flight.capacity + s->input.capacity;
    held += s->tls != NULL ? tls_memory_bytes(s->tls) : 0;
    s->options.budget->used_bytes += held - s->accounted;
    s->accounted = held;
}

static void flush_later(struct net_stream *s) {
    if (s->flush_deferred)
        return;
    s->flush_deferred = true;
    net_loop_defer(s->loop, &s->flush);
}

static void set_guard(struct net_stream *s, uint32_t timeout_ms) {
    wheel_set(net_loop_wheel(s->loop), &s->guard, net_loop_now_ms(s->loop) + timeout_ms);
}

/* A session in its handshake holds more than one that is established, and whoever shakes hands owes us nothing yet. */
static bool may_shake_hands(const struct net_budget *b) {
    return b->max_bytes == 0 || b->used_bytes < b->max_bytes;
}

static bool handshaking(const struct net_stream *s) {
    return s->tls != NULL && !tls_established(s->tls);
}

/* ---- the end ---- */

static void tell_closed(struct net_stream *s) {
    net_loop_give_buffer(s->loop, &s->out);
    net_loop_give_buffer(s->loop, &s->in_flight);
    buffer_release(&s->input);
    tls_session_free(s->tls);
    s->tls = NULL;
    account(s);
    s->options.handler->closed(s);
}

/* A flush that is deferred still points here: then the last call comes from there. */
static void on_handle_closed(uv_handle_t *handle) {
    struct net_stream *s = handle->data;
    s->handle_closed = true;
    if (!s->flush_deferred)
        tell_closed(s);
}

static void close_because(struct net_stream *s, enum net_end end) {
    if (s->state == NET_CLOSING)
        return;
    s->state = NET_CLOSING;
    s->end = end;
    wheel_cancel(net_loop_wheel(s->loop), &s->deadline);
    wheel_cancel(net_loop_wheel(s->loop), &s->guard);
    uv_close((uv_handle_t *)&s->tcp, on_handle_closed);
}

void net_stream_close(struct net_stream *s) {
    close_because(s, NET_END_LOCAL);
}

/* ---- input ---- */

static void keep_input(struct net_stream *s, struct span rest) {
    if (buffer_append_span(&s->input, rest) != 0)
        close_because(s, NET_END_BROKEN);
}

static void check_kept_input(struct net_stream *s) {
    if (s->input.size == 0)
        buffer_release(&s->input);
    else if (!s->paused && s->input.size > s->options.input_max_bytes)
        close_because(s, NET_END_BROKEN);
    account(s);
}

static void offer_kept_input(struct net_stream *s) {
    size_t used = s->options.handler->input(s, buffer_span(&s->input));
    buffer_consume(&s->input, used);
    check_kept_input(s);
}

/* Plain bytes for the handler. */
static void give_input(struct net_stream *s, struct span bytes) {
    if (s->state != NET_OPEN)
        return;
    if (s->input.size > 0 || s->paused) {
        keep_input(s, bytes);
        if (!s->paused && s->state == NET_OPEN)
            offer_kept_input(s);
        return;
    }
    size_t used = s->options.handler->input(s, bytes);
    assert(used <= bytes.size);
    if (UNLIKELY(used < bytes.size)) {
        keep_input(s, span_of(bytes.data + used, bytes.size - used));
        check_kept_input(s);
    }
}

static void tell_end(struct net_stream *s) {
    if (!s->ended)
        return;
    if (s->state == NET_SHUT) {
        close_because(s, NET_END_LOCAL);
    } else if (s->state == NET_OPEN && !s->paused && !s->end_told) {
        s->end_told = true;
        s->options.handler->input_end(s);
    }
}

/* Takes out of TLS what it has; what it wants sent goes with the next flush. */
static void read_tls(struct net_stream *s) {
    uint8_t *room = net_loop_plain_room(s->loop);
    int count = E_BUSY;
    while (!s->paused && s->state != NET_CLOSING) {
        bool before = handshaking(s);
        count = tls_read(s->tls, room, NET_READ_BYTES);
        if (before && !handshaking(s)) {
            wheel_set(net_loop_wheel(s->loop), &s->guard, WHEEL_NEVER);
            flush_later(s);
        }
        if (count <= 0)
            break;
        give_input(s, span_of(room, (size_t)count));
    }
    account(s);
    if (tls_unsent(s->tls).size > 0)
        flush_later(s);
    if (count == E_END)
        s->ended = true;
    else if (count == E_INVALID) /* the alert, if any, leaves before the end of the turn */
        net_stream_finish(s);
}

/* Its memory at once, not when the socket is closed: of those that come in one turn no more are to go than must. */
static void give_up_handshake(struct net_stream *s) {
    close_because(s, NET_END_BROKEN);
    tls_session_free(s->tls);
    s->tls = NULL;
    account(s);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct net_stream *s = handle->data;
    *buf = uv_buf_init((char *)net_loop_read_room(s->loop), NET_READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
    struct net_stream *s = stream->data;
    if (count == 0 || s->state == NET_CLOSING)
        return;
    if (count < 0 && count != UV_EOF) {
        close_because(s, NET_END_PEER);
        return;
    }
    if (count == UV_EOF) {
        s->ended = true;
        s->reading = false; /* libuv has stopped */
    } else {
        s->bytes_in += (uint64_t)count;
        struct span bytes = span_of(buf->base, (size_t)count);
        if (s->state != NET_OPEN)
            return; /* discarded */
        if (s->tls == NULL)
            give_input(s, bytes);
        else if (handshaking(s) && !may_shake_hands(s->options.budget))
            give_up_handshake(s);
        else if (tls_feed(s->tls, bytes) != 0)
            close_because(s, NET_END_BROKEN);
        else
            read_tls(s);
    }
    tell_end(s);
    net_loop_breathe(s->loop);
}

static void set_reading(struct net_stream *s) {
    bool wanted = !s->ended && (!s->paused || s->state >= NET_FINISHING);
    if (wanted == s->reading || s->state == NET_CLOSING)
        return;
    s->reading = wanted;
    if (!wanted)
        uv_read_stop((uv_stream_t *)&s->tcp);
    else if (uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) != 0)
        close_because(s, NET_END_PEER);
}

void net_stream_pause(struct net_stream *s) {
    if (s->state != NET_OPEN)
        return;
    s->paused = true;
    set_reading(s);
}

void net_stream_resume(struct net_stream *s) {
    if (!s->paused || s->state != NET_OPEN)
        return;
    s->paused = false;
    s->redeliver = true;
    flush_later(s);
}

/* In the deferred step, never from inside net_stream_resume: the handler is not entered twice. */
static void redeliver_input(struct net_stream *s) {
    s->redeliver = false;
    if (s->paused)
        return;
    net_loop_again(s->loop);
    if (s->input.size > 0)
        offer_kept_input(s);
    if (s->tls != NULL && s->state == NET_OPEN)
        read_tls(s);
    set_reading(s);
    tell_end(s);
}

/* ---- output ---- */

struct buffer *net_stream_out(struct net_stream *s) {
    if (s->state != NET_OPEN)
        return NULL;
    if (s->out.capacity == 0 && net_loop_take_buffer(s->loop, &s->out) != 0)
        return NULL;
    flush_later(s);
    return &s->out;
}

size_t net_stream_unsent(const struct net_stream *s) {
    return s->out.size + (s->writing ? uv_stream_get_write_queue_size((uv_stream_t *)&s->tcp) : 0);
}

static void on_written(uv_write_t *write, int status) {
    struct net_stream *s = write->data;
    s->writing = false;
    net_loop_give_buffer(s->loop, &s->in_flight);
    account(s);
    if (s->state == NET_CLOSING)
        return;
    if (status != 0) {
        close_because(s, NET_END_PEER);
        return;
    }
    if (s->state < NET_SHUT) /* the linger's guard stays */
        wheel_set(net_loop_wheel(s->loop), &s->guard, WHEEL_NEVER);
    flush_later(s);
}

/*
 * What the peer has still to acknowledge. The kernel's part has to be in it: its buffer is megabytes
 * deep and says "writable" only when a third of it is free, which takes a slow reader a while.
 */
static size_t unread_bytes(const struct net_stream *s) {
    size_t unread = uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp);
    uv_os_fd_t fd;
    int in_kernel = 0;
    if (uv_fileno((const uv_handle_t *)&s->tcp, &fd) == 0 && ioctl(fd, SIOCOUTQ, &in_kernel) == 0)
        unread += (size_t)in_kernel;
    return unread;
}

static void send_rest(struct net_stream *s, struct buffer *b, size_t sent) {
    s->in_flight = *b;
    buffer_init(b, 0);
    uv_buf_t rest =
        uv_buf_init((char *)s->in_flight.data + sent, (unsigned int)(s->in_flight.size - sent));
    s->write.data = s;
    int rc = uv_write(&s->write, (uv_stream_t *)&s->tcp, &rest, 1, on_written);
    if (rc != 0) {
        close_because(s, NET_END_PEER);
        return;
    }
    s->writing = true;
    s->unread_seen = unread_bytes(s);
    set_guard(s, s->options.write_timeout_ms);
}

/* Takes over the memory of `b`. */
static void send_buffer(struct net_stream *s, struct buffer *b) {
    assert(!s->writing);
    uv_buf_t all = uv_buf_init((char *)b->data, (unsigned int)b->size);
    int count = b->size == 0 ? 0 : uv_try_write((uv_stream_t *)&s->tcp, &all, 1);
    s->bytes_out += b->size;
    if (count < 0 && count != UV_EAGAIN) {
        net_loop_give_buffer(s->loop, b);
        close_because(s, NET_END_PEER);
        return;
    }
    size_t sent = count < 0 ? 0 : (size_t)count;
    if (LIKELY(sent == b->size))
        net_loop_give_buffer(s->loop, b);
    else
        send_rest(s, b, sent);
}

/* Encrypts `out` and sends what TLS has to say, be it data, handshake or alert. */
static void send_tls(struct net_stream *s) {
    if (s->out.size > 0 && tls_established(s->tls)) {
        if (tls_write(s->tls, buffer_span(&s->out)) != 0) {
            close_because(s, NET_END_BROKEN);
            return;
        }
        net_loop_give_buffer(s->loop, &s->out);
    }
    struct span unsent = tls_unsent(s->tls);
    if (unsent.size == 0)
        return;
    struct buffer sealed;
    int rc = net_loop_take_buffer(s->loop, &sealed);
    if (rc == 0)
        rc = buffer_append_span(&sealed, unsent);
    if (rc != 0) {
        buffer_release(&sealed);
        close_because(s, NET_END_BROKEN);
        return;
    }
    tls_sent(s->tls, unsent.size);
    send_buffer(s, &sealed);
}

static void send_out(struct net_stream *s) {
    if (s->state == NET_CLOSING)
        return;
    if (!s->writing && s->tls != NULL)
        send_tls(s);
    else if (!s->writing && s->out.size > 0)
        send_buffer(s, &s->out);
    account(s); /* what waits behind the write, too */
}

void net_stream_send(struct net_stream *s) {
    if (s->state == NET_OPEN)
        send_out(s);
}

/* ---- finishing ---- */

void net_stream_finish(struct net_stream *s) {
    if (s->state != NET_OPEN)
        return;
    s->state = NET_FINISHING;
    s->end = NET_END_LOCAL;
    flush_later(s);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    struct net_stream *s = request->data;
    if (status != 0)
        close_because(s, NET_END_PEER);
}

static void shut(struct net_stream *s) {
    s->state = NET_SHUT;
    if (s->tls != NULL) {
        tls_shutdown(s->tls);
        send_tls(s);
    }
    s->shutdown.data = s;
    if (s->state == NET_CLOSING)
        return;
    if (s->ended || uv_shutdown(&s->shutdown, (uv_stream_t *)&s->tcp, on_shutdown) != 0) {
        close_because(s, NET_END_LOCAL);
        return;
    }
    set_guard(s, NET_LINGER_MS);
    set_reading(s);
}

static void on_guard(struct wheel_timer *t) {
    struct net_stream *s = CONTAINER_OF(t, struct net_stream, guard);
    if (s->state == NET_OPEN && handshaking(s)) {
        close_because(s, NET_END_STALLED);
    } else if (s->state == NET_SHUT) {
        close_because(s, NET_END_LOCAL);
    } else if (s->writing) {
        size_t unread = unread_bytes(s);
        if (unread >= s->unread_seen) {
            close_because(s, NET_END_STALLED);
            return;
        }
        s->unread_seen = unread;
        set_guard(s, s->options.write_timeout_ms);
    }
}

static void on_deadline(struct wheel_timer *t) {
    struct net_stream *s = CONTAINER_OF(t, struct net_stream, deadline);
    if (s->state == NET_OPEN)
        s->options.handler->deadline(s);
}

void net_stream_set_deadline(struct net_stream *s, uint64_t due_ms) {
    if (s->state == NET_OPEN)
        wheel_set(net_loop_wheel(s->loop), &s->deadline, due_ms);
}

static void on_flush(struct net_item *item) {
    struct net_stream *s = CONTAINER_OF(item, struct net_stream, flush);
    s->flush_deferred = false;
    if (s->handle_closed) {
        tell_closed(s);
        return;
    }
    send_out(s);
    if (s->state == NET_OPEN && s->redeliver)
        redeliver_input(s);
    bool all_sent = !s->writing && s->out.size == 0;
    if (s->state == NET_OPEN && all_sent && !handshaking(s))
        s->options.handler->drained(s);
    else if (s->state == NET_FINISHING && (all_sent || handshaking(s)))
        shut(s);
}

/* ---- the beginning ---- */

static void init_stream(struct net_stream *s, struct net_loop *loop,
                        const struct net_stream_options *options) {
    memset(s, 0, sizeof *s);
    s->loop = loop;
    s->options = *options;
    s->flush.run = on_flush;
    s->tcp.data = s;
    buffer_init(&s->out, 0);
    buffer_init(&s->in_flight, 0);
    buffer_init(&s->input, SIZE_MAX / 2);
    wheel_timer_init(&s->deadline, on_deadline);
    wheel_timer_init(&s->guard, on_guard);
}

int net_stream_accept(struct net_stream *s, struct net_loop *loop,
                      const struct net_stream_options *options, struct net_listener *l,
                      bool *ret_closing) {
    init_stream(s, loop, options);
    *ret_closing = false;
    if (options->tls != NULL) {
        int rc =
            may_shake_hands(options->budget) ? tls_session_create(options->tls, &s->tls) : E_FULL;
        if (rc != 0)
            return rc;
    }
    if (uv_tcp_init(net_loop_uv(loop), &s->tcp) != 0) {
        tls_session_free(s->tls);
        return E_IO;
    }
    if (uv_accept((uv_stream_t *)&l->tcp, (uv_stream_t *)&s->tcp) != 0 ||
        uv_tcp_nodelay(&s->tcp, 1) != 0) {
        close_because(s, NET_END_PEER);
        *ret_closing = true;
        return E_IO;
    }
    if (s->tls != NULL)
        set_guard(s, options->handshake_timeout_ms);
    account(s);
    set_reading(s);
    return 0;
}

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET)
        return ((const uint8_t *)&((const struct sockaddr_in *)address)->sin_addr)[0] == 127;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static size_t write_address(const struct sockaddr_storage *address, char text[64]) {
    char host[INET6_ADDRSTRLEN] = "";
    bool v6 = address->ss_family == AF_INET6;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    uv_inet_ntop(address->ss_family, v6 ? (const void *)&in6->sin6_addr : &in4->sin_addr, host,
                 sizeof host);
    int length = snprintf(text, 64, v6 ? "[%s]:%u" : "%s:%u", host,
                          ntohs(v6 ? in6->sin6_port : in4->sin_port));
    return (size_t)length;
}

size_t net_stream_peer(const struct net_stream *s, char text[64], bool *ret_loopback) {
    struct sockaddr_storage address;
    int size = sizeof address;
    *ret_loopback = false;
    text[0] = '\0';
    if (uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&address, &size) != 0)
        return 0;
    *ret_loopback = is_loopback(&address);
    return write_address(&address, text);
}

size_t net_stream_local(const struct net_stream *s, char text[64]) {
    struct sockaddr_storage address;
    int size = sizeof address;
    text[0] = '\0';
    if (uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&address, &size) != 0)
        return 0;
    return write_address(&address, text);
}

size_t net_stream_certificate_name(const struct net_stream *s, char *text, size_t size) {
    return s->tls != NULL ? tls_peer_name(s->tls, text, size) : 0;
}
