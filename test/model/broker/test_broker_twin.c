/*
 * Random operations of an AMQP client, compared with a twin of arrays and loops.
 *
 *      test_broker_twin [seed [steps]]
 *
 * Routing: bindings of all kinds come and go; a message must reach exactly the queues that a naive walk over all
 * bindings finds. Consumers: each delivery must be the oldest ready message of its queue, go to a consumer that
 * has room (the active one, where there is one) and carry the count of deliveries before it; when nothing more is
 * delivered, no consumer with room has a message to wait for; turns are fair. Sessions end, consumers are
 * cancelled, the program restarts in between. At the end the log is replayed. Prints the seed, which repeats the run.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rabbit.h"

#define STEPS_DEFAULT 6000u
#define QUEUES        6u
#define EXCHANGES     5u
#define BINDINGS_MAX  40u
#define MESSAGES_MAX  4000u
#define SESSIONS      3u
#define CONSUMERS_MAX 12u

static struct world w;
static const struct span none = {.size = 0};

static uint64_t pick(uint64_t bound) {
    return rng_below(&w.rng, bound);
}

/* ---- routing ---- */

struct twin_binding {
    unsigned source, destination;
    bool to_exchange;
    char key[24];
};

static struct twin_binding bindings[BINDINGS_MAX];
static unsigned binding_count;
static const char *const exchange_names[EXCHANGES] = {"t1", "t2", "d", "f", "t3"};
static const char *const exchange_types[EXCHANGES] = {"topic", "topic", "direct", "fanout",
                                                      "topic"};
static const char *const queue_names[QUEUES] = {"q0", "q1", "q2", "q3", "q4", "q5"};

static void random_key(char out[24], bool pattern) {
    static const char *const words[] = {"a", "b", "", "*", "#"};
    out[0] = '\0';
    unsigned count = (unsigned)pick(4) + 1;
    for (unsigned i = 0; i < count; i++) {
        strcat(out, i == 0 ? "" : ".");
        strcat(out, words[pick(pattern ? 5 : 3)]);
    }
}

/* By the book: word by word, '#' tries everything. */
static bool matches(const char *pattern, const char *key) {
    if (pattern == NULL) {
        return key == NULL;
    }
    const char *dot = strchr(pattern, '.');
    size_t size = dot == NULL ? strlen(pattern) : (size_t)(dot - pattern);
    const char *rest = dot == NULL ? NULL : dot + 1;
    if (size == 1 && *pattern == '#') {
        if (matches(rest, key)) {
            return true;
        }
        const char *next = key == NULL ? NULL : strchr(key, '.');
        return key != NULL && matches(pattern, next == NULL ? NULL : next + 1);
    }
    if (key == NULL) {
        return false;
    }
    const char *next = strchr(key, '.');
    size_t word = next == NULL ? strlen(key) : (size_t)(next - key);
    bool same = (size == 1 && *pattern == '*') || (size == word && memcmp(pattern, key, size) == 0);
    return same && matches(rest, next == NULL ? NULL : next + 1);
}

static void walk(unsigned exchange, const char *key, bool *asked, bool *reached) {
    if (asked[exchange]) {
        return;
    }
    asked[exchange] = true;
    for (unsigned i = 0; i < binding_count; i++) {
        const struct twin_binding *b = &bindings[i];
        const char *type = exchange_types[exchange];
        bool leads =
            b->source == exchange &&
            (strcmp(type, "fanout") == 0 ||
             (strcmp(type, "direct") == 0 ? strcmp(b->key, key) == 0 : matches(b->key, key)));
        if (leads && b->to_exchange) {
            walk(b->destination, key, asked, reached);
        } else if (leads) {
            reached[b->destination] = true;
        }
    }
}

static void step_bind(void) {
    struct twin_binding b = {.source = (unsigned)pick(EXCHANGES), .to_exchange = pick(4) == 0};
    b.destination = (unsigned)pick(b.to_exchange ? EXCHANGES : QUEUES);
    random_key(b.key, strcmp(exchange_types[b.source], "topic") == 0);
    for (unsigned i = 0; i < binding_count; i++) {
        const struct twin_binding *o = &bindings[i];
        if (o->source == b.source && o->destination == b.destination &&
            o->to_exchange == b.to_exchange && strcmp(o->key, b.key) == 0) {
            return;
        }
    }
    if (binding_count == BINDINGS_MAX) {
        return;
    }
    enum refusal refusal =
        b.to_exchange
            ? rabbit_bind_exchange(&w, exchange_names[b.source], exchange_names[b.destination],
                                   b.key)
            : rabbit_bind(&w, exchange_names[b.source], queue_names[b.destination], b.key, none);
    assert(refusal == REFUSAL_NONE);
    bindings[binding_count++] = b;
}

