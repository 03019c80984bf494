/*
 * A whole connection out of arbitrary bytes, in front of the toy broker: nothing crashes or leaks, all that is
 * said is well formed, limits hold, and nothing is said after the end.
 *
 * The first byte picks the cuts (and, by its low bit, a handshake that went well); then the bytes come
 * from the client, with the broker, the clock and an alarm at work in between.
 */
#include <assert.h>
#include <stdlib.h>

#include "amqp/connection.h"
#include "base/rng.h"
#include "toy_broker.h"

#define OUT_MAX ((size_t)1 << 26)

struct world {
    struct amqp_connection *connection;
    struct toy_broker *broker;
    struct buffer out;
    uint64_t now_ms;
    bool ended, unused, greeted;
};

static uint64_t now_ms(void *context) {
    struct world *w = context;
    return w->now_ms;
}

static void ask(void *context, struct amqp_op *op) {
    struct world *w = context;
    toy_ask(w->broker, op);
}

static struct buffer *out(void *context) {
    struct world *w = context;
    assert(!w->ended);
    return &w->out;
}

static void ended(void *context) {
    struct world *w = context;
    assert(!w->ended);
    w->ended = true;
}

static void unused(void *context) {
    struct world *w = context;
    w->unused = true;
}

static void same_bytes(void *context, uint8_t *bytes, size_t size) {
    (void)context;
    memset(bytes, 7, size);
}

static void resumed(void *context) {
    (void)context; /* it is fed in any case */
}

static struct amqp_budget budget;
static const struct amqp_host HOST = {
    .limits = {.frame_max = 8192,
               .channel_max = 20,
               .heartbeat_s = 10,
               .message_bytes = 20000,
               .asked_max = 50,
               .asked_bytes = 100000,
               .assembled_bytes = 50000,
               .memory_bytes = 10000,
               .partial_timeout_ms = 5000,
               .transaction_ops = 20,
               .consumers = 10,
               .handshake_timeout_ms = 1000,
               .close_timeout_ms = 1000},
    .version = "0",
    .budget = &budget,
    .now_ms = now_ms,
    .ask = ask,
    .out = out,
    .ended = ended,
    .resumed = resumed,
    .unused = unused,
    .random = same_bytes,
};

static const uint8_t HANDSHAKE[] =
    "AMQP\0\0\x09\1"
    "\1\0\0\0\0\0\x24\0\x0a\0\x0b\0\0\0\0\5PLAIN\0\0\0\x0c\0guest\0guest\5en_US\xce"
    "\1\0\0\0\0\0\x0c\0\x0a\0\x1f\0\x14\0\0\x20\0\0\x0a\xce"
    "\1\0\0\0\0\0\x08\0\x0a\0\x28\1/\0\0\xce"
    "\1\0\1\0\0\0\5\0\x14\0\x0a\0\xce";

/* All that is said is frames that a client can read; the first word to another protocol is a header. */
static void check_out(struct world *w) {
    struct span rest = buffer_span(&w->out);
    if (!w->greeted && rest.size == 8 && rest.data[0] == 'A')
        rest.size = 0;
    while (rest.size > 0) {
        struct amqp_frame frame;
        struct amqp_method m;
        struct amqp_content_header h;
        int64_t used = amqp_frame_read(rest, 8192, &frame);
        assert(used > 0);
        if (frame.type == AMQP_FRAME_METHOD) {
            int error = amqp_method_read(frame.payload, &m);
            assert(error == 0 && amqp_method_sender(m.id) != AMQP_SENT_BY_CLIENT);
        } else if (frame.type == AMQP_FRAME_HEADER_) {
            int error = amqp_content_header_read(frame.payload, &h);
            assert(error == 0);
        }
        w->greeted = true;
        rest = span_of(rest.data + used, rest.size - (size_t)used);
    }
    buffer_clear(&w->out);
}

static void turn(struct world *w) {
    do
        amqp_connection_flush(w->connection);
    while (toy_run(w->broker));
    amqp_budget_serve(&budget);
    check_out(w);
}

static void something_else(struct world *w, struct rng *rng) {
    switch (rng_below(rng, 8)) {
    case 0:
        w->now_ms += rng_below(rng, 4000);
        amqp_connection_tick(w->connection);
        break;
    case 1:
        amqp_connection_alarm(w->connection, rng_below(rng, 4) == 0, "low on disk");
        break;
    case 2:
        amqp_connection_pause(w->connection, rng_below(rng, 2) == 0);
        break;
    case 3:
        toy_refuse(w->broker, rng_below(rng, 4) == 0);
        break;
    default:
        turn(w);
    }
    assert(amqp_connection_due_ms(w->connection) > w->now_ms ||
           amqp_connection_ended(w->connection) || w->now_ms == 0 ||
           amqp_connection_due_ms(w->connection) + 4000 >= w->now_ms);
}

static void feed(struct world *w, struct span bytes, struct rng *rng) {
    size_t offered = 0, used = 0;
    while (used < bytes.size && !amqp_connection_ended(w->connection)) {
        size_t more = 1 + rng_below(rng, rng_below(rng, 3) == 0 ? 2000 : 60);
        offered = offered + more < bytes.size ? offered + more : bytes.size;
        size_t took =
            amqp_connection_feed(w->connection, span_of(bytes.data + used, offered - used));
        assert(took <= offered - used);
        used += took;
        something_else(w, rng);
        if (took == 0 && offered == bytes.size) {
            amqp_connection_alarm(w->connection, false, NULL);
            turn(w);
            if (!amqp_connection_stalled(w->connection) &&
                amqp_connection_feed(w->connection, span_of(bytes.data + used, offered - used)) ==
                    0)
                break; /* half a frame */
        }
    }
    turn(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const struct toy_outlet outlet = {amqp_connection_answer, amqp_connection_deliver,
                                      amqp_connection_cancelled};
    struct world w = {.broker = toy_create(&outlet)};
    struct rng rng;
    rng_init(&rng, data[0]);
    buffer_init(&w.out, OUT_MAX);
    amqp_connection_budget_init(&budget, &HOST.limits);
    int error = amqp_connection_create(&HOST, &w, &w.connection);
    assert(error == 0);
    if (data[0] & 1) {
        struct span shake = span_of(HANDSHAKE, sizeof HANDSHAKE - 1);
        while (shake.size > 0) {
            size_t used = amqp_connection_feed(w.connection, shake);
            shake = span_of(shake.data + used, shake.size - used);
            turn(&w);
        }
        assert(amqp_connection_vhost(w.connection).size == 1 &&
               !amqp_connection_ended(w.connection));
    }
    feed(&w, span_of(data + 1, size - 1), &rng);
    w.ended = true; /* says nothing from here on */
    amqp_connection_lost(w.connection);
    while (toy_run(w.broker))
        ;
    assert(amqp_connection_is_unused(w.connection));
    amqp_connection_free(w.connection);
    assert(budget.held_bytes == 0 && budget.leaving_bytes == 0 && budget.favoured == NULL);
    toy_free(w.broker);
    buffer_release(&w.out);
    return 0;
}
