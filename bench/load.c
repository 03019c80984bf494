/*
 * bench-load - so many connections, each with one request under way, each request of a new member; HTTP or RESP.
 *
 * usage: bench-load http <port> <path> <connections> <threads> <seconds> <prefix>
 *        bench-load redis <port> <script hash> <connections> <threads> <seconds> <prefix>
 *
 * The load stands on the same processors as what it measures, so it does the least that there is: one read and
 * one write a request, one epoll_wait for all that is ready. wrk and redis-benchmark tell the kernel two and four
 * times a request which events they want; here that is said once. What is sent is made once, but for the member's
 * number; what comes back is looked at as far as it takes to know that it is whole and a yes. Both servers get the
 * same: the same code drives them, only the template and the end of an answer differ.
 *
 * An answer that is no yes ends the run. Prints one line of JSON, times in us.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES   4096
#define REQUEST_BYTES  1024
#define EVENTS         256
#define THREADS_MAX    16
#define NUMBER_DIGITS  9
#define FIRST_NUMBER   100000000u
#define HISTOGRAM_US   100000 /* one cell a microsecond; what takes longer is in the last */
#define NS_PER_SECOND  1000000000ull
#define CONTENT_LENGTH "Content-Length: "
#define NUMBER_TEXT    "000000000"

struct connection {
    int fd;
    uint64_t sent_ns;
    size_t have; /* bytes of the answer so far */
    char answer[ANSWER_BYTES];
};

struct worker {
    pthread_t thread;
    struct load *load; /* borrows */
    struct connection *connections;
    uint32_t connection_count;
    uint32_t made;    /* requests: the next member */
    uint64_t answers; /* within the time */
    uint64_t max_us;
    uint32_t *histogram;
    char request[REQUEST_BYTES];
    size_t request_bytes;
    char *number; /* in request: where the member's number stands */
};

/* How many bytes the answer has, or 0: not all there. A no ends the run. */
typedef size_t answer_size(const char *answer, size_t have);

struct load {
    answer_size *size;
    uint16_t port;
    uint64_t end_ns;
};

