/*
 * A client is a stream and a connection. Its memory goes when both are done with: the stream is closed and no
 * op of the connection is out.
 *
 *   event (input, answer, delivery) ─► connection ─► marks the client ─► before_wait: flush, pause or resume
 *
 * Reading stops while the connection is stalled or UNSENT_HIGH bytes wait for the peer; its consumers pause
 * from there on too, and go on when all was taken. While what waits for all peers together is more than
 * amqp_limits.memory_bytes, the mark is UNSENT_SHARED: those that read do not notice.
 */
#include "amqp/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "amqp/reply.h"
#include "base/clock.h"
#include "base/error.h"
#include "net/peers.h"
#include "net/stream.h"

#define LISTEN_BACKLOG      1024
#define CONNECTIONS_DEFAULT 10000u
#define WRITE_TIMEOUT_MS    30000u
#define UNSENT_HIGH         (1u << 20)
#define UNSENT_SHARED       (64u << 10)
#define SEND_BYTES          (48u << 10) /* collected for a client: they leave before the turn ends */

struct amqp_server {
    struct net_loop *loop; /* borrows */
    struct amqp_host host;
    struct amqp_op_pool pool;
    struct amqp_budget messages;
    void (*ask)(void *context, struct amqp_op *op);
    void *context; /* borrows: for ask */
    struct net_listener listener;
    bool listener_closed;
    struct net_stream_options stream_options;
    struct net_budget budget; /* of what streams keep */
    struct list clients;
    struct list marked;  /* something happened to them in this turn */
    struct peers *peers; /* owns */
    uint32_t connections_max, connections_per_address;
    uint32_t client_count; /* of memory */
    bool stopping, abandoned, alarm;
    bool in_turn;         /* inside of before_wait: the server must not go */
    struct net_item turn; /* says what came after before_wait: answers that were quick */
    bool turn_deferred;   /* likewise */
    const char *alarm_reason;
    void (*done)(void *arg);
    void *done_arg;                 /* borrows */
    struct amqp_server_stats stats; /* written by the loop's thread, read by any */
};

struct amqp_client {
    struct net_stream stream;
    struct amqp_server *server;         /* borrows */
    struct amqp_connection *connection; /* owns */
    struct list_node node, mark;
    struct amqp_peer peer;
    bool stream_closed, paused;
    bool peer_counted; /* in the server's peers, under this bucket */
    uint32_t peer_bucket;
    uint64_t counted_in, counted_out;
    uint64_t connected_ns; /* since the epoch */
};

/* One writer, so a plain sum in an atomic store is enough. */
static void stat_add(uint64_t *counter, uint64_t amount) {
    __atomic_store_n(counter, *counter + amount, __ATOMIC_RELAXED);
}

static struct amqp_client *of_stream(struct net_stream *s) {
    return CONTAINER_OF(s, struct amqp_client, stream);
}

/* ---- the end ---- */

static void free_server(struct amqp_server *s) {
    amqp_op_pool_release(&s->pool);
    free(s->peers);
    free(s);
}

static void check_end(struct amqp_server *s) {
    if (!s->listener_closed || s->client_count > 0 || s->in_turn || s->turn_deferred)
        return;
    if (s->abandoned) {
        free_server(s);
    } else if (s->done != NULL) {
        void (*done)(void *arg) = s->done;
        s->done = NULL;
        done(s->done_arg); /* may free s */
    }
}

static void free_if_unused(struct amqp_client *k) {
    if (!k->stream_closed || !amqp_connection_is_unused(k->connection))
        return;
    struct amqp_server *s = k->server;
    if (list_linked(&k->mark))
        list_remove(&k->mark);
    amqp_connection_free(k->connection);
    free(k);
    s->client_count--;
    check_end(s);
}

/* ---- what a connection needs of its host ---- */

static uint64_t host_now_ms(void *context) {
    const struct amqp_client *k = context;
    return net_loop_now_ms(k->server->loop);
}

static void host_ask(void *context, struct amqp_op *op) {
    struct amqp_client *k = context;
    k->server->ask(k->server->context, op);
}

static struct buffer *host_out(void *context) {
    struct amqp_client *k = context;
    return net_stream_out(&k->stream);
}

static void host_ended(void *context) {
    struct amqp_client *k = context;
    net_stream_finish(&k->stream);
}

static void host_unused(void *context) {
    free_if_unused(context);
}

static void mark(struct amqp_client *k);

static void host_resumed(void *context) {
    mark(context);
}

static void host_random(void *context, uint8_t *bytes, size_t size) {
    (void)context;
    ssize_t got = getrandom(bytes, size, 0);
    assert(got == (ssize_t)size); /* never short for so little */
}

