/*
 * One producer that keeps a window of unconfirmed messages, one consumer that acknowledges each, any broker.
 *
 *      bench-amqp-load PORT TYPE SIZE WINDOW QUEUES SECONDS PREFIX [keep | fill]     TYPE: classic, quorum
 *
 * `keep`: the queues stay, and as much in them as there was before: one is acknowledged for each that was confirmed. `fill`: nobody consumes, and SECONDS is how many messages.
 *
 * librabbitmq says hello and declares; from there on frames are made and read here, many a system call, so that
 * the client costs both brokers' machine as little as it can. Prints one JSON line; times only with a window of 1.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PREFETCH   500
#define READ_ROOM  (1u << 20)
#define SEND_ROOM  (8u << 20)
#define FRAME_END  0xce
#define WINDOW_MAX 65536u
#define TIMES_MAX  (1u << 20)

struct peer {
    amqp_connection_state_t state;
    int fd;
    uint8_t *in;
    size_t in_size;
    uint8_t *out; /* sent up to out_from, filled up to out_size */
    size_t out_from, out_size;
};

/* The three frames of a publish, which only their queue tells apart. */
struct template {
    uint8_t *bytes;
    size_t size;
};

struct load {
    const char *type, *prefix;
    unsigned size, window, queues;
    bool keep, fill;
    struct template *publishes; /* by queue */
    struct peer producer, consumer;
    uint64_t published, confirmed, delivered, acknowledged, refused;
    uint64_t confirmed_to;            /* all up to it are */
    bool confirmed_early[WINDOW_MAX]; /* by number modulo, those beyond */
    double sent_s, *times_us;         /* with a window of 1: from publish to confirm */
    uint32_t time_count;
};

static void need(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "bench-amqp-load: %s\n", what);
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- hello ---- */

static void open_peer(struct peer *p, int port) {
    p->state = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(p->state);
    need(socket != NULL && amqp_socket_open(socket, "127.0.0.1", port) == 0, "cannot connect");
    amqp_rpc_reply_t r =
        amqp_login(p->state, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    need(r.reply_type == AMQP_RESPONSE_NORMAL, "cannot log in");
    amqp_channel_open(p->state, 1);
    need(amqp_get_rpc_reply(p->state).reply_type == AMQP_RESPONSE_NORMAL, "cannot open a channel");
    p->fd = amqp_get_sockfd(p->state);
    p->in = malloc(READ_ROOM);
    p->out = malloc(SEND_ROOM);
    need(p->in != NULL && p->out != NULL, "out of memory");
}

static void queue_name(const struct load *l, unsigned number, char text[64]) {
    snprintf(text, 64, "%s%u", l->prefix, number);
}

static void declare(struct load *l) {
    for (unsigned i = 0; i < l->queues; i++) {
        char name[64];
        queue_name(l, i, name);
        amqp_table_entry_t entry = {
            .key = amqp_cstring_bytes("x-queue-type"),
            .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(l->type)}};
        amqp_table_t arguments = {1, &entry};
        amqp_queue_declare(l->producer.state, 1, amqp_cstring_bytes(name), 0, 1, 0, 0, arguments);
        need(amqp_get_rpc_reply(l->producer.state).reply_type == AMQP_RESPONSE_NORMAL,
             "cannot declare");
    }
    amqp_confirm_select(l->producer.state, 1);
    need(amqp_get_rpc_reply(l->producer.state).reply_type == AMQP_RESPONSE_NORMAL, "no confirms");
    amqp_basic_qos(l->consumer.state, 1, 0, PREFETCH, 0);
    need(amqp_get_rpc_reply(l->consumer.state).reply_type == AMQP_RESPONSE_NORMAL, "no qos");
}

static void delete_queues(struct load *l) {
    for (unsigned i = 0; i < l->queues; i++) {
        char name[64];
        queue_name(l, i, name);
        amqp_queue_delete(l->producer.state, 1, amqp_cstring_bytes(name), 0, 0);
    }
}

/* ---- frames ---- */

static uint8_t *put(uint8_t *to, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    return to + bytes;
}

static uint64_t take(const uint8_t *from, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | from[i];
    return value;
}

static uint8_t *put_text(uint8_t *to, const char *text) {
    size_t size = strlen(text);
    *to++ = (uint8_t)size;
    memcpy(to, text, size);
    return to + size;
}

/* Begins a frame; `end` fills its size in. */
static uint8_t *begin(struct peer *p, uint8_t type) {
    need(p->out_size + 4096 < SEND_ROOM, "the broker takes nothing");
    uint8_t *at = p->out + p->out_size;
    *at = type;
    put(at + 1, 1, 2);
    return at + 7;
}