static void fail(const char *what) {
    fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void refused(const char *answer, size_t have) {
    fprintf(stderr, "bench-load: refused: %.*s\n", (int)have, answer);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

/* ---- what is said ---- */

static size_t http_answer_size(const char *answer, size_t have) {
    const char *body = memmem(answer, have, "\r\n\r\n", 4);
    if (body == NULL)
        return 0;
    if (have < 12 || memcmp(answer, "HTTP/1.1 2", 10) != 0)
        refused(answer, have);
    size_t head = (size_t)(body + 4 - answer);
    const char *length = memmem(answer, head, CONTENT_LENGTH, sizeof CONTENT_LENGTH - 1);
    size_t size = head;
    if (length != NULL)
        size += strtoul(length + sizeof CONTENT_LENGTH - 1, NULL, 10);
    return have >= size ? size : 0;
}

/* An integer above zero: the number of the claim. */
static size_t redis_answer_size(const char *answer, size_t have) {
    const char *end = memchr(answer, '\n', have);
    if (end == NULL)
        return 0;
    if (have < 2 || answer[0] != ':' || answer[1] < '1' || answer[1] > '9')
        refused(answer, have);
    return (size_t)(end + 1 - answer);
}

static void make_http(struct worker *w, const char *path, const char *member) {
    char body[REQUEST_BYTES / 2];
    int size = snprintf(body, sizeof body, "{\"member\":\"%s\",\"survey\":[1,4,2]}", member);
    w->request_bytes = (size_t)snprintf(w->request, sizeof w->request,
                                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                                        "Content-Type: application/json\r\n"
                                        "Content-Length: %d\r\n\r\n%s",
                                        path, w->load->port, size, body);
}

static void make_redis(struct worker *w, const char *script, const char *member) {
    w->request_bytes = (size_t)snprintf(
        w->request, sizeof w->request,
        "*7\r\n$7\r\nEVALSHA\r\n$%zu\r\n%s\r\n$1\r\n3\r\n$7\r\nmembers\r\n$4\r\nused\r\n"
        "$5\r\nqueue\r\n$%zu\r\n%s\r\n",
        strlen(script), script, strlen(member), member);
}

static void next_member(struct worker *w) {
    uint32_t n = FIRST_NUMBER + w->made++;
    for (int i = NUMBER_DIGITS - 1; i >= 0; i--, n /= 10)
        w->number[i] = (char)('0' + n % 10);
}

/* ---- a worker ---- */

static void ask(struct worker *w, struct connection *c) {
    next_member(w);
    c->have = 0;
    c->sent_ns = now_ns();
    if (write(c->fd, w->request, w->request_bytes) != (ssize_t)w->request_bytes)
        fail("write");
}

static void count(struct worker *w, uint64_t took_ns) {
    uint64_t us = took_ns / 1000;
    w->max_us = us > w->max_us ? us : w->max_us;
    w->histogram[us < HISTOGRAM_US ? us : HISTOGRAM_US - 1]++;
    w->answers++;
}

static void hear(struct worker *w, struct connection *c) {
    ssize_t got = read(c->fd, c->answer + c->have, ANSWER_BYTES - c->have);
    if (got == 0)
        errno = ECONNRESET;
    if (got <= 0)
        fail("read");
    c->have += (size_t)got;
    if (w->load->size(c->answer, c->have) == 0) {
        if (c->have == ANSWER_BYTES)
            refused(c->answer, c->have);
        return;
    }
    uint64_t now = now_ns();
    if (now < w->load->end_ns) {
        count(w, now - c->sent_ns);
        ask(w, c);
    }
}

static void *work(void *argument) {
    struct worker *w = argument;
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(0);
    for (uint32_t i = 0; i < w->connection_count; i++) {
        struct connection *c = &w->connections[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
            fail("epoll_ctl");
        ask(w, c);
    }
    while (now_ns() < w->load->end_ns) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < ready; i++)
            hear(w, events[i].data.ptr);
    }
    close(epoll);
    return NULL;
}

static void connect_all(struct worker *w) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(w->load->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (uint32_t i = 0; i < w->connection_count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
            fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        w->connections[i].fd = fd;
    }
}

static void prepare(struct worker *w, char **argv, uint32_t connections, int id) {
    char member[REQUEST_BYTES / 4];
    snprintf(member, sizeof member, "%s-%d-" NUMBER_TEXT, argv[7], id);
    w->connection_count = connections;
    w->connections = calloc(connections, sizeof *w->connections);
    w->histogram = calloc(HISTOGRAM_US, sizeof *w->histogram);
    if (w->connections == NULL || w->histogram == NULL)
        fail("memory");
    if (strcmp(argv[1], "http") == 0)
        make_http(w, argv[3], member);
    else
        make_redis(w, argv[3], member);
    char *at = w->request_bytes < REQUEST_BYTES ? strstr(w->request, member) : NULL;
    if (at == NULL) {
        errno = EMSGSIZE;
        fail("the request");
    }
    w->number = at + strlen(member) - NUMBER_DIGITS;
    connect_all(w);
}

/* ---- the sum ---- */

static uint64_t percentile(const uint32_t *histogram, uint64_t total, double share) {
    uint64_t seen = 0;
    for (uint32_t us = 0; us < HISTOGRAM_US; us++) {
        seen += histogram[us];
        if ((double)seen >= (double)total * share)
            return us;
    }
    return HISTOGRAM_US;
}

static void report(struct worker *workers, int threads, double seconds) {
    struct worker *sum = &workers[0];
    for (int i = 1; i < threads; i++) {
        for (uint32_t us = 0; us < HISTOGRAM_US; us++)
            sum->histogram[us] += workers[i].histogram[us];
        sum->answers += workers[i].answers;
        sum->max_us = workers[i].max_us > sum->max_us ? workers[i].max_us : sum->max_us;
    }
    const uint32_t *h = sum->histogram;
    uint64_t n = sum->answers;
    printf("{\"requests\": %llu, \"seconds\": %.3f, \"rate\": %.1f, \"p50\": %llu, \"p99\": %llu, "
           "\"p999\": %llu, \"max\": %llu}\n",
           (unsigned long long)n, seconds, (double)n / seconds,
           (unsigned long long)percentile(h, n, 0.5), (unsigned long long)percentile(h, n, 0.99),
           (unsigned long long)percentile(h, n, 0.999), (unsigned long long)sum->max_us);
}

int main(int argc, char **argv) {
    static struct worker workers[THREADS_MAX];
    int connections = argc == 8 ? atoi(argv[4]) : 0, threads = argc == 8 ? atoi(argv[5]) : 0;
    double seconds = argc == 8 ? atof(argv[6]) : 0;
    bool http = argc == 8 && strcmp(argv[1], "http") == 0;
    if (threads < 1 || threads > THREADS_MAX || connections < threads || seconds <= 0 ||
        (!http && strcmp(argv[1], "redis") != 0)) {
        fprintf(stderr, "usage: bench-load http|redis PORT PATH|SCRIPT CONNECTIONS THREADS SECONDS "
                        "PREFIX\n");
        return 2;
    }
    struct load load = {.size = http ? http_answer_size : redis_answer_size,
                        .port = (uint16_t)atoi(argv[2])};
    for (int i = 0; i < threads; i++) {
        workers[i].load = &load;
        prepare(&workers[i], argv, (uint32_t)(connections / threads), i);
    }
    load.end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail("pthread_create");
    }
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    report(workers, threads, seconds);
    return 0;
}