/* ---- the turn ---- */

static void mark(struct amqp_client *k) {
    struct amqp_server *s = k->server;
    if (!list_linked(&k->mark))
        list_append(&s->marked, &k->mark);
    if (!s->turn_deferred) {
        s->turn_deferred = true;
        net_loop_defer(s->loop, &s->turn);
    }
}

static void count_bytes(struct amqp_client *k) {
    stat_add(&k->server->stats.bytes_in, k->stream.bytes_in - k->counted_in);
    stat_add(&k->server->stats.bytes_out, k->stream.bytes_out - k->counted_out);
    k->counted_in = k->stream.bytes_in;
    k->counted_out = k->stream.bytes_out;
}

static bool is_full(const struct amqp_client *k) {
    const struct amqp_server *s = k->server;
    uint64_t most =
        s->budget.used_bytes > s->host.limits.memory_bytes ? UNSENT_SHARED : UNSENT_HIGH;
    return net_stream_unsent(&k->stream) > most;
}

static void sync_reading(struct amqp_client *k) {
    bool full = is_full(k);
    bool stop = full || amqp_connection_stalled(k->connection);
    if (full)
        amqp_connection_pause(k->connection, true);
    if (stop == k->paused)
        return;
    k->paused = stop;
    if (stop)
        net_stream_pause(&k->stream);
    else
        net_stream_resume(&k->stream);
}

static void settle_turn(struct amqp_client *k) {
    if (!amqp_connection_ended(k->connection))
        amqp_connection_flush(k->connection);
    if (k->stream_closed) {
        free_if_unused(k);
        return;
    }
    net_stream_send(&k->stream);
    sync_reading(k);
    net_stream_set_deadline(&k->stream, amqp_connection_due_ms(k->connection));
}

/* Those who waited for memory are marked, and so settled, last. */
void amqp_server_before_wait(struct amqp_server *s) {
    if (list_empty(&s->marked) && !amqp_budget_short(&s->messages))
        return;
    s->in_turn = true;
    do {
        for (struct list_node *n; (n = list_pop(&s->marked)) != NULL;)
            settle_turn(CONTAINER_OF(n, struct amqp_client, mark));
        amqp_budget_serve(&s->messages);
    } while (!list_empty(&s->marked));
    s->in_turn = false;
    check_end(s); /* may free s */
}

static void run_turn(struct net_item *item) {
    struct amqp_server *s = CONTAINER_OF(item, struct amqp_server, turn);
    s->turn_deferred = false;
    if (list_empty(&s->marked) && !amqp_budget_short(&s->messages)) {
        check_end(s);
        return;
    }
    net_loop_again(s->loop); /* what is asked now has to be submitted */
    amqp_server_before_wait(s);
}

/* ---- the stream ---- */

static size_t on_input(struct net_stream *stream, struct span bytes) {
    struct amqp_client *k = of_stream(stream);
    size_t used = amqp_connection_feed(k->connection, bytes);
    if (amqp_connection_stalled(k->connection) && !k->paused) {
        k->paused = true; /* at once: what is not used is to be kept, not counted as too much */
        net_stream_pause(stream);
    }
    mark(k);
    return used;
}

static void on_input_end(struct net_stream *stream) {
    net_stream_close(stream);
}

static void on_drained(struct net_stream *stream) {
    struct amqp_client *k = of_stream(stream);
    count_bytes(k);
    amqp_connection_pause(k->connection, false);
    mark(k);
}

static void on_deadline(struct net_stream *stream) {
    struct amqp_client *k = of_stream(stream);
    amqp_connection_tick(k->connection);
    mark(k);
}

static void on_closed(struct net_stream *stream) {
    struct amqp_client *k = of_stream(stream);
    count_bytes(k);
    list_remove(&k->node);
    __atomic_store_n(&k->server->stats.open_connections, k->server->stats.open_connections - 1,
                     __ATOMIC_RELAXED);
    if (k->peer_counted)
        peers_leave(k->server->peers, k->peer_bucket);
    k->stream_closed = true;
    amqp_connection_lost(k->connection);
    free_if_unused(k);
}

static const struct net_stream_handler CLIENT_HANDLER = {
    .input = on_input,
    .input_end = on_input_end,
    .drained = on_drained,
    .deadline = on_deadline,
    .closed = on_closed,
};

/* ---- accepting ---- */

static struct amqp_client *new_client(struct amqp_server *s) {
    struct amqp_client *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->server = s;
    if (amqp_connection_create(&s->host, k, &k->connection) == 0)
        return k;
    free(k);
    return NULL;
}