static void end(struct peer *p, uint8_t *at) {
    uint8_t *frame = p->out + p->out_size;
    put(frame + 3, (uint64_t)(at - frame - 7), 4);
    *at++ = FRAME_END;
    p->out_size = (size_t)(at - p->out);
}

static void make_publish(struct load *l, unsigned queue, struct template *ret) {
    struct peer p = {.out = malloc(l->size + 8192)};
    char name[64];
    need(p.out != NULL, "out of memory");
    queue_name(l, queue, name);
    uint8_t *at = begin(&p, 1);
    at = put(at, 60 << 16 | 40, 4);
    at = put(at, 0, 3); /* ticket, and the default exchange */
    at = put_text(at, name);
    end(&p, put(at, 0, 1));
    at = begin(&p, 2);
    at = put(at, 60u << 16, 4);
    at = put(at, l->size, 8);
    at = put(at, 0x1000, 2);
    end(&p, put(at, 2, 1)); /* persistent */
    at = begin(&p, 3);
    memset(at, 'x', l->size);
    end(&p, at + l->size);
    *ret = (struct template){p.out, p.out_size};
}

static void make_publishes(struct load *l) {
    l->publishes = calloc(l->queues, sizeof *l->publishes);
    l->times_us = calloc(TIMES_MAX, sizeof *l->times_us);
    need(l->publishes != NULL && l->times_us != NULL, "out of memory");
    for (unsigned i = 0; i < l->queues; i++)
        make_publish(l, i, &l->publishes[i]);
}

static void publish(struct load *l) {
    struct peer *p = &l->producer;
    const struct template *t = &l->publishes[l->published % l->queues];
    need(p->out_size + t->size < SEND_ROOM, "the broker takes nothing");
    memcpy(p->out + p->out_size, t->bytes, t->size);
    p->out_size += t->size;
    l->published++;
}

static void consume(struct load *l) {
    for (unsigned i = 0; i < l->queues; i++) {
        char name[64];
        queue_name(l, i, name);
        uint8_t *at = begin(&l->consumer, 1);
        at = put(at, 60 << 16 | 20, 4);
        at = put(at, 0, 2);
        at = put_text(at, name);
        at = put_text(at, name);
        at = put(at, 0, 1);
        end(&l->consumer, put(at, 0, 4));
    }
}

static void acknowledge(struct peer *p, uint64_t tag) {
    uint8_t *at = begin(p, 1);
    at = put(at, 60 << 16 | 80, 4);
    at = put(at, tag, 8);
    end(p, put(at, 0, 1));
}

static void confirm(struct load *l, uint64_t number, bool multiple) {
    for (uint64_t n = multiple ? l->confirmed_to + 1 : number; n <= number; n++) {
        l->confirmed += !l->confirmed_early[n % WINDOW_MAX];
        l->confirmed_early[n % WINDOW_MAX] = true;
    }
    while (l->confirmed_early[(l->confirmed_to + 1) % WINDOW_MAX])
        l->confirmed_early[++l->confirmed_to % WINDOW_MAX] = false;
    if (l->window == 1 && l->time_count < TIMES_MAX)
        l->times_us[l->time_count++] = (now_s() - l->sent_s) * 1e6;
}

static void method(struct load *l, struct peer *p, const uint8_t *at) {
    switch (take(at, 4)) {
    case 60 << 16 | 60: /* basic.deliver: tag text, delivery tag; they count from 1 */
        need(take(at + 5 + at[4], 8) == ++l->delivered, "a delivery out of order");
        break;
    case 60 << 16 | 80: /* basic.ack: one, or all up to it */
        confirm(l, take(at + 4, 8), at[12] & 1);
        break;
    case 60 << 16 | 120:
        confirm(l, take(at + 4, 8), at[12] & 1);
        l->refused++;
        break;
    case 10 << 16 | 50:
    case 20 << 16 | 40:
        fprintf(stderr, "%.*s\n", at[6], at + 7);
        need(false, "the broker closed");
    }
}

static void frames(struct load *l, struct peer *p) {
    size_t used = 0;
    while (p->in_size - used >= 8) {
        const uint8_t *at = p->in + used;
        size_t size = (size_t)take(at + 3, 4);
        if (p->in_size - used < size + 8)
            break;
        need(at[7 + size] == FRAME_END, "a broken frame");
        if (*at == 1)
            method(l, p, at + 7);
        used += size + 8;
    }
    memmove(p->in, p->in + used, p->in_size - used);
    p->in_size -= used;
}

/* ---- the run ---- */

static void acknowledge_all(struct load *l) {
    uint64_t most = l->keep && l->confirmed < l->delivered ? l->confirmed : l->delivered;
    while (l->acknowledged < most)
        acknowledge(&l->consumer, ++l->acknowledged);
}