static void step_unbind(void) {
    if (binding_count == 0) {
        return;
    }
    unsigned i = (unsigned)pick(binding_count);
    const struct twin_binding *b = &bindings[i];
    struct request r;
    request_init(&r, REQUEST_AMQP_UNBIND);
    r.vhost = span_text("/");
    r.in.binding =
        (struct binding){.source = span_text(exchange_names[b->source]),
                         .destination = span_text(b->to_exchange ? exchange_names[b->destination]
                                                                 : queue_names[b->destination]),
                         .to_exchange = b->to_exchange,
                         .routing_key = span_text(b->key)};
    enum refusal refusal = world_ask(&w, &r);
    assert(refusal == REFUSAL_NONE);
    request_release(&r);
    bindings[i] = bindings[--binding_count];
}

/* ---- messages and consumers ---- */

struct twin_message {
    uint64_t id; /* learnt at its first delivery; 0: not known yet */
    unsigned queue;
    uint32_t deliveries;
    unsigned consumer; /* that holds it, index + 1; 0: ready */
    bool gone;
};

struct twin_consumer {
    bool there;
    uint64_t session;
    uint32_t number;
    unsigned queue;
    uint16_t prefetch;
    uint32_t held;
    uint64_t order; /* of creation */
};

static struct twin_message messages[MESSAGES_MAX];
static unsigned message_count;
static struct twin_consumer consumers[CONSUMERS_MAX];
static uint32_t numbers;

#define ACTIVE_QUEUE 5u /* has a single active consumer */

static void step_publish(void) {
    char key[24];
    unsigned exchange = (unsigned)pick(EXCHANGES);
    bool asked[EXCHANGES] = {false}, reached[QUEUES] = {false};
    random_key(key, false);
    walk(exchange, key, asked, reached);
    unsigned count = 0;
    for (unsigned q = 0; q < QUEUES; q++) {
        count += reached[q];
    }
    if (message_count + count > MESSAGES_MAX) {
        return;
    }
    int routed = rabbit_publish(&w, exchange_names[exchange], key, "body");
    assert(routed == (int)count);
    for (unsigned q = 0; q < QUEUES; q++) {
        if (reached[q]) {
            messages[message_count++] = (struct twin_message){.queue = q};
        }
    }
}

static void step_consume(void) {
    unsigned i = (unsigned)pick(CONSUMERS_MAX);
    struct twin_consumer *c = &consumers[i];
    if (c->there || c->held > 0) {
        return; /* what a cancelled one holds is still told by its place here */
    }
    numbers++;
    *c = (struct twin_consumer){.there = true,
                                .session = 1 + pick(SESSIONS),
                                .number = numbers,
                                .queue = (unsigned)pick(QUEUES),
                                .prefetch = (uint16_t)pick(5),
                                .order = numbers};
    enum refusal refusal =
        rabbit_consume(&w, c->session, c->number, queue_names[c->queue], c->prefetch);
    assert(refusal == REFUSAL_NONE);
}

static void step_cancel(void) {
    struct twin_consumer *c = &consumers[pick(CONSUMERS_MAX)];
    if (c->there) {
        rabbit_cancel(&w, c->session, c->number);
        c->there = false;
    }
}

static bool is_active(const struct twin_consumer *c) {
    for (unsigned i = 0; c->queue == ACTIVE_QUEUE && i < CONSUMERS_MAX; i++) {
        const struct twin_consumer *o = &consumers[i];
        if (o->there && o->queue == ACTIVE_QUEUE && o->order < c->order) {
            return false;
        }
    }
    return true;
}

static bool has_room(const struct twin_consumer *c) {
    return c->there && (c->prefetch == 0 || c->held < c->prefetch) && is_active(c);
}

static struct twin_message *oldest_ready(unsigned queue) {
    for (unsigned i = 0; i < message_count; i++) {
        if (messages[i].queue == queue && !messages[i].gone && messages[i].consumer == 0) {
            return &messages[i];
        }
    }
    return NULL;
}

static void tell_delivery(const struct delivery *d) {
    unsigned at = 0;
    while (at < CONSUMERS_MAX && !(consumers[at].there && consumers[at].session == d->session &&
                                   consumers[at].number == d->consumer)) {
        at++;
    }
    assert(at < CONSUMERS_MAX && has_room(&consumers[at]));
    struct twin_message *g = oldest_ready(consumers[at].queue);
    assert(g != NULL && (g->id == 0 || g->id == d->message));
    assert(d->delivery_count == g->deliveries && d->redelivered == (g->deliveries > 0));
    g->id = d->message;
    g->deliveries++;
    g->consumer = at + 1;
    consumers[at].held++;
}

static void deliver_all(void) {
    struct delivery d;
    while (rabbit_next(&w, &d)) {
        tell_delivery(&d);
    }
    for (unsigned i = 0; i < CONSUMERS_MAX; i++) {
        assert(!has_room(&consumers[i]) || oldest_ready(consumers[i].queue) == NULL);
    }
}