static void refuse(struct amqp_server *s, struct amqp_client *k) {
    if (k != NULL) {
        amqp_connection_lost(k->connection);
        amqp_connection_free(k->connection);
        free(k);
    }
    net_listener_reject(&s->listener);
}

/* False: its address has enough of them. */
static bool has_share(struct amqp_server *s, struct amqp_client *k) {
    uint32_t share = peers_share(s->connections_max, s->connections_per_address, k->peer.loopback);
    if (share == 0)
        return true;
    k->peer_counted = peers_enter(s->peers, span_text(k->peer.text), share, &k->peer_bucket);
    return k->peer_counted;
}

static void on_ready(struct net_listener *l) {
    struct amqp_server *s = CONTAINER_OF(l, struct amqp_server, listener);
    struct amqp_client *k = s->stats.open_connections < s->connections_max ? new_client(s) : NULL;
    bool closing = false;
    if (k == NULL ||
        (net_stream_accept(&k->stream, s->loop, &s->stream_options, l, &closing) != 0 &&
         !closing)) {
        refuse(s, k);
        return;
    }
    s->client_count++;
    k->connected_ns = clock_real_ns();
    list_append(&s->clients, &k->node);
    stat_add(&s->stats.accepted, 1);
    __atomic_store_n(&s->stats.open_connections, s->stats.open_connections + 1, __ATOMIC_RELAXED);
    net_stream_peer(&k->stream, k->peer.text, &k->peer.loopback);
    k->peer.tls = s->stream_options.tls != NULL;
    if (!has_share(s, k)) {
        net_stream_close(&k->stream);
        return;
    }
    if (s->alarm)
        amqp_connection_alarm(k->connection, true, s->alarm_reason);
    net_stream_set_deadline(&k->stream, amqp_connection_due_ms(k->connection));
}

static void on_listener_closed(struct net_listener *l) {
    struct amqp_server *s = CONTAINER_OF(l, struct amqp_server, listener);
    s->listener_closed = true;
    check_end(s);
}

/* ---- start and stop ---- */

static struct amqp_server *new_server(struct net_loop *loop,
                                      const struct amqp_server_options *options) {
    struct amqp_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->peers = peers_create();
    if (s->peers == NULL) {
        free(s);
        return NULL;
    }
    s->loop = loop;
    s->ask = options->ask;
    s->context = options->context;
    s->connections_max =
        options->connections_max != 0 ? options->connections_max : CONNECTIONS_DEFAULT;
    s->connections_per_address = options->connections_per_address;
    s->host = (struct amqp_host){.limits = options->limits,
                                 .version = options->version,
                                 .external = options->external,
                                 .pool = &s->pool,
                                 .budget = &s->messages,
                                 .now_ms = host_now_ms,
                                 .ask = host_ask,
                                 .out = host_out,
                                 .ended = host_ended,
                                 .resumed = host_resumed,
                                 .unused = host_unused,
                                 .random = host_random};
    s->budget.max_bytes = options->limits.memory_bytes;
    amqp_connection_budget_init(&s->messages, &options->limits);
    s->turn.run = run_turn;
    list_init(&s->clients);
    list_init(&s->marked);
    return s;
}

static int listen_on(struct amqp_server *s, const struct amqp_server_options *options,
                     char error_text[256]) {
    struct net_listener_options listen = {.host = options->host,
                                          .port = options->port,
                                          .joins = options->joins,
                                          .backlog = LISTEN_BACKLOG,
                                          .ready = on_ready,
                                          .closed = on_listener_closed};
    bool closing;
    int error = net_listener_open(&s->listener, s->loop, &listen, error_text, &closing);
    if (error == 0)
        return 0;
    s->stopping = s->abandoned = true;
    if (!closing) {
        s->listener_closed = true;
        check_end(s);
    }
    return error;
}

int amqp_server_start(struct net_loop *loop, const struct amqp_server_options *options,
                      char error_text[256], struct amqp_server **ret_server) {
    struct amqp_server *s = new_server(loop, options);
    if (s == NULL) {
        snprintf(error_text, 256, "out of memory");
        return E_NOMEM;
    }
    s->stream_options = (struct net_stream_options){
        .handler = &CLIENT_HANDLER,
        .tls = options->tls,
        .budget = &s->budget,
        .input_max_bytes = options->limits.frame_max + AMQP_FRAME_OVERHEAD + 2 * NET_READ_BYTES,
        .write_timeout_ms =
            options->write_timeout_ms != 0 ? options->write_timeout_ms : WRITE_TIMEOUT_MS,
        .handshake_timeout_ms = options->limits.handshake_timeout_ms,
    };
    int error = listen_on(s, options, error_text);
    if (error == 0)
        *ret_server = s;
    return error;
}

