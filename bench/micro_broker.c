/*
 * How fast the engine takes messages, hands them to a consumer and has them settled, without the protocol.
 *
 *      micro_broker FOLDER [seconds [body bytes [window [queues]]]]
 *
 * One thread publishes with so many unconfirmed, as a connection's loop would: what was confirmed is published
 * anew, in one chain. Deliveries are settled in one request a turn. Then: how long routing takes with 100 and 100,000
 * bindings of a topic exchange, how long 100,000 queues take to be declared and bound, and what a queue occupies.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"

#define SETTLES_MAX 4096u
#define BINDINGS    100000u

struct bench {
    struct engine *engine;
    struct engine_port port;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct engine_request *answered; /* a stack */
    struct delivery_batch *batches, *last_batch;
    uint64_t confirmed, delivered, settled;
};

static void die(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, error_text(error));
    exit(1);
}

static void on_answers(struct engine_port *port, struct engine_request *first,
                       struct engine_request *last) {
    struct bench *b = CONTAINER_OF(port, struct bench, port);
    pthread_mutex_lock(&b->lock);
    last->next = b->answered;
    b->answered = first;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

static void on_deliver(void *context, struct delivery_batch *first) {
    struct bench *b = context;
    struct delivery_batch *last = first;
    while (last->next != NULL) {
        last = last->next;
    }
    pthread_mutex_lock(&b->lock);
    if (b->last_batch != NULL) {
        b->last_batch->next = first;
    } else {
        b->batches = first;
    }
    b->last_batch = last;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

static struct request ask_for(enum request_kind kind) {
    struct request r;
    request_init(&r, kind);
    r.vhost = span_text("/");
    r.session = 1;
    return r;
}

static void call(struct bench *b, struct request *r) {
    int error = engine_call(b->engine, r);
    if (error != 0 || r->refusal != REFUSAL_NONE) {
        die("call", error != 0 ? error : E_INVALID);
    }
    request_release(r);
}

static void declare(struct bench *b, const char *name) {
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DECLARE);
    r.name = span_text(name);
    r.in.queue_declare.durable = true;
    call(b, &r);
}

static void consume(struct bench *b, const char *name, uint32_t number) {
    struct request r = ask_for(REQUEST_CONSUME);
    r.name = span_text(name);
    r.in.consume = (struct consume){.consumer = number, .channel = 1, .prefetch = 1000};
    call(b, &r);
}

static void fill_publish(struct engine_request *q, struct bench *b, struct span key,
                         struct span body) {
    request_init(&q->r, REQUEST_AMQP_PUBLISH);
    q->port = &b->port;
    q->r.in.amqp_publish.vhost = span_text("/");
    q->r.in.amqp_publish.message =
        (struct amqp_message){.routing_key = key, .properties = span_of("\0", 2), .body = body};
}

/* ---- settling: one request under way, what came meanwhile goes with the next ---- */

struct settler {
    struct engine_request request;
    struct settle items[SETTLES_MAX], next[SETTLES_MAX];
    uint32_t count;
    bool busy;
};

static void settle(struct bench *b, struct settler *s) {
    if (s->busy || s->count == 0) {
        return;
    }
    memcpy(s->items, s->next, s->count * sizeof *s->items);
    request_init(&s->request.r, REQUEST_SETTLE);
    s->request.port = &b->port;
    s->request.r.session = 1;
    s->request.r.in.settle = (struct settle_list){.items = s->items, .count = s->count};
    b->settled += s->count;
    s->count = 0;
    s->busy = true;
    int error = engine_submit(b->engine, &s->request, &s->request, 1);
    if (error != 0) {
        die("settle", error);
    }
}

static void take_batches(struct bench *b, struct settler *s, struct delivery_batch *first) {
    for (const struct delivery_batch *at = first; at != NULL; at = at->next) {
        for (uint32_t i = 0; i < at->count && s->count < SETTLES_MAX; i++) {
            s->next[s->count++] =
                (struct settle){.message = at->items[i].message, .verdict = SETTLE_ACK};
            b->delivered++;
        }
    }
    delivery_batch_free(first);
}

/* Everything answered since is sent again; the chain of publishes. */
static struct engine_request *sort_answers(struct bench *b, struct settler *s,
                                           struct engine_request *first,
                                           struct engine_request **ret_last, uint32_t *ret_count) {
    struct engine_request *chain = NULL;
    *ret_count = 0;
    while (first != NULL) {
        struct engine_request *next = first->next;
        if (first == &s->request) {
            s->busy = false;
        } else {
            first->next = chain;
            *ret_last = chain == NULL ? first : *ret_last;
            chain = first;
            ++*ret_count;
            b->confirmed++;
        }
        first = next;
    }
    return chain;
}

static void run(struct bench *b, uint64_t seconds, uint32_t window, uint32_t queues,
                struct span body) {
    struct engine_request *publishes = calloc(window, sizeof *publishes);
    struct settler *s = calloc(1, sizeof *s);
    char(*names)[16] = calloc(queues, sizeof *names);
    for (uint32_t i = 0; i < queues; i++) {
        snprintf(names[i], sizeof names[i], "q%u", i);
        declare(b, names[i]);
        consume(b, names[i], i + 1);
    }
    for (uint32_t i = 0; i < window; i++) {
        fill_publish(&publishes[i], b, span_text(names[i % queues]), body);
        publishes[i].next = i + 1 < window ? &publishes[i + 1] : NULL;
    }
    uint64_t begun_ns = clock_monotonic_ns();
    int error = engine_submit(b->engine, publishes, &publishes[window - 1], window);
    while (error == 0 && clock_monotonic_ns() - begun_ns < seconds * NS_PER_SECOND) {
        pthread_mutex_lock(&b->lock);
        while (b->answered == NULL && b->batches == NULL) {
            pthread_cond_wait(&b->wake, &b->lock);
        }
        struct engine_request *answered = b->answered, *last = NULL;
        struct delivery_batch *batches = b->batches;
        b->answered = NULL;
        b->batches = b->last_batch = NULL;
        pthread_mutex_unlock(&b->lock);
        take_batches(b, s, batches);
        uint32_t count;
        struct engine_request *chain = sort_answers(b, s, answered, &last, &count);
        if (chain != NULL) {
            error = engine_submit(b->engine, chain, last, count);
        }
        settle(b, s);
    }
    double took = (double)(clock_monotonic_ns() - begun_ns) / 1e9;
    printf("%u queues, window %u, %zu bytes: %.0f confirmed/s, %.0f delivered/s, %.0f settled/s\n",
           queues, window, body.size, (double)b->confirmed / took, (double)b->delivered / took,
           (double)b->settled / took);
    if (error != 0) {
        die("submit", error);
    }
    /* what is under way still points here: never freed */
}

/* ---- many bindings ---- */

static void bind(struct bench *b, const char *queue, const char *key) {
    struct request r = ask_for(REQUEST_AMQP_BIND);
    r.in.binding = (struct binding){.source = span_text("amq.topic"),
                                    .destination = span_text(queue),
                                    .routing_key = span_text(key)};
    call(b, &r);
}

static double route_ns(struct bench *b, uint32_t bindings) {
    enum { ROUNDS = 50000, CHAIN = 50 };
    static struct engine_request chain[CHAIN];
    static char keys[CHAIN][48];
    uint64_t begun_ns = clock_monotonic_ns();
    for (uint32_t n = 0; n < ROUNDS; n += CHAIN) {
        for (uint32_t i = 0; i < CHAIN; i++) {
            snprintf(keys[i], sizeof keys[i], "r%u.none.x", (n + i) * 7919u % bindings);
            fill_publish(&chain[i], b, span_text(keys[i]), span_of(NULL, 0));
            chain[i].r.in.amqp_publish.message.exchange = span_text("amq.topic");
            chain[i].next = i + 1 < CHAIN ? &chain[i + 1] : NULL;
        }
        if (engine_submit(b->engine, chain, &chain[CHAIN - 1], CHAIN) != 0) {
            exit(1);
        }
        uint32_t back = 0;
        while (back < CHAIN) {
            pthread_mutex_lock(&b->lock);
            while (b->answered == NULL) {
                pthread_cond_wait(&b->wake, &b->lock);
            }
            for (struct engine_request *q = b->answered; q != NULL; q = q->next) {
                back++;
            }
            b->answered = NULL;
            pthread_mutex_unlock(&b->lock);
        }
    }
    return (double)(clock_monotonic_ns() - begun_ns) / ROUNDS;
}

/* Requests in chains, as connections send them without waiting for each answer. */
static void declare_and_bind_all(struct bench *b) {
    enum { CHAIN = 500 };
    static struct engine_request chain[2 * CHAIN];
    static char names[CHAIN][16], keys[CHAIN][32];
    for (uint32_t n = 0; n < BINDINGS; n += CHAIN) {
        for (uint32_t i = 0; i < CHAIN; i++) {
            struct engine_request *declared = &chain[2 * i], *bound = &chain[2 * i + 1];
            snprintf(names[i], sizeof names[i], "m%u", n + i);
            snprintf(keys[i], sizeof keys[i], "r%u.*.y", n + i);
            declared->r = ask_for(REQUEST_AMQP_QUEUE_DECLARE);
            declared->r.name = span_text(names[i]);
            declared->r.in.queue_declare.durable = true;
            bound->r = ask_for(REQUEST_AMQP_BIND);
            bound->r.in.binding = (struct binding){.source = span_text("amq.topic"),
                                                   .destination = span_text(names[i]),
                                                   .routing_key = span_text(keys[i])};
            declared->port = bound->port = &b->port;
            declared->next = bound;
            bound->next = i + 1 < CHAIN ? &chain[2 * i + 2] : NULL;
        }
        if (engine_submit(b->engine, chain, &chain[2 * CHAIN - 1], 2 * CHAIN) != 0) {
            exit(1);
        }
        uint32_t back = 0;
        while (back < 2 * CHAIN) {
            pthread_mutex_lock(&b->lock);
            while (b->answered == NULL) {
                pthread_cond_wait(&b->wake, &b->lock);
            }
            for (struct engine_request *q = b->answered; q != NULL; q = q->next) {
                request_release(&q->r);
                back++;
            }
            b->answered = NULL;
            pthread_mutex_unlock(&b->lock);
        }
    }
}

static void run_bindings(struct bench *b) {
    struct engine_stats before, after;
    declare(b, "first");
    for (uint32_t i = 0; i < 100; i++) {
        char key[32];
        snprintf(key, sizeof key, "r%u.*.z", i);
        bind(b, "first", key);
    }
    double few_ns = route_ns(b, 100);
    engine_stats(b->engine, &before);
    uint64_t begun_ns = clock_monotonic_ns();
    declare_and_bind_all(b);
    double took = (double)(clock_monotonic_ns() - begun_ns) / 1e9;
    engine_stats(b->engine, &after);
    double many_ns = route_ns(b, BINDINGS);
    printf("%u queues declared and bound in %.2f s; %.0f bytes each by the model's account\n",
           BINDINGS, took, (double)(after.memory_bytes - before.memory_bytes) / BINDINGS);
    printf(
        "routed with 100 bindings: %.0f ns, with 100,000: %.0f ns (whole request, no body kept)\n",
        few_ns, many_ns);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: micro_broker FOLDER [seconds [body bytes [window [queues]]]]\n");
        return 2;
    }
    uint64_t seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : 5;
    size_t size = argc > 3 ? strtoull(argv[3], NULL, 10) : 1024;
    uint32_t window = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 100;
    uint32_t queues = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 1;
    static struct bench b = {.port = {.deliver = on_answers, .never_in_place = true}};
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.wake, NULL);
    struct engine_options options = {
        .directory = argv[1], .context = &b, .deliver = on_deliver, .limits = {.queues = 200000}};
    struct engine_recovery recovery;
    char text[512];
    int error = engine_open(&options, &recovery, text, &b.engine);
    if (error != 0) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    if (window == 0) {
        run_bindings(&b);
        return 0;
    }
    uint8_t *body = calloc(1, size);
    run(&b, seconds, window, queues, span_of(body, size));
    return 0; /* without closing: this is not about that */
}