static void step_settle(void) {
    unsigned held = 0;
    for (unsigned i = 0; i < message_count; i++) {
        held += !messages[i].gone && messages[i].consumer != 0;
    }
    unsigned chosen = held == 0 ? 0 : (unsigned)pick(held);
    for (unsigned i = 0; held > 0 && i < message_count; i++) {
        struct twin_message *g = &messages[i];
        if (g->gone || g->consumer == 0 || chosen-- != 0) {
            continue;
        }
        enum settle_verdict verdict = (enum settle_verdict)(1 + pick(4));
        struct twin_consumer *c = &consumers[g->consumer - 1];
        rabbit_settle(&w, c->session, g->id, verdict);
        c->held--;
        g->consumer = 0;
        g->gone = verdict == SETTLE_ACK || verdict == SETTLE_REJECT;
        g->deliveries -= verdict == SETTLE_RETURN;
        return;
    }
}

static void forget_session(uint64_t session) {
    for (unsigned i = 0; i < message_count; i++) {
        unsigned c = messages[i].consumer;
        if (c != 0 && (session == 0 || consumers[c - 1].session == session)) {
            messages[i].consumer = 0;
            consumers[c - 1].held--;
        }
    }
    for (unsigned i = 0; i < CONSUMERS_MAX; i++) {
        consumers[i].there &= session != 0 && consumers[i].session != session;
    }
}

static void step_close(void) {
    uint64_t session = 1 + pick(SESSIONS);
    rabbit_close(&w, session);
    forget_session(session);
}

static void step_restart(void) {
    world_reload(&w);
    if (pick(2) == 0) {
        (void)rabbit_recover(&w);
        forget_session(0);
    }
}

static void check_counts(void) {
    for (unsigned q = 0; q < QUEUES; q++) {
        uint64_t ready = 0, held = 0;
        for (unsigned i = 0; i < message_count; i++) {
            bool here = messages[i].queue == q && !messages[i].gone;
            ready += here && messages[i].consumer == 0;
            held += here && messages[i].consumer != 0;
        }
        assert(rabbit_ready(&w, queue_names[q]) == ready);
        assert(rabbit_in_flight(&w, queue_names[q]) == held);
    }
    model_check(w.model);
}

/* Consumers of equal priority with room get the same, one more or less. */
static void check_turns(void) {
    struct rabbit_queue plain = {.vhost = NULL};
    enum refusal refusal = rabbit_declare(&w, "turns", plain, NULL);
    assert(refusal == REFUSAL_NONE);
    for (uint32_t i = 1; i <= 7; i++) {
        refusal = rabbit_consume(&w, 90, i, "turns", 0);
        assert(refusal == REFUSAL_NONE);
    }
    uint32_t got[8] = {0};
    for (unsigned i = 0; i < 100; i++) {
        rabbit_publish(&w, "", "turns", "x");
        struct delivery d;
        bool any = rabbit_next(&w, &d);
        assert(any && d.consumer <= 7);
        got[d.consumer]++;
    }
    for (unsigned i = 1; i <= 7; i++) {
        assert(got[i] == 14 || got[i] == 15);
    }
}

static void begin(void) {
    struct buffer b;
    struct amqp_table_out t;
    buffer_init(&b, 1024);
    for (unsigned i = 0; i < EXCHANGES; i++) {
        enum refusal refusal = rabbit_exchange(&w, exchange_names[i], exchange_types[i], none);
        assert(refusal == REFUSAL_NONE);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        buffer_clear(&b);
        amqp_table_begin(&t, &b);
        if (i == ACTIVE_QUEUE) {
            amqp_put_bool(&t, "x-single-active-consumer", true);
        }
        struct rabbit_queue q = {.arguments = rabbit_arguments(&b, &t)};
        enum refusal refusal = rabbit_declare(&w, queue_names[i], q, NULL);
        assert(refusal == REFUSAL_NONE);
    }
    buffer_release(&b);
}

static void step(void) {
    static void (*const steps[])(void) = {step_publish, step_publish, step_publish, step_publish,
                                          step_bind,    step_unbind,  step_consume, step_cancel,
                                          step_settle,  step_settle,  step_settle};
    uint64_t rare = pick(100);
    if (rare == 0) {
        step_close();
    } else if (rare == 1) {
        step_restart();
    } else {
        steps[pick(ARRAY_LENGTH(steps))]();
    }
    w.now_ns += pick(1000);
    if (pick(3) == 0) {
        deliver_all();
    }
    if (pick(50) == 0) {
        check_counts();
    }
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : STEPS_DEFAULT;
    printf("seed %" PRIu64 ", %" PRIu64 " steps\n", seed, steps);
    fflush(stdout);
    world_init(&w, NULL);
    rng_init(&w.rng, seed);
    begin();
    for (uint64_t i = 0; i < steps; i++) {
        step();
    }
    deliver_all();
    check_counts();
    check_turns();
    world_reload(&w);
    world_check_replay(&w);
    world_release(&w);
    return 0;
}