uint16_t amqp_server_port(const struct amqp_server *s) {
    return s->listener.port;
}

static void stop_listening(struct amqp_server *s) {
    s->stopping = true;
    net_listener_close(&s->listener);
}

void amqp_server_stop(struct amqp_server *s, void (*done)(void *arg), void *arg) {
    assert(!s->stopping);
    s->done = done;
    s->done_arg = arg;
    stop_listening(s);
    struct list_node *next;
    for (struct list_node *n = list_first(&s->clients); n != NULL; n = next) {
        next = list_next(&s->clients, n);
        struct amqp_client *k = CONTAINER_OF(n, struct amqp_client, node);
        amqp_connection_shut_down(k->connection, "the broker stops");
        mark(k);
    }
}

void amqp_server_free(struct amqp_server *s) {
    if (s == NULL)
        return;
    s->done = NULL;
    s->abandoned = true;
    if (!s->stopping)
        stop_listening(s);
    struct list_node *next;
    for (struct list_node *n = list_first(&s->clients); n != NULL; n = next) {
        next = list_next(&s->clients, n);
        net_stream_close(&CONTAINER_OF(n, struct amqp_client, node)->stream);
    }
    check_end(s);
}

/* ---- from the broker ---- */

static struct amqp_client *of_connection(const struct amqp_connection *c) {
    return amqp_connection_context(c);
}

void amqp_server_answer(struct amqp_op *op) {
    struct amqp_client *k = of_connection(op->connection);
    mark(k);
    amqp_connection_answer(op);
}

/* In pieces that stay in the cache, and that the client can read while the next is made. */
void amqp_server_deliver(struct amqp_connection *c, const struct amqp_delivery *d) {
    struct amqp_client *k = of_connection(c);
    mark(k);
    amqp_connection_deliver(c, d);
    if (net_stream_unsent(&k->stream) >= SEND_BYTES)
        net_stream_send(&k->stream);
}

bool amqp_server_reply(struct amqp_connection *c, const struct amqp_reply_address *a,
                       const struct amqp_publish *p) {
    if (p != NULL && !amqp_server_has_room(c))
        return false;
    mark(of_connection(c));
    return amqp_reply_deliver(c, a, p);
}

void amqp_server_cancelled(struct amqp_connection *c, uint16_t channel, uint64_t consumer) {
    mark(of_connection(c));
    amqp_connection_cancelled(c, channel, consumer);
}

bool amqp_server_has_room(const struct amqp_connection *c) {
    return !is_full(of_connection(c));
}

void amqp_server_alarm(struct amqp_server *s, bool on, const char *reason) {
    s->alarm = on;
    s->alarm_reason = reason;
    for (struct list_node *n = list_first(&s->clients); n != NULL; n = list_next(&s->clients, n)) {
        struct amqp_client *k = CONTAINER_OF(n, struct amqp_client, node);
        amqp_connection_alarm(k->connection, on, reason);
        mark(k);
    }
}

const struct amqp_peer *amqp_server_peer(const struct amqp_connection *c) {
    return &of_connection(c)->peer;
}

void amqp_server_local(const struct amqp_connection *c, char text[64]) {
    net_stream_local(&of_connection(c)->stream, text);
}

void amqp_server_close_one(struct amqp_connection *c, const char *reason) {
    mark(of_connection(c));
    amqp_connection_shut_down(c, reason);
}

void amqp_server_traffic(const struct amqp_connection *c, struct amqp_traffic *ret) {
    const struct amqp_client *k = of_connection(c);
    *ret = (struct amqp_traffic){.connected_ns = k->connected_ns,
                                 .bytes_in = k->stream.bytes_in,
                                 .bytes_out = k->stream.bytes_out};
}

size_t amqp_server_certificate_name(const struct amqp_connection *c, char *text, size_t size) {
    return net_stream_certificate_name(&of_connection(c)->stream, text, size);
}

void amqp_server_stats(const struct amqp_server *s, struct amqp_server_stats *ret) {
    ret->accepted = __atomic_load_n(&s->stats.accepted, __ATOMIC_RELAXED);
    ret->bytes_in = __atomic_load_n(&s->stats.bytes_in, __ATOMIC_RELAXED);
    ret->bytes_out = __atomic_load_n(&s->stats.bytes_out, __ATOMIC_RELAXED);
    ret->open_connections = __atomic_load_n(&s->stats.open_connections, __ATOMIC_RELAXED);
}
