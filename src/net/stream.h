/*
 * net/stream.h - one connected peer, plain or TLS: bytes in with backpressure, bytes out once a turn.
 *
 * Promise: what was appended to net_stream_out() during a turn leaves in one write at its end, or when
 *          net_stream_send says so; what the kernel does not take is kept and sent later, and a peer
 *          that takes nothing of it for write_timeout_ms is cut off. A paused stream reads nothing. No call
 *          here calls back into the handler before it returns, so a handler may call anything at any time.
 * Shape:   caller-owned storage (embedded in the protocol's connection), in use until `closed`.
 *
 *              net_stream_finish            all sent, then        peer ended or
 *      OPEN ───────────────────► FINISHING ──────────────► SHUT ────────────────► CLOSING ─► closed()
 *       │                         (input discarded from here)     NET_LINGER_MS      ▲
 *       └── net_stream_close, error, stalled peer ────────────────────────────────────┘
 *
 * The linger is there because closing a socket with unread input resets it, and the reset can overtake
 * the answer ("413") on its way to a client that is still sending.
 */
#ifndef SLUICE_NET_STREAM_H
#define SLUICE_NET_STREAM_H

#include <stdbool.h>

#include "base/span.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/wheel.h"

#define NET_LINGER_MS 2000u

struct net_stream;
struct tls_context;
struct tls_session;

struct net_stream_handler {
    /*
     * Bytes from the peer, borrowed during the call. Returns how many were used; the rest is kept and
     * comes again in front of what arrives next, or after net_stream_resume.
     */
    size_t (*input)(struct net_stream *s, struct span bytes);
    /* The peer will send no more; it may still read. */
    void (*input_end)(struct net_stream *s);
    /* The kernel took everything written so far. */
    void (*drained)(struct net_stream *s);
    /* The time of net_stream_set_deadline has come. */
    void (*deadline)(struct net_stream *s);
    /* Last call; s->end says why. The storage is the caller's again. */
    void (*closed)(struct net_stream *s);
};

/*
 * Bytes held by all streams that share it, TLS sessions included, and by whoever adds to it. What to do about a protocol that
 * uses too much is its own affair; nobody accepts or goes on with a TLS handshake above the limit.
 */
struct net_budget {
    uint64_t used_bytes;
    uint64_t max_bytes; /* 0: none */
};

struct net_stream_options {
    const struct net_stream_handler *handler; /* borrows */
    struct tls_context *tls;                  /* borrows; NULL: plain */
    struct net_budget *budget;                /* borrows */
    size_t input_max_bytes;                   /* unused input while not paused; above it: closed */
    uint32_t write_timeout_ms;
    uint32_t handshake_timeout_ms;
};

enum net_end {
    NET_END_NONE,    /* still open */
    NET_END_LOCAL,   /* net_stream_close or net_stream_finish */
    NET_END_PEER,    /* reset, or went away with output unsent */
    NET_END_STALLED, /* did not read, or did not finish its TLS handshake */
    NET_END_BROKEN, /* TLS or input_max_bytes violated; or no memory, or none left for a handshake */
};

enum net_stream_state { NET_OPEN, NET_FINISHING, NET_SHUT, NET_CLOSING };

struct net_stream {
    struct net_loop *loop; /* borrows */
    struct net_stream_options options;
    enum net_stream_state state;
    enum net_end end;
    uint64_t bytes_in, bytes_out; /* on the wire */

    /* private to stream.c */
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct net_item flush;
    bool flush_deferred;
    bool handle_closed;
    bool paused;
    bool reading;
    bool redeliver; /* resumed: kept input has to be shown again */
    bool ended;     /* the peer's end was seen */
    bool end_told;
    bool writing;            /* in_flight is with libuv */
    struct buffer out;       /* owns: appended this turn */
    struct buffer in_flight; /* owns: what the kernel did not take at once */
    size_t unread_seen;      /* unread_bytes when the guard was set: progress is less than that */
    struct buffer input;     /* owns: what `input` did not use */
    size_t accounted;        /* in the budget */
    struct tls_session *tls; /* owns; NULL: plain */
    struct wheel_timer deadline;
    struct wheel_timer guard; /* handshake, stalled writes, linger */
};

/*
 * Takes the connection that waits at `l` and starts to read. On failure (E_IO, E_NOMEM, E_FULL: the budget) nothing will
 * be called and the storage is the caller's, unless *ret_closing is set: then `closed` follows.
 */
MUST_CHECK int net_stream_accept(struct net_stream *s, struct net_loop *loop,
                                 const struct net_stream_options *options, struct net_listener *l,
                                 bool *ret_closing);

/* Append here what is to be sent; NULL without memory or when not NET_OPEN. */
struct buffer *net_stream_out(struct net_stream *s);
/* Bytes that the kernel has not taken yet. */
size_t net_stream_unsent(const struct net_stream *s);
/* What was appended so far leaves now, as far as the kernel takes it, and not only at the end of the turn. */
void net_stream_send(struct net_stream *s);

void net_stream_pause(struct net_stream *s);
void net_stream_resume(struct net_stream *s);

/* net_loop_now_ms time; WHEEL_NEVER for none. Setting it later is one store. */
void net_stream_set_deadline(struct net_stream *s, uint64_t due_ms);

/* Sends what is there, then closes gently. */
void net_stream_finish(struct net_stream *s);
/* Closes now. */
void net_stream_close(struct net_stream *s);

/* "127.0.0.1:51234", "[::1]:80"; returns its length. */
size_t net_stream_peer(const struct net_stream *s, char text[64], bool *ret_loopback);
/* The end that is ours, as "host:port". */
size_t net_stream_local(const struct net_stream *s, char text[64]);

/* Of its TLS certificate; see tls_peer_name. */
size_t net_stream_certificate_name(const struct net_stream *s, char *text, size_t size);

#endif