static void exchange_bytes(struct load *l, struct peer *p, short events) {
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        ssize_t got = read(p->fd, p->in + p->in_size, READ_ROOM - p->in_size);
        need(got > 0 || (got < 0 && errno == EAGAIN), "the broker went away");
        if (got > 0) {
            p->in_size += (size_t)got;
            frames(l, p);
        }
    }
}

static void flush(struct peer *p) {
    if (p->out_from == p->out_size)
        return;
    ssize_t sent = write(p->fd, p->out + p->out_from, p->out_size - p->out_from);
    need(sent >= 0 || errno == EAGAIN, "the broker went away");
    p->out_from += sent > 0 ? (size_t)sent : 0;
    if (p->out_from == p->out_size || p->out_from > SEND_ROOM / 2) {
        memmove(p->out, p->out + p->out_from, p->out_size - p->out_from);
        p->out_size -= p->out_from;
        p->out_from = 0;
    }
}

static short wanted(const struct peer *p) {
    return (short)(POLLIN | (p->out_from < p->out_size ? POLLOUT : 0));
}

static void turn(struct load *l, uint64_t publish_to) {
    while (l->published < publish_to && l->published - l->confirmed < l->window) {
        l->sent_s = l->window == 1 ? now_s() : 0;
        publish(l);
    }
    flush(&l->producer);
    flush(&l->consumer);
    struct pollfd fds[] = {{l->producer.fd, wanted(&l->producer), 0},
                           {l->consumer.fd, wanted(&l->consumer), 0}};
    if (poll(fds, 2, 100) <= 0)
        return;
    exchange_bytes(l, &l->producer, fds[0].revents);
    exchange_bytes(l, &l->consumer, fds[1].revents);
    acknowledge_all(l);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(struct load *l, double share) {
    qsort(l->times_us, l->time_count, sizeof *l->times_us, compare);
    return l->time_count == 0 ? 0 : l->times_us[(size_t)((l->time_count - 1) * share)];
}

static void report(struct load *l, double confirmed, double delivered) {
    long long missing = l->fill ? 0 : (long long)(l->published - l->acknowledged);
    printf("{\"confirmed\": %.1f, \"delivered\": %.1f, \"refused\": %llu, \"missing\": %lld, "
           "\"published\": %llu, \"p50\": %.1f, \"p99\": %.1f}\n",
           confirmed, delivered, (unsigned long long)l->refused, missing < 0 ? 0 : missing,
           (unsigned long long)l->published, percentile(l, 0.5), percentile(l, 0.99));
}

static void run(struct load *l, double seconds) {
    double warm = now_s() + seconds / 5;
    while (now_s() < warm)
        turn(l, UINT64_MAX);
    uint64_t confirmed = l->confirmed, delivered = l->acknowledged;
    l->time_count = 0;
    double begun = now_s();
    while (now_s() < begun + seconds)
        turn(l, UINT64_MAX);
    double took = now_s() - begun;
    confirmed = l->confirmed - confirmed;
    delivered = l->acknowledged - delivered;
    double limit = now_s() + 30;
    while ((l->acknowledged < l->published || wanted(&l->consumer) & POLLOUT) && now_s() < limit)
        turn(l, 0);
    report(l, (double)confirmed / took, (double)delivered / took);
}

static void fill(struct load *l, uint64_t count) {
    double begun = now_s();
    while (l->confirmed < count)
        turn(l, count);
    report(l, (double)count / (now_s() - begun), 0);
}

int main(int argc, char **argv) {
    if (argc != 8 && argc != 9) {
        fprintf(stderr, "usage: bench-amqp-load PORT TYPE SIZE WINDOW QUEUES SECONDS PREFIX "
                        "[keep | fill]\n");
        return 2;
    }
    static struct load l;
    l = (struct load){.type = argv[2],
                      .size = (unsigned)atoi(argv[3]),
                      .window = (unsigned)atoi(argv[4]),
                      .queues = (unsigned)atoi(argv[5]),
                      .prefix = argv[7],
                      .keep = argc == 9,
                      .fill = argc == 9 && strcmp(argv[8], "fill") == 0};
    need(l.size > 0 && l.size <= 131064 && l.window > 0 && l.window < WINDOW_MAX && l.queues > 0,
         "sizes");
    open_peer(&l.producer, atoi(argv[1]));
    open_peer(&l.consumer, atoi(argv[1]));
    declare(&l);
    fcntl(l.producer.fd, F_SETFL, O_NONBLOCK);
    fcntl(l.consumer.fd, F_SETFL, O_NONBLOCK);
    make_publishes(&l);
    if (l.fill) {
        fill(&l, strtoull(argv[6], NULL, 10));
    } else {
        consume(&l);
        run(&l, atof(argv[6]));
    }
    if (!l.keep)
        delete_queues(&l);
    return 0;
}
